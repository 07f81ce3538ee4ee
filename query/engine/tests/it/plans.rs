//! What a query is planned as: on one core where it reads few rows, and of a text that was asked before.

use crate::fixture::{DAY, Event, Memory, event_rows, rows, sample_events, table_of, with_events};
use crate::suffixed::losses;
use bodkin_query::{QueryEngine, QueryOptions};
use bodkin_schema::{Kind, Principal, Stream, Tenant};
use futures::future::join_all;

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

/// TAIL-1, ISO-1: a text that was asked before sees what there is now, and only what is the asker's.
#[tokio::test]
async fn a_known_text_is_answered_from_what_there_is_now() {
    let memory = with_events().await;
    let engine = memory.engine();
    let text = "SELECT evt_type, count(*) FROM events WHERE comm <> 'x' GROUP BY 1 ORDER BY 1";
    let first = rows(&engine, text).await;
    assert_eq!(first, ["connect 1", "execve 2", "openat 1", "procexit 1", "renameat2 1"]);
    assert_eq!(rows(&engine, text).await, first);
    memory.flush().await;
    assert_eq!(rows(&engine, text).await, first);
    memory.write(Stream::Events, event_rows(&sample_events()[..2]), "default", DAY);
    memory.write(Stream::Events, event_rows(&sample_events()[3..4]), "other", DAY);
    let second = ["connect 1", "execve 3", "openat 2", "procexit 1", "renameat2 1"];
    assert_eq!(rows(&engine, text).await, second);

    let other = Principal { tenant: Tenant("other".into()), name: "".into() };
    let asked = (0..40).map(|number| {
        let (engine, other) = (&engine, &other);
        async move {
            match number % 2 {
                0 => assert_eq!(rows(engine, text).await, second),
                _ => assert!(table_of(engine, other, text).await.unwrap().contains("| execve   | 1        |")),
            }
        }
    });
    join_all(asked).await;
}

/// Columns that came since belong to `SELECT *`.
#[tokio::test]
async fn a_known_text_has_the_columns_of_now() {
    let memory = Memory::open().await;
    let engine = memory.engine();
    let text = "SELECT * FROM drops ORDER BY ts";
    memory.write(Stream::Drops, losses(0, 1, None), "default", DAY);
    let before = rows(&engine, text).await;
    assert_eq!(rows(&engine, text).await, before);
    memory.write(Stream::Drops, losses(0, 1, Some(Kind::Text)), "default", DAY);
    let after = rows(&engine, text).await;
    assert!(after.concat().contains("about 0"), "{after:?}");
    assert_eq!(rows(&engine, text).await, after);
}

/// What a text means may depend on when it is asked.
#[tokio::test]
async fn a_known_text_asks_for_the_time_again() {
    let engine = with_events().await.engine();
    for text in ["SELECT now()", "SELECT max(ts), now() FROM events", "SELECT random() FROM events LIMIT 1"] {
        assert_ne!(rows(&engine, text).await, rows(&engine, text).await, "{text}");
    }
}
