//! Text to syntax tree: a lexer, a precedence climbing parser, type checks.
//!
//! Accepts and refuses what Prometheus does, with its error texts and positions. A syntax error is named after the
//! innermost construct that knows a better text than "unexpected X", as a yacc grammar with error productions does.

mod check;
mod duration;
mod expr;
mod lexer;
mod modifier;
mod number;
mod selector;
mod strings;
mod token;

pub use number::{format_duration_ms, parse_duration_ms};

use crate::ast::{Expr, ExprKind};
use crate::error::{Error, ParseError};
use crate::matcher::Matcher;
use crate::options::{Features, Release};
use crate::position::{Span, line_column};
use lexer::Lexer;
use token::{Token, TokenKind};

/// Levels of nesting that an expression may have.
pub(crate) const DEPTH_MAX: usize = 2000;

/// Parses a query with all features on.
pub fn parse(query: &str) -> Result<Expr, Error> {
    parse_with(query, &Features::default())
}

/// Parses a query; what a switch hides is an error.
pub fn parse_with(query: &str, features: &Features) -> Result<Expr, Error> {
    parse_as(query, features, Release::V3_14)
}

/// The same, with the error texts of a release.
pub(crate) fn parse_as(query: &str, features: &Features, release: Release) -> Result<Expr, Error> {
    let mut parser = Parser::new(query, features);
    parser.release = release;
    let parsed = parser.query();
    parser.finish(parsed)
}

/// Parses one vector selector, such as the `match[]` of the HTTP API.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, Error> {
    let features = Features::default();
    let mut parser = Parser::new(text, &features);
    let parsed = parser.lone_selector();
    parser.finish(parsed)
}

/// Why parsing stopped.
#[derive(Debug)]
enum Failure {
    /// At the current token, and nobody has said so yet.
    Unexpected,
    /// With this error.
    Reported(Span, String),
}

type Parsed<T> = Result<T, Failure>;

struct Parser<'q> {
    query: &'q str,
    features: &'q Features,
    release: Release,
    lexer: Lexer<'q>,
    /// The token that comes next, if it was looked at.
    peeked: Option<Token<'q>>,
    /// The last token that was handed out.
    last: Token<'q>,
    depth: usize,
}

impl<'q> Parser<'q> {
    fn new(query: &'q str, features: &'q Features) -> Self {
        let last = Token { kind: TokenKind::Eof, text: "", span: Span::default() };
        Self { query, features, release: Release::default(), lexer: Lexer::new(query), peeked: None, last, depth: 0 }
    }

    fn finish<T>(&mut self, parsed: Parsed<T>) -> Result<T, Error> {
        let (span, message) = match parsed {
            Ok(value) => return Ok(value),
            Err(Failure::Reported(span, message)) => (span, message),
            Err(Failure::Unexpected) => match self.unexpected("", "") {
                Failure::Reported(span, message) => (span, message),
                Failure::Unexpected => (Span::default(), String::new()),
            },
        };
        Err(Error::Parse(ParseError { span, message, position: line_column(self.query, span.start) }))
    }

    fn query(&mut self) -> Parsed<Expr> {
        if self.peek()? == TokenKind::Eof {
            return Err(Failure::Reported(Span::default(), "no expression found in input".to_owned()));
        }
        let mut expr = self.expr(0)?;
        if self.peek()? != TokenKind::Eof {
            return Err(Failure::Unexpected);
        }
        check::check(&mut expr, self.query)?;
        Ok(expr)
    }

    fn lone_selector(&mut self) -> Parsed<Vec<Matcher>> {
        let expr = self.primary()?;
        let ExprKind::Vector(selector) = expr.kind else {
            return Err(Failure::Unexpected);
        };
        if self.peek()? != TokenKind::Eof {
            return Err(Failure::Unexpected);
        }
        Ok(selector.matchers)
    }

    /// The kind of the next token.
    fn peek(&mut self) -> Parsed<TokenKind> {
        if let Some(token) = self.peeked {
            return Ok(token.kind);
        }
        match self.lexer.next_token() {
            Ok(token) => {
                self.peeked = Some(token);
                Ok(token.kind)
            }
            Err(error) => Err(Failure::Reported(error.span, error.message)),
        }
    }

    /// Takes the next token.
    fn next(&mut self) -> Parsed<Token<'q>> {
        self.peek()?;
        if let Some(token) = self.peeked.take() {
            self.last = token;
        }
        Ok(self.last)
    }

    /// Takes the next token if it is of this kind.
    fn eat(&mut self, kind: TokenKind) -> Parsed<bool> {
        let found = self.peek()? == kind;
        if found {
            self.next()?;
        }
        Ok(found)
    }

    /// Takes the next token, which must be of this kind.
    fn expect(&mut self, kind: TokenKind) -> Parsed<Token<'q>> {
        if self.peek()? != kind {
            return Err(Failure::Unexpected);
        }
        self.next()
    }

    /// The error that the next token is not what belongs here.
    fn unexpected(&mut self, context: &str, expected: &str) -> Failure {
        let token = match self.peek() {
            Ok(_) => self.peeked.unwrap_or(self.last),
            Err(failure) => return failure,
        };
        let mut message = format!("unexpected {}", token.describe());
        if token.kind == TokenKind::At && self.release == Release::V3_5 {
            // A kind of token without a name; the text is Prometheus's.
            message = format!("unexpected \"<Item 57400>\" {}", token.describe());
        }
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        Failure::Reported(token.span, message)
    }

    /// Names the context of an error that has none yet.
    fn within<T>(&mut self, parsed: Parsed<T>, context: &str, expected: &str) -> Parsed<T> {
        match parsed {
            Err(Failure::Unexpected) => Err(self.unexpected(context, expected)),
            other => other,
        }
    }

    /// Counts a level of nesting around a call, and gives it stack enough.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            let at = self.last.span;
            return fail(at, format!("expression is nested more than {DEPTH_MAX} levels deep"));
        }
        self.depth += 1;
        let result = crate::stack::grow(|| inner(self));
        self.depth -= 1;
        result
    }
}

fn fail<T>(span: Span, message: impl Into<String>) -> Parsed<T> {
    Err(Failure::Reported(span, message.into()))
}

#[cfg(test)]
mod tests;
