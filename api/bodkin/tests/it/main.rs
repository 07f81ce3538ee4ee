//! The binaries as users run them. Each test runs a script of `tests/python` at the root of the workspace against the
//! binaries of this build; the same scripts run against a release build by hand.
//!
//! They need root (kernel programs, a tmpfs) and the Python environment that `./check` makes.
#![allow(clippy::print_stdout, reason = "what a script measured is worth reading")]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies two folders deep").to_owned()
}

fn python() -> PathBuf {
    std::env::var_os("BODKIN_TEST_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from)
}

/// Runs a script; it fails by its exit status, and what it said is shown.
fn script(name: &str, args: &[&str]) {
    let bodkin = Path::new(env!("CARGO_BIN_EXE_bodkin"));
    let agent = bodkin.with_file_name("bodkin-agent");
    assert!(agent.exists(), "{} is missing: cargo build --workspace makes it", agent.display());
    let output = Command::new(python())
        // Where cargo says libraries may be: every program that a script starts would search all those folders.
        .env_remove("LD_LIBRARY_PATH")
        .arg(root().join("tests/python").join(name))
        .arg("--bodkin")
        .arg(bodkin)
        .arg("--agent")
        .arg(agent)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; ./check makes it", python().display()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{name}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
}

/// ACK-2, DROP-1: everything that happens is in SQL, once.
#[test]
fn kernel_to_sql() {
    script("kernel_to_sql.py", &[]);
}

/// Configuration that changes while everything runs, pushed to agents and under `bodkin up`.
#[test]
fn configure() {
    script("configure.py", &[]);
}

/// ACK-1, ONCE-1: kill -9 of the server in the middle.
#[test]
fn crash() {
    script("crash.py", &[]);
}

/// ACK-1, ONCE-1: kill -9 under load; `./check --kill N` does it often, and to a release build.
#[test]
fn kill() {
    script("kill.py", &["--cycles", "4", "--rate", "20000", "--life", "1.5", "--deadline", "60"]);
}

/// TAIL-1, ONCE-2: foreign clients see the rows that SQL sees.
#[test]
fn clients() {
    script("clients.py", &[]);
}

/// ACK-1, TAIL-1: columns of another type than the registered one.
#[test]
fn column_types() {
    script("column_types.py", &[]);
}

/// A table of many small files is loaded and asked; 100,000 of them against a release build by hand.
#[test]
fn many_files() {
    script("many_files.py", &["--files", "2000", "--load-max", "30", "--plan-max", "5"]);
}

/// MEM-1, ACK-1: queries beyond all bounds, while rows come in; 50 GB against a release build by hand.
#[test]
fn big_query() {
    let bounds = ["--rows", "400000", "--memory", "64MiB", "--timeout", "3s"];
    script("big_query.py", &[&bounds[..], &["--queries", "sort,join,cross,table"]].concat());
}

/// LATE-1, DET-1: windows, alerts and deliveries, over a kill -9.
#[test]
fn flow() {
    script("flow.py", &[]);
}

/// Every channel against its real receiver, or a double of its contract.
#[test]
fn forward() {
    script("forward.py", &[]);
}

/// A server that forwards is killed and loses nothing; `./check --forward N` does it N times.
#[test]
fn forward_kill() {
    script("forward_kill.py", &["--kills", "2"]);
}

/// RULE-1: rules live and over history, audit events, reload.
#[test]
fn detection() {
    script("detection.py", &[]);
}

/// RULE-1: which rules an event meets is decided in the log, and survives kill -9.
#[test]
fn rules_log() {
    script("rules_log.py", &["--deadline", "60"]);
}

/// SAFE-1, ACK-1: hostile input and a full disk.
#[test]
fn hostile() {
    script("hostile.py", &["--mutants", "2000"]);
}

/// ACK-1, ONCE-1: tables in a bucket that fails for a while, under a server that is killed.
#[test]
fn s3() {
    script("s3.py", &[]);
}

/// ACK-1: folders that cannot be written for a while, a clock that jumps.
#[test]
fn adverse() {
    script("adverse.py", &[]);
}

/// LATE-1: every tier is a batch over the samples; PromQL and SQL answer the same from tiers as from samples.
#[test]
fn rollup() {
    script("rollup.py", &["--series", "6", "--interval", "600", "--pieces", "8", "--queries", "60"]);
}

/// LATE-1 of the tiers of flows; flows that carry what was known of their process at their time.
#[test]
fn flow_rollup() {
    script("flow_rollup.py", &[]);
}

/// ONCE-1: CloudTrail's files in a bucket under a server that is killed.
#[test]
fn cloudtrail_s3() {
    script("cloudtrail_s3.py", &[]);
}

/// ONCE-2: foreign readers see the rows of each version while compaction rewrites the files.
#[test]
fn readers() {
    script("readers.py", &[]);
}

/// ONCE-2: the same of every table that a host fills.
#[test]
fn readers_of_all_tables() {
    script("readers_all.py", &[]);
}

/// ACK-1, ONCE-1: kill -9 while samples come by remote write.
#[test]
fn remote_write() {
    script("remote_write.py", &[]);
}

/// What Grafana's Prometheus data source asks is answered as it expects.
#[test]
fn grafana() {
    script("grafana.py", &[]);
}

/// Random PromQL is answered as Prometheus answers it, where one is here.
#[test]
fn random_promql() {
    script("random_promql.py", &["--queries", "400"]);
}

/// TAIL-1, SAFE-1: PromQL over memory and files, rules, scraping, floods.
#[test]
fn metrics() {
    script("metrics.py", &["--deadline", "60", "--flood", "20000"]);
}
