//! `and`, `or`, `unless`.

use super::matching::Groups;
use crate::ast::{Binary, BinaryOp};
use crate::error::Error;
use crate::eval::matrix::{ABSENT, StepMatrix};

/// Which groups have a row with a value, step by step.
struct Presence {
    steps: usize,
    bits: Vec<bool>,
}

impl Presence {
    fn new(matrix: &StepMatrix, groups: &[usize], count: usize) -> Self {
        let steps = matrix.steps;
        let mut bits = vec![false; count * steps];
        for (row, group) in matrix.iter().zip(groups) {
            for (step, bit) in bits[group * steps..(group + 1) * steps].iter_mut().enumerate() {
                *bit |= row.has(step);
            }
        }
        Self { steps, bits }
    }

    fn has(&self, group: usize, step: usize) -> bool {
        self.bits[group * self.steps + step]
    }
}

/// Combines two matrices as sets of series at each step.
pub(super) fn combine(binary: &Binary, left: StepMatrix, right: &StepMatrix) -> Result<StepMatrix, Error> {
    let matching = binary.matching.clone().unwrap_or_default();
    let groups = Groups::new(&matching, &left, right);
    match binary.op {
        BinaryOp::Or => {
            let on_left = Presence::new(&left, &groups.left, groups.count);
            let mut result = left;
            for (i, group) in groups.right.iter().enumerate() {
                let row = right.row(i);
                let target = result.len();
                result.push_row(row.row.clone(), row);
                clear(&mut result, target, |step| on_left.has(*group, step));
                result.drop_last_if_empty();
            }
            result.merge_same_labels()
        }
        op => {
            let on_right = Presence::new(right, &groups.right, groups.count);
            let mut result = left;
            for (i, group) in groups.left.iter().enumerate() {
                clear(&mut result, i, |step| on_right.has(*group, step) == (op == BinaryOp::Unless));
            }
            result.drop_empty();
            Ok(result)
        }
    }
}

/// Removes the values of a row at some steps.
fn clear(matrix: &mut StepMatrix, row: usize, is_cleared: impl Fn(usize) -> bool) {
    let steps = matrix.steps;
    for step in (0..steps).filter(|step| is_cleared(*step)) {
        matrix.values[row * steps + step] = ABSENT;
        if let Some(histogram) = matrix.histograms.get_mut(row * steps + step) {
            *histogram = None;
        }
    }
}
