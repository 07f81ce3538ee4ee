//! A syntax tree on several lines where one would be too long, as Prometheus lays it out.

use super::line::{AggregateHead, BinaryHead, SubquerySuffix};
use crate::ast::{Expr, ExprKind};

/// What is longer is split.
const LINE_MAX: usize = 100;

pub(super) fn pretty(expr: &Expr) -> String {
    Layout { line_max: LINE_MAX }.at(expr, 0)
}

/// How long lines may be.
pub(super) struct Layout {
    pub(super) line_max: usize,
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

impl Layout {
    pub(super) fn at(&self, expr: &Expr, level: usize) -> String {
        crate::stack::grow(|| self.here(expr, level))
    }

    fn here(&self, expr: &Expr, level: usize) -> String {
        let line = expr.to_string();
        let is_long = line.len() > self.line_max;
        let margin = indent(level);
        match &expr.kind {
            ExprKind::Unary(op, inner) => format!("{margin}{}{}", op.as_str(), self.at(inner, level).trim()),
            ExprKind::Subquery(subquery) if is_long => {
                format!("{}{}", self.at(&subquery.expr, level), SubquerySuffix(subquery))
            }
            // Prometheus does not indent a short subquery.
            ExprKind::Subquery(_) => line,
            ExprKind::Aggregate(aggregate) if is_long => {
                let param =
                    aggregate.param.as_ref().map(|p| format!("{},\n", self.at(p, level + 1))).unwrap_or_default();
                let inner = self.at(&aggregate.expr, level + 1);
                format!("{margin}{}(\n{param}{inner}\n{margin})", AggregateHead(aggregate))
            }
            ExprKind::Binary(binary) if is_long => {
                let (lhs, rhs) = (self.at(&binary.lhs, level + 1), self.at(&binary.rhs, level + 1));
                format!("{lhs}\n{margin}{}\n{rhs}", BinaryHead(binary))
            }
            ExprKind::Call(call) if is_long => {
                let args: Vec<String> = call.args.iter().map(|arg| self.at(arg, level + 1)).collect();
                format!("{margin}{}(\n{}\n{margin})", call.function.name, args.join(",\n"))
            }
            ExprKind::Paren(inner) if is_long => format!("{margin}(\n{}\n{margin})", self.at(inner, level + 1)),
            _ => format!("{margin}{line}"),
        }
    }
}
