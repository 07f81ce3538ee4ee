//! Aggregations that pick series: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use std::cmp::Ordering;

use super::grouping::Grouping;
use crate::annotations::{Annotation, Annotations};
use crate::ast::AggregateOp;
use crate::control::QueryControl;
use crate::error::Error;
use crate::eval::matrix::{StepMatrix, is_absent};
use crate::labels::Labels;
use crate::position::Span;

/// The largest float that fits into 64 bits.
pub(super) const K_MAX: f64 = 9_223_372_036_854_774_784.0;

pub(super) struct Pick<'a> {
    pub(super) op: AggregateOp,
    pub(super) span: Span,
    pub(super) matrix: &'a StepMatrix,
    pub(super) param: &'a [f64],
    pub(super) control: &'a QueryControl,
}

impl Pick<'_> {
    pub(super) fn run(&self, mut grouping: Grouping<'_>, notes: &mut Annotations) -> Result<StepMatrix, Error> {
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (i, row) in self.matrix.rows.iter().enumerate() {
            let group = grouping.of(row);
            members.resize(members.len().max(group + 1), Vec::new());
            members[group].push(i);
        }
        // For each step the rows that stay, in their order.
        let mut picked: Vec<Vec<usize>> = Vec::with_capacity(self.matrix.steps);
        for step in 0..self.matrix.steps {
            self.control.check()?;
            picked.push(self.step(step, &members, notes)?);
        }
        Ok(self.build(&picked))
    }

    fn step(&self, step: usize, members: &[Vec<usize>], notes: &mut Annotations) -> Result<Vec<usize>, Error> {
        let has_any = (0..self.matrix.len()).any(|i| self.matrix.row(i).has(step));
        let param = self.param[step];
        if !has_any {
            return Ok(Vec::new());
        }
        if self.op == AggregateOp::LimitRatio {
            return Ok(self.by_ratio(step, param, members));
        }
        if !(param >= i64::MIN as f64 && param <= K_MAX) {
            let text = format!("Scalar value {} overflows int64", crate::text::format_g(param));
            return Err(Error::Execution(text));
        }
        let k = (param.min(self.matrix.len() as f64)) as i64;
        if k < 1 {
            return Ok(Vec::new());
        }
        let mut picked = Vec::new();
        for group in members {
            self.of_group(step, k as usize, group, &mut picked, notes);
        }
        Ok(picked)
    }

    fn of_group(&self, step: usize, k: usize, group: &[usize], picked: &mut Vec<usize>, notes: &mut Annotations) {
        if self.op == AggregateOp::Limitk {
            picked.extend(group.iter().copied().filter(|i| self.matrix.row(*i).has(step)).take(k));
            return;
        }
        if !self.matrix.histograms.is_empty() && group.iter().any(|i| self.matrix.row(*i).histogram(step).is_some()) {
            notes.add(&Annotation::IgnoredInAggregation { aggregation: self.op.as_str() }, self.span);
        }
        let value = |i: usize| self.matrix.values[i * self.matrix.steps + step];
        let mut candidates: Vec<usize> = group.iter().copied().filter(|i| !is_absent(value(*i))).collect();
        let is_top = self.op == AggregateOp::Topk;
        let order = |a: &usize, b: &usize| compare(value(*a), value(*b), is_top).then_with(|| a.cmp(b));
        if candidates.len() > k {
            candidates.select_nth_unstable_by(k - 1, order);
            candidates.truncate(k);
        }
        candidates.sort_unstable_by(order);
        picked.extend(candidates);
    }

    fn by_ratio(&self, step: usize, ratio: f64, members: &[Vec<usize>]) -> Vec<usize> {
        let ratio = ratio.clamp(-1.0, 1.0);
        let rows = members.iter().flatten().copied();
        rows.filter(|i| self.matrix.row(*i).has(step) && is_in_ratio(ratio, &self.matrix.rows[*i].labels)).collect()
    }

    /// The rows that stay at any step, in the order of the first step that each stays at.
    fn build(&self, picked: &[Vec<usize>]) -> StepMatrix {
        let steps = self.matrix.steps;
        let mut target: Vec<Option<usize>> = vec![None; self.matrix.len()];
        let mut result = StepMatrix::new(steps);
        for (step, rows) in picked.iter().enumerate() {
            for i in rows {
                let row = self.matrix.row(*i);
                let at = *target[*i].get_or_insert_with(|| result.push_absent(row.row.clone()));
                result.values[at * steps + step] = row.values[step];
                if let Some(histogram) = row.histogram(step) {
                    result.set_histogram(at, step, std::sync::Arc::clone(histogram));
                }
            }
        }
        result
    }
}

/// The better first; NaN last.
fn compare(a: f64, b: f64, is_top: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ if is_top => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        _ => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// Says whether a series belongs to a part of all series; a negative ratio is the rest of the positive one.
fn is_in_ratio(ratio: f64, labels: &Labels) -> bool {
    let offset = hash(labels) as f64 / u64::MAX as f64;
    if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio }
}

/// The hash of Prometheus's label sets, so that the same series are picked.
fn hash(labels: &Labels) -> u64 {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        let length = text.len();
        if length < 255 {
            bytes.push(length as u8);
        } else {
            bytes.extend_from_slice(&[255, length as u8, (length >> 8) as u8, (length >> 16) as u8]);
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxhash_rust::xxh64::xxh64(&bytes, 0)
}
