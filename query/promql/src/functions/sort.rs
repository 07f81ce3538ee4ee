//! `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`: the order of an instant result.

use std::cmp::Ordering;

use crate::eval::matrix::{StepMatrix, is_absent};

/// Orders rows by their value at the first step, NaN last; histograms have no order and go.
pub(crate) fn by_value(matrix: StepMatrix, is_descending: bool) -> StepMatrix {
    let steps = matrix.steps;
    let value = |i: usize| matrix.values[i * steps];
    let mut order: Vec<usize> = (0..matrix.len()).collect();
    if steps == 1 {
        order.retain(|i| !is_absent(value(*i)));
        order.sort_by(|a, b| {
            let (a, b) = (value(*a), value(*b));
            match (a.is_nan(), b.is_nan()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ if is_descending => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
                _ => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            }
        });
    }
    let mut sorted = reorder(&matrix, &order);
    sorted.histograms.clear();
    sorted.drop_empty();
    sorted
}

/// Orders rows by labels as people order numbers in names, then by all labels.
pub(crate) fn by_labels(matrix: StepMatrix, names: &[String], is_descending: bool) -> StepMatrix {
    let mut order: Vec<usize> = (0..matrix.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&matrix.rows[*a].labels, &matrix.rows[*b].labels);
        let mut by_name = names.iter().map(|name| natural(a.get(name), b.get(name)));
        let found = by_name.find(|o| o.is_ne()).unwrap_or_else(|| a.cmp(b));
        if is_descending { found.reverse() } else { found }
    });
    reorder(&matrix, &order)
}

fn reorder(matrix: &StepMatrix, order: &[usize]) -> StepMatrix {
    let mut sorted = StepMatrix::new(matrix.steps);
    for i in order {
        sorted.push_row(matrix.rows[*i].clone(), matrix.row(*i));
    }
    sorted
}

/// Compares digits as numbers and the rest as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while !left.is_empty() && !right.is_empty() {
        let (chunk_a, rest_a) = chunk(left);
        let (chunk_b, rest_b) = chunk(right);
        (left, right) = (rest_a, rest_b);
        if chunk_a == chunk_b {
            continue;
        }
        let is_number = |c: &str| c.as_bytes().first().is_some_and(u8::is_ascii_digit);
        if is_number(chunk_a) && is_number(chunk_b) {
            let (a, b) = (chunk_a.trim_start_matches('0'), chunk_b.trim_start_matches('0'));
            let by_value = a.len().cmp(&b.len()).then_with(|| a.cmp(b));
            // The shorter of equal numbers has fewer leading zeros and comes first.
            return by_value.then_with(|| chunk_a.len().cmp(&chunk_b.len()));
        }
        return chunk_a.cmp(chunk_b);
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Splits off a run of digits or a run without any.
fn chunk(text: &str) -> (&str, &str) {
    let is_digit = text.as_bytes()[0].is_ascii_digit();
    let end = text.bytes().position(|b| b.is_ascii_digit() != is_digit).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count() {
        let mut names = ["node10", "node9", "node1", "a", "node09", "1", "node"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["1", "a", "node", "node1", "node9", "node09", "node10"]);
    }
}
