//! Rows of tail and files, together and apart.

use crate::fixture::{DAY, Event, Memory, event_rows, rows, sample_events, sample_rows, series_rows, with_events};
use bodkin_query::QueryOptions;
use bodkin_schema::{Principal, Stream};

/// Queries whose answers may not depend on where rows lie.
const QUERIES: [&str; 31] = [
    "SELECT count(*) FROM events",
    "SELECT count(*), count(path), min(ts), max(ts) FROM events",
    "SELECT ts, evt_type, pid, comm, user, path FROM events ORDER BY ts",
    "SELECT comm, count(*) FROM events GROUP BY comm ORDER BY comm",
    "SELECT pid FROM events WHERE path = '/etc/passwd'",
    "SELECT pid FROM events WHERE comm LIKE 'ng%' AND evt_type = 'connect' AND remote_port > 400",
    "SELECT evt_type FROM events WHERE ts >= '2026-11-22T00:00:00.000003Z' ORDER BY ts DESC LIMIT 2",
    "SELECT tenant, date, count(*) FROM events GROUP BY tenant, date",
    "SELECT count(*) FROM events WHERE date = '2026-11-22'",
    "SELECT count(*) FROM events WHERE container_id = 'host' AND tenant = 'default'",
    "SELECT e.pid, p.comm FROM events e JOIN processes p ON e.pid = p.pid WHERE p.evt_type = 'execve' AND e.evt_type = 'connect'",
    "SELECT 1 FROM events WHERE user IS NULL ORDER BY ts LIMIT 1",
    "SELECT comm, count(DISTINCT user), count(DISTINCT evt_type) AS n, max(path) FROM events GROUP BY comm ORDER BY n, comm",
    "SELECT user, count(*), sum(pid) FILTER (WHERE pid > 10) FROM events GROUP BY user ORDER BY user",
    "SELECT DISTINCT user FROM events WHERE evt_type <> 'openat' ORDER BY 1",
    "SELECT upper(comm) u, count(*) FROM events WHERE path LIKE '%etc%' OR path LIKE '/tmp%' OR path IS NULL GROUP BY 1 ORDER BY 1",
    "SELECT count(*) FROM events WHERE comm NOT LIKE '%ash' AND pid > 10 AND user IS NULL AND evt_type IN ('connect', 'procexit')",
    "SELECT ts, pid, path FROM events ORDER BY ts DESC, pid, comm LIMIT 3",
    "SELECT ts, path LIKE '%etc%' AND remote_port IS NULL AND length(path) > 3 AS b FROM events ORDER BY ts",
    "SELECT path, ts FROM events ORDER BY path DESC, ts LIMIT 4",
    "SELECT comm, percentile_cont(0.3) WITHIN GROUP (ORDER BY pid + ts_ns % 7) FROM events GROUP BY comm ORDER BY comm",
    "SELECT comm, count(DISTINCT path), count(DISTINCT cwd), count(DISTINCT path) FILTER (WHERE pid > 10) FROM events GROUP BY comm ORDER BY comm",
    "SELECT count(DISTINCT path), count(DISTINCT comm), count(*) FROM events",
    "SELECT pid FROM events WHERE path IN ('/tmp/a', '/x', '/y', '/etc/passwd', '/z') ORDER BY pid",
    "SELECT pid FROM events WHERE path > '/etc/z' OR '/etc/z' > path AND comm <> 'nginx' OR path ~ '^/no' ORDER BY pid",
    "SELECT count(*) FROM events WHERE NOT (path = '/tmp/a') AND comm >= 'b'",
    "SELECT e.comm, count(*) FROM events e JOIN (SELECT comm, max(ts) t FROM events WHERE pid = 10 GROUP BY comm) m ON e.comm = m.comm AND e.ts < m.t WHERE e.evt_type <> 'x' GROUP BY 1 ORDER BY 1",
    "SELECT ts, comm, path, upper(path2) u FROM events WHERE evt_type <> 'connect' ORDER BY ts, pid",
    "SELECT comm, user, count(*), max(path) FROM events WHERE user IS NULL OR evt_type IN ('connect', 'execve') GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT count(*), count(DISTINCT comm), min(path) FROM events WHERE NOT evt_type = 'execve' AND pid >= 10",
    "SELECT count(*) FROM events WHERE ts + INTERVAL '1 minute' > TIMESTAMP '2026-11-22T00:01:00.000002' AND ts - INTERVAL '1 day' < ts",
];

/// TAIL-1: the same rows whether they are in the tail, in files, or in both.
#[tokio::test]
async fn an_epoch_changes_no_answer() {
    let all_tail = with_events().await;
    let all_files = with_events().await;
    all_files.flush().await;
    let both = Memory::open().await;
    let events = sample_events();
    let (first, second) = events.split_at(3);
    both.write(Stream::Events, event_rows(first), "default", DAY);
    both.flush().await;
    both.write(Stream::Events, event_rows(second), "default", DAY);
    assert!(both.tables.snapshot().table(Stream::Events).tail.len() == 1);
    assert!(both.tables.snapshot().table(Stream::Events).files.len() == 1);
    let [tail, files] = [all_tail.engine(), all_files.engine()];
    let [on_one_core, both] = [both.engine_with(QueryOptions::default()), both.engine()];
    for query in QUERIES {
        let expected = rows(&tail, query).await;
        assert!(!expected.is_empty(), "{query}");
        // The second time by the plan of the first.
        for engine in [&tail, &files, &both, &on_one_core, &files, &both, &on_one_core] {
            assert_eq!(rows(engine, query).await, expected, "{query}");
        }
    }
}

/// TAIL-1: a query that began before the epoch ended goes on over its own snapshot.
#[tokio::test]
async fn an_epoch_that_ends_while_a_query_runs_is_not_seen() {
    let memory = with_events().await;
    let engine = memory.engine();
    let answer = engine.sql(&Principal::default(), "SELECT pid FROM events").await.unwrap();
    memory.flush().await;
    memory.write(Stream::Events, event_rows(&sample_events()), "default", DAY);
    let batches = answer.collect().await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 6);
    assert_eq!(rows(&engine, "SELECT count(*) FROM events").await, ["12"]);
}

#[tokio::test]
async fn text_is_plain_wherever_it_comes_from() {
    let memory = with_events().await;
    let engine = memory.engine();
    let text = "SELECT comm, upper(comm) u, substr(comm, 2) s, concat(comm, 'x') c, arrow_cast(comm, 'Utf8View') v, \
                array_agg(comm) OVER () a, CAST(pid AS VARCHAR) p FROM events";
    let answer = engine.sql(&Principal::default(), text).await.unwrap();
    let types: Vec<_> = answer.schema.fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(types, ["Utf8", "Utf8", "Utf8", "Utf8", "Utf8", "List(Utf8)", "Utf8"]);
    assert_eq!(answer.collect().await.unwrap().iter().map(|batch| batch.num_rows()).sum::<usize>(), 6);
}

#[tokio::test]
async fn counting_reads_no_file() {
    let memory = with_events().await;
    memory.flush().await;
    let engine = memory.engine();
    let answer = engine.sql(&Principal::default(), "SELECT count(*) FROM events").await.unwrap();
    let stats = answer.stats.clone();
    assert_eq!(answer.collect().await.unwrap()[0].num_rows(), 1);
    assert_eq!(stats.report().bytes_scanned, 0);
    assert_eq!(stats.report().rows, 1);
    let plan = rows(&engine, "EXPLAIN SELECT count(*) FROM events").await.join("\n");
    assert!(!plan.contains("DataSourceExec"), "{plan}");
}

#[tokio::test]
async fn files_are_left_out_by_date_bounds_and_time() {
    let memory = Memory::open().await;
    let day = 86_400_000_000;
    for index in 0..4 {
        let event =
            Event { ts: DAY + index * day, evt_type: "execve", pid: index as i32, comm: "sh", ..Event::default() };
        memory.write(Stream::Events, event_rows(&[event]), "default", DAY + index * day);
        memory.flush().await;
    }
    let engine = memory.engine();
    let read = async |filter: &str| {
        let text = format!("SELECT pid FROM events WHERE {filter}");
        let answer = engine.sql(&Principal::default(), &text).await.unwrap();
        let stats = answer.stats.clone();
        let rows: usize = answer.collect().await.unwrap().iter().map(|batch| batch.num_rows()).sum();
        let report = stats.report();
        assert_eq!(report.files_scanned + report.files_pruned, 4, "{filter}");
        (rows, report.files_scanned)
    };
    assert_eq!(read("date = '2026-11-23'").await, (1, 1));
    assert_eq!(read("date >= DATE '2026-11-24'").await, (2, 2));
    assert_eq!(read("ts >= '2026-11-24T00:00:00Z'").await, (2, 2));
    assert_eq!(read("ts < TIMESTAMP '2026-11-22T12:00:00'").await, (1, 1));
    assert_eq!(read("ts BETWEEN '2026-11-23' AND '2026-11-23T23:59:59'").await, (1, 1));
    assert_eq!(read("ts >= '2026-11-24 00:00'").await, (2, 2));
    assert_eq!(read("ts < TIMESTAMP '2026-11-22T12:00'").await, (1, 1));
    assert_eq!(read("ts BETWEEN '2026-11-23T01:00+01:00' AND '2026-11-23 23:59Z'").await, (1, 1));
    assert_eq!(read("ts IN ('2026-11-23 00:00', '2026-11-24 00:00')").await, (2, 2));
    assert_eq!(read("comm > '2026-11-23 00:00'").await, (4, 4));
    assert_eq!(read("ts > now() - INTERVAL '1 hour' AND ts < now() - INTERVAL '2 hours'").await, (0, 0));
    assert_eq!(read("pid = 2").await, (1, 1));
    assert_eq!(read("pid IN (0, 3)").await, (2, 2));
    assert_eq!(read("comm = 'zsh'").await, (0, 0));
    assert_eq!(read("comm LIKE 's%'").await, (4, 4));
    assert_eq!(read("pid + 1 = 2").await, (1, 4));
    assert_eq!(read("result = 0").await, (4, 4));
}

#[tokio::test]
async fn rows_of_few_values_are_marked() {
    let memory = with_events().await;
    memory.flush().await;
    let engine = memory.engine();
    for (text, is_marked) in [
        ("SELECT comm, path FROM events WHERE evt_type = 'connect'", true),
        ("SELECT comm, path FROM events WHERE evt_type = 'connect' AND path = '/tmp/a'", false),
        ("SELECT count(*) FROM events WHERE evt_type = 'connect'", false),
        ("SELECT * FROM events WHERE evt_type = 'connect'", false),
        ("SELECT comm FROM events WHERE evt_type = 'connect' ORDER BY ts LIMIT 3", false),
        ("SELECT comm FROM events WHERE container_id = 'host' AND evt_type = 'connect'", false),
    ] {
        let plan = rows(&engine, &format!("EXPLAIN {text}")).await.join("\n");
        assert_eq!(plan.contains("KeepExec"), is_marked, "{text}: {plan}");
    }
}

/// Rows that are marked, a few of each batch and of several files, are those that the tail has.
#[tokio::test]
async fn marked_rows_of_many_batches_are_those_of_the_tail() {
    let paths: Vec<&'static str> = (0..997).map(|path| &*format!("/a/path/of/some/length/{path}").leak()).collect();
    let event = |number: usize| Event {
        ts: DAY + number as i64,
        evt_type: ["openat", "openat", "connect", "execve", "openat", "execve"][number % 97 % 6],
        pid: (number % 1013) as i32,
        comm: ["sh", "a command of some length", "curl"][number % 3],
        path: (!number.is_multiple_of(5)).then(|| paths[number * 31 % paths.len()]),
        remote_port: number.is_multiple_of(7).then_some(443),
        ..Event::default()
    };
    let (tail, files) = (Memory::open().await, Memory::open().await);
    for epoch in 0..3 {
        let events: Vec<_> = (epoch * 12_000..(epoch + 1) * 12_000).map(event).collect();
        for memory in [&tail, &files] {
            memory.write(Stream::Events, event_rows(&events), "default", DAY);
        }
        files.flush().await;
    }
    let (tail, files) = (tail.engine(), files.engine());
    for text in [
        "SELECT path, comm, pid, count(*), min(ts) FROM events WHERE evt_type = 'connect' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        "SELECT ts, path, upper(comm), remote_port FROM events WHERE evt_type = 'execve' AND remote_port = 443 ORDER BY ts",
        "SELECT comm, count(path), max(path), sum(pid) FROM events WHERE evt_type <> 'openat' GROUP BY comm ORDER BY comm",
        "SELECT path FROM events WHERE evt_type = 'futex'",
    ] {
        let plan = rows(&files, &format!("EXPLAIN {text}")).await.join("\n");
        assert!(plan.contains("KeepExec"), "{text}: {plan}");
        assert_eq!(rows(&files, text).await, rows(&tail, text).await, "{text}");
    }
}

#[tokio::test]
async fn filters_are_pushed_into_files_and_stand_above_the_tail() {
    let memory = with_events().await;
    memory.flush().await;
    memory.write(Stream::Events, event_rows(&sample_events()), "default", DAY);
    let plan = rows(&memory.engine(), "EXPLAIN SELECT pid FROM events WHERE comm = 'bash'").await.join("\n");
    let union = plan.split("UnionExec").nth(1).unwrap();
    assert!(union.contains("predicate=comm") && union.contains("FilterExec"), "{plan}");
    assert!(!plan.split("UnionExec").next().unwrap().contains("FilterExec"), "{plan}");
}

/// A text that no row has is known not to be there, though it lies between the smallest and the largest.
#[tokio::test]
async fn bloom_filters_leave_row_groups_out() {
    let memory = with_events().await;
    memory.flush().await;
    let engine = memory.engine();
    let query = |path: &str| format!("EXPLAIN ANALYZE SELECT pid FROM events WHERE path = '{path}'");
    let plan = rows(&engine, &query("/etc/shadow")).await.join(" ");
    assert!(plan.contains("row_groups_pruned_bloom_filter=1 total → 0 matched"), "{plan}");
    let plan = rows(&engine, &query("/tmp/a")).await.join(" ");
    assert!(plan.contains("row_groups_pruned_bloom_filter=1 total → 1 matched"), "{plan}");
}

#[tokio::test]
async fn a_snapshot_is_a_version_without_the_tail() {
    let memory = with_events().await;
    memory.flush().await;
    memory.write(Stream::Events, event_rows(&sample_events()), "default", DAY);
    memory.flush().await;
    memory.write(Stream::Events, event_rows(&sample_events()), "default", DAY);
    let engine = memory.engine();
    let latest = memory.tables.snapshot().table(Stream::Events).version.unwrap();
    let count =
        async |version: u64| rows(&engine, &format!("SELECT count(*) FROM snapshot('events', {version})")).await;
    assert_eq!(count(latest).await, ["12"]);
    assert_eq!(count(latest - 1).await, ["6"]);
    assert_eq!(rows(&engine, "SELECT count(*) FROM events").await, ["18"]);
    let named = format!(
        "SELECT tenant, date, pid FROM snapshot('events', {latest}) WHERE comm = 'nginx' AND ts = '2026-11-22T00:00:00.000006' LIMIT 1"
    );
    assert_eq!(rows(&engine, &named).await, ["default 2026-11-22 11"]);
}

#[tokio::test]
async fn series_are_one_row_and_metrics_have_names() {
    let memory = Memory::open().await;
    let announced = [(1, "up", "a", DAY, DAY + 1), (2, "up", "b", DAY, DAY + 1)];
    memory.write(Stream::Series, series_rows(&announced), "default", DAY);
    memory.write(Stream::Samples, sample_rows(&[(1, DAY, 1.0), (2, DAY, 0.0)]), "default", DAY);
    memory.flush().await;
    memory.write(Stream::Series, series_rows(&[(1, "up", "a", DAY - 5, DAY + 9)]), "default", DAY);
    memory.write(Stream::Samples, sample_rows(&[(1, DAY + 1000, f64::NAN)]), "default", DAY);
    let engine = memory.engine();
    assert_eq!(
        rows(
            &engine,
            "SELECT series_id, metric_id, name, labels['job'] j, first_seen, last_seen FROM series ORDER BY series_id"
        )
        .await,
        [
            "1 10 up a 2026-11-21T23:59:59.999995Z 2026-11-22T00:00:00.000009Z",
            "2 20 up b 2026-11-22T00:00:00Z 2026-11-22T00:00:00.000001Z"
        ]
    );
    assert_eq!(
        rows(&engine, "SELECT ts, name, labels, value, series_id FROM metrics ORDER BY series_id, ts").await,
        [
            "2026-11-22T00:00:00Z up {job: a} 1.0 1",
            "2026-11-22T00:00:00.001Z up {job: a} NaN 1",
            "2026-11-22T00:00:00Z up {job: b} 0.0 2"
        ]
    );
    assert_eq!(rows(&engine, "SELECT sum(value) FROM metrics WHERE labels['job'] = 'b'").await, ["0.0"]);
}

#[tokio::test]
async fn many_rows_come_in_many_batches() {
    let memory = Memory::open().await;
    let event = |index: i32| Event {
        ts: DAY + i64::from(index),
        evt_type: "execve",
        pid: index,
        comm: "sh",
        ..Event::default()
    };
    for half in 0..2 {
        let events: Vec<_> = (half * 20_000..(half + 1) * 20_000).map(event).collect();
        memory.write(Stream::Events, event_rows(&events), "default", DAY);
        if half == 0 {
            memory.flush().await;
        }
    }
    let engine = memory.engine_with(QueryOptions { memory_bytes_max: 64 << 20, ..Default::default() });
    assert_eq!(
        rows(&engine, "SELECT count(*), sum(pid), max(pid) FROM events WHERE pid % 2 = 1").await,
        ["20000 400000000 39999"]
    );
    assert_eq!(rows(&engine, "SELECT pid FROM events ORDER BY ts DESC LIMIT 2").await, ["39999", "39998"]);
    assert_eq!(engine.memory_used(), 0);
}

/// TAIL-1: more files than the planner is told the bounds of, each of one day of ingestion.
#[tokio::test]
async fn very_many_files_are_read_whole() {
    let memory = Memory::open().await;
    for day in 0..520i64 {
        let samples = [(day % 7, DAY + day, 0.5 * day as f64), (7, DAY + 1_000 + day, 1.0)];
        memory.write(Stream::Samples, sample_rows(&samples), "default", DAY + day * 86_400_000_000);
    }
    let engine = memory.engine();
    let queries = [
        "SELECT count(*), sum(value), min(ts), max(ts) FROM samples WHERE series_id > 2",
        "SELECT count(*), count(DISTINCT date), min(date), max(date) FROM samples WHERE value > 3",
        "SELECT date, count(*) FROM samples WHERE date < '2026-11-25' GROUP BY date ORDER BY date",
        "SELECT series_id, ts FROM samples ORDER BY ts DESC LIMIT 3",
        "SELECT series_id, ts FROM samples ORDER BY metric_id, series_id, ts LIMIT 3 OFFSET 500",
    ];
    let mut in_tail = Vec::new();
    for text in queries {
        in_tail.push(rows(&engine, text).await);
    }
    memory.flush().await;
    assert_eq!(memory.tables.snapshot().table(Stream::Samples).files.len(), 520);
    for (text, expected) in queries.iter().zip(in_tail) {
        assert_eq!(rows(&engine, text).await, expected, "{text}");
    }
}

/// Rows of one container are read from the same files in another way: texts as views.
#[tokio::test]
async fn a_lookup_of_a_container_sees_what_a_search_does() {
    let memory = Memory::open().await;
    for epoch in 0..3 {
        let event = |number: i64| Event {
            ts: DAY + number * 3 + epoch,
            evt_type: if number % 3 == 0 { "openat" } else { "execve" },
            pid: number as i32,
            comm: if number % 4 == 0 { "sh" } else { "a command of some length" },
            path: [None, Some("/etc/passwd"), Some("/a/path/of/some/length")][number as usize % 3],
            ..Event::default()
        };
        memory.write(Stream::Events, event_rows(&(0..100).map(event).collect::<Vec<_>>()), "default", DAY);
        if epoch < 2 {
            memory.flush().await;
        }
    }
    let engine = memory.engine();
    for text in [
        "SELECT * FROM events WHERE {} ORDER BY ts",
        "SELECT path, comm, count(*) FROM events WHERE {} AND path IS NOT NULL GROUP BY path, comm ORDER BY 1, 2",
        "SELECT path, evt_type, upper(path), length(comm) FROM events WHERE {} AND path LIKE '%of%length' ORDER BY ts LIMIT 7",
        "SELECT count(*) FROM events WHERE {} AND path = '/etc/passwd' AND evt_type = 'execve'",
        "SELECT count(DISTINCT path), max(path), min(user), count(user) FROM events WHERE {}",
        "SELECT count(*) FROM events a JOIN (SELECT DISTINCT path FROM events WHERE {}) b ON a.path = b.path",
    ] {
        for (lookup, search) in [
            ("container_id = '0123456789ab'", "container_id LIKE '012%'"),
            ("container_id IN ('host', 'none')", "container_id LIKE 'hos%'"),
        ] {
            let found = rows(&engine, &text.replace("{}", lookup)).await;
            assert_eq!(found, rows(&engine, &text.replace("{}", search)).await, "{text}");
            assert!(!found.is_empty());
        }
    }
}
