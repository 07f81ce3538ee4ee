//! Quantiles and fractions of classic histograms: cumulative buckets of one series each.

/// A bucket: its upper bound and the observations up to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ClassicBucket {
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// What had to be repaired before a quantile could be taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Repair {
    pub(crate) bucket_min: f64,
    pub(crate) bucket_max: f64,
    pub(crate) difference_max: f64,
}

/// Relative differences below this come from floating point.
const TOLERANCE: f64 = 1e-12;

/// The value below which a part `q` of the observations lies; buckets are sorted by their bound.
pub(crate) fn quantile(q: f64, buckets: &mut Vec<ClassicBucket>) -> (f64, Option<Repair>) {
    if q.is_nan() {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return (f64::NAN, None);
    }
    coalesce(buckets);
    let repair = make_monotonic(buckets);
    let Some(last) = buckets.len().checked_sub(1).filter(|last| *last > 0) else {
        return (f64::NAN, repair);
    };
    let observations = buckets[last].count;
    if observations == 0.0 {
        return (f64::NAN, repair);
    }
    let mut rank = q * observations;
    // NaN counts are below any rank.
    let found = buckets[..last].partition_point(|b| b.count < rank || b.count.is_nan());
    let value = if found == last {
        buckets[last - 1].upper
    } else if found == 0 && buckets[0].upper <= 0.0 {
        buckets[0].upper
    } else {
        let (mut start, mut count) = (0.0, buckets[found].count);
        if found > 0 {
            let below = buckets[found - 1];
            start = below.upper;
            count -= below.count;
            rank -= below.count;
        }
        start + (buckets[found].upper - start) * (rank / count)
    };
    (value, repair)
}

/// The part of the observations between two values; buckets are sorted by their bound. `guards_infinity` is what later
/// releases do: buckets above zero begin there, and what has no lower bound is not interpolated. 3.5 answers NaN where
/// a value lies in the first bucket.
pub(crate) fn fraction(lower: f64, upper: f64, buckets: &mut Vec<ClassicBucket>, guards_infinity: bool) -> f64 {
    if buckets.last().is_none_or(|last| last.upper != f64::INFINITY) {
        return f64::NAN;
    }
    coalesce(buckets);
    let count = buckets.last().map_or(0.0, |b| b.count);
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let mut bucket_lower = if guards_infinity && buckets[0].upper > 0.0 { 0.0 } else { f64::NEG_INFINITY };
    let (mut rank, mut lower_rank, mut upper_rank) = (0.0, None, None);
    for bucket in buckets.iter() {
        let rank_of = |value: f64| {
            if guards_infinity && bucket_lower == f64::NEG_INFINITY {
                return bucket.count;
            }
            rank + (bucket.count - rank) * (value - bucket_lower) / (bucket.upper - bucket_lower)
        };
        for (edge, found) in [(lower, &mut lower_rank), (upper, &mut upper_rank)] {
            if found.is_none() && bucket_lower >= edge {
                *found = Some(rank);
            }
            if found.is_none() && bucket_lower < edge && bucket.upper > edge {
                *found = Some(rank_of(edge));
            }
        }
        if lower_rank.is_some() && upper_rank.is_some() {
            break;
        }
        rank = bucket.count;
        bucket_lower = bucket.upper;
    }
    let within = |rank: Option<f64>| rank.filter(|r| r.is_nan() || *r <= count).unwrap_or(count);
    (within(upper_rank) - within(lower_rank)) / count
}

/// Adds up buckets with one bound.
fn coalesce(buckets: &mut Vec<ClassicBucket>) {
    buckets.dedup_by(|next, kept| {
        let same = next.upper == kept.upper;
        if same {
            kept.count += next.count;
        }
        same
    });
}

/// Lifts counts that fall where they must not.
fn make_monotonic(buckets: &mut [ClassicBucket]) -> Option<Repair> {
    let mut repair: Option<Repair> = None;
    let mut before = buckets.first()?.count;
    for bucket in buckets.iter_mut().skip(1) {
        let now = bucket.count;
        if now == before {
            continue;
        }
        if almost_equal(before, now) {
            bucket.count = before;
        } else if now < before {
            bucket.count = before;
            let known = repair.get_or_insert(Repair {
                bucket_min: f64::INFINITY,
                bucket_max: f64::NEG_INFINITY,
                difference_max: 0.0,
            });
            known.bucket_min = known.bucket_min.min(bucket.upper);
            known.bucket_max = known.bucket_max.max(bucket.upper);
            known.difference_max = known.difference_max.max(before - now);
        } else {
            before = now;
        }
    }
    repair
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(of: &[(f64, f64)]) -> Vec<ClassicBucket> {
        of.iter().map(|(upper, count)| ClassicBucket { upper: *upper, count: *count }).collect()
    }

    #[test]
    fn interpolates() {
        let (value, repair) = quantile(0.5, &mut buckets(&[(1.0, 5.0), (2.0, 10.0), (f64::INFINITY, 10.0)]));
        assert_eq!((value, repair), (1.0, None));
        let (value, repair) = quantile(0.5, &mut buckets(&[(1.0, 5.0), (2.0, 2.0), (f64::INFINITY, 10.0)]));
        assert_eq!(value, 1.0);
        assert_eq!(repair.map(|r| r.difference_max), Some(3.0));
        assert!(quantile(0.5, &mut buckets(&[(1.0, 5.0)])).0.is_nan());
    }

    #[test]
    fn fractions_of_the_first_bucket_depend_on_the_release() {
        let of = [(1.0, 1.0), (2.0, 3.0), (f64::INFINITY, 100.0)];
        assert_eq!(fraction(0.0, 1.5, &mut buckets(&of), true), 0.02);
        assert!(fraction(0.0, 1.5, &mut buckets(&of), false).is_nan());
        assert_eq!(fraction(1.0, 2.0, &mut buckets(&of), false), 0.02);
    }
}
