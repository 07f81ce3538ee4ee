//! One decision per epoch: barrier, prepare, intent, commit, trim.
//!
//! ```text
//!   shards    --- rows --- | barrier e | --- rows of e+1 ---
//!   sinks                    seal -> prepare (upload)     commit (table logs)
//!   intents                         states, decide e ^                              forget < e
//!   source                                                             ack(position of e)
//! ```
//! Before `decide` nothing of the epoch counts and a restart does it again from the log; after it, everything does
//! and a restart rolls forward (ONCE-2).

use crate::intent::{SinkState, pieces};
use crate::runtime::{Cut, Inlet, OperatorState, Recovered, Report};
use crate::state::{Key, Place};
use crate::{Error, Intent, IntentStore, Result, Sink, Source, Timer, causes};
use bodkin_schema::{Clock, Epoch, Incarnation, Position};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The sinks' bytes are looked at so often: a burst must not wait for the interval.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

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
        Self { interval: Duration::from_secs(10), pending_bytes_max: 64 << 20, retry: Duration::from_secs(1) }
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

/// Where time comes from and passes.
#[derive(Clone, Debug)]
pub struct Time {
    /// What it is.
    pub clock: Arc<dyn Clock>,
    /// Lets it pass.
    pub timer: Arc<dyn Timer>,
}

/// Runs the epochs of one node.
pub struct Coordinator {
    intents: IntentStore,
    generation: Incarnation,
    sinks: Vec<Arc<dyn Sink>>,
    source: Arc<dyn Source>,
    options: EpochOptions,
    time: Time,
    stats: Arc<EpochStats>,
    epoch: Epoch,
    position: Position,
    /// Where the state of the last epoch lies.
    places: BTreeMap<Key, Place>,
}

impl std::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator")
            .field("epoch", &self.epoch)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// What a coordinator works with while it runs.
#[derive(Debug)]
pub struct Run {
    /// Where barriers go in.
    pub inlet: Arc<Inlet>,
    /// What shards say at barriers.
    pub reports: mpsc::UnboundedReceiver<Report>,
    /// Requests for the end of an epoch.
    pub requests: FlushRequests,
    /// Fires when the last epoch is to end.
    pub stop: oneshot::Receiver<()>,
}

impl Coordinator {
    /// Finishes what the node's last process has decided: its newest intent is committed to every sink. Returns the
    /// coordinator, which continues after it, and where the engine has to go on.
    ///
    /// # Errors
    /// Where the intent or a state cannot be read, or a sink cannot commit.
    pub async fn recover(
        intents: IntentStore,
        sinks: Vec<Arc<dyn Sink>>,
        source: Arc<dyn Source>,
        options: EpochOptions,
        time: Time,
    ) -> Result<(Self, Recovered)> {
        let newest = intents.newest().await?;
        // Later than the last life's even if the clock was set back.
        let last = newest.as_ref().map_or(0, |intent| intent.generation().0);
        let generation = Incarnation((time.clock.now().micros().max(0) as u64).max(last.saturating_add(1)));
        let mut coordinator = Self {
            intents,
            generation,
            sinks,
            source,
            options,
            time,
            stats: Arc::default(),
            epoch: Epoch(0),
            position: Position(0),
            places: BTreeMap::new(),
        };
        let Some(intent) = newest else { return Ok((coordinator, Recovered::default())) };
        coordinator.roll_forward(&intent).await?;
        let (recovered, of_sinks) = coordinator.intents.recovered(&intent).await?;
        for SinkState { sink: name, part, state } in of_sinks {
            match coordinator.sinks.iter().find(|sink| sink.name() == name) {
                Some(sink) => sink.restore(&part, &state).map_err(|source| failed(sink, intent.epoch(), source))?,
                None => tracing::warn!(sink = name, part, "the state of a sink that is gone is dropped"),
            }
        }
        Ok((coordinator, recovered))
    }

    /// Where the log must be replayed from.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The life of the node that it is.
    pub fn generation(&self) -> Incarnation {
        self.generation
    }

    /// Its counters.
    pub fn stats(&self) -> Arc<EpochStats> {
        self.stats.clone()
    }

    /// Runs epochs until it is stopped, then one last epoch.
    ///
    /// # Errors
    /// [`Error::Fenced`] and [`Error::Panicked`] at once; everything else is tried again until it is stopped.
    pub async fn run(mut self, mut run: Run) -> Result<()> {
        let timer = self.time.timer.clone();
        let mut tick = timer.sleep(self.options.interval);
        loop {
            let mut waiting = Vec::new();
            let is_last = tokio::select! {
                biased;
                _ = &mut run.stop => true,
                Some(request) = run.requests.0.recv() => {
                    waiting.push(request);
                    while let Ok(request) = run.requests.0.try_recv() { waiting.push(request) }
                    false
                }
                // Between barriers only the end of a shard is reported.
                report = run.reports.recv() => return Err(report.and_then(std::result::Result::err).unwrap_or(Error::Stopped)),
                () = &mut tick => false,
                () = timer.sleep(LOOK_INTERVAL) => {
                    if self.pending_bytes() < self.options.pending_bytes_max { continue }
                    false
                }
            };
            let result = self.end_epoch(&mut run, is_last).await;
            let epoch = self.epoch;
            for request in waiting {
                // Whoever asked may have gone.
                let _ = request.send(if result.is_ok() { Ok(epoch) } else { Err(Error::Stopped) });
            }
            if is_last || result.is_err() {
                return result;
            }
            tick = timer.sleep(self.options.interval);
        }
    }

    fn pending_bytes(&self) -> usize {
        self.sinks.iter().map(|sink| sink.pending_bytes()).sum()
    }

    async fn end_epoch(&mut self, run: &mut Run, mut is_last: bool) -> Result<()> {
        if !run.inlet.has_substance_after(self.position) {
            return Ok(());
        }
        let started = self.time.clock.monotonic();
        let epoch = self.epoch.next();
        let cut = run.inlet.barrier(epoch);
        let mut states = Vec::new();
        for _ in 0..run.inlet.shards() {
            let sealed = run.reports.recv().await.ok_or(Error::Stopped)??;
            debug_assert_eq!(sealed.epoch, epoch, "epochs are ended one at a time");
            states.extend(sealed.states);
        }
        self.sinks.iter().for_each(|sink| sink.seal(epoch));
        let intent = loop {
            match self.prepare(&cut, &states).await {
                Ok(intent) => break intent,
                Err(error) => self.again(error, epoch, run, &mut is_last).await?,
            }
        };
        // The same intent for every attempt: one whose answer was lost may have been stored.
        while let Err(error) = self.decide(&intent).await {
            self.again(error, epoch, run, &mut is_last).await?;
        }
        while let Err(error) = self.roll_forward(&intent).await {
            self.again(error, epoch, run, &mut is_last).await?;
        }
        run.inlet.freed();
        self.stats.completed.fetch_add(1, Ordering::Relaxed);
        let took = self.time.clock.monotonic().saturating_sub(started);
        self.stats.duration_us_last.store(took.as_micros() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Waits before a step is tried again; gives the error back where it is not.
    async fn again(&self, error: Error, epoch: Epoch, run: &mut Run, is_last: &mut bool) -> Result<()> {
        if *is_last || matches!(error, Error::Fenced { .. }) {
            return Err(error);
        }
        self.stats.retried.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(epoch = epoch.0, %error, cause = causes(&error), "epoch waits and is tried again");
        tokio::select! {
            biased;
            // One more attempt, then the process ends.
            _ = &mut run.stop => *is_last = true,
            () = self.time.timer.sleep(self.options.retry) => {}
        }
        Ok(())
    }

    async fn prepare(&self, cut: &Cut, states: &[OperatorState]) -> Result<Intent> {
        let (mut prepared, mut of_sinks) = (BTreeMap::new(), Vec::new());
        for sink in &self.sinks {
            let value = sink.prepare(cut.epoch).await.map_err(|source| failed(sink, cut.epoch, source))?;
            prepared.insert(sink.name().to_owned(), value);
            let parts = sink.state(cut.epoch).map_err(|source| failed(sink, cut.epoch, source))?;
            let of_part = |(part, state)| SinkState { sink: sink.name().to_owned(), part, state };
            of_sinks.extend(parts.into_iter().map(of_part));
        }
        let pieces = pieces(cut, states, of_sinks)?;
        let states = self.intents.states();
        let places = states.write(cut.epoch, self.generation, &pieces, &self.places).await?;
        Ok(Intent::new(self.intents.node(), self.generation, cut.clone(), &places, prepared))
    }

    async fn decide(&self, intent: &Intent) -> Result<()> {
        let epoch = intent.epoch();
        for sink in &self.sinks {
            let committed = sink.committed().await.map_err(|source| failed(sink, epoch, source))?;
            if committed >= Some(epoch) {
                return Err(Error::Fenced { node: self.intents.node().to_owned(), epoch });
            }
        }
        self.intents.decide(intent).await
    }

    /// Commits what `intent` decided; where that is done already, does nothing.
    async fn roll_forward(&mut self, intent: &Intent) -> Result<()> {
        let epoch = intent.epoch();
        for sink in &self.sinks {
            if let Some(prepared) = intent.prepared(sink.name()) {
                sink.commit(epoch, prepared).await.map_err(|source| failed(sink, epoch, source))?;
            }
        }
        self.source.ack(intent.position()).await.map_err(Error::Source)?;
        self.intents.forget_before(intent).await?;
        self.epoch = epoch;
        self.position = intent.position();
        self.places = intent.places();
        self.stats.epoch.store(epoch.0, Ordering::Relaxed);
        Ok(())
    }
}

fn failed(sink: &Arc<dyn Sink>, epoch: Epoch, source: crate::SinkError) -> Error {
    Error::Sink { sink: sink.name().to_owned(), epoch, source }
}

/// The coordinator's end of a [`FlushHandle`].
#[derive(Debug)]
pub struct FlushRequests(mpsc::Receiver<Flush>);

/// A pair of ends for flush requests.
pub fn flush_channel() -> (FlushHandle, FlushRequests) {
    let (sender, receiver) = mpsc::channel(64);
    (FlushHandle(sender), FlushRequests(receiver))
}
