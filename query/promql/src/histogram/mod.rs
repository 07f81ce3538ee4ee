//! Native histograms: exponential and custom buckets, with float counts.

mod add;
mod bounds;
mod buckets;
mod quantile;
mod reset;
mod sparse;
mod trim;

use std::fmt;
use std::sync::Arc;

pub use add::{AddOutcome, Bounds, HistogramSum, IncompatibleBuckets};
pub use buckets::Bucket;
pub(crate) use quantile::{NanEffect, fraction, quantile};

use crate::text::format_g;

/// The schema number of custom buckets.
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// What a histogram says about a counter reset before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResetHint {
    /// Nothing is known; buckets must be compared.
    #[default]
    Unknown,
    /// The counter was reset.
    Reset,
    /// The counter was not reset.
    NotReset,
    /// The histogram is a gauge, which knows no reset.
    Gauge,
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketSpan {
    /// Gap to the run before it; the index of its first bucket where it is the first.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// A histogram whose counts are floats and absolute.
#[derive(Clone, Debug, Default)]
pub struct FloatHistogram {
    /// What is known of counter resets.
    pub reset_hint: ResetHint,
    /// Resolution: -4..=8 for 2^schema buckets per power of two, [`CUSTOM_BUCKETS_SCHEMA`] for custom bounds.
    pub schema: i32,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Sum of the observations.
    pub sum: f64,
    /// Which positive buckets are there.
    pub positive_spans: Vec<BucketSpan>,
    /// Which negative buckets are there.
    pub negative_spans: Vec<BucketSpan>,
    /// Counts of the positive buckets, one by one.
    pub positive_buckets: Vec<f64>,
    /// Counts of the negative buckets.
    pub negative_buckets: Vec<f64>,
    /// Upper bounds of custom buckets, rising; the last bucket, up to infinity, has none.
    pub custom_values: Arc<[f64]>,
}

impl FloatHistogram {
    /// Says whether the bounds are custom.
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Bytes that the histogram holds.
    pub fn bytes(&self) -> usize {
        let spans = self.positive_spans.len() + self.negative_spans.len();
        let floats = self.positive_buckets.len() + self.negative_buckets.len() + self.custom_values.len();
        size_of::<Self>() + 8 * (spans + floats)
    }

    /// Multiplies all counts and the sum; by a negative number it makes a gauge.
    pub fn mul(&mut self, factor: f64) -> &mut Self {
        self.zero_count *= factor;
        self.count *= factor;
        self.sum *= factor;
        self.positive_buckets.iter_mut().chain(&mut self.negative_buckets).for_each(|count| *count *= factor);
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
        self
    }

    /// Divides all counts and the sum; division by zero leaves no buckets.
    pub fn div(&mut self, divisor: f64) -> &mut Self {
        self.zero_count /= divisor;
        self.count /= divisor;
        self.sum /= divisor;
        if divisor == 0.0 {
            self.positive_buckets.clear();
            self.negative_buckets.clear();
            self.positive_spans.clear();
            self.negative_spans.clear();
            return self;
        }
        self.positive_buckets.iter_mut().chain(&mut self.negative_buckets).for_each(|count| *count /= divisor);
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
        self
    }

    /// Drops empty buckets and joins spans without gap.
    pub fn compact(&mut self) -> &mut Self {
        for (spans, buckets) in [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ] {
            let is_compact = buckets.iter().all(|count| *count != 0.0)
                && spans.iter().skip(1).all(|span| span.offset > 0)
                && spans.iter().all(|span| span.length > 0);
            if !is_compact {
                (*spans, *buckets) = sparse::from_sparse(sparse::iter(spans, buckets).filter(|(_, c)| *c != 0.0));
            }
        }
        self
    }

    /// Says whether two histograms hold the same data: the same buckets, empty ones included, and the same bits.
    pub fn same_as(&self, other: &Self) -> bool {
        let bits = |a: f64, b: f64| a.to_bits() == b.to_bits();
        self.schema == other.schema
            && bits(self.count, other.count)
            && bits(self.sum, other.sum)
            && (!self.has_custom_buckets() || self.custom_values == other.custom_values)
            && self.zero_threshold == other.zero_threshold
            && bits(self.zero_count, other.zero_count)
            && sparse::same(
                (&self.positive_spans, &self.positive_buckets),
                (&other.positive_spans, &other.positive_buckets),
            )
            && sparse::same(
                (&self.negative_spans, &self.negative_buckets),
                (&other.negative_spans, &other.negative_buckets),
            )
    }

    /// Says whether any count or the sum is infinite.
    pub fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum].iter().any(|v| v.is_infinite())
            || self.positive_buckets.iter().chain(&self.negative_buckets).any(|v| v.is_infinite())
    }

    /// The histogram at a lower resolution.
    pub fn at_schema(&self, schema: i32) -> Self {
        if schema >= self.schema || self.has_custom_buckets() {
            return self.clone();
        }
        let mut reduced = self.clone();
        reduced.reset_hint = ResetHint::Unknown;
        reduced.reduce(schema);
        reduced
    }

    /// Lowers the resolution.
    fn reduce(&mut self, schema: i32) {
        for (spans, buckets) in [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ] {
            let merged = sparse::at_schema(sparse::iter(spans, buckets), self.schema, schema);
            (*spans, *buckets) = sparse::from_sparse(merged);
        }
        self.schema = schema;
    }
}

impl fmt::Display for FloatHistogram {
    /// Writes `{count:2, sum:3, (1,2]:2}`, as Prometheus names a histogram.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format_g(self.count), format_g(self.sum))?;
        for bucket in self.negative().rev().filter(|b| b.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        if self.zero_count != 0.0 {
            write!(f, ", {}", self.zero_bucket())?;
        }
        for bucket in self.positive().filter(|b| b.count != 0.0) {
            write!(f, ", {bucket}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests;
