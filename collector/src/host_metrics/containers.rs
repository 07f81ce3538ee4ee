//! Metrics of containers under cAdvisor's names and labels: what their cgroups and network devices say.
//!
//! Version 2 of cgroups is read where it is mounted alone, version 1 hierarchy by hierarchy otherwise.

use super::{Emit, Roots, number, text};
use crate::containers::{ContainerInfo, Lookup};
use crate::process::container::{from_cgroup_path, full_id};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are looked at in one round, at most, and how deep.
const FOLDERS_MAX: usize = 20_000;
const DEPTH_MAX: usize = 12;
/// What version 1 counts processor time of modes in, per second.
const USER_HZ: f64 = 100.0;
/// A limit as large as this is none.
const NO_LIMIT: f64 = 9.2e18;

/// Says what is known of a container: its short id, and its cgroup.
pub(crate) type Know<'a> = &'a mut dyn FnMut(&str, &str) -> Lookup;

/// Takes one sample of every metric of every container. What cannot be read is left out, and so is a container that runtimes
/// are being asked about: its series would change their labels.
pub(crate) fn collect(roots: &Roots, know: Know<'_>, emit: Emit<'_>) {
    let root = roots.sys.join("fs/cgroup");
    let is_unified = root.join("cgroup.controllers").exists();
    let walked = if is_unified { root.clone() } else { root.join("memory") };
    let mut found = Vec::new();
    find(&walked, String::new(), 0, &mut FOLDERS_MAX.clone(), &mut found);
    let host_network = fs::read_link(roots.proc.join("1/ns/net")).ok();
    for path in &found {
        let id = from_cgroup_path(path).unwrap_or_default();
        let unknown = ContainerInfo::default();
        let looked_up = know(id, path);
        let info = match &looked_up {
            Lookup::Known(info) => info.as_ref(),
            Lookup::Unknown => &unknown,
            Lookup::Waiting => continue,
        };
        let name = info.name.as_deref().or_else(|| full_id(path)).unwrap_or(id);
        let common = [
            ("id", path.as_str()),
            ("name", name),
            ("image", info.image.as_deref().unwrap_or_default()),
            ("namespace", info.namespace().unwrap_or_default()),
            ("pod", info.pod().unwrap_or_default()),
            ("container", info.labels.get("io.kubernetes.container.name").map_or("", String::as_str)),
        ];
        let mut emit = |metric: &str, labels: &[(&str, &str)], value: f64| {
            let labels: Vec<(&str, &str)> = common.iter().chain(labels).copied().collect();
            emit(metric, &labels, value);
        };
        let relative = path.trim_start_matches('/');
        if is_unified {
            unified(&root.join(relative), &roots.sys, &mut emit);
        } else {
            hierarchies(&root, relative, &roots.sys, &mut emit);
        }
        if let Some(start_ns) = info.start_ns {
            emit("container_start_time_seconds", &[], (start_ns as f64 / 1e9).floor());
        }
        network(&walked.join(relative), &roots.proc, host_network.as_deref(), &mut emit);
    }
}

/// Cgroups whose own name is that of a container; what is below them belongs to it.
fn find(folder: &Path, path: String, depth: usize, left: &mut usize, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if *left == 0 || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        *left -= 1;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = format!("{path}/{name}");
        if from_cgroup_path(name).is_some() {
            found.push(path);
        } else if depth < DEPTH_MAX {
            find(&entry.path(), path, depth + 1, left, found);
        }
    }
}

/// `key value` a line.
fn keyed(file: &Path, mut take: impl FnMut(&str, f64)) {
    for line in text(file).unwrap_or_default().lines() {
        if let Some((key, value)) = line.split_once(' ')
            && let Ok(value) = value.trim().parse()
        {
            take(key, value);
        }
    }
}

/// A limit, which may be `max`.
fn limit(file: &Path) -> f64 {
    number(file).filter(|limit| *limit < NO_LIMIT).unwrap_or(0.0)
}

/// Version 2: all of a container is in one folder.
fn unified(folder: &Path, sys: &Path, emit: Emit<'_>) {
    keyed(&folder.join("cpu.stat"), |key, value| match key {
        "usage_usec" => emit("container_cpu_usage_seconds_total", &[("cpu", "total")], value / 1e6),
        "user_usec" => emit("container_cpu_user_seconds_total", &[], value / 1e6),
        "system_usec" => emit("container_cpu_system_seconds_total", &[], value / 1e6),
        "nr_periods" => emit("container_cpu_cfs_periods_total", &[], value),
        "nr_throttled" => emit("container_cpu_cfs_throttled_periods_total", &[], value),
        "throttled_usec" => emit("container_cpu_cfs_throttled_seconds_total", &[], value / 1e6),
        _ => {}
    });
    if let Some((quota, period)) = text(&folder.join("cpu.max")).as_deref().and_then(|max| max.trim().split_once(' ')) {
        if let Ok(quota) = quota.parse() {
            emit("container_spec_cpu_quota", &[], quota);
        }
        if let Ok(period) = period.parse() {
            emit("container_spec_cpu_period", &[], period);
        }
    }
    if let Some(usage) = number(&folder.join("memory.current")) {
        let mut inactive = 0.0;
        keyed(&folder.join("memory.stat"), |key, value| match key {
            "inactive_file" => inactive = value,
            "anon" => emit("container_memory_rss", &[], value),
            "file" => emit("container_memory_cache", &[], value),
            "file_mapped" => emit("container_memory_mapped_file", &[], value),
            "pgfault" | "pgmajfault" => failures(key, value, emit),
            _ => {}
        });
        memory(usage, inactive, limit(&folder.join("memory.max")), emit);
    }
    if let Some(swap) = number(&folder.join("memory.swap.current")) {
        emit("container_memory_swap", &[], swap);
    }
    if let Some(most) = number(&folder.join("memory.peak")) {
        emit("container_memory_max_usage_bytes", &[], most);
    }
    keyed(&folder.join("memory.events"), |key, value| match key {
        "oom_kill" => emit("container_oom_events_total", &[], value),
        "max" => emit("container_memory_failcnt", &[], value),
        _ => {}
    });
    for line in text(&folder.join("io.stat")).unwrap_or_default().lines() {
        let mut fields = line.split_ascii_whitespace();
        let device = device(sys, fields.next().unwrap_or_default());
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let metric = match key {
                "rbytes" => "container_fs_reads_bytes_total",
                "wbytes" => "container_fs_writes_bytes_total",
                "rios" => "container_fs_reads_total",
                "wios" => "container_fs_writes_total",
                _ => continue,
            };
            if let Ok(value) = value.parse() {
                emit(metric, &[("device", &device)], value);
            }
        }
    }
    pids(folder, emit);
}

/// Version 1: a folder in each hierarchy.
fn hierarchies(root: &Path, path: &str, sys: &Path, emit: Emit<'_>) {
    let folder = |names: &[&str]| -> PathBuf {
        let found = names.iter().map(|name| root.join(name).join(path)).find(|folder| folder.is_dir());
        found.unwrap_or_else(|| root.join("-"))
    };
    let cpuacct = folder(&["cpuacct", "cpu,cpuacct"]);
    if let Some(usage_ns) = number(&cpuacct.join("cpuacct.usage")) {
        emit("container_cpu_usage_seconds_total", &[("cpu", "total")], usage_ns / 1e9);
    }
    keyed(&cpuacct.join("cpuacct.stat"), |key, value| match key {
        "user" => emit("container_cpu_user_seconds_total", &[], value / USER_HZ),
        "system" => emit("container_cpu_system_seconds_total", &[], value / USER_HZ),
        _ => {}
    });
    let cpu = folder(&["cpu", "cpu,cpuacct"]);
    keyed(&cpu.join("cpu.stat"), |key, value| match key {
        "nr_periods" => emit("container_cpu_cfs_periods_total", &[], value),
        "nr_throttled" => emit("container_cpu_cfs_throttled_periods_total", &[], value),
        "throttled_time" => emit("container_cpu_cfs_throttled_seconds_total", &[], value / 1e9),
        _ => {}
    });
    for (file, metric) in [
        ("cpu.shares", "container_spec_cpu_shares"),
        ("cpu.cfs_quota_us", "container_spec_cpu_quota"),
        ("cpu.cfs_period_us", "container_spec_cpu_period"),
    ] {
        // A quota of -1 is none.
        if let Some(value) = number(&cpu.join(file)).filter(|value| *value >= 0.0) {
            emit(metric, &[], value);
        }
    }
    let in_memory = folder(&["memory"]);
    if let Some(usage) = number(&in_memory.join("memory.usage_in_bytes")) {
        let mut inactive = 0.0;
        keyed(&in_memory.join("memory.stat"), |key, value| match key {
            "total_inactive_file" => inactive = value,
            "rss" => emit("container_memory_rss", &[], value),
            "cache" => emit("container_memory_cache", &[], value),
            "mapped_file" => emit("container_memory_mapped_file", &[], value),
            "swap" => emit("container_memory_swap", &[], value),
            "pgfault" | "pgmajfault" => failures(key, value, emit),
            _ => {}
        });
        memory(usage, inactive, limit(&in_memory.join("memory.limit_in_bytes")), emit);
    }
    if let Some(most) = number(&in_memory.join("memory.max_usage_in_bytes")) {
        emit("container_memory_max_usage_bytes", &[], most);
    }
    if let Some(count) = number(&in_memory.join("memory.failcnt")) {
        emit("container_memory_failcnt", &[], count);
    }
    keyed(&in_memory.join("memory.oom_control"), |key, value| {
        if key == "oom_kill" {
            emit("container_oom_events_total", &[], value);
        }
    });
    let blkio = folder(&["blkio"]);
    for (file, read, write) in [
        ("blkio.throttle.io_service_bytes", "container_fs_reads_bytes_total", "container_fs_writes_bytes_total"),
        ("blkio.throttle.io_serviced", "container_fs_reads_total", "container_fs_writes_total"),
    ] {
        for line in text(&blkio.join(file)).unwrap_or_default().lines() {
            let mut fields = line.split_ascii_whitespace();
            let (Some(number), Some(way), Some(Ok(value))) =
                (fields.next(), fields.next(), fields.next().map(str::parse))
            else {
                continue;
            };
            let metric = match way {
                "Read" => read,
                "Write" => write,
                _ => continue,
            };
            emit(metric, &[("device", &device(sys, number))], value);
        }
    }
    pids(&folder(&["pids"]), emit);
}

fn memory(usage: f64, inactive: f64, limit: f64, emit: Emit<'_>) {
    emit("container_memory_usage_bytes", &[], usage);
    emit("container_memory_working_set_bytes", &[], (usage - inactive).max(0.0));
    emit("container_spec_memory_limit_bytes", &[], limit);
}

fn failures(kind: &str, value: f64, emit: Emit<'_>) {
    emit("container_memory_failures_total", &[("failure_type", kind), ("scope", "container")], value);
}

fn pids(folder: &Path, emit: Emit<'_>) {
    if let Some(threads) = number(&folder.join("pids.current")) {
        emit("container_threads", &[], threads);
        emit("container_threads_max", &[], limit(&folder.join("pids.max")));
    }
    if let Some(processes) = text(&folder.join("cgroup.procs")) {
        emit("container_processes", &[], processes.lines().count() as f64);
    }
}

/// `/dev/sda` for `8:0`; the number where nobody knows it.
fn device(sys: &Path, number: &str) -> String {
    let link = fs::read_link(sys.join("dev/block").join(number)).ok();
    let name = link.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.map_or_else(|| number.to_owned(), |name| format!("/dev/{name}"))
}

/// What the devices of the container's network counted; nothing where it has the host's network.
fn network(folder: &Path, proc: &Path, host: Option<&Path>, emit: Emit<'_>) {
    const COLUMNS: [(usize, &str); 8] = [
        (0, "container_network_receive_bytes_total"),
        (1, "container_network_receive_packets_total"),
        (2, "container_network_receive_errors_total"),
        (3, "container_network_receive_packets_dropped_total"),
        (8, "container_network_transmit_bytes_total"),
        (9, "container_network_transmit_packets_total"),
        (10, "container_network_transmit_errors_total"),
        (11, "container_network_transmit_packets_dropped_total"),
    ];
    let processes = text(&folder.join("cgroup.procs")).unwrap_or_default();
    let Some(process) = processes.lines().next().map(|pid| proc.join(pid)) else { return };
    let own = fs::read_link(process.join("ns/net")).ok();
    if own.is_none() || own.as_deref() == host {
        return;
    }
    for line in text(&process.join("net/dev")).unwrap_or_default().lines().skip(2) {
        let Some((interface, counters)) = line.split_once(':') else { continue };
        let (interface, counters): (_, Vec<&str>) = (interface.trim(), counters.split_ascii_whitespace().collect());
        if interface == "lo" {
            continue;
        }
        for (column, metric) in COLUMNS {
            if let Some(Ok(value)) = counters.get(column).map(|field| field.parse()) {
                emit(metric, &[("interface", interface)], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::lines;
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn write(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    fn roots(folder: &Path) -> Roots {
        let (proc, sys) = (folder.join("proc"), folder.join("sys"));
        for (pid, namespace) in [("1", "net:[1]"), ("7", "net:[2]")] {
            fs::create_dir_all(proc.join(pid).join("ns")).unwrap();
            symlink(namespace, proc.join(pid).join("ns/net")).unwrap();
        }
        let counters =
            "Inter-|\n face |\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 0 1 0 0 0 0 20 3 0 0 0 0 0 0\n";
        write(&proc.join("7/net"), &[("dev", counters)]);
        fs::create_dir_all(sys.join("dev/block")).unwrap();
        symlink("../../devices/x/sda", sys.join("dev/block/8:0")).unwrap();
        Roots { proc, sys }
    }

    /// What a container of Kubernetes says, without its common labels.
    fn collected(roots: &Roots, path: &str) -> Vec<String> {
        let mut asked = Vec::new();
        let mut know = |id: &str, cgroup: &str| {
            asked.push((id.to_owned(), cgroup.to_owned()));
            let labels = [("namespace", "pod.namespace"), ("shop", "pod.name"), ("app", "container.name")];
            let labels = labels.map(|(value, key)| (format!("io.kubernetes.{key}"), value.to_owned())).into();
            let (name, image) = (Some("web".to_owned()), Some("nginx:1".to_owned()));
            let info = ContainerInfo { name, image, labels, start_ns: Some(5_500_000_000), ..Default::default() };
            Lookup::Known(Arc::new(info))
        };
        let shown = lines(|emit| collect(roots, &mut know, emit));
        assert_eq!(asked, [(ID[..12].to_owned(), path.to_owned())]);
        let common = format!(
            "id={path:?},name=\"web\",image=\"nginx:1\",namespace=\"namespace\",pod=\"shop\",container=\"app\""
        );
        let mut shown: Vec<String> =
            shown.iter().map(|line| line.replacen(&common, "", 1).replace("{,", "{")).collect();
        shown.sort();
        shown
    }

    fn expected(mut lines: Vec<&str>) -> Vec<String> {
        lines.extend([
            "container_network_receive_bytes_total{interface=\"eth0\"} 10",
            "container_network_receive_errors_total{interface=\"eth0\"} 0",
            "container_network_receive_packets_dropped_total{interface=\"eth0\"} 1",
            "container_network_receive_packets_total{interface=\"eth0\"} 2",
            "container_network_transmit_bytes_total{interface=\"eth0\"} 20",
            "container_network_transmit_errors_total{interface=\"eth0\"} 0",
            "container_network_transmit_packets_dropped_total{interface=\"eth0\"} 0",
            "container_network_transmit_packets_total{interface=\"eth0\"} 3",
            "container_start_time_seconds{} 5",
            "container_memory_usage_bytes{} 100",
            "container_memory_working_set_bytes{} 70",
            "container_memory_rss{} 40",
            "container_memory_cache{} 50",
            "container_memory_failures_total{failure_type=\"pgfault\",scope=\"container\"} 9",
            "container_cpu_usage_seconds_total{cpu=\"total\"} 2.5",
            "container_cpu_user_seconds_total{} 2",
            "container_cpu_cfs_throttled_seconds_total{} 0.5",
            "container_fs_reads_bytes_total{device=\"/dev/sda\"} 4096",
            "container_fs_writes_bytes_total{device=\"/dev/sda\"} 8192",
            "container_threads{} 3",
            "container_processes{} 2",
            "container_oom_events_total{} 1",
        ]);
        let mut lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn version_2() {
        let folder = tempfile::tempdir().unwrap();
        let roots = roots(folder.path());
        let path = format!("/kubepods.slice/pod1.slice/cri-containerd-{ID}.scope");
        write(&roots.sys.join("fs/cgroup"), &[("cgroup.controllers", "cpu memory\n")]);
        let own = roots.sys.join("fs/cgroup").join(&path[1..]);
        write(
            &own,
            &[
                ("cpu.stat", "usage_usec 2500000\nuser_usec 2000000\nthrottled_usec 500000\nother x\n"),
                ("cpu.max", "50000 100000\n"),
                ("memory.current", "100\n"),
                ("memory.max", "max\n"),
                ("memory.stat", "anon 40\nfile 50\ninactive_file 30\npgfault 9\n"),
                ("memory.events", "low 0\noom_kill 1\n"),
                ("io.stat", "8:0 rbytes=4096 wbytes=8192\n"),
                ("pids.current", "3\n"),
                ("pids.max", "10\n"),
                ("cgroup.procs", "7\n8\n"),
            ],
        );
        write(&own.join("inner"), &[("memory.current", "1\n")]);
        assert_eq!(
            collected(&roots, &path),
            expected(vec![
                "container_spec_cpu_quota{} 50000",
                "container_spec_cpu_period{} 100000",
                "container_spec_memory_limit_bytes{} 0",
                "container_threads_max{} 10",
            ])
        );
    }

    #[test]
    fn version_1() {
        let folder = tempfile::tempdir().unwrap();
        let roots = roots(folder.path());
        let path = format!("/docker/{ID}");
        let own = |hierarchy: &str| roots.sys.join("fs/cgroup").join(hierarchy).join(&path[1..]);
        write(&own("cpu,cpuacct"), &[("cpuacct.usage", "2500000000\n"), ("cpuacct.stat", "user 200\n")]);
        write(&own("cpu,cpuacct"), &[("cpu.stat", "throttled_time 500000000\n"), ("cpu.cfs_quota_us", "-1\n")]);
        write(
            &own("memory"),
            &[
                ("memory.usage_in_bytes", "100\n"),
                ("memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory.stat", "rss 40\ncache 50\npgfault 9\ntotal_inactive_file 30\n"),
                ("memory.oom_control", "oom_kill_disable 0\noom_kill 1\n"),
                ("cgroup.procs", "7\n8\n"),
            ],
        );
        let bytes = "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 0\nTotal 12288\n";
        write(&own("blkio"), &[("blkio.throttle.io_service_bytes", bytes)]);
        write(&own("pids"), &[("pids.current", "3\n"), ("pids.max", "max\n"), ("cgroup.procs", "7\n8\n")]);
        assert_eq!(
            collected(&roots, &path),
            expected(vec!["container_spec_memory_limit_bytes{} 0", "container_threads_max{} 0"])
        );
    }

    #[test]
    fn no_containers_no_metrics() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots { proc: folder.path().into(), sys: folder.path().into() };
        assert!(lines(|emit| collect(&roots, &mut |_, _| Lookup::Unknown, emit)).is_empty());
    }
}
