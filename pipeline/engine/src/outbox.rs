//! Deliveries: what leaves the system as soon as the rows that caused it are durable, before their epoch ends.
//!
//! ```text
//!  operator --(deliver/<channel>: key, body)--> pending --> channel --> note "delivered" in the log --> gone
//!                                                  |
//!                                  the epoch's intent holds what is pending
//! ```
//! At least once: a crash between the channel's answer and the durable note sends again, under the same key, which a
//! replay makes the same. A replay offers again what came after the intent, and finds the notes of what was delivered
//! behind it in the log; so nothing is sent until the replay is over.

use crate::{Batch, Signal, Sink, SinkError, Timer};
use arrow::array::{Array, AsArray};
use async_trait::async_trait;
use bodkin_schema::Epoch;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the stream of deliveries to a channel begins with.
pub const DELIVER_STREAM: &str = "deliver/";
/// Topic of [`DeliveredNote`]s in the log.
pub const DELIVERED_TOPIC: &str = "delivered";
/// Column with the idempotency key.
pub const KEY_COLUMN: &str = "key";
/// Column with what is delivered.
pub const BODY_COLUMN: &str = "body";

/// Bounds of an outbox.
#[derive(Clone, Copy, Debug)]
pub struct OutboxOptions {
    /// Bytes of pending deliveries; the oldest are given up beyond.
    pub bytes_max: usize,
    /// How long to wait before the second attempt; doubles from there on.
    pub retry_min: Duration,
    /// The longest wait between attempts.
    pub retry_max: Duration,
    /// Attempts before a delivery is a dead letter.
    pub attempts_max: u32,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        let (retry_min, retry_max) = (Duration::from_secs(1), Duration::from_secs(300));
        Self { bytes_max: 64 << 20, retry_min, retry_max, attempts_max: 100 }
    }
}

/// Something to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Where to.
    pub channel: String,
    /// Equal after a replay: the receiver can drop what it has seen.
    pub key: String,
    /// What.
    pub body: String,
    epoch: u64,
}

/// How a delivery ended, as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveredNote {
    /// Where to.
    pub channel: String,
    /// Which one.
    pub key: String,
    /// Why it was given up; none where it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<String>,
}

/// Why a channel did not take a delivery.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ChannelError {
    /// Why.
    pub reason: String,
    /// Another attempt would fail, too.
    pub is_final: bool,
}

/// A way out of the system.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// Delivers. Called again after an error, and after a crash even if it succeeded.
    async fn send(&self, delivery: &Delivery) -> Result<(), ChannelError>;
}

/// Writes notes to the log.
#[async_trait]
pub trait NoteLog: Send + Sync {
    /// Appends a note; it is durable when this returns.
    async fn log(&self, topic: &str, note: serde_json::Value) -> Result<(), SinkError>;
}

/// Counters of an outbox.
#[derive(Debug, Default)]
pub struct OutboxStats {
    /// Deliveries that were sent.
    pub sent: AtomicU64,
    /// Attempts that failed.
    pub failed: AtomicU64,
    /// Deliveries that were given up.
    pub dead: AtomicU64,
}

/// What is to be delivered. It is a [`Sink`] of the graph: an epoch's intent holds what is pending.
pub struct Outbox {
    options: OutboxOptions,
    channels: HashMap<String, Arc<dyn Channel>>,
    state: Mutex<State>,
    changed: Signal,
    stats: OutboxStats,
}

#[derive(Default)]
struct State {
    /// By arrival.
    pending: BTreeMap<u64, Delivery>,
    /// Channel and key of what is pending.
    keys: BTreeMap<(String, String), u64>,
    /// What notes of a replay say is done, before it is offered again.
    done: BTreeSet<(String, String)>,
    bytes: usize,
    next: u64,
    is_open: bool,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Outbox {
    /// An outbox that sends nothing until it is [opened](Self::open).
    pub fn new(options: OutboxOptions, channels: Vec<Arc<dyn Channel>>) -> Self {
        let channels = channels.into_iter().map(|channel| (channel.name().to_owned(), channel)).collect();
        Self { options, channels, state: Mutex::default(), changed: Signal::default(), stats: OutboxStats::default() }
    }

    /// The replay is over and the graph has caught up: what is pending now is sent.
    pub fn open(&self) {
        let mut state = self.lock();
        state.is_open = true;
        state.done.clear();
        drop(state);
        self.changed.notify();
    }

    /// Takes a note of the log that a replay found.
    pub fn note(&self, topic: &str, note: &serde_json::Value) {
        if topic != DELIVERED_TOPIC {
            return;
        }
        match DeliveredNote::deserialize(note) {
            Ok(DeliveredNote { channel, key, .. }) => {
                let mut state = self.lock();
                state.remove(&channel, &key);
                if !state.is_open {
                    state.done.insert((channel, key));
                }
            }
            Err(error) => tracing::warn!(%error, "delivery note is not understood"),
        }
    }

    /// Names of its channels.
    pub fn channels(&self) -> impl Iterator<Item = String> {
        self.channels.keys().cloned()
    }

    /// Its counters.
    pub fn stats(&self) -> &OutboxStats {
        &self.stats
    }

    /// Deliveries that wait.
    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// Sends what is pending to one channel, in order, for ever. Safe to drop.
    pub async fn run(&self, channel: &str, log: &dyn NoteLog, timer: &dyn Timer) {
        let mut attempts = 0;
        loop {
            let seen = self.changed.seen();
            let Some(delivery) = self.oldest(channel) else {
                self.changed.changed(seen).await;
                continue;
            };
            let outcome = match self.channels.get(channel) {
                Some(channel) => channel.send(&delivery).await,
                None => Err(ChannelError { reason: "there is no such channel".to_owned(), is_final: true }),
            };
            attempts += 1;
            let dead = match outcome {
                Ok(()) => None,
                Err(error) if error.is_final || attempts >= self.options.attempts_max => Some(error.reason),
                Err(error) => {
                    self.stats.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(channel, key = delivery.key, attempts, %error, "delivery waits and is tried again");
                    timer.sleep(self.wait(attempts)).await;
                    continue;
                }
            };
            let counter = if dead.is_some() { &self.stats.dead } else { &self.stats.sent };
            counter.fetch_add(1, Ordering::Relaxed);
            self.ended(&delivery, dead, log, timer).await;
            attempts = 0;
        }
    }

    /// Notes how a delivery ended; only then it is forgotten.
    async fn ended(&self, delivery: &Delivery, dead: Option<String>, log: &dyn NoteLog, timer: &dyn Timer) {
        let note = DeliveredNote { channel: delivery.channel.clone(), key: delivery.key.clone(), dead };
        let note = serde_json::to_value(note).expect("invariant: strings always serialize");
        while let Err(error) = log.log(DELIVERED_TOPIC, note.clone()).await {
            tracing::warn!(key = delivery.key, %error, "the end of a delivery cannot be noted");
            timer.sleep(self.options.retry_min).await;
        }
        self.lock().remove(&delivery.channel, &delivery.key);
    }

    fn wait(&self, attempts: u32) -> Duration {
        let doubled = self.options.retry_min.saturating_mul(1 << attempts.saturating_sub(1).min(20));
        doubled.min(self.options.retry_max)
    }

    fn oldest(&self, channel: &str) -> Option<Delivery> {
        let state = self.lock();
        state.pending.values().find(|delivery| state.is_open && delivery.channel == channel).cloned()
    }

    fn offer(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        let mut state = self.lock();
        for delivery in deliveries {
            state.add(delivery);
        }
        while state.bytes > self.options.bytes_max {
            let Some((_, oldest)) = state.pending.first_key_value().map(|(n, delivery)| (*n, delivery.clone())) else {
                break;
            };
            state.remove(&oldest.channel, &oldest.key);
            self.stats.dead.fetch_add(1, Ordering::Relaxed);
            tracing::error!(channel = oldest.channel, key = oldest.key, "too much waits to be delivered: given up");
        }
        drop(state);
        self.changed.notify();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, delivery: Delivery) {
        let key = (delivery.channel.clone(), delivery.key.clone());
        if self.done.contains(&key) || self.keys.contains_key(&key) {
            return;
        }
        self.next += 1;
        self.bytes += delivery.bytes();
        self.keys.insert(key, self.next);
        self.pending.insert(self.next, delivery);
    }

    fn remove(&mut self, channel: &str, key: &str) {
        if let Some(delivery) =
            self.keys.remove(&(channel.to_owned(), key.to_owned())).and_then(|number| self.pending.remove(&number))
        {
            self.bytes -= delivery.bytes();
        }
    }
}

impl Delivery {
    fn bytes(&self) -> usize {
        self.channel.len() + 2 * self.key.len() + self.body.len() + 128
    }
}

/// The rows of a batch of deliveries; one without a key or a body is none.
fn deliveries(batch: &Batch) -> Vec<Delivery> {
    let channel = batch.stream.strip_prefix(DELIVER_STREAM).unwrap_or_default();
    let column = |name: &str| batch.records.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let (Some(keys), Some(bodies)) = (column(KEY_COLUMN), column(BODY_COLUMN)) else { return Vec::new() };
    let delivery = |row: usize| Delivery {
        channel: channel.to_owned(),
        key: keys.value(row).to_owned(),
        body: bodies.value(row).to_owned(),
        epoch: batch.epoch.0,
    };
    (0..batch.records.num_rows()).filter(|row| keys.is_valid(*row) && bodies.is_valid(*row)).map(delivery).collect()
}

#[async_trait]
impl Sink for Outbox {
    fn name(&self) -> &str {
        "outbox"
    }

    fn takes(&self, stream: &str) -> bool {
        stream.starts_with(DELIVER_STREAM)
    }

    fn write(&self, batch: Batch) {
        self.offer(deliveries(&batch));
    }

    fn seal(&self, _epoch: Epoch) {}

    /// Its own bound holds; an epoch frees nothing here.
    fn pending_bytes(&self) -> usize {
        0
    }

    /// What is pending of the epoch and those before. What was delivered meanwhile has its note in the log.
    async fn prepare(&self, epoch: Epoch) -> Result<serde_json::Value, SinkError> {
        let state = self.lock();
        let pending: Vec<_> = state.pending.values().filter(|delivery| delivery.epoch <= epoch.0).collect();
        Ok(serde_json::to_value(pending)?)
    }

    /// At a start, takes up what was pending; else there is nothing to do.
    async fn commit(&self, _epoch: Epoch, prepared: &serde_json::Value) -> Result<(), SinkError> {
        if !self.lock().is_open {
            let pending: Vec<Delivery> = Deserialize::deserialize(prepared)?;
            self.offer(pending);
        }
        Ok(())
    }

    async fn committed(&self) -> Result<Option<Epoch>, SinkError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokioTimer;
    use arrow::array::{RecordBatch, StringArray};

    /// A channel that fails as often as it is told, and a log; both remember.
    #[derive(Default)]
    struct World {
        failures: AtomicU64,
        sent: Mutex<Vec<String>>,
        notes: Mutex<Vec<serde_json::Value>>,
    }

    #[async_trait]
    impl Channel for World {
        fn name(&self) -> &str {
            "mail"
        }

        async fn send(&self, delivery: &Delivery) -> Result<(), ChannelError> {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let fails = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            match fails {
                Ok(_) => Err(ChannelError { reason: "busy".into(), is_final: delivery.body == "bad" }),
                Err(_) => {
                    self.sent.lock().unwrap().push(delivery.key.clone());
                    Ok(())
                }
            }
        }
    }

    #[async_trait]
    impl NoteLog for World {
        async fn log(&self, topic: &str, note: serde_json::Value) -> Result<(), SinkError> {
            assert_eq!(topic, DELIVERED_TOPIC);
            self.notes.lock().unwrap().push(note);
            Ok(())
        }
    }

    fn rows(epoch: u64, keys: &[&str]) -> Batch {
        let column = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as _;
        let bodies: Vec<&str> = keys.iter().map(|key| if key.starts_with("bad") { "bad" } else { "text" }).collect();
        let records = RecordBatch::try_from_iter([("key", column(keys)), ("body", column(&bodies))]).unwrap();
        Batch { epoch: Epoch(epoch), ..Batch::made("deliver/mail", records) }
    }

    async fn run(outbox: &Outbox, world: &World, until: usize) {
        let deadline = Duration::from_secs(3600);
        let sending = outbox.run("mail", world, &TokioTimer);
        let done = async {
            while world.notes.lock().unwrap().len() < until {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = sending => {}
            done = tokio::time::timeout(deadline, done) => done.unwrap(),
        }
    }

    fn outbox(world: &Arc<World>) -> Outbox {
        Outbox::new(OutboxOptions::default(), vec![world.clone()])
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_is_sent_in_order_and_failures_are_tried_again() {
        let world = Arc::new(World { failures: AtomicU64::new(3), ..World::default() });
        let outbox = outbox(&world);
        outbox.write(rows(1, &["a", "b", "a"]));
        outbox.open();
        run(&outbox, &world, 2).await;
        assert_eq!(*world.sent.lock().unwrap(), ["a", "b"]);
        assert_eq!((outbox.pending(), outbox.stats().failed.load(Ordering::Relaxed)), (0, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_sends_what_is_pending_and_not_what_was_noted() {
        let world = Arc::new(World::default());
        let first = outbox(&world);
        first.write(rows(1, &["a", "b"]));
        first.write(rows(2, &["c", "d"]));
        let prepared = first.prepare(Epoch(1)).await.unwrap();
        first.open();
        run(&first, &world, 3).await;
        assert_eq!(*world.sent.lock().unwrap(), ["a", "b", "c"]);
        drop(first);
        // The intent holds a and b; the replay offers c and d again, before or after the note of c.
        let second = outbox(&world);
        second.commit(Epoch(1), &prepared).await.unwrap();
        let notes = world.notes.lock().unwrap().clone();
        second.note(DELIVERED_TOPIC, &notes[2]);
        second.write(rows(2, &["c", "d"]));
        second.note(DELIVERED_TOPIC, &notes[0]);
        second.note(DELIVERED_TOPIC, &notes[1]);
        assert_eq!(second.pending(), 1);
        second.open();
        run(&second, &world, 4).await;
        assert_eq!(*world.sent.lock().unwrap(), ["a", "b", "c", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_sent_is_a_dead_letter() {
        let world = Arc::new(World { failures: AtomicU64::new(1), ..World::default() });
        let outbox = outbox(&world);
        outbox.write(rows(1, &["bad one", "good"]));
        outbox.open();
        run(&outbox, &world, 2).await;
        assert_eq!(*world.sent.lock().unwrap(), ["good"]);
        assert_eq!(world.notes.lock().unwrap()[0]["dead"], "busy");
    }

    #[test]
    fn mem_1_the_oldest_go_where_too_much_waits() {
        let options = OutboxOptions { bytes_max: 600, ..OutboxOptions::default() };
        let outbox = Outbox::new(options, Vec::new());
        for number in 0..100 {
            outbox.write(rows(1, &[&format!("key {number}")]));
        }
        assert!(outbox.pending() < 5 && outbox.stats().dead.load(Ordering::Relaxed) > 90);
    }
}
