//! One life of a server: the production parts, wired as the binary wires them, on simulated disk, store and time.

use crate::disk::{Fate, SimDisk};
use crate::executor::{Life, Sim, lock};
use crate::mutation::Mutation;
use crate::operators::{Number, Tag, Windows};
use crate::scenario::Scenario;
use crate::sink::{NUMBERED, RAW, SimTables, TAGGED};
use crate::store::{Cloud, SimStore};
use crate::world::World;
use async_trait::async_trait;
use bodkin_engine::{
    Batch, Coordinator, Engine, EngineOptions, EpochOptions, Error, FlushHandle, Graph, Inlet, IntentStore, Operator,
    OperatorSpec, Origin, Recovered, Run, SIDE_TOPIC, ShardCore, Sink, SinkError, Source, Step, Time, WATERMARK_TOPIC,
    WatermarkOptions, flush_channel,
};
use bodkin_ingest::{Downstream, IngestLimits, IngestService, IngestedBatch, LaneKey, LaneMark};
use bodkin_schema::{Clock, Position};
use bodkin_wal::{NoteFrame, Turn, Wal, WalDriver, WalOptions};
use object_store::ObjectStore;
use serde_json::Value;
use std::future::poll_fn;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;

/// Name of the node, the same in all lives.
pub(crate) const NODE: &str = "node";

/// A server that takes batches.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) life: Life,
    pub(crate) service: Arc<IngestService>,
    pub(crate) inlet: Arc<Inlet>,
    pub(crate) tables: Arc<SimTables>,
    pub(crate) flush: FlushHandle,
}

/// Where agents and queries find the server.
#[derive(Clone, Default)]
pub(crate) struct Gateway(Arc<Mutex<Option<Serving>>>);

impl Gateway {
    pub(crate) fn current(&self) -> Option<Serving> {
        lock(&self.0).clone()
    }

    pub(crate) fn set(&self, serving: Option<Serving>) {
        *lock(&self.0) = serving;
    }
}

/// What the lives of a node share.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) sim: Sim,
    pub(crate) world: World,
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) disk: SimDisk,
    pub(crate) cloud: Cloud,
    pub(crate) gateway: Gateway,
    pub(crate) skew: Arc<AtomicI64>,
}

/// How one life may end.
#[derive(Clone, Default)]
pub(crate) struct Ends {
    pub(crate) fate: Arc<Fate>,
    /// The process is gone, as its requests to the store see it.
    pub(crate) is_gone: Arc<AtomicBool>,
    /// It has slept while others went on.
    pub(crate) has_slept: Arc<AtomicBool>,
    /// It cannot go on, and says why.
    pub(crate) failure: Arc<Mutex<Option<String>>>,
}

impl Ends {
    pub(crate) fn has_failed(&self) -> bool {
        lock(&self.failure).is_some()
    }

    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    fn fail(&self, why: impl std::fmt::Display) {
        lock(&self.failure).get_or_insert(why.to_string());
    }
}

fn graph(mutation: Option<Mutation>) -> Graph {
    let streams = RAW.iter().chain(&[NUMBERED, TAGGED]).map(|stream| stream.name());
    let mut graph = Graph::of_streams(streams);
    let is_stale = mutation == Some(Mutation::StateIsStale);
    let number = move || Box::new(Number::new(is_stale)) as Box<dyn Operator>;
    let raw = &[RAW[0].name()];
    graph.add(OperatorSpec::new("number", Arc::new(number)).reads(raw).key(&["reason"]).stores(&[NUMBERED.name()]));
    let tag = OperatorSpec::new("tag", Arc::new(|| Box::<Tag>::default()));
    graph.add(tag.reads(raw).side_inputs(&["side"]).stores(&[TAGGED.name()]));
    let windows = OperatorSpec::new("windows", Arc::new(|| Box::<Windows>::default()));
    graph.add(windows.reads(raw).key(&["reason"]).stores(&[TAGGED.name()]));
    graph
}

/// Hands durable rows to the graph.
#[derive(Default)]
struct Feed(OnceLock<Arc<Inlet>>);

impl Downstream for Feed {
    fn push(&self, batch: IngestedBatch) {
        let IngestedBatch { tenant, lane, seq, ingest_time, position, records } = batch;
        if let Some(inlet) = self.0.get() {
            inlet.push(Batch::logged(Origin { lane, seq }, tenant, records, ingest_time, position));
        }
    }

    fn note(&self, position: Position, note: NoteFrame) {
        if let Some(inlet) = self.0.get() {
            inlet.note(position, &note.topic, &note.note);
        }
    }
}

struct LogSource {
    wal: Arc<Wal>,
    cloud: Cloud,
    mutation: Option<Mutation>,
}

#[async_trait]
impl Source for LogSource {
    async fn ack(&self, position: Position) -> Result<(), SinkError> {
        self.wal.trim(position)?;
        if self.mutation == Some(Mutation::NewestIntentIsDeleted) {
            self.cloud.delete_intents().await;
        }
        Ok(())
    }
}

/// Trims the log when files are prepared, as a mutation.
struct Hasty {
    tables: Arc<SimTables>,
    wal: Arc<Wal>,
    ends: Ends,
    world: World,
    life: Life,
    is_hasty: bool,
}

#[async_trait]
impl Sink for Hasty {
    fn name(&self) -> &str {
        self.tables.name()
    }

    fn write(&self, batch: Batch) {
        self.tables.write(batch);
    }

    fn seal(&self, epoch: bodkin_schema::Epoch) {
        self.tables.seal(epoch);
    }

    fn pending_bytes(&self) -> usize {
        self.tables.pending_bytes()
    }

    async fn prepare(&self, epoch: bodkin_schema::Epoch) -> Result<Value, SinkError> {
        if self.is_hasty {
            self.wal.trim(self.wal.durable())?;
        }
        self.tables.prepare(epoch).await
    }

    async fn commit(&self, epoch: bodkin_schema::Epoch, prepared: &Value) -> Result<(), SinkError> {
        let is_recovering = self.tables.is_recovering();
        self.tables.commit(epoch, prepared).await?;
        if !is_recovering && !self.ends.is_gone.load(Ordering::Relaxed) {
            self.world.completed(epoch.0, self.life.0);
        }
        Ok(())
    }

    async fn committed(&self) -> Result<Option<bodkin_schema::Epoch>, SinkError> {
        self.tables.committed().await
    }
}

impl Node {
    fn is(&self, mutation: Mutation) -> bool {
        self.scenario.mutation == Some(mutation)
    }

    /// Starts a life; it serves when it has recovered.
    pub(crate) fn start(&self, life: Life, shards: usize) -> Ends {
        let ends = Ends::default();
        ends.fate.failures.store(self.scenario.disk_failures, Ordering::Relaxed);
        let (node, told) = (self.clone(), ends.clone());
        self.sim.spawn(life, async move {
            if let Err(error) = node.live(life, shards, &told).await {
                told.fail(error);
            }
        });
        ends
    }

    async fn live(&self, life: Life, shards: usize, ends: &Ends) -> Result<(), SinkError> {
        let mutation = self.scenario.mutation;
        self.world.say(&self.sim, || format!("life {} starts with {shards} shards", life.0));
        let handle = self.cloud.handle(&self.sim, ends.is_gone.clone(), ends.has_slept.clone(), mutation);
        let store: Arc<dyn ObjectStore> = Arc::new(SimStore::clone(&handle));
        let tables = SimTables::open(store.clone(), NODE, life.0, mutation).await?;
        let intents = IntentStore::new(store, NODE);
        let floor = intents.newest().await?.map(|intent| intent.position()).unwrap_or_default();
        let options =
            WalOptions { segment_bytes: self.scenario.segment_bytes, group_bytes: 4096, queue_bytes: 1 << 20, floor };
        let clock: Arc<dyn Clock> = self.sim.clock(self.skew.clone());
        let disk = self.disk.handle(&self.sim, &ends.fate, &self.scenario);
        let (wal, driver) = Wal::open_driven(disk, Path::new("/wal"), options, clock.clone())?;
        let wal = Arc::new(wal);
        let source = Arc::new(LogSource { wal: wal.clone(), cloud: self.cloud.clone(), mutation });
        let sink = Hasty {
            tables: tables.clone(),
            wal: wal.clone(),
            ends: ends.clone(),
            world: self.world.clone(),
            life,
            is_hasty: self.is(Mutation::TrimmedBeforeDecision),
        };
        let sinks: Vec<Arc<dyn Sink>> = vec![Arc::new(sink)];
        let time = Time { clock: clock.clone(), timer: Arc::new(self.sim.clone()) };
        let interval = Duration::from_millis(self.scenario.epoch_ms);
        let epochs = EpochOptions { interval, pending_bytes_max: 1 << 20, retry: Duration::from_millis(200) };
        let (coordinator, mut recovered) = Coordinator::recover(intents, sinks.clone(), source, epochs, time).await?;
        tables.recovered();
        self.mutate(&mut recovered);
        let (inlet, cores, reports) =
            Engine::parts(&graph(mutation), &sinks, &recovered, self.engine_options(shards), clock.clone())?;
        for core in cores {
            let sim = self.sim.clone();
            self.sim.spawn(life, run_shard(sim, core));
        }
        let feed = Arc::new(Feed::default());
        // Set once: this life has one graph.
        let _ = feed.0.set(inlet.clone());
        let service = IngestService::new(wal.clone(), clock.clone(), IngestLimits::default(), feed);
        let (flush, requests) = flush_channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let run = Run { inlet: inlet.clone(), reports, requests, stop: stopped };
        let (told, world, sim) = (ends.clone(), self.world.clone(), self.sim.clone());
        self.sim.spawn(life, async move {
            let outcome = coordinator.run(run).await;
            drop(stop);
            world.say(&sim, || format!("epochs of life {} end: {outcome:?}", life.0));
            told.fail(outcome.err().unwrap_or(Error::Stopped));
        });
        self.replay(&service, &recovered)?;
        self.sim
            .spawn(life, drive(self.sim.clone(), driver, inlet.clone(), ends.clone(), self.cloud.clone(), wal.clone()));
        inlet.progress().caught_up().await;
        // Whoever slept through another life's acknowledgements answers nobody.
        let is_current = || !ends.has_slept.load(Ordering::Relaxed);
        if is_current() {
            self.world.check_query(&tables.snapshot(), &self.world.acked(), "ACK-1");
        }
        self.world.say(&self.sim, || format!("life {} serves from {}", life.0, recovered.position.0));
        let notes = Notes { node: self.clone(), wal, inlet: inlet.clone(), clock };
        let (compacting, sim, pace_us) = (tables.clone(), self.sim.clone(), 2000 * self.scenario.epoch_ms);
        self.sim.spawn(life, async move {
            loop {
                sim.pause(pace_us).await;
                // A conflict, or a store that is away: another time.
                let _ = compacting.compact(sim.below(4) as usize, sim.now()).await;
            }
        });
        self.sim.spawn(life, notes.clone().watch_clocks());
        self.sim.spawn(life, notes.put_side_inputs());
        if is_current() {
            self.gateway.set(Some(Serving { life, service, inlet, tables, flush }));
        }
        Ok(())
    }

    fn engine_options(&self, shards: usize) -> EngineOptions {
        let seconds = Duration::from_secs;
        EngineOptions {
            shards,
            queue_bytes_max: 8 << 10,
            exchange_bytes_max: self.scenario.exchange_bytes,
            memory_bytes_max: 8 << 20,
            watermarks: WatermarkOptions {
                lateness: seconds(5),
                idle_after: seconds(3),
                lag_max: seconds(20),
                ahead_max: seconds(3600),
                step: seconds(1),
            },
            may_block: false,
        }
    }

    fn mutate(&self, recovered: &mut Recovered) {
        if self.is(Mutation::StateIsNotRestored) {
            recovered.states.clear();
        }
        if self.is(Mutation::ReplayedFromTheBeginning) {
            (recovered.position, recovered.marks) = (Position(0), Vec::new());
        }
    }

    fn replay(&self, service: &Arc<IngestService>, from: &Recovered) -> Result<(), SinkError> {
        let mark = |mark: &bodkin_engine::Mark| LaneMark {
            key: LaneKey { tenant: mark.tenant(), lane: mark.lane() },
            seq: mark.seq(),
            last_ingest: mark.last_ingest(),
        };
        let report = service.replay(from.position, from.marks.iter().map(mark))?;
        self.world.say(&self.sim, || format!("replayed from {}: {report:?}", from.position.0));
        if report.quarantined_count > 0 {
            self.world.violate("ACK-1", format!("replay gave up frames: {:?}", report.quarantined));
        }
        Ok(())
    }
}

/// Steps a shard whenever it has something to do.
async fn run_shard(sim: Sim, mut core: ShardCore) {
    let signal = core.signal().clone();
    loop {
        let seen = signal.seen();
        match core.step() {
            // A thread that the operating system forgot for a while: the others go on meanwhile.
            Step::Worked if sim.chance(15) => sim.pause(1_500_000).await,
            Step::Worked if sim.chance(100) => sim.pause(20_000).await,
            Step::Worked => yield_now().await,
            Step::Idle => signal.changed(seen).await,
            Step::Ended => return,
        }
    }
}

/// Lets every other task run first.
async fn yield_now() {
    let mut is_first = true;
    poll_fn(|context| {
        if std::mem::take(&mut is_first) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// Takes the turns of the log's writer.
async fn drive(sim: Sim, mut driver: WalDriver, inlet: Arc<Inlet>, ends: Ends, cloud: Cloud, wal: Arc<Wal>) {
    while driver.ready().await {
        while !inlet.has_room(1 << 10) {
            sim.sleep(Duration::from_millis(1)).await;
        }
        sim.pause(5000).await;
        if driver.turn() == Turn::Ended {
            return ends.fail("the log takes no more frames");
        }
        *lock(&cloud.ahead) = Some(wal.durable().0);
    }
}

/// What goes into the log besides rows.
#[derive(Clone)]
struct Notes {
    node: Node,
    wal: Arc<Wal>,
    inlet: Arc<Inlet>,
    clock: Arc<dyn Clock>,
}

impl Notes {
    async fn watch_clocks(self) {
        loop {
            self.node.sim.pause(2_000_000).await;
            if let Some(note) = self.inlet.decide_watermark() {
                let value = serde_json::to_value(note).unwrap_or_default();
                let is_logged = !self.node.is(Mutation::ClockIsNotLogged);
                self.put(WATERMARK_TOPIC.to_owned(), value, is_logged).await;
            }
        }
    }

    async fn put_side_inputs(self) {
        loop {
            self.node.sim.pause(3_000_000).await;
            let known = self.inlet.side_input("side").and_then(|input| input.value.as_i64()).unwrap_or_default();
            let value = known.max(self.node.world.side()) + 1;
            let is_logged = !self.node.is(Mutation::SideInputIsNotLogged);
            if self.put(format!("{SIDE_TOPIC}side"), value.into(), is_logged).await {
                self.node.world.side_acked(value);
            }
        }
    }

    /// Logs a note, then applies it in the order of the log; whether it is durable.
    async fn put(&self, topic: String, note: Value, is_logged: bool) -> bool {
        if !is_logged {
            self.inlet.note(self.inlet.position(), &topic, &note);
            return true;
        }
        let frame = NoteFrame { ingest_time: self.clock.now(), topic, note };
        let Ok(encoded) = frame.encode() else { return false };
        let Ok(slot) = self.wal.slot(encoded).await else { return false };
        let inlet = self.inlet.clone();
        let apply = move |outcome: bodkin_wal::Result<Position>| {
            if let Ok(position) = outcome {
                inlet.note(position, &frame.topic, &frame.note);
            }
        };
        slot.send(Some(Box::new(apply))).await.is_ok()
    }
}
