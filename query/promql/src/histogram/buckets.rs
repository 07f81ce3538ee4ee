//! Buckets with their bounds.

use std::fmt;

use super::bounds::FRACTIONS;
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, sparse};
use crate::text::format_g;

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The lower bound.
    pub lower: f64,
    /// The upper bound.
    pub upper: f64,
    /// Says whether the lower bound belongs to the bucket.
    pub lower_inclusive: bool,
    /// Says whether the upper bound belongs to the bucket.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

impl Bucket {
    /// Which part of the bucket lies below a value that is strictly inside: linear, or by the logarithm.
    pub(super) fn fraction_below(&self, value: f64, is_linear: bool) -> f64 {
        if is_linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper) = (self.lower.abs().log2(), self.upper.abs().log2());
        let at = value.abs().log2();
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.lower_inclusive { '[' } else { '(' };
        let close = if self.upper_inclusive { ']' } else { ')' };
        write!(f, "{open}{},{}{close}:{}", format_g(self.lower), format_g(self.upper), format_g(self.count))
    }
}

impl FloatHistogram {
    /// The positive buckets, rising.
    pub fn positive(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        sparse::iter(&self.positive_spans, &self.positive_buckets).map(|(index, count)| self.bucket(index, count, true))
    }

    /// The negative buckets, from zero down.
    pub fn negative(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        sparse::iter(&self.negative_spans, &self.negative_buckets)
            .map(|(index, count)| self.bucket(index, count, false))
    }

    /// The zero bucket.
    pub fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    /// All buckets, rising; those next to zero begin where the zero bucket ends.
    pub fn all_buckets(&self) -> Vec<Bucket> {
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        let negative = self.negative().rev().map(|mut bucket| {
            if bucket.upper < 0.0 && bucket.upper > -self.zero_threshold {
                bucket.upper = -self.zero_threshold;
            }
            bucket
        });
        let positive = self.positive().map(|mut bucket| {
            if bucket.lower > 0.0 && bucket.lower < self.zero_threshold {
                bucket.lower = self.zero_threshold;
            }
            bucket
        });
        negative.chain(zero).chain(positive).collect()
    }

    fn bucket(&self, index: i32, count: f64, is_positive: bool) -> Bucket {
        let upper = bound(index, self.schema, &self.custom_values);
        let lower = bound(index.saturating_sub(1), self.schema, &self.custom_values);
        let (lower, upper) = if is_positive { (lower, upper) } else { (-upper, -lower) };
        let is_custom = self.has_custom_buckets();
        Bucket {
            lower,
            upper,
            lower_inclusive: if is_custom { index == 0 } else { lower < 0.0 },
            upper_inclusive: is_custom || upper > 0.0,
            count,
        }
    }
}

/// The upper bound of a bucket.
pub(super) fn bound(index: i32, schema: i32, custom_values: &[f64]) -> f64 {
    if schema != CUSTOM_BUCKETS_SCHEMA {
        return exponential_bound(index, schema);
    }
    if index < 0 {
        return f64::NEG_INFINITY;
    }
    custom_values.get(index as usize).copied().unwrap_or(f64::INFINITY)
}

/// Schemas above this have no table; none is valid.
const SCHEMA_MAX: i32 = 8;

/// The upper bound of an exponential bucket: 2^(index / 2^schema).
pub(super) fn exponential_bound(index: i32, schema: i32) -> f64 {
    if schema <= 0 {
        let exponent = i64::from(index) << schema.saturating_neg().min(31);
        // The bucket up to the largest float ends there and not at infinity.
        return if exponent == 1024 { f64::MAX } else { load_exponent(1.0, exponent) };
    }
    let schema = schema.min(SCHEMA_MAX);
    let mask = (1i32 << schema) - 1;
    let fraction = FRACTIONS[((index & mask) << (SCHEMA_MAX - schema)) as usize];
    let exponent = i64::from(index >> schema) + 1;
    if fraction == 0.5 && exponent == 1025 { f64::MAX } else { load_exponent(fraction, exponent) }
}

/// `fraction * 2^exponent` without overflow on the way.
fn load_exponent(fraction: f64, exponent: i64) -> f64 {
    let exponent = exponent.clamp(-2200, 2200) as i32;
    let half = exponent / 2;
    fraction * 2f64.powi(half) * 2f64.powi(exponent - half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_powers() {
        assert_eq!(exponential_bound(0, 0), 1.0);
        assert_eq!(exponential_bound(3, 0), 8.0);
        assert_eq!(exponential_bound(-1, 0), 0.5);
        // One bit below the nearest float, as in Prometheus.
        assert_eq!(exponential_bound(1, 1), 2f64.sqrt().next_down());
        assert_eq!(exponential_bound(1, -2), 16.0);
        assert_eq!(exponential_bound(1024, 0), f64::MAX);
        assert_eq!(exponential_bound(-1074, 0), 5e-324);
    }
}
