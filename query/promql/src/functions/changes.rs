//! `changes` and `resets`.

use std::sync::Arc;

use super::rate::is_start_reset;
use crate::ast::Edges;
use crate::eval::range::{RangeContext, Window};
use crate::histogram::FloatHistogram;

/// A sample of either kind.
#[derive(Clone, Copy)]
struct Sample<'a> {
    time_ms: i64,
    start_ms: i64,
    value: f64,
    histogram: Option<&'a Arc<FloatHistogram>>,
}

/// How often the value changed.
pub(crate) fn changes(window: &Window<'_>, context: &RangeContext) -> Option<f64> {
    count(window, context, |before, now| match (before.histogram, now.histogram) {
        (None, None) => now.value != before.value && !(now.value.is_nan() && before.value.is_nan()),
        (Some(before), Some(now)) => !now.same_as(before),
        _ => true,
    })
}

/// How often the counter was reset.
pub(crate) fn resets(window: &Window<'_>, context: &RangeContext) -> Option<f64> {
    count(window, context, |before, now| {
        let restarted =
            context.uses_start_timestamps && is_start_reset(before.start_ms, before.time_ms, now.start_ms, now.time_ms);
        match (before.histogram, now.histogram) {
            (None, None) => now.value < before.value || restarted,
            (Some(before), Some(now)) => restarted || now.is_reset_since(before, context.bounds),
            _ => true,
        }
    })
}

fn count(
    window: &Window<'_>,
    context: &RangeContext,
    differ: impl Fn(&Sample<'_>, &Sample<'_>) -> bool,
) -> Option<f64> {
    let (first_float, first_histogram) = first_samples(window, context)?;
    let (floats, histograms) = (&window.floats, &window.histograms);
    let (mut f, mut h) = (first_float, first_histogram);
    let mut before: Option<Sample<'_>> = None;
    let mut found = 0.0;
    while f < floats.len() || h < histograms.len() {
        let is_float = h >= histograms.len() || (f < floats.len() && floats.times[f] <= histograms.times[h]);
        let now = if is_float {
            f += 1;
            Sample {
                time_ms: floats.times[f - 1],
                start_ms: floats.start(f - 1),
                value: floats.values[f - 1],
                histogram: None,
            }
        } else {
            h += 1;
            Sample {
                time_ms: histograms.times[h - 1],
                start_ms: histograms.start(h - 1),
                value: 0.0,
                histogram: Some(&histograms.values[h - 1]),
            }
        };
        if before.as_ref().is_some_and(|before| differ(before, &now)) {
            found += 1.0;
        }
        before = Some(now);
    }
    Some(found)
}

/// Where counting begins. With `anchored` it is the newest sample that is not after the start of the window; `None`
/// where nothing comes after it.
fn first_samples(window: &Window<'_>, context: &RangeContext) -> Option<(usize, usize)> {
    if context.edges != Edges::Anchored {
        return Some((0, 0));
    }
    let (floats, histograms) = (window.floats.times, window.histograms.times);
    let after_float = floats.partition_point(|t| *t <= window.start_ms);
    let after_histogram = histograms.partition_point(|t| *t <= window.start_ms);
    if after_float >= floats.len() && after_histogram >= histograms.len() {
        return None;
    }
    let float = after_float.checked_sub(1).map(|i| (i, floats[i]));
    let histogram = after_histogram.checked_sub(1).map(|i| (i, histograms[i]));
    Some(match (float, histogram) {
        (None, None) => (0, 0),
        (Some((i, at)), other) if other.is_none_or(|(_, histogram_at)| at >= histogram_at) => (i, after_histogram),
        (_, Some((i, _))) => (after_float, i),
        (Some((i, _)), None) => (i, after_histogram),
    })
}
