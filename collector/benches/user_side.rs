//! What an event costs in user space, from the ring's bytes to a finished Arrow batch: `cargo bench -p bodkin-collector`, with
//! kinds of events after `--` only those.
//!
//! Records as the programs write them go through the same stages as in the agent, in rounds as long as a look into full
//! rings. Prints nanoseconds of processor time per event, the least of several rounds, for each kind of event and stage;
//! a stage includes those before it.

use bodkin_collector::events::{EventsBuilder, Origin, SocketTable};
use bodkin_collector::probe::Merge;
use bodkin_collector::process::users::Users;
use bodkin_collector::process::{Limits, ProcFs, Process, ProcessTable};
use bodkin_ebpf::call;
use bodkin_ebpf::event::{Event, Head};
use bodkin_ebpf::layout::{ExecBody, ExitBody, ForkBody, OpenBody, PlainBody, SocketBody, family, kind, part};
use bodkin_schema::Incarnation;
use bodkin_wal::Compression;
use bodkin_wal::ipc::Encoder;
use rustix::time::{ClockId, clock_gettime};
use std::io::Write;
use std::mem::offset_of;

// As the agent has it: batches are large, and what gives their memory back to the kernel pays for each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events of one look into the rings: a millisecond of one and a half million a second.
const LOOK_EVENTS: usize = 1_500;

/// Rows of a batch, as the agent ends it.
const BATCH_ROWS: usize = 8 * 1024;

const ROUNDS: usize = 9;
const LOOKS: usize = 200;

/// Processes that the events come from, and generations above them.
const PROCESSES: u32 = 40;
const GENERATIONS: u32 = 6;

/// An event's bytes, field by field.
struct Record(Vec<u8>);

impl Record {
    fn new(family: u16, name: &str, body: usize) -> Self {
        let number = call::by_name(name).unwrap_or(call::NATIVE_BASE + 110);
        let mut record = Self(vec![0; size_of::<Head>() + body]);
        record.put(offset_of!(Head, kind), &kind(family, number).to_ne_bytes());
        record.put(offset_of!(Head, nargs), &[(body / 8) as u8]);
        record
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn field(&mut self, at: usize, bytes: &[u8]) {
        self.put(size_of::<Head>() + at, bytes);
    }

    fn text(&mut self, len_at: usize, text: &[u8]) {
        self.field(len_at, &(text.len() as u16).to_ne_bytes());
        self.0.extend_from_slice(text);
    }

    /// Of a process whose parent is the last generation.
    fn finish(mut self, number: usize, pid: u32) -> Vec<u8> {
        let len = self.0.len() as u16;
        self.put(offset_of!(Head, len), &len.to_ne_bytes());
        self.put(offset_of!(Head, boot_ns), &(1_000_000 + number as u64 * 600).to_ne_bytes());
        self.put(offset_of!(Head, seq), &(number as u64).to_ne_bytes());
        for (at, value) in [(offset_of!(Head, tid), pid), (offset_of!(Head, tgid), pid)] {
            self.put(at, &value.to_ne_bytes());
        }
        self.put(offset_of!(Head, ppid), &GENERATIONS.to_ne_bytes());
        self.0
    }
}

fn pid(number: usize) -> u32 {
    100 + (number as u32 / 8) % PROCESSES
}

fn plain(number: usize) -> Vec<u8> {
    Record::new(family::PLAIN, "getppid", size_of::<PlainBody>()).finish(number, pid(number))
}

fn open(number: usize) -> Vec<u8> {
    let mut record = Record::new(family::OPEN, "openat", size_of::<OpenBody>());
    record.put(offset_of!(Head, ret), &3_i64.to_ne_bytes());
    record.field(offset_of!(OpenBody, flags), &0o2_000_000_u64.to_ne_bytes());
    record.field(offset_of!(OpenBody, inode_mode), &0o100_644_u16.to_ne_bytes());
    record.field(offset_of!(OpenBody, dev), &1_u32.to_ne_bytes());
    record.field(offset_of!(OpenBody, ino), &(number as u64 % 999).to_ne_bytes());
    record.field(offset_of!(OpenBody, parts), &part::HAS_BASE.to_ne_bytes());
    record.text(offset_of!(OpenBody, name_len), format!("include/file-{}.h", number % 999).as_bytes());
    record.text(offset_of!(OpenBody, base_len), b"project\0src\0alice\0home\0");
    record.finish(number, pid(number))
}

fn connect(number: usize) -> Vec<u8> {
    let mut record = Record::new(family::SOCKET, "connect", size_of::<SocketBody>());
    record.field(offset_of!(SocketBody, family), &2_u16.to_ne_bytes());
    record.field(offset_of!(SocketBody, protocol), &6_u16.to_ne_bytes());
    record.field(offset_of!(SocketBody, remote), &[10, 0, (number / 7 % 16) as u8, (number % 250) as u8]);
    record.field(offset_of!(SocketBody, remote_port), &443_u16.to_ne_bytes());
    record.field(offset_of!(SocketBody, local), &[10, 1, 0, 1]);
    record.field(offset_of!(SocketBody, local_port), &(number as u16 | 1).to_ne_bytes());
    record.field(offset_of!(SocketBody, ino), &(number as u64 % 5_000 + 1).to_ne_bytes());
    record.finish(number, pid(number))
}

/// fork, exec and exit of one child after the other.
fn life(number: usize) -> Vec<u8> {
    let (parent, child) = (100 + (number as u32 / 3) % PROCESSES, 10_000 + (number as u32 / 3) % 20_000);
    match number % 3 {
        0 => {
            let mut record = Record::new(family::FORK, "clone", size_of::<ForkBody>());
            record.field(offset_of!(ForkBody, child), &child.to_ne_bytes());
            record.field(offset_of!(ForkBody, comm), b"make\0");
            record.text(offset_of!(ForkBody, cgroup_len), b"session-1.scope\0user.slice\0");
            record.finish(number, parent)
        }
        1 => {
            let mut record = Record::new(family::EXEC, "execve", size_of::<ExecBody>());
            record.field(offset_of!(ExecBody, ppid), &parent.to_ne_bytes());
            record.field(offset_of!(ExecBody, comm), b"cc1\0");
            record.field(offset_of!(ExecBody, parent_comm), b"make\0");
            record.text(offset_of!(ExecBody, exe_len), b"cc1\x0012\0x86_64-linux-gnu\0gcc\0lib\0usr\0");
            record.text(offset_of!(ExecBody, argv_len), format!("cc1\0-O2\0-o\0file-{number}.o\0").as_bytes());
            record.text(offset_of!(ExecBody, env_len), &b"PATH=/usr/bin:/bin\0HOME=/home/alice\0".repeat(8));
            record.text(offset_of!(ExecBody, cwd_len), b"project\0src\0alice\0home\0");
            record.text(offset_of!(ExecBody, cgroup_len), b"session-1.scope\0user.slice\0");
            record.finish(number, child)
        }
        _ => Record::new(family::EXIT, "procexit", size_of::<ExitBody>()).finish(number, child),
    }
}

/// What a file-heavy host does: opens, some connections, some programs.
fn mixed(number: usize) -> Vec<u8> {
    match number % 20 {
        0 => connect(number),
        // Each three in a row are one child's life.
        1..=3 => life(number / 20 * 3 + number % 20 - 1).with_time(number),
        4..=6 => plain(number),
        _ => open(number),
    }
}

trait WithTime {
    fn with_time(self, number: usize) -> Self;
}

impl WithTime for Vec<u8> {
    fn with_time(mut self, number: usize) -> Self {
        self[..8].copy_from_slice(&(1_000_000 + number as u64 * 600).to_ne_bytes());
        self
    }
}

/// The agent's stages from the rings on.
struct Stages {
    merge: Merge,
    table: ProcessTable,
    sockets: SocketTable,
    builder: EventsBuilder,
    encoder: Encoder,
    rows: usize,
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Depth {
    Decode,
    State,
    Batch,
    Encode,
}

impl Stages {
    fn new() -> Self {
        let nowhere = std::path::Path::new("/nonexistent");
        let mut table = ProcessTable::new(Limits::default(), ProcFs::at(nowhere), Users::open("/etc/passwd"));
        let mut put = |pid: u32, ppid: u32| {
            let mut process = Process::unknown(pid);
            process.ppid = (ppid > 0).then_some(ppid);
            (process.uid, process.gid) = (Some(0), Some(0));
            (process.comm, process.exe) = (Some("bash".into()), Some("/usr/bin/bash".into()));
            process.cmdline = Some(format!("bash -c work-{pid}").into());
            table.put(process);
        };
        (1..=GENERATIONS).for_each(|generation| put(generation, generation - 1));
        (0..PROCESSES).for_each(|child| put(100 + child, GENERATIONS));
        let origin = Origin { host: "host".into(), host_id: "0123456789abcdef".into(), incarnation: Incarnation(1) };
        Self {
            merge: Merge::default(),
            table,
            sockets: SocketTable::default(),
            builder: EventsBuilder::new(origin),
            encoder: Encoder::new(Compression::Lz4).expect("arrow has the codec"),
            rows: 0,
            bytes: 0,
        }
    }

    fn look(&mut self, records: &[Vec<u8>], depth: Depth) {
        for record in records {
            self.merge.push(0, record);
        }
        let (table, sockets, builder) = (&mut self.table, &mut self.sockets, &mut self.builder);
        let (encoder, rows, bytes) = (&mut self.encoder, &mut self.rows, &mut self.bytes);
        let mut add = |event: &Event<'_>| {
            if depth < Depth::State {
                *rows += event.name.len();
                return;
            }
            table.apply(event);
            if depth < Depth::Batch {
                return;
            }
            builder.append(event, table, sockets, 0).expect("columns fit");
            if builder.rows() >= BATCH_ROWS || builder.text_bytes() >= 1 << 20 {
                let batch = builder.finish(&|_| None).expect("columns fit");
                *rows += batch.num_rows();
                if depth >= Depth::Encode {
                    let frame = encoder.encode(&batch).expect("every type has a form");
                    *bytes += frame.batch.len();
                }
            }
        };
        let stats = self.merge.deliver(u64::MAX, &mut add);
        assert_eq!(stats.delivered as usize, records.len());
        self.table.expire(u64::MAX);
    }
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn measure(make: Make, depth: Depth) -> f64 {
    let looks: Vec<Vec<Vec<u8>>> =
        (0..20).map(|look| (0..LOOK_EVENTS).map(|at| make(look * LOOK_EVENTS + at)).collect()).collect();
    let mut stages = Stages::new();
    let mut least = f64::MAX;
    for _ in 0..ROUNDS {
        let begun = cpu_ns();
        for look in looks.iter().cycle().take(LOOKS) {
            stages.look(look, depth);
        }
        least = least.min((cpu_ns() - begun) as f64 / (LOOKS * LOOK_EVENTS) as f64);
    }
    least
}

/// Makes the event of that number.
type Make = fn(usize) -> Vec<u8>;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{:10}{:>10}{:>10}{:>10}{:>10}   ns per event", "", "decode", "+state", "+batch", "+encode")?;
    let kinds: [(&str, Make); 5] =
        [("plain", plain), ("open", open), ("connect", connect), ("life", life), ("mixed", mixed)];
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for (name, make) in kinds.into_iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name)) {
        let [decode, state, batch, encode] =
            [Depth::Decode, Depth::State, Depth::Batch, Depth::Encode].map(|depth| measure(make, depth));
        writeln!(out, "{name:10}{decode:>10.0}{state:>10.0}{batch:>10.0}{encode:>10.0}")?;
    }
    Ok(())
}
