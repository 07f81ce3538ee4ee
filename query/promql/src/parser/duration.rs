//! Durations in brackets and after `offset`, with arithmetic.

use super::token::{Keyword, TokenKind};
use super::{Failure, Parsed, Parser, fail};
use crate::ast::{AggregateOp, BinaryOp, DurationExpr, DurationKind, DurationValue, NumberLiteral, UnaryOp};
use crate::options::Release;
use crate::position::Span;

/// 64 bits of nanoseconds, in seconds.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

impl Parser<'_> {
    /// The duration of a range or of a step, which must be above zero.
    pub(super) fn positive_duration(&mut self) -> Parsed<DurationValue> {
        let expr = self.duration(0)?;
        match expr.kind {
            DurationKind::Number(number) if !expr.is_wrapped && number.value <= 0.0 => {
                fail(expr.span, "duration must be greater than 0")
            }
            _ => Ok(to_value(expr)),
        }
    }

    /// The duration after `offset`: a signed literal or call ends it, so that `x offset -2^2` is `(x offset -2)^2`.
    pub(super) fn offset_duration(&mut self) -> Parsed<DurationValue> {
        let sign = self.sign()?;
        let expr = match self.peek()? {
            TokenKind::Number | TokenKind::Duration | TokenKind::Keyword(Keyword::Step | Keyword::Range) => {
                self.duration_primary()?
            }
            kind if extremum(kind).is_some() => self.duration_primary()?,
            TokenKind::LeftParen if sign.is_some() => self.duration_primary()?,
            _ if sign.is_some() => self.duration(BinaryOp::Pow.precedence())?,
            _ => return Ok(to_value(self.duration(0)?)),
        };
        match sign {
            Some((op, span)) => Ok(to_value(self.signed(op, span, expr)?)),
            None => Ok(to_value(expr)),
        }
    }

    fn sign(&mut self) -> Parsed<Option<(UnaryOp, Span)>> {
        let op = match self.peek()? {
            TokenKind::Operator(BinaryOp::Add) => UnaryOp::Plus,
            TokenKind::Operator(BinaryOp::Sub) => UnaryOp::Minus,
            _ => return Ok(None),
        };
        Ok(Some((op, self.next()?.span)))
    }

    fn duration(&mut self, precedence_min: u8) -> Parsed<DurationExpr> {
        self.nested(|parser| parser.duration_here(precedence_min))
    }

    fn duration_here(&mut self, precedence_min: u8) -> Parsed<DurationExpr> {
        let mut lhs = match self.sign()? {
            Some((op, span)) => {
                let operand = self.duration(BinaryOp::Pow.precedence())?;
                self.signed(op, span, operand)?
            }
            None => self.duration_primary()?,
        };
        let mut chain = 0;
        while let TokenKind::Operator(op) = self.peek()? {
            let is_arithmetic = matches!(
                op,
                BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Pow
            );
            if !is_arithmetic || op.precedence() < precedence_min {
                break;
            }
            chain += 1;
            if self.depth + chain > super::DEPTH_MAX {
                return fail(lhs.span, format!("expression is nested more than {} levels deep", super::DEPTH_MAX));
            }
            let operator = self.next()?;
            let rhs_min = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
            let rhs = self.duration(rhs_min)?;
            self.check_enabled(lhs.span)?;
            let is_zero = matches!(rhs.kind, DurationKind::Number(n) if !rhs.is_wrapped && n.value == 0.0);
            match op {
                BinaryOp::Div if is_zero => return fail(operator.span, "division by zero"),
                BinaryOp::Mod if is_zero => return fail(operator.span, "modulo by zero"),
                _ => {}
            }
            let span = lhs.span.to(rhs.span);
            let kind = DurationKind::Binary(op, Box::new(lhs), Box::new(rhs));
            lhs = DurationExpr { kind, is_wrapped: false, span };
        }
        Ok(lhs)
    }

    fn duration_primary(&mut self) -> Parsed<DurationExpr> {
        match self.peek()? {
            TokenKind::Number | TokenKind::Duration => {
                let token = self.next()?;
                let number = self.number(token)?;
                check_range(number.value, token.span)?;
                Ok(DurationExpr { kind: DurationKind::Number(number), is_wrapped: false, span: token.span })
            }
            TokenKind::LeftParen => {
                let open = self.next()?;
                let mut inner = self.duration(0)?;
                let close = self.expect(TokenKind::RightParen)?;
                self.check_enabled(inner.span)?;
                if let DurationKind::Number(_) = inner.kind {
                    inner.span = open.span.to(close.span);
                }
                // To 3.5 a literal in parentheses is the literal.
                let is_literal = matches!(inner.kind, DurationKind::Number(_));
                inner.is_wrapped = !(is_literal && self.release == Release::V3_5);
                Ok(inner)
            }
            TokenKind::Keyword(word @ (Keyword::Step | Keyword::Range)) => {
                let name = self.next()?;
                self.expect(TokenKind::LeftParen)?;
                let close = self.expect(TokenKind::RightParen)?;
                let span = name.span.to(close.span);
                self.check_enabled(span)?;
                let kind = if word == Keyword::Step { DurationKind::Step } else { DurationKind::Range };
                Ok(DurationExpr { kind, is_wrapped: false, span })
            }
            kind => {
                let make = extremum(kind).ok_or(Failure::Unexpected)?;
                let name = self.next()?;
                self.expect(TokenKind::LeftParen)?;
                let a = Box::new(self.duration(0)?);
                self.expect(TokenKind::Comma)?;
                let b = Box::new(self.duration(0)?);
                let close = self.expect(TokenKind::RightParen)?;
                let span = name.span.to(close.span);
                self.check_enabled(span)?;
                Ok(DurationExpr { kind: make(a, b), is_wrapped: false, span })
            }
        }
    }

    fn signed(&mut self, op: UnaryOp, sign: Span, operand: DurationExpr) -> Parsed<DurationExpr> {
        let span = sign.to(operand.span);
        match operand.kind {
            DurationKind::Number(number) if !operand.is_wrapped => {
                let value = if op == UnaryOp::Minus { -number.value } else { number.value };
                check_range(value, sign)?;
                let kind = DurationKind::Number(NumberLiteral { value, ..number });
                Ok(DurationExpr { kind, is_wrapped: false, span })
            }
            _ if op == UnaryOp::Plus => Ok(operand),
            _ => Ok(DurationExpr { kind: DurationKind::Unary(op, Box::new(operand)), is_wrapped: false, span }),
        }
    }

    fn check_enabled(&self, span: Span) -> Parsed<()> {
        if self.features.duration_expressions {
            return Ok(());
        }
        fail(span, "experimental duration expression is not enabled")
    }
}

/// Makes an expression of two.
type MakePair = fn(Box<DurationExpr>, Box<DurationExpr>) -> DurationKind;

/// The smaller or the larger of two durations, `min` and `max` in Prometheus 3.6 to 3.13, `min_of` and `max_of` later.
fn extremum(name: TokenKind) -> Option<MakePair> {
    match name {
        TokenKind::Keyword(Keyword::MinOf) | TokenKind::Aggregate(AggregateOp::Min) => Some(DurationKind::MinOf),
        TokenKind::Keyword(Keyword::MaxOf) | TokenKind::Aggregate(AggregateOp::Max) => Some(DurationKind::MaxOf),
        _ => None,
    }
}

fn check_range(seconds: f64, span: Span) -> Parsed<()> {
    if seconds.abs() > SECONDS_MAX || seconds.is_nan() {
        return fail(span, "duration out of range");
    }
    Ok(())
}

/// A plain literal becomes milliseconds at once.
fn to_value(expr: DurationExpr) -> DurationValue {
    match expr.kind {
        DurationKind::Number(number) if !expr.is_wrapped => DurationValue::Millis(seconds_to_ms(number.value)),
        _ => DurationValue::Expr(Box::new(expr)),
    }
}

/// Whole milliseconds of what Go rounds to nanoseconds first.
fn seconds_to_ms(seconds: f64) -> i64 {
    (seconds * 1e9).round() as i64 / 1_000_000
}
