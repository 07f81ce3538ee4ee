//! What is known of the samples of a series in a stretch of time: small, and two that follow each other make one.

/// A stretch with at least one sample. Times are in microseconds.
///
/// Counts, times, values at the edges and extremes are exact. Sums are compensated, so that what is off is the
/// rounding of the parts: about 1e-16 of the largest sum between. The growth of a counter of whole numbers up to 2^53
/// is exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Number of samples.
    pub count: u64,
    sum: f64,
    /// What the sum lost to rounding.
    lost: f64,
    /// The smallest value; NaN where all are.
    pub min: f64,
    /// The largest value; NaN where all are.
    pub max: f64,
    /// Time of the first sample.
    pub first_us: i64,
    /// The first value.
    pub first: f64,
    /// Time of the last sample.
    pub last_us: i64,
    /// The last value.
    pub last: f64,
    /// The values before resets, added up: what a counter grew by is `last - first` and this.
    restarted: f64,
    /// How often a value was less than the one before it.
    pub resets: u64,
}

impl Bucket {
    /// One sample.
    pub fn of(ts_us: i64, value: f64) -> Self {
        Self {
            count: 1,
            sum: value,
            lost: 0.0,
            min: value,
            max: value,
            first_us: ts_us,
            first: value,
            last_us: ts_us,
            last: value,
            restarted: 0.0,
            resets: 0,
        }
    }

    /// Adds what is later than everything in it.
    #[inline]
    pub fn append(&mut self, later: &Self) {
        if later.first < self.last {
            self.restarted += self.last;
            self.resets += 1;
        }
        self.count += later.count;
        (self.sum, self.lost) = compensated(self.sum, self.lost + later.lost, later.sum);
        self.min = if later.min < self.min || self.min.is_nan() { later.min } else { self.min };
        self.max = if later.max > self.max || self.max.is_nan() { later.max } else { self.max };
        self.last_us = later.last_us;
        self.last = later.last;
        self.restarted += later.restarted;
        self.resets += later.resets;
    }

    /// The sum of the values.
    pub fn sum(&self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }

    /// What a counter grew by from the first to the last sample.
    pub fn increase(&self) -> f64 {
        self.last - self.first + self.restarted
    }

    /// A bucket from what a row says of it.
    pub(crate) fn stored(of: Stored) -> Self {
        Self {
            count: of.count,
            sum: of.sum,
            lost: 0.0,
            min: of.min,
            max: of.max,
            first_us: of.first_us,
            first: of.first,
            last_us: of.last_us,
            last: of.last,
            // Exact for whole numbers. Without a reset there is nothing to restore.
            restarted: if of.resets == 0 { 0.0 } else { of.increase - (of.last - of.first) },
            resets: of.resets,
        }
    }

    /// The same without its first sample, of which `second` is what follows it.
    pub(crate) fn inner(&self, second: &Second) -> Self {
        let is_reset = second.first < self.first;
        let resets = self.resets.saturating_sub(u64::from(is_reset));
        let restarted = if is_reset { self.restarted - self.first } else { self.restarted };
        Self {
            count: self.count.saturating_sub(1),
            sum: second.sum,
            lost: 0.0,
            min: second.min,
            max: second.max,
            first_us: second.first_us,
            first: second.first,
            restarted: if resets == 0 { 0.0 } else { restarted },
            resets,
            ..*self
        }
    }
}

/// The columns of a bucket.
pub(crate) struct Stored {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) first_us: i64,
    pub(crate) first: f64,
    pub(crate) last_us: i64,
    pub(crate) last: f64,
    pub(crate) increase: f64,
    pub(crate) resets: u64,
}

/// What a bucket is without its first sample, as far as the rest of it does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Second {
    pub(crate) first_us: i64,
    pub(crate) first: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sum: f64,
}

/// Neumaier's sum: the sum and what is lost of it.
fn compensated(sum: f64, lost: f64, value: f64) -> (f64, f64) {
    let total = sum + value;
    if total.is_infinite() {
        return (total, 0.0);
    }
    let rest = if sum.abs() >= value.abs() { (sum - total) + value } else { (value - total) + sum };
    (total, lost + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Bucket {
        let one = |(at, value): (usize, &f64)| Bucket::of(at as i64, *value);
        let all = values.iter().enumerate().map(one);
        all.reduce(|mut all, one| {
            all.append(&one);
            all
        })
        .unwrap()
    }

    #[test]
    fn a_counter_that_begins_again() {
        let bucket = of(&[5.0, 7.0, 1.0, 4.0, 0.0]);
        assert_eq!((bucket.increase(), bucket.resets), (2.0 + 1.0 + 3.0, 2));
        assert_eq!((bucket.min, bucket.max, bucket.sum(), bucket.count), (0.0, 7.0, 17.0, 5));
        let second = Second { first_us: 1, first: 7.0, min: 0.0, max: 7.0, sum: 12.0 };
        assert_eq!(bucket.inner(&second).increase(), 4.0);
    }

    #[test]
    fn not_a_number_is_no_extreme_unless_all_are() {
        let bucket = of(&[f64::NAN, 2.0, f64::NAN, 1.0]);
        assert_eq!((bucket.min, bucket.max), (1.0, 2.0));
        assert!(bucket.sum().is_nan() && of(&[f64::NAN]).min.is_nan());
        assert_eq!(of(&[f64::MAX, f64::MAX, 1.0]).sum(), f64::INFINITY);
        assert_eq!(of(&[1e100, 1.0, -1e100]).sum(), 1.0);
    }
}
