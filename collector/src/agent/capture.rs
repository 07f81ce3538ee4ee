//! The thread that makes rows of `events`, and of `drops` once a second.

use super::exclusions::Exclusions;
use super::flows::Flows;
use super::metrics::push as push_metrics;
use super::status::Shared;
use super::waiting::Waiting;
use crate::batcher::{Batcher, FlushRule};
use crate::containers::{Containers, Lookup};
use crate::events::{EventsBuilder, Origin, SocketTable};
use crate::fallback::{INTERVAL, ProcPoller};
use crate::host_names::HostNames;
use crate::losses::{Losses, reason};
use crate::probe::{Loss, Probe, ProbeConfig, clock};
use crate::process::users::Users;
use crate::process::{Limits, ProcFs, ProcessTable, container};
use crate::spool::Spool;
use crate::syscall_stats::SyscallStats;
use crate::{Error, Result};
use bodkin_ebpf::Event;
use bodkin_ebpf::event::Body;
use bodkin_ebpf::syscall::CallSet;
use bodkin_schema::{Clock, Stream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Shortest and longest time between two looks into the rings. A ring that is a quarter full ends a pause early.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(32);

/// Events of one look from which on the next comes sooner, and up to which it comes later: a look costs as much as some
/// dozens of events.
const EVENTS_BUSY: u64 = 256;
const EVENTS_QUIET: u64 = 64;

/// Events of one look from which on the next comes at once: more than a quarter of the default ring came meanwhile.
const EVENTS_FLOOD: u64 = 4_096;

/// Time between two rounds of upkeep.
const UPKEEP: Duration = Duration::from_secs(1);

/// Rounds of upkeep between two comparisons of the process table with `/proc`.
const SWEEP_ROUNDS: u64 = 30;

/// Rounds of upkeep between two readings of the counts of system calls.
const SYSCALL_ROUNDS: u64 = 10;

/// Rounds of upkeep between two readings of the conversations that last.
const FLOW_ROUNDS: u64 = 10;

/// Rounds of upkeep between two batches of `drops` while the server is away: they take room in the spool.
const DROPS_ROUNDS_OFFLINE: u64 = 60;

/// Where events come from.
#[derive(Debug)]
pub(super) enum Source {
    Kernel(Box<Probe>),
    Poll(ProcPoller),
}

impl Source {
    pub(super) fn poll() -> Self {
        Self::Poll(ProcPoller::new(ProcFs::default(), std::process::id()))
    }
}

/// What the thread shares with others.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) spool: Arc<Spool>,
    pub(super) losses: Arc<Losses>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) names: HostNames,
}

/// The running thread; dropping the handle ends it.
#[derive(Debug)]
pub(super) struct Handle {
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Tells the thread to take what is left and end.
    pub(super) fn stop(mut self) -> Option<JoinHandle<()>> {
        self.tell();
        self.thread.take()
    }

    fn tell(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Starts the thread.
pub(super) fn start(source: Source, origin: Origin, containers: Containers, context: Context) -> Result<Handle> {
    let is_stopping = Arc::new(AtomicBool::new(false));
    let stop = is_stopping.clone();
    let spawned = std::thread::Builder::new().name("bodkin-events".into()).spawn(move || {
        let mut capture = Capture::new(origin, containers, context);
        match source {
            Source::Kernel(probe) => capture.run_kernel(*probe, &stop),
            Source::Poll(poller) => capture.run_poll(poller, &stop),
        }
        let waiting = capture.waiting.take_all();
        waiting.into_iter().for_each(|builder| capture.push(builder));
        capture.flush();
        capture.flows.flush(&capture.context);
        capture.context.spool.tell_losses(&capture.host_id);
    });
    let thread = spawned.map_err(Error::io(Path::new("bodkin-events"), "start thread"))?;
    Ok(Handle { is_stopping, thread: Some(thread) })
}

struct Capture {
    table: ProcessTable,
    sockets: SocketTable,
    containers: Containers,
    /// Rows of containers that runtimes are being asked about.
    waiting: Waiting,
    builder: EventsBuilder,
    batcher: Batcher,
    host_id: Arc<str>,
    context: Context,
    wall_offset_ns: i64,
    rows: u64,
    rows_told: u64,
    upkeep_at: Duration,
    rounds: u64,
    syscalls: SyscallStats,
    flows: Flows,
    exclusions: Exclusions,
}

impl Capture {
    fn new(origin: Origin, containers: Containers, context: Context) -> Self {
        let users = Users::open("/etc/passwd");
        let syscalls = SyscallStats::new(&origin.host);
        let flows = Flows::new(&origin);
        Self {
            table: ProcessTable::new(Limits::default(), ProcFs::default(), users),
            sockets: SocketTable::default(),
            host_id: origin.host_id.clone(),
            waiting: Waiting::new(origin.clone()),
            builder: EventsBuilder::new(origin),
            containers,
            batcher: Batcher::new(FlushRule::default()),
            wall_offset_ns: clock::wall_offset_ns(),
            rows: 0,
            rows_told: 0,
            upkeep_at: context.clock.monotonic() + UPKEEP,
            rounds: 0,
            syscalls,
            flows,
            exclusions: Exclusions::default(),
            context,
        }
    }

    fn run_kernel(&mut self, mut probe: Probe, stop: &AtomicBool) {
        let (mut pause, mut delivered) = (PAUSE_MIN, 0);
        // After the programs were attached: what starts from now on comes as an event, nothing is missed between.
        self.know_processes(&mut probe);
        self.reconfigure(&mut probe);
        // What was moved before is not told.
        self.flows.read(&mut probe, &self.table, &self.context, self.wall_offset_ns);
        while !stop.load(Ordering::Relaxed) {
            let rows = probe.rows().clone();
            let drained = probe.drain(&mut |event| self.add(event, &rows));
            self.exclusions.apply(&mut probe);
            self.settle();
            self.flush_if_due();
            pause = next_pause(pause, drained.delivered);
            delivered += drained.delivered;
            if self.is_upkeep_due() {
                match probe.losses() {
                    Ok(losses) => self.count(&losses),
                    Err(error) => tracing::warn!(%error, "losses of the kernel side are unknown"),
                }
                self.upkeep();
                self.reconfigure(&mut probe);
                self.exclusions.look_again(&mut probe);
                if self.rounds.is_multiple_of(SYSCALL_ROUNDS) {
                    self.count_syscalls(&mut probe);
                }
                if self.rounds.is_multiple_of(FLOW_ROUNDS) {
                    self.flows.read(&mut probe, &self.table, &self.context, self.wall_offset_ns);
                }
            }
            let pause = if drained.delivered >= EVENTS_FLOOD { Duration::ZERO } else { pause };
            if let Err(error) = probe.wait(pause) {
                tracing::warn!(%error, "cannot wait for the kernel side");
                std::thread::sleep(PAUSE_MAX);
            }
        }
        let rows = probe.rows().clone();
        self.flows.read(&mut probe, &self.table, &self.context, self.wall_offset_ns);
        match probe.finish(&mut |event| self.add(event, &rows)) {
            Ok(ending) => {
                self.count(&ending.losses);
                delivered += ending.drained.delivered;
                let totals = ending.totals;
                tracing::info!(
                    offered = totals.offered(),
                    sent = totals.sent(),
                    lost = totals.lost(),
                    delivered,
                    "events of the kernel"
                );
            }
            Err(error) => tracing::warn!(%error, "losses of the kernel side are unknown"),
        }
    }

    /// Learns of the processes that are there: from the kernel, or where it does not list them from `/proc`.
    fn know_processes(&mut self, probe: &mut Probe) {
        let table = &mut self.table;
        match probe.processes(&mut |event| table.adopt(event)) {
            Ok(processes) => tracing::debug!(processes, "the kernel has listed the processes"),
            Err(error) => tracing::info!(%error, "processes are read from /proc"),
        }
        self.table.scan();
        self.context.shared.set_processes(self.table.stats());
    }

    fn run_poll(&mut self, mut poller: ProcPoller, stop: &AtomicBool) {
        self.table.scan();
        self.context.shared.set_processes(self.table.stats());
        while !stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(INTERVAL);
            let (builder, offset, rows) = (&mut self.builder, self.wall_offset_ns, &mut self.rows);
            poller.poll(clock::boot_ns(), &mut self.table, &mut |head, name, table| {
                *rows += 1;
                if let Err(error) = builder.append_process_event(head, name, table, offset) {
                    tracing::error!(%error, "a row of events cannot be built");
                }
            });
            self.flush();
            if self.is_upkeep_due() {
                self.upkeep();
            }
        }
    }

    /// Learns from an event; one of `rows` becomes a row.
    fn add(&mut self, event: &Event<'_>, rows: &CallSet) {
        if let Body::Flow(flow) = &event.body {
            return self.flows.ended(flow, &self.table, &self.context, self.wall_offset_ns);
        }
        self.table.apply(event);
        if self.exclusions.hides(event, &self.table) || !rows.contains(event.head.kind) {
            return;
        }
        self.rows += 1;
        let repeated = match self.look_up(event.head.tgid) {
            Some((id, Lookup::Waiting)) => return self.hold_back(&id, event),
            Some((_, Lookup::Known(info))) => info.label_bytes(),
            _ => 0,
        };
        let appended = self.builder.append(event, &mut self.table, &mut self.sockets, self.wall_offset_ns);
        if let Err(error) = appended {
            tracing::error!(%error, "a row of events cannot be built");
        }
        self.builder.add_repeated(repeated);
        if self.batcher.is_full(self.builder.rows(), self.builder.text_bytes()) {
            self.flush();
        }
    }

    /// The container of a process and what is known of it; None on the host.
    fn look_up(&mut self, pid: u32) -> Option<(Arc<str>, Lookup)> {
        let (id, cgroup) = self.table.container(pid)?;
        if **id == *container::HOST {
            return None;
        }
        let lookup = self.containers.look_up(id, cgroup);
        Some((id.clone(), lookup))
    }

    /// Appends to the rows that wait for their container. Rows of one container stay in order.
    fn hold_back(&mut self, id: &Arc<str>, event: &Event<'_>) {
        let builder = self.waiting.builder(id);
        let appended = builder.append(event, &mut self.table, &mut self.sockets, self.wall_offset_ns);
        if let Err(error) = appended {
            tracing::error!(%error, "a row of events cannot be built");
        }
        if self.batcher.is_full(builder.rows(), builder.text_bytes())
            && let Some(builder) = self.waiting.take(id)
        {
            // Memory is bounded: these rows go without.
            self.push(builder);
        }
    }

    /// Sends the rows of containers that no longer wait.
    fn settle(&mut self) {
        for id in self.containers.settled() {
            if let Some(builder) = self.waiting.take(&id) {
                self.push(builder);
            }
        }
    }

    fn flush_if_due(&mut self) {
        let now = self.context.clock.monotonic();
        if self.batcher.is_due(self.builder.rows(), now, self.context.spool.is_connected()) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.batcher.flushed();
        send(&mut self.builder, &self.containers, &self.context);
    }

    fn push(&self, mut builder: EventsBuilder) {
        send(&mut builder, &self.containers, &self.context);
    }

    /// The kernel's losses: its classes are kinds of events, rows of the security class but for flows.
    fn count(&self, losses: &[Loss]) {
        for loss in losses {
            let stream = if loss.class == "flow" { Stream::Flows } else { Stream::Events };
            self.context.losses.count(stream.class(), loss.reason.as_str(), loss.count);
            self.context.shared.add_kernel_loss(loss.class, loss.reason.as_str(), loss.count);
        }
    }

    /// Applies what the configuration says since it changed.
    fn reconfigure(&mut self, probe: &mut Probe) {
        let Some(wanted) = self.context.shared.take_wanted() else { return };
        if let Err(error) = self.exclusions.set(&wanted.section.exclude, probe) {
            tracing::error!(%error, "what is left out stays as it was");
        }
        let (rule_events, rule_streams) = (wanted.rule_events, wanted.rule_streams);
        let mut wanted = ProbeConfig::of(&wanted.section);
        wanted.events.extend(rule_events);
        wanted.streams |= rule_streams;
        if wanted.events == *probe.programs().1 && wanted.streams == probe.has_streams() {
            return;
        }
        match probe.set_events(wanted.events, wanted.streams) {
            Ok(()) => {
                let events: Vec<String> = probe.programs().1.iter().cloned().collect();
                tracing::info!(events = events.len(), "other events are watched from now on");
                self.context.shared.set_events(events);
            }
            Err(error) => tracing::error!(%error, "the events stay as they were"),
        }
    }

    /// Sends what the kernel has counted, where it counts.
    fn count_syscalls(&mut self, probe: &mut Probe) {
        let readings = probe.calls();
        if readings.is_empty() {
            return;
        }
        let now = self.context.clock.now();
        let outcome = self.syscalls.round(&readings, &self.table, now).map_err(Error::batch(Stream::Samples));
        let outcome = outcome.and_then(|(batches, gone)| {
            probe.forget_calls(&readings, &gone);
            push_metrics(&self.context.spool, batches)
        });
        if let Err(error) = outcome {
            tracing::warn!(%error, "counts of system calls of one round are lost");
        }
    }

    fn is_upkeep_due(&mut self) -> bool {
        self.context.clock.monotonic() >= self.upkeep_at
    }

    fn upkeep(&mut self) {
        let now = self.context.clock.monotonic();
        let seconds = (now + UPKEEP).saturating_sub(self.upkeep_at).as_secs_f64();
        self.upkeep_at = now + UPKEEP;
        self.context
            .shared
            .set_rows_per_second(((self.rows - self.rows_told) as f64 / seconds.max(1.0)).round() as u64);
        self.rows_told = self.rows;
        self.context.shared.set_filtered(self.exclusions.filtered());
        self.rounds += 1;
        self.wall_offset_ns = clock::wall_offset_ns();
        self.sockets.set_names(self.context.names.addresses());
        let boot_ns = clock::boot_ns();
        if self.rounds.is_multiple_of(SWEEP_ROUNDS) {
            self.table.sweep(boot_ns);
        }
        self.table.expire(boot_ns);
        self.flows.flush(&self.context);
        self.context.shared.set_processes(self.table.stats());
        if self.context.spool.is_connected() || self.rounds.is_multiple_of(DROPS_ROUNDS_OFFLINE) {
            self.context.spool.tell_losses(&self.host_id);
        }
    }
}

/// The pause after a look that gave so many events.
fn next_pause(pause: Duration, delivered: u64) -> Duration {
    match delivered {
        EVENTS_BUSY.. => (pause / 2).max(PAUSE_MIN),
        0..=EVENTS_QUIET => (pause * 2).min(PAUSE_MAX),
        _ => pause,
    }
}

/// Makes a batch of the rows of `builder` and queues it.
fn send(builder: &mut EventsBuilder, containers: &Containers, context: &Context) {
    let rows = builder.rows();
    if rows == 0 {
        return;
    }
    let built = builder.finish(&|id| containers.known(id).cloned()).map_err(Error::batch(Stream::Events));
    let built = built.inspect_err(|_| {
        context.losses.count(Stream::Events.class(), reason::UNENCODABLE, rows as u64);
    });
    if let Err(error) = built.and_then(|batch| context.spool.push(Stream::Events, &batch)) {
        tracing::error!(%error, "a batch of events is lost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_host_is_looked_at_rarely_and_a_busy_one_often() {
        let after = |looks: usize, events: u64, pause| (0..looks).fold(pause, |pause, _| next_pause(pause, events));
        assert_eq!(after(8, 0, PAUSE_MIN), PAUSE_MAX);
        assert_eq!(after(8, EVENTS_QUIET, PAUSE_MIN), PAUSE_MAX, "a trickle is quiet");
        assert_eq!(after(8, 10_000, PAUSE_MAX), PAUSE_MIN);
        assert_eq!(after(8, 100, PAUSE_MIN * 5), PAUSE_MIN * 5);
    }
}
