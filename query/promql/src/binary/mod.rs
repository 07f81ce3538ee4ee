//! Binary operators: scalars, vectors with scalars, vectors with vectors.

mod element;
mod join;
mod matching;
mod set;

use std::sync::Arc;

use crate::annotations::{Annotation, Annotations};
use crate::ast::{Binary, BinaryOp, ValueType};
use crate::error::Error;
use crate::eval::matrix::{ABSENT, StepMatrix, Steps, is_absent};
use crate::eval::{Evaluated, Evaluator};
use crate::position::Span;
use element::{Element, Outcome};

/// On which side of an operator the scalar stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarSide {
    Left,
    Right,
}

impl Evaluator<'_> {
    /// Evaluates a binary operation.
    pub(crate) fn binary(
        &self,
        binary: &Binary,
        span: Span,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<Evaluated, Error> {
        match (binary.lhs.value_type(), binary.rhs.value_type()) {
            (ValueType::Scalar, ValueType::Scalar) => {
                let mut left = self.scalar(&binary.lhs, steps, notes)?;
                let right = self.scalar(&binary.rhs, steps, notes)?;
                left.iter_mut().zip(&right).for_each(|(l, r)| *l = scalars(binary.op, *l, *r));
                Ok(Evaluated::Scalar(left))
            }
            (ValueType::Vector, ValueType::Scalar) => {
                let mut matrix = self.vector(&binary.lhs, steps, notes)?;
                let scalar = self.scalar(&binary.rhs, steps, notes)?;
                self.vector_scalar(binary, span, &mut matrix, &scalar, ScalarSide::Right, notes);
                self.settle_names(matrix).map(Evaluated::Vector)
            }
            (ValueType::Scalar, ValueType::Vector) => {
                let scalar = self.scalar(&binary.lhs, steps, notes)?;
                let mut matrix = self.vector(&binary.rhs, steps, notes)?;
                self.vector_scalar(binary, span, &mut matrix, &scalar, ScalarSide::Left, notes);
                self.settle_names(matrix).map(Evaluated::Vector)
            }
            _ => {
                let left = self.vector(&binary.lhs, steps, notes)?;
                let right = self.vector(&binary.rhs, steps, notes)?;
                let joined = if binary.op.is_set() {
                    set::combine(binary, left, &right)?
                } else {
                    join::Join::new(self, binary, span, &left, &right).run(notes)?
                };
                joined.charged(&self.control).map(Evaluated::Vector)
            }
        }
    }

    /// Applies an operator to each value of a matrix and the scalar of its step.
    pub(crate) fn vector_scalar(
        &self,
        binary: &Binary,
        span: Span,
        matrix: &mut StepMatrix,
        scalar: &[f64],
        side: ScalarSide,
        notes: &mut Annotations,
    ) {
        let op = binary.op;
        let is_filter = op.is_comparison() && !binary.returns_bool;
        let had_histograms = !matrix.histograms.is_empty();
        if !matrix.histograms.is_empty() {
            self.histograms_with_scalar(binary, span, matrix, scalar, side, notes);
        } else if matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
            if matrix.values.iter().any(|v| !is_absent(*v)) {
                let annotation = Annotation::IncompatibleTypes { left: "float", operator: op.as_str(), right: "float" };
                notes.add(&annotation, span);
            }
            matrix.values.fill(ABSENT);
        } else {
            floats_with_scalar(op, binary.returns_bool, &mut matrix.values, scalar, side);
        }
        let is_trim = matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        if !is_filter && !is_trim {
            matrix.rows.iter_mut().for_each(|row| row.drops_name = true);
        }
        if is_filter || had_histograms || is_trim {
            matrix.drop_empty();
        }
    }

    /// The slow way, for matrices with histograms.
    fn histograms_with_scalar(
        &self,
        binary: &Binary,
        span: Span,
        matrix: &mut StepMatrix,
        scalar: &[f64],
        side: ScalarSide,
        notes: &mut Annotations,
    ) {
        let steps = scalar.len().max(1);
        let element = Element { op: binary.op, span, bounds: self.bounds() };
        for i in 0..matrix.values.len() {
            let histogram = matrix.histograms[i].take();
            if is_absent(matrix.values[i]) && histogram.is_none() {
                continue;
            }
            let (vector, number) = (matrix.values[i], scalar[i % steps]);
            let outcome = match side {
                ScalarSide::Right => element.apply((vector, histogram.as_ref()), (number, None), notes),
                ScalarSide::Left => element.apply((number, None), (vector, histogram.as_ref()), notes),
            };
            matrix.values[i] = ABSENT;
            match outcome {
                Outcome::Nothing => {}
                _ if binary.returns_bool => {
                    matrix.values[i] = if matches!(outcome, Outcome::Dropped) { 0.0 } else { 1.0 };
                }
                Outcome::Dropped => {}
                // A comparison keeps the side of the vector, whichever that is.
                _ if binary.op.is_comparison() => {
                    matrix.values[i] = vector;
                    matrix.histograms[i] = histogram;
                }
                Outcome::Float(value) => matrix.values[i] = value,
                Outcome::Histogram(result) => matrix.histograms[i] = Some(result),
            }
        }
        if matrix.histograms.iter().all(Option::is_none) {
            matrix.histograms.clear();
        }
    }
}

/// A float or a histogram, as an operand.
pub(crate) type Operand<'a> = (f64, Option<&'a Arc<crate::histogram::FloatHistogram>>);

fn scalars(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    match arithmetic(op) {
        Some(f) => f(left, right),
        None => truth(compares(op, left, right)),
    }
}

/// The function of an arithmetic operator.
fn arithmetic(op: BinaryOp) -> Option<fn(f64, f64) -> f64> {
    Some(match op {
        BinaryOp::Add => |a, b| a + b,
        BinaryOp::Sub => |a, b| a - b,
        BinaryOp::Mul => |a, b| a * b,
        BinaryOp::Div => |a, b| a / b,
        BinaryOp::Mod => crate::math::modulo,
        BinaryOp::Pow => crate::math::power,
        BinaryOp::Atan2 => f64::atan2,
        _ => return None,
    })
}

/// Says whether a comparison holds.
#[inline]
fn compares(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Eq => left == right,
        BinaryOp::Ne => left != right,
        BinaryOp::Lt => left < right,
        BinaryOp::Le => left <= right,
        BinaryOp::Gt => left > right,
        BinaryOp::Ge => left >= right,
        _ => false,
    }
}

fn floats_with_scalar(op: BinaryOp, returns_bool: bool, values: &mut [f64], scalar: &[f64], side: ScalarSide) {
    use crate::functions::math::each_with;
    let is_left = side == ScalarSide::Left;
    // One loop an operator, so that each is a tight one.
    macro_rules! each {
        ($f:expr) => {{
            let f = $f;
            if is_left { each_with(values, scalar, |v, s| f(s, v)) } else { each_with(values, scalar, f) }
        }};
    }
    match op {
        BinaryOp::Add => each!(|a: f64, b: f64| a + b),
        BinaryOp::Sub => each!(|a: f64, b: f64| a - b),
        BinaryOp::Mul => each!(|a: f64, b: f64| a * b),
        BinaryOp::Div => each!(|a: f64, b: f64| a / b),
        BinaryOp::Mod => each!(crate::math::modulo),
        BinaryOp::Pow => each!(crate::math::power),
        BinaryOp::Atan2 => each!(f64::atan2),
        _ if returns_bool => each!(|a, b| if compares(op, a, b) { 1.0 } else { 0.0 }),
        _ => each_with(values, scalar, |v, s| {
            let holds = if is_left { compares(op, s, v) } else { compares(op, v, s) };
            if holds { v } else { ABSENT }
        }),
    }
}
