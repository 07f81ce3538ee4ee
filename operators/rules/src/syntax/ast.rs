//! The syntax tree of a condition.

use super::operator::{Modifier, Op, Transformer};
use std::fmt;
use std::sync::Arc;

/// A range of bytes in the text of a condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A condition.
#[derive(Clone, Debug)]
pub enum Expr {
    /// All of them.
    And(Vec<Expr>),
    /// Any of them.
    Or(Vec<Expr>),
    /// The opposite.
    Not(Box<Expr>),
    /// The name of a macro, not yet resolved.
    Name(String, Span),
    /// A macro. Its tree is shared by all that use it, so that nested macros cannot blow up.
    Macro(Arc<Macro>),
    /// A comparison of one field.
    Check(Box<Check>),
}

/// A macro with its name, for messages and [`Expr`]'s display.
#[derive(Debug)]
pub struct Macro {
    /// The name.
    pub name: String,
    /// Index of the text that the spans of `condition` refer to.
    pub text: usize,
    /// What it stands for.
    pub condition: Expr,
}

/// One comparison.
#[derive(Clone, Debug)]
pub struct Check {
    /// The whole comparison.
    pub span: Span,
    /// Left side.
    pub left: Operand,
    /// The operator.
    pub op: Op,
    /// `oneof`, `anyof`, `allof`.
    pub modifier: Option<Modifier>,
    /// Where the operator stands.
    pub op_span: Span,
    /// Right side.
    pub right: Value,
}

/// What is compared.
#[derive(Clone, Debug)]
pub enum Operand {
    /// A field.
    Field(Field),
    /// A transformer over operands.
    Call(Call),
    /// A text, as an argument of a transformer.
    Text(Literal),
    /// A list, as an argument of a transformer.
    List(Vec<Operand>),
}

/// A field, as written.
#[derive(Clone, Debug)]
pub struct Field {
    /// Name without the argument: `proc.aname`.
    pub name: String,
    /// Argument without brackets and quotes: `2`.
    pub arg: Option<String>,
    /// Where it stands.
    pub span: Span,
}

/// A transformer that is applied.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which.
    pub transformer: Transformer,
    /// To what.
    pub args: Vec<Operand>,
    /// What follows in brackets: the option that `getopt` is asked for.
    pub selector: Option<String>,
    /// Where it stands.
    pub span: Span,
}

/// A constant. Bytes, since `\xHH` may write any.
#[derive(Clone, Debug)]
pub struct Literal {
    /// The value, unescaped.
    pub bytes: Vec<u8>,
    /// Where it stands.
    pub span: Span,
}

/// The right side of a comparison.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing follows `exists`.
    None,
    /// One constant.
    One(Literal),
    /// A list of constants.
    Many(Vec<Literal>),
    /// Another operand: `val(field)` or a transformer.
    Operand(Operand),
}

impl Operand {
    /// Where the operand stands.
    pub fn span(&self) -> Span {
        match self {
            Self::Field(field) => field.span,
            Self::Call(call) => call.span,
            Self::Text(literal) => literal.span,
            Self::List(items) => Span {
                start: items.first().map_or(0, |item| item.span().start),
                end: items.last().map_or(0, |item| item.span().end),
            },
        }
    }
}

impl Literal {
    /// The value as text; bytes that are no UTF-8 are replaced.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

/// Writes the condition in one line with every macro expanded, as `rules explain` shows it.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(children) => join(f, children, " and "),
            Self::Or(children) => join(f, children, " or "),
            Self::Not(child) => write!(f, "not {child}"),
            Self::Name(name, _) => f.write_str(name),
            Self::Macro(body) => body.condition.fmt(f),
            Self::Check(check) => check.fmt(f),
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, children: &[Expr], word: &str) -> fmt::Result {
    for (index, child) in children.iter().enumerate() {
        write!(f, "{}{child}", if index == 0 { "(" } else { word })?;
    }
    f.write_str(")")
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.left, self.op)?;
        if let Some(modifier) = self.modifier {
            write!(f, " {modifier}")?;
        }
        match &self.right {
            Value::None => Ok(()),
            Value::One(literal) => write!(f, " {literal}"),
            Value::Many(items) => {
                f.write_str(" (")?;
                separated(f, items)?;
                f.write_str(")")
            }
            Value::Operand(Operand::Field(field)) => write!(f, " val({field})"),
            Value::Operand(operand) => write!(f, " {operand}"),
        }
    }
}

fn separated<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
    }
    Ok(())
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => field.fmt(f),
            Self::Text(literal) => write!(f, "{literal}"),
            Self::List(items) => {
                f.write_str("(")?;
                separated(f, items)?;
                f.write_str(")")
            }
            Self::Call(call) => {
                write!(f, "{}(", call.transformer)?;
                separated(f, &call.args)?;
                f.write_str(")")?;
                call.selector.as_ref().map_or(Ok(()), |selector| write!(f, "[{selector}]"))
            }
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.arg.as_ref().map_or(Ok(()), |arg| write!(f, "[{arg}]"))
    }
}

/// Different values are written differently: comparisons are told apart by this text.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(text) = std::str::from_utf8(&self.bytes) else {
            let escaped = self.bytes.iter().map(|byte| format!("\\x{byte:02x}"));
            return write!(f, "\"{}\"", escaped.collect::<String>());
        };
        let is_bare = !text.is_empty() && !text.bytes().any(|b| b.is_ascii_whitespace() || b"()\"'=,\\".contains(&b));
        if is_bare {
            return f.write_str(text);
        }
        // A quote after a backslash does not close a text, even where the backslash is escaped.
        let (text, last) = text.strip_suffix('\\').map_or((text, ""), |text| (text, "\\x5c"));
        write!(f, "\"{}{last}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
    }
}
