//! The names that SQL sees.

use crate::fixture::{rows, table, with_events};
use bodkin_query::QueryEngine;
use bodkin_schema::{Principal, Stream};

async fn engine() -> QueryEngine {
    with_events().await.engine()
}

#[tokio::test]
async fn tables_and_views_are_listed() {
    let engine = engine().await;
    let text = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name";
    let listed = rows(&engine, text).await;
    assert_eq!(
        listed,
        [
            "alerts BASE TABLE",
            "audit BASE TABLE",
            "column_comments BASE TABLE",
            "deliveries BASE TABLE",
            "drops BASE TABLE",
            "evaluations BASE TABLE",
            "events BASE TABLE",
            "file_events VIEW",
            "findings BASE TABLE",
            "flows BASE TABLE",
            "flows_10m BASE TABLE",
            "flows_1d BASE TABLE",
            "flows_1h BASE TABLE",
            "flows_1m BASE TABLE",
            "histograms BASE TABLE",
            "metrics VIEW",
            "network_events VIEW",
            "processes VIEW",
            "queries BASE TABLE",
            "rollup_10m BASE TABLE",
            "rollup_1d BASE TABLE",
            "rollup_1h BASE TABLE",
            "rollup_1m BASE TABLE",
            "samples BASE TABLE",
            "series VIEW",
            "table_comments BASE TABLE",
            "windows BASE TABLE",
        ]
    );
    let shown = rows(&engine, "SHOW TABLES").await;
    assert!(shown.iter().any(|row| row == "bodkin public events BASE TABLE"), "{shown:?}");
    let described = rows(&engine, "DESCRIBE events").await;
    assert!(described.iter().any(|row| row == "pid Int32 NO"), "{described:?}");
    let views = rows(&engine, "SELECT definition FROM information_schema.views WHERE table_name = 'processes'").await;
    assert!(views[0].starts_with("CREATE VIEW public.processes AS SELECT"), "{views:?}");
    assert!(rows(&engine, "SHOW COLUMNS FROM metrics").await.len() == 5);
}

/// The contract's column names are usable bare, `user` among them.
#[tokio::test]
async fn every_column_can_be_named_without_quotes() {
    let engine = engine().await;
    for stream in Stream::ALL {
        for field in stream.schema().fields() {
            let name = field.name();
            let text = format!(
                "SELECT {name}, t.{name} AS b FROM {stream} t WHERE {name} IS NOT NULL AND t.{name} IS NOT NULL"
            );
            let schema = engine.describe(&Principal::default(), &text).await;
            let schema = schema.unwrap_or_else(|error| panic!("{}", error.render(&text)));
            assert_eq!(schema.field(0).name(), name);
        }
    }
    assert_eq!(
        rows(&engine, "SELECT user, count(*) FROM processes WHERE user = 'root' GROUP BY user").await,
        ["root 1"]
    );
}

#[tokio::test]
async fn views_show_their_events() {
    let engine = engine().await;
    assert_eq!(
        rows(&engine, "SELECT evt_type, pid FROM processes ORDER BY ts").await,
        ["execve 10", "execve 11", "procexit 11"]
    );
    assert_eq!(
        rows(&engine, "SELECT evt_type, path, path2 FROM file_events ORDER BY ts").await,
        ["openat /etc/passwd", "renameat2 /tmp/a /tmp/b"]
    );
    assert_eq!(rows(&engine, "SELECT evt_type, remote_port FROM network_events").await, ["connect 443"]);
}

#[tokio::test]
async fn tables_and_columns_have_comments() {
    let engine = engine().await;
    assert!(rows(&engine, "SELECT * FROM column_comments WHERE comment IS NULL OR comment = ''").await.is_empty());
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '%_comments'";
    assert_eq!(rows(&engine, columns).await, rows(&engine, "SELECT count(*) FROM column_comments").await);
    assert_eq!(
        rows(&engine, "SELECT comment FROM table_comments WHERE table_name = 'series'").await,
        ["one row per labelled series"]
    );
    assert_eq!(
        rows(
            &engine,
            "SELECT data_type, comment FROM column_comments WHERE table_name = 'processes' AND column_name = 'comm'"
        )
        .await,
        ["Utf8 short name of the process, at most 15 bytes"]
    );
}

#[tokio::test]
async fn times_are_utc_and_plans_can_be_read() {
    let engine = engine().await;
    assert_eq!(rows(&engine, "SELECT arrow_typeof(ts) FROM events LIMIT 1").await, ["Timestamp(µs, \"UTC\")"]);
    assert_eq!(rows(&engine, "SELECT date_trunc('hour', min(ts)) FROM events").await, ["2026-11-22T00:00:00Z"]);
    assert_eq!(rows(&engine, "SHOW datafusion.execution.time_zone").await, ["datafusion.execution.time_zone UTC"]);
    let plan = table(&engine, "EXPLAIN ANALYZE SELECT count(*) FROM events WHERE pid = 10").await.unwrap();
    assert!(plan.contains("TailExec") && plan.contains("output_rows"), "{plan}");
}

#[tokio::test]
async fn json_in_texts() {
    let engine = engine().await;
    for (text, expected) in [
        (r#"SELECT '{"a":{"b":"x"}}' -> 'a' ->> 'b'"#, "x"),
        (r#"SELECT '{"a":{"b":"x"}}' -> 'a'"#, r#"{"b":"x"}"#),
        (r#"SELECT '[1,"two"]' ->> 1, '[1,"two"]' -> 1"#, r#"two "two""#),
        (r#"SELECT json_get_text('{"a":[{"proc.name":"sh"}]}', 'a', -1, 'proc.name')"#, "sh"),
        (r#"SELECT CAST('{"n":7}' ->> 'n' AS INT) + 1"#, "8"),
        (
            r#"SELECT comm, count(*) FROM events WHERE ('{"' || comm || '":1}') ->> 'nginx' = '1' AND comm = 'nginx' GROUP BY comm"#,
            "nginx 3",
        ),
        (r#"SELECT count('no json' ->> 'a'), count(comm -> 'a') FROM events"#, "0 0"),
    ] {
        assert_eq!(rows(&engine, text).await, [expected], "{text}");
    }
    let error = table(&engine, "SELECT pid ->> 'a' FROM events").await.unwrap_err();
    assert!(error.message.contains("json_get_text reads JSON in a text"), "{error}");
}

/// As in DuckDB: the answer has both columns, and outside of a subquery the second has a number.
#[tokio::test]
async fn a_name_may_come_twice() {
    let engine = engine().await;
    for (text, names) in [
        ("SELECT pid, pid FROM events ORDER BY pid", "pid pid"),
        ("SELECT 1 AS a, 2 AS a, 3 AS a", "a a a"),
        ("SELECT count(*), count(*) FROM events", "count(*) count(*)"),
        ("SELECT a.pid, b.pid, a.pid FROM events a JOIN events b ON a.ts = b.ts", "pid pid pid"),
        ("SELECT *, x FROM (SELECT pid, pid AS x, pid FROM events)", "pid x pid_1 x"),
        (
            "SELECT min(pid), CAST(min(pid) AS BIGINT), min(pid)::TEXT FROM events",
            "min(events.pid) CAST(min(pid) AS BIGINT) min(pid)::TEXT",
        ),
        ("SELECT pid_1 FROM (SELECT pid, pid FROM events)", "pid_1"),
        ("SELECT pid, pid FROM events UNION SELECT cpu, cpu FROM events", "pid pid"),
        ("WITH a AS (SELECT comm, comm FROM events) SELECT * FROM a WHERE comm = comm_1", "comm comm_1"),
    ] {
        let answer = engine.sql(&Principal::default(), text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        let found: Vec<_> = answer.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(found.join(" "), names, "{text}");
        let described = engine.describe(&Principal::default(), text).await.unwrap();
        assert_eq!(described, answer.schema);
        assert!(answer.collect().await.unwrap().iter().any(|batch| batch.num_rows() > 0), "{text}");
    }
}
