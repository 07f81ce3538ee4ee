//! The numbers that aggregations keep.

use std::ops::Range;

use crate::annotations::{Annotation, Annotations, HistogramOperation};
use crate::ast::AggregateOp;
use crate::eval::matrix::{ABSENT, is_absent};
use crate::functions::over_time_histogram::{HintsSeen, HistogramMean, incompatible};
use crate::histogram::{Bounds, FloatHistogram, HistogramSum};
use crate::math::kahan_inc;
use crate::position::Span;

/// Numbers of cells, as columns; what a column means depends on the aggregation.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Sum, extreme, count, or the sum of squared distances; [`ABSENT`] where nothing was seen.
    value: Vec<f64>,
    /// What rounding lost (sum, avg), or the mean so far (stddev, stdvar).
    second: Vec<f64>,
    /// How many values (avg, stddev, stdvar); negative where avg has become incremental.
    count: Vec<f64>,
}

impl Sums {
    pub(super) fn len(&self) -> usize {
        self.value.len()
    }

    pub(super) fn resize(&mut self, op: AggregateOp, cells: usize) {
        self.value.resize(cells, ABSENT);
        if matches!(op, AggregateOp::Sum | AggregateOp::Avg | AggregateOp::Stddev | AggregateOp::Stdvar) {
            self.second.resize(cells, 0.0);
        }
        if matches!(op, AggregateOp::Avg | AggregateOp::Stddev | AggregateOp::Stdvar) {
            self.count.resize(cells, 0.0);
        }
    }

    /// Says whether a cell holds anything.
    pub(super) fn has(&self, cell: usize) -> bool {
        !is_absent(self.value[cell])
    }

    /// Takes the floats of a row into the cells of its group.
    pub(super) fn add(&mut self, op: AggregateOp, cells: Range<usize>, values: &[f64]) {
        let out = &mut self.value[cells.clone()];
        match op {
            AggregateOp::Sum => {
                let lost = &mut self.second[cells];
                for ((sum, lost), value) in out.iter_mut().zip(lost).zip(values) {
                    if is_absent(*value) {
                        continue;
                    }
                    if is_absent(*sum) {
                        *sum = *value;
                    } else {
                        (*sum, *lost) = kahan_inc(*value, *sum, *lost);
                    }
                }
            }
            AggregateOp::Avg => self.add_avg(cells, values),
            AggregateOp::Stddev | AggregateOp::Stdvar => self.add_variance(cells, values),
            AggregateOp::Min => extreme(out, values, |value, least| value < least),
            AggregateOp::Max => extreme(out, values, |value, most| value > most),
            AggregateOp::Count => {
                for (count, value) in out.iter_mut().zip(values) {
                    if !is_absent(*value) {
                        *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
                    }
                }
            }
            _ => {
                for (seen, value) in out.iter_mut().zip(values) {
                    if !is_absent(*value) {
                        *seen = 1.0;
                    }
                }
            }
        }
    }

    fn add_avg(&mut self, cells: Range<usize>, values: &[f64]) {
        for (cell, value) in cells.zip(values) {
            if is_absent(*value) {
                continue;
            }
            let (sum, lost, count) = (&mut self.value[cell], &mut self.second[cell], &mut self.count[cell]);
            if is_absent(*sum) {
                (*sum, *count) = (*value, 1.0);
                continue;
            }
            let mut seen = count.abs();
            if *count > 0.0 {
                let (next, next_lost) = kahan_inc(*value, *sum, *lost);
                if !next.is_infinite() {
                    (*sum, *lost, *count) = (next, next_lost, seen + 1.0);
                    continue;
                }
                // The sum would overflow: go on with the mean.
                (*sum, *lost) = (*sum / seen, *lost / seen);
            }
            seen += 1.0;
            let part = (seen - 1.0) / seen;
            (*sum, *lost) = kahan_inc(*value / seen, part * *sum, part * *lost);
            *count = -seen;
        }
    }

    fn add_variance(&mut self, cells: Range<usize>, values: &[f64]) {
        for (cell, value) in cells.zip(values) {
            if is_absent(*value) {
                continue;
            }
            let (squares, mean, count) = (&mut self.value[cell], &mut self.second[cell], &mut self.count[cell]);
            if is_absent(*squares) {
                *squares = if value.is_finite() { 0.0 } else { f64::NAN };
                (*mean, *count) = (*value, 1.0);
                continue;
            }
            *count += 1.0;
            let delta = *value - *mean;
            *mean += delta / *count;
            *squares += delta * (*value - *mean);
        }
    }

    /// Counts a histogram in a cell.
    pub(super) fn count_histogram(&mut self, op: AggregateOp, cell: usize) {
        let slot = &mut self.value[cell];
        *slot = if op == AggregateOp::Count && !is_absent(*slot) { *slot + 1.0 } else { 1.0 };
    }

    /// Turns the numbers into results.
    pub(super) fn finish(&mut self, op: AggregateOp) {
        match op {
            AggregateOp::Sum => {
                for (sum, lost) in self.value.iter_mut().zip(&self.second) {
                    if !is_absent(*sum) {
                        *sum += lost;
                    }
                }
            }
            AggregateOp::Avg => {
                for ((sum, lost), count) in self.value.iter_mut().zip(&self.second).zip(&self.count) {
                    if is_absent(*sum) {
                        continue;
                    }
                    *sum = if *count < 0.0 { *sum + lost } else { *sum / count + lost / count };
                }
            }
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                for (squares, count) in self.value.iter_mut().zip(&self.count) {
                    if is_absent(*squares) {
                        continue;
                    }
                    let variance = *squares / count;
                    *squares = if op == AggregateOp::Stddev { variance.sqrt() } else { variance };
                }
            }
            _ => {}
        }
    }

    pub(super) fn take_values(&mut self) -> Vec<f64> {
        std::mem::take(&mut self.value)
    }
}

/// NaN gives way to any other value.
#[inline]
fn extreme(out: &mut [f64], values: &[f64], beats: impl Fn(f64, f64) -> bool) {
    for (best, value) in out.iter_mut().zip(values) {
        if !is_absent(*value) && (is_absent(*best) || beats(*value, *best) || best.is_nan()) {
            *best = *value;
        }
    }
}

/// The histograms of one group at one step.
#[derive(Debug, Default)]
pub(super) struct HistogramGroup {
    state: State,
    hints: HintsSeen,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Empty,
    Sum(HistogramSum),
    Mean(HistogramMean),
    /// Floats came before, so that there is no result and nothing to say but that.
    AfterFloats,
    /// Some did not go together; as in Prometheus, floats that came after that are not told of.
    Incompatible {
        after_floats: bool,
    },
}

/// What does not change from histogram to histogram.
#[derive(Clone, Copy, Debug)]
pub(super) struct HowToAdd {
    pub(super) is_avg: bool,
    pub(super) bounds: Bounds,
    pub(super) span: Span,
}

impl HistogramGroup {
    pub(super) fn add(
        &mut self,
        histogram: &FloatHistogram,
        after_floats: bool,
        how: HowToAdd,
        metric: &str,
        notes: &mut Annotations,
    ) {
        self.hints.see(histogram.reset_hint);
        let added = match &mut self.state {
            State::Incompatible { .. } | State::AfterFloats => return,
            State::Empty => {
                self.state = if after_floats {
                    State::AfterFloats
                } else if how.is_avg {
                    State::Mean(HistogramMean::new(histogram.clone()))
                } else {
                    State::Sum(HistogramSum::new(histogram.clone()))
                };
                return;
            }
            State::Sum(sum) => sum.add(histogram, how.bounds).map(|outcome| outcome.bounds_reconciled),
            State::Mean(mean) => mean.add(histogram, how.bounds),
        };
        match added {
            Ok(true) => notes.add(&Annotation::MismatchedCustomBuckets(HistogramOperation::Aggregation), how.span),
            Ok(false) => {}
            Err(error) => {
                notes.add(&incompatible(error, metric), how.span);
                self.state = State::Incompatible { after_floats };
            }
        }
    }

    /// Says whether floats of the group are to be told of.
    pub(super) fn sees_floats(&self) -> bool {
        !matches!(self.state, State::Incompatible { after_floats: false })
    }

    pub(super) fn finish(self, tells_collisions: bool, span: Span, notes: &mut Annotations) -> Option<FloatHistogram> {
        let mut total = match self.state {
            State::Empty | State::AfterFloats | State::Incompatible { .. } => return None,
            State::Sum(sum) => sum.finish(),
            State::Mean(mean) => mean.finish(),
        };
        if tells_collisions && self.hints.collide() {
            notes.add(&Annotation::ResetCollision(HistogramOperation::Aggregation), span);
        }
        total.compact();
        Some(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregate(op: AggregateOp, rows: &[f64]) -> f64 {
        let mut sums = Sums::default();
        sums.resize(op, 1);
        rows.iter().for_each(|value| sums.add(op, 0..1, &[*value]));
        sums.finish(op);
        sums.take_values()[0]
    }

    #[test]
    fn keeps_precision_and_knows_nan() {
        assert_eq!(aggregate(AggregateOp::Sum, &[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(aggregate(AggregateOp::Avg, &[1e308, 1e308, 1e308]), 1e308);
        assert_eq!(aggregate(AggregateOp::Max, &[f64::NAN, 1.0, ABSENT]), 1.0);
        assert!(aggregate(AggregateOp::Min, &[f64::NAN]).is_nan());
        assert!(is_absent(aggregate(AggregateOp::Count, &[ABSENT])));
        assert_eq!(aggregate(AggregateOp::Stddev, &[2.0, 4.0]), 1.0);
        assert!(aggregate(AggregateOp::Stdvar, &[f64::INFINITY]).is_nan());
    }
}
