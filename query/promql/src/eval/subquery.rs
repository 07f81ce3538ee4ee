//! Subqueries: an expression at steps of its own, aligned to multiples of the step.

use super::Evaluator;
use super::instant::Look;
use super::matrix::{StepMatrix, Steps};
use crate::annotations::Annotations;
use crate::ast::Subquery;
use crate::error::Error;

/// A subquery of more steps is refused.
const STEPS_MAX: i64 = 10_000_000;

impl Evaluator<'_> {
    /// Evaluates a subquery where the windows of the outer steps need it.
    pub(crate) fn subquery(
        &self,
        subquery: &Subquery,
        look: &Look,
        range_ms: i64,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<(StepMatrix, Steps), Error> {
        let inner = self.subquery_steps(subquery, look, range_ms, steps)?;
        if inner.count == 0 {
            return Ok((StepMatrix::new(0), inner));
        }
        let silent = Evaluator {
            storage: self.storage,
            control: std::sync::Arc::clone(&self.control),
            counts: std::sync::Arc::default(),
            resolves_hints: false,
            ..*self
        };
        Ok((silent.vector(&subquery.expr, &inner, notes)?, inner))
    }

    fn subquery_steps(&self, subquery: &Subquery, look: &Look, range_ms: i64, steps: &Steps) -> Result<Steps, Error> {
        let step_ms = match &subquery.step {
            Some(step) => self.positive(step)?,
            None => self.default_subquery_step_ms,
        };
        let step_ms = if step_ms > 0 { step_ms } else { self.default_subquery_step_ms.max(1) };
        let after_ms = look.time(steps.start_ms).saturating_sub(range_ms);
        let end_ms = look.time(steps.last());
        let start_ms = after_ms.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
        if end_ms < start_ms {
            return Ok(Steps { start_ms, step_ms, count: 0 });
        }
        let count = end_ms.saturating_sub(start_ms) / step_ms + 1;
        if count > STEPS_MAX {
            let text = format!("a subquery of {count} steps is more than {STEPS_MAX}; use a longer step");
            return Err(Error::Execution(text));
        }
        Ok(Steps { start_ms, step_ms, count: count as usize })
    }
}
