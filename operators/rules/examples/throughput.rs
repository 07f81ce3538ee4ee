//! Events per second on one core: the published syscall rules over synthetic events with a realistic mix.
//!
//! `cargo run --release -p bodkin-rules --example throughput [FILE ...]` runs other rule files in place of the
//! published one. Arrays are in memory, text is dictionary-encoded as it arrives from the agent, and then plain as it
//! comes from tables.

use arrow::array::{Array, ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type};
use arrow::record_batch::RecordBatch;
use bodkin_rules::{Events, Matching, Options, RuleFile, RuleSet};
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

const ROWS: usize = 65_536;
const BATCHES: usize = 16;
const ROUNDS: usize = 8;

/// Event types and how many of 1,000 events have them.
const MIX: &[(&str, usize)] = &[
    ("openat", 520),
    ("open", 40),
    ("recvfrom", 80),
    ("sendto", 70),
    ("recvmsg", 30),
    ("sendmsg", 20),
    ("connect", 40),
    ("socket", 35),
    ("accept4", 20),
    ("execve", 25),
    ("clone", 30),
    ("procexit", 30),
    ("unlink", 15),
    ("renameat2", 10),
    ("mkdir", 8),
    ("fchmod", 7),
    ("dup2", 12),
    ("symlink", 3),
    ("link", 2),
    ("ptrace", 1),
    ("setuid", 2),
];

struct Random(u64);

impl Random {
    fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }
}

/// The texts that events are made of.
struct Words {
    paths: Vec<String>,
    names: Vec<String>,
    args: Vec<String>,
    containers: Vec<String>,
}

impl Words {
    fn new() -> Self {
        let path = |i: usize| match i % 200 {
            0 => "/etc/passwd".to_owned(),
            1 => "/var/log/syslog".to_owned(),
            2 => format!("/home/u{i}/.ssh/config"),
            _ => format!("/usr/lib/x86_64-linux-gnu/dir{}/lib{i}.so.6", i % 37),
        };
        let known = ["nginx", "bash", "sh", "python3", "java", "kubelet", "containerd", "sshd", "cron", "postgres"];
        let container = |i: usize| if i < 12 { "host".to_owned() } else { format!("{:012x}", i * 7919) };
        Self {
            paths: (0..6000).map(path).collect(),
            names: known.into_iter().map(str::to_owned).chain((0..150).map(|i| format!("worker-{i}"))).collect(),
            args: (0..500).map(|i| format!("--config /etc/app{i}.conf --verbose --port {i}")).collect(),
            containers: (0..40).map(container).collect(),
        }
    }
}

/// For each row its event type and which words it has.
struct Rows<'a> {
    words: &'a Words,
    evt: Vec<&'static str>,
    path: Vec<usize>,
    comm: Vec<usize>,
    arg: Vec<usize>,
    container: Vec<usize>,
    parent: Vec<usize>,
}

impl<'a> Rows<'a> {
    fn draw(words: &'a Words, random: &mut Random) -> Self {
        let types: Vec<&str> = MIX.iter().flat_map(|(name, count)| std::iter::repeat_n(*name, *count)).collect();
        let evt = (0..ROWS).map(|_| types[random.below(types.len())]).collect();
        let mut some = |all: &[String]| -> Vec<usize> { (0..ROWS).map(|_| random.below(all.len())).collect() };
        let (path, comm, arg) = (some(&words.paths), some(&words.names), some(&words.args));
        Self { words, evt, path, comm, arg, container: some(&words.containers), parent: some(&words.names) }
    }

    fn is_open(&self, row: usize) -> bool {
        self.evt[row].starts_with("open")
    }

    fn is_net(&self, row: usize) -> bool {
        matches!(self.evt[row], "connect" | "sendto" | "recvfrom" | "accept4" | "sendmsg" | "recvmsg")
    }

    fn has_failed(&self, row: usize) -> bool {
        self.path[row].is_multiple_of(9)
    }

    fn text(&self, of: impl Fn(usize) -> Option<String>) -> ArrayRef {
        let values: Vec<Option<String>> = (0..ROWS).map(of).collect();
        Arc::new(values.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
    }

    fn ancestors(&self) -> ArrayRef {
        let name = |i: usize| Some(self.words.names[self.parent[i / 3] / (1 + i % 3)].as_str());
        let names: DictionaryArray<Int32Type> = (0..ROWS * 3).map(name).collect();
        let item = Field::new("item", names.data_type().clone(), true);
        let three = OffsetBuffer::from_lengths(std::iter::repeat_n(3, ROWS));
        Arc::new(ListArray::new(Arc::new(item), three, Arc::new(names), None))
    }

    fn texts(&self) -> Vec<(&'static str, ArrayRef)> {
        let words = self.words;
        let flags = ["O_RDONLY|O_CLOEXEC", "O_RDONLY", "O_RDONLY|O_CLOEXEC", "O_WRONLY|O_CREAT|O_TRUNC", "O_RDWR"];
        let remote = ["10.1.2.3", "203.0.113.9", "127.0.0.1", "192.168.3.4"];
        let path = |row: usize| self.is_open(row).then(|| words.paths[self.path[row]].clone());
        let comm = |row: usize| Some(words.names[self.comm[row]].clone());
        let net = |row: usize, text: &str| self.is_net(row).then(|| text.to_owned());
        let image =
            |row: usize| (self.container[row] >= 12).then(|| format!("docker.io/library/app{}", self.container[row]));
        let kind = |row: usize| if self.is_open(row) { Some("file".to_owned()) } else { net(row, "ipv4") };
        vec![
            ("evt_type", self.text(|row| Some(self.evt[row].to_owned()))),
            ("path", self.text(path)),
            ("path_raw", self.text(path)),
            ("fd_type", self.text(kind)),
            ("flags", self.text(|row| self.is_open(row).then(|| flags[self.path[row] % 5].to_owned()))),
            ("comm", self.text(comm)),
            ("pname", self.text(|row| Some(words.names[self.parent[row]].clone()))),
            ("args", self.text(|row| Some(words.args[self.arg[row]].clone()))),
            ("exe", self.text(|row| comm(row).map(|comm| format!("/usr/bin/{comm}")))),
            ("exe_arg0", self.text(comm)),
            ("cwd", self.text(|_| Some("/srv/app".to_owned()))),
            ("user", self.text(|row| Some(if self.comm[row].is_multiple_of(5) { "root" } else { "app" }.to_owned()))),
            ("container_id", self.text(|row| Some(words.containers[self.container[row]].clone()))),
            ("container_image_repository", self.text(image)),
            ("cap_effective", self.text(|_| Some("CAP_CHOWN CAP_KILL CAP_SETUID".to_owned()))),
            ("local_addr", self.text(|row| net(row, "10.0.0.5"))),
            ("remote_addr", self.text(|row| net(row, remote[self.path[row] % 4]))),
            ("proto", self.text(|row| net(row, "tcp"))),
        ]
    }

    fn numbers(&self) -> Vec<(&'static str, ArrayRef)> {
        const START_NS: i64 = 1_767_323_000_000_000_000;
        let result = |row: usize| if self.has_failed(row) { -2 } else { 3 };
        let fd = |row: usize| (self.is_open(row) && !self.has_failed(row)).then_some(3);
        let port = |row: usize| self.is_net(row).then_some([443, 5432, 53][self.path[row] % 3]);
        vec![
            ("seq", Arc::new(Int64Array::from_iter_values(1..=ROWS as i64)) as ArrayRef),
            (
                "ts_ns",
                Arc::new(Int64Array::from_iter_values(
                    (0..ROWS as i64).map(|row| START_NS + 45_000_000_000 + row * 1000),
                )),
            ),
            ("proc_start_ns", Arc::new(Int64Array::from(vec![START_NS; ROWS]))),
            ("result", Arc::new(Int64Array::from_iter_values((0..ROWS).map(result)))),
            ("fd", Arc::new((0..ROWS).map(fd).collect::<Int32Array>())),
            (
                "uid",
                Arc::new(Int64Array::from_iter_values(self.comm.iter().map(|i| if i % 5 == 0 { 0 } else { 1000 }))),
            ),
            (
                "tty",
                Arc::new(Int32Array::from_iter_values(self.comm.iter().map(|i| if i % 20 == 0 { 34816 } else { 0 }))),
            ),
            ("local_port", Arc::new((0..ROWS).map(|row| self.is_net(row).then_some(40_000)).collect::<Int32Array>())),
            ("remote_port", Arc::new((0..ROWS).map(port).collect::<Int32Array>())),
            ("exe_is_memfd", Arc::new(BooleanArray::from(vec![false; ROWS]))),
            ("exe_is_upper_layer", Arc::new(BooleanArray::from(vec![false; ROWS]))),
            ("ancestor_names", self.ancestors()),
        ]
    }
}

fn batch(words: &Words, random: &mut Random) -> RecordBatch {
    let rows = Rows::draw(words, random);
    let columns = rows.texts().into_iter().chain(rows.numbers());
    RecordBatch::try_from_iter(columns).expect("invariant: columns have equal length")
}

/// The same rows with plain text columns.
fn plain(batch: &RecordBatch) -> RecordBatch {
    let column = |name: &str, column: &ArrayRef| {
        let is_text = matches!(column.data_type(), DataType::Dictionary(..));
        let column = if is_text {
            cast(column, &DataType::Utf8).expect("invariant: a dictionary of text is text")
        } else {
            column.clone()
        };
        debug_assert!(!is_text || column.as_any().is::<StringArray>());
        (name.to_owned(), column)
    };
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, data)| column(field.name(), data));
    RecordBatch::try_from_iter(columns).expect("invariant: columns have equal length")
}

/// The file twice more under other names: every list has another value, so that no comparison with it is shared.
fn tripled(content: &str) -> String {
    let lines: Vec<&str> = content.lines().collect();
    let name = |line: &str| {
        let rest = line.strip_prefix("- list: ").or_else(|| line.strip_prefix("- macro: "))?;
        Some(rest.trim().to_owned())
    };
    // A macro that is called like an event type keeps its name.
    let names: Vec<String> = lines.iter().filter_map(|line| name(line)).filter(|name| name != "dup").collect();
    let mut all = content.to_owned();
    for copy in 1..3 {
        let mut is_kept = false;
        for line in &lines {
            if line.starts_with("- ") {
                is_kept = ["- list: ", "- macro: ", "- rule: "].iter().any(|start| line.starts_with(start));
            }
            if !is_kept {
                continue;
            }
            let line = match line.strip_prefix("- rule: ") {
                Some(rule) => format!("- rule: {rule} variation {copy}"),
                None => renamed(line, &names, copy),
            };
            // A network cannot be a word.
            let varied = if line.trim_start().starts_with("items: [") && !line.contains("0/8") {
                line.replacen('[', &format!("[{}, ", 60_000 + copy), 1)
            } else {
                line
            };
            all.push_str(&varied);
            all.push('\n');
        }
    }
    all
}

/// A line in which every word that is one of `names` is the name of its copy.
fn renamed(line: &str, names: &[String], copy: usize) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-./%".contains(c);
    let mut out = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        out.push_str(word);
        if names.iter().any(|name| name == word) {
            out.push_str(&format!("_v{copy}"));
        }
        let others = after.find(is_word).unwrap_or(after.len());
        out.push_str(&after[..others]);
        rest = &after[others..];
    }
    out
}

/// Nanoseconds per event, the best of some rounds, and what was found in one.
fn measure(rules: &RuleSet, batches: &[RecordBatch]) -> (f64, usize) {
    let events = (BATCHES * ROWS) as f64;
    let mut best = f64::MAX;
    let mut hits = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        hits = batches.iter().map(|batch| rules.evaluate(Events::Batch(batch), Matching::All).len()).sum();
        best = best.min(start.elapsed().as_secs_f64());
    }
    (best / events * 1e9, hits)
}

fn load(files: &[RuleFile], out: &mut impl Write) -> std::io::Result<Option<RuleSet>> {
    let start = Instant::now();
    let (rules, report) = RuleSet::load(files, &Options::default());
    match &rules {
        Some(rules) => {
            writeln!(out, "{} rules loaded in {:.1} ms", rules.rules().len(), start.elapsed().as_secs_f64() * 1e3)?;
        }
        None => writeln!(out, "{report}")?,
    }
    Ok(rules)
}

fn main() -> std::io::Result<()> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names.push(format!("{}/tests/data/falco/falco_rules.yaml", env!("CARGO_MANIFEST_DIR")));
    }
    let mut files = Vec::new();
    for name in names {
        files.push(RuleFile { content: std::fs::read_to_string(&name)?, name });
    }
    let triples: Vec<RuleFile> =
        files.iter().map(|file| RuleFile { name: file.name.clone(), content: tripled(&file.content) }).collect();
    let mut out = std::io::stdout().lock();
    let (Some(once), Some(thrice)) = (load(&files, &mut out)?, load(&triples, &mut out)?) else { return Ok(()) };

    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let words = Words::new();
    let coded: Vec<RecordBatch> = (0..BATCHES).map(|_| batch(&words, &mut random)).collect();
    let plain: Vec<RecordBatch> = coded.iter().map(plain).collect();
    for (name, batches) in [("dictionary", &coded), ("plain", &plain)] {
        let (cost, hits) = measure(&once, batches);
        let (more, _) = measure(&thrice, batches);
        let rate = 1e3 / cost;
        writeln!(
            out,
            "{name:>10}: {rate:6.2} M events/s per core, {cost:6.1} ns/event, tripled {:+6.1} ns/event, {hits} hits of {} events",
            more - cost,
            BATCHES * ROWS
        )?;
    }
    Ok(())
}
