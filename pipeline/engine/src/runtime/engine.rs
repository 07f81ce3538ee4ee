//! Shards on threads.

use super::OperatorState;
use super::inlet::{Inlet, Start};
use super::level::Level;
use super::shard::{Counts, Progress, Report, ShardCore};
use super::stats::{Figures, NodeStats, ShardStats};
use super::tap::{Tap, TapError, Taps};
use crate::graph::{Graph, GraphStatus, NodeKind, NodeStatus, Plan, Target};
use crate::queue::tell;
use crate::watermark::{WatermarkOptions, WatermarkState, Watermarks};
use crate::{Budget, Error, KEY_GROUPS, Mark, Message, Queue, Result, SideInput, Signal, Sink};
use bodkin_schema::{Clock, Epoch, EventTime, Position};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Sizes of an engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Threads that run the graph, at most one for each key group.
    pub shards: usize,
    /// Bytes in front of each shard.
    pub queue_bytes_max: usize,
    /// Bytes between each two shards.
    pub exchange_bytes_max: usize,
    /// Bytes of all rows in memory: in queues, and in sinks until they are committed.
    pub memory_bytes_max: usize,
    /// How watermarks move.
    pub watermarks: WatermarkOptions,
    /// Whoever brings rows waits while there is no room. Without it they have to look at [`Inlet::has_room`] first.
    pub may_block: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            shards: std::thread::available_parallelism().map_or(1, usize::from),
            queue_bytes_max: 32 << 20,
            exchange_bytes_max: 8 << 20,
            memory_bytes_max: 512 << 20,
            watermarks: WatermarkOptions::default(),
            may_block: true,
        }
    }
}

/// Where an engine goes on: what the newest intent says.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The newest epoch that is decided.
    pub epoch: Epoch,
    /// Where the log must be replayed from.
    pub position: Position,
    /// The deduplication marks there.
    pub marks: Vec<Mark>,
    /// The watermark there.
    pub watermarks: WatermarkState,
    /// The side inputs there.
    pub side_inputs: Vec<SideInput>,
    /// The states of the operators there.
    pub states: Vec<OperatorState>,
}

/// A running graph. Dropping it ends the threads after what they have taken.
pub struct Engine {
    inlet: Arc<Inlet>,
    sinks: Vec<Arc<dyn Sink>>,
    reports: mpsc::UnboundedSender<Report>,
    options: EngineOptions,
    taps: Arc<Taps>,
    running: Mutex<Running>,
}

struct Running {
    plan: Arc<Plan>,
    stats: Vec<Arc<ShardStats>>,
    /// By level, the first one left out.
    exchanges: Vec<Vec<Arc<Queue>>>,
    threads: Vec<JoinHandle<ShardCore>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The parts of an engine before they are put on threads.
struct Built {
    cores: Vec<ShardCore>,
    queues: Vec<Arc<Queue>>,
    exchanges: Vec<Vec<Arc<Queue>>>,
    stats: Vec<Arc<ShardStats>>,
}

/// What all shards share.
struct Shared<'a> {
    plan: &'a Arc<Plan>,
    sinks: &'a [Arc<dyn Sink>],
    taps: &'a Arc<Taps>,
    progress: &'a Progress,
    reports: &'a mpsc::UnboundedSender<Report>,
    options: &'a EngineOptions,
}

impl Engine {
    /// Starts the graph where `from` says. What shards say at barriers comes out of the receiver.
    ///
    /// # Errors
    /// [`Error::Graph`], [`Error::State`] where an operator does not take its state, [`Error::Thread`].
    pub fn start(
        graph: &Graph,
        sinks: Vec<Arc<dyn Sink>>,
        from: &Recovered,
        options: EngineOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Report>)> {
        let plan = Arc::new(Plan::new(graph)?);
        let (inlet, built, taps, reports, receiver) = assemble(&plan, &sinks, from, &options, clock)?;
        let threads = spawn(built.cores)?;
        let running = Running { plan, stats: built.stats, exchanges: built.exchanges, threads };
        Ok((Self { inlet, sinks, reports, options, taps, running: Mutex::new(running) }, receiver))
    }

    /// The inlet and the shards without threads: whoever calls this steps the shards.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn parts(
        graph: &Graph,
        sinks: &[Arc<dyn Sink>],
        from: &Recovered,
        options: EngineOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Inlet>, Vec<ShardCore>, mpsc::UnboundedReceiver<Report>)> {
        let plan = Arc::new(Plan::new(graph)?);
        let (inlet, built, _, _, receiver) = assemble(&plan, sinks, from, &options, clock)?;
        Ok((inlet, built.cores, receiver))
    }

    /// Where rows come in.
    pub fn inlet(&self) -> &Arc<Inlet> {
        &self.inlet
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.inlet.progress().counts.len()
    }

    /// Goes on with another graph. Everything that was taken is finished by the old one; operators of the same name
    /// keep their state, where they take it. Blocks for as long as that takes, and everything else with it.
    ///
    /// # Errors
    /// [`Error::Graph`], and nothing has changed; [`Error::State`] and [`Error::Thread`], after which the process has to
    /// be started anew.
    pub fn reload(&self, graph: &Graph) -> Result<()> {
        let plan = Arc::new(Plan::new(graph)?);
        let mut running = self.lock();
        let mut outcome = Ok(());
        self.inlet.replace(|| {
            let cores: Vec<_> = running.threads.drain(..).filter_map(|thread| thread.join().ok()).collect();
            let epoch = cores.iter().flat_map(|core| core.levels.iter().map(|level| level.epoch)).max();
            let states: Vec<_> = cores.into_iter().flat_map(ShardCore::into_states).collect();
            let shared = Shared {
                plan: &plan,
                sinks: &self.sinks,
                taps: &self.taps,
                progress: self.inlet.progress(),
                reports: &self.reports,
                options: &self.options,
            };
            let mut built = build(&shared, epoch.unwrap_or_default());
            let known = |state: &&OperatorState| plan.nodes.iter().any(|node| *node.name == state.operator);
            outcome = restore(&mut built.cores, states.iter().filter(known));
            match spawn(built.cores) {
                Ok(threads) => running.threads = threads,
                Err(error) => outcome = Err(error),
            }
            (running.plan, running.stats, running.exchanges) = (plan.clone(), built.stats, built.exchanges);
            built.queues
        });
        outcome
    }

    /// Live rows of a node: of a stream as it comes in, of an operator as it emits.
    ///
    /// # Errors
    /// [`TapError`].
    pub fn tap(&self, node: &str) -> std::result::Result<Tap, TapError> {
        let running = self.lock();
        let nodes =
            || running.plan.nodes.iter().map(|node| &*node.name).chain(running.plan.sources.keys().map(|s| &**s));
        if !nodes().any(|name| name == node) {
            let nodes = nodes().filter(|name| !name.contains('@')).collect::<Vec<_>>().join(", ");
            return Err(TapError::NoNode { name: node.to_owned(), nodes });
        }
        self.taps.open(node)
    }

    /// The graph and its figures; rates are left to whoever asks twice.
    pub fn status(&self, now: EventTime) -> GraphStatus {
        let running = self.lock();
        let plan = &running.plan;
        let mut nodes = Vec::new();
        for stream in plan.sources.keys() {
            let figures = running.sum(|stats| stats.streams.get(stream).map(|(source, _)| source));
            let queue_bytes = self.inlet.queue_bytes() as u64;
            nodes.push(NodeStatus { queue_bytes, ..status(stream, NodeKind::Source, "stream", figures, now) });
        }
        for (index, node) in plan.nodes.iter().enumerate() {
            let is_read = |target: &Target| matches!(target, Target::Node(to) | Target::Exchange { node: to, .. } if *to == index);
            let queues = node.level.checked_sub(1).and_then(|level| running.exchanges.get(level));
            let queue_bytes: usize = queues.into_iter().flatten().map(|queue| queue.bytes()).sum();
            nodes.push(NodeStatus {
                reads: plan.readers(is_read),
                key: node.key.to_vec(),
                queue_bytes: queue_bytes as u64,
                ..status(&node.name, NodeKind::Operator, &node.kind, running.sum(|stats| stats.nodes.get(index)), now)
            });
        }
        for table in plan.sources.keys() {
            let is_stored = |target: &Target| matches!(target, Target::Store(to) | Target::Feed(to) if to == table);
            let figures = running.sum(|stats| stats.streams.get(table).map(|(_, table)| table));
            let reads = plan.readers(is_stored);
            nodes.push(NodeStatus {
                reads,
                ..status(&format!("table:{table}"), NodeKind::Table, "table", figures, now)
            });
        }
        GraphStatus { shards: running.stats.len(), nodes }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.inlet.drain();
        for thread in std::mem::take(&mut self.lock().threads) {
            if thread.join().is_err() {
                tracing::error!("a shard panicked");
            }
        }
        self.taps.close();
    }
}

impl Running {
    fn sum<'a>(&'a self, pick: impl Fn(&'a ShardStats) -> Option<&'a NodeStats>) -> Figures {
        self.stats.iter().filter_map(|stats| pick(stats)).map(NodeStats::figures).fold(Figures::default(), Figures::and)
    }
}

fn status(name: &str, kind: NodeKind, does: &str, figures: Figures, now: EventTime) -> NodeStatus {
    NodeStatus {
        name: name.to_owned(),
        kind,
        does: does.to_owned(),
        reads: Vec::new(),
        key: Vec::new(),
        rows_in: figures.rows_in,
        rows_out: figures.rows_out,
        rows_per_second: 0.0,
        lag_ms: figures.newest.map(|newest| now.0.saturating_sub(newest.0).max(0) / 1000),
        watermark_us: figures.watermark.map(EventTime::micros),
        state_bytes: figures.state_bytes,
        queue_bytes: 0,
    }
}

type Assembled = (Arc<Inlet>, Built, Arc<Taps>, mpsc::UnboundedSender<Report>, mpsc::UnboundedReceiver<Report>);

fn assemble(
    plan: &Arc<Plan>,
    sinks: &[Arc<dyn Sink>],
    from: &Recovered,
    options: &EngineOptions,
    clock: Arc<dyn Clock>,
) -> Result<Assembled> {
    let shards = options.shards.clamp(1, KEY_GROUPS);
    let progress = Progress { counts: (0..shards).map(|_| Counts::default()).collect(), done: Arc::default() };
    let (reports, receiver) = mpsc::unbounded_channel();
    let taps = Arc::new(Taps::default());
    let shared = Shared { plan, sinks, taps: &taps, progress: &progress, reports: &reports, options };
    let watermarks = Watermarks::new(options.watermarks, &from.watermarks, clock.monotonic());
    let mut built = build(&shared, from.epoch.next());
    let reached = watermarks.told();
    restore(&mut built.cores, &from.states)?;
    let budget = Budget::new(options.memory_bytes_max);
    budget.watch(sinks);
    let start = Start { position: from.position, marks: &from.marks, watermarks, side_inputs: &from.side_inputs };
    let inlet = Inlet::new(built.queues.clone(), start, progress, budget, clock, options.may_block);
    for input in &from.side_inputs {
        tell(&built.queues, &Message::Side(input.clone()));
    }
    if let Some(time) = reached {
        tell(&built.queues, &Message::Watermark(time));
    }
    Ok((Arc::new(inlet), built, taps, reports, receiver))
}

/// Makes the shards and the queues between them.
fn build(shared: &Shared<'_>, epoch: Epoch) -> Built {
    let shards = shared.progress.counts.len();
    let signals: Vec<Arc<Signal>> = (0..shards).map(|_| Arc::default()).collect();
    let in_front =
        |shard: &Arc<Signal>| Arc::new(Queue::new(shared.options.queue_bytes_max, shard.clone(), Arc::default()));
    let queues: Vec<_> = signals.iter().map(in_front).collect();
    // exchanges[level][from * shards + to]
    let exchange = |from: usize, to: usize| {
        Arc::new(Queue::new(shared.options.exchange_bytes_max, signals[to].clone(), signals[from].clone()))
    };
    let all = || (0..shards * shards).map(|pair| exchange(pair / shards, pair % shards)).collect::<Vec<_>>();
    let exchanges: Vec<Vec<Arc<Queue>>> = (1..shared.plan.levels.len()).map(|_| all()).collect();
    let stats: Vec<_> = (0..shards).map(|_| ShardStats::new(shared.plan)).collect();
    let level = |shard: usize, index: usize| {
        let inputs = match index.checked_sub(1).and_then(|level| exchanges.get(level)) {
            Some(exchange) => (0..shards).map(|from| exchange[from * shards + shard].clone()).collect(),
            None => vec![queues[shard].clone()],
        };
        let outputs = exchanges
            .get(index)
            .map_or_else(Vec::new, |exchange| (0..shards).map(|to| exchange[shard * shards + to].clone()).collect());
        Level::new(shared.plan, shared.plan.levels[index].clone(), inputs, outputs, epoch)
    };
    let core = |shard: usize| ShardCore {
        shard,
        plan: shared.plan.clone(),
        levels: (0..shared.plan.levels.len()).map(|index| level(shard, index)).collect(),
        sinks: shared.sinks.to_vec(),
        taps: shared.taps.clone(),
        stats: stats[shard].clone(),
        signal: signals[shard].clone(),
        progress: shared.progress.clone(),
        reports: shared.reports.clone(),
        states: Vec::new(),
        unkeyed: 0,
        is_ended: false,
    };
    Built { cores: (0..shards).map(core).collect(), queues, exchanges, stats }
}

/// Hands each state to the operator on the shard that owns its group. One whose operator is gone is let go.
fn restore<'a>(cores: &mut [ShardCore], states: impl IntoIterator<Item = &'a OperatorState>) -> Result<()> {
    let shards = cores.len();
    for state in states {
        let Some(core) = cores.get_mut(state.group.shard(shards)) else { continue };
        let failed = |source| Error::State { operator: state.operator.clone(), source };
        let mut is_taken = false;
        for level in &mut core.levels {
            is_taken |= level.restore(state).map_err(failed)?;
        }
        if !is_taken {
            tracing::warn!(operator = state.operator, "the graph has no such operator any more: its state is dropped");
        }
    }
    Ok(())
}

fn spawn(cores: Vec<ShardCore>) -> Result<Vec<JoinHandle<ShardCore>>> {
    let thread = |core: ShardCore| {
        let name = format!("shard-{}", core.shard());
        std::thread::Builder::new().name(name).spawn(move || core.run()).map_err(Error::Thread)
    };
    cores.into_iter().map(thread).collect()
}
