//! Aggregations that need no more than a few numbers for each group and step.

use std::sync::Arc;

use super::grouping::Grouping;
use super::sums::{HistogramGroup, HowToAdd, Sums};
use crate::annotations::{Annotation, Annotations};
use crate::ast::AggregateOp;
use crate::control::QueryControl;
use crate::error::Error;
use crate::eval::matrix::{ABSENT, RowRef, StepMatrix, is_absent};
use crate::histogram::Bounds;
use crate::options::Release;
use crate::position::Span;

/// Takes series in and gives one series a group out.
pub(super) struct Accumulator<'a> {
    op: AggregateOp,
    grouping: Grouping<'a>,
    steps: usize,
    /// `groups * steps` cells.
    sums: Sums,
    histograms: Vec<Option<Box<HistogramGroup>>>,
    bounds: Bounds,
    release: Release,
    span: Span,
}

impl<'a> Accumulator<'a> {
    pub(super) fn new(
        op: AggregateOp,
        grouping: Grouping<'a>,
        steps: usize,
        bounds: Bounds,
        release: Release,
        span: Span,
    ) -> Self {
        Self { op, grouping, steps, sums: Sums::default(), histograms: Vec::new(), bounds, release, span }
    }

    /// Takes the rows of a matrix in.
    pub(super) fn add(
        &mut self,
        matrix: &StepMatrix,
        control: &QueryControl,
        notes: &mut Annotations,
    ) -> Result<(), Error> {
        for (i, row) in matrix.iter().enumerate() {
            if i % 256 == 0 {
                control.check()?;
            }
            let group = self.grouping.of(row.row);
            if group * self.steps >= self.sums.len() {
                let cells = self.grouping.rows.len() * self.steps;
                self.sums.resize(self.op, cells);
                // A new group is small against what made it; the check catches a flood of groups.
                control.charge(cells * 32)?;
                control.release(cells * 32);
            }
            let cells = group * self.steps..(group + 1) * self.steps;
            self.sums.add(self.op, cells, row.values);
            if row.histograms.iter().any(Option::is_some) {
                self.add_histograms(group, row, notes);
            }
        }
        Ok(())
    }

    fn add_histograms(&mut self, group: usize, row: RowRef<'_>, notes: &mut Annotations) {
        let at = group * self.steps;
        match self.op {
            AggregateOp::Count | AggregateOp::Group => {
                for (step, _) in row.histograms.iter().enumerate().filter(|(_, h)| h.is_some()) {
                    self.sums.count_histogram(self.op, at + step);
                }
            }
            AggregateOp::Sum | AggregateOp::Avg => {
                self.histograms.resize_with(self.sums.len(), || None);
                let how = HowToAdd { is_avg: self.op == AggregateOp::Avg, bounds: self.bounds, span: self.span };
                for (step, histogram) in row.histograms.iter().enumerate() {
                    let Some(histogram) = histogram else { continue };
                    let slot = self.histograms[at + step].get_or_insert_default();
                    let after_floats = self.sums.has(at + step);
                    let metric = row.row.labels.metric_name();
                    slot.add(histogram, after_floats, how, metric, notes);
                }
            }
            op => notes.add(&Annotation::IgnoredInAggregation { aggregation: op.as_str() }, self.span),
        }
    }

    /// The result.
    pub(super) fn finish(mut self, notes: &mut Annotations) -> StepMatrix {
        let mut result = StepMatrix::new(self.steps);
        self.sums.finish(self.op);
        result.values = self.sums.take_values();
        result.rows = std::mem::take(&mut self.grouping.rows);
        result.values.resize(result.rows.len() * self.steps, ABSENT);
        if !self.histograms.is_empty() {
            result.need_histograms();
            for (cell, slot) in self.histograms.into_iter().enumerate() {
                let Some(slot) = slot else { continue };
                if !is_absent(result.values[cell]) {
                    if slot.sees_floats() {
                        notes.add(&Annotation::MixedFloatsHistogramsAggregation, self.span);
                    }
                    result.values[cell] = ABSENT;
                    continue;
                }
                let tells_collisions = self.release != Release::V3_5;
                if let Some(histogram) = slot.finish(tells_collisions, self.span, notes) {
                    result.histograms[cell] = Some(Arc::new(histogram));
                }
            }
        }
        result.drop_empty();
        result
    }
}
