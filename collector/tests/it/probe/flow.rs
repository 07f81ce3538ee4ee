//! What is exported, what is lost, and when the reader is woken.

use std::collections::BTreeMap;
use std::process::Command;

use super::*;

#[test]
fn excluded_processes_and_unwanted_calls_are_silent() {
    let own = std::process::id();
    let events = BTreeSet::from(["openat".to_string()]);
    let Some(mut probe) = attach(&ProbeConfig { events, excluded_tgid: None, ..ProbeConfig::default() }) else {
        return;
    };
    let marker = marker("silent");
    let step = |name: &str| drop(std::fs::read(format!("/nowhere/{marker}-{name}")));
    drop(std::fs::remove_file(format!("/nowhere/{marker}-unwanted")));
    step("first");
    probe.exclude(own).unwrap();
    step("excluded");
    probe.include(own).unwrap();
    probe.set_events(BTreeSet::from(["unlink".to_string()]), false).unwrap();
    step("no-longer-wanted");
    drop(std::fs::remove_file(format!("/nowhere/{marker}-last")));
    let found = lines(&mut probe, &marker, 2);
    assert_eq!(
        found,
        [format!("openat {ENOENT} /nowhere/{marker}-first"), format!("unlink {ENOENT} /nowhere/{marker}-last")]
    );
    assert!(matches!(
        probe.set_events(BTreeSet::from(["nonsense".to_string()]), false),
        Err(ProbeError::UnknownEvent { name }) if name == "nonsense"
    ));
}

#[test]
fn files_under_excluded_folders_are_silent() {
    let Some(mut probe) = watch_all() else { return };
    let marker = marker("folder");
    let read = |path: &str| drop(std::fs::read(path.replace("MARKER", &marker)));
    probe.exclude_paths(&["/nowhere/quiet/".to_string()]).unwrap();
    read("/nowhere/quiet/MARKER-1");
    drop(std::fs::remove_file(format!("/nowhere/quiet/{marker}-2")));
    read("/nowhere/quiet/../loud/MARKER-3");
    read("/nowhere/quietly/MARKER-4");
    let long = format!("/nowhere/quiet/{}/MARKER-5", "x".repeat(150));
    read(&long);
    // What has a second name may be wanted for that.
    drop(std::fs::rename(format!("/nowhere/quiet/{marker}-6"), "/nowhere/loud"));
    probe.exclude_paths(&[]).unwrap();
    read("/nowhere/quiet/MARKER-7");
    let found = lines(&mut probe, &marker, 5).join(" ");
    for (number, is_told) in [(1, false), (2, false), (3, true), (4, true), (5, true), (6, true), (7, true)] {
        assert_eq!(found.contains(&format!("{marker}-{number}")), is_told, "{number}: {found}");
    }
    let totals = probe.totals().unwrap();
    assert_eq!(totals.offered(), totals.sent(), "what nobody wants is not offered");
    assert_no_loss(&mut probe);
}

// DROP-1: offered = delivered + lost, exactly, whatever the load; and events of one processor keep their numbers.
#[test]
fn every_loss_is_counted() {
    const OPENS: u64 = 20_000;
    let _alone = FLOOD.write().unwrap_or_else(PoisonError::into_inner);
    let Some(mut probe) = attach(&ProbeConfig { ring_bytes: 8192, excluded_tgid: None, ..ProbeConfig::default() })
    else {
        return;
    };
    let marker = marker("flood");
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for number in 0..OPENS / 2 {
                    drop(std::fs::read(format!("/nowhere/{marker}-{number}")));
                }
            });
        }
    });
    for _ in 0..50 {
        Command::new("/bin/true").status().unwrap();
    }
    let mut numbers: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    let mut delivered = 0;
    let mut count = |event: &Event<'_>| {
        delivered += 1;
        numbers.entry(event.head.cpu).or_default().push(event.head.seq);
    };
    probe.drain(&mut count);
    let early: u64 = probe.losses().unwrap().iter().map(|loss| loss.count).sum();
    let ending = probe.finish(&mut count).unwrap();
    let late: u64 = ending.losses.iter().map(|loss| loss.count).sum();
    assert!(early > 0 && ending.totals.offered() > OPENS, "{ending:?}");
    assert_eq!(ending.totals.offered(), delivered + early + late, "{ending:?}");
    assert_eq!((ending.totals.sent(), ending.drained.held), (delivered, 0));
    for (cpu, mut numbers) in numbers {
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "numbers of processor {cpu} are given once");
    }
}

#[test]
fn a_filling_ring_wakes_the_reader() {
    let _alone = FLOOD.write().unwrap_or_else(PoisonError::into_inner);
    let Some(mut probe) = attach(&ProbeConfig { ring_bytes: 1 << 18, excluded_tgid: None, ..ProbeConfig::default() })
    else {
        return;
    };
    probe.drain(&mut |_| {});
    while probe.wait(Duration::ZERO).unwrap() {}
    let deadline = Instant::now() + Duration::from_secs(10);
    let woken = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let start = Instant::now();
            probe.wait(Duration::from_secs(30)).unwrap() && start.elapsed() < Duration::from_secs(20)
        });
        while !waiter.is_finished() && Instant::now() < deadline {
            drop(std::fs::read("/nowhere/at/all"));
        }
        waiter.join().unwrap()
    });
    assert!(woken, "a ring that is a quarter full wakes its reader");
}

#[test]
fn without_capabilities_the_missing_one_is_named() {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    // Capabilities belong to the thread, and each test has its own.
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .unwrap();
    let error = Probe::attach(&ProbeConfig::default()).unwrap_err();
    assert!(matches!(error, ProbeError::MissingCapability { capability: "CAP_BPF" }), "{error}");
    assert!(error.to_string().contains("cap_bpf,cap_perfmon"), "says how to get it: {error}");
}

#[test]
fn two_capabilities_are_enough() {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    let Some(as_root) = attach(&ProbeConfig::default()) else { return };
    let programs = as_root.programs().0.len();
    let two = CapabilitySet::BPF | CapabilitySet::PERFMON;
    // Capabilities belong to the thread, and each test has its own.
    rustix::thread::set_capabilities(None, CapabilitySets { effective: two, permitted: two, inheritable: two })
        .unwrap();
    let probe = Probe::attach(&ProbeConfig::default()).unwrap();
    assert_eq!((probe.programs().0.len(), probe.missing()), (programs, as_root.missing()));
}

#[test]
fn attached_programs_are_named() {
    let events = BTreeSet::from(["openat".to_string()]);
    let Some(probe) = attach(&ProbeConfig { events: events.clone(), ..ProbeConfig::default() }) else { return };
    let (programs, wanted) = probe.programs();
    for name in ["on_exec", "on_exit", "on_fork", "on_open", "on_paths", "on_socket", "on_sys_exit"] {
        assert!(programs.contains(&name), "{name} is not in {programs:?}");
    }
    assert_eq!(wanted, &events);
    let thread = std::thread::spawn(move || probe.finish(&mut |_| {}).is_ok());
    assert!(thread.join().unwrap(), "a probe may move to another thread");
}

#[test]
fn system_calls_are_counted_and_timed() {
    use bodkin_collector::config::SyscallStats;
    let config = ProbeConfig { syscall_stats: SyscallStats::Latency, ..ProbeConfig::default() };
    let config = ProbeConfig { excluded_tgid: None, ..config };
    let Some(mut probe) = attach(&config) else { return };
    const CALLS: u64 = 1_000;
    for _ in 0..CALLS {
        // Neither is cached by a library.
        let _ = rustix::process::getppid();
        drop(std::fs::read("/nowhere/at/all"));
    }
    let own = std::process::id();
    let readings = probe.calls();
    let of = |name: &str| readings.iter().find(|reading| reading.tgid == own && reading.name == name).unwrap();
    let (getppid, openat) = (of("getppid"), of("openat"));
    assert!(getppid.calls >= CALLS && getppid.errors == 0 && getppid.ns > 0, "{getppid:?}");
    assert!(openat.errors >= CALLS, "{openat:?}");
    let timed: u64 = getppid.times.unwrap().iter().sum();
    assert!(timed >= CALLS && timed <= getppid.calls, "{getppid:?}");
    let longer = |reading: &bodkin_collector::probe::CallReading| reading.ns / reading.calls;
    assert!(longer(openat) > longer(getppid), "{getppid:?} {openat:?}");
    probe.forget_calls(&readings, &[own]);
    assert!(probe.calls().iter().all(|reading| reading.tgid != own || reading.calls < CALLS));
}
