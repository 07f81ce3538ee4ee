//! The evaluator: syntax tree and store to step matrices.
//!
//! An instant query is a range query of one step. What selects series flows through functions in stretches of series
//! ([`source`]) into aggregations; only what joins or reorders series is whole in memory.

pub(crate) mod call;
pub(crate) mod durations;
pub(crate) mod instant;
pub(crate) mod invariant;
pub(crate) mod matrix;
pub(crate) mod parallel;
pub(crate) mod plan;
pub(crate) mod range;
pub(crate) mod samples;
pub(crate) mod source;
pub(crate) mod subquery;
pub(crate) mod sums;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::annotations::Annotations;
use crate::ast::{AtModifier, Expr, ExprKind, UnaryOp};
use crate::control::QueryControl;
use crate::error::Error;
use crate::histogram::Bounds;
use crate::options::{Features, Release};
use crate::position::Span;
use crate::storage::Storage;
use matrix::{StepMatrix, Steps};

/// What an evaluation works with.
pub(crate) struct Evaluator<'a> {
    pub(crate) storage: &'a dyn Storage,
    pub(crate) control: Arc<QueryControl>,
    pub(crate) features: Features,
    pub(crate) release: Release,
    pub(crate) threads: usize,
    pub(crate) lookback_ms: i64,
    pub(crate) default_subquery_step_ms: i64,
    /// The range of the whole query, for `@ start()` and the like; a step of 0 is an instant query.
    pub(crate) query: QueryRange,
    pub(crate) counts: Arc<SampleCounts>,
    /// Readers of nothing but the sums of histograms are told of resets by comparison, as in Prometheus since 3.6.
    pub(crate) resolves_hints: bool,
    /// The selector whose histograms are read without their buckets.
    pub(crate) reads_sums_at: Option<Span>,
    /// Samples are read even where a store has summaries of their windows.
    pub(crate) is_exact: bool,
}

/// The range of a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryRange {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
}

/// Samples that steps looked at.
#[derive(Debug, Default)]
pub(crate) struct SampleCounts {
    pub(crate) total: AtomicU64,
    /// For each step of the query, if asked for.
    pub(crate) per_step: Vec<AtomicU64>,
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
}

impl SampleCounts {
    /// Counts samples that steps looked at.
    pub(crate) fn add(&self, steps: &Steps, counts: &[u64]) {
        self.total.fetch_add(counts.iter().sum(), Ordering::Relaxed);
        if self.per_step.is_empty() {
            return;
        }
        for (step, count) in counts.iter().enumerate() {
            let at = (steps.time(step) - self.start_ms).checked_div(self.step_ms.max(1)).unwrap_or(0);
            if let Some(slot) = usize::try_from(at).ok().and_then(|at| self.per_step.get(at)) {
                slot.fetch_add(*count, Ordering::Relaxed);
            }
        }
    }
}

/// The value of an expression at steps.
#[derive(Debug)]
pub(crate) enum Evaluated {
    /// One number a step.
    Scalar(Vec<f64>),
    /// A text.
    String(Vec<u8>),
    /// Series.
    Vector(StepMatrix),
}

impl Evaluator<'_> {
    /// Evaluates an expression that is no range vector.
    pub(crate) fn eval(&self, expr: &Expr, steps: &Steps, notes: &mut Annotations) -> Result<Evaluated, Error> {
        self.control.check()?;
        if steps.count > 1 && self.is_invariant(expr) && !is_leaf(expr) {
            let once = self.eval(expr, &steps.first_only(), notes)?;
            return match once {
                Evaluated::Scalar(values) => Ok(Evaluated::Scalar(vec![first(&values); steps.count])),
                Evaluated::String(text) => Ok(Evaluated::String(text)),
                Evaluated::Vector(matrix) => {
                    self.check_size(matrix.len(), steps.count)?;
                    Ok(Evaluated::Vector(matrix.broadcast(steps.count).charged(&self.control)?))
                }
            };
        }
        crate::stack::grow(|| self.eval_here(expr, steps, notes))
    }

    fn eval_here(&self, expr: &Expr, steps: &Steps, notes: &mut Annotations) -> Result<Evaluated, Error> {
        if let Some(pipeline) = self.pipeline(expr, steps, notes)? {
            return self.collect(&pipeline, steps, notes).map(Evaluated::Vector);
        }
        match &expr.kind {
            ExprKind::Number(number) => Ok(Evaluated::Scalar(vec![number.value; steps.count])),
            ExprKind::String(text) => Ok(Evaluated::String(text.clone())),
            ExprKind::Paren(inner) => self.eval(inner, steps, notes),
            ExprKind::Unary(op, inner) => self.unary(*op, inner, steps, notes),
            ExprKind::Binary(binary) => self.binary(binary, expr.span, steps, notes),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span, steps, notes).map(Evaluated::Vector),
            ExprKind::Call(call) => self.call(call, expr.span, steps, notes),
            ExprKind::Vector(_) | ExprKind::Matrix(_) | ExprKind::Subquery(_) => {
                Err(Error::Execution("a range vector stands where none can be".to_owned()))
            }
        }
    }

    /// Evaluates an expression whose type is a vector.
    pub(crate) fn vector(&self, expr: &Expr, steps: &Steps, notes: &mut Annotations) -> Result<StepMatrix, Error> {
        match self.eval(expr, steps, notes)? {
            Evaluated::Vector(matrix) => Ok(matrix),
            _ => Err(Error::Execution("expected an instant vector".to_owned())),
        }
    }

    /// Evaluates an expression whose type is a scalar.
    pub(crate) fn scalar(&self, expr: &Expr, steps: &Steps, notes: &mut Annotations) -> Result<Vec<f64>, Error> {
        match self.eval(expr, steps, notes)? {
            Evaluated::Scalar(values) => Ok(values),
            _ => Err(Error::Execution("expected a scalar".to_owned())),
        }
    }

    fn unary(&self, op: UnaryOp, inner: &Expr, steps: &Steps, notes: &mut Annotations) -> Result<Evaluated, Error> {
        match self.eval(inner, steps, notes)? {
            Evaluated::Scalar(mut values) => {
                if op == UnaryOp::Minus {
                    values.iter_mut().for_each(|v| *v = -*v);
                }
                Ok(Evaluated::Scalar(values))
            }
            Evaluated::Vector(mut matrix) => {
                if op == UnaryOp::Minus {
                    crate::functions::math::negate(&mut matrix);
                    matrix = self.settle_names(matrix)?;
                }
                Ok(Evaluated::Vector(matrix))
            }
            text @ Evaluated::String(_) => Ok(text),
        }
    }

    /// Drops names at once where they are not dropped late.
    pub(crate) fn settle_names(&self, matrix: StepMatrix) -> Result<StepMatrix, Error> {
        if self.features.delayed_name_removal { Ok(matrix) } else { matrix.drop_names() }
    }

    /// Refuses a matrix that the budget of the query cannot hold, before it is made.
    pub(crate) fn check_size(&self, rows: usize, steps: usize) -> Result<(), Error> {
        let cells = rows.saturating_mul(steps);
        self.control.charge(cells.saturating_mul(8))?;
        self.control.release(cells.saturating_mul(8));
        Ok(())
    }

    /// The time of an `@`, if there is one.
    pub(crate) fn at_time(&self, at: Option<AtModifier>) -> Option<i64> {
        match at? {
            AtModifier::Time(time_ms) => Some(time_ms),
            AtModifier::Start => Some(self.query.start_ms),
            AtModifier::End => Some(self.query.end_ms),
        }
    }

    /// The same evaluator with other treatment of the hints of histograms.
    pub(crate) fn with_hints(&self, resolves_hints: bool) -> Self {
        Self {
            control: Arc::clone(&self.control),
            counts: Arc::clone(&self.counts),
            resolves_hints: resolves_hints && self.release != Release::V3_5,
            ..*self
        }
    }

    /// How custom buckets with different bounds are treated.
    pub(crate) fn bounds(&self) -> Bounds {
        match self.release {
            Release::V3_5 => Bounds::MustMatch,
            Release::V3_14 => Bounds::Reconcile,
        }
    }
}

fn first(values: &[f64]) -> f64 {
    values.first().copied().unwrap_or(f64::NAN)
}

fn is_leaf(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Number(_) | ExprKind::String(_))
}
