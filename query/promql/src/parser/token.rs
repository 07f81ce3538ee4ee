//! Tokens and how errors name them.

use crate::ast::{AggregateOp, BinaryOp};
use crate::position::Span;
use crate::text::quote;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Eof,
    Identifier,
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    EqualRegex,
    /// `!~`
    NotEqualRegex,
    At,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
}

/// Words with a meaning of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

impl TokenKind {
    /// Says whether an operand may begin with it.
    pub(super) fn begins_operand(self) -> bool {
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Number | Self::Duration | Self::String => true,
            Self::LeftParen | Self::LeftBrace | Self::Aggregate(_) => true,
            Self::Operator(op) => op.is_set() || matches!(op, BinaryOp::Add | BinaryOp::Sub),
            Self::Keyword(word) => word.can_be_metric(),
            _ => false,
        }
    }
}

impl Keyword {
    /// Says whether the word may be the name of a metric.
    pub(super) fn can_be_metric(self) -> bool {
        !matches!(self, Self::On | Self::Ignoring | Self::GroupLeft | Self::GroupRight | Self::Bool)
    }

    /// Says whether the word may be the name of a function.
    pub(super) fn can_be_function(self) -> bool {
        matches!(self, Self::Start | Self::End | Self::Step | Self::Range | Self::MaxOf | Self::MinOf)
    }

    /// Says whether the word may be a label in a list of labels.
    pub(super) fn can_be_label(self) -> bool {
        self != Self::Without
    }
}

/// The word of a keyword, operator or aggregation, in lower case.
pub(super) fn keyword(word: &str) -> Option<TokenKind> {
    use AggregateOp as A;
    use Keyword as K;
    use TokenKind::{Aggregate, Keyword as Key, Operator};
    Some(match word.to_ascii_lowercase().as_str() {
        "and" => Operator(BinaryOp::And),
        "or" => Operator(BinaryOp::Or),
        "unless" => Operator(BinaryOp::Unless),
        "atan2" => Operator(BinaryOp::Atan2),
        "sum" => Aggregate(A::Sum),
        "avg" => Aggregate(A::Avg),
        "count" => Aggregate(A::Count),
        "min" => Aggregate(A::Min),
        "max" => Aggregate(A::Max),
        "group" => Aggregate(A::Group),
        "stddev" => Aggregate(A::Stddev),
        "stdvar" => Aggregate(A::Stdvar),
        "topk" => Aggregate(A::Topk),
        "bottomk" => Aggregate(A::Bottomk),
        "count_values" => Aggregate(A::CountValues),
        "quantile" => Aggregate(A::Quantile),
        "limitk" => Aggregate(A::Limitk),
        "limit_ratio" => Aggregate(A::LimitRatio),
        "offset" => Key(K::Offset),
        "smoothed" => Key(K::Smoothed),
        "anchored" => Key(K::Anchored),
        "by" => Key(K::By),
        "without" => Key(K::Without),
        "on" => Key(K::On),
        "ignoring" => Key(K::Ignoring),
        "group_left" => Key(K::GroupLeft),
        "group_right" => Key(K::GroupRight),
        "fill" => Key(K::Fill),
        "fill_left" => Key(K::FillLeft),
        "fill_right" => Key(K::FillRight),
        "bool" => Key(K::Bool),
        "start" => Key(K::Start),
        "end" => Key(K::End),
        "step" => Key(K::Step),
        "range" => Key(K::Range),
        "max_of" => Key(K::MaxOf),
        "min_of" => Key(K::MinOf),
        "inf" | "nan" => TokenKind::Number,
        _ => return None,
    })
}

/// A piece of the query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'q> {
    pub(super) kind: TokenKind,
    pub(super) text: &'q str,
    pub(super) span: Span,
}

impl Token<'_> {
    /// How an error names the token.
    pub(super) fn describe(&self) -> String {
        let kind = match self.kind {
            TokenKind::Eof => return "end of input".to_owned(),
            TokenKind::Identifier => "identifier ",
            TokenKind::MetricIdentifier => "metric identifier ",
            TokenKind::Number => "number ",
            TokenKind::Duration => "duration ",
            TokenKind::String => "string ",
            TokenKind::Operator(_) | TokenKind::At | TokenKind::EqualRegex | TokenKind::NotEqualRegex => {
                return format!("<op:{}>", self.text);
            }
            TokenKind::Aggregate(_) => return format!("<aggr:{}>", self.text),
            TokenKind::Keyword(word) if !word.can_be_function() => return format!("<{}>", self.text),
            _ => "",
        };
        let is_name = matches!(self.kind, TokenKind::Identifier | TokenKind::MetricIdentifier);
        if is_name || self.text.len() <= 10 {
            return format!("{kind}{}", quote(self.text));
        }
        let cut: String = self.text.chars().take(10).collect();
        format!("{kind}{}...", quote(&cut))
    }
}
