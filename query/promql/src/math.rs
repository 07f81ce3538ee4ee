//! Arithmetic that has to come out as Prometheus's.

/// Adds to a compensated sum (Neumaier's variant of Kahan's): the new sum and what rounding lost so far.
#[inline]
pub(crate) fn kahan_inc(inc: f64, sum: f64, lost: f64) -> (f64, f64) {
    let total = sum + inc;
    if total.is_infinite() {
        (total, 0.0)
    } else if sum.abs() >= inc.abs() {
        (total, lost + ((sum - total) + inc))
    } else {
        (total, lost + ((inc - total) + sum))
    }
}

/// A compensated sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KahanSum {
    sum: f64,
    lost: f64,
}

impl KahanSum {
    /// Adds a value.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        (self.sum, self.lost) = kahan_inc(value, self.sum, self.lost);
    }

    /// The sum.
    #[inline]
    pub(crate) fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// Orders floats as Prometheus sorts samples: NaN first.
#[inline]
pub(crate) fn nan_first(a: f64, b: f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal),
    }
}

/// The value below which a part `q` of the values lies, interpolated; sorts them.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|a, b| nan_first(*a, *b));
    let last = (values.len() - 1) as f64;
    let rank = q * last;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(last);
    let weight = rank - rank.floor();
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}

/// From here on a square of a number loses what is added to it.
const LARGE: f64 = (1u64 << 28) as f64;

/// The inverse of `sinh`; that of the standard library is infinite from half the largest number on.
#[inline]
pub(crate) fn asinh(value: f64) -> f64 {
    if value.abs() > LARGE && value.is_finite() {
        return (value.abs().ln() + std::f64::consts::LN_2).copysign(value);
    }
    value.asinh()
}

/// The inverse of `cosh`; as for [`asinh`].
#[inline]
pub(crate) fn acosh(value: f64) -> f64 {
    if value > LARGE && value.is_finite() { value.ln() + std::f64::consts::LN_2 } else { value.acosh() }
}

/// Go's `math.Mod`.
#[inline]
pub(crate) fn modulo(a: f64, b: f64) -> f64 {
    a % b
}

/// Go's `math.Pow`, which differs from C's in nothing that is a number.
#[inline]
pub(crate) fn power(a: f64, b: f64) -> f64 {
    a.powf(b)
}

/// Go's `math.Max`: NaN if either is, and +0 above -0.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        // An infinity beats NaN in Go.
        return if a == f64::INFINITY || b == f64::INFINITY { f64::INFINITY } else { f64::NAN };
    }
    a.max(b)
}

/// Go's `math.Min`.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY { f64::NEG_INFINITY } else { f64::NAN };
    }
    a.min(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_hyperbolic_functions_of_large_numbers() {
        let large = 709.889_355_822_726;
        for (found, wanted) in [(asinh(1e308), large), (asinh(-1e308), -large), (acosh(1e308), large)] {
            assert!((found - wanted).abs() < 1e-12, "{found}");
        }
        assert_eq!((asinh(f64::INFINITY), acosh(1.0)), (f64::INFINITY, 0.0));
        assert!((asinh(3e8) - 3e8f64.asinh()).abs() < 1e-12 && asinh(0.5) == 0.5f64.asinh());
    }
}
