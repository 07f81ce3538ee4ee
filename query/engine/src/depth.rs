//! How deep a statement may nest (SAFE-1).
//!
//! The parser bounds parentheses, but builds chains such as `1 + 1 + ...` and `... UNION ...` in a loop: a tree as deep
//! as the text is long. Walking, copying and even dropping such a tree overflows the stack, which ends the process. So
//! the words of one item are counted before parsing, chains of AND and OR are balanced after it, and what is still
//! deep is refused.

use datafusion::sql::sqlparser::ast::{self, BinaryOperator, Expr};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::pin;

/// Tokens of one item (what stands between two commas) with those of the items around it. A level of an expression
/// takes at least one.
const ITEM_TOKENS_MAX: usize = 4_000;

/// Set operations and joins of a statement: each is a level of its plan.
const CLAUSES_MAX: usize = 200;

/// Levels of an expression whose chains are balanced.
const LEVELS_MAX: usize = 250;

/// Stack of the planner. A level that is printed or copied takes up to 35 KiB of it in a build without optimization.
const PLANNER_STACK_BYTES: usize = 32 << 20;

/// Runs a future with a stack that is deep enough for the statements that pass the bounds above.
pub(crate) async fn on_deep_stack<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|context| {
        stacker::maybe_grow(PLANNER_STACK_BYTES / 2, PLANNER_STACK_BYTES, || future.as_mut().poll(context))
    })
    .await
}

/// What nests too deep, in words.
pub(crate) type TooDeep = &'static str;

/// Refuses a text whose tree could be too deep to parse and drop. A text with no tokens passes: the parser explains.
pub(crate) fn check_text(text: &str) -> Result<(), TooDeep> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize() else { return Ok(()) };
    // Tokens of the item so far, for the statement and for each open parenthesis.
    let (mut open, mut along_path, mut clauses) = (vec![0_usize], 0_usize, 0_usize);
    for token in tokens {
        match token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => open.push(0),
            Token::RParen | Token::RBracket | Token::RBrace if open.len() > 1 => {
                along_path -= open.pop().unwrap_or_default();
            }
            Token::Comma => along_path -= open.last_mut().map(std::mem::take).unwrap_or_default(),
            Token::Word(word) => clauses += usize::from(is_clause(word.keyword)),
            _ => {}
        }
        along_path += 1;
        if let Some(item) = open.last_mut() {
            *item += 1;
        }
        if along_path > ITEM_TOKENS_MAX {
            return Err("an expression has more than 4000 words");
        }
        if clauses > CLAUSES_MAX {
            return Err("the query has more than 200 joins and set operations");
        }
    }
    Ok(())
}

fn is_clause(keyword: Keyword) -> bool {
    matches!(keyword, Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::JOIN)
}

/// Makes chains of AND and of OR as shallow as they can be, which changes no result, and refuses what is still deep.
pub(crate) fn flatten(statement: &mut ast::Statement) -> Result<(), TooDeep> {
    let mut levels = Levels(0);
    match ast::VisitMut::visit(statement, &mut levels) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err("an expression nests deeper than 250 levels"),
    }
}

struct Levels(usize);

impl ast::VisitorMut for Levels {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        balance(expr);
        self.0 += levels(expr);
        if self.0 > LEVELS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.0 -= levels(expr);
        ControlFlow::Continue(())
    }
}

/// Levels that the plan of `expr` has above its children: a chain of fields and subscripts becomes nested calls.
fn levels(expr: &Expr) -> usize {
    match expr {
        Expr::CompoundFieldAccess { access_chain, .. } => access_chain.len(),
        Expr::CompoundIdentifier(parts) => parts.len(),
        _ => 1,
    }
}

/// Turns `((a OR b) OR c) OR d` into `(a OR b) OR (c OR d)`, in a loop over the left arms.
fn balance(expr: &mut Expr) {
    let Some(op) = chained(expr) else { return };
    let is_chained = |arm: &Expr| chained(arm).as_ref() == Some(&op);
    if !matches!(expr, Expr::BinaryOp { left, .. } if is_chained(left)) {
        return;
    }
    let mut arms = Vec::new();
    let mut rest = std::mem::replace(expr, Expr::value(ast::Value::Null));
    while is_chained(&rest) {
        let Expr::BinaryOp { left, right, .. } = rest else { break };
        arms.push(*right);
        rest = *left;
    }
    arms.push(rest);
    arms.reverse();
    *expr = joined(arms, &op);
}

fn chained(expr: &Expr) -> Option<BinaryOperator> {
    match expr {
        Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } => Some(op.clone()),
        _ => None,
    }
}

fn joined(arms: Vec<Expr>, op: &BinaryOperator) -> Expr {
    let mut level = arms;
    while level.len() > 1 {
        let mut pairs = Vec::with_capacity(level.len().div_ceil(2));
        let mut arms = level.into_iter();
        while let Some(left) = arms.next() {
            pairs.push(match arms.next() {
                Some(right) => Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) },
                None => left,
            });
        }
        level = pairs;
    }
    level.pop().unwrap_or_else(|| Expr::value(ast::Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::parser::Parser;

    fn flat(text: &str) -> Result<String, TooDeep> {
        check_text(text)?;
        let parsed = Parser::parse_sql(&GenericDialect {}, text);
        let mut statement = parsed.map_err(|_| "the parser refuses it")?.remove(0);
        flatten(&mut statement)?;
        Ok(statement.to_string())
    }

    #[test]
    fn chains_keep_their_order_and_lose_their_depth() {
        let text = "SELECT 1 WHERE a OR b OR c AND d AND e OR f";
        assert_eq!(flat(text).unwrap(), text);
        let chain = |terms: usize, by: &str| vec!["a = 1"; terms].join(by);
        assert!(flat(&format!("SELECT 1 WHERE {}", chain(900, " OR "))).is_ok());
        assert!(flat(&format!("SELECT 1 WHERE {}", chain(100, " AND x OR "))).is_ok());
        assert!(flat(&format!("SELECT {}", chain(240, " + "))).is_ok());
    }

    #[test]
    fn what_is_deep_is_refused() {
        for text in [
            format!("SELECT {}1", "1+".repeat(300)),
            format!("SELECT {}1", "1+".repeat(100_000)),
            format!("SELECT a{} FROM t", " IS NULL".repeat(3_000)),
            format!("SELECT a{}", "::int".repeat(3_000)),
            format!("SELECT a{}", "[1]".repeat(3_000)),
            format!("SELECT a{}", ".a".repeat(1_000)),
            format!("SELECT 1, 2{}", " UNION ALL SELECT 1, 2".repeat(201)),
            format!("SELECT 1 WHERE {}", vec!["a = 1"; 2_000].join(" OR ")),
            format!("SELECT {}1{}", format!("({}", "1+".repeat(90)).repeat(40), ")".repeat(40)),
        ] {
            assert!(flat(&text).is_err(), "{}", &text[..40]);
        }
    }

    #[test]
    fn long_lists_are_not_deep() {
        let list = vec!["1"; 50_000].join(", ");
        for text in
            [format!("SELECT 1 WHERE a IN ({list})"), format!("SELECT {list}"), format!("VALUES ({list}), ({list})")]
        {
            assert!(check_text(&text).is_ok());
        }
        assert!(check_text("SELECT )))) 'open").is_ok());
    }
}
