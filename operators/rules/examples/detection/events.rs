//! Kernel events of a host with containers, from a seed: some thousand processes, each with a program, a user and a
//! container of its own, make calls in runs; most paths are seen often, few are sensitive.

use arrow::array::{
    ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, ListArray, MapBuilder, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type};
use arrow::record_batch::RecordBatch;
use std::collections::HashMap;
use std::sync::Arc;

/// 2026-11-24T00:00:00Z
const START_NS: i64 = 1_795_478_400_000_000_000;

/// Nanoseconds from event to event.
const STEP_NS: i64 = 5_000;

/// Event types and how many of 1,000 events have them.
const MIX: &[(&str, usize)] = &[
    ("openat", 520),
    ("open", 40),
    ("recvfrom", 80),
    ("sendto", 70),
    ("recvmsg", 30),
    ("sendmsg", 20),
    ("connect", 40),
    ("socket", 34),
    ("accept4", 20),
    ("execve", 25),
    ("clone", 30),
    ("procexit", 30),
    ("unlinkat", 15),
    ("renameat2", 10),
    ("mkdirat", 8),
    ("fchmod", 7),
    ("dup2", 12),
    ("symlinkat", 3),
    ("linkat", 2),
    ("ptrace", 1),
    ("setuid", 3),
];

const OPENS: [&str; 2] = ["openat", "open"];
const FILES: [&str; 7] = ["openat", "open", "unlinkat", "renameat2", "mkdirat", "symlinkat", "linkat"];
const NET: [&str; 7] = ["connect", "sendto", "recvfrom", "accept4", "sendmsg", "recvmsg", "socket"];

/// A generator that repeats.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }

    /// Small numbers are likelier.
    fn skewed(&mut self, below: usize) -> usize {
        let most = self.below(below) + 1;
        self.below(most)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// A process that makes events.
struct Process {
    pid: i32,
    name: usize,
    parents: [usize; 3],
    args: usize,
    user: usize,
    container: usize,
    start_ns: i64,
    tty: i32,
}

/// All that does not change from event to event.
pub(crate) struct Host {
    random: Random,
    paths: Vec<String>,
    names: Vec<String>,
    args: Vec<String>,
    containers: Vec<String>,
    processes: Vec<Process>,
    made: i64,
}

const SENSITIVE: [&str; 6] = [
    "/etc/shadow",
    "/etc/sudoers.d/app",
    "/root/.ssh/id_rsa",
    "/etc/pam.d/sshd",
    "/sys/fs/cgroup/release_agent",
    "/var/log/wtmp",
];

impl Host {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let path = |i: usize| match i % 50 {
            0 => format!("/etc/app-{}/config.yaml", i % 97),
            1 => format!("/var/lib/app/data-{i}.db"),
            2 => format!("/home/u{}/.cache/entry-{i}", i % 31),
            3 => format!("/proc/{i}/status"),
            _ => format!("/usr/lib/x86_64-linux-gnu/dir{}/lib{i}.so.6", i % 37),
        };
        let known = ["nginx", "bash", "sh", "python3", "java", "kubelet", "containerd", "sshd", "cron", "postgres"];
        let names: Vec<String> =
            known.into_iter().map(str::to_owned).chain((0..150).map(|i| format!("worker-{i}"))).collect();
        let mut process = |index: usize| Process {
            pid: 1000 + 3 * index as i32,
            name: random.skewed(names.len()),
            parents: [(); 3].map(|()| random.skewed(names.len())),
            args: random.below(3000),
            user: random.below(6),
            container: random.skewed(60),
            start_ns: START_NS - 3_600_000_000_000 + index as i64 * 1_000_000,
            tty: if random.one_in(20) { 34_816 } else { 0 },
        };
        let processes = (0..4000).map(&mut process).collect();
        let common = ["/etc/ld.so.cache", "/etc/passwd", "/etc/localtime"].into_iter().map(str::to_owned);
        Self {
            paths: common.chain((0..30_000).map(path)).collect(),
            names,
            args: (0..3000).map(|i| format!("--config /etc/app{}/config.yaml --verbose --port {i}", i % 97)).collect(),
            containers: (0..60)
                .map(|i| if i < 15 { "host".to_owned() } else { format!("{:012x}", i * 7919) })
                .collect(),
            processes,
            made: 0,
            random,
        }
    }

    /// The next events, with texts as dictionaries, as an agent sends them.
    pub(crate) fn batch(&mut self, rows: usize) -> RecordBatch {
        let drawn = Drawn::new(self, rows);
        let columns = drawn.texts().into_iter().chain(drawn.numbers()).chain(drawn.flags()).chain(drawn.nested());
        let batch = RecordBatch::try_from_iter(columns).expect("invariant: columns have equal length");
        self.made += rows as i64;
        batch
    }
}

/// For each event what it is and who makes it.
struct Drawn<'a> {
    host: &'a Host,
    evt: Vec<&'static str>,
    process: Vec<usize>,
    path: Vec<usize>,
    is_failed: Vec<bool>,
    /// One in so many paths is sensitive: which, plus one.
    sensitive: Vec<usize>,
}

impl<'a> Drawn<'a> {
    fn new(host: &'a mut Host, rows: usize) -> Self {
        let types: Vec<&str> = MIX.iter().flat_map(|(name, count)| std::iter::repeat_n(*name, *count)).collect();
        let random = &mut host.random;
        let (mut evt, mut process) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        let mut current = random.below(4000);
        for _ in 0..rows {
            // A process makes some calls in a row.
            if random.one_in(6) {
                current = random.skewed(4000);
            }
            process.push(current);
            evt.push(types[random.below(types.len())]);
        }
        let path = (0..rows).map(|_| random.skewed(host.paths.len())).collect();
        let is_failed = (0..rows).map(|_| random.one_in(12)).collect();
        let sensitive =
            (0..rows).map(|_| if random.one_in(20_000) { 1 + random.below(SENSITIVE.len()) } else { 0 }).collect();
        Self { host, evt, process, path, is_failed, sensitive }
    }

    fn rows(&self) -> usize {
        self.evt.len()
    }

    fn of(&self, row: usize) -> &Process {
        &self.host.processes[self.process[row]]
    }

    fn path(&self, row: usize) -> &str {
        match self.sensitive[row] {
            0 => &self.host.paths[self.path[row]],
            index => SENSITIVE[index - 1],
        }
    }

    fn text<'t>(&'t self, of: impl Fn(usize) -> Option<&'t str>) -> ArrayRef {
        // A dictionary of what occurs, as the agent makes it.
        let mut codes: HashMap<&str, i32> = HashMap::new();
        let mut values: Vec<&str> = Vec::new();
        let mut code = |text: &'t str| {
            *codes.entry(text).or_insert_with(|| {
                values.push(text);
                values.len() as i32 - 1
            })
        };
        let keys: Int32Array = (0..self.rows()).map(|row| of(row).map(&mut code)).collect();
        let values = Arc::new(arrow::array::StringArray::from(values));
        Arc::new(DictionaryArray::<Int32Type>::new(keys, values))
    }

    fn texts(&self) -> Vec<(&'static str, ArrayRef)> {
        let host = self.host;
        let flags = ["O_RDONLY|O_CLOEXEC", "O_RDONLY", "O_RDONLY|O_CLOEXEC", "O_WRONLY|O_CREAT|O_TRUNC", "O_RDWR"];
        let remote = ["10.1.2.3", "203.0.113.9", "127.0.0.1", "192.168.3.4"];
        let caps = ["CAP_CHOWN CAP_KILL CAP_SETUID", "CAP_CHOWN CAP_DAC_OVERRIDE CAP_SYS_ADMIN", ""];
        let users = ["root", "app", "www-data", "postgres", "deploy", "nobody"];
        let is = |row: usize, names: &[&str]| names.contains(&self.evt[row]);
        let name = |row: usize| host.names[self.of(row).name].as_str();
        let exes: Vec<String> = host.names.iter().map(|name| format!("/usr/bin/{name}")).collect();
        let cmdlines: Vec<String> = host.args.iter().map(|args| format!("prog {args}")).collect();
        let images: Vec<String> = (0..60).map(|i| format!("docker.io/library/app{}", i % 20)).collect();
        let file = |row: usize, names: &[&str]| is(row, names).then(|| self.path(row));
        let net = |row: usize, text: &'static str| is(row, &NET).then_some(text);
        let kind = |row: usize| match self.evt[row] {
            "openat" | "open" | "fchmod" if !self.is_failed[row] => Some("file"),
            _ => net(row, "ipv4"),
        };
        let in_container = |row: usize| host.containers[self.of(row).container] != "host";
        vec![
            ("host", self.text(|_| Some("bench-1"))),
            ("host_id", self.text(|_| Some("0123456789abcdef0123456789abcdef"))),
            ("evt_type", self.text(|row| Some(self.evt[row]))),
            ("path", self.text(|row| file(row, &FILES))),
            ("path_raw", self.text(|row| file(row, &FILES))),
            ("path2", self.text(|row| is(row, &["renameat2", "linkat", "symlinkat"]).then_some("/tmp/other"))),
            ("fd_type", self.text(kind)),
            ("flags", self.text(|row| is(row, &OPENS).then(|| flags[self.path[row] % 5]))),
            ("comm", self.text(|row| Some(name(row)))),
            ("pname", self.text(|row| Some(host.names[self.of(row).parents[0]].as_str()))),
            ("args", self.text(|row| Some(host.args[self.of(row).args].as_str()))),
            ("cmdline", self.text(|row| Some(cmdlines[self.of(row).args].as_str()))),
            ("exe", self.text(|row| Some(exes[self.of(row).name].as_str()))),
            ("exe_arg0", self.text(|row| Some(name(row)))),
            ("cwd", self.text(|row| Some(["/srv/app", "/", "/home/app"][self.of(row).user % 3]))),
            ("user", self.text(|row| Some(users[self.of(row).user]))),
            ("container_id", self.text(|row| Some(host.containers[self.of(row).container].as_str()))),
            ("container_name", self.text(|row| in_container(row).then(|| images[self.of(row).container].as_str()))),
            (
                "container_image_repository",
                self.text(|row| in_container(row).then(|| images[self.of(row).container].as_str())),
            ),
            ("cap_effective", self.text(|row| Some(caps[self.of(row).user % 3]))),
            ("local_addr", self.text(|row| net(row, "10.0.0.5"))),
            ("remote_addr", self.text(|row| net(row, remote[self.path[row] % 4]))),
            ("proto", self.text(|row| net(row, if self.path[row].is_multiple_of(5) { "udp" } else { "tcp" }))),
        ]
    }

    fn numbers(&self) -> Vec<(&'static str, ArrayRef)> {
        let rows = self.rows();
        let first = self.host.made;
        let is_net = |row: usize| NET.contains(&self.evt[row]);
        let big = |of: &dyn Fn(usize) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values((0..rows).map(of))) };
        let small =
            |of: &dyn Fn(usize) -> Option<i32>| -> ArrayRef { Arc::new((0..rows).map(of).collect::<Int32Array>()) };
        let time_ns = |row: usize| START_NS + (first + row as i64) * STEP_NS;
        let result = |row: usize| if self.is_failed[row] { -2 } else { 3 + (self.path[row] % 40) as i64 };
        let times = TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| time_ns(row) / 1000));
        vec![
            ("ts", Arc::new(times.with_timezone("UTC"))),
            ("ts_ns", big(&time_ns)),
            ("incarnation", big(&|_| START_NS / 1000)),
            ("cpu", small(&|row| Some((row % 8) as i32))),
            ("seq", big(&|row| first + row as i64 + 1)),
            ("pid", small(&|row| Some(self.of(row).pid))),
            ("tid", small(&|row| Some(self.of(row).pid))),
            ("ppid", small(&|row| Some(self.of(row).pid / 2))),
            ("uid", big(&|row| if self.of(row).user == 0 { 0 } else { 1000 + self.of(row).user as i64 })),
            ("tty", small(&|row| Some(self.of(row).tty))),
            ("result", big(&result)),
            (
                "fd",
                small(&|row| {
                    let has_fd = OPENS.contains(&self.evt[row]) && !self.is_failed[row] || is_net(row);
                    has_fd.then(|| 3 + (self.path[row] % 40) as i32)
                }),
            ),
            ("mode", small(&|row| (self.path[row] % 5 == 3 && OPENS.contains(&self.evt[row])).then_some(0o644))),
            ("local_port", small(&|row| is_net(row).then_some(40_000))),
            ("remote_port", small(&|row| is_net(row).then(|| [443, 5432, 53, 8080][self.path[row] % 4]))),
            ("proc_start_ns", big(&|row| self.of(row).start_ns)),
            ("cgroup_id", big(&|row| 4000 + self.of(row).container as i64)),
        ]
    }

    fn flags(&self) -> Vec<(&'static str, ArrayRef)> {
        let flag = |of: &dyn Fn(usize) -> Option<bool>| -> ArrayRef {
            Arc::new((0..self.rows()).map(of).collect::<BooleanArray>())
        };
        let is_udp = |row: usize| NET.contains(&self.evt[row]) && self.path[row].is_multiple_of(5);
        vec![
            ("exe_is_memfd", flag(&|_| Some(false))),
            ("exe_is_upper_layer", flag(&|row| Some(self.process[row] == 3999))),
            ("container_privileged", flag(&|row| Some(self.of(row).container == 20))),
            ("fd_connected", flag(&|row| NET.contains(&self.evt[row]).then_some(!is_udp(row)))),
            ("fd_name_changed", flag(&|row| NET.contains(&self.evt[row]).then_some(is_udp(row)))),
            ("truncated", flag(&|_| Some(false))),
        ]
    }

    fn nested(&self) -> Vec<(&'static str, ArrayRef)> {
        let host = self.host;
        let lists = OffsetBuffer::from_lengths(std::iter::repeat_n(3, self.rows()));
        let list = |text: &dyn Fn(usize, usize) -> String| -> ArrayRef {
            let items = (0..self.rows() * 3).map(|at| Some(text(at / 3, at % 3)));
            let items: arrow::array::StringArray = items.collect();
            let field = Arc::new(Field::new("item", DataType::Utf8, true));
            Arc::new(ListArray::new(field, lists.clone(), Arc::new(items), None))
        };
        let name = |row: usize, n: usize| host.names[self.of(row).parents[n]].as_str();
        let mut args = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for row in 0..self.rows() {
            let pairs: &[(&str, &str)] = match self.evt[row] {
                "socket" => &[("domain", "AF_INET"), ("type", "SOCK_STREAM")],
                "ptrace" => &[("request", "PTRACE_CONT")],
                "symlinkat" => &[("target", "/srv/app/current")],
                _ => &[],
            };
            for (key, value) in pairs {
                args.keys().append_value(key);
                args.values().append_value(value);
            }
            args.append(!pairs.is_empty()).expect("invariant: as many keys as values");
        }
        vec![
            ("ancestor_names", list(&|row, n| name(row, n).to_owned())),
            ("ancestor_exes", list(&|row, n| format!("/usr/bin/{}", name(row, n)))),
            ("ancestor_cmdlines", list(&|row, n| format!("{} --serve", name(row, n)))),
            ("evt_args", Arc::new(args.finish())),
        ]
    }
}
