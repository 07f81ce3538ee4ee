//! `absent` and `absent_over_time`.

use crate::ast::{Expr, ExprKind};
use crate::eval::matrix::{ABSENT, Row, StepMatrix};
use crate::labels::{Labels, METRIC_NAME};
use crate::matcher::{MatchOp, Matcher};

/// One series with 1 wherever no row has a value.
pub(crate) fn absent(matrix: &StepMatrix, argument: &Expr, drops_name: bool) -> StepMatrix {
    let mut present = vec![false; matrix.steps];
    for row in matrix.iter() {
        for (step, slot) in present.iter_mut().enumerate() {
            *slot |= row.has(step);
        }
    }
    let mut result = StepMatrix::new(matrix.steps);
    if present.iter().all(|p| *p) {
        return result;
    }
    result.push_absent(Row { labels: known_labels(argument), drops_name });
    result.values = present.into_iter().map(|p| if p { ABSENT } else { 1.0 }).collect();
    result
}

/// The labels that a selector pins.
fn known_labels(argument: &Expr) -> Labels {
    let matchers: &[Matcher] = match &argument.unwrap_parens().kind {
        ExprKind::Vector(selector) => &selector.matchers,
        ExprKind::Matrix(matrix) => &matrix.selector.matchers,
        _ => return Labels::empty(),
    };
    // Matchers that only take series away come last: Prometheus's index has put them there before this is asked.
    let must_be_set = |name: &str| matchers.iter().any(|m| m.name == name && !m.matches(""));
    let takes_away = |m: &&Matcher| {
        let is_negative = matches!(m.op, MatchOp::NotEqual | MatchOp::NotRegex);
        !must_be_set(&m.name) || is_negative && m.matches("")
    };
    let (last, first): (Vec<&Matcher>, Vec<&Matcher>) =
        matchers.iter().filter(|m| m.name != METRIC_NAME).partition(takes_away);
    let mut labels = Labels::empty();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in first.into_iter().chain(last) {
        if matcher.op == MatchOp::Equal && !seen.contains(&matcher.name.as_str()) {
            labels = labels.with(&matcher.name, &matcher.value);
            seen.push(&matcher.name);
        } else {
            labels = labels.with(&matcher.name, "");
        }
    }
    labels
}
