//! Which rows of two matrices belong together.

use rustc_hash::FxHashMap;

use crate::ast::VectorMatching;
use crate::eval::matrix::StepMatrix;
use crate::labels::{Labels, METRIC_NAME};

/// For each row of both sides the number of its match group.
pub(super) struct Groups {
    pub(super) left: Vec<usize>,
    pub(super) right: Vec<usize>,
    pub(super) count: usize,
}

impl Groups {
    pub(super) fn new(matching: &VectorMatching, left: &StepMatrix, right: &StepMatrix) -> Self {
        let mut known: FxHashMap<Vec<u8>, usize> = FxHashMap::default();
        let mut names: Vec<&str> = matching.labels.iter().map(String::as_str).collect();
        names.sort_unstable();
        let mut key = Vec::new();
        let mut number = |matrix: &StepMatrix| -> Vec<usize> {
            let of_row = |labels: &Labels| {
                key.clear();
                write_key(&mut key, labels, matching.is_on, &names);
                if let Some(group) = known.get(key.as_slice()) {
                    return *group;
                }
                let group = known.len();
                known.insert(key.clone(), group);
                group
            };
            let mut of_row = of_row;
            matrix.rows.iter().map(|row| of_row(&row.labels)).collect()
        };
        let (left, right) = (number(left), number(right));
        Self { left, right, count: known.len() }
    }
}

/// Writes what two rows of a group have equal.
fn write_key(key: &mut Vec<u8>, labels: &Labels, is_on: bool, names: &[&str]) {
    for (name, value) in labels.iter() {
        let is_named = names.binary_search(&name).is_ok();
        let counts = if is_on { is_named } else { !is_named && name != METRIC_NAME };
        if counts {
            // 0xff is in no UTF-8 text.
            key.extend_from_slice(name.as_bytes());
            key.push(0xff);
            key.extend_from_slice(value.as_bytes());
            key.push(0xff);
        }
    }
}

/// The labels by which two rows belong together, for errors and for values that are filled in.
pub(super) fn match_labels(labels: &Labels, matching: &VectorMatching) -> Labels {
    let is_named = |name: &str| matching.labels.iter().any(|l| l == name);
    if matching.is_on {
        labels.without(|name| !is_named(name))
    } else {
        labels.without(|name| is_named(name) || name == METRIC_NAME)
    }
}
