//! The kernel's side of the agent as user space sees it: programs loaded and attached, their rings read in time order.
//!
//! [`Probe::attach`] loads the programs of `bodkin-ebpf` or says precisely what is missing. [`Probe::drain`] hands over what
//! the rings hold, merged over all processors by time; [`Probe::wait`] sleeps until there may be more. Whatever the programs
//! could not deliver is counted by them and read with [`Probe::losses`] (DROP-1: offered = delivered + lost, exactly).
//!
//! Nothing here looks into events beyond their head: state and meaning are the agent's.
//!
//! - [`clock`]: the kernel's clock of events, and its distance from the wall clock.
//! - `load`: requirements, rings, programs. `merge`: time order over rings. `counters`: the programs' own counts.
//!   `calls`: counts of system calls. `flows`: connections. `iterators`: programs that list things; `snapshot`: processes.
//!   `cgroups`: their numbers.

mod calls;
mod cgroups;
pub mod clock;
mod counters;
mod flows;
mod iterators;
mod load;
mod merge;
mod snapshot;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::config::{AgentSection, SyscallStats};
use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, ProgramArray, RingBuf};
use bodkin_ebpf::event::Flow;
use bodkin_ebpf::layout::{PREFIX_MAX_BYTES, SETTINGS_BYTES, Settings, option, policy};
use bodkin_ebpf::syscall::CallSet;
use bodkin_ebpf::{Event, call, syscall};
use rustix::event::{Timespec, epoll};

pub use calls::CallReading;
pub use counters::{Loss, Reason, Totals};
pub use merge::{DrainStats, Merge};

/// How long events are held back so that those of all processors come in order: an event is in its ring a few
/// microseconds after the time in its head, unless its processor was taken away by a hypervisor.
pub const HOLD_BACK: Duration = Duration::from_millis(5);

/// Events after which the rings are read again: a third of a millisecond, in which two million events a second fill a
/// thirtieth of a ring of the default size on two processors.
const SLICE_EVENTS: usize = 1024;

/// Longest time in which [`Probe::finish`] waits for programs that were running when they were detached.
const FINISH_TRIES: usize = 200;

/// What the probe watches, and with how much memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Names of the calls to export (see [`ProbeConfig::known`]); exec, fork and exit always are, but a failed `execve` or
    /// `execveat` only if named. Beside them come the events of [`call::STATE`], which are no rows ([`Probe::rows`]).
    pub events: BTreeSet<String>,
    /// Sends and receives on stream and Unix sockets are exported too, not only those of datagrams on the network.
    pub streams: bool,
    /// Counting of system calls.
    pub syscall_stats: SyscallStats,
    /// Network conversations are told.
    pub flows: bool,
    /// Bytes of all rings together: half for exec, fork and exit, half over the processors. Rounded down to powers of two,
    /// at least a page each. A mapped ring counts twice in resident memory.
    pub ring_bytes: usize,
    /// A process whose calls are not exported, usually the agent itself. Its exec, fork and exit are.
    pub excluded_tgid: Option<u32>,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            events: call::SECURITY.iter().map(|name| (*name).to_owned()).collect(),
            streams: false,
            syscall_stats: SyscallStats::Off,
            flows: false,
            ring_bytes: 16 << 20,
            excluded_tgid: Some(std::process::id()),
        }
    }
}

impl ProbeConfig {
    /// What a section of the configuration asks for.
    pub fn of(section: &AgentSection) -> Self {
        const MESSAGES: [&str; 4] = ["sendto", "sendmsg", "recvfrom", "recvmsg"];
        let (ring_bytes, syscall_stats, flows) = (section.ring_mib << 20, section.syscall_stats, section.flows);
        let mut config = Self { ring_bytes, syscall_stats, flows, ..Self::default() };
        if let Some(events) = &section.events {
            config.events = events.iter().cloned().collect();
            // Who names them wants all of them; the default set has those of datagrams alone.
            config.streams = events.iter().any(|name| MESSAGES.contains(&name.as_str()));
        }
        config
    }

    /// Names that `events` may hold.
    pub fn known() -> impl Iterator<Item = &'static str> {
        syscall::exportable()
    }
}

/// Why kernel events cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The process may not load programs.
    #[error(
        "missing capability {capability}: run as root, or `setcap cap_bpf,cap_perfmon+ep` the program, or start the \
         container with `--cap-add BPF --cap-add PERFMON`"
    )]
    MissingCapability {
        /// Name of the capability.
        capability: &'static str,
    },
    /// The kernel does not describe its own types.
    #[error("missing /sys/kernel/btf/vmlinux: the kernel needs CONFIG_DEBUG_INFO_BTF")]
    MissingBtf,
    /// The kernel lacks what the programs use.
    #[error("kernel {version} is too old: 5.11 or later is needed")]
    KernelTooOld {
        /// Release of the running kernel.
        version: String,
    },
    /// The configuration names an event that no program exports.
    #[error("unknown event {name}")]
    UnknownEvent {
        /// The name.
        name: String,
    },
    /// A program was refused.
    #[error("program {program} was refused: {source}{}{verifier}", if .verifier.is_empty() { "" } else { "; verifier: " })]
    LoadFailed {
        /// Name of the program.
        program: String,
        /// The last lines of the verifier, empty if it was not reached.
        verifier: String,
        /// What the kernel answered.
        #[source]
        source: io::Error,
    },
    /// The object or one of its maps was refused.
    #[error("kernel programs cannot be set up: {what}")]
    Setup {
        /// What was attempted, and the answer.
        what: String,
    },
    /// A ring or counter could not be read.
    #[error("kernel events cannot be read")]
    Read(#[from] io::Error),
}

impl ProbeError {
    fn setup(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Setup { what: format!("{what}: {error}") }
    }
}

/// What [`Probe::finish`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The last round of events.
    pub drained: DrainStats,
    /// Losses since they were last asked for.
    pub losses: Vec<Loss>,
    /// Counts of the probe's whole life.
    pub totals: Totals,
}

/// The attached programs and the rings that they fill. Dropping it detaches them.
pub struct Probe {
    ebpf: Ebpf,
    settings_map: Array<MapData, [u8; SETTINGS_BYTES]>,
    policy_map: HashMap<MapData, u32, u32>,
    path_map: LpmTrie<MapData, [u8; PREFIX_MAX_BYTES], u32>,
    cgroup_map: HashMap<MapData, u64, u32>,
    /// Only held: the kernel empties an array of programs when its last descriptor is closed.
    _handlers: ProgramArray<MapData>,
    settings: Settings,
    excluded: BTreeSet<u32>,
    has_excluded_cgroups: bool,
    rings: Vec<RingBuf<MapData>>,
    ring_bytes: Vec<usize>,
    waiter: OwnedFd,
    merge: merge::Merge,
    counters: counters::Counters,
    events: BTreeSet<String>,
    rows: CallSet,
    missing: Vec<String>,
    calls: Option<calls::Calls>,
    flows: Option<flows::Flows>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").field("events", &self.events).field("rings", &self.ring_bytes).finish_non_exhaustive()
    }
}

impl Probe {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    /// Says which requirement is not met; then nothing stays attached.
    pub fn attach(config: &ProbeConfig) -> Result<Self, ProbeError> {
        load::attach(config)
    }

    /// Names of the attached programs, and of the calls that they export beside exec, fork and exit.
    pub fn programs(&self) -> (Vec<&str>, &BTreeSet<String>) {
        let loaded = self.ebpf.programs().filter(|(_, program)| program.fd().is_ok());
        let mut names: Vec<&str> = loaded.map(|(name, _)| name).collect();
        names.sort_unstable();
        (names, &self.events)
    }

    /// What becomes a row; other events only change the state of processes.
    pub fn rows(&self) -> &CallSet {
        &self.rows
    }

    /// Whether messages on streams are exported, as [`ProbeConfig::streams`].
    pub fn has_streams(&self) -> bool {
        self.settings.options & option::STREAMS != 0
    }

    /// What this kernel cannot tell.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Exports other calls from now on; with `streams` as [`ProbeConfig::streams`].
    ///
    /// # Errors
    /// An unknown name, or the kernel refuses the new table; then the old one stays.
    pub fn set_events(&mut self, events: BTreeSet<String>, streams: bool) -> Result<(), ProbeError> {
        let mut settings = self.settings.clone();
        load::set_calls(&mut settings, &events, streams)?;
        self.write_settings(settings)?;
        self.rows = load::rows(&events);
        self.events = events;
        Ok(())
    }

    /// Stops exporting calls on the one file that they name where the name begins with one of `prefixes`, none longer than
    /// [`PREFIX_MAX_BYTES`]; those given before count no more. Relative names and such as hold `..` are told all the same.
    ///
    /// # Errors
    /// The kernel refuses an entry.
    pub fn exclude_paths(&mut self, prefixes: &[String]) -> Result<(), ProbeError> {
        let refused = |error| ProbeError::setup("exclude a folder", error);
        let old: Vec<_> = self.path_map.keys().filter_map(Result::ok).collect();
        for key in old {
            self.path_map.remove(&key).map_err(refused)?;
        }
        for prefix in prefixes {
            let mut name = [0; PREFIX_MAX_BYTES];
            name.iter_mut().zip(prefix.bytes()).for_each(|(slot, byte)| *slot = byte);
            let bits = prefix.len().min(PREFIX_MAX_BYTES) as u32 * 8;
            self.path_map.insert(&Key::new(bits, name), 1, 0).map_err(refused)?;
        }
        let mut settings = self.settings.clone();
        settings.options &= !option::PREFIXES;
        settings.options |= if prefixes.is_empty() { 0 } else { option::PREFIXES };
        self.write_settings(settings)
    }

    /// Stops exporting the calls of a process. At most 4,096 at a time; its exec, fork and exit still come.
    ///
    /// # Errors
    /// The kernel refuses the entry.
    pub fn exclude(&mut self, tgid: u32) -> Result<(), ProbeError> {
        self.policy_map.insert(tgid, 1, 0).map_err(|error| ProbeError::setup("exclude a process", error))?;
        self.excluded.insert(tgid);
        self.write_policies()
    }

    /// Takes [`Probe::exclude`] back; a process that is not excluded is fine.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn include(&mut self, tgid: u32) -> Result<(), ProbeError> {
        if self.excluded.remove(&tgid) {
            self.policy_map.remove(&tgid).map_err(|error| ProbeError::setup("include a process", error))?;
        }
        self.write_policies()
    }

    /// Stops exporting the calls of processes in the cgroups at `paths` and below, those made later included; those given
    /// before count no more. Gives the paths that the programs know now: a cgroup that is not there, or of a hierarchy that is
    /// not mounted here, is none of them.
    ///
    /// # Errors
    /// The kernel refuses the change; too many cgroups are no error, the rest is exported.
    pub fn exclude_cgroups(&mut self, paths: &[String]) -> Result<Vec<String>, ProbeError> {
        let old: Vec<u64> = self.cgroup_map.keys().filter_map(Result::ok).collect();
        for id in old {
            // It may be gone meanwhile.
            let _ = self.cgroup_map.remove(&id);
        }
        self.has_excluded_cgroups = !paths.is_empty();
        // First, so that what is made from now on is not missed.
        self.write_policies()?;
        let (map, mut known) = (&mut self.cgroup_map, Vec::new());
        if let Some(hierarchy) = cgroups::hierarchy() {
            for path in paths {
                let mut is_whole = true;
                let is_there = cgroups::walk(&hierarchy, path, &mut |id| is_whole &= map.insert(id, 1, 0).is_ok());
                known.extend((is_there && is_whole).then(|| path.clone()));
            }
        }
        Ok(known)
    }

    /// Gives every process that there is, in the form of the exec that started it (without its environment), and their
    /// number; those that begin meanwhile come as events. To be called once: the program is unloaded afterwards.
    ///
    /// # Errors
    /// The kernel has no such iterator, or it ended early: some processes may have been given.
    pub fn processes(&mut self, on_process: &mut dyn FnMut(&Event<'_>)) -> Result<u64, ProbeError> {
        let outcome = snapshot::read(&mut self.ebpf, on_process);
        iterators::unload(&mut self.ebpf, snapshot::ITERATOR.0);
        outcome
    }

    /// Reads all rings and gives what is older than the hold-back window, in the order of time. The rest comes with the
    /// next call. A ring is read at most once around at a time, so that the call ends under any load; while events are given
    /// the rings are read again, as long as there is room for what they hold.
    pub fn drain(&mut self, on_event: &mut dyn FnMut(&Event<'_>)) -> DrainStats {
        let hold_back = u64::try_from(HOLD_BACK.as_nanos()).unwrap_or(u64::MAX);
        let cutoff = clock::boot_ns().saturating_sub(hold_back);
        let cutoff = self.read_rings(cutoff);
        let mut stats = DrainStats::default();
        self.merge.begin(cutoff);
        while self.merge.give(SLICE_EVENTS, on_event, &mut stats) {
            self.read_rings(u64::MAX);
        }
        self.merge.end(&mut stats);
        stats
    }

    /// Sleeps until a ring is a quarter full or the time is over; true in the first case. Rings that fill slowly wake
    /// nobody: call [`Probe::drain`] every 1 to 20 ms.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn wait(&self, timeout: Duration) -> Result<bool, ProbeError> {
        let mut ready = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 8];
        let timeout = Timespec::try_from(timeout).ok();
        match epoll::wait(&self.waiter, &mut ready, timeout.as_ref()) {
            Ok(count) => Ok(count > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(ProbeError::Read(error.into())),
        }
    }

    /// What was lost since the last call, by class and reason; nothing without a loss.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn losses(&mut self) -> Result<Vec<Loss>, ProbeError> {
        let undecodable = self.merge.undecodable();
        self.counters.losses(undecodable)
    }

    /// Counts since the start, by class.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn totals(&self) -> Result<Totals, ProbeError> {
        self.counters.totals()
    }

    /// Counts of system calls; empty where they are not counted.
    pub fn calls(&self) -> Vec<CallReading> {
        self.calls.as_ref().map(calls::Calls::read).unwrap_or_default()
    }

    /// Forgets the counts of processes that are gone, so that there is room for others.
    pub fn forget_calls(&mut self, readings: &[CallReading], gone: &[u32]) {
        if let Some(calls) = &mut self.calls {
            calls.forget(readings.iter().filter(|reading| gone.contains(&reading.tgid)).map(|reading| reading.key));
        }
    }

    /// Every connection there is, and the datagrams of each process and socket, with counts since their beginning; empty
    /// where they are not told. Connections that end in between come as events.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub fn flows(&mut self) -> Result<Vec<Flow>, ProbeError> {
        self.flows.as_mut().map_or(Ok(Vec::new()), |flows| flows.read(&mut self.ebpf))
    }

    /// Forgets the counts of datagrams that move no more, so that there is room for others.
    pub fn forget_flows(&mut self, quiet: &[Flow]) {
        if let Some(flows) = &mut self.flows {
            quiet.iter().for_each(|flow| flows.forget(flow));
        }
    }

    /// Detaches the programs, then gives everything that they left, held-back events included, and the last losses.
    ///
    /// # Errors
    /// The counters cannot be read; the events have been given all the same.
    pub fn finish(mut self, on_event: &mut dyn FnMut(&Event<'_>)) -> Result<Ending, ProbeError> {
        load::detach(&mut self.ebpf);
        // What was held back first, so that there is room for all that the rings hold.
        self.read_rings(u64::MAX);
        let held = self.merge.deliver(u64::MAX, on_event);
        // A program that was running may still write: what they say they sent must have arrived.
        for _ in 0..FINISH_TRIES {
            self.read_rings(u64::MAX);
            let sent = self.counters.totals()?.sent();
            if self.merge.records() >= sent {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let drained = held + self.merge.deliver(u64::MAX, on_event);
        Ok(Ending { drained, losses: self.losses()?, totals: self.totals()? })
    }

    /// Moves the records of all rings into the merge. Returns the cutoff, earlier than the one given if a ring was not read
    /// to its end.
    fn read_rings(&mut self, cutoff: u64) -> u64 {
        let rings = (0..).zip(self.rings.iter_mut().zip(&self.ring_bytes));
        rings.fold(cutoff, |cutoff, (number, (ring, size))| {
            let next = |push: &mut dyn FnMut(&[u8])| ring.next().map(|record| push(&record)).is_some();
            cutoff.min(self.merge.read(number, *size, next))
        })
    }

    fn write_policies(&mut self) -> Result<(), ProbeError> {
        let mut settings = self.settings.clone();
        settings.policies = if self.excluded.is_empty() { 0 } else { policy::PROCESSES }
            | if self.has_excluded_cgroups { policy::CGROUPS } else { 0 };
        self.write_settings(settings)
    }

    fn write_settings(&mut self, settings: Settings) -> Result<(), ProbeError> {
        let written = self.settings_map.set(0, settings.to_bytes(), 0);
        written.map_err(|error| ProbeError::setup("write the settings", error))?;
        self.settings = settings;
        Ok(())
    }
}
