//! Durations that the range and the step of a query give a value.

use super::Evaluator;
use crate::ast::{BinaryOp, DurationExpr, DurationKind, DurationValue, Expr, ExprKind, UnaryOp};
use crate::error::Error;

/// 64 bits of nanoseconds, in seconds.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

impl Evaluator<'_> {
    /// An offset in milliseconds, which may be negative.
    pub(crate) fn offset(&self, value: &DurationValue) -> Result<i64, Error> {
        self.duration(value, true)
    }

    /// A range or a step in milliseconds, above zero.
    pub(crate) fn positive(&self, value: &DurationValue) -> Result<i64, Error> {
        self.duration(value, false)
    }

    /// Computes every duration of an expression once, so that a wrong one is told of wherever it stands.
    pub(crate) fn check_durations(&self, expr: &Expr) -> Result<(), Error> {
        crate::stack::grow(|| match &expr.kind {
            ExprKind::Number(_) | ExprKind::String(_) => Ok(()),
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => self.check_durations(inner),
            ExprKind::Vector(selector) => self.offset(&selector.offset).map(drop),
            ExprKind::Matrix(matrix) => {
                self.offset(&matrix.selector.offset)?;
                self.positive(&matrix.range).map(drop)
            }
            ExprKind::Subquery(subquery) => {
                self.check_durations(&subquery.expr)?;
                self.offset(&subquery.offset)?;
                self.positive(&subquery.range)?;
                subquery.step.as_ref().map_or(Ok(()), |step| self.positive(step).map(drop))
            }
            ExprKind::Aggregate(aggregate) => {
                self.check_durations(&aggregate.expr)?;
                aggregate.param.as_ref().map_or(Ok(()), |param| self.check_durations(param))
            }
            ExprKind::Binary(binary) => {
                self.check_durations(&binary.lhs)?;
                self.check_durations(&binary.rhs)
            }
            ExprKind::Call(call) => call.args.iter().try_for_each(|arg| self.check_durations(arg)),
        })
    }

    fn duration(&self, value: &DurationValue, may_be_negative: bool) -> Result<i64, Error> {
        let expr = match value {
            DurationValue::Millis(ms) => return Ok(*ms),
            DurationValue::Expr(expr) => expr,
        };
        let seconds = self.seconds(expr)?;
        if !seconds.is_finite() {
            return Err(fault(expr, "duration is NaN or infinite"));
        }
        if seconds <= 0.0 && !may_be_negative {
            return Err(fault(expr, "duration must be greater than 0"));
        }
        if seconds.abs() > SECONDS_MAX {
            return Err(fault(expr, "duration is out of range"));
        }
        Ok((seconds * 1000.0) as i64)
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, Error> {
        crate::stack::grow(|| match &expr.kind {
            DurationKind::Number(number) => Ok(number.value),
            DurationKind::Step => Ok(self.query.step_ms as f64 / 1000.0),
            DurationKind::Range => Ok((self.query.end_ms - self.query.start_ms) as f64 / 1000.0),
            DurationKind::Unary(UnaryOp::Plus, inner) => self.seconds(inner),
            DurationKind::Unary(UnaryOp::Minus, inner) => Ok(-self.seconds(inner)?),
            DurationKind::MinOf(a, b) => Ok(crate::math::min(self.seconds(a)?, self.seconds(b)?)),
            DurationKind::MaxOf(a, b) => Ok(crate::math::max(self.seconds(a)?, self.seconds(b)?)),
            DurationKind::Binary(op, a, b) => {
                let (a, b) = (self.seconds(a)?, self.seconds(b)?);
                match op {
                    BinaryOp::Add => Ok(a + b),
                    BinaryOp::Sub => Ok(a - b),
                    BinaryOp::Mul => Ok(a * b),
                    BinaryOp::Div if b == 0.0 => Err(fault(expr, "division by zero")),
                    BinaryOp::Div => Ok(a / b),
                    BinaryOp::Mod if b == 0.0 => Err(fault(expr, "modulo by zero")),
                    BinaryOp::Mod => Ok(crate::math::modulo(a, b)),
                    _ => Ok(crate::math::power(a, b)),
                }
            }
        })
    }
}

fn fault(expr: &DurationExpr, text: &str) -> Error {
    // Prometheus writes the byte range here and not line and column.
    Error::BadData(format!("{}:{}: {text}", expr.span.start, expr.span.end))
}
