//! How tightly `->` and `->>` bind.
//!
//! `raw ->> 'verb' = 'get'` compares what is at the path, as in PostgreSQL; the parser's generic dialect reads it as
//! `raw ->> ('verb' = 'get')`. What stands in parentheses stays as it is.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Ident, Statement, visit_expressions_mut};
use std::ops::ControlFlow;

/// Makes arrows bind more tightly than comparisons.
pub(crate) fn bind_arrows(statement: &mut Statement) {
    // Inner expressions come first.
    let _: ControlFlow<()> = visit_expressions_mut(statement, |expr| {
        bind(expr);
        ControlFlow::Continue(())
    });
}

fn bind(expr: &mut Expr) {
    let Expr::BinaryOp { left, op: BinaryOperator::Arrow | BinaryOperator::LongArrow, right } = expr else { return };
    if is_comparison(right) {
        // x -> (a = b) is (x -> a) = b
        let mut whole = take(right);
        if let Some(first) = first_operand(&mut whole) {
            **right = take(first);
            *first = take(expr);
            bind(first);
        }
        *expr = whole;
    } else if is_comparison(left) {
        // (a = b) -> x is a = (b -> x)
        let mut whole = take(left);
        if let Some(last) = last_operand(&mut whole) {
            **left = take(last);
            *last = take(expr);
            bind(last);
            *expr = whole;
        } else {
            **left = whole;
        }
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Identifier(Ident::new("")))
}

fn is_comparison(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryOp { op, .. } => matches!(
            op,
            BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq
                | BinaryOperator::Spaceship
                | BinaryOperator::StringConcat
                | BinaryOperator::PGRegexMatch
                | BinaryOperator::PGRegexIMatch
                | BinaryOperator::PGRegexNotMatch
                | BinaryOperator::PGRegexNotIMatch
        ),
        Expr::Like { .. } | Expr::ILike { .. } | Expr::SimilarTo { .. } | Expr::RLike { .. } => true,
        Expr::InList { .. } | Expr::InSubquery { .. } | Expr::Between { .. } => true,
        Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => true,
        _ => false,
    }
}

/// The operand with which a chain of comparisons begins.
fn first_operand(comparison: &mut Expr) -> Option<&mut Expr> {
    let first = match comparison {
        Expr::BinaryOp { left, .. } | Expr::IsDistinctFrom(left, _) | Expr::IsNotDistinctFrom(left, _) => left,
        Expr::Like { expr, .. } | Expr::ILike { expr, .. } | Expr::SimilarTo { expr, .. } => expr,
        Expr::RLike { expr, .. } | Expr::InList { expr, .. } | Expr::InSubquery { expr, .. } => expr,
        Expr::Between { expr, .. } | Expr::IsNull(expr) | Expr::IsNotNull(expr) => expr,
        _ => return None,
    };
    if is_comparison(first) { first_operand(first) } else { Some(first) }
}

/// The operand with which it ends; none where it ends with something else.
fn last_operand(comparison: &mut Expr) -> Option<&mut Expr> {
    let last = match comparison {
        Expr::BinaryOp { right, .. } | Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => right,
        Expr::Between { high, .. } => high,
        Expr::Like { pattern, escape_char: None, .. } | Expr::ILike { pattern, escape_char: None, .. } => pattern,
        Expr::RLike { pattern, .. } => pattern,
        _ => return None,
    };
    if is_comparison(last) { last_operand(last) } else { Some(last) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::{GenericDialect, PostgreSqlDialect};
    use datafusion::sql::sqlparser::parser::Parser;

    #[test]
    fn as_postgresql_reads_them() {
        for text in [
            "a ->> 'x' = 'y'",
            "a -> 'x' ->> 'y' = 'z' AND b",
            "a ->> 'x' = b ->> 'y'",
            "a ->> 'x' = b -> 'y' ->> 'z' OR c",
            "'z' = a ->> 'x'",
            "a ->> ('x' = 'y')",
            "(a = b) ->> 'x'",
            "a ->> 'x' LIKE 'y%'",
            "'y' NOT LIKE a ->> 'x'",
            "a ->> 'x' IN ('y', 'z')",
            "a ->> 'x' BETWEEN 'y' AND c ->> 'z'",
            "a ->> 'x' IS NOT NULL",
            "NOT a ->> 'x' = 'y'",
            "a ->> 'x' || 'y'",
            "a ->> 'x' || 'y' <> b ->> 'z'",
            "a ->> 'x' IS DISTINCT FROM b ->> 'y'",
            "CASE WHEN a ->> 'x' = 'y' THEN b -> 0 END",
            "f(a ->> 'x' = 'y') > 1",
        ] {
            let parsed = |dialect: &dyn datafusion::sql::sqlparser::dialect::Dialect| {
                Parser::parse_sql(dialect, &format!("SELECT {text}")).unwrap().remove(0)
            };
            let mut ours = parsed(&GenericDialect {});
            bind_arrows(&mut ours);
            assert_eq!(shape(&ours), shape(&parsed(&PostgreSqlDialect {})), "{text}");
        }
    }

    /// The tree, told by parentheses around each operation.
    fn shape(statement: &Statement) -> String {
        let mut statement = statement.clone();
        let _: ControlFlow<()> = visit_expressions_mut(&mut statement, |expr| {
            *expr = Expr::Nested(Box::new(take(expr)));
            ControlFlow::Continue(())
        });
        statement.to_string()
    }
}
