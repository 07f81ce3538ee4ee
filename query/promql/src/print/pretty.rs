//! A syntax tree on several lines where one would be too long, as Prometheus lays it out.

use super::line::{AggregateHead, BinaryHead, SubquerySuffix};
use crate::ast::{Expr, ExprKind};

/// What is longer is split.
const LINE_MAX: usize = 100;

pub(super) fn pretty(expr: &Expr) -> String {
    at(expr, 0)
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn at(expr: &Expr, level: usize) -> String {
    crate::stack::grow(|| here(expr, level))
}

fn here(expr: &Expr, level: usize) -> String {
    let line = expr.to_string();
    let is_long = line.len() > LINE_MAX;
    let margin = indent(level);
    match &expr.kind {
        ExprKind::Unary(op, inner) => format!("{margin}{}{}", op.as_str(), at(inner, level).trim()),
        ExprKind::Subquery(subquery) if is_long => {
            format!("{}{}", at(&subquery.expr, level), SubquerySuffix(subquery))
        }
        // Prometheus does not indent a short subquery.
        ExprKind::Subquery(_) => line,
        ExprKind::Aggregate(aggregate) if is_long => {
            let param = aggregate.param.as_ref().map(|p| format!("{},\n", at(p, level + 1))).unwrap_or_default();
            let inner = at(&aggregate.expr, level + 1);
            format!("{margin}{}(\n{param}{inner}\n{margin})", AggregateHead(aggregate))
        }
        ExprKind::Binary(binary) if is_long => {
            let (lhs, rhs) = (at(&binary.lhs, level + 1), at(&binary.rhs, level + 1));
            format!("{lhs}\n{margin}{}\n{rhs}", BinaryHead(binary))
        }
        ExprKind::Call(call) if is_long => {
            let args: Vec<String> = call.args.iter().map(|arg| at(arg, level + 1)).collect();
            format!("{margin}{}(\n{}\n{margin})", call.function.name, args.join(",\n"))
        }
        ExprKind::Paren(inner) if is_long => format!("{margin}(\n{}\n{margin})", at(inner, level + 1)),
        _ => format!("{margin}{line}"),
    }
}
