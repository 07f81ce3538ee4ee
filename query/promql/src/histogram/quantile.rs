//! Quantiles and fractions of native histograms.

use super::{Bucket, FloatHistogram};

/// What a histogram with NaN observations does to a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NanEffect {
    /// None were seen.
    None,
    /// The result is NaN.
    Result,
    /// The result is higher than it should be.
    Skew,
    /// They are in no fraction.
    Excluded,
}

/// The value below which a part `q` of the observations lies.
pub(crate) fn quantile(q: f64, histogram: &FloatHistogram) -> (f64, NanEffect) {
    if q < 0.0 {
        return (f64::NEG_INFINITY, NanEffect::None);
    }
    if q > 1.0 {
        return (f64::INFINITY, NanEffect::None);
    }
    if histogram.count == 0.0 || q.is_nan() {
        return (f64::NAN, NanEffect::None);
    }
    let mut buckets = histogram.all_buckets();
    let is_forward = histogram.sum.is_nan() || q < 0.5;
    let mut rank = if is_forward { q * histogram.count } else { (1.0 - q) * histogram.count };
    if !is_forward {
        buckets.reverse();
    }
    let (mut bucket, mut count, mut used) = (EMPTY, 0.0, buckets.len());
    for (i, candidate) in buckets.iter().enumerate() {
        bucket = *candidate;
        if bucket.count == 0.0 {
            continue;
        }
        count += bucket.count;
        if count >= rank {
            used = i + 1;
            break;
        }
    }
    if let Some(edge) = clip_to_known(&mut bucket, histogram) {
        return (edge, NanEffect::None);
    }
    count = count.min(histogram.count);
    if count < rank {
        if histogram.sum.is_nan() {
            return (f64::NAN, NanEffect::Result);
        }
        return (bucket.upper, NanEffect::None);
    }
    if is_forward {
        rank -= count - bucket.count;
    } else {
        rank = count - rank;
    }
    let fraction = rank / bucket.count;
    let mut effect = NanEffect::None;
    if histogram.sum.is_nan() {
        let total: f64 = count + buckets[used..].iter().map(|b| b.count).sum::<f64>();
        if total < histogram.count {
            effect = NanEffect::Skew;
        }
        if let (Some(last), true) = (buckets[used..].last(), used < buckets.len()) {
            // As in Prometheus, the walk over the rest leaves its last bucket behind.
            return (interpolate(last, histogram, rank / last.count), effect);
        }
    }
    (interpolate(&bucket, histogram, fraction), effect)
}

const EMPTY: Bucket = Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };

/// Narrows a bucket to where observations can be; a value where the answer is its edge.
fn clip_to_known(bucket: &mut Bucket, histogram: &FloatHistogram) -> Option<f64> {
    if histogram.has_custom_buckets() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return Some(bucket.upper);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return Some(bucket.lower);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        clip_zero(bucket, histogram);
    }
    None
}

/// A histogram with observations on one side of zero only has none on the other side of its zero bucket.
fn clip_zero(bucket: &mut Bucket, histogram: &FloatHistogram) {
    let has_negative = !histogram.negative_buckets.is_empty();
    let has_positive = !histogram.positive_buckets.is_empty();
    if !has_negative && has_positive {
        bucket.lower = 0.0;
    } else if !has_positive && has_negative {
        bucket.upper = 0.0;
    }
}

fn interpolate(bucket: &Bucket, histogram: &FloatHistogram, fraction: f64) -> f64 {
    if histogram.has_custom_buckets() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return bucket.lower + (bucket.upper - bucket.lower) * fraction;
    }
    let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
    if bucket.lower > 0.0 {
        (lower + (upper - lower) * fraction).exp2()
    } else {
        -(upper + (lower - upper) * (1.0 - fraction)).exp2()
    }
}

/// The part of the observations that lies between two values. `guards_infinity` is what later releases do: a
/// bucket without lower bound is not interpolated. 3.5 answers NaN where a value lies in it.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &FloatHistogram, guards_infinity: bool) -> (f64, NanEffect) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, NanEffect::None);
    }
    if lower >= upper {
        return (0.0, NanEffect::None);
    }
    let buckets = histogram.all_buckets();
    let (mut rank, mut lower_rank, mut upper_rank) = (0.0, None, None);
    for original in &buckets {
        let mut bucket = *original;
        let is_zero = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if is_zero {
            clip_zero(&mut bucket, histogram);
        }
        let is_linear = histogram.has_custom_buckets() || is_zero;
        let rank_of = |value: f64| {
            if guards_infinity && is_linear && bucket.lower == f64::NEG_INFINITY {
                return bucket.count;
            }
            rank + bucket.count * bucket.fraction_below(value, is_linear)
        };
        for (edge, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if found.is_none() && bucket.lower >= edge {
                *found = Some(rank);
            }
            if found.is_none() && bucket.lower < edge && bucket.upper > edge {
                *found = Some(rank_of(edge));
            }
        }
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank += bucket.count;
    }
    let (mut count, mut effect) = (histogram.count, NanEffect::None);
    if histogram.sum.is_nan() {
        count = buckets.iter().map(|b| b.count).sum();
        if count < histogram.count {
            effect = NanEffect::Excluded;
        }
    }
    let within = |rank: Option<f64>| rank.filter(|r| r.is_nan() || *r <= count).unwrap_or(count);
    ((within(upper_rank) - within(lower_rank)) / histogram.count, effect)
}
