//! What is said to one who made a mistake.

use crate::fixture::{table, with_events};
use bodkin_query::ErrorKind::{self, Denied, Execution, Limit, NotFound, Plan, Syntax};

/// A text, what kind of mistake it is, the place (line 0: none), a part of the message and of the hint.
type Mistake = (&'static str, ErrorKind, (u64, u64), &'static str, &'static str);

const MISTAKES: [Mistake; 42] = [
    ("SELECT comn FROM events", NotFound, (1, 8), "column comn does not exist", "did you mean `comm`?"),
    (
        "SELECT pid\nFROM events\nWHERE contaner_id = 'host'",
        NotFound,
        (3, 7),
        "column contaner_id",
        "did you mean `container_id`?",
    ),
    ("SELECT e.comn FROM events e", NotFound, (1, 8), "column e.comn does not exist", "did you mean `comm`?"),
    ("SELECT * FROM evnets", NotFound, (1, 15), "table evnets does not exist", "did you mean `events`?"),
    ("SELECT * FROM somewhere", NotFound, (1, 15), "table somewhere does not exist", "SHOW TABLES lists the tables"),
    ("SELECT * FROM bodkin.public.procesess", NotFound, (1, 15), "table procesess", "did you mean `processes`?"),
    (
        "SELECT pid FROM events WHERE comm = \"bash\"",
        NotFound,
        (1, 37),
        "column bash",
        "a text is written in single quotes: 'bash'",
    ),
    (
        "SELECT pid FROM events WHERE comm = bash",
        NotFound,
        (1, 37),
        "column bash",
        "a text is written in single quotes: 'bash'",
    ),
    ("SELECT value FROM events", NotFound, (1, 8), "column value", "table samples has a column of that name"),
    ("SELECT pid AS p FROM events WHERE p = 1", NotFound, (1, 35), "column p ", "the alias p is not known in WHERE"),
    ("SELECT \"Comm\" FROM events", NotFound, (1, 8), "column Comm", "did you mean `comm`?"),
    ("SELCT pid FROM events", Syntax, (1, 1), "found: SELCT", "did you mean `SELECT`?"),
    ("SELECT pid FORM events", Syntax, (1, 17), "found: events", "did you mean `FROM` for FORM?"),
    ("SELECT coalesce(comm, ) FROM events", Syntax, (1, 23), "found: )", "remove the comma before )"),
    ("SELECT pid FROM events WERE pid = 1", Syntax, (1, 29), "found: pid", "did you mean `WHERE` for WERE?"),
    (
        "SELECT pid FROM events LIMIT 1 WHERE pid = 1",
        Syntax,
        (1, 32),
        "found: WHERE",
        "the order is SELECT, FROM, WHERE",
    ),
    ("SELECT pid FROM events GROUP pid", Syntax, (1, 24), "found: GROUP", "after GROUP comes BY"),
    ("SELECT pid FROM events WHERE comm = 'bash", Syntax, (1, 37), "Unterminated string", "a quote inside is doubled"),
    ("SELECT count( FROM events", Syntax, (1, 20), "found: events", ""),
    ("", Syntax, (0, 0), "the query is empty", "SELECT count(*)"),
    ("SELECT 1; SELECT 2", Syntax, (0, 0), "several statements", "one at a time"),
    ("SELECT comm, count(*) FROM events", Plan, (1, 8), "comm", "GROUP BY"),
    (
        "SELECT pid FROM events a JOIN events b ON a.pid = b.pid",
        Plan,
        (1, 8),
        "column pid is in more than one table",
        "a.pid",
    ),
    ("SELECT cuont(*) FROM events", NotFound, (1, 8), "function cuont does not exist", "did you mean `count`?"),
    ("SELECT strftime('%Y', ts) FROM events", NotFound, (1, 8), "function strftime", "to_char"),
    ("SELECT time_bucket('1m', ts) FROM events", NotFound, (1, 8), "function time_bucket", "date_bin"),
    ("SELECT p99(result) FROM events", NotFound, (1, 8), "function p99", "approx_percentile_cont(x, 0.99)"),
    ("SELECT sum(comm) FROM events", Plan, (0, 0), "sum does not take values of type String", ""),
    ("SELECT comm + 1 FROM events", Plan, (1, 8), "there is no Utf8View + Int64", ""),
    ("SELECT pid FROM events WHERE host = host-001", Plan, (0, 0), "there is no Utf8View - Int64", ""),
    ("SELECT pid FROM events WHERE ts > 7", Plan, (0, 0), "there is no comparison Timestamp(", "RFC 3339"),
    ("SELECT TOP 5 pid FROM events", Plan, (0, 0), "TOP is not supported", "LIMIT 5"),
    (
        "SELECT ntile(4) OVER (ORDER BY pid) q, count(*) FROM events GROUP BY 1",
        Plan,
        (0, 0),
        "a window function stands where none can be",
        "subquery",
    ),
    ("SELECT * FROM snapshott('events', 1)", NotFound, (1, 15), "function snapshott", "did you mean `snapshot`?"),
    ("SELECT * FROM '/etc/passwd'", NotFound, (1, 15), "does not exist", "reads no files"),
    ("INSERT INTO events VALUES (1)", Denied, (0, 0), "INSERT is not allowed", "only reads"),
    ("DROP TABLE events", Denied, (0, 0), "DROP is not allowed", "only reads"),
    ("SELECT * INTO t FROM events", Denied, (0, 0), "", "only reads"),
    ("SELECT pid FROM events WHERE ts > 'yesterday'", Execution, (0, 0), "yesterday", "RFC 3339"),
    ("SELECT pid / 0 FROM events", Execution, (0, 0), "ivide by zero", "nullif"),
    (
        "SELECT comm FROM events WHERE comm ~ '(a'",
        Execution,
        (0, 0),
        "the regular expression is wrong: unclosed group",
        "RE2",
    ),
    (
        "SELECT repeat(comm, 100000000) FROM events",
        Limit,
        (0, 0),
        "repeat would make more than 128 MiB at once",
        "narrow",
    ),
];

#[tokio::test]
async fn mistakes_are_explained() {
    let engine = with_events().await.engine();
    let mut wrong = Vec::new();
    for (text, kind, (line, column), message, hint) in MISTAKES {
        let Err(error) = table(&engine, text).await else {
            wrong.push(format!("{text}\n    has an answer"));
            continue;
        };
        let place = (error.line.unwrap_or(0), error.column.unwrap_or(0));
        let is_right = error.kind == kind
            && place == (line, column)
            && error.message.contains(message)
            && error.hint.as_deref().unwrap_or_default().contains(hint)
            && !error.message.contains('\n');
        if !is_right {
            wrong.push(format!(
                "{text}\n    {:?} at {place:?}: {}\n    hint: {:?}",
                error.kind, error.message, error.hint
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_mistake_is_shown_in_its_line() {
    let engine = with_events().await.engine();
    let text = "SELECT pid\nFROM events\nWHERE comn = 'bash'";
    let shown = table(&engine, text).await.unwrap_err().render(text);
    assert_eq!(
        shown,
        "error: column comn does not exist\n  |\n3 | WHERE comn = 'bash'\n  |       ^\nhint: did you mean `comm`?"
    );
}

#[tokio::test]
async fn a_version_that_is_not_there_is_not_found() {
    let engine = with_events().await.engine();
    let error = table(&engine, "SELECT * FROM snapshot('events', 77)").await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (NotFound, "table events has no version 77"));
}

/// The same mistake is the same kind of mistake when the reader of a file finds it.
#[tokio::test]
async fn a_mistake_in_a_filter_of_files_is_the_askers() {
    let memory = with_events().await;
    memory.flush().await;
    let error = table(&memory.engine(), "SELECT pid FROM events WHERE 1 / (pid - 10) = 1").await.unwrap_err();
    assert_eq!(error.kind, Execution, "{error}");
    assert!(error.hint.as_deref().unwrap_or_default().contains("nullif"), "{error:?}");
}
