//! Functions of single numbers.

use std::sync::Arc;

use crate::eval::matrix::{StepMatrix, is_absent};
use crate::math::{max, min};

/// A function of single numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MathFunction {
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Deg,
    Exp,
    Floor,
    Ln,
    Log10,
    Log2,
    Rad,
    Sgn,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
}

impl MathFunction {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "abs" => Self::Abs,
            "acos" => Self::Acos,
            "acosh" => Self::Acosh,
            "asin" => Self::Asin,
            "asinh" => Self::Asinh,
            "atan" => Self::Atan,
            "atanh" => Self::Atanh,
            "ceil" => Self::Ceil,
            "cos" => Self::Cos,
            "cosh" => Self::Cosh,
            "deg" => Self::Deg,
            "exp" => Self::Exp,
            "floor" => Self::Floor,
            "ln" => Self::Ln,
            "log10" => Self::Log10,
            "log2" => Self::Log2,
            "rad" => Self::Rad,
            "sgn" => Self::Sgn,
            "sin" => Self::Sin,
            "sinh" => Self::Sinh,
            "sqrt" => Self::Sqrt,
            "tan" => Self::Tan,
            "tanh" => Self::Tanh,
            _ => return None,
        })
    }

    /// Computes the function of every float.
    pub(crate) fn apply(self, values: &mut [f64]) {
        match self {
            Self::Abs => each(values, f64::abs),
            Self::Acos => each(values, f64::acos),
            Self::Acosh => each(values, crate::math::acosh),
            Self::Asin => each(values, f64::asin),
            Self::Asinh => each(values, crate::math::asinh),
            Self::Atan => each(values, f64::atan),
            Self::Atanh => each(values, f64::atanh),
            Self::Ceil => each(values, f64::ceil),
            Self::Cos => each(values, f64::cos),
            Self::Cosh => each(values, f64::cosh),
            Self::Deg => each(values, |v| v * 180.0 / std::f64::consts::PI),
            Self::Exp => each(values, f64::exp),
            Self::Floor => each(values, f64::floor),
            Self::Ln => each(values, f64::ln),
            Self::Log10 => each(values, f64::log10),
            Self::Log2 => each(values, f64::log2),
            Self::Rad => each(values, |v| v * std::f64::consts::PI / 180.0),
            Self::Sgn => each(values, sign),
            Self::Sin => each(values, f64::sin),
            Self::Sinh => each(values, f64::sinh),
            Self::Sqrt => each(values, f64::sqrt),
            Self::Tan => each(values, f64::tan),
            Self::Tanh => each(values, f64::tanh),
        }
    }
}

/// Zero and NaN stay what they are.
fn sign(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// Replaces each float that is there.
#[inline]
pub(crate) fn each(values: &mut [f64], f: impl Fn(f64) -> f64) {
    for value in values {
        if !is_absent(*value) {
            *value = f(*value);
        }
    }
}

/// Replaces each float that is there with one of it and of a number that each step has.
#[inline]
pub(crate) fn each_with(values: &mut [f64], steps: &[f64], f: impl Fn(f64, f64) -> f64) {
    if steps.is_empty() {
        return;
    }
    for row in values.chunks_exact_mut(steps.len()) {
        for (value, step) in row.iter_mut().zip(steps) {
            if !is_absent(*value) {
                *value = f(*value, *step);
            }
        }
    }
}

/// `-v`
pub(crate) fn negate(matrix: &mut StepMatrix) {
    each(&mut matrix.values, |v| -v);
    for histogram in matrix.histograms.iter_mut().flatten() {
        Arc::make_mut(histogram).mul(-1.0);
    }
    matrix.rows.iter_mut().for_each(|row| row.drops_name = true);
}

/// `clamp(v, low, high)`; a step whose bounds are crossed has no value.
pub(crate) fn clamp(values: &mut [f64], low: &[f64], high: &[f64]) {
    if low.is_empty() {
        return;
    }
    for row in values.chunks_exact_mut(low.len()) {
        for ((value, low), high) in row.iter_mut().zip(low).zip(high) {
            if *high < *low {
                *value = crate::eval::matrix::ABSENT;
            } else if !is_absent(*value) {
                *value = max(*low, min(*high, *value));
            }
        }
    }
}

/// `round(v, to)`; ties go up.
pub(crate) fn round(values: &mut [f64], to: &[f64]) {
    each_with(values, to, |value, to| {
        // Prometheus inverts for fewer surprises of floating point.
        let inverse = 1.0 / to;
        (value * inverse + 0.5).floor() / inverse
    });
}
