//! Rows in the order of their table: runs are merged, and nothing is sorted but the tail.

use crate::fixture::{DAY, Event, Memory, event_rows, rows, sample_rows};
use bodkin_query::QueryOptions;
use bodkin_schema::{Principal, Stream};
use std::sync::Arc;

const ORDERED: &str = "SELECT container_id, ts, pid FROM events ORDER BY container_id, ts";

/// Three epochs and a tail, whose times interleave.
async fn epochs() -> Arc<Memory> {
    let memory = Memory::open().await;
    for epoch in 0..4 {
        let event = |number: i64| {
            let ts = DAY + number * 4 + epoch;
            Event { ts, evt_type: "execve", pid: (number * 4 + epoch) as i32, comm: "sh", ..Event::default() }
        };
        memory.write(Stream::Events, event_rows(&(0..50).map(event).collect::<Vec<_>>()), "default", DAY);
        if epoch < 3 {
            memory.flush().await;
        }
    }
    memory
}

async fn plan(memory: &Arc<Memory>, text: &str) -> String {
    rows(&memory.engine(), &format!("EXPLAIN {text}")).await.join("\n")
}

#[tokio::test]
async fn files_are_merged_and_only_the_tail_is_sorted() {
    let memory = epochs().await;
    let plan = plan(&memory, ORDERED).await;
    assert!(plan.contains("SortPreservingMergeExec") && plan.contains("output_ordering="), "{plan}");
    let sorts: Vec<_> = plan.split("SortExec").skip(1).collect();
    assert!(sorts.len() == 1 && sorts[0].contains("TailExec") && !sorts[0].contains("DataSourceExec"), "{plan}");
    let found = rows(&memory.engine(), "SELECT pid FROM events ORDER BY container_id, ts").await;
    let expected = (1..200).step_by(2).chain((0..200).step_by(2)).map(|pid| pid.to_string());
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_constant_in_front_leaves_the_rest_in_order() {
    let memory = epochs().await;
    let text = "SELECT pid FROM events WHERE container_id = 'host' ORDER BY ts LIMIT 3";
    assert_eq!(rows(&memory.engine(), text).await, ["0", "2", "4"]);
    let all = rows(&memory.engine(), "SELECT pid FROM events WHERE container_id = 'host' ORDER BY ts").await;
    assert_eq!(all, (0..200).step_by(2).map(|pid| pid.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn windows_over_the_sort_columns_need_no_sort_of_files() {
    let memory = epochs().await;
    memory.flush().await;
    let text = "SELECT container_id, ts, lag(pid) OVER (PARTITION BY container_id ORDER BY ts) AS before FROM events";
    let plan = plan(&memory, text).await;
    assert!(plan.split("SortExec").skip(1).all(|below| !below.contains("DataSourceExec")), "{plan}");
    let counted = format!("SELECT count(*), count(before), sum(before) FROM ({text}) AS lagged");
    let expected: i64 = (0..198).sum();
    assert_eq!(rows(&memory.engine(), &counted).await, [format!("200 198 {expected}")]);
}

#[tokio::test]
async fn other_orders_are_sorted_as_ever() {
    let memory = epochs().await;
    for (order, first) in [("ts DESC", "199"), ("pid", "0"), ("container_id DESC, ts", "0"), ("ts", "0")] {
        let found = rows(&memory.engine(), &format!("SELECT pid FROM events ORDER BY {order}")).await;
        assert_eq!((found.len(), found[0].as_str()), (200, first), "{order}");
    }
}

/// A compacted table is one run of several files or of one; both are read in order.
#[tokio::test]
async fn compacted_files_are_in_order() {
    let memory = epochs().await;
    memory.flush().await;
    let before = rows(&memory.engine(), ORDERED).await;
    let report = memory.tables.compact(true).await.unwrap();
    assert_eq!((report.jobs, report.files_merged, report.files_made), (1, 4, 1));
    assert_eq!(rows(&memory.engine(), ORDERED).await, before);
    let plan = plan(&memory, ORDERED).await;
    assert!(!plan.contains("SortExec"), "{plan}");
}

#[tokio::test]
async fn samples_of_many_epochs_come_by_series_and_time() {
    let memory = Memory::open().await;
    for epoch in 0..5 {
        let samples: Vec<_> = (0..20).map(|n| (n % 4, DAY + (n * 5 + epoch) * 1000, n as f64)).collect();
        memory.write(Stream::Samples, sample_rows(&samples), "default", DAY);
        memory.flush().await;
    }
    let text = "SELECT series_id, CAST(ts AS BIGINT) t FROM samples ORDER BY metric_id, series_id, ts";
    let found = rows(&memory.engine(), text).await;
    assert!(found.len() == 100 && found.is_sorted(), "{found:?}");
    let plan = plan(&memory, text).await;
    assert!(!plan.contains("SortExec"), "{plan}");
}

#[tokio::test]
async fn a_query_reads_no_more_than_it_may_and_is_told_of() {
    let memory = epochs().await;
    memory.flush().await;
    let seen = Arc::new(Seen::default());
    let options = QueryOptions { bytes_scanned_max: 10, observer: Some(seen.clone()), ..QueryOptions::default() };
    let engine = memory.engine_with(options);
    let error = crate::fixture::table(&engine, "SELECT sum(pid) FROM events").await.unwrap_err();
    assert_eq!(error.kind, bodkin_query::ErrorKind::Limit, "{error}");
    assert!(error.message.contains("reads more than"), "{error}");
    assert_eq!(rows(&engine, "SELECT count(*) FROM events").await, ["200"]);
    assert!(engine.sql(&Principal::default(), "SELECT nothing FROM events").await.is_err());
    drop(engine.sql(&Principal::default(), "SELECT 1").await.unwrap());
    let seen = seen.0.lock().unwrap();
    let told: Vec<_> =
        seen.iter().map(|query| (query.text.as_str(), query.report.rows, query.error.is_some())).collect();
    let expected = [
        ("SELECT sum(pid) FROM events", 0, true),
        ("SELECT count(*) FROM events", 1, false),
        ("SELECT nothing FROM events", 0, true),
        ("SELECT 1", 0, true),
    ];
    assert_eq!(told, expected);
}

#[derive(Debug, Default)]
struct Seen(std::sync::Mutex<Vec<bodkin_query::EndedQuery>>);

impl bodkin_query::QueryObserver for Seen {
    fn ended(&self, query: bodkin_query::EndedQuery) {
        self.0.lock().unwrap().push(query);
    }
}

/// What came before is found a batch at a time, and is what the planner's own windows find row by row.
#[tokio::test]
async fn lag_is_the_value_so_many_rows_before() {
    let memory = epochs().await;
    let engine = memory.engine();
    let from = "(SELECT value AS t, value % 7 AS k, CASE WHEN value % 5 = 0 THEN NULL ELSE value * 31 % 97 END AS v, \
                CASE WHEN value % 3 = 0 THEN NULL ELSE concat('a text of some length ', value) END AS s FROM range(30000))";
    for (partition, rows_before) in [("PARTITION BY k", 1), ("PARTITION BY k", 3), ("", 2), ("PARTITION BY v, k", 1)] {
        let window = format!("{partition} ORDER BY t");
        let (by_batch, by_row) = ["v", "s"]
            .map(|value| {
                let lag = match rows_before {
                    1 => format!("lag({value}) OVER ({window})"),
                    _ => format!("lag({value}, {rows_before}) RESPECT NULLS OVER ({window})"),
                };
                let frame = format!("ROWS BETWEEN {rows_before} PRECEDING AND {rows_before} PRECEDING");
                (lag, format!("first_value({value}) OVER ({window} {frame})"))
            })
            .into_iter()
            .unzip::<_, _, Vec<_>, Vec<_>>();
        let of = |columns: &[String]| format!("SELECT t, {} FROM {from} ORDER BY t", columns.join(", "));
        let explained = rows(&engine, &format!("EXPLAIN {}", of(&by_batch))).await.join("\n");
        assert!(explained.contains("LagExec"), "{explained}");
        assert_eq!(rows(&engine, &of(&by_batch)).await, rows(&engine, &of(&by_row)).await, "{window}");
    }
    for other in ["lag(v) IGNORE NULLS", "lag(v, 1, 7)", "lead(v)"] {
        let explained =
            rows(&engine, &format!("EXPLAIN SELECT {other} OVER (PARTITION BY k ORDER BY t) FROM {from}")).await;
        assert!(!explained.join("\n").contains("LagExec"), "{other}");
    }
}
