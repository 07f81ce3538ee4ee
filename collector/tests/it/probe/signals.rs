//! Signals, and processes that are killed because memory is short.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::*;

#[test]
fn a_signal_is_told_by_who_gets_it_with_who_sent_it() {
    let Some(mut probe) = watch(BTreeSet::from(["signaldeliver".to_string()])) else { return };
    if probe.missing().iter().any(|text| text.contains("signaldeliver")) {
        return;
    }
    let script = "trap 'exit 3' USR1; echo ready; while :; do sleep 0.01; done";
    let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    kill_process(Pid::from_child(&child), Signal::USR1).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    const USR1: u64 = 10;
    let is_it = |seen: &Seen| matches!(seen.detail, Detail::Plain([_, number, ..]) if number == USR1);
    let keep = |seen: &Seen| seen.tgid == child.id() && seen.name == "signaldeliver" && is_it(seen);
    let seen = collect(&mut probe, &keep, &|seen| !seen.is_empty());
    let Some(Detail::Plain([sender, ..])) = seen.first().map(|seen| &seen.detail) else { panic!("{seen:?}") };
    assert_eq!(*sender, u64::from(std::process::id()));
    assert_no_loss(&mut probe);
}

/// A cgroup with little memory; None where there can be none.
struct Tight(PathBuf);

impl Tight {
    fn new(name: &str) -> Option<Self> {
        let (v1, v2) = (Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup"));
        let (root, limit) = match v1.join("memory.limit_in_bytes").exists() {
            true => (v1, "memory.limit_in_bytes"),
            false => (v2, "memory.max"),
        };
        let folder = root.join(name);
        std::fs::create_dir(&folder).ok()?;
        let tight = Self(folder);
        std::fs::write(tight.0.join(limit), (16 << 20).to_string()).ok()?;
        Some(tight)
    }
}

impl Drop for Tight {
    fn drop(&mut self) {
        // Who was in it may still be on its way out.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn who_is_killed_for_want_of_memory_is_told() {
    let Some(mut probe) = watch(BTreeSet::from(["oomkill".to_string()])) else { return };
    if probe.missing().iter().any(|text| text.contains("oomkill")) {
        return;
    }
    let Some(tight) = Tight::new(&marker("tight")) else {
        eprintln!("not tested here: memory cannot be limited");
        return;
    };
    // A line without an end is kept in memory.
    let script = format!("echo $$ > {}/cgroup.procs && exec tail /dev/zero", tight.0.display());
    let mut child = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).spawn().unwrap();
    let own = child.id();
    let keep = |seen: &Seen| seen.name == "oomkill" && seen.tgid == own;
    let seen = collect(&mut probe, &keep, &|seen| !seen.is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(seen.first(), Some(Seen { detail: Detail::Plain(_), .. })), "{seen:?}");
}
