//! An interval as text.

use super::Interval;
use super::tally::Calls;
use std::fmt::Write as _;

/// Longest command line and path that are shown.
const TEXT_MAX: usize = 60;

/// Five lists, each of at most `lines` lines.
pub(super) fn write(interval: &Interval, lines: usize) -> String {
    let seconds = interval.elapsed.as_secs_f64().max(0.001);
    let rate = |count: u64| format!("{:.0}", count as f64 / seconds);
    let busy = |calls: &Calls| format!("{:.1}", calls.ns as f64 / seconds / 1e7);
    let mut out = String::new();
    list(
        &mut out,
        &["PID", "CONTAINER", "CALLS/S", "ERRORS/S", "IN CALLS %", "PROCESS"],
        interval.processes.iter().take(lines).map(|row| {
            let calls = &row.calls;
            let numbers = [rate(calls.calls), rate(calls.errors), busy(calls)];
            [vec![row.pid.to_string(), row.container.clone()], numbers.to_vec(), vec![cut(&row.command)]].concat()
        }),
    );
    if interval.containers.len() > 1 {
        let rows = interval.containers.iter().take(lines);
        let rows = rows.map(|(id, calls)| vec![id.clone(), rate(calls.calls), rate(calls.errors), busy(calls)]);
        list(&mut out, &["CONTAINER", "CALLS/S", "ERRORS/S", "IN CALLS %"], rows);
    }
    list(
        &mut out,
        &["CALL", "CALLS/S", "ERRORS/S", "MEAN", "P99"],
        interval.calls.iter().take(lines).map(|row| {
            let mean = row.calls.ns / row.calls.calls.max(1);
            let counts = [rate(row.calls.calls), rate(row.calls.errors)];
            [vec![row.name.to_owned()], counts.to_vec(), vec![time(mean), time(row.p99_ns)]].concat()
        }),
    );
    let files = interval.files.iter().take(lines).map(|(path, count)| vec![rate(*count), cut(path)]);
    list(&mut out, &["OPENS/S", "FILE"], files);
    list(
        &mut out,
        &["PID", "COMM", "BYTES/S", "RTT", "CONVERSATION"],
        interval.flows.iter().take(lines).map(|row| {
            let rtt = if row.rtt_us > 0 { time(u64::from(row.rtt_us) * 1_000) } else { "-".to_owned() };
            vec![row.pid.to_string(), row.comm.clone(), rate(row.bytes), rtt, row.ends.clone()]
        }),
    );
    out
}

/// Columns as wide as their widest cell; nothing where there are no rows.
fn list(out: &mut String, names: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain(names.get(at).map(|name| name.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let header: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&header).chain(&rows) {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String does not fail.
            let _ = write!(out, "{cell:<width$}  ");
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
    out.push('\n');
}

/// Control characters would move the cursor: a process may choose its own name.
fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::{CallRow, FlowRow, ProcessRow};
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_interval_is_five_lists() {
        let calls = Calls { calls: 200, errors: 2, ns: 20_000_000 };
        let process = ProcessRow { pid: 7, container: "host".into(), command: "evil\x1b[2J".into(), calls };
        let flow = FlowRow { pid: 7, comm: "web".into(), ends: "tcp a - b".into(), bytes: 4_000, rtt_us: 1_500 };
        let interval = Interval {
            elapsed: Duration::from_secs(2),
            processes: vec![process.clone(), process],
            containers: vec![("host".into(), calls)],
            calls: vec![CallRow { name: "read", calls, p99_ns: 1 << 20 }],
            files: vec![("/etc/hosts".into(), 4)],
            flows: vec![flow],
            gone: Vec::new(),
        };
        let expected = "\
PID  CONTAINER  CALLS/S  ERRORS/S  IN CALLS %  PROCESS
7    host       100      1         1.0         evil?[2J

CALL  CALLS/S  ERRORS/S  MEAN      P99
read  100      1         100.0 us  1.0 ms

OPENS/S  FILE
2        /etc/hosts

PID  COMM  BYTES/S  RTT     CONVERSATION
7    web   2000     1.5 ms  tcp a - b

";
        assert_eq!(write(&interval, 1), expected);
        assert_eq!(write(&Interval::default(), 5), "");
    }
}
