//! Throws bytes at everything in the agent that reads bytes from outside: `fuzz TARGET|all [SECONDS] [SEED]`.
//!
//! Targets: `events` (records of the rings, through state and columns to a batch), `containers` (answers of runtimes), `config`
//! (configuration files). Inputs are mutations of good ones and of inputs that were taken as good before. A panic ends the
//! program with the input that made it; memory has to stay where it was.

use bodkin_collector::config::ConfigFile;
use bodkin_collector::containers::{ContainerInfo, cri, docker};
use bodkin_collector::events::{EventsBuilder, Origin, SocketTable};
use bodkin_collector::probe::Merge;
use bodkin_collector::process::users::Users;
use bodkin_collector::process::{Limits, ProcFs, ProcessTable};
use bodkin_ebpf::event::Head;
use bodkin_ebpf::{call, decode, layout};
use bodkin_schema::Incarnation;
use std::io::Write;
use std::mem::{offset_of, size_of};
use std::time::{Duration, Instant};

/// Inputs that are kept to be mutated again, and their longest.
const CORPUS_MAX: usize = 4_096;
const INPUT_BYTES_MAX: usize = 32 << 10;

/// Memory may grow by so much while everything warms up.
const MEMORY_MIB_MAX: u64 = 256;

/// xorshift64*: the same inputs for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Changes an input in one of the ways that break readers.
    fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(input.len());
            match self.below(8) {
                0 => input.truncate(at),
                1 => input.extend(std::iter::repeat_n(self.next() as u8, self.below(64))),
                2 => drop(input.splice(at..at, other.iter().take(self.below(64)).copied().collect::<Vec<_>>())),
                3 => drop(input.drain(at..(at + self.below(16)).min(input.len()))),
                4 if input.len() >= 8 => {
                    let numbers = [0_u64, 1, 0xff, 0x7fff, 0x8000, 0xffff, u64::from(u32::MAX), u64::MAX];
                    let (width, number) = (1 << self.below(4), numbers[self.below(numbers.len())]);
                    let at = self.below(input.len() - 7);
                    input[at..at + width].copy_from_slice(&number.to_ne_bytes()[..width]);
                }
                5 if !input.is_empty() => input[at] ^= 1 << self.below(8),
                _ if !input.is_empty() => input[at] = self.next() as u8,
                _ => input.push(self.next() as u8),
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
}

/// Takes one input; true if it was a good one.
type Target = Box<dyn FnMut(&[u8]) -> bool>;

/// Makes a target, and good inputs for it.
type Make = fn() -> (Vec<Vec<u8>>, Target);

/// A record of every kind that there is.
fn records() -> Vec<Vec<u8>> {
    let bodies = [
        (layout::family::EXEC, size_of::<layout::ExecBody>()),
        (layout::family::FORK, size_of::<layout::ForkBody>()),
        (layout::family::EXIT, size_of::<layout::ExitBody>()),
        (layout::family::OPEN, size_of::<layout::OpenBody>()),
        (layout::family::PATHS, size_of::<layout::PathsBody>()),
        (layout::family::SOCKET, size_of::<layout::SocketBody>()),
        (layout::family::DESCRIPTOR, size_of::<layout::DescriptorBody>()),
        (layout::family::IDENTITY, size_of::<layout::IdentityBody>()),
        (layout::family::PLAIN, size_of::<layout::PlainBody>()),
        (layout::family::MOVE, size_of::<layout::MoveBody>()),
        (layout::family::FLOW, size_of::<layout::FlowBody>()),
    ];
    let mut records = Vec::new();
    for (number, known) in call::ALL.iter().enumerate().skip(1) {
        let Some((family, body)) = bodies.iter().find(|(family, _)| *family == known.family) else { continue };
        let mut record = vec![0; size_of::<Head>() + body];
        let len = (record.len() + 24) as u16;
        record.extend_from_slice(b"name\0folder\0home\0text\0..");
        record.truncate(usize::from(len));
        let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
        put(offset_of!(Head, kind), &layout::kind(*family, number as u16).to_ne_bytes());
        put(offset_of!(Head, nargs), &[(body / 8) as u8]);
        put(offset_of!(Head, len), &len.to_ne_bytes());
        put(offset_of!(Head, tgid), &(number as u32 % 50 + 1).to_ne_bytes());
        records.push(record);
    }
    records
}

fn events() -> (Vec<Vec<u8>>, Target) {
    let nowhere = std::path::Path::new("/nonexistent");
    let limits = Limits { entries_max: 4_096, ..Limits::default() };
    let mut table = ProcessTable::new(limits, ProcFs::at(nowhere), Users::open("/etc/passwd"));
    let origin = Origin { host: "h".into(), host_id: "id".into(), incarnation: Incarnation(1) };
    let (mut builder, mut sockets, mut merge) = (EventsBuilder::new(origin), SocketTable::default(), Merge::default());
    let target = move |input: &[u8]| {
        let is_good = decode(input).is_ok();
        merge.push(0, input);
        let mut last = 0;
        merge.deliver(u64::MAX, &mut |event| {
            last = event.head.boot_ns;
            table.apply(event);
            builder.append(event, &mut table, &mut sockets, 0).expect("any event makes a row");
            if builder.rows() >= 1_024 || builder.text_bytes() >= 1 << 20 {
                builder.finish(&|_| None).expect("any rows make a batch");
            }
        });
        table.expire(last);
        is_good
    };
    (records(), Box::new(target))
}

fn containers() -> (Vec<Vec<u8>>, Target) {
    let container = br#"{"Id":"0123456789abcdef","Name":"/web","Image":"sha256:11","Created":"2026-01-02T03:04:05.6Z",
        "State":{"StartedAt":"2026-01-02T03:04:05Z"},"Config":{"Image":"nginx:1","Labels":{"a":"b"},"Env":["A=1"]},
        "HostConfig":{"Privileged":true},"Mounts":[{"Source":"/a","Destination":"/b","Mode":"","RW":true}],
        "NetworkSettings":{"IPAddress":"10.0.0.2","Networks":{"n":{"IPAddress":"10.0.0.3"}}}}"#;
    let image = br#"{"Id":"sha256:22","RepoTags":["nginx:1"],"RepoDigests":["nginx@sha256:33"]}"#;
    // A status of the container runtime interface: strings, maps and messages, length by length.
    let status =
        b"\x0a\x1c\x0a\x04id01\x12\x05\x0a\x03web\x20\x07\x3a\x08\x0a\x06img:17B\x03abc\x12\x0a\x0a\x04info\x12\x02{}";
    let target = |input: &[u8]| {
        let mut info = docker::container(input).unwrap_or_else(|_| ContainerInfo::default());
        let is_image = docker::add_image(&mut info, input).is_ok();
        is_image || cri::parse(input).is_ok()
    };
    (vec![container.to_vec(), image.to_vec(), status.to_vec()], Box::new(target))
}

fn config() -> (Vec<Vec<u8>>, Target) {
    let file = b"agent:\n  events: [openat, connect]\n  syscall_stats: count\n  ring_mib: 4\n  exclude: {paths: [/proc], cgroups: [/a]}\n\
        server: grpc://h:1\ncontainers: {docker_socket: /x}\nrules: {files: [a]}\n";
    let target = |input: &[u8]| std::str::from_utf8(input).is_ok_and(|text| ConfigFile::parse(text).is_ok());
    (vec![file.to_vec(), b"agent: {flows: false}\n".to_vec()], Box::new(target))
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1_024
}

fn run(name: &str, (mut corpus, mut target): (Vec<Vec<u8>>, Target), time: Duration, seed: u64) -> std::io::Result<()> {
    let (mut random, begun) = (Random(seed | 1), Instant::now());
    let (mut inputs, mut good, mut memory) = (0_u64, 0_u64, 0);
    while begun.elapsed() < time {
        for _ in 0..1_000 {
            let mut input = corpus[random.below(corpus.len())].clone();
            let other = random.below(corpus.len());
            random.mutate(&mut input, &corpus[other]);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&input)));
            let Ok(is_good) = outcome else {
                return Err(std::io::Error::other(format!("{name}: a panic, seed {seed}, input {input:?}")));
            };
            inputs += 1;
            good += u64::from(is_good);
            if is_good && corpus.len() < CORPUS_MAX {
                corpus.push(input);
            } else if is_good {
                let at = random.below(corpus.len());
                corpus[at] = input;
            }
        }
        memory = resident_mib().max(memory);
        if memory > MEMORY_MIB_MAX {
            return Err(std::io::Error::other(format!("{name}: {memory} MiB of memory, seed {seed}")));
        }
    }
    let mut out = std::io::stdout();
    writeln!(out, "{name:12}{inputs} inputs, {good} of them good, {memory} MiB, no panic")
}

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = arguments.first().map_or("all", String::as_str);
    let number = |at: usize, default: u64| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (time, seed) = (Duration::from_secs(number(1, 10)), number(2, 1));
    let targets: [(&str, Make); 3] = [("events", events), ("containers", containers), ("config", config)];
    for (name, make) in targets.iter().filter(|(name, _)| wanted == "all" || wanted == *name) {
        run(name, make(), time, seed)?;
    }
    Ok(())
}
