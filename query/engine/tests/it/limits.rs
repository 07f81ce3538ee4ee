//! No query takes more than it may.

use crate::fixture::{rows, table, with_events};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use bodkin_query::{ErrorKind, QueryEngine, QueryOptions};
use bodkin_schema::Principal;
use futures::StreamExt;
use std::time::Duration;

#[tokio::test]
async fn a_long_query_is_ended() {
    let options = QueryOptions { timeout: Duration::from_millis(50), ..Default::default() };
    let engine = with_events().await.engine_with(options);
    let error =
        table(&engine, "SELECT sum(a.value * b.value) FROM range(1000000) a, range(1000000) b").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn an_answer_has_a_most_of_rows() {
    let options = QueryOptions { rows_max: 5, ..Default::default() };
    let engine = with_events().await.engine_with(options);
    assert_eq!(rows(&engine, "SELECT pid FROM events LIMIT 5").await.len(), 5);
    let error = table(&engine, "SELECT pid FROM events").await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Limit, "the answer has more than 5 rows"));
}

/// MEM-1: what does not fit is spilled where it can be, and refused where not.
#[tokio::test]
async fn memory_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        QueryOptions { memory_bytes_max: 40 << 20, spill_dir: Some(folder.path().to_owned()), ..Default::default() };
    let engine = with_events().await.engine_with(options);
    // A sort with a limit keeps its rows in memory; one without spills.
    let sorted = "SELECT repeat('x', 100) || value FROM range(400000) ORDER BY 1 DESC";
    assert_eq!(rows(&engine, sorted).await.len(), 400_000);
    let joined = "SELECT count(*) FROM (SELECT value v, repeat('x', 100) t FROM range(1000000)) a \
                  JOIN (SELECT value v, repeat('y', 100) t FROM range(1000000)) b ON a.t <> b.t AND a.v = b.v";
    let error = table(&engine, joined).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit, "{error}");
    memory_is_freed(&engine).await;
}

/// MEM-1: lists of texts that are views are counted whole; and they come out as they did.
#[tokio::test]
async fn lists_are_counted_with_their_texts() {
    let engine = with_events().await.engine_with(QueryOptions { memory_bytes_max: 40 << 20, ..Default::default() });
    for made in ["md5(CAST(value AS VARCHAR)) || repeat('x', 100)", "repeat(md5(CAST(value AS VARCHAR)), 5)"] {
        for group in ["", "GROUP BY value % 3"] {
            let text =
                format!("SELECT cardinality(array_agg(t)) FROM (SELECT value, {made} t FROM range(1000000)) {group}");
            assert_eq!(table(&engine, &text).await.unwrap_err().kind, ErrorKind::Limit, "{text}");
        }
    }
    // Sorted one way and the other in one query: the planner's own gives both alike.
    let list = "SELECT array_agg(t ORDER BY t DESC), array_agg(DISTINCT t ORDER BY t) \
                FROM (SELECT substr(md5(CAST(value AS VARCHAR)), 1, 2) t FROM range(3))";
    assert_eq!(rows(&engine, list).await, ["[cf, c8, c4] [c4, c8, cf]"]);
    let error = table(&engine, "SELECT array_agg(1, 2)").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Plan, "{error}");
}

/// MEM-1: the disk is bounded as well.
#[tokio::test]
async fn what_is_spilled_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let options = QueryOptions {
        memory_bytes_max: 40 << 20,
        spill_bytes_max: 1 << 20,
        spill_dir: Some(folder.path().to_owned()),
        ..Default::default()
    };
    let engine = with_events().await.engine_with(options);
    let error =
        table(&engine, "SELECT repeat('x', 100) || value FROM range(1000000) ORDER BY 1 DESC").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Limit, "{error}");
    assert!(error.message.ends_with("what queries spill takes 1024.0 KB already"), "{error}");
    memory_is_freed(&engine).await;
}

/// What a query has held is given back soon after its end: its tasks end where they yield.
async fn memory_is_freed(engine: &QueryEngine) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while engine.memory_used() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "{} bytes are still held", engine.memory_used());
        tokio::task::yield_now().await;
    }
}

/// SAFE-1: no text can panic the planner or exhaust its stack.
#[tokio::test]
async fn hostile_texts_are_refused() {
    let options = QueryOptions { text_bytes_max: 200_000, timeout: Duration::from_secs(20), ..Default::default() };
    let engine = with_events().await.engine_with(options);
    let nested = format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000));
    assert_eq!(table(&engine, &nested).await.unwrap_err().kind, ErrorKind::Limit);
    let long = format!("SELECT {}", "1+".repeat(150_000));
    assert_eq!(table(&engine, &long).await.unwrap_err().kind, ErrorKind::Limit);
    for text in [
        "SELECT regexp_like(comm, '((a{1000}){1000}){1000}') FROM events",
        "SELECT regexp_replace(comm, '(?P<x', '') FROM events",
        "SELECT repeat('x', 9223372036854775807)",
        "SELECT lpad('x', 2147483647, 'y')",
        "SELECT lpad(comm, pid * 100000000) FROM events",
        "SELECT range(0, 9223372036854775807)",
        "SELECT generate_series(-9223372036854775808, pid) FROM events",
        "SELECT array_repeat(1, 9223372036854775807)",
        "SELECT * FROM snapshot('events', -1)",
        "SELECT * FROM snapshot('events', 18446744073709551615)",
        "SELECT * FROM snapshot('nothing', 1)",
        "SELECT * FROM snapshot()",
        "SELECT CAST('99999-01-01' AS TIMESTAMP)",
        "SELECT ts + INTERVAL '9999999999999 years' FROM events",
        "SELECT -9223372036854775808 / -1, pid / 0 FROM events",
        "\u{0}SELECT",
        "SELECT '\u{1F600}' || comm, \u{1F600} FROM events",
        "WITH RECURSIVE r AS (SELECT 1 x UNION ALL SELECT x FROM r WHERE x < 0 AND nothing) SELECT * FROM r",
    ] {
        let outcome = table(&engine, text).await;
        let error = outcome.expect_err(text);
        assert_ne!(error.message, "the query met a bug in the server", "{text}");
    }
    for sum in [format!("SELECT {}1", "1+".repeat(5_000)), format!("SELECT {}1", "pid+".repeat(300))] {
        assert_eq!(table(&engine, &sum).await.unwrap_err().kind, ErrorKind::Limit);
    }
    let deepest = format!("SELECT {}1 FROM events", "pid+".repeat(240));
    assert_eq!(rows(&engine, &deepest).await.len(), 6);
    let long = format!("SELECT count(*) FROM events WHERE {}", vec!["pid <> 7"; 900].join(" AND "));
    assert_eq!(rows(&engine, &long).await, ["6"]);
    assert_eq!(rows(&engine, "SELECT count(*) FROM events").await, ["6"]);
}

#[tokio::test]
async fn a_dropped_answer_frees_its_memory() {
    let engine = with_events().await.engine();
    let text = "SELECT a.value FROM range(1000000) a ORDER BY a.value % 7, a.value";
    let answer = engine.sql(&Principal::default(), text).await.unwrap();
    let mut stream = answer.stream;
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.num_rows() > 0 && engine.memory_used() > 0);
    drop(stream);
    memory_is_freed(&engine).await;
}

/// MEM-1: what is sorted is as much as the pool, or several times that, and is spilled whatever its rows look like.
#[tokio::test]
async fn sorts_larger_than_the_memory_are_spilled() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        QueryOptions { memory_bytes_max: 64 << 20, spill_dir: Some(folder.path().to_owned()), ..Default::default() };
    let engine = with_events().await.engine_with(options);
    // 42 and 105 MB of texts as they are in files: views.
    for (count, text, order) in [
        (400_000, "repeat('x', 100) || value", "t DESC"),
        (500_000, "md5(CAST(value AS VARCHAR)) || repeat('x', 180)", "value % 1000, t"),
    ] {
        let sql = format!(
            "SELECT value FROM (SELECT value, arrow_cast({text}, 'Utf8View') t FROM range({count})) ORDER BY {order}"
        );
        let mut answer = engine.sql(&Principal::default(), &sql).await.unwrap().stream;
        let mut sorted: Vec<i64> = Vec::new();
        while let Some(batch) = answer.next().await {
            sorted.extend_from_slice(batch.unwrap().column(0).as_primitive::<Int64Type>().values());
        }
        assert_eq!(sorted.len(), count);
        match order {
            "t DESC" => assert_eq!((sorted[0], sorted[count - 1]), (99_999, 0)),
            _ => assert!(sorted.is_sorted_by_key(|value| value % 1000)),
        }
    }
    memory_is_freed(&engine).await;
}
