//! `anchored` and `smoothed`: values at the edges of a window.

use std::sync::Arc;

use super::over_time_histogram::incompatible;
use super::rate_histogram::{add, sub};
use crate::annotations::{Annotation, Annotations, HistogramOperation};
use crate::ast::Edges;
use crate::error::Error;
use crate::eval::instant::Look;
use crate::eval::matrix::{Row, StepMatrix, Steps};
use crate::eval::range::{RangeContext, Window};
use crate::eval::samples::{Clean, Floats, Histograms};
use crate::histogram::{Bounds, FloatHistogram, IncompatibleBuckets, ResetHint};
use crate::labels::Labels;
use crate::position::Span;

/// Which samples stand for the edges of a window; `None` where it has no value.
fn edges(times: &[i64], window: &Window<'_>, is_smoothed: bool) -> Option<(usize, usize)> {
    let mut last = times.len().checked_sub(1)?;
    let first = times[..last].partition_point(|t| *t <= window.start_ms).saturating_sub(1);
    if is_smoothed {
        last = times[..last].partition_point(|t| *t < window.end_ms);
    }
    if times[last] <= window.start_ms || (is_smoothed && times[first] > window.end_ms) {
        return None;
    }
    Some((first, last))
}

/// The rate over a window whose edges have values.
pub(crate) fn rate(window: &Window<'_>, is_counter: bool, is_rate: bool, context: &RangeContext) -> Option<f64> {
    let floats = &window.floats;
    let is_smoothed = context.edges == Edges::Smoothed;
    let (mut first, mut last) = edges(floats.times, window, is_smoothed)?;
    let left = left_value(floats, first, window.start_ms, is_smoothed, is_counter);
    let right = right_value(floats, last, window.end_ms, is_smoothed, is_counter);
    let mut increase = right - left;
    if is_counter {
        if floats.times[first] <= window.start_ms {
            first += 1;
        }
        // One past the last sample strictly inside.
        if floats.times[last] < window.end_ms {
            last += 1;
        }
        let inside = floats.values.get(first..last).unwrap_or(&[]);
        let mut before = left;
        let mut correction = 0.0;
        for value in inside.iter().chain(std::iter::once(&right)) {
            if *value < before {
                correction += before;
            }
            before = *value;
        }
        increase += correction;
    }
    Some(if is_rate { increase / (context.range_ms as f64 / 1000.0) } else { increase })
}

fn left_value(floats: &Floats<'_>, first: usize, edge_ms: i64, is_smoothed: bool, is_counter: bool) -> f64 {
    if is_smoothed && floats.times[first] < edge_ms && first + 1 < floats.len() {
        return interpolate(floats, first, edge_ms, is_counter);
    }
    floats.values[first]
}

fn right_value(floats: &Floats<'_>, last: usize, edge_ms: i64, is_smoothed: bool, is_counter: bool) -> f64 {
    if is_smoothed && last > 0 && floats.times[last] > edge_ms {
        return interpolate(floats, last - 1, edge_ms, is_counter);
    }
    floats.values[last]
}

/// The value between a sample and the next. A counter that fell counts as having begun at zero.
fn interpolate(floats: &Floats<'_>, i: usize, at_ms: i64, is_counter: bool) -> f64 {
    let (from, to) = (floats.values[i], floats.values[i + 1]);
    let from = if is_counter && to < from { 0.0 } else { from };
    let part = (at_ms - floats.times[i]) as f64 * (to - from);
    from + part / (floats.times[i + 1] - floats.times[i]) as f64
}

/// The rate of histograms over a window whose edges have values.
pub(crate) fn rate_histogram(
    window: &Window<'_>,
    is_counter: bool,
    is_rate: bool,
    metric: &str,
    context: &RangeContext,
    notes: &mut Annotations,
) -> Option<FloatHistogram> {
    let histograms = &window.histograms;
    let is_smoothed = context.edges == Edges::Smoothed;
    let (first, last) = edges(histograms.times, window, is_smoothed)?;
    let span = context.first_argument;
    let used = &histograms.values[first..=last];
    if used.iter().any(|h| h.has_custom_buckets() != used[0].has_custom_buckets()) {
        notes.add(&Annotation::MixedExponentialCustom { metric }, span);
        return None;
    }
    if is_counter && used.iter().any(|h| h.reset_hint == ResetHint::Gauge) {
        notes.add(&Annotation::NotCounter { metric }, span);
    }
    let between = Between { histograms, is_counter, bounds: context.bounds, metric, span };
    let left = if is_smoothed && histograms.times[first] < window.start_ms && first < last {
        between.at(first, window.start_ms, notes)?
    } else {
        FloatHistogram::clone(&histograms.values[first])
    };
    let right = if is_smoothed && last > 0 && histograms.times[last] > window.end_ms {
        between.at(last - 1, window.end_ms, notes)?
    } else {
        FloatHistogram::clone(&histograms.values[last])
    };
    if !is_counter && (left.reset_hint != ResetHint::Gauge || right.reset_hint != ResetHint::Gauge) {
        notes.add(&Annotation::NotGauge { metric }, span);
    }
    let mut increase = right.clone();
    sub(&mut increase, &left, metric, context, notes)?;
    if is_counter {
        let was_before = is_smoothed && histograms.times[first] < window.start_ms;
        let resets = Resets { histograms, first, last, was_before, metric, context };
        resets.add_to(&mut increase, &left, &right, notes)?;
    }
    if is_rate {
        increase.div(context.range_ms as f64 / 1000.0);
    }
    increase.reset_hint = ResetHint::Gauge;
    increase.compact();
    Some(increase)
}

/// What lies between two histograms of a series.
struct Between<'a> {
    histograms: &'a Histograms<'a>,
    is_counter: bool,
    bounds: Bounds,
    metric: &'a str,
    span: Span,
}

impl Between<'_> {
    fn at(&self, i: usize, at_ms: i64, notes: &mut Annotations) -> Option<FloatHistogram> {
        self.interpolate(i, at_ms, notes).map_err(|error| notes.add(&incompatible(error, self.metric), self.span)).ok()
    }

    fn interpolate(
        &self,
        i: usize,
        at_ms: i64,
        notes: &mut Annotations,
    ) -> Result<FloatHistogram, IncompatibleBuckets> {
        let (from, to) = (&self.histograms.values[i], &self.histograms.values[i + 1]);
        let (from_ms, to_ms) = (self.histograms.times[i], self.histograms.times[i + 1]);
        if at_ms == from_ms {
            return Ok(FloatHistogram::clone(from));
        }
        let mut between = FloatHistogram::clone(to);
        if at_ms == to_ms {
            return Ok(between);
        }
        let part = (at_ms - from_ms) as f64 / (to_ms - from_ms) as f64;
        if self.is_counter && to.is_reset_since(from, self.bounds) {
            between.mul(part);
            return Ok(between);
        }
        if between.sub(from, self.bounds)?.bounds_reconciled {
            notes.add(&Annotation::MismatchedCustomBuckets(HistogramOperation::Subtraction), self.span);
        }
        between.mul(part);
        if between.add(from, self.bounds)?.bounds_reconciled {
            notes.add(&Annotation::MismatchedCustomBuckets(HistogramOperation::Addition), self.span);
        }
        Ok(between)
    }
}

/// The resets between the edges of a window.
struct Resets<'a> {
    histograms: &'a Histograms<'a>,
    first: usize,
    last: usize,
    /// The left edge was interpolated.
    was_before: bool,
    metric: &'a str,
    context: &'a RangeContext,
}

impl Resets<'_> {
    fn add_to(
        &self,
        increase: &mut FloatHistogram,
        left: &FloatHistogram,
        right: &FloatHistogram,
        notes: &mut Annotations,
    ) -> Option<()> {
        let values = self.histograms.values;
        let bounds = self.context.bounds;
        let mut next = self.first + 1;
        let mut before = left;
        let spanned =
            self.was_before && next < values.len() && values[next].is_reset_since(&values[self.first], bounds);
        if spanned {
            // The interpolation on the left has seen this reset.
            before = &values[next];
            next += 1;
        }
        if next > self.last {
            return Some(());
        }
        let mut correction: Option<FloatHistogram> = None;
        for now in values[next..self.last].iter().map(|h| &**h).chain(std::iter::once(right)) {
            if now.is_reset_since(before, bounds) {
                match &mut correction {
                    None => correction = Some(before.clone()),
                    Some(sum) => add(sum, before, self.metric, self.context, notes)?,
                }
            }
            before = now;
        }
        match correction {
            Some(correction) => add(increase, &correction, self.metric, self.context, notes),
            None => Some(()),
        }
    }
}

/// The samples of a range selector as a result, with values at both edges.
pub(crate) fn extend(
    floats: &Floats<'_>,
    has_histograms: bool,
    start_ms: i64,
    end_ms: i64,
    kind: Edges,
) -> Result<(Vec<i64>, Vec<f64>), Error> {
    if has_histograms {
        let word = if kind == Edges::Anchored { "anchored" } else { "smoothed" };
        return Err(Error::Execution(format!("{word} modifier is not supported with histograms")));
    }
    let is_smoothed = kind == Edges::Smoothed;
    let window = Window { floats: *floats, histograms: Histograms::default(), start_ms, end_ms, step_ms: end_ms };
    let Some((mut first, mut last)) = edges(floats.times, &window, is_smoothed) else {
        return Ok((Vec::new(), Vec::new()));
    };
    let left = left_value(floats, first, start_ms, is_smoothed, false);
    let right = right_value(floats, last, end_ms, is_smoothed, false);
    if floats.times[first] <= start_ms {
        first += 1;
    }
    // One past the last sample strictly inside.
    if floats.times[last] < end_ms {
        last += 1;
    }
    let (mut times, mut values) = (vec![start_ms], vec![left]);
    times.extend_from_slice(floats.times.get(first..last).unwrap_or(&[]));
    values.extend_from_slice(floats.values.get(first..last).unwrap_or(&[]));
    times.push(end_ms);
    values.push(right);
    Ok((times, values))
}

/// An instant selector with `smoothed`: values between samples are interpolated.
#[allow(clippy::too_many_arguments, reason = "the parts of one loop")]
pub(crate) fn fill_smoothed(
    matrix: &mut StepMatrix,
    labels: &Labels,
    samples: &Clean<'_>,
    steps: &Steps,
    look: &Look,
    bounds: Bounds,
    span: Span,
    notes: &mut Annotations,
) {
    let (floats, histograms) = (samples.floats(), samples.histograms());
    let row = matrix.push_absent(Row { labels: labels.clone(), drops_name: false });
    let metric = labels.metric_name();
    for (step, time_ms) in steps.times().enumerate() {
        let at_ms = look.time(time_ms);
        let (low, high) = (at_ms.saturating_sub(look.lookback_ms), at_ms.saturating_add(look.lookback_ms));
        let within = |times: &[i64]| (times.partition_point(|t| *t <= low), times.partition_point(|t| *t <= high));
        let (from, to) = within(floats.times);
        let (histogram_from, histogram_to) = within(histograms.times);
        let (floats, histograms) = (floats.slice(from, to), histograms.slice(histogram_from, histogram_to));
        match (floats.is_empty(), histograms.is_empty()) {
            (true, true) => {}
            (false, false) => notes.add(&Annotation::MixedFloatsHistograms { metric }, span),
            (false, true) => {
                if let Some(value) = smoothed_float(&floats, at_ms) {
                    matrix.values[row * steps.count + step] = value;
                }
            }
            (true, false) => {
                if let Some(histogram) = smoothed_histogram(&histograms, at_ms, bounds, metric, span, notes) {
                    matrix.set_histogram(row, step, Arc::new(histogram));
                }
            }
        }
    }
    matrix.drop_last_if_empty();
}

fn smoothed_float(floats: &Floats<'_>, at_ms: i64) -> Option<f64> {
    let next = floats.times.partition_point(|t| *t < at_ms);
    if floats.times.get(next) == Some(&at_ms) {
        return Some(floats.values[next]);
    }
    let before = next.checked_sub(1)?;
    Some(if next < floats.len() { interpolate(floats, before, at_ms, false) } else { floats.values[before] })
}

fn smoothed_histogram(
    histograms: &Histograms<'_>,
    at_ms: i64,
    bounds: Bounds,
    metric: &str,
    span: Span,
    notes: &mut Annotations,
) -> Option<FloatHistogram> {
    let next = histograms.times.partition_point(|t| *t < at_ms);
    if histograms.times.get(next) == Some(&at_ms) {
        return Some(FloatHistogram::clone(&histograms.values[next]));
    }
    let before = next.checked_sub(1)?;
    let from = &histograms.values[before];
    let Some(to) = histograms.values.get(next) else {
        return Some(FloatHistogram { reset_hint: ResetHint::Unknown, ..FloatHistogram::clone(from) });
    };
    if from.has_custom_buckets() != to.has_custom_buckets() {
        notes.add(&Annotation::MixedExponentialCustom { metric }, span);
        return None;
    }
    let is_counter = from.reset_hint != ResetHint::Gauge || to.reset_hint != ResetHint::Gauge;
    Between { histograms, is_counter, bounds, metric, span }.at(before, at_ms, notes)
}
