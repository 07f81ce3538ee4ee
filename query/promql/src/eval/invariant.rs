//! Which expressions have the same value at every step.

use super::Evaluator;
use crate::ast::{Expr, ExprKind};
use crate::options::Release;

/// Functions that look at the time of the step.
const UNSAFE: &[&str] = &[
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "predict_linear",
    "time",
    "timestamp",
    "year",
];

impl Evaluator<'_> {
    /// Says whether an expression has the same value at every step, because all its selectors are pinned by `@`.
    pub(crate) fn is_invariant(&self, expr: &Expr) -> bool {
        crate::stack::grow(|| match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => true,
            ExprKind::Vector(selector) => selector.at.is_some(),
            ExprKind::Matrix(matrix) => matrix.selector.at.is_some(),
            ExprKind::Subquery(subquery) => subquery.at.is_some(),
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => self.is_invariant(inner),
            ExprKind::Binary(binary) => self.is_invariant(&binary.lhs) && self.is_invariant(&binary.rhs),
            ExprKind::Aggregate(aggregate) => {
                // Prometheus 3.5 forgets that a parameter may change.
                let is_forgotten = self.release == Release::V3_5;
                let is_constant = |param| is_forgotten || self.is_invariant(param);
                self.is_invariant(&aggregate.expr) && aggregate.param.as_ref().is_none_or(is_constant)
            }
            ExprKind::Call(call) => {
                !UNSAFE.contains(&call.function.name) && call.args.iter().all(|arg| self.is_invariant(arg))
            }
        })
    }
}
