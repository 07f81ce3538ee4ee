//! Functions of range vectors: which there are, and the loops over windows.

use std::sync::Arc;

use super::{changes, extended, over_time, over_time_histogram, rate, rate_histogram, regression};
use crate::annotations::{Annotation, Annotations};
use crate::ast::Edges;
use crate::error::Error;
use crate::eval::plan::WindowPlan;
use crate::eval::range::{RangeContext, Window};
use crate::eval::samples::Floats;
use crate::histogram::FloatHistogram;
use crate::labels::Labels;

/// A function of a range vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RangeFunction {
    Absent,
    Avg,
    Changes,
    Count,
    Delta,
    Deriv,
    DoubleExponentialSmoothing,
    First,
    Idelta,
    Increase,
    Irate,
    Last,
    Mad,
    Max,
    Min,
    PredictLinear,
    Present,
    Quantile,
    Rate,
    Resets,
    Stddev,
    Stdvar,
    Sum,
    TsOfFirst,
    TsOfLast,
    TsOfMax,
    TsOfMin,
}

/// What a function makes of a window.
#[derive(Debug)]
pub(crate) enum Output {
    None,
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl From<Option<f64>> for Output {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::None, Self::Float)
    }
}

impl From<Option<FloatHistogram>> for Output {
    fn from(value: Option<FloatHistogram>) -> Self {
        value.map_or(Self::None, |histogram| Self::Histogram(Arc::new(histogram)))
    }
}

impl RangeFunction {
    /// The function of this name, if it takes a range vector.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "absent_over_time" => Self::Absent,
            "avg_over_time" => Self::Avg,
            "changes" => Self::Changes,
            "count_over_time" => Self::Count,
            "delta" => Self::Delta,
            "deriv" => Self::Deriv,
            "double_exponential_smoothing" => Self::DoubleExponentialSmoothing,
            "first_over_time" => Self::First,
            "idelta" => Self::Idelta,
            "increase" => Self::Increase,
            "irate" => Self::Irate,
            "last_over_time" => Self::Last,
            "mad_over_time" => Self::Mad,
            "max_over_time" => Self::Max,
            "min_over_time" => Self::Min,
            "predict_linear" => Self::PredictLinear,
            "present_over_time" => Self::Present,
            "quantile_over_time" => Self::Quantile,
            "rate" => Self::Rate,
            "resets" => Self::Resets,
            "stddev_over_time" => Self::Stddev,
            "stdvar_over_time" => Self::Stdvar,
            "sum_over_time" => Self::Sum,
            "ts_of_first_over_time" => Self::TsOfFirst,
            "ts_of_last_over_time" => Self::TsOfLast,
            "ts_of_max_over_time" => Self::TsOfMax,
            "ts_of_min_over_time" => Self::TsOfMin,
            _ => return None,
        })
    }

    /// Which argument is the range vector.
    pub(crate) fn range_argument(self) -> usize {
        usize::from(self == Self::Quantile)
    }

    /// Says whether the result still is the metric.
    pub(crate) fn keeps_name(self) -> bool {
        matches!(self, Self::Last | Self::First)
    }

    /// Refuses functions that `anchored` and `smoothed` cannot do.
    pub(crate) fn check_edges(self, edges: Edges, name: &str) -> Result<(), Error> {
        let (word, can) = match edges {
            Edges::Plain => return Ok(()),
            Edges::Anchored => ("anchored", "changes, delta, increase, rate, resets"),
            Edges::Smoothed => ("smoothed", "delta, increase, rate"),
        };
        if can.split(", ").any(|safe| safe == name) {
            return Ok(());
        }
        Err(Error::Execution(format!("{word} modifier can only be used with: {can} - not with {name}")))
    }

    /// Computes the function of one window, which holds at least one sample.
    pub(crate) fn apply(
        self,
        window: &Window<'_>,
        labels: &Labels,
        step: usize,
        context: &RangeContext,
        notes: &mut Annotations,
    ) -> Result<Output, Error> {
        let metric = labels.metric_name();
        Ok(match self {
            Self::Rate | Self::Increase | Self::Delta => self.rate(window, metric, context, notes),
            Self::Irate | Self::Idelta => rate::instant(window, metric, self == Self::Irate, context, notes),
            Self::Changes => changes::changes(window, context).into(),
            Self::Resets => changes::resets(window, context).into(),
            Self::Sum | Self::Avg => {
                if window.histograms.is_empty() {
                    return Ok(over_time::float(self, &window.floats).into());
                }
                if !window.floats.is_empty() {
                    notes.add(&Annotation::MixedFloatsHistograms { metric }, context.first_argument);
                    return Ok(Output::None);
                }
                over_time_histogram::sum_or_avg(self == Self::Avg, window.histograms.values, metric, context, notes)
                    .into()
            }
            Self::Count => Output::Float((window.floats.len() + window.histograms.len()) as f64),
            Self::Absent | Self::Present => Output::Float(1.0),
            Self::First | Self::Last => over_time::edge(window, self == Self::Last),
            Self::TsOfFirst | Self::TsOfLast => Output::Float(over_time::edge_time(window, self == Self::TsOfLast)),
            _ => {
                let found = self.of_floats(window, step, context)?;
                self.note_quantile(window, step, context, notes);
                if found.is_some() || (window.floats.len() == 1 && self.needs_two()) {
                    note_ignored(window, metric, context, notes);
                }
                found.into()
            }
        })
    }

    /// Says whether one sample is not enough.
    fn needs_two(self) -> bool {
        matches!(self, Self::Deriv | Self::PredictLinear | Self::DoubleExponentialSmoothing)
    }

    fn rate(self, window: &Window<'_>, metric: &str, context: &RangeContext, notes: &mut Annotations) -> Output {
        let is_counter = self != Self::Delta;
        let is_rate = self == Self::Rate;
        if !window.floats.is_empty() && !window.histograms.is_empty() {
            notes.add(&Annotation::MixedFloatsHistograms { metric }, context.first_argument);
            return Output::None;
        }
        match (context.edges, window.histograms.is_empty()) {
            (Edges::Plain, true) => rate::extrapolated(window, is_counter, is_rate, metric, context, notes).into(),
            (Edges::Plain, false) => {
                rate_histogram::extrapolated(window, is_counter, is_rate, metric, context, notes).into()
            }
            (_, true) => extended::rate(window, is_counter, is_rate, context).into(),
            (_, false) => extended::rate_histogram(window, is_counter, is_rate, metric, context, notes).into(),
        }
    }

    fn of_floats(self, window: &Window<'_>, step: usize, context: &RangeContext) -> Result<Option<f64>, Error> {
        let floats = &window.floats;
        if floats.is_empty() {
            if self == Self::DoubleExponentialSmoothing {
                regression::check_factors(context.param(0, step), context.param(1, step))?;
            }
            return Ok(None);
        }
        Ok(match self {
            Self::Deriv => regression::slope(floats),
            Self::PredictLinear => regression::predict(floats, window.step_ms, context.param(0, step)),
            Self::DoubleExponentialSmoothing => {
                let (smoothing, trend) = (context.param(0, step), context.param(1, step));
                regression::check_factors(smoothing, trend)?;
                regression::smooth(floats.values, smoothing, trend)
            }
            Self::Quantile => Some(crate::math::quantile(context.param(0, step), &mut floats.values.to_vec())),
            Self::Mad => Some(over_time::mad(floats.values, context.release)),
            _ => over_time::float(self, floats),
        })
    }

    fn note_quantile(self, window: &Window<'_>, step: usize, context: &RangeContext, notes: &mut Annotations) {
        if self != Self::Quantile || window.floats.is_empty() {
            return;
        }
        let q = context.param(0, step);
        if !(0.0..=1.0).contains(&q) {
            notes.add(&Annotation::InvalidQuantile(q), context.first_argument);
        }
    }
}

fn note_ignored(window: &Window<'_>, metric: &str, context: &RangeContext, notes: &mut Annotations) {
    if !window.histograms.is_empty() {
        notes.add(&Annotation::IgnoredInMixedRange { metric }, context.first_argument);
    }
}

impl RangeFunction {
    /// Says whether the function has a loop of its own over windows of floats, and then has nothing to say.
    pub(crate) fn has_loop(self) -> bool {
        !matches!(
            self,
            Self::Changes
                | Self::DoubleExponentialSmoothing
                | Self::Idelta
                | Self::Irate
                | Self::Mad
                | Self::PredictLinear
                | Self::Quantile
                | Self::Resets
                | Self::TsOfFirst
                | Self::TsOfLast
                | Self::TsOfMax
                | Self::TsOfMin
        )
    }

    /// Says whether the function extrapolates to its window.
    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Self::Rate | Self::Increase | Self::Delta)
    }

    /// Computes the function over the windows of a series that has floats only.
    pub(crate) fn fill_floats(self, out: &mut [f64], floats: &Floats<'_>, plan: &WindowPlan, range_ms: i64) {
        match self {
            Self::Rate => rate::fill(out, floats.values, plan, true, Some(range_ms)),
            Self::Increase => rate::fill(out, floats.values, plan, true, None),
            Self::Delta => rate::fill(out, floats.values, plan, false, None),
            Self::Sum => each(out, floats, plan, |w| Some(over_time::sum(w.values))),
            Self::Avg => each(out, floats, plan, |w| Some(over_time::avg(w.values))),
            Self::Min => each(out, floats, plan, |w| Some(over_time::min(w.values))),
            Self::Max => each(out, floats, plan, |w| Some(over_time::max(w.values))),
            Self::Count => each(out, floats, plan, |w| Some(w.values.len() as f64)),
            Self::Last => each(out, floats, plan, |w| w.values.last().copied()),
            Self::First => each(out, floats, plan, |w| w.values.first().copied()),
            Self::Present | Self::Absent => each(out, floats, plan, |_| Some(1.0)),
            Self::Deriv => each(out, floats, plan, |w| regression::slope(&w)),
            _ => each(out, floats, plan, |w| over_time::float(self, &w)),
        }
    }
}

/// Calls a function for each window that holds a sample.
#[inline]
fn each<'a>(out: &mut [f64], floats: &Floats<'a>, plan: &WindowPlan, f: impl Fn(Floats<'a>) -> Option<f64>) {
    for (slot, (from, to)) in out.iter_mut().zip(&plan.bounds) {
        if from == to {
            continue;
        }
        if let Some(value) = f(floats.slice(*from as usize, *to as usize)) {
            *slot = value;
        }
    }
}
