//! `count_values`: a series for each value that occurs.

use rustc_hash::FxHashMap;

use super::grouping::Grouping;
use crate::ast::{Expr, ExprKind};
use crate::error::Error;
use crate::eval::matrix::{Row, StepMatrix, is_absent};
use crate::text::{format_float, quote_bytes};

/// The label that takes the value.
pub(super) fn label(param: Option<&Expr>) -> Result<String, Error> {
    let bytes = match param.map(|p| &p.unwrap_parens().kind) {
        Some(ExprKind::String(bytes)) => bytes.as_slice(),
        _ => &[],
    };
    match std::str::from_utf8(bytes) {
        Ok(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err(Error::Execution(format!("invalid label name {}", quote_bytes(bytes)))),
    }
}

pub(super) fn count(
    matrix: &StepMatrix,
    label: &str,
    names: &[String],
    is_without: bool,
    has_room: impl Fn(usize) -> Result<(), Error>,
) -> Result<StepMatrix, Error> {
    let mut names = names.to_vec();
    if !is_without {
        names.push(label.to_owned());
    }
    let mut grouping = Grouping::new(&names, is_without);
    let mut result = StepMatrix::new(matrix.steps);
    for row in matrix.iter() {
        // Values repeat from step to step; a row makes each group once.
        let mut groups: FxHashMap<u64, usize> = FxHashMap::default();
        for step in 0..matrix.steps {
            let value = row.values[step];
            let group = match row.histogram(step) {
                Some(histogram) => group_of(&mut grouping, row.row, label, &histogram.to_string()),
                None if is_absent(value) => continue,
                None => *groups
                    .entry(value.to_bits())
                    .or_insert_with(|| group_of(&mut grouping, row.row, label, &format_float(value))),
            };
            while result.len() <= group {
                let next = result.len();
                // Each value may be a series of its own: ask before the matrix grows.
                has_room(next + 1)?;
                result.push_absent(Row { labels: grouping.rows[next].labels.clone(), drops_name: false });
            }
            let cell = &mut result.values[group * matrix.steps + step];
            *cell = if is_absent(*cell) { 1.0 } else { *cell + 1.0 };
        }
    }
    result.merge_same_labels()
}

fn group_of(grouping: &mut Grouping<'_>, row: &Row, label: &str, value: &str) -> usize {
    grouping.of(&Row { labels: row.labels.with(label, value), drops_name: false })
}
