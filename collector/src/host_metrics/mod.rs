//! Metrics of the host under node_exporter's names and labels, so that its dashboards and rules work.
//!
//! The collectors are those that node_exporter 1.5 has on by default, less hardware that only some hosts have
//! (hwmon, rapl, infiniband, ...). Each is a function from the text of a file under `/proc` or `/sys` to samples.
//!
//! | module | files |
//! |---|---|
//! | `cpu` | stat, loadavg, schedstat, pressure |
//! | `memory` | meminfo, vmstat |
//! | `disk` | diskstats, mounts |
//! | `network` | net/dev, net/sockstat, net/snmp, net/netstat, net/softnet_stat, /sys/class/net |
//! | `system` | uname, time, file handles, entropy, conntrack |
//! | `containers` | cgroups of containers, under cAdvisor's names and labels |
//! | [`registry`] | [`Registry`]: samples to batches of `series` and `samples` |

mod containers;
mod cpu;
mod disk;
mod memory;
mod network;
pub mod registry;
mod system;

pub(crate) use containers::collect as collect_containers;
pub use registry::{MetricBatches, Registry};

use bodkin_schema::EventTime;
use std::fs;
use std::path::{Path, PathBuf};

/// Takes one sample: name, labels, value.
pub(crate) type Emit<'a> = &'a mut dyn FnMut(&str, &[(&str, &str)], f64);

/// Turns the text of a file into samples.
type Parser = fn(&str, Emit<'_>);

/// Where the kernel's file systems are mounted.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into() }
    }
}

/// Takes one sample of every host metric at `now`. What cannot be read (a kernel without it, a restricted `/proc`) is
/// left out. May block for as long as a mounted network file system does.
pub fn collect(roots: &Roots, now: EventTime, emit: Emit<'_>) {
    let proc = |name: &str| text(&roots.proc.join(name));
    let parsers: [(&str, Parser); 11] = [
        ("stat", cpu::stat),
        ("loadavg", cpu::loadavg),
        ("schedstat", cpu::schedstat),
        ("meminfo", memory::meminfo),
        ("vmstat", memory::vmstat),
        ("diskstats", disk::diskstats),
        ("net/dev", network::dev),
        ("net/sockstat", network::sockstat),
        ("net/sockstat6", network::sockstat),
        ("net/softnet_stat", network::softnet),
        ("sys/fs/file-nr", system::file_handles),
    ];
    for (file, parse) in parsers {
        if let Some(text) = proc(file) {
            parse(&text, &mut *emit);
        }
    }
    for file in ["net/snmp", "net/netstat"] {
        if let Some(text) = proc(file) {
            network::counters(&text, &mut *emit);
        }
    }
    if let Some(text) = proc("net/snmp6") {
        network::counters6(&text, &mut *emit);
    }
    for resource in ["cpu", "io", "memory"] {
        if let Some(text) = proc(&format!("pressure/{resource}")) {
            cpu::pressure(resource, &text, &mut *emit);
        }
    }
    if let Some(mounts) = proc("1/mounts").or_else(|| proc("self/mounts")) {
        disk::filesystems(&mounts, &mut *emit);
    }
    system::numbers(&roots.proc, &mut *emit);
    system::uname(&mut *emit);
    system::time(now, &mut *emit);
    network::interfaces(&roots.sys.join("class/net"), emit);
}

fn text(file: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(file).ok()?).into_owned())
}

/// The number in a file that holds one.
fn number(file: &Path) -> Option<f64> {
    text(file)?.trim().parse().ok()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Emit;

    /// What `collect` emits, one `name{label="value"} value` a line.
    pub(crate) fn lines(collect: impl FnOnce(Emit<'_>)) -> Vec<String> {
        let mut lines = Vec::new();
        collect(&mut |name, labels, value| {
            let labels: Vec<String> = labels.iter().map(|(label, text)| format!("{label}={text:?}")).collect();
            lines.push(format!("{name}{{{}}} {value}", labels.join(",")));
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn this_host_has_the_metrics_that_dashboards_need() {
        let mut names = HashSet::new();
        let mut series = HashSet::new();
        collect(&Roots::default(), EventTime(1_500_000), &mut |name, labels, value| {
            names.insert(name.to_owned());
            assert!(series.insert(format!("{name}{labels:?}")), "{name}{labels:?} twice");
            assert!(!value.is_nan(), "{name}");
        });
        for name in [
            "node_cpu_seconds_total",
            "node_load1",
            "node_memory_MemAvailable_bytes",
            "node_network_receive_bytes_total",
            "node_filesystem_avail_bytes",
            "node_boot_time_seconds",
            "node_time_seconds",
            "node_uname_info",
            "node_context_switches_total",
            "node_vmstat_pgfault",
            "node_filefd_allocated",
            "node_sockstat_TCP_inuse",
            "node_netstat_Tcp_CurrEstab",
        ] {
            assert!(names.contains(name), "{name} is missing");
        }
    }

    #[test]
    fn missing_files_are_no_error() {
        let nothing = tempfile::tempdir().unwrap();
        let roots = Roots { proc: nothing.path().into(), sys: nothing.path().into() };
        let lines = testing::lines(|emit| collect(&roots, EventTime(0), emit));
        assert!(lines.iter().all(|line| line.starts_with("node_uname") || line.starts_with("node_time")), "{lines:?}");
    }
}
