//! One operator on one pair of samples, histograms included.

use std::sync::Arc;

use super::{Operand, arithmetic, compares};
use crate::annotations::{Annotation, Annotations, HistogramOperation};
use crate::ast::BinaryOp;
use crate::histogram::{AddOutcome, Bounds, FloatHistogram, ResetHint};
use crate::position::Span;

/// What comes of a pair.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The operator does not take such a pair.
    Nothing,
    /// A comparison does not hold.
    Dropped,
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

/// An operator and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Element {
    pub(super) op: BinaryOp,
    pub(super) span: Span,
    pub(super) bounds: Bounds,
}

impl Element {
    pub(super) fn apply(&self, left: Operand<'_>, right: Operand<'_>, notes: &mut Annotations) -> Outcome {
        match (left.1, right.1) {
            (None, None) => self.floats(left.0, right.0, notes),
            (None, Some(histogram)) => match self.op {
                BinaryOp::Mul => scaled(histogram, |h| h.mul(left.0)),
                _ => self.incompatible("float", "histogram", notes),
            },
            (Some(histogram), None) => match self.op {
                BinaryOp::Mul => scaled(histogram, |h| h.mul(right.0)),
                BinaryOp::Div => scaled(histogram, |h| h.div(right.0)),
                BinaryOp::TrimUpper | BinaryOp::TrimLower => {
                    let mut trimmed = FloatHistogram::clone(histogram);
                    trimmed.trim(right.0, self.op == BinaryOp::TrimUpper);
                    Outcome::Histogram(Arc::new(trimmed))
                }
                _ => self.incompatible("histogram", "float", notes),
            },
            (Some(left), Some(right)) => self.histograms(left, right, notes),
        }
    }

    fn floats(&self, left: f64, right: f64, notes: &mut Annotations) -> Outcome {
        if let Some(f) = arithmetic(self.op) {
            return Outcome::Float(f(left, right));
        }
        if !self.op.is_comparison() {
            return self.incompatible("float", "float", notes);
        }
        if compares(self.op, left, right) { Outcome::Float(left) } else { Outcome::Dropped }
    }

    fn histograms(&self, left: &Arc<FloatHistogram>, right: &Arc<FloatHistogram>, notes: &mut Annotations) -> Outcome {
        let keep = |holds: bool| if holds { Outcome::Histogram(Arc::clone(left)) } else { Outcome::Dropped };
        let mut result = match self.op {
            BinaryOp::Eq => return keep(left.same_as(right)),
            BinaryOp::Ne => return keep(!left.same_as(right)),
            BinaryOp::Add | BinaryOp::Sub => FloatHistogram::clone(left),
            _ => return self.incompatible("histogram", "histogram", notes),
        };
        let is_sum = self.op == BinaryOp::Add;
        let outcome = if is_sum { result.add(right, self.bounds) } else { result.sub(right, self.bounds) };
        let Ok(outcome) = outcome else {
            notes.add(&Annotation::IncompatibleBucketLayout { operator: self.op.as_str() }, self.span);
            return Outcome::Nothing;
        };
        self.note(outcome, is_sum, notes);
        if !is_sum && self.bounds == Bounds::Reconcile {
            // Prometheus 3.5 leaves the hint of a difference as it is.
            result.reset_hint = ResetHint::Gauge;
        }
        result.compact();
        Outcome::Histogram(Arc::new(result))
    }

    fn note(&self, outcome: AddOutcome, is_sum: bool, notes: &mut Annotations) {
        let operation = if is_sum { HistogramOperation::Addition } else { HistogramOperation::Subtraction };
        if outcome.hints_collide && self.bounds == Bounds::Reconcile {
            notes.add(&Annotation::ResetCollision(operation), self.span);
        }
        if outcome.bounds_reconciled {
            notes.add(&Annotation::MismatchedCustomBuckets(operation), self.span);
        }
    }

    fn incompatible(&self, left: &str, right: &str, notes: &mut Annotations) -> Outcome {
        notes.add(&Annotation::IncompatibleTypes { left, operator: self.op.as_str(), right }, self.span);
        Outcome::Nothing
    }
}

fn scaled(histogram: &FloatHistogram, scale: impl FnOnce(&mut FloatHistogram) -> &mut FloatHistogram) -> Outcome {
    let mut result = histogram.clone();
    scale(&mut result).compact();
    Outcome::Histogram(Arc::new(result))
}
