//! Operators, calls, aggregations, literals.

use super::number::{parse_duration_ms, parse_number};
use super::strings::unquote;
use super::token::{Keyword, Token, TokenKind};
use super::{Failure, Parsed, Parser, fail};
use crate::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, NumberLiteral, UnaryOp, ValueType,
    VectorMatching,
};
use crate::position::Span;
use crate::text::quote;

impl<'q> Parser<'q> {
    /// An expression of operators that bind at least as tightly as `precedence_min`.
    pub(super) fn expr(&mut self, precedence_min: u8) -> Parsed<Expr> {
        self.nested(|parser| parser.expr_here(precedence_min))
    }

    fn expr_here(&mut self, precedence_min: u8) -> Parsed<Expr> {
        let mut lhs = self.operand()?;
        let mut chain = 0;
        while let TokenKind::Operator(op) = self.peek()? {
            if op.precedence() < precedence_min {
                break;
            }
            // A chain of left-associative operators nests the tree, too.
            chain += 1;
            if self.depth + chain > super::DEPTH_MAX {
                return fail(lhs.span, format!("expression is nested more than {} levels deep", super::DEPTH_MAX));
            }
            self.next()?;
            lhs = self.binary(lhs, op)?;
        }
        Ok(lhs)
    }

    /// A signed or plain operand with what is attached to it.
    fn operand(&mut self) -> Parsed<Expr> {
        let op = match self.peek()? {
            TokenKind::Operator(BinaryOp::Add) => UnaryOp::Plus,
            TokenKind::Operator(BinaryOp::Sub) => UnaryOp::Minus,
            _ => {
                let primary = self.primary()?;
                return self.postfix(primary);
            }
        };
        let sign = self.next()?;
        let operand = self.expr(BinaryOp::Pow.precedence())?;
        let span = sign.span.to(operand.span);
        let kind = match operand.kind {
            ExprKind::Number(number) => {
                let value = if op == UnaryOp::Minus { -number.value } else { number.value };
                ExprKind::Number(NumberLiteral { value, ..number })
            }
            _ => ExprKind::Unary(op, Box::new(operand)),
        };
        Ok(Expr { kind, span })
    }

    fn binary(&mut self, lhs: Expr, op: BinaryOp) -> Parsed<Expr> {
        let returns_bool = self.eat(TokenKind::Keyword(Keyword::Bool))?;
        let matching = self.vector_matching()?;
        let rhs_min = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
        let rhs = self.expr(rhs_min)?;
        let span = lhs.span.to(rhs.span);
        if !self.features.fill_modifiers && (matching.fill_left.is_some() || matching.fill_right.is_some()) {
            return fail(span, "binop fill modifiers are experimental and not enabled");
        }
        let both_scalar = lhs.value_type() == ValueType::Scalar && rhs.value_type() == ValueType::Scalar;
        let value_type = if both_scalar { ValueType::Scalar } else { ValueType::Vector };
        let binary = Binary { op, lhs, rhs, matching: Some(matching), returns_bool, value_type };
        Ok(Expr { kind: ExprKind::Binary(Box::new(binary)), span })
    }

    fn vector_matching(&mut self) -> Parsed<VectorMatching> {
        let mut matching = VectorMatching::default();
        let is_on = match self.peek()? {
            TokenKind::Keyword(Keyword::On) => Some(true),
            TokenKind::Keyword(Keyword::Ignoring) => Some(false),
            _ => None,
        };
        if let Some(is_on) = is_on {
            self.next()?;
            matching.is_on = is_on;
            matching.labels = self.label_list()?;
            let cardinality = match self.peek()? {
                TokenKind::Keyword(Keyword::GroupLeft) => Some(Cardinality::ManyToOne),
                TokenKind::Keyword(Keyword::GroupRight) => Some(Cardinality::OneToMany),
                _ => None,
            };
            if let Some(cardinality) = cardinality {
                self.next()?;
                matching.cardinality = cardinality;
                // What begins no operand was meant to be labels.
                let next = self.peek()?;
                if next == TokenKind::LeftParen || !next.begins_operand() {
                    matching.include = self.label_list()?;
                }
            }
        }
        self.fill_modifiers(&mut matching)?;
        Ok(matching)
    }

    fn fill_modifiers(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        if self.eat(TokenKind::Keyword(Keyword::Fill))? {
            let value = self.fill_value()?;
            (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
            return Ok(());
        }
        while let TokenKind::Keyword(side @ (Keyword::FillLeft | Keyword::FillRight)) = self.peek()? {
            let slot = if side == Keyword::FillLeft { &mut matching.fill_left } else { &mut matching.fill_right };
            if slot.is_some() {
                break;
            }
            self.next()?;
            *slot = Some(self.fill_value()?);
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect(TokenKind::LeftParen)?;
        let sign = match self.peek()? {
            TokenKind::Operator(BinaryOp::Sub) => -1.0,
            TokenKind::Operator(BinaryOp::Add) => 1.0,
            _ => 0.0,
        };
        if sign != 0.0 {
            self.next()?;
        }
        let token = self.next_number()?;
        let value = self.number(token)?.value;
        self.expect(TokenKind::RightParen)?;
        Ok(if sign < 0.0 { -value } else { value })
    }

    /// `(a, b)`
    pub(super) fn label_list(&mut self) -> Parsed<Vec<String>> {
        if self.peek()? != TokenKind::LeftParen {
            return Err(self.unexpected("grouping opts", "\"(\""));
        }
        self.next()?;
        let mut labels = Vec::new();
        if self.eat(TokenKind::RightParen)? {
            return Ok(labels);
        }
        loop {
            labels.push(self.grouping_label()?);
            if self.eat(TokenKind::Comma)? {
                if self.eat(TokenKind::RightParen)? {
                    return Ok(labels);
                }
                continue;
            }
            if self.eat(TokenKind::RightParen)? {
                return Ok(labels);
            }
            return Err(self.unexpected("grouping opts", "\",\" or \")\""));
        }
    }

    fn grouping_label(&mut self) -> Parsed<String> {
        let is_name = match self.peek()? {
            TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregate(_) | TokenKind::String => true,
            TokenKind::Operator(op) => op.is_set() || op == BinaryOp::Atan2,
            TokenKind::Keyword(word) => word.can_be_label(),
            // `inf` and `nan` are numbers to the lexer.
            _ => false,
        };
        if !is_name {
            return Err(self.unexpected("grouping opts", "label"));
        }
        let token = self.next()?;
        if token.kind != TokenKind::String {
            return Ok(token.text.to_owned());
        }
        let bytes = unquote(token.text);
        match String::from_utf8(bytes) {
            Ok(name) if !name.is_empty() => Ok(name),
            Ok(_) => fail(token.span, "invalid label name for grouping: \"\""),
            Err(error) => {
                let name = crate::text::quote_bytes(error.as_bytes());
                fail(token.span, format!("invalid label name for grouping: {name}"))
            }
        }
    }

    /// An operand without sign and without what may be attached to it.
    pub(super) fn primary(&mut self) -> Parsed<Expr> {
        match self.peek()? {
            TokenKind::Number | TokenKind::Duration => {
                let token = self.next()?;
                let number = self.number(token)?;
                Ok(Expr { kind: ExprKind::Number(number), span: token.span })
            }
            TokenKind::String => {
                let token = self.next()?;
                Ok(Expr { kind: ExprKind::String(unquote(token.text)), span: token.span })
            }
            TokenKind::LeftParen => self.paren(),
            TokenKind::LeftBrace => self.selector(None),
            TokenKind::Identifier => {
                let token = self.next()?;
                if self.peek()? == TokenKind::LeftParen { self.call(token) } else { self.selector(Some(token)) }
            }
            TokenKind::Keyword(word) if word.can_be_metric() => {
                let token = self.next()?;
                let is_call = word.can_be_function() && self.peek()? == TokenKind::LeftParen;
                if is_call { self.call(token) } else { self.selector(Some(token)) }
            }
            TokenKind::MetricIdentifier => {
                let token = self.next()?;
                self.selector(Some(token))
            }
            TokenKind::Operator(op) if op.is_set() => {
                let token = self.next()?;
                self.selector(Some(token))
            }
            TokenKind::Aggregate(op) => {
                let token = self.next()?;
                match self.peek()? {
                    TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without) => {
                        let parsed = self.aggregate(token, op);
                        self.within(parsed, "aggregation", "")
                    }
                    _ => self.selector(Some(token)),
                }
            }
            _ => Err(Failure::Unexpected),
        }
    }

    fn paren(&mut self) -> Parsed<Expr> {
        let open = self.next()?;
        let inner = self.expr(0)?;
        let close = self.expect(TokenKind::RightParen)?;
        Ok(Expr { kind: ExprKind::Paren(Box::new(inner)), span: open.span.to(close.span) })
    }

    fn call(&mut self, name: Token<'q>) -> Parsed<Expr> {
        let args = self.arguments()?;
        let span = name.span.to(self.last.span);
        let Some(function) = crate::functions::lookup(name.text) else {
            return fail(name.span, format!("unknown function with name {}", quote(name.text)));
        };
        if function.is_experimental && !self.features.experimental_functions {
            return fail(name.span, format!("function {} is not enabled", quote(name.text)));
        }
        Ok(Expr { kind: ExprKind::Call(Call { function, args }), span })
    }

    /// `(a, b)`
    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.expect(TokenKind::LeftParen)?;
        let mut args = Vec::new();
        if self.eat(TokenKind::RightParen)? {
            return Ok(args);
        }
        loop {
            args.push(self.expr(0)?);
            if self.peek()? != TokenKind::Comma {
                break;
            }
            let comma = self.next()?;
            if matches!(self.peek()?, TokenKind::RightParen | TokenKind::Comma) {
                return fail(comma.span, "trailing commas not allowed in function call args");
            }
        }
        self.expect(TokenKind::RightParen)?;
        Ok(args)
    }

    fn aggregate(&mut self, name: Token<'q>, op: AggregateOp) -> Parsed<Expr> {
        let mut grouping = self.grouping()?;
        let mut args = self.arguments()?;
        if grouping.is_none() {
            let end = self.last.span;
            grouping = self.grouping()?;
            if grouping.is_none() {
                self.last.span = end;
            }
        }
        let span = Span::new(name.span.start, self.last.span.end);
        let (grouping, is_without) = grouping.unwrap_or_default();
        if args.is_empty() {
            return fail(span, "no arguments for aggregate expression provided");
        }
        if op.is_experimental() && !self.features.experimental_functions {
            let flag = "is experimental and must be enabled with --enable-feature=promql-experimental-functions";
            return fail(span, format!("{}() {flag}", op.as_str()));
        }
        let wanted = if op.has_param() { 2 } else { 1 };
        let found = args.len();
        let (Some(expr), true) = (args.pop(), found == wanted) else {
            let text = "wrong number of arguments for aggregate expression provided";
            return fail(span, format!("{text}, expected {wanted}, got {found}"));
        };
        let aggregate = Aggregate { op, expr, param: args.pop(), grouping, is_without };
        Ok(Expr { kind: ExprKind::Aggregate(Box::new(aggregate)), span })
    }

    /// `by (a)`, `without (a)`; the labels and whether they are dropped.
    fn grouping(&mut self) -> Parsed<Option<(Vec<String>, bool)>> {
        let is_without = match self.peek()? {
            TokenKind::Keyword(Keyword::By) => false,
            TokenKind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.next()?;
        Ok(Some((self.label_list()?, is_without)))
    }

    /// The next token, which must be a number or a duration.
    pub(super) fn next_number(&mut self) -> Parsed<Token<'q>> {
        match self.peek()? {
            TokenKind::Number | TokenKind::Duration => self.next(),
            _ => Err(Failure::Unexpected),
        }
    }

    pub(super) fn number(&mut self, token: Token<'q>) -> Parsed<NumberLiteral> {
        let is_duration = token.kind == TokenKind::Duration;
        let parsed = if is_duration {
            parse_duration_ms(token.text).map(|ms| ms as f64 / 1000.0)
        } else {
            parse_number(token.text)
        };
        match parsed {
            Ok(value) => Ok(NumberLiteral { value, is_duration }),
            Err(message) => fail(token.span, message),
        }
    }
}
