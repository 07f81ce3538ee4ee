//! ONCE-1, ONCE-2: a process that dies at any step of an epoch and starts again stores every row of the log once.

use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bodkin_engine::{
    Batch, Coordinator, EpochOptions, IntentStore, Message, Origin, Shard, Sink, SinkError, Source, flush_channel,
};
use bodkin_schema::{Epoch, EventTime, Incarnation, Lane, Position, Seq, Stream, Tenant};
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
    open: Mutex<Vec<i64>>,
    sealed: Mutex<BTreeMap<u64, Vec<i64>>>,
    handed: AtomicU64,
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
        self.open.lock().unwrap().extend(counts.values());
    }

    fn seal(&self, epoch: Epoch) {
        let rows = std::mem::take(&mut *self.open.lock().unwrap());
        self.sealed.lock().unwrap().insert(epoch.0, rows);
    }

    fn pending_bytes(&self) -> usize {
        0
    }

    async fn prepare(&self, epoch: Epoch) -> Result<serde_json::Value, SinkError> {
        self.step()?;
        let rows = serde_json::json!(self.sealed.lock().unwrap()[&epoch.0]);
        self.step()?;
        Ok(rows)
    }

    async fn commit(&self, epoch: Epoch, prepared: &serde_json::Value) -> Result<(), SinkError> {
        self.step()?;
        let rows: Vec<i64> = serde_json::from_value(prepared.clone())?;
        if let Some(there) = self.disk.table.lock().unwrap().insert(epoch.0, rows.clone()) {
            assert_eq!(there, rows, "an epoch means the same rows for ever");
        }
        self.step()
    }
}

#[async_trait]
impl Source for Life {
    fn position(&self) -> Position {
        Position(self.handed.load(Ordering::Relaxed))
    }

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
    let lane = Lane { producer: "h/security".into(), incarnation: Incarnation(1), stream: "drops".into() };
    let origin = Origin { lane, seq: Seq(number) };
    Batch::logged(origin, Tenant::default(), records.unwrap(), EventTime(number as i64), Position(number))
}

/// Recovers, replays the log from where the intent says, then flushes after each of `flushes` further rows.
async fn live(disk: &Arc<Disk>, store: &Arc<InMemory>, logged: &mut u64, flushes: &[u64], steps: i64) {
    let life = Arc::new(Life {
        disk: disk.clone(),
        steps_left: AtomicI64::new(steps),
        open: Mutex::default(),
        sealed: Mutex::default(),
        handed: AtomicU64::new(0),
    });
    let intents = IntentStore::new(store.clone(), "n");
    let options = EpochOptions { interval: Duration::from_secs(3600), ..Default::default() };
    let sinks: Vec<Arc<dyn Sink>> = vec![life.clone()];
    let recovered = Coordinator::recover(intents, Incarnation(1), sinks.clone(), life.clone(), options).await;
    let Ok((coordinator, marks)) = recovered else {
        assert!(life.is_dead(), "recovery fails only where the process dies");
        return;
    };
    let from = coordinator.position();
    assert!(disk.trimmed.load(Ordering::Relaxed) <= from.0, "the log is trimmed only up to what is decided");
    assert_eq!(marks.first().map(|mark| mark.seq().0), (from.0 > 0).then_some(from.0));
    let (shard, sealed) = Shard::start(Vec::new(), sinks, from, &marks, 1 << 20).unwrap();
    let hand = |number: u64| {
        assert!(shard.queue().push(Message::Data(row(number))));
        life.handed.store(number, Ordering::Relaxed);
    };
    (from.0 + 1..=*logged).for_each(hand);
    let (flush, requests) = flush_channel();
    let (_stop, stopped) = tokio::sync::oneshot::channel();
    let running = tokio::spawn(coordinator.run(shard.queue().clone(), sealed, requests, stopped));
    for rows in flushes {
        for _ in 0..*rows {
            *logged += 1;
            hand(*logged);
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
        lives in prop::collection::vec((prop::collection::vec(0u64..5, 0..5), 0i64..20), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (disk, store, mut logged) = (Arc::new(Disk::default()), Arc::new(InMemory::new()), 0);
            for (flushes, steps) in &lives {
                live(&disk, &store, &mut logged, flushes, *steps).await;
            }
            live(&disk, &store, &mut logged, &[1], i64::MAX).await;
            let table = disk.table.lock().unwrap();
            let mut rows: Vec<i64> = table.values().flatten().copied().collect();
            rows.sort_unstable();
            assert_eq!(rows, (1..=logged as i64).collect::<Vec<_>>());
        });
    }
}
