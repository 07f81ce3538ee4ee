//! From readings and events to what an interval did.

use crate::flows::FlowTable;
use crate::path;
use crate::probe::CallReading;
use crate::process::{ProcessTable, container};
use bodkin_ebpf::event::{Flow, Name};
use bodkin_ebpf::layout::{TIMES_BUCKETS, TIMES_FIRST_BITS};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Files that are told apart in an interval.
const FILES_MAX: usize = 16 * 1024;

/// Calls of an interval, and what they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How many.
    pub calls: u64,
    /// How many failed.
    pub errors: u64,
    /// Nanoseconds in all of them.
    pub ns: u64,
}

/// A process of an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessRow {
    /// Process id.
    pub pid: u32,
    /// Container, or `host`.
    pub container: String,
    /// Command line, or the short name.
    pub command: String,
    /// Its calls.
    pub calls: Calls,
}

/// A system call of an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRow {
    /// Name.
    pub name: &'static str,
    /// Its calls.
    pub calls: Calls,
    /// Nanoseconds below which 99 of 100 calls stayed, to the next power of two.
    pub p99_ns: u64,
}

/// A conversation of an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRow {
    /// Process id, 0 where unknown.
    pub pid: u32,
    /// Short name of the process.
    pub comm: String,
    /// Both ends.
    pub ends: String,
    /// Bytes both ways.
    pub bytes: u64,
    /// Round trip.
    pub rtt_us: u32,
}

/// What an interval did, the most first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// How long it was.
    pub elapsed: Duration,
    /// Processes by their calls.
    pub processes: Vec<ProcessRow>,
    /// Containers by their calls.
    pub containers: Vec<(String, Calls)>,
    /// System calls by the time they took.
    pub calls: Vec<CallRow>,
    /// Files by how often they were opened.
    pub files: Vec<(String, u64)>,
    /// Conversations by bytes.
    pub flows: Vec<FlowRow>,
    /// Processes whose counts can be forgotten.
    pub gone: Vec<u32>,
}

/// What has been counted so far.
#[derive(Debug, Default)]
pub struct Tally {
    before: FxHashMap<(u32, &'static str), (Calls, [u64; TIMES_BUCKETS])>,
    files: FxHashMap<String, u64>,
    table: FlowTable,
    ended: Vec<Flow>,
    scratch: String,
}

impl Tally {
    /// A file was opened, or tried to.
    pub fn opened(&mut self, name: &Name<'_>) {
        if !path::write_name(name, &mut self.scratch) {
            return;
        }
        if let Some(count) = self.files.get_mut(&self.scratch) {
            *count += 1;
        } else if self.files.len() < FILES_MAX {
            self.files.insert(self.scratch.clone(), 1);
        }
    }

    /// A connection ended.
    pub fn ended(&mut self, flow: &Flow) {
        let interval = self.table.ended(flow);
        self.ended.push(interval.flow);
    }

    /// What was done since the last call.
    pub fn end(
        &mut self,
        readings: &[CallReading],
        flows: &[Flow],
        table: &ProcessTable,
        elapsed: Duration,
    ) -> Interval {
        let mut by_process: FxHashMap<u32, Calls> = FxHashMap::default();
        let mut by_call: BTreeMap<&'static str, (Calls, [u64; TIMES_BUCKETS])> = BTreeMap::new();
        let mut now = FxHashMap::default();
        for reading in readings {
            let total = Calls { calls: reading.calls, errors: reading.errors, ns: reading.ns };
            let times = reading.times.unwrap_or([0; TIMES_BUCKETS]);
            let key = (reading.tgid, reading.name);
            let (before, times_before) =
                self.before.get(&key).copied().unwrap_or((Calls::default(), [0; TIMES_BUCKETS]));
            let done = Calls {
                calls: total.calls.saturating_sub(before.calls),
                errors: total.errors.saturating_sub(before.errors),
                ns: total.ns.saturating_sub(before.ns),
            };
            by_process.entry(reading.tgid).or_default().add(done);
            let (calls, buckets) = by_call.entry(reading.name).or_insert((Calls::default(), [0; TIMES_BUCKETS]));
            calls.add(done);
            let grown = times.iter().zip(times_before).map(|(now, before)| now.saturating_sub(before));
            buckets.iter_mut().zip(grown).for_each(|(sum, grown)| *sum += grown);
            now.insert(key, (total, times));
        }
        self.before = now;
        let gone = by_process.keys().copied().filter(|pid| table.get(*pid).is_none()).collect();
        let calls = by_call.into_iter().map(|(name, (calls, buckets))| CallRow { name, calls, p99_ns: p99(&buckets) });
        let files = std::mem::take(&mut self.files).into_iter().collect();
        Interval {
            elapsed,
            containers: containers(&by_process, table),
            processes: sorted(processes(&by_process, table), |row| row.calls.calls),
            calls: sorted(calls.filter(|row| row.calls.calls > 0).collect(), |row| row.calls.ns),
            files: sorted(files, |(_, count)| *count),
            flows: sorted(self.flows(flows, table), |row| row.bytes),
            gone,
        }
    }

    fn flows(&mut self, flows: &[Flow], table: &ProcessTable) -> Vec<FlowRow> {
        let lasting = self.table.round(flows).into_iter().map(|interval| interval.flow);
        let all = lasting.chain(std::mem::take(&mut self.ended));
        all.map(|flow| FlowRow {
            pid: flow.tgid,
            comm: table.get(flow.tgid).and_then(|process| process.comm.as_deref()).unwrap_or("?").to_owned(),
            ends: format!(
                "{} {}:{} - {}:{}",
                if flow.protocol == 17 { "udp" } else { "tcp" },
                address(flow.family, &flow.local),
                flow.local_port,
                address(flow.family, &flow.remote),
                flow.remote_port
            ),
            bytes: flow.bytes_sent + flow.bytes_received,
            rtt_us: flow.rtt_us,
        })
        .collect()
    }
}

impl Calls {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.ns += other.ns;
    }
}

fn processes(by_process: &FxHashMap<u32, Calls>, table: &ProcessTable) -> Vec<ProcessRow> {
    let row = |(pid, calls): (&u32, &Calls)| {
        let process = table.get(*pid);
        let command = process.and_then(|process| process.cmdline.as_ref().or(process.comm.as_ref()));
        ProcessRow {
            pid: *pid,
            container: process.map_or(container::HOST, |process| &process.container_id).to_owned(),
            command: command.map_or("?", |text| text).to_owned(),
            calls: *calls,
        }
    };
    by_process.iter().filter(|(_, calls)| calls.calls > 0).map(row).collect()
}

fn containers(by_process: &FxHashMap<u32, Calls>, table: &ProcessTable) -> Vec<(String, Calls)> {
    let mut sums: BTreeMap<String, Calls> = BTreeMap::new();
    for row in processes(by_process, table) {
        sums.entry(row.container).or_default().add(row.calls);
    }
    sorted(sums.into_iter().collect(), |(_, calls)| calls.calls)
}

/// The most first; rows of the same amount stay as they came.
fn sorted<T>(mut rows: Vec<T>, amount: impl Fn(&T) -> u64) -> Vec<T> {
    rows.sort_by_key(|row| std::cmp::Reverse(amount(row)));
    rows
}

fn p99(buckets: &[u64; TIMES_BUCKETS]) -> u64 {
    let total: u64 = buckets.iter().sum();
    let mut left = total - total / 100;
    for (at, count) in buckets.iter().enumerate() {
        left = left.saturating_sub(*count);
        if left == 0 && total > 0 {
            return 1 << (at as u32 + TIMES_FIRST_BITS);
        }
    }
    0
}

fn address(family: u16, bytes: &[u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = *bytes;
    match family {
        10 => IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical(),
        _ => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::users::Users;
    use crate::process::{Limits, ProcFs, Process};

    #[test]
    fn an_interval_has_what_it_did() {
        let root = tempfile::tempdir().unwrap();
        let mut table =
            ProcessTable::new(Limits::default(), ProcFs::at(root.path()), Users::open(root.path().join("passwd")));
        let mut process = Process::unknown(7);
        process.cmdline = Some("web --port 80".into());
        process.container_id = "0123456789ab".into();
        table.put(process);
        let mut times = [0; TIMES_BUCKETS];
        times[2] = 99;
        times[9] = 1;
        let reading = |tgid, name, calls| CallReading::for_test(tgid, name, calls, Some(times));
        let mut tally = Tally::default();
        let second = Duration::from_secs(1);
        let first = tally.end(&[reading(7, "read", 100), reading(8, "read", 5)], &[], &table, second);
        assert_eq!((first.processes.len(), first.gone), (2, vec![8]));
        assert_eq!((first.calls[0].name, first.calls[0].calls.calls, first.calls[0].p99_ns), ("read", 105, 1 << 10));
        tally.opened(&Name { raw: b"/etc/hosts", base: None });
        tally.opened(&Name { raw: b"/etc/../etc/hosts", base: None });
        let flow = Flow { sk: 1, start_ns: 1, tgid: 7, family: 2, protocol: 6, bytes_sent: 10, ..Flow::default() };
        tally.ended(&flow);
        let next = tally.end(&[reading(7, "read", 130)], &[], &table, second);
        assert_eq!(next.processes[0].calls.calls, 30, "only what is new");
        assert_eq!(next.processes[0].command, "web --port 80");
        assert_eq!(next.containers[0].0, "0123456789ab");
        assert_eq!(next.files, [("/etc/hosts".to_owned(), 2)]);
        assert_eq!((next.flows[0].bytes, next.flows[0].ends.as_str()), (10, "tcp 0.0.0.0:0 - 0.0.0.0:0"));
        assert!(tally.end(&[], &[], &table, second).files.is_empty());
    }
}
