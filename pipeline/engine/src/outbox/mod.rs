//! Deliveries: what leaves the system as soon as the rows that caused it are durable, before their epoch ends.
//!
//! ```text
//!  operator --(deliver/<channel>: key, body)--> pending --> channel --> row of table deliveries in the log --> gone
//!                                                  |
//!                                  a state of the epoch holds what is pending
//! ```
//! At least once: a crash between the channel's answer and the durable row sends again, under the same key, which a
//! replay makes the same. A replay offers again what came after the intent, and finds the rows of what was delivered
//! behind it in the log; so nothing is sent until the replay is over. Each channel has a bound and a task of its own: one
//! that hangs holds up nobody.

mod queue;
mod run;
#[cfg(test)]
mod tests;

use crate::{Batch, Signal, Sink, SinkError};
use async_trait::async_trait;
use bodkin_schema::{Epoch, Stream};
use bytes::Bytes;
use queue::{State, deliveries};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

/// What the stream of deliveries to a channel begins with.
pub const DELIVER_STREAM: &str = "deliver/";
/// Column with the idempotency key.
pub const KEY_COLUMN: &str = "key";
/// Column with what is delivered.
pub const BODY_COLUMN: &str = "body";

/// Bounds of an outbox.
#[derive(Clone, Copy, Debug)]
pub struct OutboxOptions {
    /// Bytes of pending deliveries of each channel; the oldest are given up beyond.
    pub bytes_max: usize,
    /// Bytes of those of all channels; the oldest of the channel with most are given up beyond.
    pub all_bytes_max: usize,
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
        Self { bytes_max: 32 << 20, all_bytes_max: 128 << 20, retry_min, retry_max, attempts_max: 100 }
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

/// What is to be delivered. It is a [`Sink`] of the graph: its state of an epoch is what is pending, a part a channel.
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
        self.lock().open();
        self.changed.notify();
    }

    /// Names of its channels, and of those that no longer exist and have something pending.
    pub fn channels(&self) -> Vec<String> {
        let mut names: Vec<String> = self.now().keys().cloned().collect();
        names.extend(self.lock().channels().cloned());
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
        self.lock().pending().count()
    }

    fn offer(&self, deliveries: impl IntoIterator<Item = Delivery>) {
        let untold = self.lock().offer(deliveries, self.options.bytes_max, self.options.all_bytes_max);
        self.stats.dead.fetch_add(untold, Ordering::Relaxed);
        self.changed.notify();
    }

    fn now(&self) -> RwLockReadGuard<'_, Channels> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_name(channels: Vec<Arc<dyn Channel>>) -> Channels {
    channels.into_iter().map(|channel| (channel.name().to_owned(), channel)).collect()
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

    async fn prepare(&self, _epoch: Epoch) -> Result<serde_json::Value, SinkError> {
        self.lock().end_replay();
        Ok(serde_json::Value::Null)
    }

    /// What is pending of the epoch and those before. What was delivered meanwhile has its row in the log.
    fn state(&self, epoch: Epoch) -> Result<Vec<(String, Bytes)>, SinkError> {
        let state = self.lock();
        let mut by_channel: BTreeMap<&str, Vec<&Delivery>> = BTreeMap::new();
        for delivery in state.pending().filter(|delivery| delivery.epoch <= epoch.0) {
            by_channel.entry(&delivery.channel).or_default().push(delivery);
        }
        let part =
            |(channel, pending): (&str, Vec<&Delivery>)| Ok((channel.to_owned(), serde_json::to_vec(&pending)?.into()));
        by_channel.into_iter().map(part).collect()
    }

    /// Takes up what was pending.
    fn restore(&self, _channel: &str, state: &Bytes) -> Result<(), SinkError> {
        let pending: Vec<Delivery> = serde_json::from_slice(state)?;
        self.offer(pending);
        Ok(())
    }

    /// At a start after a life that kept what was pending in the intent, takes that up; else there is nothing to do.
    async fn commit(&self, _epoch: Epoch, prepared: &serde_json::Value) -> Result<(), SinkError> {
        if !self.lock().is_open() && !prepared.is_null() {
            let pending: Vec<Delivery> = Deserialize::deserialize(prepared)?;
            self.offer(pending);
        }
        Ok(())
    }

    async fn committed(&self) -> Result<Option<Epoch>, SinkError> {
        Ok(None)
    }
}
