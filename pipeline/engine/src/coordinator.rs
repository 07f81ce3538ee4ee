//! One decision per epoch: barrier, prepare, intent, commit, trim.
//!
//! ```text
//!   shard     --- rows --- | barrier e | --- rows of e+1 ---
//!   sinks                    seal -> prepare (upload)     commit (table logs)
//!   intents                                    decide e ^             forget < e
//!   source                                                                       ack(position of e)
//! ```
//! Before `decide` nothing of the epoch counts and a restart does it again from the log; after it, everything does
//! and a restart rolls forward (ONCE-2).

use crate::{Error, Intent, IntentStore, Queue, Result, Sealed, Sink, Source};
use crate::{Mark, Message};
use bodkin_schema::{Epoch, Incarnation, Position};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// When an epoch ends.
#[derive(Clone, Copy, Debug)]
pub struct EpochOptions {
    /// At the latest after this long.
    pub interval: Duration,
    /// As soon as the sinks hold this much.
    pub pending_bytes_max: usize,
    /// How long to wait before a failed step is tried again.
    pub retry: Duration,
}

impl Default for EpochOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), pending_bytes_max: 256 << 20, retry: Duration::from_secs(1) }
    }
}

/// Counters of the epochs of this process.
#[derive(Debug, Default)]
pub struct EpochStats {
    /// Number of the last epoch that is complete.
    pub epoch: AtomicU64,
    /// Epochs completed by this process.
    pub completed: AtomicU64,
    /// Attempts that failed and were tried again.
    pub retried: AtomicU64,
    /// Time of the last epoch from barrier to end, in microseconds.
    pub duration_us_last: AtomicU64,
}

/// A request to end the epoch now; answered when everything before it is in the tables.
type Flush = oneshot::Sender<Result<Epoch>>;

/// Asks the coordinator for the end of an epoch.
#[derive(Clone, Debug)]
pub struct FlushHandle(mpsc::Sender<Flush>);

impl FlushHandle {
    /// Ends an epoch and answers when every row that was taken before the call is in the tables. Safe to drop.
    ///
    /// # Errors
    /// What the epoch failed with, or [`Error::Stopped`].
    pub async fn flush(&self) -> Result<Epoch> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(sender).await.map_err(|_| Error::Stopped)?;
        receiver.await.map_err(|_| Error::Stopped)?
    }
}

/// Runs the epochs of one node.
pub struct Coordinator {
    intents: IntentStore,
    generation: Incarnation,
    sinks: Vec<Arc<dyn Sink>>,
    source: Arc<dyn Source>,
    options: EpochOptions,
    stats: Arc<EpochStats>,
    epoch: Epoch,
    position: Position,
}

impl std::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator")
            .field("epoch", &self.epoch)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Coordinator {
    /// Finishes what the node's last process has decided: its newest intent is committed to every sink. Returns the
    /// coordinator, which continues after it, and the deduplication marks to start with.
    ///
    /// # Errors
    /// Where the intent cannot be read, or a sink cannot commit.
    pub async fn recover(
        intents: IntentStore,
        generation: Incarnation,
        sinks: Vec<Arc<dyn Sink>>,
        source: Arc<dyn Source>,
        options: EpochOptions,
    ) -> Result<(Self, Vec<Mark>)> {
        let mut coordinator = Self {
            intents,
            generation,
            sinks,
            source,
            options,
            stats: Arc::default(),
            epoch: Epoch(0),
            position: Position(0),
        };
        let Some(intent) = coordinator.intents.newest().await? else {
            return Ok((coordinator, Vec::new()));
        };
        coordinator.roll_forward(&intent).await?;
        let marks = intent.marks().to_vec();
        Ok((coordinator, marks))
    }

    /// Where the log must be replayed from.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Its counters.
    pub fn stats(&self) -> Arc<EpochStats> {
        self.stats.clone()
    }

    /// Runs epochs until `stop` fires, then one last epoch. The queue and the receiver are those of the shard.
    ///
    /// # Errors
    /// [`Error::Fenced`] at once; everything else is tried again, except in the last epoch.
    pub async fn run(
        mut self,
        queue: Arc<Queue>,
        mut sealed: mpsc::UnboundedReceiver<Sealed>,
        mut requests: FlushRequests,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<()> {
        let mut ticks = tokio::time::interval(self.options.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The sinks' bytes are looked at often and cheaply: a burst must not wait for the interval.
        let mut looks = tokio::time::interval(Duration::from_millis(100));
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut waiting = Vec::new();
            let is_last = tokio::select! {
                _ = ticks.tick() => false,
                _ = looks.tick() => {
                    if self.pending_bytes() < self.options.pending_bytes_max { continue }
                    false
                }
                Some(request) = requests.0.recv() => {
                    waiting.push(request);
                    while let Ok(request) = requests.0.try_recv() { waiting.push(request) }
                    false
                }
                _ = &mut stop => true,
            };
            let result = self.end_epoch(&queue, &mut sealed, is_last).await;
            let epoch = self.epoch;
            for request in waiting {
                // Whoever asked may have gone.
                let _ = request.send(if result.is_ok() { Ok(epoch) } else { Err(Error::Stopped) });
            }
            if is_last || result.is_err() {
                return result;
            }
        }
    }

    fn pending_bytes(&self) -> usize {
        self.sinks.iter().map(|sink| sink.pending_bytes()).sum()
    }

    async fn end_epoch(
        &mut self,
        queue: &Arc<Queue>,
        sealed: &mut mpsc::UnboundedReceiver<Sealed>,
        is_last: bool,
    ) -> Result<()> {
        if self.source.position() <= self.position {
            return Ok(());
        }
        let epoch = self.epoch.next();
        let pushed = tokio::task::spawn_blocking({
            let queue = queue.clone();
            move || queue.push(Message::Barrier(epoch))
        });
        if !pushed.await.unwrap_or(false) {
            return Err(Error::Stopped);
        }
        let sealed = sealed.recv().await.ok_or(Error::Stopped)?;
        debug_assert_eq!(sealed.epoch, epoch, "epochs are ended one at a time");
        let intent = loop {
            match self.prepare(&sealed).await {
                Ok(intent) => break intent,
                Err(error @ Error::Fenced { .. }) => return Err(error),
                Err(error) if is_last => return Err(error),
                Err(error) => self.retry_after(&error, epoch).await,
            }
        };
        loop {
            match self.roll_forward(&intent).await {
                Ok(()) => break,
                Err(error) if is_last => return Err(error),
                Err(error) => self.retry_after(&error, epoch).await,
            }
        }
        self.stats.completed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn retry_after(&self, error: &Error, epoch: Epoch) {
        self.stats.retried.fetch_add(1, Ordering::Relaxed);
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(epoch = epoch.0, %error, cause, "epoch waits and is tried again");
        tokio::time::sleep(self.options.retry).await;
    }

    async fn prepare(&self, sealed: &Sealed) -> Result<Intent> {
        let mut prepared = BTreeMap::new();
        for sink in &self.sinks {
            let value = sink.prepare(sealed.epoch).await.map_err(|source| Error::Sink {
                sink: sink.name().to_owned(),
                epoch: sealed.epoch,
                source,
            })?;
            prepared.insert(sink.name().to_owned(), value);
        }
        let node = self.intents.node();
        let intent = Intent::new(node, self.generation, sealed.epoch, sealed.position, sealed.marks.clone(), prepared);
        self.intents.decide(&intent).await?;
        Ok(intent)
    }

    /// Commits what `intent` decided; where that is done already, does nothing.
    async fn roll_forward(&mut self, intent: &Intent) -> Result<()> {
        let epoch = intent.epoch();
        for sink in &self.sinks {
            if let Some(prepared) = intent.prepared(sink.name()) {
                sink.commit(epoch, prepared).await.map_err(|source| Error::Sink {
                    sink: sink.name().to_owned(),
                    epoch,
                    source,
                })?;
            }
        }
        self.source.ack(intent.position()).await.map_err(Error::Source)?;
        self.intents.forget_before(epoch).await?;
        self.epoch = epoch;
        self.position = intent.position();
        self.stats.epoch.store(epoch.0, Ordering::Relaxed);
        Ok(())
    }
}

/// The coordinator's end of a [`FlushHandle`].
#[derive(Debug)]
pub struct FlushRequests(mpsc::Receiver<Flush>);

/// A pair of ends for flush requests.
pub fn flush_channel() -> (FlushHandle, FlushRequests) {
    let (sender, receiver) = mpsc::channel(64);
    (FlushHandle(sender), FlushRequests(receiver))
}
