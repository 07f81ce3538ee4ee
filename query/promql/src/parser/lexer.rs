//! Text to tokens. What is a word depends on the bracket that is open, as in Prometheus.

use super::number::scan_number;
use super::token::{Keyword, Token, TokenKind, keyword};
use crate::ast::{AggregateOp, BinaryOp};
use crate::position::Span;
use crate::text::quote_rune;

/// What the lexer cannot read.
#[derive(Debug)]
pub(super) struct LexError {
    pub(super) span: Span,
    pub(super) message: String,
}

/// Reads tokens off a query.
#[derive(Debug)]
pub(super) struct Lexer<'q> {
    input: &'q str,
    start: usize,
    at: usize,
    paren_depth: i64,
    brace_open: bool,
    bracket_open: bool,
    /// Inside brackets and before the first number.
    in_duration: bool,
    has_colon: bool,
    has_duration: bool,
}

type Lexed<'q> = Result<Token<'q>, LexError>;

impl<'q> Lexer<'q> {
    pub(super) fn new(input: &'q str) -> Self {
        Self {
            input,
            start: 0,
            at: 0,
            paren_depth: 0,
            brace_open: false,
            bracket_open: false,
            in_duration: false,
            has_colon: false,
            has_duration: false,
        }
    }

    fn rest(&self) -> &'q str {
        &self.input[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn fail(&self, message: impl Into<String>) -> LexError {
        LexError { span: Span::new(self.start, self.input.len()), message: message.into() }
    }

    fn token(&self, kind: TokenKind) -> Lexed<'q> {
        Ok(Token { kind, text: &self.input[self.start..self.at], span: Span::new(self.start, self.at) })
    }

    fn operator(&self, op: BinaryOp) -> Lexed<'q> {
        self.token(TokenKind::Operator(op))
    }

    /// The next token; `Eof` for ever after the last.
    pub(super) fn next_token(&mut self) -> Lexed<'q> {
        self.skip_blanks();
        self.start = self.at;
        if self.brace_open {
            self.inside_braces()
        } else if self.in_duration {
            self.inside_brackets()
        } else {
            self.statement()
        }
    }

    /// Skips blanks and comments. Inside brackets a comment is no comment.
    fn skip_blanks(&mut self) {
        loop {
            self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
            if self.in_duration || !self.rest().starts_with('#') {
                return;
            }
            self.at += self.rest().find(['\n', '\r']).unwrap_or(self.rest().len());
        }
    }

    fn statement(&mut self) -> Lexed<'q> {
        let Some(c) = self.bump() else { return self.end() };
        match c {
            ',' => self.token(TokenKind::Comma),
            '*' => self.operator(BinaryOp::Mul),
            '/' => self.operator(BinaryOp::Div),
            '%' => self.operator(BinaryOp::Mod),
            '+' => self.operator(BinaryOp::Add),
            '-' => self.operator(BinaryOp::Sub),
            '^' => self.operator(BinaryOp::Pow),
            '@' => self.token(TokenKind::At),
            '=' | '!' | '<' | '>' => self.comparison(c),
            '"' | '\'' | '`' => self.string(c),
            '(' | ')' => self.paren(c),
            '{' => {
                self.brace_open = true;
                self.token(TokenKind::LeftBrace)
            }
            '[' => {
                if self.bracket_open {
                    return Err(self.fail(format!("unexpected left bracket {}", quote_rune(Some(c)))));
                }
                (self.bracket_open, self.in_duration) = (true, true);
                (self.has_colon, self.has_duration) = (false, false);
                self.token(TokenKind::LeftBracket)
            }
            ']' => {
                if !self.bracket_open {
                    return Err(self.fail(format!("unexpected right bracket {}", quote_rune(Some(c)))));
                }
                self.bracket_open = false;
                self.token(TokenKind::RightBracket)
            }
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|d| d.is_ascii_digit())) => self.number(),
            c if is_alpha(c) || c == ':' => {
                if self.bracket_open {
                    self.word_in_brackets(c)
                } else {
                    self.word()
                }
            }
            c => Err(self.fail(format!("unexpected character: {}", quote_rune(Some(c))))),
        }
    }

    fn end(&mut self) -> Lexed<'q> {
        if self.paren_depth != 0 {
            return Err(self.fail("unclosed left parenthesis"));
        }
        if self.bracket_open {
            return Err(self.fail("unclosed left bracket"));
        }
        self.token(TokenKind::Eof)
    }

    fn paren(&mut self, c: char) -> Lexed<'q> {
        if c == '(' {
            self.paren_depth += 1;
            return self.token(TokenKind::LeftParen);
        }
        self.paren_depth -= 1;
        if self.paren_depth < 0 {
            // Prometheus has handed the parenthesis out by then and points behind it.
            self.start = self.at;
            return Err(self.fail(format!("unexpected right parenthesis {}", quote_rune(Some(c)))));
        }
        self.token(TokenKind::RightParen)
    }

    fn comparison(&mut self, c: char) -> Lexed<'q> {
        match (c, self.peek()) {
            ('=', Some('~')) => Err(self.fail("unexpected character after '=': '~'")),
            ('=', Some('=')) => self.two(BinaryOp::Eq),
            ('=', _) => self.token(TokenKind::Assign),
            ('!', Some('=')) => self.two(BinaryOp::Ne),
            ('!', other) => Err(self.fail(format!("unexpected character after '!': {}", quote_rune(other)))),
            ('<', Some('=')) => self.two(BinaryOp::Le),
            ('<', Some('/')) => self.two(BinaryOp::TrimUpper),
            ('<', _) => self.operator(BinaryOp::Lt),
            (_, Some('=')) => self.two(BinaryOp::Ge),
            (_, Some('/')) => self.two(BinaryOp::TrimLower),
            _ => self.operator(BinaryOp::Gt),
        }
    }

    fn two(&mut self, op: BinaryOp) -> Lexed<'q> {
        self.bump();
        self.operator(op)
    }

    fn word(&mut self) -> Lexed<'q> {
        self.at += self.rest().find(|c| !(is_alphanumeric(c) || c == ':')).unwrap_or(self.rest().len());
        let word = &self.input[self.start..self.at];
        match keyword(word) {
            Some(TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                if !self.rest().trim_start_matches([' ', '\t', '\n', '\r']).starts_with('(') =>
            {
                self.token(TokenKind::Identifier)
            }
            Some(kind) => self.token(kind),
            None if word.contains(':') => self.token(TokenKind::MetricIdentifier),
            None => self.token(TokenKind::Identifier),
        }
    }

    fn word_in_brackets(&mut self, c: char) -> Lexed<'q> {
        if c == ':' {
            if self.has_colon {
                return Err(self.fail(format!("unexpected colon {}", quote_rune(Some(c)))));
            }
            self.has_colon = true;
            return self.token(TokenKind::Colon);
        }
        match self.duration_word() {
            Some(kind) => self.token(kind),
            None => Err(self.fail(format!("unexpected character: {}, expected ':'", quote_rune(Some(c))))),
        }
    }

    /// `step`, `range`, `min_of`, `max_of`, and `min` and `max` before a parenthesis; the first letter has been read.
    fn duration_word(&mut self) -> Option<TokenKind> {
        self.at += self.rest().find(|c| !is_alpha(c)).unwrap_or(self.rest().len());
        match keyword(&self.input[self.start..self.at])? {
            kind @ TokenKind::Keyword(Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf) => Some(kind),
            kind @ TokenKind::Aggregate(AggregateOp::Min | AggregateOp::Max) if self.rest().starts_with('(') => {
                Some(kind)
            }
            _ => None,
        }
    }

    fn inside_brackets(&mut self) -> Lexed<'q> {
        let Some(c) = self.bump() else {
            return Err(self.fail("unexpected end of input in duration expression"));
        };
        match c {
            ']' => {
                (self.bracket_open, self.in_duration, self.has_colon) = (false, false, false);
                self.token(TokenKind::RightBracket)
            }
            ':' if !self.has_duration => {
                self.start = self.at;
                Err(self.fail("unexpected colon before duration in duration expression"))
            }
            ':' if self.has_colon => {
                self.start = self.at;
                Err(self.fail("unexpected repeated colon in duration expression"))
            }
            ':' => {
                self.has_colon = true;
                self.token(TokenKind::Colon)
            }
            '(' | ')' => self.paren(c),
            '+' => self.operator(BinaryOp::Add),
            '-' => self.operator(BinaryOp::Sub),
            '*' => self.operator(BinaryOp::Mul),
            '/' => self.operator(BinaryOp::Div),
            '%' => self.operator(BinaryOp::Mod),
            '^' => self.operator(BinaryOp::Pow),
            ',' => self.token(TokenKind::Comma),
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|d| d.is_ascii_digit())) => {
                (self.has_duration, self.in_duration) = (true, false);
                self.number()
            }
            c => {
                let word = if matches!(c.to_ascii_lowercase(), 's' | 'r' | 'm') { self.duration_word() } else { None };
                match word {
                    Some(kind) => {
                        self.has_duration = true;
                        self.token(kind)
                    }
                    None => {
                        Err(self.fail(format!("unexpected character in duration expression: {}", quote_rune(Some(c)))))
                    }
                }
            }
        }
    }

    fn inside_braces(&mut self) -> Lexed<'q> {
        let Some(c) = self.bump() else {
            return Err(self.fail("unexpected end of input inside braces"));
        };
        match c {
            c if is_alpha(c) => {
                self.at += self.rest().find(|c| !is_alphanumeric(c)).unwrap_or(self.rest().len());
                self.token(TokenKind::Identifier)
            }
            ',' => self.token(TokenKind::Comma),
            '"' | '\'' | '`' => self.string(c),
            '=' if self.eat('~') => self.token(TokenKind::EqualRegex),
            '=' => self.token(TokenKind::Assign),
            '!' if self.eat('~') => self.token(TokenKind::NotEqualRegex),
            '!' if self.eat('=') => self.operator(BinaryOp::Ne),
            '!' => Err(self.fail(format!("unexpected character after '!' inside braces: {}", quote_rune(self.peek())))),
            '{' => Err(self.fail(format!("unexpected left brace {}", quote_rune(Some(c))))),
            '}' => {
                self.brace_open = false;
                self.token(TokenKind::RightBrace)
            }
            c => Err(self.fail(format!("unexpected character inside braces: {}", quote_rune(Some(c))))),
        }
    }

    fn string(&mut self, delimiter: char) -> Lexed<'q> {
        loop {
            match self.bump() {
                Some(c) if c == delimiter => return self.token(TokenKind::String),
                Some('\u{fffd}') => return Err(self.fail("invalid UTF-8 rune")),
                Some('\\') if delimiter != '`' => self.escape(delimiter)?,
                Some('\n') if delimiter != '`' => return Err(self.fail("unterminated quoted string")),
                None if delimiter == '`' => return Err(self.fail("unterminated raw string")),
                None => return Err(self.fail("unterminated quoted string")),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self, delimiter: char) -> Result<(), LexError> {
        let Some(c) = self.bump() else { return Err(self.fail("escape sequence not terminated")) };
        let (digits, base, max, mut code) = match c {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
            c if c == delimiter => return Ok(()),
            '0'..='7' => (2, 8, 255, c.to_digit(8).unwrap_or(0)),
            'x' => (2, 16, 255, 0),
            'u' => (4, 16, 0x10ffff, 0),
            'U' => (8, 16, 0x10ffff, 0),
            c => return Err(self.fail(format!("unknown escape sequence {}", code_point(c)))),
        };
        for _ in 0..digits {
            let Some(c) = self.bump() else { return Err(self.fail("escape sequence not terminated")) };
            let Some(digit) = c.to_digit(base) else {
                return Err(self.fail(format!("illegal character {} in escape sequence", code_point(c))));
            };
            code = code.wrapping_mul(base).wrapping_add(digit);
        }
        if code > max || (0xd800..0xe000).contains(&code) {
            return Err(self.fail("escape sequence is an invalid Unicode code point"));
        }
        Ok(())
    }

    /// A number or a duration; the first character has been read.
    fn number(&mut self) -> Lexed<'q> {
        self.at = self.start;
        let (length, is_number) = scan_number(self.rest());
        self.at += length;
        if is_number {
            return self.token(TokenKind::Number);
        }
        if self.accept_duration() {
            return self.token(TokenKind::Duration);
        }
        Err(self
            .fail(format!("bad number or duration syntax: {}", crate::text::quote(&self.input[self.start..self.at]))))
    }

    /// The rest of a duration whose first digits have been read.
    fn accept_duration(&mut self) -> bool {
        let digits = |c: char| c.is_ascii_digit();
        let mut units = "smhdwy";
        loop {
            if !self.peek().is_some_and(|c| units.contains(c)) {
                return false;
            }
            self.bump();
            self.eat('s');
            if !self.peek().is_some_and(digits) {
                break;
            }
            self.at += self.rest().len() - self.rest().trim_start_matches(digits).len();
            units = "smhdw";
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.bump();
            return false;
        }
        true
    }
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

/// A character as Go's `%#U` writes it.
fn code_point(c: char) -> String {
    format!("U+{:04X} '{c}'", c as u32)
}
