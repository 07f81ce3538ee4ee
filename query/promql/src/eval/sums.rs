//! Histograms of which nothing but count and sum is read.
//!
//! Prometheus 3.5 leaves the buckets away under `histogram_count`, `histogram_sum` and `histogram_avg`. That shows:
//! what does not go together by its buckets goes together without them. It looks at the first selector of a query alone,
//! and never at the outermost expression.

use std::sync::Arc;

use crate::ast::{Expr, ExprKind};
use crate::histogram::{Bounds, FloatHistogram};
use crate::position::Span;
use crate::storage::HistogramColumns;

use super::source::reads_sums_only;

/// The selector that is read without buckets.
pub(crate) fn selector(expr: &Expr) -> Option<Span> {
    let mut expr = expr;
    let (mut is_outermost, mut reads_sums) = (true, false);
    loop {
        let inner = match &expr.kind {
            ExprKind::Vector(selector) => return reads_sums.then_some(selector.span),
            ExprKind::Matrix(matrix) => return reads_sums.then_some(matrix.selector.span),
            ExprKind::Number(_) | ExprKind::String(_) => return None,
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => inner,
            ExprKind::Subquery(subquery) => &subquery.expr,
            ExprKind::Aggregate(aggregate) => first(&aggregate.expr, aggregate.param.as_ref()),
            ExprKind::Binary(binary) => first(&binary.lhs, Some(&binary.rhs)),
            ExprKind::Call(call) => {
                if !is_outermost {
                    reads_sums = match call.function.name {
                        name if reads_sums_only(name) => true,
                        "histogram_quantile" | "histogram_fraction" => false,
                        _ => reads_sums,
                    };
                }
                call.args.iter().find(|arg| has_selector(arg))?
            }
        };
        is_outermost = false;
        expr = inner;
    }
}

/// The first of two that selects anything.
fn first<'e>(one: &'e Expr, other: Option<&'e Expr>) -> &'e Expr {
    if has_selector(one) { one } else { other.unwrap_or(one) }
}

fn has_selector(expr: &Expr) -> bool {
    crate::stack::grow(|| match &expr.kind {
        ExprKind::Vector(_) | ExprKind::Matrix(_) => true,
        ExprKind::Number(_) | ExprKind::String(_) => false,
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => has_selector(inner),
        ExprKind::Subquery(subquery) => has_selector(&subquery.expr),
        ExprKind::Aggregate(aggregate) => {
            has_selector(&aggregate.expr) || aggregate.param.as_ref().is_some_and(has_selector)
        }
        ExprKind::Binary(binary) => has_selector(&binary.lhs) || has_selector(&binary.rhs),
        ExprKind::Call(call) => call.args.iter().any(has_selector),
    })
}

/// Leaves the buckets away; what they tell of resets is told before.
pub(crate) fn keep_sums(columns: &mut HistogramColumns, bounds: Bounds) {
    super::source::resolve_hints(columns, bounds);
    for histogram in &mut columns.values {
        let (count, sum, reset_hint) = (histogram.count, histogram.sum, histogram.reset_hint);
        *histogram = Arc::new(FloatHistogram { count, sum, reset_hint, ..FloatHistogram::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::selector;
    use crate::parser::parse;

    #[test]
    fn the_first_selector_below_the_outermost_expression_counts() {
        let at =
            |query: &str| parse(query).ok().and_then(|expr| selector(&expr)).map(|span| span.text(query).to_owned());
        assert_eq!(at("histogram_count(x)"), None);
        assert_eq!(at("abs(histogram_count(sum(x)))").as_deref(), Some("x"));
        assert_eq!(at("(histogram_sum(rate(x[5m])))").as_deref(), Some("x"));
        assert_eq!(at("1 + histogram_avg(x) + histogram_avg(y)").as_deref(), Some("x"));
        assert_eq!(at("y + histogram_avg(x)"), None);
        assert_eq!(at("abs(histogram_count(histogram_quantile(0.5, x)))"), None);
        assert_eq!(at("abs(histogram_quantile(0.5, histogram_count(x)))").as_deref(), Some("x"));
    }
}
