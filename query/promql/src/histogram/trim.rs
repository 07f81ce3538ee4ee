//! `</` and `>/`: cutting observations off above or below a value.

use super::{Bucket, FloatHistogram};

impl FloatHistogram {
    /// Drops observations above a value (`is_upper`) or below it, guessing inside the bucket that the value cuts.
    pub fn trim(&mut self, at: f64, is_upper: bool) -> &mut Self {
        let trim = Trim { at, is_upper, is_custom: self.has_custom_buckets() };
        let positive: Vec<Bucket> = self.positive().collect();
        let negative: Vec<Bucket> = self.negative().collect();
        let mut sums = Sums::default();
        let has_positive = sums.trim_side(&trim, &positive, &mut self.positive_buckets, true);
        let has_negative = sums.trim_side(&trim, &negative, &mut self.negative_buckets, false);
        if self.zero_count > 0.0 {
            let (kept, midpoint) = trim.zero_bucket(self.zero_bucket(), has_negative, has_positive);
            sums.is_trimmed |= kept != self.zero_count;
            self.zero_count = kept;
            sums.sum += midpoint * kept;
            sums.count += kept;
        }
        if sums.is_trimmed {
            self.count = sums.count;
            self.sum = sums.sum;
            self.compact();
        }
        self
    }
}

#[derive(Default)]
struct Sums {
    count: f64,
    sum: f64,
    is_trimmed: bool,
}

impl Sums {
    /// Cuts one side; says whether it had observations.
    fn trim_side(&mut self, trim: &Trim, buckets: &[Bucket], counts: &mut [f64], is_positive: bool) -> bool {
        let mut has_any = false;
        for (bucket, count) in buckets.iter().zip(counts) {
            if bucket.count == 0.0 {
                continue;
            }
            has_any = true;
            let is_whole = if trim.is_upper { bucket.upper <= trim.at } else { bucket.lower >= trim.at };
            let is_cut = if trim.is_upper { bucket.lower < trim.at } else { bucket.upper > trim.at };
            let (kept, middle) = if is_whole {
                (bucket.count, midpoint(bucket.lower, bucket.upper, is_positive, trim.is_custom))
            } else if is_cut {
                trim.bucket(bucket, is_positive)
            } else {
                (0.0, 0.0)
            };
            self.count += kept;
            self.sum += middle * kept;
            self.is_trimmed |= *count != kept;
            *count = kept;
        }
        has_any
    }
}

struct Trim {
    at: f64,
    is_upper: bool,
    is_custom: bool,
}

impl Trim {
    /// What a bucket that the value cuts keeps, and where the middle of that is.
    fn bucket(&self, bucket: &Bucket, is_positive: bool) -> (f64, f64) {
        if bucket.lower == f64::NEG_INFINITY {
            return self.lowest_bucket(bucket);
        }
        if bucket.upper == f64::INFINITY {
            return self.highest_bucket(bucket);
        }
        let below = if self.at <= bucket.lower {
            0.0
        } else if self.at >= bucket.upper {
            bucket.count
        } else {
            bucket.count * bucket.fraction_below(self.at, self.is_custom)
        };
        if self.is_upper {
            (below, midpoint(bucket.lower, self.at, is_positive, self.is_custom))
        } else {
            (bucket.count - below, midpoint(self.at, bucket.upper, is_positive, self.is_custom))
        }
    }

    /// A bucket without lower bound. It counts as beginning at zero where its upper bound is above.
    fn lowest_bucket(&self, bucket: &Bucket) -> (f64, f64) {
        let at = self.at;
        let removed = (0.0, if bucket.upper.is_infinite() { 0.0 } else { bucket.upper });
        let is_finite = bucket.upper != f64::INFINITY;
        if self.is_upper {
            if at >= bucket.upper {
                (bucket.count, 0.0)
            } else if at > 0.0 && bucket.upper > 0.0 && is_finite {
                (bucket.count * at / bucket.upper, at / 2.0)
            } else if bucket.upper <= 0.0 {
                (bucket.count, at)
            } else {
                removed
            }
        } else if at <= bucket.lower {
            (bucket.count, 0.0)
        } else if at >= 0.0 && bucket.upper > at && is_finite {
            (bucket.count * (1.0 - at / bucket.upper), (at + bucket.upper) / 2.0)
        } else {
            removed
        }
    }

    /// A bucket without upper bound: nothing is known of where its observations lie.
    fn highest_bucket(&self, bucket: &Bucket) -> (f64, f64) {
        if !self.is_upper && self.at >= bucket.lower {
            return (bucket.count, self.at);
        }
        (0.0, if bucket.lower.is_infinite() { 0.0 } else { bucket.lower })
    }

    fn zero_bucket(&self, bucket: Bucket, has_negative: bool, has_positive: bool) -> (f64, f64) {
        let upper = if has_negative && !has_positive { 0.0 } else { bucket.upper };
        let lower = if has_positive && !has_negative { 0.0 } else { bucket.lower };
        let (whole, nothing) = ((bucket.count, (lower + upper) / 2.0), (0.0, 0.0));
        let at = self.at;
        if self.is_upper {
            if at <= lower {
                nothing
            } else if at >= upper {
                whole
            } else {
                (bucket.count * ((at - lower) / (upper - lower)), (lower + at) / 2.0)
            }
        } else if at <= lower {
            whole
        } else if at >= upper {
            nothing
        } else {
            (bucket.count * ((upper - at) / (upper - lower)), (at + upper) / 2.0)
        }
    }
}

/// Where observations between two values lie on average.
fn midpoint(lower: f64, upper: f64, is_positive: bool, is_linear: bool) -> f64 {
    if lower.is_infinite() {
        return match upper {
            u if u.is_infinite() => 0.0,
            u if u > 0.0 => u / 2.0,
            u => u,
        };
    }
    if upper.is_infinite() {
        return lower;
    }
    if is_linear {
        return (lower + upper) / 2.0;
    }
    let mean = (lower * upper).abs().sqrt();
    if is_positive { mean } else { -mean }
}
