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
use bodkin_fuzz::{Arguments, Target, run};
use bodkin_schema::Incarnation;
use std::mem::{offset_of, size_of};

/// Longest input, and what memory may grow to while everything warms up.
const INPUT_BYTES_MAX: usize = 32 << 10;
const MEMORY_MIB_MAX: u64 = 256;

fn target(name: &'static str, seeds: Vec<Vec<u8>>, take: impl FnMut(&[u8]) -> bool + 'static) -> Target {
    let (bytes_max, memory_mib_max) = (INPUT_BYTES_MAX, MEMORY_MIB_MAX);
    Target { name, seeds, take: Box::new(take), pieces: &[], bytes_max, memory_mib_max }
}

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

fn events() -> Target {
    let nowhere = std::path::Path::new("/nonexistent");
    let limits = Limits { entries_max: 4_096, ..Limits::default() };
    let mut table = ProcessTable::new(limits, ProcFs::at(nowhere), Users::open("/etc/passwd"));
    let origin = Origin { host: "h".into(), host_id: "id".into(), incarnation: Incarnation(1) };
    let (mut builder, mut sockets, mut merge) = (EventsBuilder::new(origin), SocketTable::default(), Merge::default());
    let take = move |input: &[u8]| {
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
    target("events", records(), take)
}

fn containers() -> Target {
    let container = br#"{"Id":"0123456789abcdef","Name":"/web","Image":"sha256:11","Created":"2026-01-02T03:04:05.6Z",
        "State":{"StartedAt":"2026-01-02T03:04:05Z"},"Config":{"Image":"nginx:1","Labels":{"a":"b"},"Env":["A=1"]},
        "HostConfig":{"Privileged":true},"Mounts":[{"Source":"/a","Destination":"/b","Mode":"","RW":true}],
        "NetworkSettings":{"IPAddress":"10.0.0.2","Networks":{"n":{"IPAddress":"10.0.0.3"}}}}"#;
    let image = br#"{"Id":"sha256:22","RepoTags":["nginx:1"],"RepoDigests":["nginx@sha256:33"]}"#;
    // A status of the container runtime interface: strings, maps and messages, length by length.
    let status =
        b"\x0a\x1c\x0a\x04id01\x12\x05\x0a\x03web\x20\x07\x3a\x08\x0a\x06img:17B\x03abc\x12\x0a\x0a\x04info\x12\x02{}";
    let take = |input: &[u8]| {
        let mut info = docker::container(input).unwrap_or_else(|_| ContainerInfo::default());
        let is_image = docker::add_image(&mut info, input).is_ok();
        is_image || cri::parse(input).is_ok()
    };
    target("containers", vec![container.to_vec(), image.to_vec(), status.to_vec()], take)
}

fn config() -> Target {
    let file = b"agent:\n  events: [openat, connect]\n  syscall_stats: count\n  ring_mib: 4\n  exclude: {paths: [/proc], cgroups: [/a]}\n\
        server: grpc://h:1\ncontainers: {docker_socket: /x}\nrules: {files: [a]}\n";
    let take = |input: &[u8]| std::str::from_utf8(input).is_ok_and(|text| ConfigFile::parse(text).is_ok());
    target("config", vec![file.to_vec(), b"agent: {flows: false}\n".to_vec()], take)
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::of_process();
    let mut targets = [events(), containers(), config()].into_iter().filter(|target| arguments.wants(target.name));
    targets.try_for_each(|target| run(target, &arguments))
}
