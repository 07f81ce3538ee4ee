//! Deliveries: what leaves the system as soon as the rows that caused it are durable, before their epoch ends.
//!
//! ```text
//!  operator --(deliver/<channel>: key, body)--> pending --> channel --> row of table deliveries in the log --> gone
//!                                                  |
//!                                  the epoch's intent holds what is pending
//! ```
//! At least once: a crash between the channel's answer and the durable row sends again, under the same key, which a
//! replay makes the same. A replay offers again what came after the intent, and finds the rows of what was delivered
//! behind it in the log; so nothing is sent until the replay is over. Each channel has a bound and a task of its own: one
//! that hangs holds up nobody.

use crate::{Batch, Signal, Sink, SinkError, Timer};
use arrow::array::{Array, AsArray, StringArray};
use async_trait::async_trait;
use bodkin_schema::{Epoch, Stream, dataflow};
use futures::future::select;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// What the stream of deliveries to a channel begins with.
pub const DELIVER_STREAM: &str = "deliver/";
/// Column with the idempotency key.
pub const KEY_COLUMN: &str = "key";
/// Column with what is delivered.
pub const BODY_COLUMN: &str = "body";

/// Given up deliveries of one channel whose row is not written yet; beyond, they are only counted.
const GIVEN_UP_MAX: usize = 10_000;

/// Bounds of an outbox.
#[derive(Clone, Copy, Debug)]
pub struct OutboxOptions {
    /// Bytes of pending deliveries of each channel; the oldest are given up beyond.
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
        Self { bytes_max: 32 << 20, retry_min, retry_max, attempts_max: 100 }
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

impl Delivery {
    /// A delivery that is in no outbox: for a test of a channel.
    pub fn new(channel: &str, key: &str, body: &str) -> Self {
        Self { channel: channel.to_owned(), key: key.to_owned(), body: body.to_owned(), epoch: 0 }
    }

    fn bytes(&self) -> usize {
        self.channel.len() + 2 * self.key.len() + self.body.len() + 128
    }
}

/// How a delivery ended: a row of table `deliveries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Where to.
    pub channel: String,
    /// Which one.
    pub key: String,
    /// Attempts that it took.
    pub attempts: u32,
    /// Why it was given up; none where it was sent.
    pub dead: Option<String>,
}

/// Why a channel did not take what it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ChannelError {
    /// Why.
    pub reason: String,
    /// Another attempt would fail, too.
    pub is_final: bool,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// A way out of the system.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// How many deliveries it takes at once.
    fn run_max(&self) -> usize {
        1
    }

    /// Delivers a run, in order. After an error, or a crash, all of the run comes again, also what was taken.
    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError>;
}

/// Writes down how deliveries ended.
#[async_trait]
pub trait EndLog: Send + Sync {
    /// Writes the rows of table `deliveries`; they are durable when this returns.
    async fn ended(&self, ended: &[Ended]) -> Result<(), SinkError>;
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
    channels: RwLock<Channels>,
    /// Told when there are other channels.
    replaced: Signal,
    state: Mutex<State>,
    changed: Signal,
    stats: OutboxStats,
}

type Channels = HashMap<String, Arc<dyn Channel>>;

#[derive(Default)]
struct State {
    queues: BTreeMap<String, Waiting>,
    /// Channel and key of what rows of a replay say has ended, before it is offered again.
    done: BTreeSet<(String, String)>,
    next: u64,
    is_open: bool,
}

/// What waits for one channel.
#[derive(Default)]
struct Waiting {
    /// By arrival.
    pending: BTreeMap<u64, Delivery>,
    keys: HashMap<String, u64>,
    bytes: usize,
    given_up: Vec<Ended>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Outbox {
    /// An outbox that sends nothing until it is [opened](Self::open).
    pub fn new(options: OutboxOptions, channels: Vec<Arc<dyn Channel>>) -> Self {
        Self {
            options,
            channels: RwLock::new(by_name(channels)),
            replaced: Signal::default(),
            state: Mutex::default(),
            changed: Signal::default(),
            stats: OutboxStats::default(),
        }
    }

    /// Goes on with other channels. What is pending goes to the channel that now has its name, from the next attempt on,
    /// which is made at once; what is pending for a name that is gone is given up.
    pub fn set_channels(&self, channels: Vec<Arc<dyn Channel>>) {
        *self.channels.write().unwrap_or_else(PoisonError::into_inner) = by_name(channels);
        self.replaced.notify();
        self.changed.notify();
    }

    /// The replay is over and the graph has caught up: what is pending now is sent.
    pub fn open(&self) {
        let mut state = self.lock();
        state.is_open = true;
        drop(state);
        self.changed.notify();
    }

    /// Names of its channels, and of those that no longer exist and have something pending.
    pub fn channels(&self) -> Vec<String> {
        let mut names: Vec<String> = self.now().keys().cloned().collect();
        names.extend(self.lock().queues.keys().cloned());
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The channel of that name.
    pub fn channel(&self, name: &str) -> Option<Arc<dyn Channel>> {
        self.now().get(name).cloned()
    }

    /// Its counters.
    pub fn stats(&self) -> &OutboxStats {
        &self.stats
    }

    /// Deliveries that wait.
    pub fn pending(&self) -> usize {
        self.lock().queues.values().map(|waiting| waiting.pending.len()).sum()
    }

    /// Sends what is pending to one channel, in order, for ever. Safe to drop.
    pub async fn run(&self, channel: &str, log: &dyn EndLog, timer: &dyn Timer) {
        let mut attempts = 0;
        // Deliveries that go alone, because one of them spoils the run.
        let mut alone = 0_usize;
        loop {
            let (seen, replaced) = (self.changed.seen(), self.replaced.seen());
            self.end(self.given_up(channel), log, timer).await;
            let own = self.channel(channel);
            let run_max = own.as_ref().map_or(1, |own| own.run_max().max(1));
            // After an error one delivery tries whether the receiver is back.
            let run = self.oldest(channel, if attempts > 0 || alone > 0 { 1 } else { run_max });
            let Some(first) = run.first() else {
                self.changed.changed(seen).await;
                continue;
            };
            let outcome = match own {
                Some(own) => own.send(&run).await,
                None => Err(ChannelError {
                    reason: "there is no such channel any more".to_owned(),
                    is_final: true,
                    retry_after: None,
                }),
            };
            attempts += 1;
            let dead = match outcome {
                Ok(()) => None,
                Err(error) if error.is_final && run.len() > 1 => {
                    (alone, attempts) = (run.len(), 0);
                    continue;
                }
                Err(error) if error.is_final || attempts >= self.options.attempts_max => Some(error.reason),
                Err(error) => {
                    self.stats.failed.fetch_add(1, Ordering::Relaxed);
                    let wait = error.retry_after.unwrap_or_else(|| self.wait(&first.key, attempts));
                    tracing::warn!(channel, key = first.key, attempts, %error, "delivery waits and is tried again");
                    // Whoever mends a channel does not wait for it.
                    let replaced = std::pin::pin!(self.replaced.changed(replaced));
                    select(timer.sleep(wait), replaced).await;
                    continue;
                }
            };
            let ended = |delivery: &Delivery| Ended {
                channel: channel.to_owned(),
                key: delivery.key.clone(),
                attempts,
                dead: dead.clone(),
            };
            self.end(run.iter().map(ended).collect(), log, timer).await;
            attempts = 0;
            alone = alone.saturating_sub(run.len());
        }
    }

    /// Writes down how deliveries ended; only then they are forgotten.
    async fn end(&self, ended: Vec<Ended>, log: &dyn EndLog, timer: &dyn Timer) {
        if ended.is_empty() {
            return;
        }
        for one in &ended {
            let counter = if one.dead.is_some() { &self.stats.dead } else { &self.stats.sent };
            counter.fetch_add(1, Ordering::Relaxed);
            if let Some(reason) = &one.dead {
                tracing::error!(channel = one.channel, key = one.key, reason, "delivery is given up");
            }
        }
        while let Err(error) = log.ended(&ended).await {
            tracing::warn!(%error, "the end of deliveries cannot be written down");
            timer.sleep(self.options.retry_min).await;
        }
        let mut state = self.lock();
        ended.iter().for_each(|one| state.remove(&one.channel, &one.key));
    }

    /// Doubles with each attempt; up to half of it is left off, so that many do not come back at one moment.
    fn wait(&self, key: &str, attempts: u32) -> Duration {
        let doubled = self.options.retry_min.saturating_mul(1 << attempts.saturating_sub(1).min(20));
        let share = (xxh3_64(format!("{key}{attempts}").as_bytes()) % 512) as f64 / 1024.0;
        doubled.min(self.options.retry_max).mul_f64(1.0 - share)
    }

    fn oldest(&self, channel: &str, count: usize) -> Vec<Delivery> {
        let state = self.lock();
        let waiting = state.queues.get(channel).filter(|_| state.is_open);
        waiting.map_or_else(Vec::new, |waiting| waiting.pending.values().take(count).cloned().collect())
    }

    fn given_up(&self, channel: &str) -> Vec<Ended> {
        self.lock().queues.get_mut(channel).map(|waiting| std::mem::take(&mut waiting.given_up)).unwrap_or_default()
    }

    fn offer(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        let mut state = self.lock();
        for delivery in deliveries {
            let channel = delivery.channel.clone();
            state.add(delivery);
            let Some(waiting) = state.queues.get_mut(&channel) else { continue };
            while waiting.bytes > self.options.bytes_max
                && let Some((_, oldest)) = waiting.pending.pop_first()
            {
                waiting.keys.remove(&oldest.key);
                waiting.bytes -= oldest.bytes();
                if waiting.given_up.len() < GIVEN_UP_MAX {
                    let reason = "too much waits for the channel".to_owned();
                    waiting.given_up.push(Ended {
                        channel: channel.clone(),
                        key: oldest.key,
                        attempts: 0,
                        dead: Some(reason),
                    });
                } else {
                    self.stats.dead.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        drop(state);
        self.changed.notify();
    }

    fn now(&self) -> RwLockReadGuard<'_, Channels> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, delivery: Delivery) {
        if self.done.contains(&(delivery.channel.clone(), delivery.key.clone())) {
            return;
        }
        let waiting = self.queues.entry(delivery.channel.clone()).or_default();
        if waiting.keys.contains_key(&delivery.key) {
            return;
        }
        self.next += 1;
        waiting.bytes += delivery.bytes();
        waiting.keys.insert(delivery.key.clone(), self.next);
        waiting.pending.insert(self.next, delivery);
    }

    fn remove(&mut self, channel: &str, key: &str) {
        let Some(waiting) = self.queues.get_mut(channel) else { return };
        if let Some(delivery) = waiting.keys.remove(key).and_then(|number| waiting.pending.remove(&number)) {
            waiting.bytes -= delivery.bytes();
        }
    }

    /// Takes rows of table `deliveries`: what they say has ended.
    fn ended(&mut self, batch: &Batch) {
        let (Some(channels), Some(keys)) = (text(batch, dataflow::CHANNEL), text(batch, dataflow::KEY)) else { return };
        for (channel, key) in channels.iter().zip(keys).filter_map(|(channel, key)| Some((channel?, key?))) {
            self.remove(channel, key);
            if !self.is_open {
                // Kept until the first epoch that ends after the replay.
                self.done.insert((channel.to_owned(), key.to_owned()));
            }
        }
    }
}

fn by_name(channels: Vec<Arc<dyn Channel>>) -> Channels {
    channels.into_iter().map(|channel| (channel.name().to_owned(), channel)).collect()
}

fn text<'a>(batch: &'a Batch, name: &str) -> Option<&'a StringArray> {
    batch.records.column_by_name(name).and_then(|column| column.as_string_opt::<i32>())
}

/// The rows of a batch of deliveries; one without a key or a body is none.
fn deliveries(batch: &Batch) -> Vec<Delivery> {
    let channel = batch.stream.strip_prefix(DELIVER_STREAM).unwrap_or_default();
    let (Some(keys), Some(bodies)) = (text(batch, KEY_COLUMN), text(batch, BODY_COLUMN)) else { return Vec::new() };
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
        stream.starts_with(DELIVER_STREAM) || stream == Stream::Deliveries.name()
    }

    fn write(&self, batch: Batch) {
        if &*batch.stream == Stream::Deliveries.name() {
            self.lock().ended(&batch);
        } else {
            self.offer(deliveries(&batch));
        }
    }

    fn seal(&self, _epoch: Epoch) {}

    /// Its own bound holds; an epoch frees nothing here.
    fn pending_bytes(&self) -> usize {
        0
    }

    /// What is pending of the epoch and those before. What was delivered meanwhile has its row in the log.
    async fn prepare(&self, epoch: Epoch) -> Result<serde_json::Value, SinkError> {
        let mut state = self.lock();
        if state.is_open {
            // The barrier has passed every level: nothing of a replay is under way any more.
            state.done.clear();
        }
        let pending = state.queues.values().flat_map(|waiting| waiting.pending.values());
        let pending: Vec<_> = pending.filter(|delivery| delivery.epoch <= epoch.0).collect();
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
        runs: usize,
        sent: Mutex<Vec<String>>,
        ended: Mutex<Vec<Ended>>,
    }

    #[async_trait]
    impl Channel for World {
        fn name(&self) -> &str {
            "mail"
        }

        fn run_max(&self) -> usize {
            self.runs
        }

        async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let fails = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            let is_final = run.iter().any(|delivery| delivery.body == "bad");
            match fails {
                Err(_) if !is_final => {
                    self.sent.lock().unwrap().extend(run.iter().map(|delivery| delivery.key.clone()));
                    Ok(())
                }
                _ => Err(ChannelError { reason: "busy".into(), is_final, retry_after: None }),
            }
        }
    }

    #[async_trait]
    impl EndLog for World {
        async fn ended(&self, ended: &[Ended]) -> Result<(), SinkError> {
            self.ended.lock().unwrap().extend(ended.iter().cloned());
            Ok(())
        }
    }

    fn column(values: Vec<&str>) -> arrow::array::ArrayRef {
        Arc::new(StringArray::from(values))
    }

    fn rows(epoch: u64, keys: &[&str]) -> Batch {
        let bodies: Vec<&str> = keys.iter().map(|key| if key.starts_with("bad") { "bad" } else { "text" }).collect();
        let records = RecordBatch::try_from_iter([("key", column(keys.to_vec())), ("body", column(bodies))]).unwrap();
        Batch { epoch: Epoch(epoch), ..Batch::made("deliver/mail", records) }
    }

    /// Rows of table `deliveries`, as far as the outbox reads them.
    fn ends(keys: &[&str]) -> Batch {
        let channels = column(vec!["mail"; keys.len()]);
        Batch::made(
            "deliveries",
            RecordBatch::try_from_iter([("channel", channels), ("key", column(keys.to_vec()))]).unwrap(),
        )
    }

    async fn run(outbox: &Outbox, world: &World, until: usize) {
        let deadline = Duration::from_secs(3600);
        let sending = outbox.run("mail", world, &TokioTimer);
        let done = async {
            while world.ended.lock().unwrap().len() < until {
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
        assert_eq!(world.ended.lock().unwrap().iter().map(|one| one.attempts).collect::<Vec<_>>(), [4, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_sends_what_is_pending_and_not_what_has_ended() {
        let world = Arc::new(World::default());
        let first = outbox(&world);
        first.write(rows(1, &["a", "b"]));
        first.write(rows(2, &["c", "d"]));
        let prepared = first.prepare(Epoch(1)).await.unwrap();
        first.open();
        run(&first, &world, 3).await;
        assert_eq!(*world.sent.lock().unwrap(), ["a", "b", "c"]);
        drop(first);
        // The intent holds a and b; the replay offers c and d again, before or after the row of c.
        let second = outbox(&world);
        second.commit(Epoch(1), &prepared).await.unwrap();
        second.write(ends(&["c"]));
        second.write(rows(2, &["c", "d"]));
        second.write(ends(&["a", "b"]));
        assert_eq!(second.pending(), 1);
        second.open();
        run(&second, &world, 4).await;
        assert_eq!(*world.sent.lock().unwrap(), ["a", "b", "c", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn other_channels_take_up_what_is_pending_at_once() {
        let (broken, mended) = (Arc::new(World::default()), Arc::new(World::default()));
        broken.failures.store(1000, Ordering::Relaxed);
        let outbox = outbox(&broken);
        outbox.write(rows(1, &["a", "b", "c"]));
        outbox.open();
        let sending = outbox.run("mail", mended.as_ref(), &TokioTimer);
        let reload = async {
            // By now it waits for minutes between two attempts.
            tokio::time::sleep(Duration::from_secs(3600)).await;
            let start = tokio::time::Instant::now();
            outbox.set_channels(vec![mended.clone()]);
            while outbox.pending() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            start.elapsed()
        };
        let took = tokio::select! {
            () = sending => unreachable!("it runs for ever"),
            took = reload => took,
        };
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(*mended.sent.lock().unwrap(), ["a", "b", "c"]);
        // A name that is gone: given up, with a row that says so.
        outbox.write(rows(1, &["d"]));
        outbox.set_channels(Vec::new());
        run(&outbox, &mended, 4).await;
        assert!(mended.ended.lock().unwrap()[3].dead.as_ref().unwrap().contains("no such channel"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_sent_is_a_dead_letter_and_spoils_no_run() {
        let world = Arc::new(World { runs: 3, ..World::default() });
        let outbox = outbox(&world);
        outbox.write(rows(1, &["good", "bad one", "better", "best"]));
        outbox.open();
        run(&outbox, &world, 4).await;
        assert_eq!(*world.sent.lock().unwrap(), ["good", "better", "best"]);
        let ended = world.ended.lock().unwrap();
        let dead: Vec<_> = ended.iter().filter(|one| one.dead.is_some()).map(|one| one.key.as_str()).collect();
        assert_eq!(dead, ["bad one"]);
    }

    #[tokio::test(start_paused = true)]
    async fn mem_1_the_oldest_of_a_channel_go_where_too_much_waits() {
        let world = Arc::new(World { runs: 100, ..World::default() });
        let options = OutboxOptions { bytes_max: 600, ..OutboxOptions::default() };
        let outbox = Outbox::new(options, vec![world.clone()]);
        for number in 0..100 {
            outbox.write(rows(1, &[&format!("key {number}")]));
        }
        assert!(outbox.pending() < 5, "{}", outbox.pending());
        outbox.open();
        run(&outbox, &world, 100).await;
        let ended = world.ended.lock().unwrap();
        assert!(ended.iter().filter(|one| one.dead.is_some()).count() > 90, "each has a row that says so");
        assert_eq!(ended.last().map(|one| one.key.as_str()), Some("key 99"));
    }

    #[test]
    fn waits_grow_and_differ() {
        let outbox = Outbox::new(OutboxOptions::default(), Vec::new());
        for attempts in 1..40 {
            let wait = outbox.wait("key", attempts);
            let full = Duration::from_secs(1 << (attempts - 1).min(20)).min(Duration::from_secs(300));
            assert!(wait <= full && wait >= full / 2, "{attempts}: {wait:?}");
        }
        assert_ne!(outbox.wait("a", 3), outbox.wait("b", 3));
    }
}
