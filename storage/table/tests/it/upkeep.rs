//! Compaction, retention, vacuum: the same rows in other files, and nothing deleted that somebody reads.

use crate::flow::end;
use crate::rows::{INGESTED, NODE, drops, events, ints, numbers, read, samples, texts};
use bodkin_engine::{Batch, IntentStore, Sink};
use bodkin_schema::{Clock, Epoch, EventTime, Stream};
use bodkin_table::{Retention, Tables, UpkeepReport};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// A clock that a test sets.
#[derive(Debug)]
struct Hand(AtomicI64);

impl Hand {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(INGESTED.0)))
    }

    fn forward(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

async fn open(store: &Arc<dyn ObjectStore>, node: &str, clock: &Arc<Hand>) -> Tables {
    Tables::open(store.clone(), "memory:///".parse().unwrap(), node, clock.clone()).await.unwrap()
}

fn at(batch: Batch, clock: &Hand) -> Batch {
    Batch { ingest_time: clock.now(), ..batch }
}

fn store() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn files(tables: &Tables, stream: Stream) -> usize {
    tables.snapshot().table(stream).files.len()
}

#[tokio::test]
async fn windows_become_one_run_and_keep_every_row() {
    let (store, clock) = (store(), Hand::new());
    let tables = open(&store, NODE, &clock).await;
    for epoch in 1..=6_u64 {
        let first = epoch as i64 * 100;
        tables.write(at(events(first, &["host", "c2", "c1", "host"]), &clock));
        tables.write(at(drops(first..first + 10, "a"), &clock));
        end(&tables, epoch).await;
        clock.forward(5 * 60 * 1_000_000);
    }
    let before = numbers(&tables, tables.snapshot().table(Stream::Events), "seq").await;
    let report = tables.compact(false).await.unwrap();
    assert_eq!((report.jobs, report.files_merged, report.files_made), (2, 6, 2), "the first quarter in two tables");
    assert_eq!((files(&tables, Stream::Events), files(&tables, Stream::Drops)), (4, 4));
    let report = tables.compact(true).await.unwrap();
    assert_eq!((report.jobs, report.files_merged, report.files_made), (2, 8, 2));
    let snapshot = tables.snapshot();
    let table = snapshot.table(Stream::Events);
    assert_eq!(numbers(&tables, table, "seq").await, before);
    let rows = read(&tables, &table.files[0]).await;
    let keys: Vec<_> = texts(&rows[0], "container_id").into_iter().zip(ints(&rows[0], "ts")).collect();
    assert!(keys.is_sorted(), "ORDER-1: {keys:?}");
    assert_eq!(tables.compact(true).await.unwrap(), UpkeepReport::default(), "there is nothing left to do");
    let again = open(&store, NODE, &clock).await;
    assert_eq!(numbers(&again, again.snapshot().table(Stream::Events), "seq").await, before);
    assert_eq!(again.snapshot_at(Stream::Events, 2).await.unwrap().files.len(), 3, "older versions stay");
}

/// TAIL-1: rows that are in no file yet are neither lost nor doubled by a compaction.
#[tokio::test]
async fn the_tail_stays() {
    let (store, clock) = (store(), Hand::new());
    let tables = open(&store, NODE, &clock).await;
    for epoch in 1..=3_u64 {
        let first = epoch as i64 * 10;
        tables.write(at(samples(first..first + 10), &clock));
        end(&tables, epoch).await;
    }
    tables.write(at(samples(40..50), &clock));
    tables.seal(Epoch(4));
    tables.write(at(samples(50..60), &clock));
    tables.compact(true).await.unwrap();
    let expected: Vec<i64> = (10..60).collect();
    assert_eq!(numbers(&tables, tables.snapshot().table(Stream::Samples), "ts").await, expected);
    let prepared = tables.prepare(Epoch(4)).await.unwrap();
    tables.commit(Epoch(4), &prepared).await.unwrap();
    assert_eq!(numbers(&tables, tables.snapshot().table(Stream::Samples), "ts").await, expected);
}

#[tokio::test]
async fn equal_samples_are_folded() {
    let (store, clock) = (store(), Hand::new());
    let tables = open(&store, NODE, &clock).await;
    for epoch in 1..=3 {
        tables.write(at(samples(0..20), &clock));
        end(&tables, epoch).await;
    }
    tables.compact(true).await.unwrap();
    assert_eq!(numbers(&tables, tables.snapshot().table(Stream::Samples), "ts").await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn two_nodes_do_not_do_the_same_work_twice() {
    let (store, clock) = (store(), Hand::new());
    let (one, other) = (open(&store, "one", &clock).await, open(&store, "other", &clock).await);
    for epoch in 1..=2_u64 {
        one.write(at(samples(epoch as i64 * 10..epoch as i64 * 10 + 10), &clock));
        end(&one, epoch).await;
        other.write(at(samples(epoch as i64 * 100..epoch as i64 * 100 + 10), &clock));
        end(&other, epoch).await;
    }
    let (left, right) = tokio::join!(one.compact(true), other.compact(true));
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_eq!(left.jobs + right.jobs, 1, "{left:?} {right:?}");
    let again = open(&store, "third", &clock).await;
    assert_eq!(again.snapshot().table(Stream::Samples).rows(), 40);
    assert_eq!(files(&again, Stream::Samples), 1);
}

async fn objects(store: &Arc<dyn ObjectStore>) -> usize {
    let found: Vec<_> =
        futures::TryStreamExt::try_collect(store.list(Some(&Path::from("tables/samples")))).await.unwrap();
    found.iter().filter(|object| object.location.as_ref().ends_with(".parquet")).count()
}

#[tokio::test]
async fn vacuum_spares_what_is_read_and_what_is_young() {
    let (store, clock) = (store(), Hand::new());
    let tables = open(&store, NODE, &clock).await;
    for epoch in 1..=4_u64 {
        tables.write(at(samples(epoch as i64 * 10..epoch as i64 * 10 + 10), &clock));
        end(&tables, epoch).await;
    }
    let reading = tables.snapshot();
    tables.compact(true).await.unwrap();
    let mut report = UpkeepReport::default();
    tables.vacuum(true, &mut report).await.unwrap();
    assert_eq!((report.objects_deleted, objects(&store).await), (0, 5), "a snapshot reads them");
    drop(reading);
    tables.vacuum(false, &mut report).await.unwrap();
    assert_eq!((report.objects_deleted, objects(&store).await), (0, 5), "their grace is not over");
    let older = tables.snapshot_at(Stream::Samples, 1).await.unwrap();
    tables.vacuum(true, &mut report).await.unwrap();
    assert_eq!((report.objects_deleted, objects(&store).await), (2, 3), "an older version is read");
    assert_eq!(numbers(&tables, &older, "ts").await, (10..30).collect::<Vec<_>>());
    drop(older);
    clock.forward(3 * DAY_US);
    tables.vacuum(false, &mut report).await.unwrap();
    assert_eq!((report.objects_deleted, objects(&store).await), (4, 1));
    assert_eq!(numbers(&tables, tables.snapshot().table(Stream::Samples), "ts").await, (10..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn orphans_go_when_their_epoch_is_decided_without_them() {
    let (store, clock) = (store(), Hand::new());
    clock.0.store(i64::MAX / 4, Ordering::Relaxed);
    let tables = open(&store, NODE, &clock).await;
    tables.write(samples(0..10));
    end(&tables, 1).await;
    tables.write(samples(10..20));
    tables.seal(Epoch(2));
    let prepared = tables.prepare(Epoch(2)).await.unwrap();
    let orphan = Path::from(format!("tables/samples/tenant=default/date=2026-03-01/{NODE}-{:020}-7.parquet", 2));
    store.put(&orphan, vec![1].into()).await.unwrap();
    let mut report = UpkeepReport::default();
    let intents = IntentStore::new(store.clone(), NODE);
    let intent = |epoch: u64, prepared: serde_json::Value| {
        let intent = serde_json::json!({
            "format": 2, "node": NODE, "epoch": epoch, "generation": 1, "position": epoch, "marks": [],
            "prepared": {"tables": prepared},
        });
        serde_json::from_value::<bodkin_engine::Intent>(intent).unwrap()
    };
    intents.decide(&intent(1, serde_json::json!({}))).await.unwrap();
    tables.vacuum(true, &mut report).await.unwrap();
    assert_eq!((report.objects_deleted, objects(&store).await), (0, 3), "epoch 2 may still be decided with them");
    intents.decide(&intent(2, prepared.clone())).await.unwrap();
    tables.vacuum(true, &mut report).await.unwrap();
    assert_eq!((report.objects_deleted, objects(&store).await), (1, 2), "the one that the intent does not name");
    tables.commit(Epoch(2), &prepared).await.unwrap();
    assert_eq!(numbers(&tables, tables.snapshot().table(Stream::Samples), "ts").await, (0..20).collect::<Vec<_>>());
    tables.compact(true).await.unwrap();
    tables.vacuum(true, &mut report).await.unwrap();
    assert_eq!(objects(&store).await, 1, "the log has what the intent names, and something else in its place");
    assert_eq!(numbers(&tables, tables.snapshot().table(Stream::Samples), "ts").await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn days_go_when_their_time_is_over() {
    let (store, clock) = (store(), Hand::new());
    let tables = open(&store, NODE, &clock).await;
    for epoch in 1..=3 {
        tables.write(at(samples(epoch..epoch + 1), &clock));
        tables.write(at(drops(epoch..epoch + 1, "a"), &clock));
        end(&tables, epoch as u64).await;
        clock.forward(DAY_US);
    }
    let retention = Retention::default().with(Stream::Samples, 2);
    assert_eq!(tables.expire(&retention).await.unwrap(), 1);
    assert_eq!((files(&tables, Stream::Samples), files(&tables, Stream::Drops)), (2, 3));
    assert_eq!(numbers(&tables, tables.snapshot().table(Stream::Samples), "ts").await, [2, 3]);
    assert_eq!(tables.expire(&retention).await.unwrap(), 0);
}

/// The log gets checkpoints and loses what they made superfluous; a fresh reader finds everything.
#[tokio::test]
async fn a_long_log_stays_short() {
    let (store, clock) = (store(), Hand::new());
    clock.0.store(i64::MAX / 4, Ordering::Relaxed);
    let tables = open(&store, NODE, &clock).await;
    for epoch in 1..=230_u64 {
        tables.write(drops([epoch as i64], "a"));
        end(&tables, epoch).await;
    }
    assert_eq!(tables.stats().checkpoints.load(Ordering::Relaxed), 2);
    let entries: Vec<_> =
        futures::TryStreamExt::try_collect(store.list(Some(&Path::from("tables/drops/_delta_log")))).await.unwrap();
    let entries = entries.iter().filter(|entry| entry.location.as_ref().ends_with(".json")).count();
    assert!(entries < 140, "{entries} entries are left of 230");
    let again = open(&store, NODE, &clock).await;
    assert_eq!(again.snapshot().table(Stream::Drops).version, Some(229));
    assert_eq!(numbers(&again, again.snapshot().table(Stream::Drops), "count").await, (1..=230).collect::<Vec<_>>());
}

#[derive(Clone, Debug)]
enum Step {
    Write(i64),
    End,
    Compact(bool),
    Vacuum,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1i64..60).prop_map(Step::Write),
        3 => Just(Step::End),
        2 => any::<bool>().prop_map(Step::Compact),
        1 => Just(Step::Vacuum),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

async fn run(steps: Vec<Step>) {
    let (store, clock) = (store(), Hand::new());
    let mut tables = open(&store, NODE, &clock).await;
    let (mut next, mut epoch, mut committed) = (0, 0, 0);
    for step in steps {
        match step {
            Step::Write(rows) => {
                tables.write(at(samples(next..next + rows), &clock));
                next += rows;
            }
            Step::End => {
                epoch += 1;
                end(&tables, epoch).await;
                committed = next;
                clock.forward(7 * 60 * 1_000_000);
            }
            Step::Compact(is_forced) => {
                tables.compact(is_forced).await.unwrap();
            }
            Step::Vacuum => tables.vacuum(true, &mut UpkeepReport::default()).await.unwrap(),
            Step::Reopen => {
                tables = open(&store, NODE, &clock).await;
                next = committed;
            }
        }
        let expected: Vec<i64> = (0..next).collect();
        assert_eq!(numbers(&tables, tables.snapshot().table(Stream::Samples), "ts").await, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn upkeep_changes_no_row(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
