//! ONCE-1, ONCE-2: a process that dies at any step of an epoch and starts again stores every row of the log once.

use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bodkin_engine::{
    Batch, Coordinator, Engine, EngineOptions, EpochOptions, Graph, IntentStore, Origin, Run, Sink, SinkError, Source,
    Time, TokioTimer, flush_channel,
};
use bodkin_schema::{Epoch, EventTime, Incarnation, Lane, Position, Seq, Stream, SystemClock, Tenant};
use bytes::Bytes;
use object_store::memory::InMemory;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What survives a crash: the table, by epoch, and the log.
#[derive(Default)]
struct Disk {
    table: Mutex<BTreeMap<u64, Vec<i64>>>,
    trimmed: AtomicU64,
}

/// One life of the process. It dies at the step where `steps_left` reaches zero: that step and all later ones fail.
struct Life {
    disk: Arc<Disk>,
    steps_left: AtomicI64,
    rows: Mutex<BTreeMap<u64, Vec<i64>>>,
    /// All rows of epochs before this life, as the state of the sink.
    before: Mutex<Vec<i64>>,
}

impl Life {
    fn step(&self) -> Result<(), SinkError> {
        match self.steps_left.fetch_sub(1, Ordering::Relaxed) {
            left if left > 0 => Ok(()),
            _ => Err("the process is dead".into()),
        }
    }

    fn is_dead(&self) -> bool {
        self.steps_left.load(Ordering::Relaxed) < 0
    }
}

#[async_trait]
impl Sink for Life {
    fn name(&self) -> &str {
        "tables"
    }

    fn write(&self, batch: Batch) {
        let counts = batch.records.column_by_name("count").unwrap();
        let counts = counts.as_any().downcast_ref::<Int64Array>().unwrap();
        self.rows.lock().unwrap().entry(batch.epoch.0).or_default().extend(counts.values());
    }

    fn seal(&self, _epoch: Epoch) {}

    fn pending_bytes(&self) -> usize {
        0
    }

    async fn prepare(&self, epoch: Epoch) -> Result<serde_json::Value, SinkError> {
        self.step()?;
        let rows = serde_json::json!(self.rows.lock().unwrap().get(&epoch.0).cloned().unwrap_or_default());
        self.step()?;
        Ok(rows)
    }

    fn state(&self, epoch: Epoch) -> Result<Vec<(String, Bytes)>, SinkError> {
        self.step()?;
        let mut all = self.before.lock().unwrap().clone();
        all.extend(self.rows.lock().unwrap().range(..=epoch.0).flat_map(|(_, rows)| rows));
        Ok(vec![("all".to_owned(), serde_json::to_vec(&all)?.into()), ("few".to_owned(), Bytes::from_static(b"same"))])
    }

    fn restore(&self, part: &str, state: &Bytes) -> Result<(), SinkError> {
        if part == "all" {
            *self.before.lock().unwrap() = serde_json::from_slice(state)?;
        }
        Ok(())
    }

    async fn commit(&self, epoch: Epoch, prepared: &serde_json::Value) -> Result<(), SinkError> {
        self.step()?;
        let rows: Vec<i64> = serde_json::from_value(prepared.clone())?;
        if let Some(there) = self.disk.table.lock().unwrap().insert(epoch.0, rows.clone()) {
            assert_eq!(there, rows, "an epoch means the same rows for ever");
        }
        self.step()
    }

    async fn committed(&self) -> Result<Option<Epoch>, SinkError> {
        self.step()?;
        Ok(self.disk.table.lock().unwrap().keys().next_back().copied().map(Epoch))
    }
}

#[async_trait]
impl Source for Life {
    async fn ack(&self, position: Position) -> Result<(), SinkError> {
        self.step()?;
        self.disk.trimmed.fetch_max(position.0, Ordering::Relaxed);
        self.step()
    }
}

fn row(number: u64) -> Batch {
    let records = RecordBatch::try_new(
        Stream::Drops.schema(),
        vec![
            Arc::new(TimestampMicrosecondArray::from(vec![number as i64]).with_timezone("UTC")),
            Arc::new(StringArray::from(vec!["h/security"])),
            Arc::new(StringArray::from(vec!["security"])),
            Arc::new(StringArray::from(vec!["ring_full"])),
            Arc::new(Int64Array::from(vec![number as i64])),
        ],
    );
    // Four producers, on different shards.
    let producer = format!("{}/security", number % 4);
    let lane = Lane { producer: producer.as_str().into(), incarnation: Incarnation(1), stream: "drops".into() };
    let origin = Origin { lane, seq: Seq(number) };
    Batch::logged(origin, Tenant::default(), records.unwrap(), EventTime(number as i64), Position(number))
}

/// Recovers, replays the log from where the intent says, then flushes after each of `flushes` further rows.
async fn live(disk: &Arc<Disk>, store: &Arc<InMemory>, logged: &mut u64, flushes: &[u64], steps: i64, shards: usize) {
    let steps_left = AtomicI64::new(steps);
    let life = Arc::new(Life { disk: disk.clone(), steps_left, rows: Mutex::default(), before: Mutex::default() });
    let intents = IntentStore::new(store.clone(), "n");
    let clock = Arc::new(SystemClock::default());
    let time = Time { clock: clock.clone(), timer: Arc::new(TokioTimer) };
    let options = EpochOptions { interval: Duration::from_secs(3600), ..Default::default() };
    let sinks: Vec<Arc<dyn Sink>> = vec![life.clone()];
    let recovered = Coordinator::recover(intents, sinks.clone(), life.clone(), options, time).await;
    let Ok((coordinator, recovered)) = recovered else {
        assert!(life.is_dead(), "recovery fails only where the process dies");
        return;
    };
    let from = recovered.position.0;
    assert!(disk.trimmed.load(Ordering::Relaxed) <= from, "the log is trimmed only up to what is decided");
    assert_eq!(recovered.marks.iter().map(|mark| mark.seq().0).max(), (from > 0).then_some(from));
    let mut kept = life.before.lock().unwrap().clone();
    kept.sort_unstable();
    let mut stored: Vec<i64> = disk.table.lock().unwrap().values().flatten().copied().collect();
    stored.sort_unstable();
    assert_eq!(kept, stored, "the state of a sink is that of the epoch that was decided");
    let options = EngineOptions { shards, ..Default::default() };
    let (engine, reports) = Engine::start(&Graph::of_streams(["drops"]), sinks, &recovered, options, clock).unwrap();
    (from + 1..=*logged).for_each(|number| engine.inlet().push(row(number)));
    let (flush, requests) = flush_channel();
    let (_stop, stop) = tokio::sync::oneshot::channel();
    let running = tokio::spawn(coordinator.run(Run { inlet: engine.inlet().clone(), reports, requests, stop }));
    for rows in flushes {
        for _ in 0..*rows {
            *logged += 1;
            engine.inlet().push(row(*logged));
        }
        tokio::select! {
            flushed = flush.flush() => assert!(flushed.is_ok()),
            () = async { while !life.is_dead() { tokio::time::sleep(Duration::from_millis(1)).await } } => break,
        }
    }
    running.abort();
    let _ = running.await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn once_1_once_2_every_row_is_stored_once(
        lives in prop::collection::vec((prop::collection::vec(0u64..5, 0..5), 0i64..20, 1usize..5), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (disk, store, mut logged) = (Arc::new(Disk::default()), Arc::new(InMemory::new()), 0);
            for (flushes, steps, shards) in &lives {
                live(&disk, &store, &mut logged, flushes, *steps, *shards).await;
            }
            live(&disk, &store, &mut logged, &[1], i64::MAX, 2).await;
            let table = disk.table.lock().unwrap();
            let mut rows: Vec<i64> = table.values().flatten().copied().collect();
            rows.sort_unstable();
            assert_eq!(rows, (1..=logged as i64).collect::<Vec<_>>());
        });
    }
}
