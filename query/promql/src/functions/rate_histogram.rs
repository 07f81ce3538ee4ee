//! `rate`, `increase`, `delta` of native histograms.

use std::sync::Arc;

use super::over_time_histogram::incompatible;
use super::rate::{Extent, is_start_overlap, is_start_reset};
use crate::annotations::{Annotation, Annotations, HistogramOperation};
use crate::eval::range::{RangeContext, Window};
use crate::eval::samples::Histograms;
use crate::histogram::{FloatHistogram, ResetHint};
use crate::options::Release;

/// The rate over one window of histograms.
pub(crate) fn extrapolated(
    window: &Window<'_>,
    is_counter: bool,
    is_rate: bool,
    metric: &str,
    context: &RangeContext,
    notes: &mut Annotations,
) -> Option<FloatHistogram> {
    let histograms = &window.histograms;
    let last = histograms.len().checked_sub(1)?;
    let uses_starts = context.uses_start_timestamps && is_counter && !histograms.starts.is_empty();
    let mut increase = None;
    if last > 0 {
        let part = Increase { histograms, is_counter, uses_starts, metric, context };
        increase = Some(part.compute(notes)?);
    }
    let extent = Extent {
        first_ms: histograms.times[0],
        last_ms: histograms.times[last],
        samples: histograms.len(),
        start_ms: window.start_ms,
        end_ms: window.end_ms,
    };
    let first = &histograms.values[0];
    let begun_ms = histograms.start(0);
    let is_inside = begun_ms != 0 && begun_ms > window.start_ms && begun_ms < histograms.times[0];
    let (mut increase, factor) = if uses_starts && is_inside {
        let increase = match increase {
            None => FloatHistogram::clone(first),
            Some(mut increase) => {
                add(&mut increase, first, metric, context, notes)?;
                increase
            }
        };
        (increase, extent.factor_since(begun_ms))
    } else {
        let increase = increase?;
        let zero_point =
            (is_counter && increase.count > 0.0 && first.count >= 0.0).then(|| first.count / increase.count);
        // Prometheus 3.5 does not stop at the zero point of histograms.
        let zero_point = zero_point.filter(|_| context.release != Release::V3_5);
        (increase, extent.factor(zero_point))
    };
    increase.mul(if is_rate { factor / (context.range_ms as f64 / 1000.0) } else { factor });
    Some(increase)
}

/// Adds a histogram and says what there is to say.
pub(crate) fn add(
    sum: &mut FloatHistogram,
    other: &FloatHistogram,
    metric: &str,
    context: &RangeContext,
    notes: &mut Annotations,
) -> Option<()> {
    match sum.add(other, context.bounds) {
        Ok(outcome) => {
            if outcome.bounds_reconciled {
                let annotation = Annotation::MismatchedCustomBuckets(HistogramOperation::Addition);
                notes.add(&annotation, context.first_argument);
            }
            Some(())
        }
        Err(error) => {
            notes.add(&incompatible(error, metric), context.first_argument);
            None
        }
    }
}

/// Subtracts a histogram and says what there is to say.
pub(crate) fn sub(
    difference: &mut FloatHistogram,
    other: &FloatHistogram,
    metric: &str,
    context: &RangeContext,
    notes: &mut Annotations,
) -> Option<()> {
    match difference.sub(other, context.bounds) {
        Ok(outcome) => {
            if outcome.bounds_reconciled {
                let annotation = Annotation::MismatchedCustomBuckets(HistogramOperation::Subtraction);
                notes.add(&annotation, context.first_argument);
            }
            Some(())
        }
        Err(error) => {
            notes.add(&incompatible(error, metric), context.first_argument);
            None
        }
    }
}

/// The increase between the samples of a window, at least two.
struct Increase<'a> {
    histograms: &'a Histograms<'a>,
    is_counter: bool,
    uses_starts: bool,
    metric: &'a str,
    context: &'a RangeContext,
}

impl Increase<'_> {
    fn compute(&self, notes: &mut Annotations) -> Option<FloatHistogram> {
        let points = self.histograms.values;
        let last = &points[points.len() - 1];
        let first = self.base(points, notes);
        let is_custom = first.has_custom_buckets();
        let mut schema_min = last.schema.min(first.schema);
        let mixed = Annotation::MixedExponentialCustom { metric: self.metric };
        if last.has_custom_buckets() != is_custom {
            notes.add(&mixed, self.context.first_argument);
            return None;
        }
        for point in &points[1..points.len() - 1] {
            if !self.is_counter {
                break;
            }
            if point.reset_hint == ResetHint::Gauge {
                self.note_gauge(notes);
            }
            schema_min = schema_min.min(point.schema);
            if point.has_custom_buckets() != is_custom {
                notes.add(&mixed, self.context.first_argument);
                return None;
            }
        }
        let mut increase = last.at_schema(schema_min);
        sub(&mut increase, &first, self.metric, self.context, notes)?;
        if self.is_counter {
            self.add_resets(&mut increase, &first, notes)?;
        } else if points[0].reset_hint != ResetHint::Gauge || last.reset_hint != ResetHint::Gauge {
            notes.add(&Annotation::NotGauge { metric: self.metric }, self.context.first_argument);
        }
        increase.reset_hint = ResetHint::Gauge;
        increase.compact();
        Some(increase)
    }

    /// The first sample; an empty one where the counter was reset right after it, whatever buckets it has.
    fn base(&self, points: &[Arc<FloatHistogram>], notes: &mut Annotations) -> FloatHistogram {
        let (first, second, last) = (&points[0], &points[1], &points[points.len() - 1]);
        if !self.is_counter {
            return FloatHistogram::clone(first);
        }
        if first.reset_hint == ResetHint::Gauge || last.reset_hint == ResetHint::Gauge {
            self.note_gauge(notes);
        }
        if self.restarted(1) || second.is_reset_since(first, self.context.bounds) {
            return FloatHistogram {
                schema: second.schema,
                custom_values: Arc::clone(&second.custom_values),
                ..FloatHistogram::default()
            };
        }
        FloatHistogram::clone(first)
    }

    /// Adds what the counter had before each reset.
    fn add_resets(&self, increase: &mut FloatHistogram, first: &FloatHistogram, notes: &mut Annotations) -> Option<()> {
        let points = self.histograms.values;
        let mut before = first;
        let mut is_noted = false;
        for (i, point) in points.iter().enumerate().skip(1) {
            let (before_ms, before_start) = (self.histograms.times[i - 1], self.histograms.start(i - 1));
            let overlaps = self.uses_starts && is_start_overlap(before_start, before_ms, self.histograms.start(i));
            if overlaps && !is_noted {
                notes.add(&Annotation::StartTimeOverlap { metric: self.metric }, self.context.first_argument);
                is_noted = true;
            }
            if self.restarted(i) || point.is_reset_since(before, self.context.bounds) {
                add(increase, before, self.metric, self.context, notes)?;
            }
            before = point;
        }
        Some(())
    }

    fn restarted(&self, i: usize) -> bool {
        let histograms = self.histograms;
        self.uses_starts
            && is_start_reset(
                histograms.start(i - 1),
                histograms.times[i - 1],
                histograms.start(i),
                histograms.times[i],
            )
    }

    fn note_gauge(&self, notes: &mut Annotations) {
        notes.add(&Annotation::NotCounter { metric: self.metric }, self.context.first_argument);
    }
}
