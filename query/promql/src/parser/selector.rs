//! Names, braces and matchers.

use super::strings::unquote;
use super::token::{Token, TokenKind};
use super::{Parsed, Parser, fail};
use crate::ast::{BinaryOp, DurationValue, Edges, Expr, ExprKind, VectorSelector};
use crate::labels::METRIC_NAME;
use crate::matcher::{MatchOp, Matcher};

impl<'q> Parser<'q> {
    /// `name`, `name{...}`, `{...}`; the name has been read.
    pub(super) fn selector(&mut self, name: Option<Token<'q>>) -> Parsed<Expr> {
        let mut matchers = Vec::new();
        let mut span = name.map_or(self.last.span, |token| token.span);
        if self.peek()? == TokenKind::LeftBrace {
            let open = self.next()?;
            if name.is_none() {
                span = open.span;
            }
            matchers = self.matchers()?;
            span = span.to(self.last.span);
        }
        let name = name.map_or("", |token| token.text);
        if !name.is_empty() {
            matchers.push(Matcher::equal(METRIC_NAME, name));
        }
        let selector = VectorSelector {
            name: name.to_owned(),
            matchers,
            offset: DurationValue::default(),
            at: None,
            edges: Edges::Plain,
            is_info_selector: false,
            span,
        };
        Ok(Expr { kind: ExprKind::Vector(Box::new(selector)), span })
    }

    /// What stands between the braces; takes the right one, too.
    fn matchers(&mut self) -> Parsed<Vec<Matcher>> {
        let mut matchers = Vec::new();
        if self.eat(TokenKind::RightBrace)? {
            return Ok(matchers);
        }
        loop {
            matchers.push(self.matcher()?);
            if self.eat(TokenKind::Comma)? {
                if self.eat(TokenKind::RightBrace)? {
                    return Ok(matchers);
                }
                continue;
            }
            if self.eat(TokenKind::RightBrace)? {
                return Ok(matchers);
            }
            return Err(self.unexpected("label matching", "\",\" or \"}\""));
        }
    }

    fn matcher(&mut self) -> Parsed<Matcher> {
        let label = match self.peek()? {
            TokenKind::Identifier | TokenKind::String => self.next()?,
            _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
        };
        let name = if label.kind == TokenKind::String { text(label) } else { label.text.to_owned() };
        let op = match self.peek()? {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Operator(BinaryOp::Ne) => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotEqualRegex => MatchOp::NotRegex,
            _ if label.kind == TokenKind::String => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected("label matching", "label matching operator")),
        };
        self.next()?;
        if self.peek()? != TokenKind::String {
            return Err(self.unexpected("label matching", "string"));
        }
        let value = self.next()?;
        match Matcher::new(op, name, text(value)) {
            Ok(matcher) => Ok(matcher),
            Err(message) => fail(label.span.to(value.span), message),
        }
    }
}

/// The text of a literal. Labels are UTF-8; what is not becomes the replacement character and matches nothing.
fn text(token: Token<'_>) -> String {
    String::from_utf8_lossy(&unquote(token.text)).into_owned()
}
