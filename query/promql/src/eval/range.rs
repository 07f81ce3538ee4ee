//! Range vectors: the samples of a window at each step.

use std::sync::Arc;

use super::instant::{Look, histogram_samples};
use super::matrix::{Row, StepMatrix, Steps, is_absent};
use super::plan::{Cursor, WindowPlan};
use super::samples::{Clean, Floats, Histograms};
use crate::annotations::{Annotation, Annotations};
use crate::ast::Edges;
use crate::control::QueryControl;
use crate::error::Error;
use crate::functions::range::{Output, RangeFunction};
use crate::histogram::{Bounds, FloatHistogram};
use crate::labels::{Labels, METRIC_TYPE};
use crate::options::Release;
use crate::position::Span;
use crate::storage::WindowSummary;

/// The samples of one series that lie in a window, and the window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub(crate) floats: Floats<'a>,
    pub(crate) histograms: Histograms<'a>,
    /// The window is (start, end].
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// The time of the step.
    pub(crate) step_ms: i64,
}

/// What a range function needs beside its window.
pub(crate) struct RangeContext {
    pub(crate) function: RangeFunction,
    /// Scalar arguments, one value a step each.
    pub(crate) params: Vec<Vec<f64>>,
    pub(crate) look: Look,
    pub(crate) range_ms: i64,
    pub(crate) edges: Edges,
    pub(crate) bounds: Bounds,
    /// Where the first argument stands.
    pub(crate) first_argument: Span,
    pub(crate) uses_start_timestamps: bool,
    /// `__type__` tells a counter, not the name.
    pub(crate) has_type_labels: bool,
    pub(crate) release: Release,
}

impl RangeContext {
    /// How far samples may lie before and after the window.
    pub(crate) fn margins_ms(&self) -> (i64, i64) {
        match self.edges {
            Edges::Plain => (0, 0),
            Edges::Anchored => (self.look.lookback_ms, 0),
            Edges::Smoothed => (self.look.lookback_ms, self.look.lookback_ms),
        }
    }

    /// The value of a scalar argument at a step.
    pub(crate) fn param(&self, i: usize, step: usize) -> f64 {
        self.params.get(i).and_then(|p| p.get(step)).copied().unwrap_or(f64::NAN)
    }
}

/// A range function on its way through a stretch of series.
pub(crate) struct RangeTask<'a> {
    steps: &'a Steps,
    context: &'a RangeContext,
    control: &'a QueryControl,
    plan: WindowPlan,
    /// The metric that was last said to be no counter.
    noted: Option<Labels>,
    /// Samples that each step looked at.
    pub(crate) counts: Vec<u64>,
    pub(crate) notes: Annotations,
}

impl<'a> RangeTask<'a> {
    pub(crate) fn new(steps: &'a Steps, context: &'a RangeContext, control: &'a QueryControl) -> Self {
        let counts = vec![0; steps.count];
        Self {
            steps,
            context,
            control,
            plan: WindowPlan::default(),
            noted: None,
            counts,
            notes: Annotations::default(),
        }
    }

    /// Computes the function over one series and adds its row.
    pub(crate) fn fill(
        &mut self,
        matrix: &mut StepMatrix,
        labels: &Labels,
        drops_name: bool,
        samples: &Clean<'_>,
    ) -> Result<(), Error> {
        let (floats, histograms) = (samples.floats(), samples.histograms());
        if floats.is_empty() && histograms.is_empty() {
            return Ok(());
        }
        self.control.check()?;
        let context = self.context;
        let drops_name = drops_name || !context.function.keeps_name();
        let row = matrix.push_absent(Row { labels: labels.clone(), drops_name });
        let at = row * self.steps.count;
        let knows_starts = context.uses_start_timestamps && !floats.starts.is_empty();
        let is_simple = histograms.is_empty() && context.edges == Edges::Plain && !knows_starts;
        if is_simple && context.function.has_loop() {
            let rates = context.function.is_rate();
            self.plan.prepare(floats.times, self.steps, &context.look, context.range_ms, rates);
            self.plan.count(&mut self.counts);
            context.function.fill_floats(&mut matrix.values[at..], &floats, &self.plan, context.range_ms);
        } else {
            self.fill_windows(matrix, row, labels, (&floats, &histograms))?;
        }
        self.note_non_counter(&matrix.values[at..], labels);
        matrix.drop_last_if_empty();
        Ok(())
    }

    /// The same from summaries, one for each step.
    pub(crate) fn fill_summaries(
        &mut self,
        matrix: &mut StepMatrix,
        labels: &Labels,
        windows: &[Option<WindowSummary>],
    ) {
        let context = self.context;
        let row = matrix.push_absent(Row { labels: labels.clone(), drops_name: !context.function.keeps_name() });
        let at = row * self.steps.count;
        for (step, (time_ms, window)) in self.steps.times().zip(windows).enumerate() {
            let Some(window) = window else { continue };
            self.counts[step] += window.count;
            let end_ms = context.look.time(time_ms);
            if let Some(value) = context.function.of_summary(window, end_ms, context.range_ms) {
                matrix.values[at + step] = value;
            }
        }
        self.note_non_counter(&matrix.values[at..], labels);
        matrix.drop_last_if_empty();
    }

    fn fill_windows(
        &mut self,
        matrix: &mut StepMatrix,
        row: usize,
        labels: &Labels,
        (floats, histograms): (&Floats<'_>, &Histograms<'_>),
    ) -> Result<(), Error> {
        let context = self.context;
        let (before_ms, after_ms) = context.margins_ms();
        let (mut float_cursor, mut histogram_cursor) = (Cursor::default(), Cursor::default());
        for (step, time_ms) in self.steps.times().enumerate() {
            let end_ms = context.look.time(time_ms);
            let start_ms = end_ms.saturating_sub(context.range_ms);
            let (low, high) = (start_ms.saturating_sub(before_ms), end_ms.saturating_add(after_ms));
            let (from, to) = float_cursor.advance(floats.times, low, high);
            let (histogram_from, histogram_to) = histogram_cursor.advance(histograms.times, low, high);
            if from == to && histogram_from == histogram_to {
                continue;
            }
            let window = Window {
                floats: floats.slice(from, to),
                histograms: histograms.slice(histogram_from, histogram_to),
                start_ms,
                end_ms,
                step_ms: time_ms,
            };
            self.counts[step] += window.floats.len() as u64 + histogram_count(window.histograms.values);
            match context.function.apply(&window, labels, step, context, &mut self.notes)? {
                Output::None => {}
                Output::Float(value) => matrix.values[row * self.steps.count + step] = value,
                Output::Histogram(histogram) => matrix.set_histogram(row, step, histogram),
            }
        }
        Ok(())
    }

    /// Says where a rate is taken of what does not look like a counter.
    fn note_non_counter(&mut self, values: &[f64], labels: &Labels) {
        let context = self.context;
        if !matches!(context.function, RangeFunction::Rate | RangeFunction::Increase) {
            return;
        }
        let metric = labels.metric_name();
        let label = labels.get(METRIC_TYPE);
        let is_noted = |noted: &Labels| {
            noted.metric_name() == metric && (!context.has_type_labels || noted.get(METRIC_TYPE) == label)
        };
        if metric.is_empty() || self.noted.as_ref().is_some_and(is_noted) {
            return;
        }
        // Series without the label are from a sender that writes none; their names tell.
        let annotation = if context.has_type_labels && !label.is_empty() {
            let names_histogram = context.release != Release::V3_5;
            if label == "counter" || (label == "histogram" && names_histogram) {
                return;
            }
            Annotation::PossibleNonCounterLabel { metric, label, names_histogram }
        } else {
            if ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| metric.ends_with(suffix)) {
                return;
            }
            Annotation::PossibleNonCounter { metric }
        };
        if values.iter().any(|v| !is_absent(*v)) {
            self.notes.add(&annotation, context.first_argument);
            self.noted = Some(labels.clone());
        }
    }
}

fn histogram_count(histograms: &[Arc<FloatHistogram>]) -> u64 {
    histograms.iter().map(|h| histogram_samples(h.bytes())).sum()
}
