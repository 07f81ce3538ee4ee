//! `deriv`, `predict_linear`, `double_exponential_smoothing`.

use crate::error::Error;
use crate::eval::samples::Floats;
use crate::math::KahanSum;

/// Slope and value at a time of the line with the least squares.
fn line(floats: &Floats<'_>, time_ms: i64) -> (f64, f64) {
    let first = floats.values[0];
    if floats.values.iter().all(|v| *v == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let (mut x_sum, mut y_sum, mut xy_sum, mut xx_sum) =
        (KahanSum::default(), KahanSum::default(), KahanSum::default(), KahanSum::default());
    for (at, y) in floats.times.iter().zip(floats.values) {
        let x = (at - time_ms) as f64 / 1e3;
        x_sum.add(x);
        y_sum.add(*y);
        xy_sum.add(x * y);
        xx_sum.add(x * x);
    }
    let n = floats.len() as f64;
    let (x, y) = (x_sum.total(), y_sum.total());
    let covariance = xy_sum.total() - x * y / n;
    let variance = xx_sum.total() - x * x / n;
    let slope = covariance / variance;
    (slope, y / n - slope * x / n)
}

/// The slope per second of at least two samples.
pub(crate) fn slope(floats: &Floats<'_>) -> Option<f64> {
    (floats.len() >= 2).then(|| line(floats, floats.times[0]).0)
}

/// The value so many seconds after a step.
pub(crate) fn predict(floats: &Floats<'_>, step_ms: i64, seconds: f64) -> Option<f64> {
    (floats.len() >= 2).then(|| {
        let (slope, value) = line(floats, step_ms);
        slope * seconds + value
    })
}

/// Refuses factors outside (0, 1).
pub(crate) fn check_factors(smoothing: f64, trend: f64) -> Result<(), Error> {
    for (name, short, factor) in [("smoothing", "sf", smoothing), ("trend", "tf", trend)] {
        if factor <= 0.0 || factor >= 1.0 {
            let text = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}");
            return Err(Error::Execution(text));
        }
    }
    Ok(())
}

/// Holt's linear smoothing of at least two samples.
pub(crate) fn smooth(values: &[f64], smoothing: f64, trend: f64) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let (mut before, mut smoothed) = (0.0, values[0]);
    let mut slope = values[1] - values[0];
    for (i, value) in values.iter().enumerate().skip(1) {
        if i > 1 {
            slope = trend * (smoothed - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (smoothed + slope);
        (before, smoothed) = (smoothed, next);
    }
    Some(smoothed)
}
