//! A syntax tree on one line, as Prometheus writes it.

use std::fmt::{self, Display, Formatter, Write};

use crate::ast::{
    Aggregate, AtModifier, Binary, Cardinality, DurationExpr, DurationKind, DurationValue, Edges, Expr, ExprKind,
    MatrixSelector, NumberLiteral, Subquery, UnaryOp, VectorMatching, VectorSelector,
};
use crate::labels::METRIC_NAME;
use crate::matcher::MatchOp;
use crate::parser::format_duration_ms;
use crate::text::{format_float, is_legacy_label_name, quote, quote_bytes};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        crate::stack::grow(|| match &self.kind {
            ExprKind::Aggregate(aggregate) => {
                write!(f, "{}(", AggregateHead(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            ExprKind::Binary(binary) => write!(f, "{} {} {}", binary.lhs, BinaryHead(binary), binary.rhs),
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (i, arg) in call.args.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{arg}")?;
                }
                f.write_char(')')
            }
            ExprKind::Matrix(matrix) => matrix.fmt(f),
            ExprKind::Subquery(subquery) => write!(f, "{}{}", subquery.expr, SubquerySuffix(subquery)),
            ExprKind::Number(number) => number.fmt(f),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::String(bytes) => f.write_str(&quote_bytes(bytes)),
            ExprKind::Unary(op, inner) => write!(f, "{}{inner}", op.as_str()),
            ExprKind::Vector(selector) => selector.fmt(f),
        })
    }
}

/// The name and the grouping of an aggregation.
pub(super) struct AggregateHead<'a>(pub(super) &'a Aggregate);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let aggregate = self.0;
        f.write_str(aggregate.op.as_str())?;
        let word = if aggregate.is_without { "without" } else { "by" };
        if aggregate.is_without || !aggregate.grouping.is_empty() {
            write!(f, " {word} ({}) ", LabelList(&aggregate.grouping))?;
        }
        Ok(())
    }
}

/// The operator of a binary operation with what stands behind it.
pub(super) struct BinaryHead<'a>(pub(super) &'a Binary);

impl Display for BinaryHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let binary = self.0;
        f.write_str(binary.op.as_str())?;
        if binary.returns_bool {
            f.write_str(" bool")?;
        }
        binary.matching.as_ref().map_or(Ok(()), |matching| matching.fmt(f))
    }
}

impl Display for VectorMatching {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let group = match self.cardinality {
            Cardinality::ManyToOne => Some("left"),
            Cardinality::OneToMany => Some("right"),
            _ => None,
        };
        if !self.labels.is_empty() || self.is_on || group.is_some() {
            let word = if self.is_on { "on" } else { "ignoring" };
            write!(f, " {word} ({})", LabelList(&self.labels))?;
        }
        if let Some(side) = group {
            write!(f, " group_{side} ({})", LabelList(&self.include))?;
        }
        let text = |value: f64| crate::text::format_g(value);
        match (self.fill_left, self.fill_right) {
            (Some(left), Some(right)) if left == right => write!(f, " fill ({})", text(left)),
            (left, right) => {
                if let Some(value) = left {
                    write!(f, " fill_left ({})", text(value))?;
                }
                if let Some(value) = right {
                    write!(f, " fill_right ({})", text(value))?;
                }
                Ok(())
            }
        }
    }
}

struct LabelList<'a>(&'a [String]);

impl Display for LabelList<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, label) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(label) {
                f.write_str(label)?;
            } else {
                f.write_str(&quote(label))?;
            }
        }
        Ok(())
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.is_duration {
            return f.write_str(&format_float(self.value));
        }
        let sign = if self.value < 0.0 { "-" } else { "" };
        write!(f, "{sign}{}", format_duration_ms((self.value.abs() * 1e9) as i64 / 1_000_000))
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_wrapped {
            f.write_char('(')?;
        }
        crate::stack::grow(|| match &self.kind {
            DurationKind::Number(number) => number.fmt(f),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Unary(UnaryOp::Plus, inner) => inner.fmt(f),
            DurationKind::Unary(UnaryOp::Minus, inner) => write!(f, "-{inner}"),
            DurationKind::Binary(op, a, b) => write!(f, "{a} {} {b}", op.as_str()),
            DurationKind::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            DurationKind::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
        })?;
        if self.is_wrapped {
            f.write_char(')')?;
        }
        Ok(())
    }
}

impl Display for DurationValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Millis(ms) if *ms < 0 => write!(f, "-{}", format_duration_ms(-ms)),
            Self::Millis(ms) => f.write_str(&format_duration_ms(*ms)),
            Self::Expr(expr) => expr.fmt(f),
        }
    }
}

struct At(Option<AtModifier>);

impl Display for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(AtModifier::Time(ms)) => write!(f, " @ {:.3}", ms as f64 / 1000.0),
            Some(AtModifier::Start) => f.write_str(" @ start()"),
            Some(AtModifier::End) => f.write_str(" @ end()"),
        }
    }
}

struct Offset<'a>(&'a DurationValue);

impl Display for Offset<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if *self.0 == DurationValue::default() { Ok(()) } else { write!(f, " offset {}", self.0) }
    }
}

impl Display for Edges {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "",
            Self::Anchored => " anchored",
            Self::Smoothed => " smoothed",
        })
    }
}

/// A selector without its modifiers.
struct Series<'a>(&'a VectorSelector);

impl Display for Series<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let selector = self.0;
        f.write_str(&selector.name)?;
        let mut matchers: Vec<String> = selector
            .matchers
            .iter()
            .filter(|m| {
                let is_name = m.name == METRIC_NAME && m.op == MatchOp::Equal && m.value == selector.name;
                !is_name || m.value.is_empty()
            })
            .map(ToString::to_string)
            .collect();
        matchers.sort_unstable();
        if matchers.is_empty() {
            // Without name and matchers only the braces make it a selector.
            return if selector.name.is_empty() { f.write_str("{}") } else { Ok(()) };
        }
        write!(f, "{{{}}}", matchers.join(","))
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}{}", Series(self), At(self.at), self.edges, Offset(&self.offset))
    }
}

impl Display for MatrixSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let selector = &self.selector;
        let (edges, at, offset) = (selector.edges, At(selector.at), Offset(&selector.offset));
        write!(f, "{}[{}]{edges}{at}{offset}", Series(selector), self.range)
    }
}

/// What stands behind the expression of a subquery.
pub(super) struct SubquerySuffix<'a>(pub(super) &'a Subquery);

impl Display for SubquerySuffix<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let subquery = self.0;
        write!(f, "[{}:", subquery.range)?;
        if let Some(step) = &subquery.step {
            step.fmt(f)?;
        }
        write!(f, "]{}{}", At(subquery.at), Offset(&subquery.offset))
    }
}
