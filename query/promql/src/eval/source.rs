//! Pipelines: what selects series, and what works on each series alone, in stretches of series on several threads.

use std::sync::Arc;

use super::Evaluator;
use super::instant::{Give, InstantTask, Look};
use super::matrix::{StepMatrix, Steps};
use super::range::{RangeContext, RangeTask};
use super::samples::Clean;
use crate::annotations::{Annotation, Annotations};
use crate::ast::{Binary, Edges, Expr, ExprKind, UnaryOp, ValueType, VectorSelector};
use crate::binary::ScalarSide;
use crate::error::Error;
use crate::functions::elementwise::Elementwise;
use crate::histogram::{Bounds, ResetHint};
use crate::options::Release;
use crate::position::Span;
use crate::storage::{HistogramColumns, Select, SelectHints, Selection, Windows, is_stale};

/// The most series that are read at once: hours of their samples stay in a core's cache until they are used.
const SERIES_MAX: usize = 256;
/// The fewest series that are worth a piece of work of their own.
const SERIES_MIN: usize = 64;

/// A selection and what is done with each of its series.
pub(crate) struct Pipeline<'e> {
    source: Source,
    stages: Vec<Stage<'e>>,
    /// What is read is told of resets.
    resolves_hints: bool,
    /// Histograms are read without their buckets.
    reads_sums: bool,
}

/// Where the rows of a pipeline come from.
enum Source {
    /// An instant selector.
    Instant { selection: Box<dyn Selection>, look: Look, give: Give },
    /// An instant selector that interpolates.
    Smoothed { selection: Box<dyn Selection>, look: Look, span: Span },
    /// A range function over a selector.
    Range { selection: Box<dyn Selection>, context: RangeContext },
    /// A range function over a subquery.
    Subquery { matrix: StepMatrix, inner: Steps, context: RangeContext },
}

/// What is done with each row.
enum Stage<'e> {
    Negate,
    Elementwise(Elementwise),
    Scalar { binary: &'e Binary, span: Span, scalar: Vec<f64>, side: ScalarSide },
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Self::Instant { selection, .. } | Self::Smoothed { selection, .. } | Self::Range { selection, .. } => {
                selection.series().len()
            }
            Self::Subquery { matrix, .. } => matrix.len(),
        }
    }
}

impl<'e> Evaluator<'_> {
    /// The pipeline of an expression; `None` where the expression joins, reorders or aggregates series.
    pub(crate) fn pipeline(
        &self,
        expr: &'e Expr,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<Option<Pipeline<'e>>, Error> {
        crate::stack::grow(|| self.pipeline_here(expr, steps, notes))
    }

    fn pipeline_here(
        &self,
        expr: &'e Expr,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<Option<Pipeline<'e>>, Error> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.pipeline(inner, steps, notes),
            ExprKind::Vector(selector) => {
                let source = self.instant_source(selector, steps, Give::Value, notes)?;
                Ok(Some(self.pipeline_of(source, Some(selector))))
            }
            ExprKind::Unary(op, inner) => {
                let Some(mut pipeline) = self.pipeline(inner, steps, notes)? else { return Ok(None) };
                if *op == UnaryOp::Minus {
                    pipeline.stages.push(Stage::Negate);
                }
                Ok(Some(pipeline))
            }
            ExprKind::Binary(binary) => self.scalar_stage(binary, expr.span, steps, notes),
            ExprKind::Call(call) => {
                if call.function.name == "absent_over_time" {
                    return Ok(None);
                }
                if let Some(context) = self.range_context(call, steps, notes)? {
                    return self.range_source(call, context, steps, notes).map(Some);
                }
                if let Some(give) = selected_time(call.function.name) {
                    if let ExprKind::Vector(selector) = &call.args[0].unwrap_parens().kind {
                        let source = self.instant_source(selector, steps, give, notes)?;
                        return Ok(Some(self.pipeline_of(source, None)));
                    }
                    return Ok(None);
                }
                let Some(argument) = call.args.first() else { return Ok(None) };
                if !Elementwise::is_one(call.function.name) {
                    return Ok(None);
                }
                let inner = self.with_hints(self.resolves_hints || reads_sums_only(call.function.name));
                let Some(mut pipeline) = inner.pipeline(argument, steps, notes)? else { return Ok(None) };
                let stage = self.elementwise(call, steps, notes)?;
                pipeline.stages.push(Stage::Elementwise(stage));
                Ok(Some(pipeline))
            }
            _ => Ok(None),
        }
    }

    fn pipeline_of(&self, source: Source, selector: Option<&VectorSelector>) -> Pipeline<'e> {
        let reads_sums = selector.is_some_and(|selector| self.reads_sums_at == Some(selector.span));
        Pipeline { source, stages: Vec::new(), resolves_hints: self.resolves_hints, reads_sums }
    }

    fn scalar_stage(
        &self,
        binary: &'e Binary,
        span: Span,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<Option<Pipeline<'e>>, Error> {
        let (vector, scalar, side) = match (binary.lhs.value_type(), binary.rhs.value_type()) {
            (ValueType::Vector, ValueType::Scalar) => (&binary.lhs, &binary.rhs, ScalarSide::Right),
            (ValueType::Scalar, ValueType::Vector) => (&binary.rhs, &binary.lhs, ScalarSide::Left),
            _ => return Ok(None),
        };
        let Some(mut pipeline) = self.pipeline(vector, steps, notes)? else { return Ok(None) };
        let scalar = self.scalar(scalar, steps, notes)?;
        pipeline.stages.push(Stage::Scalar { binary, span, scalar, side });
        Ok(Some(pipeline))
    }

    /// Where a selector looks at the steps.
    pub(crate) fn look(&self, selector: &VectorSelector) -> Result<Look, Error> {
        Ok(Look {
            at_ms: self.at_time(selector.at),
            offset_ms: self.offset(&selector.offset)?,
            lookback_ms: self.lookback_ms,
        })
    }

    fn instant_source(
        &self,
        selector: &VectorSelector,
        steps: &Steps,
        give: Give,
        notes: &mut Annotations,
    ) -> Result<Source, Error> {
        let mut look = self.look(selector)?;
        if give == Give::Time && look.at_ms.is_some() && self.release != Release::V3_5 {
            // As in later releases, `timestamp` of a pinned selector forgets the offset.
            look.offset_ms = 0;
        }
        let is_smoothed = selector.edges == Edges::Smoothed;
        let after_ms = if is_smoothed { self.lookback_ms } else { 0 };
        let from = look.time(steps.start_ms).saturating_sub(self.lookback_ms).saturating_add(1);
        let to = look.time(steps.last()).saturating_add(after_ms);
        let is_newest_only = !is_smoothed && (steps.count == 1 || look.at_ms.is_some());
        let hints = SelectHints { step_ms: self.query.step_ms, is_newest_only, ..SelectHints::default() };
        let selection = self.select(&selector.matchers, (from, to), hints, notes)?;
        if is_smoothed {
            return Ok(Source::Smoothed { selection, look, span: selector.span });
        }
        Ok(Source::Instant { selection, look, give })
    }

    /// Asks the store.
    pub(crate) fn select(
        &self,
        matchers: &[crate::matcher::Matcher],
        (start_ms, end_ms): (i64, i64),
        hints: SelectHints<'_>,
        notes: &mut Annotations,
    ) -> Result<Box<dyn Selection>, Error> {
        let request = Select { matchers, start_ms, end_ms, hints, control: &self.control };
        let selection = self.storage.select(&request).map_err(|error| match Error::from(error) {
            Error::Storage(text) => Error::Storage(format!("expanding series: {text}")),
            other => other,
        })?;
        for warning in selection.warnings() {
            notes.add(&Annotation::Storage(&warning), Span::default());
        }
        for info in selection.infos() {
            notes.add(&Annotation::StorageInfo(&info), Span::default());
        }
        Ok(selection)
    }

    pub(crate) fn range_source(
        &self,
        call: &'e crate::ast::Call,
        context: RangeContext,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<Pipeline<'e>, Error> {
        let argument = call.args[context.function.range_argument()].unwrap_parens();
        let selector = match &argument.kind {
            ExprKind::Matrix(matrix) => Some(&matrix.selector),
            _ => None,
        };
        let source = match &argument.kind {
            ExprKind::Matrix(matrix) => {
                let (before_ms, after_ms) = context.margins_ms();
                let start = context.look.time(steps.start_ms).saturating_sub(context.range_ms);
                let from = start.saturating_sub(before_ms).saturating_add(1);
                let to = context.look.time(steps.last()).saturating_add(after_ms);
                let hints = SelectHints {
                    step_ms: self.query.step_ms,
                    range_ms: context.range_ms,
                    function: call.function.name,
                    windows: self.summary_windows(&context, steps),
                    ..SelectHints::default()
                };
                let selection = self.select(&matrix.selector.matchers, (from, to), hints, notes)?;
                Source::Range { selection, context }
            }
            ExprKind::Subquery(subquery) => {
                let (matrix, inner) = self.subquery(subquery, &context.look, context.range_ms, steps, notes)?;
                Source::Subquery { matrix, inner, context }
            }
            _ => return Err(Error::Execution("expected a range vector".to_owned())),
        };
        Ok(self.pipeline_of(source, selector))
    }

    /// Runs a pipeline to a whole matrix.
    pub(crate) fn collect(
        &self,
        pipeline: &Pipeline<'_>,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<StepMatrix, Error> {
        let mut whole = StepMatrix::new(steps.count);
        let mut reserved = false;
        self.run(pipeline, steps, notes, |part| {
            if !reserved {
                whole.values.reserve(if pipeline.source.len() > part.len() { part.values.len() * 2 } else { 0 });
                reserved = true;
            }
            whole.append(part);
            Ok(())
        })?;
        self.settle_names(whole)
    }

    /// Runs a pipeline and hands over its rows in stretches, in order.
    pub(crate) fn run(
        &self,
        pipeline: &Pipeline<'_>,
        steps: &Steps,
        notes: &mut Annotations,
        mut take: impl FnMut(StepMatrix) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let series = pipeline.source.len();
        // Two pieces a thread keep all busy to the end.
        let piece = series.div_ceil(2 * self.threads.max(1)).clamp(SERIES_MIN, SERIES_MAX);
        let pieces = series.div_ceil(piece);
        // A handful of steps is faster done than handed to a thread.
        let threads = if series.saturating_mul(steps.count) < 20_000 { 1 } else { self.threads };
        super::parallel::in_order(
            pieces,
            threads,
            |i| {
                let range = i * piece..((i + 1) * piece).min(series);
                self.piece(pipeline, range, steps)
            },
            |(part, part_notes)| {
                notes.merge(part_notes);
                if part.len() == 0 { Ok(()) } else { take(part) }
            },
        )
    }

    fn piece(
        &self,
        pipeline: &Pipeline<'_>,
        range: std::ops::Range<usize>,
        steps: &Steps,
    ) -> Result<(StepMatrix, Annotations), Error> {
        self.control.check()?;
        self.check_size(range.len(), steps.count)?;
        let mut notes = Annotations::default();
        let mut matrix = StepMatrix::new(steps.count);
        matrix.rows.reserve(range.len());
        matrix.values.reserve(range.len() * steps.count);
        match &pipeline.source {
            Source::Instant { selection, look, give } => {
                let batch = self.read_for(pipeline, selection.as_ref(), range.clone())?;
                let series = &selection.series()[range];
                let mut task = InstantTask::new(steps, look, *give);
                task.fill(&mut matrix, series, &batch.batch)?;
                self.counts.add(steps, &task.counts);
            }
            Source::Smoothed { selection, look, span } => {
                let batch = self.read(selection.as_ref(), range.clone())?;
                for (i, labels) in selection.series()[range].iter().enumerate() {
                    let samples = Clean::of_batch(&batch.batch, i);
                    crate::functions::extended::fill_smoothed(
                        &mut matrix,
                        labels,
                        &samples,
                        steps,
                        look,
                        self.bounds(),
                        *span,
                        &mut notes,
                    );
                }
            }
            Source::Range { selection, context } => {
                let mut task = RangeTask::new(steps, context, &self.control);
                if let Some(summaries) = selection.summaries(range.clone())? {
                    let rows = selection.series()[range].iter().zip(summaries.chunks(steps.count.max(1)));
                    rows.for_each(|(labels, windows)| task.fill_summaries(&mut matrix, labels, windows));
                    self.counts.add(steps, &task.counts);
                    return self.finish_piece(pipeline, matrix, task.notes);
                }
                let batch = self.read_for(pipeline, selection.as_ref(), range.clone())?;
                for (i, labels) in selection.series()[range].iter().enumerate() {
                    task.fill(&mut matrix, labels, false, &Clean::of_batch(&batch.batch, i))?;
                }
                self.counts.add(steps, &task.counts);
                notes = task.notes;
            }
            Source::Subquery { matrix: input, inner, context } => {
                let mut task = RangeTask::new(steps, context, &self.control);
                for i in range {
                    let row = &input.rows[i];
                    task.fill(&mut matrix, &row.labels, row.drops_name, &Clean::of_row(input, inner, i))?;
                }
                self.counts.add(steps, &task.counts);
                notes = task.notes;
            }
        }
        self.finish_piece(pipeline, matrix, notes)
    }

    fn finish_piece(
        &self,
        pipeline: &Pipeline<'_>,
        mut matrix: StepMatrix,
        mut notes: Annotations,
    ) -> Result<(StepMatrix, Annotations), Error> {
        for stage in &pipeline.stages {
            self.apply(stage, &mut matrix, &mut notes);
        }
        Ok((matrix.charged(&self.control)?, notes))
    }

    /// The windows of a function that summaries answer, unless the samples themselves are wanted.
    fn summary_windows(&self, context: &RangeContext, steps: &Steps) -> Option<Windows> {
        let is_plain = context.edges == Edges::Plain && context.look.at_ms.is_none();
        let is_answered = context.function.has_summary() && is_plain && !self.is_exact;
        is_answered.then(|| Windows {
            first_end_ms: context.look.time(steps.start_ms),
            step_ms: steps.step_ms,
            count: steps.count,
            range_ms: context.range_ms,
        })
    }

    fn apply(&self, stage: &Stage<'_>, matrix: &mut StepMatrix, notes: &mut Annotations) {
        match stage {
            Stage::Negate => crate::functions::math::negate(matrix),
            Stage::Elementwise(function) => function.apply(matrix),
            Stage::Scalar { binary, span, scalar, side } => {
                self.vector_scalar(binary, *span, matrix, scalar, *side, notes);
            }
        }
    }

    /// Reads samples, and does with their histograms what the pipeline wants.
    fn read_for(
        &self,
        pipeline: &Pipeline<'_>,
        selection: &dyn Selection,
        range: std::ops::Range<usize>,
    ) -> Result<ChargedBatch, Error> {
        let mut batch = self.read(selection, range)?;
        if let Some(columns) = &mut batch.batch.histograms {
            if pipeline.reads_sums {
                super::sums::keep_sums(columns, self.bounds());
            } else if pipeline.resolves_hints {
                resolve_hints(columns, self.bounds());
            }
        }
        Ok(batch)
    }

    /// Reads samples and charges them until they are dropped.
    pub(crate) fn read(&self, selection: &dyn Selection, range: std::ops::Range<usize>) -> Result<ChargedBatch, Error> {
        let batch = selection.read(range)?;
        let floats = batch.floats.values.len();
        let histograms = batch.histograms.as_ref().map_or(0, |h| h.values.iter().map(|v| v.bytes()).sum());
        let bytes = 16 * floats + histograms;
        self.control.count_read(floats as u64 + batch.histograms.as_ref().map_or(0, |h| h.values.len() as u64));
        // Charged before the check, so that the drop gives back what was charged even where the check fails.
        let charged = ChargedBatch { batch, bytes, control: Arc::clone(&self.control) };
        self.control.charge(bytes)?;
        Ok(charged)
    }
}

/// Samples that count against the budget of the query.
pub(crate) struct ChargedBatch {
    pub(crate) batch: crate::storage::SampleBatch,
    bytes: usize,
    control: Arc<crate::control::QueryControl>,
}

/// Says of each histogram whether it was reset since the one before it.
pub(crate) fn resolve_hints(columns: &mut HistogramColumns, bounds: Bounds) {
    for series in columns.offsets.windows(2) {
        let values = columns.values.get_mut(series[0]..series[1]).unwrap_or_default();
        for i in (1..values.len()).rev() {
            let is_known = values[i].reset_hint != ResetHint::Unknown;
            if is_known || is_stale(values[i].sum) || is_stale(values[i - 1].sum) {
                continue;
            }
            let is_reset = values[i].is_reset_since(&values[i - 1], bounds);
            let hint = if is_reset { ResetHint::Reset } else { ResetHint::NotReset };
            Arc::make_mut(&mut values[i]).reset_hint = hint;
        }
    }
}

/// The functions of histograms that do not look at buckets.
pub(crate) fn reads_sums_only(function: &str) -> bool {
    matches!(function, "histogram_avg" | "histogram_count" | "histogram_sum")
}

impl Drop for ChargedBatch {
    fn drop(&mut self) {
        self.control.release(self.bytes);
    }
}

/// The functions that ask a selector for times instead of values.
fn selected_time(function: &str) -> Option<Give> {
    match function {
        "timestamp" => Some(Give::Time),
        "start_timestamp" => Some(Give::StartTime),
        _ => None,
    }
}
