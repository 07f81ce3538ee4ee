//! Fields of kernel events, row by row, and the published rules over events made by hand.

use crate::naive::columns::BatchRow;
use crate::naive::holds as holds_naively;
use crate::{data, file, load};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, ListBuilder, MapBuilder, StringArray, StringBuilder,
};
use arrow::record_batch::RecordBatch;
use bodkin_rules::syntax::{Expr, parse_condition};
use bodkin_rules::{Events, Hit, Matching, Options, RuleSet};
use std::sync::Arc;

/// One event as pairs of column and value. A number is a number, `true` and `false` are flags, `[a,b]` is a list.
type Row<'a> = &'a [(&'a str, &'a str)];

const FLAGS: &[&str] =
    &["fd_is_server", "fd_connected", "fd_name_changed", "exe_is_memfd", "exe_is_upper_layer", "container_privileged"];
const NUMBERS: &[&str] = &[
    "result",
    "fd",
    "mode",
    "uid",
    "loginuid",
    "tty",
    "pid",
    "tid",
    "local_port",
    "remote_port",
    "ts_ns",
    "proc_start_ns",
    "fd_dev",
];
const LISTS: &[&str] = &["ancestor_names", "ancestor_exes", "ancestor_cmdlines"];

/// A batch with a column for each name that any row has.
fn batch(rows: &[Row<'_>]) -> RecordBatch {
    let mut names: Vec<&str> = rows.iter().flat_map(|row| row.iter().map(|(name, _)| *name)).collect();
    names.sort_unstable();
    names.dedup();
    let of = |name: &str| -> Vec<Option<&str>> {
        rows.iter().map(|row| row.iter().find(|(column, _)| *column == name).map(|(_, value)| *value)).collect()
    };
    let column = |name: &str| -> ArrayRef {
        let values = of(name);
        if FLAGS.contains(&name) {
            return Arc::new(values.iter().map(|value| value.map(|value| value == "true")).collect::<BooleanArray>());
        }
        if NUMBERS.contains(&name) {
            return Arc::new(
                values.iter().map(|value| value.map(|value| value.parse::<i64>().unwrap())).collect::<Int64Array>(),
            );
        }
        if LISTS.contains(&name) {
            let mut lists = ListBuilder::new(StringBuilder::new());
            values.iter().for_each(|value| lists.append_option(value.map(|value| value.split(',').map(Some))));
            return Arc::new(lists.finish());
        }
        if name == "buffer" {
            return Arc::new(values.iter().map(|value| value.map(str::as_bytes)).collect::<BinaryArray>());
        }
        Arc::new(values.into_iter().collect::<StringArray>())
    };
    RecordBatch::try_from_iter(names.iter().map(|name| (*name, column(name)))).unwrap()
}

/// What an output prints for an event.
fn printed(output: &str, row: Row<'_>) -> String {
    let content = format!(
        "- rule: r\n  desc: d\n  condition: evt.type exists\n  output: '{output}'\n  priority: info\n  warn_evttypes: false\n"
    );
    let rules = load(content);
    let events = batch(&[row]);
    let found = rules.findings(Events::Batch(&events), Matching::First);
    found[0].output.split_once(": Informational ").unwrap().1.to_owned()
}

#[rustfmt::skip]
mod events {
    use super::Row;

    pub(super) const OPEN: Row<'static> = &[ ("evt_type", "openat"), ("path", "/etc/shadow"), ("path_raw", "..//etc/shadow"), ("fd_type", "file"), ("fd", "3"), ("result", "3"), ("flags", "O_RDONLY|O_CLOEXEC"), ("mode", "292"), ];
    pub(super) const FAILED: Row<'static> = &[("evt_type", "open"), ("path", "/etc/x"), ("result", "-2"), ("flags", "O_RDWR")];
    pub(super) const CONNECT: Row<'static> = &[ ("evt_type", "connect"), ("fd_type", "ipv4"), ("fd", "5"), ("local_addr", "10.0.0.1"), ("local_port", "4000"), ("remote_addr", "1.2.3.4"), ("remote_port", "443"), ("proto", "tcp"), ("result", "0"), ];
    pub(super) const ACCEPT: Row<'static> = &[ ("evt_type", "accept"), ("fd_type", "ipv4"), ("local_addr", "10.0.0.1"), ("local_port", "80"), ("remote_addr", "1.2.3.4"), ("remote_port", "5000"), ];
    pub(super) const EXEC: Row<'static> = &[ ("evt_type", "execve"), ("path", "/bin/sh"), ("comm", "sh"), ("args", "-c ls"), ("cwd", "/dev/shm"), ("ancestor_names", "bash,sshd"), ("ts_ns", "1767323045000000005"), ("proc_start_ns", "1767323044000000005"), ("pid", "7"), ("tid", "7"), ];
    pub(super) const NONE: Row<'static> = &[("evt_type", "execve")];
}

use events::{ACCEPT, CONNECT, EXEC, FAILED, NONE, OPEN};

/// Event, output, what it prints.
#[rustfmt::skip]
const PRINTED: &[(Row<'static>, &str, &str)] = &[
        (
            OPEN,
            "%fd.name %fd.nameraw %fd.directory %fd.filename %fd.type %fd.typechar %fd.num",
            "/etc/shadow ../etc/shadow /etc shadow file f 3",
        ),
        (
            OPEN,
            "%evt.is_open_read %evt.is_open_write %evt.is_open_exec %evt.res %evt.rawres %evt.failed",
            "true false false SUCCESS 3 false",
        ),
        (
            OPEN,
            "%evt.arg.flags %evt.arg.mode %evt.arg.name %evt.arg.fd",
            "O_RDONLY|O_CLOEXEC S_IROTH|S_IRGRP|S_IRUSR /etc/shadow 3",
        ),
        (
            FAILED,
            "%fd.name %fd.directory %fd.filename %fd.type %fd.typechar %fd.num %evt.res %evt.is_open_write",
            "/etc/x /etc <NA> <NA> f -1 ENOENT true",
        ),
        (
            CONNECT,
            "%fd.name %fd.cip %fd.sip %fd.cport %fd.sport %fd.lport %fd.rport %fd.sproto %fd.l4proto",
            "10.0.0.1:4000->1.2.3.4:443 10.0.0.1 1.2.3.4 4000 443 4000 443 https tcp",
        ),
        (
            ACCEPT,
            "%fd.name %fd.cip %fd.sip %fd.cport %fd.sport %fd.is_server",
            "1.2.3.4:5000->10.0.0.1:80 1.2.3.4 10.0.0.1 5000 80 true",
        ),
        (
            EXEC,
            "%proc.cmdline|%proc.args|%proc.cwd|%proc.pname|%proc.aname[0]|%proc.aname[2]|%proc.aname[3]",
            "sh -c ls|-c ls|/dev/shm/|bash|sh|sshd|<NA>",
        ),
        (
            EXEC,
            "%fd.name %proc.duration %thread.ismain %evt.time.iso8601 %user.loginuid",
            "<NA> 1000000000 true 2026-01-02T03:04:05.000000005+0000 -1",
        ),
        (EXEC, "%4proc.name|%1proc.pname|%tolower(evt.type) %proc.aname", "sh  |b|execve (bash,sshd)"),
        (
            NONE,
            "%proc.name %proc.cmdline %proc.pname %fd.num %evt.arg.flags %proc.is_exe_from_memfd",
            "<NA> <NA> <NA> <NA> <NA> <NA>",
        ),
];

#[test]
fn fields_print_as_falco_prints_them() {
    for (row, output, expected) in PRINTED {
        assert_eq!(printed(output, row), *expected, "{output}");
    }
}

/// Computed texts lie side by side in one buffer: what one row has must not reach into the next.
#[test]
fn computed_texts_do_not_touch_each_other() {
    let rules = load(
        "- rule: r\n  desc: d\n  condition: fd.num exists\n  output: '%fd.nameraw %proc.cwd'\n  priority: info\n  warn_evttypes: false\n",
    );
    let row =
        |raw: &'static str, cwd: &'static str| [("evt_type", "open"), ("fd", "3"), ("path_raw", raw), ("cwd", cwd)];
    let rows = [row("a//b/", "/x/"), row("//c", ""), row("/c", "/y")];
    let rows: Vec<Row<'_>> = rows.iter().map(|row| &row[..]).collect();
    let events = batch(&rows);
    let found = rules.findings(Events::Batch(&events), Matching::First);
    let printed: Vec<&str> = found
        .iter()
        .filter_map(|finding| finding.output.split_once(": Informational "))
        .map(|(_, text)| text)
        .collect();
    assert_eq!(printed, ["a/b/ /x/", "/c /", "/c /y/"]);
}

/// Whether a condition holds for an event.
fn holds(condition: &str, row: Row<'_>) -> bool {
    let condition = condition.replace('\'', "''");
    let rules = load(format!("- rule: r\n  desc: d\n  condition: '{condition}'\n  output: o\n  priority: info\n"));
    let events = batch(&[row]);
    !rules.evaluate(Events::Batch(&events), Matching::First).is_empty()
}

#[test]
fn a_missing_value_makes_any_comparison_false() {
    let row: Row<'_> = &[("evt_type", "execve"), ("comm", "sh"), ("uid", "0")];
    for (condition, expected) in [
        ("proc.exepath = x", false),
        ("proc.exepath != x", false),
        ("not proc.exepath = x", true),
        ("not proc.exepath != x", true),
        ("proc.exepath exists", false),
        ("not proc.exepath exists", true),
        ("proc.exepath in (x)", false),
        ("proc.exepath glob '*'", false),
        ("proc.exepath startswith \"\"", false),
        ("proc.tty != 0", false),
        ("proc.tty < 5", false),
        ("proc.is_exe_from_memfd = false", false),
        ("proc.is_exe_from_memfd != true", false),
        ("proc.aname = sshd", false),
        ("proc.aname != sshd", false),
        ("proc.aname[1] != sshd", false),
        ("fd.sip != 1.2.3.4", false),
        ("fd.net != 10.0.0.0/8", false),
        ("fd.port != 22", false),
        ("proc.name = val(proc.exepath)", false),
        ("proc.name != val(proc.exepath)", false),
        ("len(proc.exepath) = 0", false),
        ("concat(proc.name, proc.exepath) = sh", false),
        ("not concat(proc.name, proc.exepath) = sh", true),
        ("tolower(proc.exepath) exists", false),
        ("toupper(proc.exepath) != X", false),
        ("basename(proc.exepath) in (\"\", x)", false),
        ("b64(proc.exepath) exists", false),
        ("len(proc.exepath) >= 0", false),
        ("join(\",\", (proc.name, proc.exepath)) exists", false),
        ("proc.exepath contains \"\"", false),
        ("proc.exepath icontains \"\"", false),
        ("proc.exepath endswith \"\"", false),
        ("proc.exepath regex '.*'", false),
        ("proc.exepath iglob '*'", false),
        ("proc.exepath pmatch (/)", false),
        ("proc.exepath intersects (x, \"\")", false),
        ("proc.exepath < 9", false),
        ("proc.exepath >= 0", false),
        ("proc.exepath != anyof (a, b)", false),
        ("proc.exepath != allof (a, b)", false),
        ("proc.exepath startswith oneof (\"\")", false),
        ("evt.buffer bcontains 00", false),
        ("evt.buffer != \"\"", false),
        ("fd.sip in (1.2.3.4)", false),
        ("fd.snet in (0.0.0.0/0)", false),
        ("fd.sport in (0, 1)", false),
        ("fd.sport >= 0", false),
        ("fd.ip != 1.2.3.4", false),
        ("proc.tty = 0", false),
        ("proc.tty in (0)", false),
        ("proc.is_exe_from_memfd in (true, false)", false),
        ("proc.is_exe_from_memfd exists", false),
        ("user.uid = 0", true),
        ("proc.name != bash", true),
        ("proc.plugged exists or evt.num = 0", false),
    ] {
        let condition = condition.replace("proc.plugged", "evt.asynctype");
        assert_eq!(holds(&condition, row), expected, "{condition}");
    }
}

#[test]
fn lists_buffers_and_maps() {
    let row: Row<'_> =
        &[("evt_type", "write"), ("buffer", "GET /x"), ("ancestor_names", "bash,sshd,systemd"), ("comm", "cat")];
    for (condition, expected) in [
        ("evt.buffer contains \"T /\"", true),
        ("evt.buffer bcontains 2f78", true),
        ("evt.buffer bstartswith 474554", true),
        ("evt.buffer bstartswith 00", false),
        ("proc.aname = sshd", true),
        ("proc.aname = cat", false),
        ("proc.aname in (x, systemd)", true),
        ("proc.aname startswith sys", true),
        ("proc.aname != bash", true),
        ("proc.aname exists", true),
        ("proc.aname[0] = cat and proc.aname[1] = bash and proc.aname[3] = systemd", true),
        ("proc.pname = bash", true),
        ("join(\",\", (proc.name, \"x\")) = \"cat,x\"", true),
        ("toupper(proc.name) = CAT and len(proc.name) = 3", true),
        ("b64(proc.name) exists", true),
        ("tolower(toupper(proc.name)) = cat", true),
        ("basename(proc.name) = cat", true),
        ("concat(proc.name, \"/\", proc.pname) = cat/bash", true),
        ("proc.name = val(proc.aname[1])", false),
        ("proc.name != val(proc.aname[1])", true),
        ("proc.aname intersects (x, sshd)", true),
        ("len(evt.buffer) = 6", true),
    ] {
        assert_eq!(holds(condition, row), expected, "{condition}");
    }
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    maps.keys().append_value("uid");
    maps.values().append_value("root");
    maps.append(true).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("evt_type", Arc::new(StringArray::from(vec!["setuid"]))),
        ("evt_args", Arc::new(maps.finish())),
        ("pid", Arc::new(Int32Array::from(vec![1]))),
    ];
    let events = RecordBatch::try_from_iter(columns).unwrap();
    let rules = load(
        "- rule: r\n  desc: d\n  condition: evt.arg.uid = root\n  output: '%evt.args'\n  priority: info\n  warn_evttypes: false\n",
    );
    let found = rules.findings(Events::Batch(&events), Matching::First);
    assert!(found[0].output.ends_with(" uid=root") && found[0].pid == Some(1));
}

#[rustfmt::skip]
const READ_SHADOW: Row<'static> = &[ ("evt_type", "openat"), ("path", "/etc/shadow"), ("fd_type", "file"), ("fd", "3"), ("result", "3"), ("flags", "O_RDONLY"), ("container_id", "host"), ];
#[rustfmt::skip]
const RUN: Row<'static> = &[("evt_type", "execve"), ("result", "0"), ("container_id", "host"), ("tty", "0")];
#[rustfmt::skip]
const SSH: Row<'static> = &[ ("evt_type", "connect"), ("fd_type", "ipv4"), ("local_addr", "10.0.0.1"), ("local_port", "5"), ("remote_addr", "203.0.113.10"), ("remote_port", "443"), ("proto", "tcp"), ("result", "-115"), ("comm", "ssh"), ("exe_arg0", "/usr/bin/ssh"), ("container_id", "host"), ];

type Pairs = Vec<(&'static str, &'static str)>;

/// A row with some values replaced.
fn with(base: Row<'static>, more: Row<'static>) -> Pairs {
    base.iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name)).chain(more).copied().collect()
}

/// Behaviors, each with the published rules that must fire for it, and near misses.
fn behaviors() -> Vec<(Pairs, &'static [&'static str])> {
    vec![
        (with(READ_SHADOW, &[("comm", "cat")]), &["Read sensitive file untrusted"]),
        (with(READ_SHADOW, &[("comm", "sshd")]), &[]),
        (with(READ_SHADOW, &[("comm", "cat"), ("fd", "-1"), ("result", "-13")]), &[]),
        (
            with(READ_SHADOW, &[("comm", "httpd"), ("ts_ns", "9000000000"), ("proc_start_ns", "1")]),
            &["Read sensitive file trusted after startup", "Read sensitive file untrusted"],
        ),
        (
            with(READ_SHADOW, &[("comm", "cat"), ("path_raw", "/etc/../etc/../etc/shadow")]),
            &["Directory traversal monitored file read", "Read sensitive file untrusted"],
        ),
        (
            with(READ_SHADOW, &[("comm", "cat"), ("path", "/var/log/syslog"), ("flags", "O_WRONLY|O_TRUNC")]),
            &["Clear Log Activities"],
        ),
        (
            with(RUN, &[("comm", "bash"), ("ancestor_names", "httpd,systemd"), ("args", "-c id"), ("pname", "httpd")]),
            &["Run shell untrusted"],
        ),
        (with(RUN, &[("comm", "bash"), ("ancestor_names", "sshd,systemd"), ("pname", "sshd")]), &[]),
        (
            with(RUN, &[("comm", "bash"), ("container_id", "0123456789ab"), ("tty", "34816"), ("pname", "runc")]),
            &["Terminal shell in container"],
        ),
        (with(RUN, &[("comm", "find"), ("args", "/ -name id_rsa")]), &["Search Private Keys or Passwords"]),
        (with(RUN, &[("comm", "find"), ("args", "/ -iname .aws/credentials")]), &["Find AWS Credentials"]),
        (with(RUN, &[("comm", "x"), ("exe_arg0", "/dev/shm/x")]), &["Execution from /dev/shm"]),
        (with(RUN, &[("comm", "x"), ("exe_arg0", "./x"), ("cwd", "/dev/shm")]), &["Execution from /dev/shm"]),
        (with(RUN, &[("comm", "x"), ("exe_is_memfd", "true")]), &["Fileless execution via memfd_create"]),
        (
            with(RUN, &[("comm", "ls"), ("exe_is_upper_layer", "true"), ("container_id", "0123456789ab")]),
            &["Drop and execute new binary in container"],
        ),
        (with(RUN, &[("comm", "ls"), ("exe_is_upper_layer", "true")]), &[]),
        (with(SSH, &[]), &["Disallowed SSH Connection Non Standard Port"]),
        (with(SSH, &[("remote_port", "22")]), &[]),
        (with(SSH, &[("remote_addr", "192.168.1.1")]), &[]),
        (with(SSH, &[("result", "-111")]), &[]),
        (
            vec![
                ("evt_type", "finit_module"),
                ("container_id", "0123456789ab"),
                ("cap_effective", "CAP_SYS_MODULE CAP_KILL"),
            ],
            &["Linux Kernel Module Injection Detected"],
        ),
        (
            vec![("evt_type", "dup2"), ("container_id", "0123456789ab"), ("result", "0"), ("fd_type", "ipv4")],
            &["Redirect STDOUT/STDIN to Network Connection in Container"],
        ),
        (vec![("evt_type", "dup2"), ("container_id", "0123456789ab"), ("result", "7"), ("fd_type", "ipv4")], &[]),
    ]
}

#[test]
fn published_rules_fire_for_behaviors_and_not_for_near_misses() {
    let path = "falco/falco_rules.yaml";
    let (rules, _) = RuleSet::load(&[file(path, data(path))], &Options::default());
    let rules = rules.unwrap();
    let cases = behaviors();
    let rows: Vec<Row<'_>> = cases.iter().map(|(row, _)| row.as_slice()).collect();
    let events = batch(&rows);
    let hits = rules.evaluate(Events::Batch(&events), Matching::All);
    for (index, (row, expected)) in cases.iter().enumerate() {
        let fired = hits.iter().filter(|hit| hit.row == index).map(|hit| rules.rules()[hit.rule].name.as_str());
        assert_eq!(&fired.collect::<Vec<_>>(), expected, "{row:?}");
    }
}

/// The baseline of the benchmark reads columns by itself, and finds the same.
#[test]
fn the_naive_evaluator_agrees_on_behaviors() {
    let path = "falco/falco_rules.yaml";
    let rules = RuleSet::load(&[file(path, data(path))], &Options::default()).0.unwrap();
    let conditions: Vec<Expr> = rules.rules().iter().map(|rule| parse_condition(&rule.condition).unwrap()).collect();
    let cases = behaviors();
    let rows: Vec<Row<'_>> = cases.iter().map(|(row, _)| row.as_slice()).collect();
    let events = batch(&rows);
    let mut expected = Vec::new();
    for row in 0..events.num_rows() {
        let at = BatchRow { batch: &events, row };
        let fired = (0..conditions.len()).filter(|rule| holds_naively(&at, &conditions[*rule]));
        expected.extend(fired.map(|rule| Hit { row, rule }));
    }
    assert_eq!(rules.evaluate(Events::Batch(&events), Matching::All), expected);
}
