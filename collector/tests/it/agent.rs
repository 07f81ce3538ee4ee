//! The agent as a whole, and as a process.

use crate::server::{Stored, TestServer};
use crate::wait_for;
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use bodkin_collector::agent::{Agent, AgentConfig, EbpfMode, Output};
use bodkin_collector::cli::ConfigWatch;
use bodkin_collector::client::{Server, TlsFiles};
use bodkin_collector::config::ConfigFile;
use bodkin_schema::{Stream, SystemClock, check_compatible, events};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A text column of a stored batch; null is empty.
fn texts(stored: &Stored, column: &str) -> Vec<String> {
    let plain = cast(stored.records.column_by_name(column).unwrap(), &DataType::Utf8).unwrap();
    plain.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}

fn start(dir: &Path, url: &str, ebpf: EbpfMode) -> Agent {
    let server = Server::new(url, &TlsFiles::default()).unwrap();
    let config = AgentConfig { ebpf, ..AgentConfig::new(Output::Server(server), dir) };
    Agent::start(config, Arc::new(SystemClock::default())).unwrap()
}

#[test]
fn without_ebpf_it_says_so_and_sends_metrics_and_processes() {
    let (dir, server) = (tempfile::tempdir().unwrap(), TestServer::on_a_free_port());
    let agent = start(dir.path(), &server.url(), EbpfMode::Off);
    let status = agent.status();
    assert!(!status.ebpf && status.unseen[0].contains("/proc") && status.unseen[0].contains("switched off"));
    wait_for("metrics", || !server.stored("samples").is_empty());
    let samples = column_i64(&server.stored("samples"), "series_id");
    assert!(samples.len() > 100);
    let series = || column_i64(&server.stored("series"), "series_id").into_iter().collect::<BTreeSet<i64>>();
    wait_for("the series of every sample", || samples.iter().all(|id| series().contains(id)));

    let marker = format!("31{}", std::process::id());
    let mut child = Command::new("sleep").arg(&marker).spawn().unwrap();
    let seen = |name: &str| {
        let rows = server.stored("events").into_iter().flat_map(|stored| {
            texts(&stored, events::EVT_TYPE).into_iter().zip(texts(&stored, events::ARGS)).collect::<Vec<_>>()
        });
        rows.into_iter().any(|(evt_type, args)| evt_type == name && args == marker)
    };
    wait_for("execve", || seen("execve"));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("procexit", || seen("procexit"));
    agent.stop().unwrap();
    for stored in &server.disk.lock().unwrap().stored {
        let stream = Stream::from_name(&stored.lane.stream).unwrap();
        check_compatible(&stream.schema(), &stored.records.schema()).unwrap();
    }
}

fn column_i64(stored: &[Stored], column: &str) -> Vec<i64> {
    let values =
        |stored: &Stored| stored.records.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec();
    stored.iter().flat_map(values).collect()
}

/// The rows of a marked command, from the kernel to the server. Needs root and BTF; elsewhere it says so and passes.
#[test]
fn with_ebpf_a_command_is_seen_from_fork_to_exit() {
    let (dir, server) = (tempfile::tempdir().unwrap(), TestServer::on_a_free_port());
    let agent = start(dir.path(), &server.url(), EbpfMode::Auto);
    if !agent.status().ebpf {
        assert!(std::env::var_os("BODKIN_REQUIRE_EBPF").is_none(), "{:?}", agent.status().unseen);
        eprintln!("not tested here: {:?}", agent.status().unseen);
        return;
    }
    let (marker, mut pids) = (format!("bodkin-agent-{}", std::process::id()), BTreeSet::new());
    let file = dir.path().join(&marker);
    let script = format!("cd {} && echo x > ./sub/../{marker} && mv {marker} {marker}.new", dir.path().display());
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());

    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    wait_for("the rename", || {
        (rows, pids) = marked_rows(&server, &marker);
        rows.keys().any(|name| name.starts_with("rename"))
    });
    let path = file.display().to_string();
    assert!(rows["openat"].iter().any(|row| row.starts_with(&format!("{path} O_"))), "{rows:?}");
    assert!(rows["execve"].len() >= 2, "sh and mv: {rows:?}");
    let rename = rows.iter().find(|(name, _)| name.starts_with("rename")).unwrap().1;
    assert!(rename.iter().any(|row| row.starts_with(&format!("{path} "))), "{rows:?}");
    wait_for("the exits", || marked_rows(&server, &marker).0.get("procexit").is_some_and(|exits| exits.len() >= 2));
    let status = agent.status();
    assert!(status.connected && status.processes.entries > 1 && status.programs.len() >= 4);
    agent.stop().unwrap();
}

/// Rows whose command line or path holds the marker, `path flags` by event type, and their processes.
fn marked_rows(server: &TestServer, marker: &str) -> (BTreeMap<String, Vec<String>>, BTreeSet<i32>) {
    let (mut rows, mut pids) = (BTreeMap::<String, Vec<String>>::new(), BTreeSet::new());
    for stored in server.stored("events") {
        let pid = stored.records.column_by_name(events::PID).unwrap().as_primitive::<Int32Type>().values().to_vec();
        let names = [events::EVT_TYPE, events::CMDLINE, events::PATH, events::FLAGS];
        let [evt_type, cmdline, path, flags] = names.map(|name| texts(&stored, name));
        for row in 0..pid.len() {
            if cmdline[row].contains(marker) || path[row].contains(marker) {
                rows.entry(evt_type[row].clone()).or_default().push(format!("{} {}", path[row], flags[row]));
                pids.insert(pid[row]);
            }
        }
    }
    (rows, pids)
}

struct Process {
    child: Child,
    ready: serde_json::Value,
}

impl Process {
    fn start(dir: &Path, url: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bodkin-agent"))
            .args(["--no-ebpf", "--server", url, "--data-dir"])
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, ready: serde_json::from_str(&line).unwrap() }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

#[test]
fn a_process_spools_on_sigterm_and_the_next_one_sends() {
    let (dir, server) = (tempfile::tempdir().unwrap(), TestServer::on_a_free_port());
    let url = server.url();
    let (disk, address) = server.kill();
    let mut process = Process::start(dir.path(), &url);
    assert_eq!((&process.ready["ready"], &process.ready["ebpf"]), (&true.into(), &false.into()));
    assert!(process.ready["unseen"][0].as_str().unwrap().contains("/proc"));
    let spooled = || std::fs::read_dir(dir.path().join("spool/metrics")).is_ok_and(|mut lanes| lanes.next().is_some());
    wait_for("the spool", spooled);
    let begun = Instant::now();
    process.signal(rustix::process::Signal::TERM);
    assert!(process.child.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(5));

    let server = TestServer::start(disk, address);
    let mut process = Process::start(dir.path(), &url);
    let incarnations = || server.stored("samples").iter().map(|s| s.lane.incarnation).collect::<BTreeSet<_>>();
    wait_for("both lives", || incarnations().len() == 2);
    process.signal(rustix::process::Signal::TERM);
    assert!(process.child.wait().unwrap().success());
    wait_for("nothing is left", || !spooled());
}

#[test]
fn what_cannot_start_says_why() {
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bodkin-agent")).args(args).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(&[]).contains("give --server URL"));
    assert!(run(&["--server", "http://x"]).contains("grpc"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    std::fs::write(&file, "agent:\n  ring: 8\n").unwrap();
    let error = run(&["--output", "null", "--config", file.to_str().unwrap()]);
    assert!(error.contains("ring") && error.contains('2'), "{error}");
}

#[test]
fn a_changed_configuration_is_applied_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.yaml");
    let write = |text: &str, second: u64| {
        std::fs::write(&file, text).unwrap();
        let later = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
    };
    write("agent: {events: [openat]}\n", 1);
    let config = AgentConfig { metrics_interval: None, ..AgentConfig::new(Output::Null, dir.path().join("data")) };
    let config = AgentConfig { section: ConfigFile::read(&file).unwrap().agent, ..config };
    let agent = Agent::start(config, Arc::new(SystemClock::default())).unwrap();
    if !agent.status().ebpf {
        assert!(std::env::var_os("BODKIN_REQUIRE_EBPF").is_none(), "{:?}", agent.status().unseen);
        return;
    }
    let mut watch = ConfigWatch::new(file.clone());
    assert_eq!(agent.status().events, ["openat"]);
    write("agent: {events: [nonsense]}\n", 2);
    watch.look(&agent);
    write("agent: {events: [unlink, connect]}\n", 3);
    watch.look(&agent);
    wait_for("the new events", || agent.status().events == ["connect", "unlink"]);
    agent.stop().unwrap();
}

#[test]
fn a_pushed_configuration_is_applied_and_reported_back() {
    let push = |version: &str, agent: serde_json::Value| serde_json::json!({ "version": version, "agent": agent });
    let config = tokio::sync::watch::Sender::new(push("1", serde_json::json!({ "events": ["openat"] })));
    let server = TestServer::on_a_free_port();
    server.disk.lock().unwrap().config = Some(config.clone());
    let dir = tempfile::tempdir().unwrap();
    let upstream = Server::new(&server.url(), &TlsFiles::default()).unwrap();
    let start = AgentConfig::new(Output::Server(upstream), dir.path().join("data"));
    let agent = Agent::start(start, Arc::new(SystemClock::default())).unwrap();
    let reports = || -> Vec<(String, bool)> {
        let disk = server.disk.lock().unwrap();
        let version = |report: &serde_json::Value| report["version"].as_str().unwrap().to_owned();
        disk.reports.iter().map(|report| (version(report), report["error"].is_null())).collect()
    };
    wait_for("the first report", || reports() == [("1".to_owned(), true)]);
    config.send_replace(push("2", serde_json::json!({ "evnts": [] })));
    wait_for("the report of a mistake", || reports().last() == Some(&("2".to_owned(), false)));
    config.send_replace(push("3", serde_json::json!({ "events": ["connect", "unlink"] })));
    wait_for("the third report", || reports().last() == Some(&("3".to_owned(), true)));
    assert_eq!(agent.status().pushed.version, "3");
    if agent.status().ebpf {
        wait_for("the new events", || agent.status().events == ["connect", "unlink"]);
    }
    let host = server.disk.lock().unwrap().reports[0]["host"].as_str().unwrap().to_owned();
    assert!(!host.is_empty());
    agent.stop().unwrap();
}

#[test]
fn top_shows_what_goes_on() {
    let output = Command::new(env!("CARGO_BIN_EXE_bodkin-agent"))
        .args(["top", "--count", "1", "--interval", "1", "--lines", "3"])
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        assert!(errors.contains("missing") && std::env::var_os("BODKIN_REQUIRE_EBPF").is_none(), "{errors}");
        return;
    }
    for column in ["PID", "CALLS/S", "P99", "PROCESS"] {
        assert!(text.contains(column), "{text}");
    }
    // Nothing beside the lists: no other process can write to the screen.
    assert!(text.lines().count() <= 5 * 5, "{text}");
}

#[test]
fn check_says_what_the_host_allows() {
    let output = Command::new(env!("CARGO_BIN_EXE_bodkin-agent")).args(["check", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let states: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|f| f["state"].as_str().unwrap()).collect();
    assert_eq!(output.status.success(), !states.contains(&"bad"), "{report}");
    assert!(states.len() >= 6);
}
