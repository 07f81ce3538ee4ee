//! Aggregations over series, step by step.

mod accumulate;
mod count_values;
mod grouping;
mod pick;
mod quantile;
mod sums;

use crate::annotations::{Annotation, Annotations};
use crate::ast::{Aggregate, AggregateOp, Expr, ExprKind};
use crate::error::Error;
use crate::eval::Evaluator;
use crate::eval::matrix::{StepMatrix, Steps};
use crate::options::Release;
use crate::position::Span;
use accumulate::Accumulator;
use grouping::Grouping;

/// The parameter of an aggregation at each step, and what is known of it.
struct Param {
    values: Vec<f64>,
    min: f64,
    max: f64,
    has_nan: bool,
}

impl Evaluator<'_> {
    /// Evaluates an aggregation.
    pub(crate) fn aggregate(
        &self,
        aggregate: &Aggregate,
        span: Span,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<StepMatrix, Error> {
        let grouping = Grouping::new(&aggregate.grouping, aggregate.is_without);
        match aggregate.op {
            AggregateOp::CountValues => {
                let label = count_values::label(aggregate.param.as_ref())?;
                let matrix = self.vector(&aggregate.expr, steps, notes)?;
                let room = |rows: usize| self.check_size(rows, steps.count);
                count_values::count(&matrix, &label, &aggregate.grouping, aggregate.is_without, room)?
                    .charged(&self.control)
            }
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                let param = self.param(aggregate, steps, notes)?;
                let matrix = self.vector(&aggregate.expr, steps, notes)?;
                self.pick(aggregate, span, &param, grouping, &matrix, notes)
            }
            AggregateOp::Quantile => {
                let param = self.param(aggregate, steps, notes)?;
                let matrix = self.vector(&aggregate.expr, steps, notes)?;
                note_quantile(&param, aggregate, notes);
                quantile::quantile(&matrix, &param.values, grouping, aggregate.expr.span, notes).charged(&self.control)
            }
            op => self.accumulate(op, &aggregate.expr, grouping, steps, notes),
        }
    }

    /// Aggregates series as they come.
    fn accumulate(
        &self,
        op: AggregateOp,
        expr: &Expr,
        grouping: Grouping<'_>,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<StepMatrix, Error> {
        let mut accumulator = Accumulator::new(op, grouping, steps.count, self.bounds(), self.release, expr.span);
        let is_streamed = steps.count == 1 || !self.is_invariant(expr);
        let pipeline = if is_streamed { self.pipeline(expr, steps, notes)? } else { None };
        match pipeline {
            Some(pipeline) if self.features.delayed_name_removal => {
                let mut own = Annotations::default();
                self.run(&pipeline, steps, notes, |part| accumulator.add(&part, &self.control, &mut own))?;
                notes.merge(own);
            }
            Some(pipeline) => {
                let matrix = self.collect(&pipeline, steps, notes)?;
                accumulator.add(&matrix, &self.control, notes)?;
            }
            None => {
                let matrix = self.vector(expr, steps, notes)?;
                accumulator.add(&matrix, &self.control, notes)?;
            }
        }
        accumulator.finish(notes).charged(&self.control)
    }

    fn param(&self, aggregate: &Aggregate, steps: &Steps, notes: &mut Annotations) -> Result<Param, Error> {
        let values = match &aggregate.param {
            Some(expr) => self.scalar(expr, steps, notes)?,
            None => vec![0.0; steps.count],
        };
        let is_constant =
            aggregate.param.as_ref().is_some_and(|p| matches!(p.unwrap_parens().kind, ExprKind::Number(_)));
        let has_nan = values.iter().any(|v| v.is_nan());
        if is_constant {
            let value = values.first().copied().unwrap_or(0.0);
            return Ok(Param { values, min: value, max: value, has_nan });
        }
        let min = values.iter().copied().fold(f64::MAX, crate::math::min);
        let max = values.iter().copied().fold(-f64::MAX, crate::math::max);
        Ok(Param { values, min, max, has_nan })
    }

    fn pick(
        &self,
        aggregate: &Aggregate,
        span: Span,
        param: &Param,
        grouping: Grouping<'_>,
        matrix: &StepMatrix,
        notes: &mut Annotations,
    ) -> Result<StepMatrix, Error> {
        let param_span = aggregate.param.as_ref().map_or(span, |p| p.unwrap_parens().span);
        let fail = |text: String| Err(Error::Execution(text));
        if aggregate.op == AggregateOp::LimitRatio {
            if param.has_nan {
                return fail(match self.release {
                    Release::V3_5 => "Ratio value NaN is NaN".to_owned(),
                    Release::V3_14 => "Ratio value is NaN".to_owned(),
                });
            }
            if param.max == 0.0 && param.min == 0.0 {
                return Ok(StepMatrix::new(matrix.steps));
            }
            if param.max > 1.0 {
                notes.add(&Annotation::InvalidRatio { ratio: param.max, capped: 1.0 }, param_span);
            }
            if param.min < -1.0 {
                notes.add(&Annotation::InvalidRatio { ratio: param.min, capped: -1.0 }, param_span);
            }
        } else {
            if self.release != Release::V3_5 {
                if param.has_nan {
                    return fail("Parameter value is NaN".to_owned());
                }
                if param.min <= i64::MIN as f64 {
                    return fail(format!("Scalar value {} underflows int64", crate::text::format_g(param.min)));
                }
                if param.max >= pick::K_MAX {
                    return fail(format!("Scalar value {} overflows int64", crate::text::format_g(param.max)));
                }
            }
            if param.max < 1.0 {
                return Ok(StepMatrix::new(matrix.steps));
            }
        }
        pick::Pick { op: aggregate.op, span, matrix, param: &param.values, control: &self.control }
            .run(grouping, notes)?
            .charged(&self.control)
    }
}

fn note_quantile(param: &Param, aggregate: &Aggregate, notes: &mut Annotations) {
    let span = aggregate.param.as_ref().map_or(aggregate.expr.span, |p| p.unwrap_parens().span);
    if param.has_nan {
        notes.add(&Annotation::InvalidQuantile(f64::NAN), span);
    }
    if param.max > 1.0 {
        notes.add(&Annotation::InvalidQuantile(param.max), span);
    }
    if param.min < 0.0 {
        notes.add(&Annotation::InvalidQuantile(param.min), span);
    }
}
