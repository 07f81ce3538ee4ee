//! `rate`, `increase`, `delta`, `irate`, `idelta` of floats.

use std::sync::Arc;

use super::over_time_histogram::incompatible;
use super::range::Output;
use crate::annotations::{Annotation, Annotations, HistogramOperation};
use crate::eval::plan::{RateStep, WindowPlan};
use crate::eval::range::{RangeContext, Window};
use crate::histogram::{FloatHistogram, ResetHint};

/// Computes a rate over the windows of a series; by seconds where the length of the window is given.
pub(crate) fn fill(out: &mut [f64], values: &[f64], plan: &WindowPlan, is_counter: bool, range_ms: Option<i64>) {
    // The positions before which a counter fell, so that a window without any costs nothing.
    let resets: Vec<usize> =
        if is_counter { (1..values.len()).filter(|i| values[*i] < values[*i - 1]).collect() } else { Vec::new() };
    let mut next_reset = 0;
    let seconds = range_ms.map(|ms| ms as f64 / 1000.0);
    for ((slot, (from, to)), rate) in out.iter_mut().zip(&plan.bounds).zip(&plan.rates) {
        let (from, to) = (*from as usize, *to as usize);
        if to - from < 2 {
            continue;
        }
        let first = values[from];
        let mut increase = values[to - 1] - first;
        while next_reset < resets.len() && resets[next_reset] <= from {
            next_reset += 1;
        }
        for reset in resets[next_reset..].iter().take_while(|reset| **reset < to) {
            increase += values[*reset - 1];
        }
        let mut factor = rate.factor;
        // The counter may have been zero inside the window; the margin keeps rounding out of the quick test.
        if is_counter && increase > 0.0 && first >= 0.0 && first * rate.sampled < rate.to_start * increase * 1.001 {
            let to_zero = rate.sampled * (first / increase);
            if to_zero < rate.to_start {
                factor = (rate.sampled + to_zero + rate.to_end) / rate.sampled;
            }
        }
        *slot = increase * seconds.map_or(factor, |seconds| factor / seconds);
    }
}

/// How far the samples of a window reach, and the window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    pub(crate) samples: usize,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

impl Extent {
    /// What of the growth the times decide.
    #[inline]
    pub(crate) fn plan(&self) -> RateStep {
        let sampled = (self.last_ms - self.first_ms) as f64 / 1000.0;
        let (average, threshold) = self.spacing(sampled);
        let mut to_start = (self.first_ms - self.start_ms) as f64 / 1000.0;
        if to_start >= threshold {
            to_start = average / 2.0;
        }
        let to_end = self.end_seconds(average, threshold);
        RateStep { to_start, to_end, sampled, factor: grow(sampled, to_start, to_end) }
    }

    /// By how much an increase between the samples grows over the window. `zero_point` is how long before the first
    /// sample a counter was zero, in lengths of the sampled interval.
    pub(crate) fn factor(&self, zero_point: Option<f64>) -> f64 {
        let plan = self.plan();
        let to_zero = zero_point.map_or(f64::INFINITY, |part| plan.sampled * part);
        if to_zero < plan.to_start { grow(plan.sampled, to_zero, plan.to_end) } else { plan.factor }
    }

    /// The same where the counter began at a known time inside the window.
    pub(crate) fn factor_since(&self, begun_ms: i64) -> f64 {
        let (average, threshold) = self.spacing((self.last_ms - self.first_ms) as f64 / 1000.0);
        grow((self.last_ms - begun_ms) as f64 / 1000.0, 0.0, self.end_seconds(average, threshold))
    }

    /// Average distance of samples, and up to what distance an edge of the window counts as reached.
    #[inline]
    fn spacing(&self, sampled: f64) -> (f64, f64) {
        let average = if self.samples > 1 { sampled / (self.samples - 1) as f64 } else { 0.0 };
        (average, average * 1.1)
    }

    #[inline]
    fn end_seconds(&self, average: f64, threshold: f64) -> f64 {
        let to_end = (self.end_ms - self.last_ms) as f64 / 1000.0;
        if to_end >= threshold { average / 2.0 } else { to_end }
    }
}

#[inline]
fn grow(sampled: f64, to_start: f64, to_end: f64) -> f64 {
    if sampled == 0.0 { 1.0 } else { (sampled + to_start + to_end) / sampled }
}

/// The rate over one window of floats.
pub(crate) fn extrapolated(
    window: &Window<'_>,
    is_counter: bool,
    is_rate: bool,
    metric: &str,
    context: &RangeContext,
    notes: &mut Annotations,
) -> Option<f64> {
    let floats = &window.floats;
    let values = floats.values;
    let last = floats.len().checked_sub(1)?;
    let uses_starts = context.uses_start_timestamps && is_counter && !floats.starts.is_empty();
    let mut increase = values[last] - values[0];
    let mut is_noted = false;
    for i in 1..floats.len() {
        if !is_counter {
            break;
        }
        let (before_ms, before_start) = (floats.times[i - 1], floats.start(i - 1));
        if uses_starts && !is_noted && is_start_overlap(before_start, before_ms, floats.start(i)) {
            notes.add(&Annotation::StartTimeOverlap { metric }, context.first_argument);
            is_noted = true;
        }
        let restarted = uses_starts && is_start_reset(before_start, before_ms, floats.start(i), floats.times[i]);
        if values[i] < values[i - 1] || restarted {
            increase += values[i - 1];
        }
    }
    let extent = Extent {
        first_ms: floats.times[0],
        last_ms: floats.times[last],
        samples: floats.len(),
        start_ms: window.start_ms,
        end_ms: window.end_ms,
    };
    let begun_ms = floats.start(0);
    let factor = if uses_starts && begun_ms != 0 && begun_ms > window.start_ms && begun_ms < floats.times[0] {
        increase += values[0];
        extent.factor_since(begun_ms)
    } else if last == 0 {
        return None;
    } else {
        extent.factor((is_counter && increase > 0.0 && values[0] >= 0.0).then(|| values[0] / increase))
    };
    Some(increase * if is_rate { factor / (context.range_ms as f64 / 1000.0) } else { factor })
}

/// Says whether start timestamps tell of a reset between two samples.
pub(crate) fn is_start_reset(before_start: i64, before_ms: i64, start: i64, time_ms: i64) -> bool {
    if start == 0 || start >= time_ms || start < before_ms {
        return false;
    }
    if start > before_ms {
        return true;
    }
    // It starts where the sample before ends: a reset where that sample's own start is known and before it.
    before_start <= before_ms && before_start != 0 && before_start != before_ms
}

/// Says whether a sample starts to count before the sample before it ended.
pub(crate) fn is_start_overlap(before_start: i64, before_ms: i64, start: i64) -> bool {
    start != 0 && start < before_ms && start != before_start
}

/// A sample of either kind.
#[derive(Clone, Copy)]
struct Sample<'a> {
    time_ms: i64,
    start_ms: i64,
    value: f64,
    histogram: Option<&'a Arc<FloatHistogram>>,
}

/// The difference of the last two samples, for a rate by seconds.
pub(crate) fn instant(
    window: &Window<'_>,
    metric: &str,
    is_rate: bool,
    context: &RangeContext,
    notes: &mut Annotations,
) -> Output {
    let Some((before, last)) = last_two(window) else { return Output::None };
    let interval_ms = last.time_ms - before.time_ms;
    if interval_ms == 0 {
        return Output::None;
    }
    let seconds = interval_ms as f64 / 1000.0;
    let restarted =
        context.uses_start_timestamps && is_start_reset(before.start_ms, before.time_ms, last.start_ms, last.time_ms);
    match (before.histogram, last.histogram) {
        (None, None) => {
            let is_reset = is_rate && (last.value < before.value || restarted);
            let difference = if is_reset { last.value } else { last.value - before.value };
            Output::Float(if is_rate { difference / seconds } else { difference })
        }
        (Some(before), Some(last)) => match difference(before, last, restarted, metric, is_rate, context, notes) {
            Some(mut difference) => {
                if is_rate {
                    difference.div(seconds);
                }
                Output::Histogram(Arc::new(difference))
            }
            None => Output::None,
        },
        _ => {
            notes.add(&Annotation::MixedFloatsHistograms { metric }, context.first_argument);
            Output::None
        }
    }
}

fn difference(
    before: &FloatHistogram,
    last: &FloatHistogram,
    restarted: bool,
    metric: &str,
    is_rate: bool,
    context: &RangeContext,
    notes: &mut Annotations,
) -> Option<FloatHistogram> {
    let span = context.first_argument;
    let gauges = [before, last].iter().filter(|h| h.reset_hint == ResetHint::Gauge).count();
    if is_rate && gauges > 0 {
        notes.add(&Annotation::NotCounter { metric }, span);
    }
    if !is_rate && gauges < 2 {
        notes.add(&Annotation::NotGauge { metric }, span);
    }
    let mut difference = last.clone();
    if !is_rate || !(restarted || last.is_reset_since(before, context.bounds)) {
        match difference.sub(before, context.bounds) {
            Ok(outcome) if outcome.bounds_reconciled => {
                notes.add(&Annotation::MismatchedCustomBuckets(HistogramOperation::Subtraction), span);
            }
            Ok(_) => {}
            Err(error) => {
                notes.add(&incompatible(error, metric), span);
                return None;
            }
        }
    }
    difference.reset_hint = ResetHint::Gauge;
    difference.compact();
    Some(difference)
}

/// The newest two samples of a window, the older first.
fn last_two<'a>(window: &Window<'a>) -> Option<(Sample<'a>, Sample<'a>)> {
    let (floats, histograms) = (window.floats, window.histograms);
    let (mut f, mut h) = (floats.len(), histograms.len());
    let mut take = || -> Option<Sample<'a>> {
        let is_float = f > 0 && (h == 0 || floats.times[f - 1] > histograms.times[h - 1]);
        if is_float {
            f -= 1;
            let (time_ms, start_ms) = (floats.times[f], floats.start(f));
            return Some(Sample { time_ms, start_ms, value: floats.values[f], histogram: None });
        }
        h = h.checked_sub(1)?;
        let (time_ms, start_ms) = (histograms.times[h], histograms.start(h));
        Some(Sample { time_ms, start_ms, value: 0.0, histogram: Some(&histograms.values[h]) })
    };
    let last = take()?;
    Some((take()?, last))
}
