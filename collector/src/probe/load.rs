//! From the embedded object to attached programs.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, ArrayOfMaps, HashMap, Map, MapData, PerCpuArray, PerCpuHashMap, ProgramArray, RingBuf};
use aya::programs::{BtfTracePoint, Program, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel};
use bodkin_ebpf::layout::{CALLS, SOCKETCALLS, Settings, family, option};
use bodkin_ebpf::syscall::CallSet;
use bodkin_ebpf::{OBJECT, call, syscall};
use rustix::event::epoll;
use rustix::thread::CapabilitySet;

use super::{Probe, ProbeConfig, ProbeError, calls, counters, flows, iterators, merge, snapshot};
use crate::config::SyscallStats;

/// Programs that other programs jump to, with the family that each is for.
const HANDLERS: [(&str, u16); 6] = [
    ("on_open", family::OPEN),
    ("on_paths", family::PATHS),
    ("on_socket", family::SOCKET),
    ("on_descriptor", family::DESCRIPTOR),
    ("on_identity", family::IDENTITY),
    ("on_plain", family::PLAIN),
];

/// Attached programs and their tracepoints: the life of processes first, so that no call comes from a process unheard of.
const TRACEPOINTS: [(&str, &str); 4] = [
    ("on_fork", "sched_process_fork"),
    ("on_exec", "sched_process_exec"),
    ("on_exit", "sched_process_exit"),
    ("on_sys_exit", "sys_exit"),
];

/// Says whose the children of a process that ends become.
const REPARENT: (&str, &str, &str) =
    ("on_reparent", "signal_generate", "whose the children of an ending process become is told too early");

/// Programs that a kernel may lack the tracepoint for, or have it in another shape: what they would tell is then unseen.
const OPTIONAL: [(&str, &str, &str); 6] = [
    ("on_move", "cgroup_attach_task", "a process moved to another cgroup is noticed when it does something"),
    REPARENT,
    ("on_signal", "signal_deliver", "signaldeliver is not seen"),
    ("on_oom", "mark_victim", "oomkill is not seen"),
    ("on_cgroup_mkdir", "cgroup_mkdir", "cgroups made below an excluded one are left out process by process"),
    ("on_cgroup_rmdir", "cgroup_rmdir", "excluded cgroups that are gone keep their place"),
];

/// The kernel that has all the helpers: `bpf_get_current_task_btf`, and rings that are not charged to RLIMIT_MEMLOCK.
const OLDEST: (u32, u32) = (5, 11);

/// Map type of a ring buffer, of linux/bpf.h.
const RINGBUF: u32 = 27;

/// How often a program is given to the verifier again when a signal interrupted it.
const LOAD_TRIES: usize = 10;

/// Lines of the verifier's log that an error quotes.
const LOG_LINES: usize = 12;

pub(super) fn attach(config: &ProbeConfig) -> Result<Probe, ProbeError> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    require_kernel(&release)?;
    require_capabilities()?;
    if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err(ProbeError::MissingBtf);
    }
    let sizes = RingSizes::of(config.ring_bytes, online_cpus()?, rustix::param::page_size());
    let mut settings = empty_settings(config, &sizes);
    set_calls(&mut settings, &config.events, config.streams)?;

    let btf = Btf::from_sys_fs().map_err(|error| ProbeError::setup("read the kernel's types", error))?;
    let stats = config.syscall_stats;
    let mut ebpf = match load(&btf, &sizes, config, VerifierLogLevel::empty()) {
        // Logs are long and slow: only a program that was refused is verified again with one.
        Err(ProbeError::LoadFailed { .. }) => load(&btf, &sizes, config, VerifierLogLevel::DEBUG)?,
        other => other?,
    };
    let mut settings_map = Array::try_from(take(&mut ebpf, ".bss")?).map_err(wrong_map)?;
    settings_map.set(0, settings.to_bytes(), 0).map_err(|error| ProbeError::setup("write the settings", error))?;
    let rings = make_rings(&mut ebpf, &sizes)?;
    let mut ring_bytes = vec![sizes.life];
    ring_bytes.resize(rings.len(), sizes.events);
    let waiter = waiter(&rings)?;
    let handlers = set_handlers(&mut ebpf)?;
    let counters = PerCpuArray::try_from(take(&mut ebpf, "stats")?).map_err(wrong_map)?;
    let policy_map = HashMap::try_from(take(&mut ebpf, "proc_policy")?).map_err(wrong_map)?;
    let path_map = LpmTrie::try_from(take(&mut ebpf, "path_drop")?).map_err(wrong_map)?;
    let cgroup_map = HashMap::try_from(take(&mut ebpf, "cgroup_policy")?).map_err(wrong_map)?;
    for (name, _) in TRACEPOINTS {
        tracepoint(&mut ebpf, name)?.attach().map_err(|error| refused(name, error))?;
    }
    let missing = attach_optional(&mut ebpf, optional(config.flows));
    if missing.iter().all(|loss| loss != REPARENT.2) {
        settings.options |= option::REPARENT;
        settings_map.set(0, settings.to_bytes(), 0).map_err(|error| ProbeError::setup("write the settings", error))?;
    }
    let calls = attach_counting(&mut ebpf, stats)?;
    let flows = match config.flows {
        true => {
            let datagrams = HashMap::try_from(take(&mut ebpf, "datagrams")?).map_err(wrong_map)?;
            Some(flows::Flows::new(&mut ebpf, datagrams))
        }
        false => None,
    };
    Ok(Probe {
        missing,
        calls,
        flows,
        rows: rows(&config.events),
        ebpf,
        settings_map,
        policy_map,
        path_map,
        cgroup_map,
        _handlers: handlers,
        settings,
        excluded: BTreeSet::new(),
        has_excluded_cgroups: false,
        rings,
        ring_bytes,
        waiter,
        merge: merge::Merge::default(),
        counters: counters::Counters::new(counters),
        events: config.events.clone(),
    })
}

/// Programs that count system calls, and their tracepoints; the one that tells when a call ends first.
fn counting(stats: SyscallStats) -> &'static [(&'static str, &'static str)] {
    match stats {
        SyscallStats::Off => &[],
        SyscallStats::Count => &[("on_count", "sys_exit")],
        SyscallStats::Latency => &[("on_count", "sys_exit"), ("on_enter", "sys_enter")],
    }
}

fn attach_counting(ebpf: &mut Ebpf, stats: SyscallStats) -> Result<Option<calls::Calls>, ProbeError> {
    for (name, _) in counting(stats) {
        tracepoint(ebpf, name)?.attach().map_err(|error| refused(name, error))?;
    }
    if stats == SyscallStats::Off {
        return Ok(None);
    }
    let counts = PerCpuHashMap::try_from(take(ebpf, "call_counts")?).map_err(wrong_map)?;
    let times = match stats {
        SyscallStats::Latency => Some(PerCpuHashMap::try_from(take(ebpf, "call_times")?).map_err(wrong_map)?),
        _ => None,
    };
    Ok(Some(calls::Calls { counts, times }))
}

/// Programs that may be missing.
fn optional(flows: bool) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    OPTIONAL.into_iter().chain(flows::PROGRAMS.into_iter().filter(move |_| flows))
}

/// Attaches what the kernel has; returns what it has not.
fn attach_optional(
    ebpf: &mut Ebpf,
    programs: impl Iterator<Item = (&'static str, &'static str, &'static str)>,
) -> Vec<String> {
    let mut missing = Vec::new();
    for (name, _, loss) in programs {
        let program = tracepoint(ebpf, name);
        let attached = program.and_then(|program| program.attach().map(drop).map_err(|error| refused(name, error)));
        if let Err(error) = attached {
            tracing::info!(program = name, %error, "the kernel has no such tracepoint");
            missing.push(loss.to_owned());
        }
    }
    missing
}

/// The events that become rows where those of `events` are wanted.
pub(super) fn rows(events: &BTreeSet<String>) -> CallSet {
    CallSet::new(&|name| events.contains(name))
}

/// Detaches all programs; what they wrote stays in the rings.
pub(super) fn detach(ebpf: &mut Ebpf) {
    let counting = counting(SyscallStats::Latency).iter().map(|(name, _)| *name);
    let others = optional(true).map(|(name, ..)| name).chain(counting);
    for name in TRACEPOINTS.iter().map(|(name, _)| *name).chain(others) {
        if tracepoint(ebpf, name).is_ok_and(|program| program.fd().is_err()) {
            continue; // it was not loaded
        }
        let unloaded =
            tracepoint(ebpf, name).and_then(|program| program.unload().map_err(|error| refused(name, error)));
        if let Err(error) = unloaded {
            tracing::warn!(program = name, %error, "program cannot be detached");
        }
    }
}

/// Fills the tables of wanted calls.
pub(super) fn set_calls(settings: &mut Settings, events: &BTreeSet<String>, streams: bool) -> Result<(), ProbeError> {
    if let Some(name) = events.iter().find(|name| !syscall::is_exportable(name)) {
        return Err(ProbeError::UnknownEvent { name: name.clone() });
    }
    let choice = |name: &str, bit: u32| if events.contains(name) { bit } else { 0 };
    settings.options &= option::LATENCY | option::FLOWS | option::PREFIXES | option::REPARENT;
    let flows = settings.options & option::FLOWS != 0;
    settings.options |= choice("prctl", option::PRCTL) | choice("signaldeliver", option::SIGNALS);
    settings.options |= if streams { option::STREAMS } else { 0 };
    let (calls, socketcalls) =
        syscall::tables(&|name| events.contains(name) || (flows && call::FLOW_OWNERS.contains(&name)));
    settings.calls = *calls;
    settings.socketcalls = socketcalls;
    Ok(())
}

/// Bytes of each ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RingSizes {
    life: usize,
    events: usize,
    count: usize,
}

impl RingSizes {
    fn of(total: usize, cpus: usize, page: usize) -> Self {
        let power_of_two = |bytes: usize| (1_usize << bytes.max(1).ilog2()).clamp(page, 1 << 30);
        let count = cpus.max(1);
        Self { life: power_of_two(total / 2), events: power_of_two(total / 2 / count), count }
    }
}

fn empty_settings(config: &ProbeConfig, sizes: &RingSizes) -> Settings {
    let share = |bytes: usize, percent: usize| u32::try_from(bytes / 100 * percent).unwrap_or(u32::MAX);
    Settings {
        calls: [0; CALLS],
        socketcalls: [0; SOCKETCALLS],
        own_tgid: config.excluded_tgid.unwrap_or(0),
        shapes: call::shapes(),
        policies: 0,
        events_wake_at: share(sizes.events, 25),
        // Never; opens for reading; what looks at files; reads and writes.
        events_shed_at: [u32::MAX, share(sizes.events, 85), share(sizes.events, 75), share(sizes.events, 65)],
        life_wake_at: share(sizes.life, 25),
        options: if config.syscall_stats == SyscallStats::Latency { option::LATENCY } else { 0 }
            | if config.flows { option::FLOWS } else { 0 },
        pad: 0,
    }
}

fn require_kernel(release: &str) -> Result<(), ProbeError> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST { Err(ProbeError::KernelTooOld { version: release.to_string() }) } else { Ok(()) }
}

fn require_capabilities() -> Result<(), ProbeError> {
    let sets = rustix::thread::capabilities(None).map_err(|error| ProbeError::Read(error.into()))?;
    missing_capability(sets.effective).map_or(Ok(()), |capability| Err(ProbeError::MissingCapability { capability }))
}

/// CAP_SYS_ADMIN includes the two others.
fn missing_capability(effective: CapabilitySet) -> Option<&'static str> {
    if effective.contains(CapabilitySet::SYS_ADMIN) {
        None
    } else if !effective.contains(CapabilitySet::BPF) {
        Some("CAP_BPF")
    } else if !effective.contains(CapabilitySet::PERFMON) {
        Some("CAP_PERFMON")
    } else {
        None
    }
}

fn online_cpus() -> Result<usize, ProbeError> {
    aya::util::online_cpus().map(|cpus| cpus.len()).map_err(|(path, error)| ProbeError::setup(path, error))
}

fn possible_cpus() -> Result<u32, ProbeError> {
    let count = aya::util::nr_cpus().map_err(|(path, error)| ProbeError::setup(path, error))?;
    u32::try_from(count).map_err(|error| ProbeError::setup("count processors", error))
}

/// Parses the object, makes its maps and loads every program.
fn load(btf: &Btf, sizes: &RingSizes, config: &ProbeConfig, log: VerifierLogLevel) -> Result<Ebpf, ProbeError> {
    let stats = config.syscall_stats;
    let life = u32::try_from(sizes.life).map_err(|error| ProbeError::setup("size of the ring", error))?;
    let keys = |is_wanted: bool| if is_wanted { calls::KEYS_MAX } else { 1 };
    let flow_keys = |keys: u32| if config.flows { keys } else { 1 };
    let mut ebpf = EbpfLoader::new()
        .allow_unsupported_maps() // storage of tasks, which only the programs use
        .map_max_entries("call_counts", keys(stats != SyscallStats::Off))
        .map_max_entries("call_times", keys(stats == SyscallStats::Latency))
        .map_max_entries("flow_states", flow_keys(flows::CONNECTIONS_MAX))
        .map_max_entries("datagrams", flow_keys(flows::DATAGRAMS_MAX))
        .btf(Some(btf))
        .verifier_log_level(log)
        .map_max_entries("life", life)
        .map_max_entries("events", possible_cpus()?)
        .load(OBJECT)
        .map_err(|error| ProbeError::setup("load the object", whole(&error)))?;
    let handlers = HANDLERS.iter().map(|(name, _)| (*name, "sys_exit"));
    for (name, point) in handlers.chain(TRACEPOINTS) {
        load_program(tracepoint(&mut ebpf, name)?, point, btf).map_err(|error| refused(name, error))?;
    }
    for (name, point) in counting(stats) {
        load_program(tracepoint(&mut ebpf, name)?, point, btf).map_err(|error| refused(name, error))?;
    }
    if config.flows {
        iterators::load(&mut ebpf, btf, &flows::ITERATORS);
    }
    iterators::load(&mut ebpf, btf, &[snapshot::ITERATOR]);
    for (name, point, _) in optional(config.flows) {
        // Said when it cannot be attached.
        if let Err(error) = load_program(tracepoint(&mut ebpf, name)?, point, btf) {
            tracing::debug!(program = name, %error, "program is not loaded");
        }
    }
    Ok(ebpf)
}

/// The verifier gives up whenever a signal comes for the thread: that says nothing about the program.
fn load_program(program: &mut BtfTracePoint, point: &str, btf: &Btf) -> Result<(), ProgramError> {
    let mut tries = 0;
    loop {
        match program.load(point, btf) {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == std::io::ErrorKind::WouldBlock && tries < LOAD_TRIES =>
            {
                tries += 1;
            }
            other => return other,
        }
    }
}

/// Makes one events ring per processor that is online. One that comes later shares a ring: producers may.
fn make_rings(ebpf: &mut Ebpf, sizes: &RingSizes) -> Result<Vec<RingBuf<MapData>>, ProbeError> {
    let mut rings = vec![RingBuf::try_from(take(ebpf, "life")?).map_err(wrong_map)?];
    let bytes = u32::try_from(sizes.events).map_err(|error| ProbeError::setup("size of a ring", error))?;
    for _ in 0..sizes.count {
        let definition = aya_obj::Map::new_from_params(RINGBUF, 0, 0, bytes, 0);
        let map = MapData::create(definition, "events_ring", None)
            .map_err(|error| ProbeError::setup("make a ring", whole(&error)))?;
        rings.push(RingBuf::try_from(Map::RingBuf(map)).map_err(wrong_map)?);
    }
    let mut events: ArrayOfMaps<MapData, RingBuf<MapData>> =
        ArrayOfMaps::try_from(take(ebpf, "events")?).map_err(wrong_map)?;
    let of_cpus = rings.get(1..).unwrap_or_default().iter().cycle();
    for (cpu, ring) in (0..possible_cpus()?).zip(of_cpus) {
        events.set(cpu, ring, 0).map_err(|error| ProbeError::setup("give a processor its ring", whole(&error)))?;
    }
    Ok(rings)
}

fn set_handlers(ebpf: &mut Ebpf) -> Result<ProgramArray<MapData>, ProbeError> {
    let mut handlers = ProgramArray::try_from(take(ebpf, "handlers")?).map_err(wrong_map)?;
    for (name, family) in HANDLERS {
        let fd = tracepoint(ebpf, name)?.fd().map_err(|error| refused(name, error))?;
        let set = handlers.set(u32::from(family), fd, 0);
        set.map_err(|error| ProbeError::setup("link a handler", whole(&error)))?;
    }
    Ok(handlers)
}

/// Wakes on the programs' own calls only: edges, not levels, since a ring is rarely empty.
fn waiter(rings: &[RingBuf<MapData>]) -> Result<OwnedFd, ProbeError> {
    let waiter = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(std::io::Error::from)?;
    for (number, ring) in rings.iter().enumerate() {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&waiter, ring, epoll::EventData::new_u64(number as u64), flags).map_err(std::io::Error::from)?;
    }
    Ok(waiter)
}

fn tracepoint<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut BtfTracePoint, ProbeError> {
    let program: &mut Program =
        ebpf.program_mut(name).ok_or_else(|| ProbeError::Setup { what: format!("no program {name} in the object") })?;
    program.try_into().map_err(|error| refused(name, error))
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, ProbeError> {
    ebpf.take_map(name).ok_or_else(|| ProbeError::Setup { what: format!("no map {name} in the object") })
}

fn wrong_map(error: aya::maps::MapError) -> ProbeError {
    ProbeError::setup("open a map", whole(&error))
}

fn refused(program: &str, error: ProgramError) -> ProbeError {
    let program = program.to_string();
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            ProbeError::LoadFailed { program, verifier: tail(&verifier_log.to_string()), source: io_error }
        }
        other => ProbeError::LoadFailed { program, verifier: String::new(), source: std::io::Error::other(other) },
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
}

/// An error with its causes, which aya leaves out of the message.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_named() {
        for (release, ok) in
            [("6.18.44-fc", true), ("5.11.0", true), ("5.10.0-30-amd64", false), ("4.18.0", false), ("odd", false)]
        {
            assert_eq!(require_kernel(release).is_ok(), ok, "{release}");
        }
        let error = require_kernel("5.4.0-x").unwrap_err();
        assert_eq!(error.to_string(), "kernel 5.4.0-x is too old: 5.11 or later is needed");
    }

    #[test]
    fn the_capability_that_is_missing_is_named() {
        let both = CapabilitySet::BPF | CapabilitySet::PERFMON;
        assert_eq!(missing_capability(both), None);
        assert_eq!(missing_capability(CapabilitySet::SYS_ADMIN), None);
        assert_eq!(missing_capability(CapabilitySet::BPF), Some("CAP_PERFMON"));
        assert_eq!(missing_capability(CapabilitySet::KILL), Some("CAP_BPF"));
    }

    #[test]
    fn rings_share_the_memory_given() {
        let mib = 1 << 20;
        assert_eq!(RingSizes::of(16 * mib, 2, 4096), RingSizes { life: 8 * mib, events: 4 * mib, count: 2 });
        assert_eq!(RingSizes::of(8 * mib, 3, 4096), RingSizes { life: 4 * mib, events: mib, count: 3 });
        assert_eq!(RingSizes::of(0, 0, 4096), RingSizes { life: 4096, events: 4096, count: 1 });
    }

    #[test]
    fn an_unknown_event_is_an_error() {
        let config = ProbeConfig::default();
        let mut settings = empty_settings(&config, &RingSizes::of(config.ring_bytes, 2, 4096));
        assert!(set_calls(&mut settings, &config.events, false).is_ok());
        let error = set_calls(&mut settings, &BTreeSet::from(["opne".to_string()]), false).unwrap_err();
        assert_eq!(error.to_string(), "unknown event opne");
    }

    #[test]
    fn the_end_of_a_log_is_quoted() {
        let log = (0..40).map(|line| format!("line {line}\n\n")).collect::<String>();
        let tail = tail(&log);
        assert!(tail.starts_with("line 28\n") && tail.ends_with("line 39"), "{tail}");
    }
}
