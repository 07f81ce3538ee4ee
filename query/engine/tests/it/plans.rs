//! What a query is planned as: on one core where it reads few rows.

use crate::fixture::{DAY, Event, Memory, event_rows, rows};
use bodkin_query::{QueryEngine, QueryOptions};
use bodkin_schema::Stream;

async fn is_spread(engine: &QueryEngine, text: &str) -> bool {
    let plan = rows(engine, &format!("EXPLAIN {text}")).await.join("\n");
    assert!(plan.contains("DataSourceExec") || plan.contains("TailExec") || plan.contains("EmptyExec"), "{plan}");
    plan.contains("RepartitionExec")
}

/// 90,000 rows of three containers in one file, 30,000 each, of which an engine takes 50,000 for few.
#[tokio::test]
async fn one_core_answers_what_reads_few_rows() {
    let memory = Memory::open().await;
    let event = |number: i64| Event { ts: DAY + number, evt_type: "execve", pid: number as i32, ..Event::default() };
    let text =
        |container: &str| format!("SELECT pid % 7, count(*) FROM events WHERE {container} GROUP BY 1 ORDER BY 1");
    memory.write(Stream::Events, event_rows(&(0..90_000).map(event).collect::<Vec<_>>()), "default", DAY);
    memory.flush().await;
    let options = |few_rows_max| QueryOptions { few_rows_max, ..QueryOptions::default() };
    let [engine, other] = [50_000, 0].map(|few_rows_max| memory.engine_with(options(few_rows_max)));
    let look_up = text("container_id = 'host'");
    assert!(is_spread(&engine, &look_up).await, "no footer is in memory yet");
    let expected = rows(&other, &look_up).await;
    assert_eq!(rows(&engine, &look_up).await, expected);
    assert_eq!(expected.len(), 7);
    // 45,000 rows, and those of the other container that share a page with them.
    let cases = [
        (look_up, false),
        (text("container_id IN ('host', 'other') AND pid > 5"), false),
        (text("container_id IN ('0123456789ab', 'host')"), true),
        (text("container_id = 'a' || pid"), true),
        (text("container_id LIKE 'ho%'"), true),
        (text("container_id = 'unknown'"), false),
        (text("pid < 10"), true),
        ("SELECT count(*) FROM events a JOIN events b USING (pid) WHERE a.container_id = 'unknown'".into(), true),
    ];
    for (text, expected) in cases {
        assert_eq!(is_spread(&engine, &text).await, expected, "{text}");
        assert!(is_spread(&other, &text).await || text.contains("unknown"), "{text}");
        assert_eq!(rows(&engine, &text).await, rows(&other, &text).await, "{text}");
    }
    // What is in the tail counts, too.
    memory.write(Stream::Events, event_rows(&vec![event(1); 51_000]), "default", DAY);
    assert!(is_spread(&engine, &text("container_id = 'host'")).await);
}
