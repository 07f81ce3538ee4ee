//! From text to one statement that only reads.

use crate::arrows::bind_arrows;
use crate::depth::{TooDeep, check_text, flatten};
use crate::same_names::{Renamed, name_apart};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{self, Expr, FunctionArguments};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use std::ops::ControlFlow;

/// Why a text is not a statement that may run.
#[derive(Debug)]
pub(crate) enum ParseFailure {
    /// The text holds no statement.
    Empty,
    /// The text holds more than one statement.
    Several,
    /// The statement does more than read; its first word.
    Denied(String),
    /// The text is not SQL.
    Syntax(DataFusionError),
    /// The statement nests deeper than may be.
    TooDeep(TooDeep),
}

/// Parses `text` and refuses what is not a query, EXPLAIN, SHOW or DESCRIBE. Says which columns of the answer are called
/// otherwise than in the statement.
pub(crate) fn parse(text: &str, options: &ConfigOptions) -> Result<(Statement, Renamed), ParseFailure> {
    check_text(text).map_err(ParseFailure::TooDeep)?;
    let parser = DFParserBuilder::new(text)
        .with_dialect(&GenericDialect {})
        .with_recursion_limit(options.sql_parser.recursion_limit.get())
        .build();
    let mut statements = parser.and_then(|mut parser| parser.parse_statements()).map_err(ParseFailure::Syntax)?;
    let mut statement = statements.pop_front().ok_or(ParseFailure::Empty)?;
    if !statements.is_empty() {
        return Err(ParseFailure::Several);
    }
    flatten_standard(&mut statement).map_err(ParseFailure::TooDeep)?;
    if !only_reads(&statement) {
        let text = statement.to_string();
        let word = text.split_whitespace().next().unwrap_or_default();
        return Err(ParseFailure::Denied(word.to_ascii_uppercase()));
    }
    bind_arrows_standard(&mut statement);
    name_user(&mut statement);
    pair_arguments(&mut statement);
    let renamed = name_apart_standard(&mut statement);
    Ok((statement, renamed))
}

fn only_reads(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(statement) => only_reads_standard(statement),
        Statement::Explain(explain) => only_reads(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    }
}

fn only_reads_standard(statement: &ast::Statement) -> bool {
    match statement {
        ast::Statement::Explain { statement, .. } => only_reads_standard(statement),
        ast::Statement::Query(_)
        | ast::Statement::ExplainTable { .. }
        | ast::Statement::ShowVariable { .. }
        | ast::Statement::ShowTables { .. }
        | ast::Statement::ShowColumns { .. }
        | ast::Statement::ShowFunctions { .. }
        | ast::Statement::ShowCreate { .. } => true,
        _ => false,
    }
}

fn flatten_standard(statement: &mut Statement) -> Result<(), TooDeep> {
    match statement {
        Statement::Statement(statement) => flatten(statement),
        Statement::Explain(explain) => flatten_standard(&mut explain.statement),
        // Refused for what they are.
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => Ok(()),
    }
}

fn bind_arrows_standard(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => bind_arrows(statement),
        Statement::Explain(explain) => bind_arrows_standard(&mut explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {}
    }
}

fn name_apart_standard(statement: &mut Statement) -> Renamed {
    match statement {
        Statement::Statement(statement) => name_apart(statement),
        // What it answers is a plan.
        Statement::Explain(explain) => {
            name_apart_standard(&mut explain.statement);
            Renamed::new()
        }
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => Renamed::new(),
    }
}

/// The parser takes the bare word `user` for the function that names the session's user, as PostgreSQL does. `events`
/// has a column of that name and there is no such function here, so the word is made the column again.
fn name_user(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => {
            let _: ControlFlow<()> = ast::visit_expressions_mut(statement.as_mut(), |expr| {
                if let Expr::Function(function) = expr
                    && matches!(function.args, FunctionArguments::None)
                    && let [ast::ObjectNamePart::Identifier(name)] = function.name.0.as_slice()
                    && name.value.eq_ignore_ascii_case("user")
                {
                    *expr = Expr::Identifier(name.clone());
                }
                ControlFlow::Continue(())
            });
        }
        Statement::Explain(explain) => name_user(&mut explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {}
    }
}

/// The planner knows no named arguments of table functions: `detect(a, since => b)` becomes `detect(a, 'since', b)`.
fn pair_arguments(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => {
            let _: ControlFlow<()> = ast::VisitMut::visit(statement.as_mut(), &mut PairArguments);
        }
        Statement::Explain(explain) => pair_arguments(&mut explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => {}
    }
}

struct PairArguments;

impl ast::VisitorMut for PairArguments {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &mut ast::TableFactor) -> ControlFlow<()> {
        if let ast::TableFactor::Table { args: Some(arguments), .. } = table {
            arguments.args = std::mem::take(&mut arguments.args).into_iter().flat_map(pair).collect();
        }
        ControlFlow::Continue(())
    }
}

fn pair(argument: ast::FunctionArg) -> Vec<ast::FunctionArg> {
    match argument {
        ast::FunctionArg::Named { name, arg, .. } => {
            let name = Expr::value(ast::Value::SingleQuotedString(name.value));
            vec![ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(name)), ast::FunctionArg::Unnamed(arg)]
        }
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Statement, ParseFailure> {
        parse(text, &ConfigOptions::default()).map(|(statement, _)| statement)
    }

    #[test]
    fn what_only_reads_passes() {
        for text in [
            "SELECT 1",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "VALUES (1)",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "SHOW TABLES",
            "SHOW COLUMNS FROM events",
            "SHOW FUNCTIONS",
            "DESCRIBE events",
            "SELECT 1;",
        ] {
            assert!(parsed(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_writes_or_changes_the_session_is_denied() {
        for text in [
            "INSERT INTO events VALUES (1)",
            "UPDATE events SET pid = 1",
            "DELETE FROM events",
            "MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE",
            "TRUNCATE TABLE events",
            "CREATE TABLE t (a INT)",
            "CREATE VIEW v AS SELECT 1",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
            "DROP TABLE events",
            "COPY events TO '/tmp/x.parquet'",
            "COPY (SELECT 1) TO 'x.csv'",
            "SET datafusion.execution.batch_size = 1",
            "RESET datafusion.execution.batch_size",
            "BEGIN",
            "PREPARE p AS SELECT 1",
            "EXECUTE p",
            "EXPLAIN DELETE FROM events",
            "EXPLAIN ANALYZE INSERT INTO events VALUES (1)",
            "CREATE FUNCTION f() RETURNS INT RETURN 1",
            "GRANT SELECT ON events TO x",
        ] {
            assert!(matches!(parsed(text), Err(ParseFailure::Denied(_))), "{text}: {:?}", parsed(text));
        }
    }

    #[test]
    fn named_arguments_become_pairs() {
        let text = parsed("SELECT * FROM detect('r', since => '30d') d JOIN events e ON true").unwrap().to_string();
        assert!(text.contains("detect('r', 'since', '30d')"), "{text}");
    }

    #[test]
    fn a_name_that_comes_again_gets_a_number() {
        for (text, expected) in [
            ("SELECT pid, pid, pid_1 FROM e", "SELECT pid, pid AS \"pid_2\", pid_1 FROM e"),
            ("SELECT a.pid, b.pid FROM a, b", "SELECT a.pid, b.pid FROM a, b"),
            ("SELECT * FROM (SELECT a.x, b.x FROM a, b)", "SELECT * FROM (SELECT a.x, b.x AS \"x_1\" FROM a, b)"),
            ("SELECT 1, 1 UNION ALL SELECT 2, 2", "SELECT 1, 1 AS \"1_1\" UNION ALL SELECT 2, 2 AS \"2_1\""),
            ("SELECT *, pid FROM e", "SELECT *, pid AS \"pid_1\" FROM e"),
            ("SELECT pid, \"PID\" AS x, cpu X FROM e", "SELECT pid, \"PID\" AS x, cpu AS \"x_1\" FROM e"),
        ] {
            assert_eq!(parsed(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn user_is_a_column() {
        let text = parsed("EXPLAIN SELECT user, e.user, USER FROM events e WHERE user = 'a'").unwrap().to_string();
        assert!(!text.contains("user()"), "{text}");
        assert!(matches!(parsed("SELECT 1; SELECT 2"), Err(ParseFailure::Several)));
        assert!(matches!(parsed(" ; -- nothing"), Err(ParseFailure::Empty)));
    }
}
