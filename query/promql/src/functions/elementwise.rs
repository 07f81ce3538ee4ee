//! Functions that work on each sample of an instant vector alone.

use super::math::{self, MathFunction};
use super::time::DatePart;
use crate::annotations::Annotations;
use crate::ast::Call;
use crate::error::Error;
use crate::eval::Evaluator;
use crate::eval::matrix::{ABSENT, StepMatrix, Steps};
use crate::histogram::FloatHistogram;

/// A function of single samples with its other arguments.
pub(crate) enum Elementwise {
    Math(MathFunction),
    Date(DatePart),
    Clamp { low: Vec<f64>, high: Vec<f64> },
    Round(Vec<f64>),
    Histogram(HistogramPart),
}

/// A number that a native histogram has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistogramPart {
    Avg,
    Count,
    Stddev,
    Stdvar,
    Sum,
}

impl HistogramPart {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "histogram_avg" => Self::Avg,
            "histogram_count" => Self::Count,
            "histogram_stddev" => Self::Stddev,
            "histogram_stdvar" => Self::Stdvar,
            "histogram_sum" => Self::Sum,
            _ => return None,
        })
    }

    fn of(self, histogram: &FloatHistogram) -> f64 {
        match self {
            Self::Avg => histogram.sum / histogram.count,
            Self::Count => histogram.count,
            Self::Stddev => variance(histogram).sqrt(),
            Self::Stdvar => variance(histogram),
            Self::Sum => histogram.sum,
        }
    }
}

/// The variance, guessing that observations lie in the middle of their bucket.
fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let mut squares = crate::math::KahanSum::default();
    for bucket in histogram.all_buckets().iter().filter(|b| b.count != 0.0) {
        let middle = if histogram.has_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            let middle = (bucket.upper * bucket.lower).sqrt();
            if bucket.upper < 0.0 { -middle } else { middle }
        };
        let delta = middle - mean;
        squares.add(bucket.count * delta * delta);
    }
    squares.total() / histogram.count
}

impl Elementwise {
    /// Says whether a function works on each sample alone and its first argument is the vector.
    pub(crate) fn is_one(name: &str) -> bool {
        MathFunction::from_name(name).is_some()
            || DatePart::from_name(name).is_some()
            || HistogramPart::from_name(name).is_some()
            || matches!(name, "clamp" | "clamp_min" | "clamp_max" | "round")
    }

    /// Computes the function in place.
    pub(crate) fn apply(&self, matrix: &mut StepMatrix) {
        matrix.rows.iter_mut().for_each(|row| row.drops_name = true);
        if let Self::Histogram(part) = self {
            if matrix.histograms.is_empty() {
                matrix.values.fill(ABSENT);
            } else {
                for (value, histogram) in matrix.values.iter_mut().zip(&matrix.histograms) {
                    *value = histogram.as_ref().map_or(ABSENT, |h| part.of(h));
                }
            }
        }
        // Whatever histograms were there have been looked at, or are ignored.
        let had_histograms = !matrix.histograms.is_empty();
        matrix.histograms.clear();
        let values = &mut matrix.values;
        match self {
            Self::Math(function) => function.apply(values),
            Self::Date(part) => math::each(values, |v| part.of(v)),
            Self::Clamp { low, high } => math::clamp(values, low, high),
            Self::Round(to) => math::round(values, to),
            Self::Histogram(_) => {}
        }
        if had_histograms || matches!(self, Self::Histogram(_) | Self::Clamp { .. }) {
            matrix.drop_empty();
        }
    }
}

impl Evaluator<'_> {
    /// The function of a call with its scalar arguments.
    pub(crate) fn elementwise(
        &self,
        call: &Call,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<Elementwise, Error> {
        let name = call.function.name;
        if let Some(function) = MathFunction::from_name(name) {
            return Ok(Elementwise::Math(function));
        }
        if let Some(part) = DatePart::from_name(name) {
            return Ok(Elementwise::Date(part));
        }
        if let Some(part) = HistogramPart::from_name(name) {
            return Ok(Elementwise::Histogram(part));
        }
        let mut scalar = |i: usize| call.args.get(i).map(|arg| self.scalar(arg, steps, notes)).transpose();
        let unbounded = |value: f64| vec![value; steps.count];
        Ok(match name {
            "clamp" => Elementwise::Clamp {
                low: scalar(1)?.unwrap_or_else(|| unbounded(f64::NEG_INFINITY)),
                high: scalar(2)?.unwrap_or_else(|| unbounded(f64::INFINITY)),
            },
            "clamp_min" => Elementwise::Clamp {
                low: scalar(1)?.unwrap_or_else(|| unbounded(f64::NEG_INFINITY)),
                high: unbounded(f64::INFINITY),
            },
            "clamp_max" => Elementwise::Clamp {
                low: unbounded(f64::NEG_INFINITY),
                high: scalar(1)?.unwrap_or_else(|| unbounded(f64::INFINITY)),
            },
            "round" => Elementwise::Round(scalar(1)?.unwrap_or_else(|| unbounded(1.0))),
            _ => return Err(Error::Execution(format!("function {name} does not work on single samples"))),
        })
    }
}
