//! Recursive descent over the text of a condition.

use super::ast::{Call, Check, Expr, Field, Literal, Operand, Span, Value};
use super::cursor::Cursor;
use super::operator::{Modifier, Op, Transformer};
use super::suggest::did_you_mean;

/// How deep parentheses, transformers and macros may nest. Falco stops at 1000 steps of its parser, which is about a
/// quarter as many parentheses; here it also bounds the stack of everything that walks the tree.
pub const MAX_DEPTH: usize = 256;

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to do about it.
    pub hint: Option<String>,
}

type Result<T> = std::result::Result<T, SyntaxError>;

/// Reads a condition in which lists are already substituted.
pub fn parse_condition(text: &str) -> Result<Expr> {
    let mut parser = Parser { cursor: Cursor::new(text), depth: 0 };
    let expr = parser.or()?;
    parser.cursor.blank();
    match parser.cursor.rest() {
        "" => Ok(expr),
        rest if rest.starts_with(')') => Err(parser.error_at(1, "there is no '(' for this ')'")),
        _ => Err(parser.unexpected("'and', 'or' or the end", &["and", "or"])),
    }
}

/// Reads the field or transformer at the start of `text`, as it follows `%` in an output; gives also its length.
pub fn parse_output_operand(text: &str) -> Result<(Operand, usize)> {
    let mut parser = Parser { cursor: Cursor::new(text), depth: 0 };
    let operand = match parser.transformer() {
        Some((transformer, start)) => parser.call(transformer, start)?,
        None => Operand::Field(parser.field()?.ok_or_else(|| parser.unexpected("a field or a transformer", &[]))?),
    };
    Ok((operand, parser.cursor.at))
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Result<Expr> {
        self.enter()?;
        let mut children = vec![self.and()?];
        while self.connective("or")? {
            children.push(self.and()?);
        }
        self.depth -= 1;
        Ok(one_or(children, Expr::Or))
    }

    fn and(&mut self) -> Result<Expr> {
        let mut children = vec![self.not()?];
        while self.connective("and")? {
            children.push(self.not()?);
        }
        Ok(one_or(children, Expr::And))
    }

    /// Takes `word` where a further operand follows.
    fn connective(&mut self, word: &str) -> Result<bool> {
        self.cursor.blank();
        if !self.cursor.take(word) {
            return Ok(false);
        }
        match self.cursor.peek() {
            Some(b' ' | b'\t' | b'\r' | b'\n' | b'(' | 0x08) => Ok(true),
            _ => {
                self.cursor.at -= word.len();
                Err(self.unexpected("'and', 'or' or the end", &["and", "or"]))
            }
        }
    }

    fn not(&mut self) -> Result<Expr> {
        self.cursor.blank();
        let mut is_negated = false;
        loop {
            let before = self.cursor.at;
            if !self.cursor.take_word("not") {
                break;
            }
            if !self.cursor.blank() && self.cursor.peek() != Some(b'(') {
                self.cursor.at = before;
                break;
            }
            is_negated = !is_negated;
        }
        let child = self.primary()?;
        Ok(if is_negated { Expr::Not(Box::new(child)) } else { child })
    }

    fn primary(&mut self) -> Result<Expr> {
        let start = self.cursor.at;
        if self.cursor.take("(") {
            let expr = self.or()?;
            self.cursor.blank();
            if !self.cursor.take(")") {
                return Err(match self.cursor.rest() {
                    "" => error(Span { start, end: start + 1 }, "this '(' is never closed"),
                    _ => self.unexpected("'and', 'or' or ')'", &["and", "or"]),
                });
            }
            return Ok(expr);
        }
        if let Some((transformer, start)) = self.transformer() {
            let left = self.call(transformer, start)?;
            return self.check(left);
        }
        if let Some(field) = self.field()? {
            return self.check(Operand::Field(field));
        }
        match self.cursor.identifier() {
            Some(name) => {
                let span = Span { start, end: self.cursor.at };
                self.refuse_missing_operand(name, span)?;
                Ok(Expr::Name(name.to_owned(), span))
            }
            None => Err(self.unexpected("a comparison, a macro or '('", &[])),
        }
    }

    /// `name = x` reads like a macro and then makes no sense; the mistake is a field without its class.
    fn refuse_missing_operand(&mut self, name: &str, span: Span) -> Result<()> {
        if matches!(name, "and" | "or") {
            return Err(error(span, &format!("a comparison or a macro is missing before '{name}'")));
        }
        if name == "not" {
            return Err(error(span, "a comparison or a macro is missing after 'not'"));
        }
        let mut ahead = Cursor { text: self.cursor.text, at: self.cursor.at };
        ahead.blank();
        let is_compared = ahead.rest().starts_with(['=', '!', '<', '>'])
            || Op::ALL
                .iter()
                .any(|op| op.is_word() && ahead.rest().starts_with(op.word()) && ahead.take_word(op.word()));
        if is_compared {
            let mut found = error(span, &format!("'{name}' is compared like a field, but has no class"));
            found.hint = Some(format!("fields have the form class.name, for example proc.{name}"));
            return Err(found);
        }
        Ok(())
    }

    fn field(&mut self) -> Result<Option<Field>> {
        let start = self.cursor.at;
        let Some(name) = self.cursor.field_name() else { return Ok(None) };
        let arg = self.bracket()?;
        Ok(Some(Field { name: name.to_owned(), arg, span: Span { start, end: self.cursor.at } }))
    }

    /// What stands in brackets, if a bracket comes next.
    fn bracket(&mut self) -> Result<Option<String>> {
        let start = self.cursor.at;
        if !self.cursor.take("[") {
            return Ok(None);
        }
        let arg = match self.cursor.quoted() {
            Some(text) => text.map_err(|(span, message)| error(span, &message))?,
            None => self.cursor.bare_arg().ok_or_else(|| self.unexpected("an argument", &[]))?,
        };
        if !self.cursor.take("]") {
            return Err(error(Span { start, end: self.cursor.at }, "this '[' is never closed"));
        }
        Ok(Some(arg.text().into_owned()))
    }

    /// The name of a transformer and its opening parenthesis, if they come next; gives also where the name starts.
    fn transformer(&mut self) -> Option<(Transformer, usize)> {
        let start = self.cursor.at;
        let found = self.cursor.identifier().and_then(Transformer::from_word).filter(|_| self.cursor.take("("));
        if found.is_none() {
            self.cursor.at = start;
        }
        found.map(|transformer| (transformer, start))
    }

    /// The rest of a transformer after its opening parenthesis.
    fn call(&mut self, transformer: Transformer, start: usize) -> Result<Operand> {
        let args = self.arguments()?;
        let selector = self.bracket()?;
        Ok(Operand::Call(Call { transformer, args, selector, span: Span { start, end: self.cursor.at } }))
    }

    /// Operands up to the closing parenthesis.
    fn arguments(&mut self) -> Result<Vec<Operand>> {
        self.enter()?;
        let mut args = Vec::new();
        self.cursor.blank();
        if !self.cursor.take(")") {
            loop {
                self.cursor.blank();
                args.push(self.argument()?);
                self.cursor.blank();
                if self.cursor.take(")") {
                    break;
                }
                if !self.cursor.take(",") {
                    return Err(self.unexpected("',' or ')'", &[]));
                }
            }
        }
        self.depth -= 1;
        Ok(args)
    }

    fn argument(&mut self) -> Result<Operand> {
        if let Some(number) = self.cursor.number() {
            return Ok(Operand::Text(number));
        }
        if let Some(text) = self.cursor.quoted() {
            return text.map(Operand::Text).map_err(|(span, message)| error(span, &message));
        }
        if self.cursor.take("(") {
            return Ok(Operand::List(self.arguments()?));
        }
        if let Some((transformer, start)) = self.transformer() {
            return self.call(transformer, start);
        }
        let field = self.field()?;
        field
            .map(Operand::Field)
            .ok_or_else(|| self.unexpected("a field, a transformer, a text in quotes or a number", &[]))
    }

    /// The rest of a comparison after its left side.
    fn check(&mut self, left: Operand) -> Result<Expr> {
        self.cursor.blank();
        let op_start = self.cursor.at;
        let op = self.operator(&left)?;
        let mut modifier = None;
        let right = if op == Op::Exists {
            Value::None
        } else if op.takes_list() {
            self.list_or_operand()?
        } else {
            self.cursor.blank();
            modifier = if op.takes_modifier() { self.modifier() } else { None };
            match modifier {
                Some(_) => self.list()?.ok_or_else(|| self.unexpected("a list in parentheses", &[]))?,
                None => self.scalar(op)?,
            }
        };
        let op_span = Span { start: op_start, end: op_start + op.word().len() };
        let span = Span { start: left.span().start, end: self.cursor.at };
        Ok(Expr::Check(Box::new(Check { span, left, op, modifier, op_span, right })))
    }

    fn operator(&mut self, left: &Operand) -> Result<Op> {
        // Longer symbols first, as Op::ALL has them; `==` is `=`.
        if self.cursor.take("==") {
            return Ok(Op::Eq);
        }
        for op in Op::ALL {
            let is_next = if op.is_word() { self.cursor.take_word(op.word()) } else { self.cursor.take(op.word()) };
            if is_next {
                return Ok(*op);
            }
        }
        let words: Vec<&str> = Op::ALL.iter().map(|op| op.word()).collect();
        if self.cursor.rest().is_empty() {
            return Err(error(left.span(), &format!("'{left}' is compared with nothing")));
        }
        Err(self.unexpected("an operator", &words))
    }

    /// `oneof` and the like, where a list follows; else it is a plain value of that name.
    fn modifier(&mut self) -> Option<Modifier> {
        let start = self.cursor.at;
        let found = Modifier::ALL.iter().copied().find(|modifier| self.cursor.take_word(modifier.word()));
        self.cursor.blank();
        if found.is_none() || self.cursor.peek() != Some(b'(') {
            self.cursor.at = start;
            return None;
        }
        found
    }

    fn scalar(&mut self, op: Op) -> Result<Value> {
        if let Some(operand) = self.right_operand()? {
            return Ok(Value::Operand(operand));
        }
        if op.is_order() {
            return self.cursor.number().map(Value::One).ok_or_else(|| self.unexpected("a number", &[]));
        }
        Ok(Value::One(self.text()?.ok_or_else(|| self.unexpected("a value", &[]))?))
    }

    fn list_or_operand(&mut self) -> Result<Value> {
        self.cursor.blank();
        if let Some(list) = self.list()? {
            return Ok(list);
        }
        if let Some(operand) = self.right_operand()? {
            return Ok(Value::Operand(operand));
        }
        let start = self.cursor.at;
        match self.cursor.identifier() {
            Some(name) => {
                let span = Span { start, end: self.cursor.at };
                Ok(Value::Many(vec![Literal { bytes: name.as_bytes().to_vec(), span }]))
            }
            None => Err(self.unexpected("a list in parentheses", &[])),
        }
    }

    /// A field in `val()` or a transformer, if one comes next.
    fn right_operand(&mut self) -> Result<Option<Operand>> {
        if self.cursor.take("val(") {
            self.cursor.blank();
            let field = self.field()?.ok_or_else(|| self.unexpected("a field", &[]))?;
            self.cursor.blank();
            if !self.cursor.take(")") {
                return Err(self.unexpected("')'", &[]));
            }
            return Ok(Some(Operand::Field(field)));
        }
        match self.transformer() {
            Some((transformer, start)) => self.call(transformer, start).map(Some),
            None => Ok(None),
        }
    }

    fn list(&mut self) -> Result<Option<Value>> {
        let start = self.cursor.at;
        if !self.cursor.take("(") {
            return Ok(None);
        }
        let mut items = Vec::new();
        self.cursor.blank();
        while let Some(item) = self.text()? {
            items.push(item);
            self.cursor.blank();
            if !self.cursor.take(",") {
                break;
            }
            self.cursor.blank();
            if self.cursor.peek() == Some(b')') {
                return Err(self.unexpected("a value", &[]));
            }
        }
        match self.cursor.take(")") {
            true => Ok(Some(Value::Many(items))),
            false if self.cursor.rest().is_empty() => {
                Err(error(Span { start, end: start + 1 }, "this '(' is never closed"))
            }
            false => Err(self.unexpected("',' or ')'", &[])),
        }
    }

    /// A text with or without quotes.
    fn text(&mut self) -> Result<Option<Literal>> {
        match self.cursor.quoted() {
            Some(text) => text.map(Some).map_err(|(span, message)| error(span, &message)),
            None => Ok(self.cursor.bare()),
        }
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(self.error_at(1, &format!("nested deeper than {MAX_DEPTH} levels"))),
            false => Ok(()),
        }
    }

    fn error_at(&self, bytes: usize, message: &str) -> SyntaxError {
        let start = self.cursor.at;
        error(Span { start, end: (start + bytes).min(self.cursor.text.len()) }, message)
    }

    /// The word that comes next is not what is expected; `words` are what it might have been meant for.
    fn unexpected(&self, expected: &str, words: &[&str]) -> SyntaxError {
        let rest = self.cursor.rest();
        let word = rest.split(|c: char| c.is_whitespace() || "(),\"'".contains(c)).next().unwrap_or_default();
        let word = if word.is_empty() { rest.get(..1).unwrap_or_default() } else { word };
        let mut found = match word {
            "" => self.error_at(0, &format!("expected {expected}, but the text ends")),
            _ => self.error_at(word.len(), &format!("expected {expected}, found '{word}'")),
        };
        found.hint = did_you_mean(word, words.iter().copied());
        found
    }
}

fn one_or(mut children: Vec<Expr>, many: fn(Vec<Expr>) -> Expr) -> Expr {
    if children.len() > 1 { many(children) } else { children.swap_remove(0) }
}

fn error(span: Span, message: &str) -> SyntaxError {
    SyntaxError { message: message.to_owned(), span, hint: None }
}
