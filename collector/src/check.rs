//! `bodkin-agent check`: what this host allows, and what will be missing.

use crate::agent::AgentConfig;
use crate::containers::resolver::usual_sockets;
use crate::probe::{Probe, ProbeConfig};
use rustix::thread::CapabilitySet;
use serde::Serialize;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// How it is.
    pub state: State,
    /// In words: what was found, or what will be missing and how to change that.
    pub detail: String,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// The agent runs, and something will be missing.
    Missing,
    /// There will be no kernel events.
    Bad,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of looking.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Kernel events can be had.
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.state != State::Bad)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = match finding.state {
                State::Good => "ok",
                State::Missing => "missing",
                State::Bad => "no",
            };
            writeln!(f, "{:<14} {mark:<8} {}", finding.what, finding.detail)?;
        }
        Ok(())
    }
}

/// Looks, and attaches the programs for a moment to see whether the kernel takes them.
pub fn check(config: &AgentConfig) -> Report {
    let mut findings = vec![kernel(), types(), capabilities()];
    findings.extend(programs(config));
    findings.push(cgroups());
    findings.push(runtimes(config));
    Report { findings }
}

fn finding(what: &'static str, state: State, detail: impl Into<String>) -> Finding {
    Finding { what, state, detail: detail.into() }
}

fn kernel() -> Finding {
    let name = rustix::system::uname();
    let detail = format!("{} {}", name.release().to_string_lossy(), name.machine().to_string_lossy());
    finding("kernel", State::Good, detail)
}

fn types() -> Finding {
    match std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        true => finding("types", State::Good, "/sys/kernel/btf/vmlinux"),
        false => finding("types", State::Bad, "no /sys/kernel/btf/vmlinux: the kernel needs CONFIG_DEBUG_INFO_BTF"),
    }
}

/// What each capability is for. The first two are needed for kernel events, unless there is CAP_SYS_ADMIN.
const CAPABILITIES: [(CapabilitySet, &str, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF", "kernel events"),
    (CapabilitySet::PERFMON, "CAP_PERFMON", "kernel events"),
    (
        CapabilitySet::SYS_PTRACE,
        "CAP_SYS_PTRACE",
        "executable and working directory of processes that were there before",
    ),
];

fn capabilities() -> Finding {
    let effective = match rustix::thread::capabilities(None) {
        Ok(sets) => sets.effective,
        Err(error) => return finding("capabilities", State::Bad, error.to_string()),
    };
    let is_admin = effective.contains(CapabilitySet::SYS_ADMIN);
    let is_held = |set: CapabilitySet, at: usize| effective.contains(set) || (is_admin && at < 2);
    let missing: Vec<_> = CAPABILITIES.iter().enumerate().filter(|(at, (set, ..))| !is_held(*set, *at)).collect();
    let state = match missing.first() {
        None => return finding("capabilities", State::Good, CAPABILITIES.map(|(_, name, _)| name).join(" ")),
        Some((at, _)) if *at < 2 => State::Bad,
        Some(_) => State::Missing,
    };
    let detail: Vec<String> = missing.iter().map(|(_, (_, name, loss))| format!("{name}: {loss}")).collect();
    finding("capabilities", state, detail.join("; "))
}

fn programs(config: &AgentConfig) -> Vec<Finding> {
    let probe = match Probe::attach(&ProbeConfig::of(&config.section)) {
        Ok(probe) => probe,
        Err(error) => return vec![finding("programs", State::Bad, crate::error::chain(&error))],
    };
    let (programs, events) = probe.programs();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let mut findings = vec![
        finding("programs", State::Good, programs.join(" ")),
        finding("events", State::Good, format!("clone execve procexit {}", events.join(" "))),
    ];
    let missing = probe.missing().iter();
    findings.extend(missing.map(|loss| finding("tracepoints", State::Missing, loss.clone())));
    findings
}

fn cgroups() -> Finding {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = || mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let is_pids = |line: &Vec<&str>| {
        line.get(2) == Some(&"cgroup")
            && line.get(3).is_some_and(|options| options.split(',').any(|option| option == "pids"))
    };
    let v1 = fields().find(is_pids);
    let v2 = fields().find(|line| line.get(2) == Some(&"cgroup2"));
    let at = |line: &Vec<&str>| line.get(1).map(|mount| (*mount).to_owned()).unwrap_or_default();
    match (v1, v2) {
        (Some(v1), _) => finding("cgroups", State::Good, format!("v1, pids at {}", at(&v1))),
        (None, Some(v2)) => finding("cgroups", State::Good, format!("v2 at {}", at(&v2))),
        (None, None) => finding("cgroups", State::Missing, "no hierarchy is mounted: containers have no id"),
    }
}

fn runtimes(config: &AgentConfig) -> Finding {
    let section = &config.containers;
    let configured = section.docker_socket.iter().chain(&section.cri_socket);
    if let Some(missing) = configured.clone().find(|socket| !socket.exists()) {
        return finding("runtimes", State::Missing, format!("{} is configured and not there yet", missing.display()));
    }
    let there = usual_sockets().chain(configured.cloned()).filter(|socket| socket.exists());
    let (open, closed): (Vec<PathBuf>, Vec<PathBuf>) = there.partition(|socket| UnixStream::connect(socket).is_ok());
    let names = |sockets: &[PathBuf]| sockets.iter().map(|s| s.display().to_string()).collect::<Vec<_>>().join(" ");
    let closed_hint = "nobody answers, or the agent is not in the group of the socket";
    match (open.is_empty(), closed.is_empty()) {
        (false, _) => finding("runtimes", State::Good, names(&open)),
        (true, false) => finding("runtimes", State::Missing, format!("{}: {closed_hint}", names(&closed))),
        (true, true) => finding(
            "runtimes",
            State::Missing,
            "no socket of Docker, Podman, containerd or CRI-O: containers have an id only",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Output;

    #[test]
    fn it_says_what_is_there_and_what_is_not() {
        let mut config = AgentConfig::new(Output::Null, "unused");
        config.containers.docker_socket = Some("/nowhere/docker.sock".into());
        let report = check(&config);
        let of = |what: &str| report.findings.iter().find(|finding| finding.what == what).unwrap();
        assert_eq!(of("kernel").state, State::Good);
        assert!(of("runtimes").detail.contains("/nowhere/docker.sock"));
        assert_eq!(report.is_good(), of("programs").state == State::Good, "{report}");
        let text = report.to_string();
        assert!(
            text.lines().count() == report.findings.len() && text.starts_with("kernel         ok       "),
            "{text}"
        );
    }

    #[test]
    fn without_rights_it_says_which_are_needed_for_what() {
        use rustix::thread::CapabilitySets;
        // Capabilities belong to the thread, and each test has its own.
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
        let found = capabilities();
        assert_eq!(found.state, State::Bad);
        assert!(
            found.detail.contains("CAP_BPF: kernel events") && found.detail.contains("CAP_SYS_PTRACE"),
            "{found:?}"
        );
    }
}
