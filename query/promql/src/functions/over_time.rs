//! `*_over_time` of floats.

use std::sync::Arc;

use super::range::{Output, RangeFunction};
use crate::eval::range::Window;
use crate::eval::samples::Floats;
use crate::math::{KahanSum, kahan_inc, quantile};
use crate::options::Release;

/// A function of floats alone; `None` for no floats.
pub(crate) fn float(function: RangeFunction, floats: &Floats<'_>) -> Option<f64> {
    use RangeFunction as F;
    let values = floats.values;
    if values.is_empty() {
        return None;
    }
    Some(match function {
        F::Sum => sum(values),
        F::Avg => avg(values),
        F::Min => min(values),
        F::Max => max(values),
        F::Stddev => variance(values).sqrt(),
        F::Stdvar => variance(values),
        F::TsOfMax => extreme_time(floats, |value, best| value >= best),
        F::TsOfMin => extreme_time(floats, |value, best| value <= best),
        _ => return None,
    })
}

/// Compensated; an overflow stays infinite.
pub(crate) fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0, 0.0);
    for value in values {
        (sum, lost) = kahan_inc(*value, sum, lost);
    }
    if sum.is_infinite() { sum } else { sum + lost }
}

/// Sum by count; incremental from where the sum would overflow.
pub(crate) fn avg(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (values[0], 0.0);
    for (i, value) in values.iter().enumerate().skip(1) {
        let (next, next_lost) = kahan_inc(*value, sum, lost);
        if next.is_infinite() {
            return incremental_avg(&values[i..], i, sum, lost);
        }
        (sum, lost) = (next, next_lost);
    }
    let count = values.len() as f64;
    sum / count + lost / count
}

fn incremental_avg(rest: &[f64], done: usize, sum: f64, lost: f64) -> f64 {
    let mut count = done as f64;
    let (mut mean, mut lost) = (sum / count, lost / count);
    for value in rest {
        count += 1.0;
        let part = (count - 1.0) / count;
        (mean, lost) = kahan_inc(value / count, part * mean, part * lost);
    }
    mean + lost
}

/// The smallest; NaN only where all are.
pub(crate) fn min(values: &[f64]) -> f64 {
    values.iter().fold(values[0], |least, v| if *v < least || least.is_nan() { *v } else { least })
}

/// The largest; NaN only where all are.
pub(crate) fn max(values: &[f64]) -> f64 {
    values.iter().fold(values[0], |most, v| if *v > most || most.is_nan() { *v } else { most })
}

/// Welford's, compensated.
fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, KahanSum::default(), KahanSum::default());
    for value in values {
        count += 1.0;
        let delta = value - mean.total();
        mean.add(delta / count);
        squares.add(delta * (value - mean.total()));
    }
    squares.total() / count
}

/// Median of the distances from the median. In 3.5 a NaN is below all other values, later it is the result.
pub(crate) fn mad(values: &[f64], release: Release) -> f64 {
    if release != Release::V3_5 && values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let mut distances = values.to_vec();
    let median = quantile(0.5, &mut distances);
    distances.iter_mut().for_each(|v| *v = (*v - median).abs());
    quantile(0.5, &mut distances)
}

fn extreme_time(floats: &Floats<'_>, beats: impl Fn(f64, f64) -> bool) -> f64 {
    let (mut best, mut time_ms) = (floats.values[0], floats.times[0]);
    for (value, at) in floats.values.iter().zip(floats.times) {
        if beats(*value, best) || best.is_nan() {
            (best, time_ms) = (*value, *at);
        }
    }
    time_ms as f64 / 1000.0
}

/// The first or the last sample of a window.
pub(crate) fn edge(window: &Window<'_>, is_last: bool) -> Output {
    let (floats, histograms) = (&window.floats, &window.histograms);
    let pick = |length: usize| if is_last { length.checked_sub(1) } else { Some(0).filter(|_| length > 0) };
    let float = pick(floats.len()).map(|i| (floats.times[i], floats.values[i]));
    let histogram = pick(histograms.len()).map(|i| (histograms.times[i], &histograms.values[i]));
    match (float, histogram) {
        (Some((float_ms, value)), Some((histogram_ms, histogram))) => {
            let is_float = if is_last { histogram_ms < float_ms } else { float_ms < histogram_ms };
            if is_float { Output::Float(value) } else { Output::Histogram(Arc::clone(histogram)) }
        }
        (Some((_, value)), None) => Output::Float(value),
        (None, Some((_, histogram))) => Output::Histogram(Arc::clone(histogram)),
        (None, None) => Output::None,
    }
}

/// The time of the first or the last sample of a window, in seconds.
pub(crate) fn edge_time(window: &Window<'_>, is_last: bool) -> f64 {
    let times = [window.floats.times, window.histograms.times];
    let found = if is_last {
        times.iter().filter_map(|t| t.last()).max()
    } else {
        times.iter().filter_map(|t| t.first()).min()
    };
    found.map_or(f64::NAN, |ms| *ms as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_overflow_and_cancellation() {
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(avg(&[1e308, 1e308, 1e308]), 1e308);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!((min(&[f64::NAN, 2.0, 1.0]), max(&[f64::NAN, 2.0, 1.0])), (1.0, 2.0));
        assert_eq!(mad(&[4.0, 6.0, 2.0, 1.0, 999.0, 1.0, 2.0], Release::V3_5), 1.0);
        assert_eq!(mad(&[f64::NAN, 0.0, -1e308], Release::V3_5), 0.0);
        assert!(mad(&[f64::NAN, 0.0, -1e308], Release::V3_14).is_nan());
    }
}
