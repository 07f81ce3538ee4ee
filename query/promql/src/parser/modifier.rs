//! What is attached to an operand: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.

use super::token::{Keyword, TokenKind};
use super::{Parsed, Parser, fail};
use crate::ast::{AtModifier, BinaryOp, DurationValue, Edges, Expr, ExprKind, MatrixSelector, Subquery};
use crate::options::Release;
use crate::position::Span;

const AFTER_SELECTOR: &str = "must be preceded by an instant vector selector or range vector selector or a subquery";

impl Parser<'_> {
    pub(super) fn postfix(&mut self, mut expr: Expr) -> Parsed<Expr> {
        loop {
            match self.peek()? {
                TokenKind::LeftBracket => expr = self.brackets(expr)?,
                TokenKind::At => self.at(&mut expr)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(&mut expr)?,
                TokenKind::Keyword(Keyword::Anchored) => self.edges(&mut expr, Edges::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.edges(&mut expr, Edges::Smoothed)?,
                _ => return Ok(expr),
            }
        }
    }

    /// `[5m]`, `[5m:]`, `[5m:1m]`
    fn brackets(&mut self, expr: Expr) -> Parsed<Expr> {
        let duration = self.duration_words();
        let open = self.next()?;
        let parsed = self.positive_duration();
        let range = self.within(parsed, "subquery or range selector", duration)?;
        match self.peek()? {
            TokenKind::RightBracket => {
                let close = self.next()?;
                self.matrix(expr, range, open.span.to(close.span))
            }
            TokenKind::Colon => {
                self.next()?;
                let step = if self.peek()? == TokenKind::RightBracket {
                    None
                } else {
                    let expected = format!("{duration}, or \"]\"").replace("(), or range()", "(), range()");
                    let parsed = self.positive_duration();
                    Some(self.within(parsed, "subquery selector", &expected)?)
                };
                if self.peek()? != TokenKind::RightBracket {
                    return Err(self.unexpected("subquery selector", "\"]\""));
                }
                let close = self.next()?;
                let span = expr.span.to(close.span);
                let subquery = Subquery { expr, range, step, offset: DurationValue::default(), at: None };
                Ok(Expr { kind: ExprKind::Subquery(Box::new(subquery)), span })
            }
            _ => Err(self.unexpected("subquery or range", "\":\" or \"]\"")),
        }
    }

    /// What may stand for a duration, in the words of the release.
    fn duration_words(&self) -> &'static str {
        match self.release {
            Release::V3_5 => "number or duration",
            Release::V3_14 => "number, duration, step(), or range()",
        }
    }

    fn matrix(&mut self, expr: Expr, range: DurationValue, brackets: Span) -> Parsed<Expr> {
        let ExprKind::Vector(selector) = expr.kind else {
            return fail(brackets, "ranges only allowed for vector selectors");
        };
        if selector.offset != DurationValue::default() {
            return fail(brackets, "no offset modifiers allowed before range");
        }
        // 3.5 does not tell `@ start()` from none here.
        let is_seen = matches!(selector.at, Some(AtModifier::Time(_))) || self.release != Release::V3_5;
        if selector.at.is_some() && is_seen {
            return fail(brackets, "no @ modifiers allowed before range");
        }
        let span = expr.span.to(brackets);
        Ok(Expr { kind: ExprKind::Matrix(Box::new(MatrixSelector { selector: *selector, range })), span })
    }

    fn offset(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.next()?;
        let parsed = self.offset_duration();
        let offset = self.within(parsed, "offset", self.duration_words())?;
        let slot = match &mut expr.kind {
            ExprKind::Vector(selector) => &mut selector.offset,
            ExprKind::Matrix(matrix) => &mut matrix.selector.offset,
            ExprKind::Subquery(subquery) => &mut subquery.offset,
            _ => return fail(expr.span, format!("offset modifier {AFTER_SELECTOR}")),
        };
        if *slot != DurationValue::default() {
            return fail(expr.span, "offset may not be set multiple times");
        }
        *slot = offset;
        self.extend(expr);
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.next()?;
        let parsed = self.at_time(expr.span);
        let at = self.within(parsed, "@", "timestamp")?;
        let slot = match &mut expr.kind {
            ExprKind::Vector(selector) => &mut selector.at,
            ExprKind::Matrix(matrix) => &mut matrix.selector.at,
            ExprKind::Subquery(subquery) => &mut subquery.at,
            _ => return fail(expr.span, format!("@ modifier {AFTER_SELECTOR}")),
        };
        if slot.is_some() {
            return fail(expr.span, "@ <timestamp> may not be set multiple times");
        }
        *slot = Some(at);
        self.extend(expr);
        Ok(())
    }

    fn at_time(&mut self, span: Span) -> Parsed<AtModifier> {
        let preprocessor = match self.peek()? {
            TokenKind::Keyword(Keyword::Start) => Some(AtModifier::Start),
            TokenKind::Keyword(Keyword::End) => Some(AtModifier::End),
            _ => None,
        };
        if let Some(at) = preprocessor {
            self.next()?;
            self.expect(TokenKind::LeftParen)?;
            self.expect(TokenKind::RightParen)?;
            return Ok(at);
        }
        let is_negative = match self.peek()? {
            TokenKind::Operator(BinaryOp::Sub) => Some(true),
            TokenKind::Operator(BinaryOp::Add) => Some(false),
            _ => None,
        };
        if is_negative.is_some() {
            self.next()?;
        }
        let token = self.next_number()?;
        let value = self.number(token)?.value;
        let seconds = if is_negative == Some(true) { -value } else { value };
        // i64's bounds as floats: both are out of range.
        if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
            let text = if seconds.is_finite() { format!("{seconds:.6}") } else { crate::text::format_float(seconds) };
            return fail(span, format!("timestamp out of bounds for @ modifier: {text}"));
        }
        Ok(AtModifier::Time((seconds * 1000.0).round() as i64))
    }

    fn edges(&mut self, expr: &mut Expr, edges: Edges) -> Parsed<()> {
        self.next()?;
        let word = if edges == Edges::Anchored { "anchored" } else { "smoothed" };
        if !self.features.extended_range_selectors {
            return fail(expr.span, format!("{word} modifier is experimental and not enabled"));
        }
        let slot = match &mut expr.kind {
            ExprKind::Vector(selector) => &mut selector.edges,
            ExprKind::Matrix(matrix) => &mut matrix.selector.edges,
            ExprKind::Subquery(_) => {
                return fail(expr.span, format!("{word} modifier is not supported for subqueries"));
            }
            _ => return fail(expr.span, format!("{word} modifier not implemented")),
        };
        if *slot != Edges::Plain && *slot != edges {
            return fail(expr.span, "anchored and smoothed modifiers cannot be used together");
        }
        *slot = edges;
        Ok(())
    }

    /// Lets an operand reach to the last token.
    fn extend(&self, expr: &mut Expr) {
        expr.span.end = self.last.span.end;
        if let ExprKind::Vector(selector) = &mut expr.kind {
            selector.span = expr.span;
        }
    }
}
