//! Sums and differences.

use std::sync::Arc;

use super::buckets::{bound, exponential_bound};
use super::{BucketSpan, CUSTOM_BUCKETS_SCHEMA, FloatHistogram, ResetHint, sparse};
use crate::math::kahan_inc;

/// What to do with custom buckets whose bounds differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bounds {
    /// They cannot be added: Prometheus up to 3.7.
    #[default]
    MustMatch,
    /// Only common bounds stay: Prometheus from 3.8 on.
    Reconcile,
}

/// What two histograms that cannot be added have different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncompatibleBuckets {
    /// One has exponential, the other custom buckets.
    Schema,
    /// Their custom bounds differ.
    Bounds,
}

/// What came up while two histograms were added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddOutcome {
    /// One hint says reset, the other not.
    pub hints_collide: bool,
    /// Custom bounds were reconciled.
    pub bounds_reconciled: bool,
}

impl FloatHistogram {
    /// Adds another histogram. Where the result is an error, this one is as it was.
    pub fn add(&mut self, other: &Self, bounds: Bounds) -> Result<AddOutcome, IncompatibleBuckets> {
        self.combine(other, bounds, 1.0)
    }

    /// Subtracts another histogram.
    pub fn sub(&mut self, other: &Self, bounds: Bounds) -> Result<AddOutcome, IncompatibleBuckets> {
        self.combine(other, bounds, -1.0)
    }

    fn combine(&mut self, other: &Self, bounds: Bounds, sign: f64) -> Result<AddOutcome, IncompatibleBuckets> {
        let mut sum = HistogramSum::without_compensation(std::mem::take(self));
        let outcome = sum.combine(other, bounds, sign);
        *self = sum.total;
        outcome
    }
}

/// A running sum of histograms, compensated after Kahan and Neumaier.
#[derive(Clone, Debug)]
pub struct HistogramSum {
    total: FloatHistogram,
    /// What rounding lost, with the buckets of `total`; `None` for plain sums.
    lost: Option<Lost>,
}

#[derive(Clone, Debug, Default)]
struct Lost {
    zero_count: f64,
    count: f64,
    sum: f64,
    positive: Vec<f64>,
    negative: Vec<f64>,
}

/// A bucket on its way: index, count, what rounding lost.
type Cell = (i32, f64, f64);

impl HistogramSum {
    /// Begins with one histogram.
    pub fn new(first: FloatHistogram) -> Self {
        let lost = Lost {
            positive: vec![0.0; first.positive_buckets.len()],
            negative: vec![0.0; first.negative_buckets.len()],
            ..Lost::default()
        };
        Self { total: first, lost: Some(lost) }
    }

    fn without_compensation(first: FloatHistogram) -> Self {
        Self { total: first, lost: None }
    }

    /// Adds a histogram.
    pub fn add(&mut self, other: &FloatHistogram, bounds: Bounds) -> Result<AddOutcome, IncompatibleBuckets> {
        self.combine(other, bounds, 1.0)
    }

    /// Says whether any part of the sum is infinite.
    pub fn has_overflow(&self) -> bool {
        self.total.has_overflow()
    }

    /// Multiplies the sum and what rounding lost.
    pub fn mul(&mut self, factor: f64) {
        let hint = self.total.reset_hint;
        self.total.mul(factor);
        self.total.reset_hint = hint;
        self.scale_lost(|v| v * factor);
    }

    /// Divides the sum and what rounding lost.
    pub fn div(&mut self, divisor: f64) {
        self.total.div(divisor);
        self.scale_lost(|v| v / divisor);
    }

    fn scale_lost(&mut self, scale: impl Fn(f64) -> f64) {
        if let Some(lost) = &mut self.lost {
            for v in [&mut lost.zero_count, &mut lost.count, &mut lost.sum] {
                *v = scale(*v);
            }
            lost.positive.iter_mut().chain(&mut lost.negative).for_each(|v| *v = scale(*v));
        }
    }

    /// The sum with what rounding lost.
    pub fn finish(self) -> FloatHistogram {
        let mut total = self.total;
        if let Some(lost) = self.lost {
            total.zero_count += lost.zero_count;
            total.count += lost.count;
            total.sum += lost.sum;
            total.positive_buckets.iter_mut().zip(lost.positive).for_each(|(count, lost)| *count += lost);
            total.negative_buckets.iter_mut().zip(lost.negative).for_each(|(count, lost)| *count += lost);
        }
        total
    }

    fn combine(
        &mut self,
        other: &FloatHistogram,
        bounds: Bounds,
        sign: f64,
    ) -> Result<AddOutcome, IncompatibleBuckets> {
        let is_custom = self.total.has_custom_buckets();
        if is_custom != other.has_custom_buckets() {
            return Err(IncompatibleBuckets::Schema);
        }
        let bounds_reconciled = is_custom && self.total.custom_values != other.custom_values;
        if bounds_reconciled && bounds == Bounds::MustMatch {
            return Err(IncompatibleBuckets::Bounds);
        }
        let hints_collide = self.adjust_hint(other.reset_hint);
        let other_zero_count = if is_custom { 0.0 } else { self.reconcile_zero(other) };
        let lost = self.lost.as_mut();
        let total = &mut self.total;
        match lost {
            Some(lost) => {
                (total.zero_count, lost.zero_count) =
                    kahan_inc(sign * other_zero_count, total.zero_count, lost.zero_count);
                (total.count, lost.count) = kahan_inc(sign * other.count, total.count, lost.count);
                (total.sum, lost.sum) = kahan_inc(sign * other.sum, total.sum, lost.sum);
            }
            None => {
                total.zero_count += sign * other_zero_count;
                total.count += sign * other.count;
                total.sum += sign * other.sum;
            }
        }
        if bounds_reconciled {
            self.combine_common_bounds(other, sign);
        } else {
            if other.schema < self.total.schema {
                self.reduce(other.schema);
            }
            self.combine_side(other, sign, true);
            self.combine_side(other, sign, false);
        }
        Ok(AddOutcome { hints_collide, bounds_reconciled })
    }

    /// Settles the hint of the sum; true where the two contradict each other.
    fn adjust_hint(&mut self, other: ResetHint) -> bool {
        let ours = &mut self.total.reset_hint;
        match (*ours, other) {
            (a, b) if a == b => {}
            (ResetHint::Gauge, _) => {}
            (_, ResetHint::Gauge) => *ours = ResetHint::Gauge,
            (ResetHint::Unknown, _) => {}
            (_, ResetHint::Unknown) => *ours = ResetHint::Unknown,
            _ => {
                *ours = ResetHint::Unknown;
                return true;
            }
        }
        false
    }

    /// Widens the zero bucket of the sum to one that both have; returns the zero count of the other in it.
    fn reconcile_zero(&mut self, other: &FloatHistogram) -> f64 {
        let (mut other_count, mut other_threshold) = (other.zero_count, other.zero_threshold);
        while other_threshold != self.total.zero_threshold {
            if self.total.zero_threshold > other_threshold {
                (other_count, other_threshold) = other.zero_count_within(self.total.zero_threshold);
            }
            if other_threshold > self.total.zero_threshold {
                let (count, threshold) = self.total.zero_count_within(other_threshold);
                self.widen_zero(count, threshold);
            }
            if other_threshold.is_nan() || self.total.zero_threshold.is_nan() {
                break;
            }
        }
        other_count
    }

    fn widen_zero(&mut self, count: f64, threshold: f64) {
        self.total.zero_count = count;
        self.total.zero_threshold = threshold;
        let schema = self.total.schema;
        for is_positive in [true, false] {
            let cells = self.cells(is_positive);
            let kept = cells
                .into_iter()
                .filter(|(index, _, _)| exponential_bound(index.saturating_sub(1), schema) >= threshold);
            self.set_cells(kept.collect(), is_positive);
        }
    }

    fn reduce(&mut self, schema: i32) {
        let from = self.total.schema;
        for is_positive in [true, false] {
            let mut merged: Vec<Cell> = Vec::new();
            for (index, count, lost) in self.cells(is_positive) {
                let index = sparse::index_at(index, from, schema);
                match merged.last_mut() {
                    Some(last) if last.0 == index => {
                        (last.1, last.2) = kahan_inc(count, last.1, last.2);
                        last.2 += lost;
                    }
                    _ => merged.push((index, count, lost)),
                }
            }
            self.set_cells(merged, is_positive);
        }
        self.total.schema = schema;
    }

    fn side(&self, is_positive: bool) -> (&[BucketSpan], &[f64]) {
        if is_positive {
            (&self.total.positive_spans, &self.total.positive_buckets)
        } else {
            (&self.total.negative_spans, &self.total.negative_buckets)
        }
    }

    fn cells(&self, is_positive: bool) -> Vec<Cell> {
        let (spans, counts) = self.side(is_positive);
        let lost = self.lost.as_ref().map(|l| if is_positive { &l.positive } else { &l.negative });
        sparse::iter(spans, counts)
            .enumerate()
            .map(|(i, (index, count))| (index, count, lost.and_then(|l| l.get(i)).copied().unwrap_or(0.0)))
            .collect()
    }

    fn set_cells(&mut self, cells: Vec<Cell>, is_positive: bool) {
        let (spans, counts) = sparse::from_sparse(cells.iter().map(|(index, count, _)| (*index, *count)));
        let lost: Vec<f64> = cells.into_iter().map(|(_, _, lost)| lost).collect();
        if is_positive {
            (self.total.positive_spans, self.total.positive_buckets) = (spans, counts);
        } else {
            (self.total.negative_spans, self.total.negative_buckets) = (spans, counts);
        }
        if let Some(ours) = &mut self.lost {
            *(if is_positive { &mut ours.positive } else { &mut ours.negative }) = lost;
        }
    }

    /// Adds the buckets of one side; the resolution of the sum is not above the other's.
    fn combine_side(&mut self, other: &FloatHistogram, sign: f64, is_positive: bool) {
        let (other_spans, other_counts) = if is_positive {
            (&other.positive_spans, &other.positive_buckets)
        } else {
            (&other.negative_spans, &other.negative_buckets)
        };
        let zero = self.total.zero_threshold;
        let (schema, is_custom) = (self.total.schema, self.total.has_custom_buckets());
        let (spans, _) = self.side(is_positive);
        let same_layout = other.schema == schema && spans == other_spans;
        if same_layout && (is_custom || other.zero_threshold == zero) {
            self.add_same_layout(other_counts, sign, is_positive);
            return;
        }
        let added = sparse::at_schema(sparse::iter(other_spans, other_counts), other.schema, schema);
        let added = added
            .into_iter()
            .skip_while(|(index, _)| schema != CUSTOM_BUCKETS_SCHEMA && exponential_bound(*index, schema) <= zero);
        let merged =
            merge(self.cells(is_positive), added.map(|(index, count)| (index, sign * count)), self.lost.is_some());
        self.set_cells(merged, is_positive);
    }

    fn add_same_layout(&mut self, added: &[f64], sign: f64, is_positive: bool) {
        let counts = if is_positive { &mut self.total.positive_buckets } else { &mut self.total.negative_buckets };
        match &mut self.lost {
            None => counts.iter_mut().zip(added).for_each(|(count, added)| *count += sign * added),
            Some(lost) => {
                let lost = if is_positive { &mut lost.positive } else { &mut lost.negative };
                for ((count, lost), added) in counts.iter_mut().zip(lost).zip(added) {
                    (*count, *lost) = kahan_inc(sign * added, *count, *lost);
                }
            }
        }
    }

    /// Adds custom buckets with other bounds: only bounds that both have stay.
    fn combine_common_bounds(&mut self, other: &FloatHistogram, sign: f64) {
        let common = common_bounds(&self.total.custom_values, &other.custom_values);
        let mut counts = vec![0.0; common.len() + 1];
        let mut lost = vec![0.0; common.len() + 1];
        let target = |index: i32, bounds: &[f64]| {
            let upper = bound(index, CUSTOM_BUCKETS_SCHEMA, bounds);
            common.partition_point(|b| *b < upper)
        };
        for (index, count, lost_count) in self.cells(true) {
            let at = target(index, &self.total.custom_values);
            (counts[at], lost[at]) = kahan_inc(count, counts[at], lost[at]);
            (counts[at], lost[at]) = kahan_inc(lost_count, counts[at], lost[at]);
        }
        for (index, count) in sparse::iter(&other.positive_spans, &other.positive_buckets) {
            let at = target(index, &other.custom_values);
            (counts[at], lost[at]) = kahan_inc(sign * count, counts[at], lost[at]);
        }
        let cells = counts.into_iter().zip(lost).enumerate().map(|(i, (count, lost))| (i as i32, count, lost));
        let cells: Vec<Cell> = cells.filter(|(_, count, lost)| *count != 0.0 || *lost != 0.0).collect();
        self.set_cells(cells, true);
        self.total.custom_values = common;
    }
}

fn merge(ours: Vec<Cell>, added: impl Iterator<Item = (i32, f64)>, is_compensated: bool) -> Vec<Cell> {
    let mut merged = Vec::with_capacity(ours.len() + 4);
    let mut ours = ours.into_iter().peekable();
    for (index, count) in added {
        while let Some(cell) = ours.next_if(|cell| cell.0 < index) {
            merged.push(cell);
        }
        match ours.next_if(|cell| cell.0 == index) {
            Some((_, total, lost)) if is_compensated => {
                let (total, lost) = kahan_inc(count, total, lost);
                merged.push((index, total, lost));
            }
            Some((_, total, _)) => merged.push((index, total + count, 0.0)),
            None => merged.push((index, count, 0.0)),
        }
    }
    merged.extend(ours);
    merged
}

/// The bounds that both have; both rise.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    let mut others = b.iter().peekable();
    let is_common = |bound: &&f64| {
        while others.next_if(|other| other < bound).is_some() {}
        others.peek() == Some(bound)
    };
    a.iter().filter(is_common).copied().collect()
}

impl FloatHistogram {
    /// What the zero bucket would hold if it were as wide as this, and how wide it must be so as not to cut a bucket.
    pub(super) fn zero_count_within(&self, threshold: f64) -> (f64, f64) {
        let mut threshold = threshold;
        if threshold == self.zero_threshold {
            return (self.zero_count, threshold);
        }
        'wider: loop {
            let mut count = self.zero_count;
            for bucket in self.positive() {
                if bucket.lower >= threshold {
                    break;
                }
                count += bucket.count;
                if bucket.upper > threshold {
                    if bucket.count != 0.0 {
                        threshold = bucket.upper;
                    }
                    break;
                }
            }
            for bucket in self.negative() {
                if bucket.upper <= -threshold {
                    break;
                }
                count += bucket.count;
                if bucket.lower < -threshold {
                    if bucket.count != 0.0 {
                        threshold = -bucket.lower;
                        continue 'wider;
                    }
                    break;
                }
            }
            return (count, threshold);
        }
    }
}
