//! The syntax tree of a query.

use crate::functions::Function;
use crate::matcher::Matcher;
use crate::position::Span;

/// An expression and where it stands in the query.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its bytes.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `sum by (a) (x)`
    Aggregate(Box<Aggregate>),
    /// `a + b`
    Binary(Box<Binary>),
    /// `rate(x[5m])`
    Call(Call),
    /// `x[5m]`
    Matrix(Box<MatrixSelector>),
    /// `x[5m:1m]`
    Subquery(Box<Subquery>),
    /// `1`, `5m`
    Number(NumberLiteral),
    /// `(a)`
    Paren(Box<Expr>),
    /// `"text"`; may hold bytes that are no UTF-8.
    String(Vec<u8>),
    /// `-a`
    Unary(UnaryOp, Box<Expr>),
    /// `x{a="b"}`
    Vector(Box<VectorSelector>),
}

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A number for each step.
    Scalar,
    /// A text.
    String,
    /// A sample per series for each step.
    Vector,
    /// Samples per series for each step.
    Matrix,
}

impl ValueType {
    /// The name in Prometheus's code and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }

    /// The name in the documentation and in errors.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

impl Expr {
    /// The type of the expression's value.
    pub fn value_type(&self) -> ValueType {
        let mut expr = self;
        loop {
            return match &expr.kind {
                ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => {
                    expr = inner;
                    continue;
                }
                ExprKind::Aggregate(_) | ExprKind::Vector(_) => ValueType::Vector,
                ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
                ExprKind::Number(_) => ValueType::Scalar,
                ExprKind::String(_) => ValueType::String,
                ExprKind::Call(call) => call.function.returns,
                ExprKind::Binary(binary) => binary.value_type,
            };
        }
    }

    /// The expression without parentheses around it.
    pub fn unwrap_parens(&self) -> &Expr {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }
}

/// A sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

impl UnaryOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
        }
    }
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// How.
    pub op: AggregateOp,
    /// What.
    pub expr: Expr,
    /// The k of `topk` and the like.
    pub param: Option<Expr>,
    /// Labels to keep or to drop.
    pub grouping: Vec<String>,
    /// Says whether `grouping` is dropped.
    pub is_without: bool,
}

/// The aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in the language")]
pub enum AggregateOp {
    Avg,
    Bottomk,
    Count,
    CountValues,
    Group,
    LimitRatio,
    Limitk,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
    Topk,
}

impl AggregateOp {
    /// The name in the language.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::Bottomk => "bottomk",
            Self::Count => "count",
            Self::CountValues => "count_values",
            Self::Group => "group",
            Self::LimitRatio => "limit_ratio",
            Self::Limitk => "limitk",
            Self::Max => "max",
            Self::Min => "min",
            Self::Quantile => "quantile",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Sum => "sum",
            Self::Topk => "topk",
        }
    }

    /// Says whether it takes a parameter.
    pub fn has_param(self) -> bool {
        matches!(
            self,
            Self::Topk | Self::Bottomk | Self::CountValues | Self::Quantile | Self::Limitk | Self::LimitRatio
        )
    }

    /// Says whether Prometheus hides it behind a feature flag.
    pub fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

/// A binary operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// How.
    pub op: BinaryOp,
    /// The left operand.
    pub lhs: Expr,
    /// The right operand.
    pub rhs: Expr,
    /// Which series belong together; `None` unless both operands are vectors.
    pub matching: Option<VectorMatching>,
    /// A comparison yields 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// Scalar where both operands are, else vector.
    pub value_type: ValueType,
}

/// The binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in the language")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// The operator as written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Says whether it compares.
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// Says whether it works on sets of series.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// How tightly it binds; higher is tighter.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge | Self::TrimUpper | Self::TrimLower => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }
}

/// How series of two operands find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorMatching {
    /// How many match how many.
    pub cardinality: Cardinality,
    /// Labels that must be equal, or must not count.
    pub labels: Vec<String>,
    /// Says whether `labels` came with `on` (else `ignoring`).
    pub is_on: bool,
    /// Labels taken from the side of one.
    pub include: Vec<String>,
    /// The value of a left series that is missing.
    pub fill_left: Option<f64>,
    /// The value of a right series that is missing.
    pub fill_right: Option<f64>,
}

/// How many series match how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in the language")]
pub enum Cardinality {
    #[default]
    OneToOne,
    ManyToOne,
    OneToMany,
    ManyToMany,
}

impl Cardinality {
    /// The name in errors and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneToOne => "one-to-one",
            Self::ManyToOne => "many-to-one",
            Self::OneToMany => "one-to-many",
            Self::ManyToMany => "many-to-many",
        }
    }
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Vec<Expr>,
}

/// A number, maybe written as a duration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberLiteral {
    /// The number; of a duration its seconds.
    pub value: f64,
    /// Says whether it was written as a duration.
    pub is_duration: bool,
}

/// `@` with a time or with an end of the query's range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtModifier {
    /// Milliseconds since 1970.
    Time(i64),
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
}

/// A duration in milliseconds, or an expression that the range and step of a query give a value.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationValue {
    /// Milliseconds.
    Millis(i64),
    /// To be computed.
    Expr(Box<DurationExpr>),
}

impl Default for DurationValue {
    fn default() -> Self {
        Self::Millis(0)
    }
}

/// Arithmetic of durations.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// What it is.
    pub kind: DurationKind,
    /// Says whether parentheses stood around it.
    pub is_wrapped: bool,
    /// Its bytes.
    pub span: Span,
}

/// The kinds of duration expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationKind {
    /// A literal.
    Number(NumberLiteral),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// A sign.
    Unary(UnaryOp, Box<DurationExpr>),
    /// `+`, `-`, `*`, `/`, `%`, `^`
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
    /// `min_of(a, b)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(a, b)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
}

/// Which samples around the edges of a range count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Edges {
    /// Samples inside the range.
    #[default]
    Plain,
    /// The samples at or before both edges.
    Anchored,
    /// Values interpolated at both edges.
    Smoothed,
}

/// An instant selector, or the selector inside a range selector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The name before the braces, `""` for none.
    pub name: String,
    /// All matchers, the name's last.
    pub matchers: Vec<Matcher>,
    /// `offset`
    pub offset: DurationValue,
    /// `@`
    pub at: Option<AtModifier>,
    /// `anchored`, `smoothed`
    pub edges: Edges,
    /// Says whether it is the second argument of `info`, which need not select anything.
    pub is_info_selector: bool,
    /// Its bytes.
    pub span: Span,
}

/// A range selector.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// Which series, and the modifiers.
    pub selector: VectorSelector,
    /// How far back.
    pub range: DurationValue,
}

/// A subquery.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What to evaluate.
    pub expr: Expr,
    /// How far back.
    pub range: DurationValue,
    /// How often; `None` for the default.
    pub step: Option<DurationValue>,
    /// `offset`
    pub offset: DurationValue,
    /// `@`
    pub at: Option<AtModifier>,
}
