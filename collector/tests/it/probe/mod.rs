//! The probe on the running kernel. Needs root and BTF; elsewhere each test says so and passes, unless
//! `BODKIN_REQUIRE_EBPF` is set.
//!
//! The tests run beside each other and see each other's events: each looks for its own marker.

#[cfg(target_arch = "x86_64")]
mod calls;
mod cgroups;
#[cfg(target_arch = "x86_64")]
mod compat;
mod files;
mod flow;
mod flows;
mod life;
mod signals;
mod snapshot;
mod sockets;
#[cfg(target_arch = "x86_64")]
mod tree;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use bodkin_collector::probe::{Probe, ProbeConfig, ProbeError};
use bodkin_ebpf::event::{Components, Flow, Name};
use bodkin_ebpf::{Body, Event};

const ENOENT: i64 = -2;
const EACCES: i64 = -13;
const ECONNREFUSED: i64 = -111;
const EINPROGRESS: i64 = -115;

fn attach(config: &ProbeConfig) -> Option<Probe> {
    match Probe::attach(config) {
        Ok(probe) => Some(probe),
        Err(
            error @ (ProbeError::MissingCapability { .. } | ProbeError::MissingBtf | ProbeError::KernelTooOld { .. }),
        ) => {
            assert!(std::env::var_os("BODKIN_REQUIRE_EBPF").is_none(), "{error}");
            eprintln!("not tested here: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Taken for writing by tests that flood every ring of the host, for reading by tests that must lose nothing.
static FLOOD: RwLock<()> = RwLock::new(());

/// A probe that nobody floods.
struct Watch {
    probe: Probe,
    _quiet: RwLockReadGuard<'static, ()>,
}

impl Deref for Watch {
    type Target = Probe;

    fn deref(&self) -> &Probe {
        &self.probe
    }
}

impl DerefMut for Watch {
    fn deref_mut(&mut self) -> &mut Probe {
        &mut self.probe
    }
}

/// Exports the calls of this process too, which are those that the tests make.
fn watch(events: BTreeSet<String>) -> Option<Watch> {
    let quiet = FLOOD.read().unwrap_or_else(PoisonError::into_inner);
    let probe = attach(&ProbeConfig { events, excluded_tgid: None, ..ProbeConfig::default() })?;
    Some(Watch { probe, _quiet: quiet })
}

fn watch_all() -> Option<Watch> {
    watch(ProbeConfig::default().events)
}

/// A word that no other test and no other run has.
fn marker(test: &str) -> String {
    format!("bodkin-{test}-{}", std::process::id())
}

/// An event as text: `name ret detail`.
#[derive(Clone, Debug)]
struct Seen {
    name: &'static str,
    tgid: u32,
    tid: u32,
    ret: i64,
    flags: u8,
    boot_ns: u64,
    detail: Detail,
}

#[derive(Clone, Debug)]
enum Detail {
    Exec {
        ppid: u32,
        comm: String,
        parent_comm: String,
        exe: String,
        argv: Vec<String>,
        cwd: String,
        cgroup: String,
        ids: (u32, u32),
    },
    Fork {
        child: u32,
        flags: u64,
        cgroup: String,
    },
    Exit,
    Reparent(u32),
    Open {
        path: String,
        flags: u64,
        inode_mode: u32,
    },
    Paths {
        path: String,
        path2: Option<String>,
        flags: u64,
    },
    Socket {
        fd: i32,
        family: u16,
        protocol: u16,
        local: String,
        remote: String,
        unix: Vec<u8>,
        data: Vec<u8>,
    },
    Descriptor {
        fd: i32,
        path: String,
        text: String,
        args: [u64; 6],
        mode: u16,
        remote: String,
    },
    Identity {
        args: [u64; 6],
        sid: u32,
        pgid: u32,
        effective: u64,
        comm: String,
    },
    Plain([u64; 6]),
    Move(String),
    Flow(Flow),
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn joined(components: Components<'_>) -> String {
    let mut names: Vec<String> = components.bytes.split(|byte| *byte == 0).map(text).collect();
    names.pop();
    names.reverse();
    let cut = if components.truncated { "..." } else { "" };
    format!("{cut}/{}", names.join("/"))
}

fn full(name: &Name<'_>) -> String {
    match name.base {
        Some(base) => format!("{}|{}", joined(base), text(name.raw)),
        None => text(name.raw),
    }
}

fn address(family: u16, bytes: [u8; 16], port: u16) -> String {
    let [a, b, c, d, ..] = bytes;
    match family {
        2 => SocketAddr::from(([a, b, c, d], port)).to_string(),
        10 => SocketAddr::from((bytes, port)).to_string(),
        _ => String::new(),
    }
}

impl Seen {
    fn of(event: &Event<'_>) -> Self {
        let detail = match &event.body {
            Body::Exec(exec) => Detail::Exec {
                ppid: exec.ppid,
                comm: text(exec.comm),
                parent_comm: text(exec.parent_comm),
                exe: joined(exec.exe),
                argv: exec.argv.split_inclusive(|byte| *byte == 0).map(|arg| text(arg).replace('\0', "")).collect(),
                cwd: joined(exec.cwd),
                cgroup: joined(exec.cgroup),
                ids: (exec.loginuid, exec.tty),
            },
            Body::Fork(fork) => {
                Detail::Fork { child: fork.child_tgid, flags: fork.clone_flags, cgroup: joined(fork.cgroup) }
            }
            Body::Exit(_) => Detail::Exit,
            Body::Reparent(reaper) => Detail::Reparent(*reaper),
            Body::Open(open) => Detail::Open { path: full(&open.name), flags: open.flags, inode_mode: open.inode_mode },
            Body::Paths(paths) => {
                let flags = if event.name == "renameat2" { paths.args[4] } else { 0 };
                Detail::Paths { path: full(&paths.name), path2: paths.name2.as_ref().map(full), flags }
            }
            Body::Socket(socket) => Detail::Socket {
                fd: socket.fd,
                family: socket.family,
                protocol: socket.protocol,
                local: address(socket.family, socket.local, socket.local_port),
                remote: address(socket.family, socket.remote, socket.remote_port),
                unix: socket.unix_path.to_vec(),
                data: socket.data.to_vec(),
            },
            Body::Descriptor(descriptor) => Detail::Descriptor {
                fd: descriptor.socket.fd,
                path: joined(descriptor.path),
                text: text(descriptor.text),
                args: descriptor.args,
                mode: descriptor.inode_mode,
                remote: address(descriptor.socket.family, descriptor.socket.remote, descriptor.socket.remote_port),
            },
            Body::Identity(identity) => Detail::Identity {
                args: identity.args,
                sid: identity.ids.sid,
                pgid: identity.ids.pgid,
                effective: identity.caps.effective,
                comm: text(identity.comm),
            },
            Body::Plain(args) => Detail::Plain(*args),
            Body::Move(cgroup) => Detail::Move(joined(*cgroup)),
            Body::Flow(flow) => Detail::Flow(*flow),
        };
        let head = event.head;
        let (tgid, tid) = (head.tgid, head.tid);
        Self { name: event.name, tgid, tid, ret: head.ret, flags: head.flags, boot_ns: head.boot_ns, detail }
    }

    fn line(&self) -> String {
        let result = if self.ret < 0 { self.ret.to_string() } else { "ok".to_string() };
        match &self.detail {
            Detail::Open { path, .. } => format!("{} {result} {path}", self.name),
            Detail::Paths { path, path2: Some(second), flags } => {
                format!("{} {result} {path} -> {second} {flags}", self.name)
            }
            Detail::Paths { path, .. } => format!("{} {result} {path}", self.name),
            Detail::Socket { local, remote, unix, .. } if unix.is_empty() => {
                format!("{} {result} {local} -> {remote}", self.name)
            }
            Detail::Socket { unix, .. } => format!("{} {result} {}", self.name, text(unix)),
            other => format!("{} {result} {other:?}", self.name),
        }
    }
}

/// Drains until `enough` says so of the events that pass `keep`, at most 20 s.
fn collect(probe: &mut Probe, keep: &dyn Fn(&Seen) -> bool, enough: &dyn Fn(&[Seen]) -> bool) -> Vec<Seen> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut seen = Vec::new();
    while !enough(&seen) && Instant::now() < deadline {
        probe.drain(&mut |event| {
            let event = Seen::of(event);
            if keep(&event) {
                seen.push(event);
            }
        });
        probe.wait(Duration::from_millis(2)).unwrap();
    }
    seen
}

/// Lines of the events of this process whose text holds the marker, until there are `count`.
fn lines(probe: &mut Probe, marker: &str, count: usize) -> Vec<String> {
    let keep = |seen: &Seen| seen.tgid == std::process::id() && seen.line().contains(marker);
    let seen = collect(probe, &keep, &|seen| seen.len() >= count);
    seen.iter().map(Seen::line).collect()
}

fn assert_no_loss(probe: &mut Probe) {
    assert_eq!(probe.losses().unwrap(), [], "DROP-1: nothing is lost at this load");
}
