//! `quantile`: all values of a group at a step at once.

use super::grouping::Grouping;
use crate::annotations::{Annotation, Annotations};
use crate::eval::matrix::{StepMatrix, is_absent};
use crate::position::Span;

pub(super) fn quantile(
    matrix: &StepMatrix,
    q: &[f64],
    mut grouping: Grouping<'_>,
    span: Span,
    notes: &mut Annotations,
) -> StepMatrix {
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (i, row) in matrix.iter().enumerate() {
        if row.histograms.iter().any(Option::is_some) {
            notes.add(&Annotation::IgnoredInAggregation { aggregation: "quantile" }, span);
        }
        let group = grouping.of(row.row);
        members.resize(members.len().max(group + 1), Vec::new());
        members[group].push(i);
    }
    let mut result = StepMatrix::new(matrix.steps);
    let mut values = Vec::new();
    for (row, members) in grouping.rows.into_iter().zip(&members) {
        let target = result.push_absent(row);
        for (step, q) in q.iter().enumerate() {
            values.clear();
            values.extend(members.iter().map(|i| matrix.values[i * matrix.steps + step]).filter(|v| !is_absent(*v)));
            if !values.is_empty() {
                result.values[target * matrix.steps + step] = crate::math::quantile(*q, &mut values);
            }
        }
        result.drop_last_if_empty();
    }
    result
}
