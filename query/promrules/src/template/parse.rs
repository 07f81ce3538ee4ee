//! Text with `{{ actions }}` to a tree: the part of Go's templates that labels and annotations use.

use super::TemplateError;
use std::collections::BTreeMap;

/// Actions inside of each other at most (SAFE-1).
const DEPTH_MAX: usize = 64;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// What a pipeline gives, printed.
    Print(Pipeline),
    /// `{{ $name := pipeline }}` or, for a variable that exists, `=`.
    Assign {
        name: String,
        is_new: bool,
        pipeline: Pipeline,
    },
    If {
        condition: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        name: Option<String>,
        pipeline: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        key: Option<String>,
        value: Option<String>,
        pipeline: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// `{{ template "name" pipeline }}`
    Template {
        name: String,
        pipeline: Option<Pipeline>,
    },
    /// Leaves the loop.
    Break,
    /// Goes on with the loop's next item.
    Continue,
}

/// What `{{ define "name" }}` names.
pub(super) type Defined = BTreeMap<String, Vec<Node>>;

/// Commands of which each is given the result of the one before as its last argument.
pub(super) type Pipeline = Vec<Command>;

/// A function with its arguments, or an operand alone.
pub(super) type Command = Vec<Operand>;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Nil,
    Function(String),
    /// `.a.b`; `.` where it is empty.
    Field(Vec<String>),
    /// `$name.a.b`
    Variable(String, Vec<String>),
    /// `(pipeline).a.b`
    Group(Pipeline, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Text(String),
    Number(String),
    Name(String),
    Field(String),
    Dot,
    Variable(String),
    Open,
    /// A parenthesis that closes.
    Close,
    Pipe,
    Comma,
    Declare,
    Set,
}

/// The tree of a template, and those that it defines.
pub(super) fn parse(text: &str) -> Result<(Vec<Node>, Defined), TemplateError> {
    let pieces = split(text)?;
    let mut parser = Parser { pieces, at: 0, depth: 0, loops: 0, defined: Defined::new() };
    let (nodes, end) = parser.nodes()?;
    match end {
        None => Ok((nodes, parser.defined)),
        Some(keyword) => Err(TemplateError(format!("unexpected {{{{{keyword}}}}}"))),
    }
}

enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Text and actions, with blanks trimmed where `{{-` and `-}}` say so.
fn split(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut rest, mut trims_next) = (text, false);
    while let Some(open) = rest.find("{{") {
        let (mut before, mut inside) = (&rest[..open], &rest[open + 2..]);
        if trims_next {
            before = before.trim_start();
        }
        if inside.starts_with('-') && inside[1..].starts_with([' ', '\t', '\r', '\n']) {
            before = before.trim_end();
            inside = &inside[1..];
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        if let Some(comment) = inside.trim_start().strip_prefix("/*") {
            let end = comment.find("*/").ok_or_else(|| TemplateError("unclosed comment".to_owned()))?;
            let after = comment[end + 2..].trim_start();
            (rest, trims_next) =
                close(after).ok_or_else(|| TemplateError("comment ends before closing delimiter".to_owned()))?;
            continue;
        }
        let (tokens, after) = tokens(inside)?;
        pieces.push(Piece::Action(tokens));
        (rest, trims_next) = after;
    }
    let last = if trims_next { rest.trim_start() } else { rest };
    if !last.is_empty() {
        pieces.push(Piece::Text(last.to_owned()));
    }
    Ok(pieces)
}

/// What follows a closing delimiter, and whether it trims.
fn close(text: &str) -> Option<(&str, bool)> {
    text.strip_prefix("}}").map(|rest| (rest, false)).or_else(|| text.strip_prefix("-}}").map(|rest| (rest, true)))
}

/// The tokens of an action, and what follows it.
fn tokens(text: &str) -> Result<(Vec<Token>, (&str, bool)), TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start();
        let had_blank = trimmed.len() < rest.len();
        if let Some(after) = close(trimmed).filter(|(_, trims)| !trims || had_blank) {
            return Ok((tokens, after));
        }
        let Some(first) = trimmed.chars().next() else { return Err(TemplateError("unclosed action".to_owned())) };
        let (token, length) = match first {
            '"' => quoted(trimmed)?,
            '`' => {
                let end =
                    trimmed[1..].find('`').ok_or_else(|| TemplateError("unterminated raw quoted string".to_owned()))?;
                (Token::Text(trimmed[1..=end].to_owned()), end + 2)
            }
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            '=' => (Token::Set, 1),
            ':' if trimmed.starts_with(":=") => (Token::Declare, 2),
            '$' => {
                let length = 1 + name_length(&trimmed[1..]);
                (Token::Variable(trimmed[..length].to_owned()), length)
            }
            '.' => match name_length(&trimmed[1..]) {
                0 => (Token::Dot, 1),
                _ if trimmed[1..].starts_with(|c: char| c.is_ascii_digit()) => number(trimmed)?,
                length => (Token::Field(trimmed[1..=length].to_owned()), length + 1),
            },
            c if c.is_ascii_digit() || c == '-' || c == '+' => number(trimmed)?,
            c if c.is_alphabetic() || c == '_' => {
                let length = name_length(trimmed);
                (Token::Name(trimmed[..length].to_owned()), length)
            }
            c => return Err(TemplateError(format!("unexpected {c:?} in an action"))),
        };
        // A field right behind something belongs to it; one after a blank is an argument of its own.
        if had_blank && matches!(token, Token::Field(_)) && !tokens.is_empty() {
            tokens.push(Token::Dot);
        }
        tokens.push(token);
        rest = &trimmed[length..];
    }
}

fn name_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

fn number(text: &str) -> Result<(Token, usize), TemplateError> {
    let is_part = |(index, c): (usize, char)| {
        c.is_ascii_alphanumeric()
            || c == '.'
            || c == '_'
            || (index == 0 || text[..index].ends_with(['e', 'E'])) && "+-".contains(c)
    };
    let length = text.char_indices().find(|part| !is_part(*part)).map_or(text.len(), |(index, _)| index);
    let digits = text[..length].replace('_', "");
    digits.parse::<f64>().map_err(|_| TemplateError(format!("bad number syntax: {:?}", &text[..length])))?;
    Ok((Token::Number(digits), length))
}

fn quoted(text: &str) -> Result<(Token, usize), TemplateError> {
    let unterminated = || TemplateError("unterminated quoted string".to_owned());
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Text(out), index + 1)),
            '\n' => return Err(unterminated()),
            '\\' => match chars.next().ok_or_else(unterminated)?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                c @ ('"' | '\\' | '\'') => out.push(c),
                c => return Err(TemplateError(format!("unknown escape \\{c} in a quoted string"))),
            },
            c => out.push(c),
        }
    }
    Err(unterminated())
}

struct Parser {
    pieces: Vec<Piece>,
    at: usize,
    depth: usize,
    /// Loops around what is parsed.
    loops: usize,
    defined: Defined,
}

/// Nodes up to `{{end}}` or `{{else ...}}`: the keyword, and what follows it.
type Block = (Vec<Node>, Option<String>);

impl Parser {
    fn nodes(&mut self) -> Result<Block, TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.get_mut(self.at) {
            self.at += 1;
            match piece {
                Piece::Text(text) => nodes.push(Node::Text(std::mem::take(text))),
                Piece::Action(tokens) => {
                    let tokens = std::mem::take(tokens);
                    match tokens.first() {
                        Some(Token::Name(name)) if name == "end" || name == "else" => {
                            if tokens.len() > 1 {
                                // `{{else if x}}`: looked at again as an action of its own.
                                self.at -= 1;
                                self.pieces[self.at] = Piece::Action(tokens[1..].to_vec());
                            }
                            let keyword = if tokens.len() > 1 { "else if" } else { name };
                            return Ok((nodes, Some(keyword.to_owned())));
                        }
                        Some(Token::Name(name)) if name == "define" => self.define(&tokens[1..])?,
                        _ => nodes.push(self.action(&tokens)?),
                    }
                }
            }
        }
        Ok((nodes, None))
    }

    fn action(&mut self, tokens: &[Token]) -> Result<Node, TemplateError> {
        let rest = tokens.get(1..).unwrap_or_default();
        match tokens.first() {
            None => Err(TemplateError("missing value for command".to_owned())),
            Some(Token::Name(name)) if name == "if" => {
                let condition = pipeline(rest)?;
                let (then, otherwise) = self.body(false)?;
                Ok(Node::If { condition, then, otherwise })
            }
            Some(Token::Name(name)) if name == "with" => {
                let (name, tokens) = match rest {
                    [Token::Variable(name), Token::Declare, rest @ ..] => (Some(name.clone()), rest),
                    rest => (None, rest),
                };
                let pipeline = pipeline(tokens)?;
                let (then, otherwise) = self.body(false)?;
                Ok(Node::With { name, pipeline, then, otherwise })
            }
            Some(Token::Name(name)) if name == "range" => {
                let (key, value, tokens) = match rest {
                    [Token::Variable(key), Token::Comma, Token::Variable(value), Token::Declare, rest @ ..] => {
                        (Some(key.clone()), Some(value.clone()), rest)
                    }
                    [Token::Variable(value), Token::Declare, rest @ ..] => (None, Some(value.clone()), rest),
                    rest => (None, None, rest),
                };
                let pipeline = pipeline(tokens)?;
                let (body, otherwise) = self.body(true)?;
                Ok(Node::Range { key, value, pipeline, body, otherwise })
            }
            Some(Token::Name(name)) if name == "template" || name == "block" => {
                let (Some(Token::Text(called)), argument) = (rest.first(), rest.get(1..).unwrap_or_default()) else {
                    return Err(TemplateError(format!("{{{{{name}}}}} needs a name in quotes")));
                };
                let pipeline = (!argument.is_empty()).then(|| pipeline(argument)).transpose()?;
                if name == "block" {
                    self.define(&rest[..1])?;
                }
                Ok(Node::Template { name: called.clone(), pipeline })
            }
            Some(Token::Name(name)) if rest.is_empty() && (name == "break" || name == "continue") => {
                if self.loops == 0 {
                    return Err(TemplateError(format!("{{{{{name}}}}} outside {{{{range}}}}")));
                }
                Ok(if name == "break" { Node::Break } else { Node::Continue })
            }
            Some(Token::Variable(name)) if matches!(rest.first(), Some(Token::Declare | Token::Set)) => {
                let is_new = rest.first() == Some(&Token::Declare);
                Ok(Node::Assign { name: name.clone(), is_new, pipeline: pipeline(&rest[1..])? })
            }
            Some(_) => Ok(Node::Print(pipeline(tokens)?)),
        }
    }

    /// Remembers what is between `{{define "name"}}` and its `{{end}}`; of two the later one counts.
    fn define(&mut self, tokens: &[Token]) -> Result<(), TemplateError> {
        let [Token::Text(name)] = tokens else {
            return Err(TemplateError("{{define}} needs a name in quotes".to_owned()));
        };
        let loops = std::mem::take(&mut self.loops);
        let (body, otherwise) = self.body(false)?;
        self.loops = loops;
        if !otherwise.is_empty() {
            return Err(TemplateError("unexpected {{else}} in define clause".to_owned()));
        }
        self.defined.insert(name.clone(), body);
        Ok(())
    }

    /// What is between an action and its `{{end}}`, and what stands after `{{else}}`.
    fn body(&mut self, is_range: bool) -> Result<(Vec<Node>, Vec<Node>), TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(TemplateError(format!("more than {DEPTH_MAX} actions inside of each other")));
        }
        let unclosed = || TemplateError("unexpected end of the template: an {{end}} is missing".to_owned());
        self.loops += usize::from(is_range);
        let (then, end) = self.nodes()?;
        self.loops -= usize::from(is_range);
        let otherwise = match end.as_deref() {
            Some("end") => Vec::new(),
            Some("else if") if !is_range => {
                let Some(Piece::Action(tokens)) = self.pieces.get_mut(self.at) else { return Err(unclosed()) };
                let tokens = std::mem::take(tokens);
                self.at += 1;
                vec![self.action(&tokens)?]
            }
            Some("else") => {
                let (otherwise, end) = self.nodes()?;
                if end.as_deref() != Some("end") {
                    return Err(unclosed());
                }
                otherwise
            }
            _ => return Err(unclosed()),
        };
        self.depth -= 1;
        Ok((then, otherwise))
    }
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, TemplateError> {
    let mut at = 0;
    let pipeline = commands(tokens, &mut at, 0)?;
    if at < tokens.len() {
        return Err(TemplateError("unexpected ) in an action".to_owned()));
    }
    Ok(pipeline)
}

fn commands(tokens: &[Token], at: &mut usize, depth: usize) -> Result<Pipeline, TemplateError> {
    if depth > DEPTH_MAX {
        return Err(TemplateError(format!("more than {DEPTH_MAX} parentheses inside of each other")));
    }
    let mut commands = vec![Vec::new()];
    while let Some(token) = tokens.get(*at) {
        if *token == Token::Close {
            break;
        }
        *at += 1;
        let operand = match token {
            Token::Pipe => {
                commands.push(Vec::new());
                continue;
            }
            Token::Text(text) => Operand::Text(text.clone()),
            Token::Number(digits) => match digits.parse::<i64>() {
                Ok(int) => Operand::Int(int),
                Err(_) => Operand::Float(digits.parse().unwrap_or(f64::NAN)),
            },
            Token::Name(name) => match name.as_str() {
                "true" => Operand::Bool(true),
                "false" => Operand::Bool(false),
                "nil" => Operand::Nil,
                _ => Operand::Function(name.clone()),
            },
            Token::Field(name) => Operand::Field(fields(tokens, at, vec![name.clone()])),
            Token::Dot => match tokens.get(*at) {
                // A dot that stands apart from the field after it was put there to say so.
                Some(Token::Field(_)) => Operand::Field(fields(tokens, at, Vec::new())),
                _ => Operand::Field(Vec::new()),
            },
            Token::Variable(name) => Operand::Variable(name.clone(), fields(tokens, at, Vec::new())),
            Token::Open => {
                let inner = self::commands(tokens, at, depth + 1)?;
                if tokens.get(*at) != Some(&Token::Close) {
                    return Err(TemplateError("unclosed left paren".to_owned()));
                }
                *at += 1;
                Operand::Group(inner, fields(tokens, at, Vec::new()))
            }
            other => return Err(TemplateError(format!("unexpected {other:?} in an action"))),
        };
        if let Some(command) = commands.last_mut() {
            command.push(operand);
        }
    }
    if commands.iter().any(Vec::is_empty) {
        return Err(TemplateError("missing value for command".to_owned()));
    }
    Ok(commands)
}

/// The fields that follow without a blank.
fn fields(tokens: &[Token], at: &mut usize, mut fields: Vec<String>) -> Vec<String> {
    while let Some(Token::Field(name)) = tokens.get(*at) {
        fields.push(name.clone());
        *at += 1;
    }
    fields
}
