//! Bytes that the kernel programs and user space share: the mirror of `c/layout.h`.
//!
//! `build.rs` compiles this module too and gives clang one `_Static_assert` per field and constant of [`checks`], so the
//! two sides cannot drift apart: the build fails instead.

use core::mem::{offset_of, size_of};

use crate::event::Head;

/// Layouts of events. [`Head::kind`](crate::event::Head::kind) is `family << 8 | call`.
pub mod family {
    /// A program was started.
    pub const EXEC: u16 = 1;
    /// A process was made.
    pub const FORK: u16 = 2;
    /// A process ended.
    pub const EXIT: u16 = 3;
    /// A file was opened.
    pub const OPEN: u16 = 4;
    /// A call with one or two paths.
    pub const PATHS: u16 = 5;
    /// A call on a socket with addresses.
    pub const SOCKET: u16 = 6;
    /// One more than the highest family.
    pub const COUNT: usize = 7;

    /// Names for counters, by family.
    pub const NAMES: [&str; COUNT] = ["none", "exec", "fork", "exit", "open", "paths", "socket"];
}

/// System calls and life-cycle events: the low byte of [`Head::kind`](crate::event::Head::kind).
pub mod call {
    /// Call number of the end of a process.
    pub const PROCEXIT: u16 = 7;
    /// i386 only: the kernel replaces it by the call that its first argument names.
    pub const SOCKETCALL: u16 = 255;

    /// Name and family, by call.
    pub const ALL: [(&str, u16); 20] = [
        ("", 0),
        ("execve", super::family::EXEC),
        ("execveat", super::family::EXEC),
        ("fork", super::family::FORK),
        ("vfork", super::family::FORK),
        ("clone", super::family::FORK),
        ("clone3", super::family::FORK),
        ("procexit", super::family::EXIT),
        ("open", super::family::OPEN),
        ("openat", super::family::OPEN),
        ("openat2", super::family::OPEN),
        ("creat", super::family::OPEN),
        ("unlink", super::family::PATHS),
        ("unlinkat", super::family::PATHS),
        ("rename", super::family::PATHS),
        ("renameat", super::family::PATHS),
        ("renameat2", super::family::PATHS),
        ("connect", super::family::SOCKET),
        ("accept", super::family::SOCKET),
        ("accept4", super::family::SOCKET),
    ];

    /// The call of a name, with its family.
    pub fn by_name(name: &str) -> Option<(u16, u16)> {
        let known = |entry: &(&str, u16)| !entry.0.is_empty() && entry.0 == name;
        let at = ALL.iter().position(known)?;
        ALL.get(at).map(|entry| (at as u16, entry.1))
    }
}

/// Bits of [`Head::flags`](crate::event::Head::flags).
pub mod flag {
    /// A text of the event was cut: a name, argv, or the tail of components.
    pub const TRUNCATED: u8 = 1;
    /// The call came by the 32-bit entry of a 64-bit kernel.
    pub const COMPAT: u8 = 2;
}

/// Bits of the `parts` field that the event bodies share.
pub mod part {
    /// The first text was cut: a name, or the executable of an exec.
    pub const CUT_1: u16 = 1;
    /// The second text was cut: the folder of a name, or argv.
    pub const CUT_2: u16 = 2;
    /// The third text was cut: the second name, or the working directory.
    pub const CUT_3: u16 = 4;
    /// The fourth text was cut: the folder of the second name, or the cgroup.
    pub const CUT_4: u16 = 8;
    /// The first name has a folder.
    pub const HAS_BASE: u16 = 16;
    /// There is a second name.
    pub const HAS_NAME2: u16 = 32;
    /// The second name has a folder.
    pub const HAS_BASE2: u16 = 64;
}

/// Body of an exec. Texts follow: exe, argv, cwd, cgroup.
#[repr(C)]
pub struct ExecBody {
    /// Process id of the parent.
    pub ppid: u32,
    /// Audit login uid.
    pub loginuid: u32,
    /// Controlling terminal.
    pub tty: u32,
    /// [`part`] bits.
    pub parts: u16,
    /// Bytes of the executable's components.
    pub exe_len: u16,
    /// Bytes of argv.
    pub argv_len: u16,
    /// Bytes of the working directory's components.
    pub cwd_len: u16,
    /// Bytes of the cgroup's components.
    pub cgroup_len: u16,
    /// Padding.
    pub pad: u16,
    /// comm, padded with NUL.
    pub comm: [u8; 16],
    /// comm of the parent, padded with NUL.
    pub parent_comm: [u8; 16],
}

/// Body of a fork. The cgroup follows.
#[repr(C)]
pub struct ForkBody {
    /// Flags of clone.
    pub clone_flags: u64,
    /// Process id of the child.
    pub child: u32,
    /// [`part`] bits.
    pub parts: u16,
    /// Bytes of the cgroup's components.
    pub cgroup_len: u16,
    /// comm, padded with NUL.
    pub comm: [u8; 16],
}

/// Body of an open. Name and folder follow.
#[repr(C)]
pub struct OpenBody {
    /// Open flags.
    pub flags: u64,
    /// Permission bits.
    pub mode: u32,
    /// st_mode of the file.
    pub inode_mode: u32,
    /// [`part`] bits.
    pub parts: u16,
    /// Bytes of the name.
    pub name_len: u16,
    /// Bytes of the folder's components.
    pub base_len: u16,
    /// Padding.
    pub pad: u16,
}

/// Body of a call with paths. Name, folder, second name and its folder follow.
#[repr(C)]
pub struct PathsBody {
    /// Flags of the call.
    pub flags: u64,
    /// [`part`] bits.
    pub parts: u16,
    /// Bytes of the name.
    pub name_len: u16,
    /// Bytes of the folder's components.
    pub base_len: u16,
    /// Bytes of the second name.
    pub name2_len: u16,
    /// Bytes of its folder's components.
    pub base2_len: u16,
    /// Padding.
    pub pad: [u16; 3],
}

/// Body of a call on a socket. sun_path follows.
#[repr(C)]
pub struct SocketBody {
    /// Descriptor.
    pub fd: i32,
    /// AF_*.
    pub family: u16,
    /// IPPROTO_*.
    pub protocol: u16,
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// [`part`] bits.
    pub parts: u16,
    /// Bytes of the Unix path.
    pub path_len: u16,
    /// Local address.
    pub local: [u8; 16],
    /// Remote address.
    pub remote: [u8; 16],
}

/// Table sizes of [`Settings`].
pub const CALLS: usize = 512;
/// Numbers of socketcall, rounded up.
pub const SOCKETCALLS: usize = 32;
/// Bit of an entry of [`Settings::calls`]: the event is exported when the call ends.
pub const WANTED: u16 = 0x8000;

/// What user space tells the programs: the whole of `.bss`. Written before attaching and on a change of configuration.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Settings {
    /// By number of the call: low half for 64-bit calls, high half for 32-bit ones; each `WANTED | kind`, 0 if unknown.
    pub calls: [u32; CALLS],
    /// By number of socketcall (i386): as one half of `calls`.
    pub socketcalls: [u16; SOCKETCALLS],
    /// Process whose calls are never exported; 0 for none.
    pub own_tgid: u32,
    /// Whether the map `proc_policy` has entries.
    pub policies: u32,
    /// Bytes waiting in an `events` ring from which on the reader is woken.
    pub events_wake_at: u32,
    /// Bytes waiting in an `events` ring from which on opens for reading are shed.
    pub events_shed_at: u32,
    /// Bytes waiting in the `life` ring from which on the reader is woken.
    pub life_wake_at: u32,
    /// Padding.
    pub pad: u32,
}

/// Bytes of [`Settings`].
pub const SETTINGS_BYTES: usize = size_of::<Settings>();

impl Settings {
    /// The bytes as the programs read them.
    pub fn to_bytes(&self) -> [u8; SETTINGS_BYTES] {
        let mut bytes = [0; SETTINGS_BYTES];
        let mut put = |at: usize, value: &[u8]| {
            let slot = bytes.get_mut(at..at + value.len()).expect("invariant: a field lies inside its structure");
            slot.copy_from_slice(value);
        };
        for (number, entry) in self.calls.iter().enumerate() {
            put(offset_of!(Self, calls) + number * 4, &entry.to_ne_bytes());
        }
        for (number, entry) in self.socketcalls.iter().enumerate() {
            put(offset_of!(Self, socketcalls) + number * 2, &entry.to_ne_bytes());
        }
        put(offset_of!(Self, own_tgid), &self.own_tgid.to_ne_bytes());
        put(offset_of!(Self, policies), &self.policies.to_ne_bytes());
        put(offset_of!(Self, events_wake_at), &self.events_wake_at.to_ne_bytes());
        put(offset_of!(Self, events_shed_at), &self.events_shed_at.to_ne_bytes());
        put(offset_of!(Self, life_wake_at), &self.life_wake_at.to_ne_bytes());
        bytes
    }
}

/// Counters of one class on one processor. `offered = sent + full + shed`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassStats {
    /// Events that should have been sent.
    pub offered: u64,
    /// Events written to a ring.
    pub sent: u64,
    /// Events lost because the ring was full.
    pub full: u64,
    /// Events given up early because the ring was nearly full.
    pub shed: u64,
    /// Events of excluded processes; not offered.
    pub policy: u64,
    /// Events sent with a text cut.
    pub truncated: u64,
}

/// Number of u64 values in [`ClassStats`].
pub const CLASS_STATS_WORDS: usize = size_of::<ClassStats>() / 8;

/// Counters of one processor: the value of the map `stats`.
#[repr(C)]
pub struct CpuStats {
    /// Number of the last event offered.
    pub seq: u64,
    /// Rings whose reader has been woken: bit 0 `events`, bit 1 `life`.
    pub woken: u64,
    /// Bytes in the processor's `events` ring when the programs last looked.
    pub waiting: u64,
    /// By family.
    pub class: [ClassStats; family::COUNT],
}

impl CpuStats {
    /// Reads the value of the map `stats`.
    pub fn from_words(words: &[u64; CPU_STATS_WORDS]) -> Self {
        let mut class = [ClassStats::default(); family::COUNT];
        let by_class = words.get(3..).unwrap_or_default().chunks_exact(CLASS_STATS_WORDS);
        for (slot, values) in class.iter_mut().zip(by_class) {
            if let [offered, sent, full, shed, policy, truncated] = *values {
                *slot = ClassStats { offered, sent, full, shed, policy, truncated };
            }
        }
        Self { seq: words[0], woken: words[1], waiting: words[2], class }
    }
}

/// Number of u64 values in [`CpuStats`].
pub const CPU_STATS_WORDS: usize = size_of::<CpuStats>() / 8;

/// Longest name that is read, its NUL included.
pub const NAME_MAX_BYTES: usize = 4096;
/// Longest argv that is read.
pub const ARGV_MAX_BYTES: usize = 8192;
/// Bytes of the buffer in which an event is made; no event is longer.
pub const EVENT_MAX_BYTES: usize = 28 * 1024;

macro_rules! fields {
    ($out:ident, $rust:ident = $c:literal { $($field:ident),+ $(,)? }) => {
        $out.push((format!("sizeof(struct {})", $c), size_of::<$rust>() as u64));
        $($out.push((
            format!("__builtin_offsetof(struct {}, {})", $c, stringify!($field)),
            offset_of!($rust, $field) as u64,
        ));)+
    };
}

/// C expressions and the values that they must have.
pub fn checks() -> Vec<(String, u64)> {
    let mut out = Vec::new();
    fields!(out, Head = "head" { boot_ns, seq, tid, tgid, cgroup_id, ret, kind, len, cpu, flags, nargs, uid, pad, spare });
    fields!(out, ExecBody = "exec_body" {
        ppid, loginuid, tty, parts, exe_len, argv_len, cwd_len, cgroup_len, pad, comm, parent_comm,
    });
    fields!(out, ForkBody = "fork_body" { clone_flags, child, parts, cgroup_len, comm });
    fields!(out, OpenBody = "open_body" { flags, mode, inode_mode, parts, name_len, base_len, pad });
    fields!(out, PathsBody = "paths_body" { flags, parts, name_len, base_len, name2_len, base2_len, pad });
    fields!(out, SocketBody = "socket_body" {
        fd, family, protocol, local_port, remote_port, parts, path_len, local, remote,
    });
    fields!(out, Settings = "settings" {
        calls, socketcalls, own_tgid, policies, events_wake_at, events_shed_at, life_wake_at, pad,
    });
    fields!(out, ClassStats = "class_stats" { offered, sent, full, shed, policy, truncated });
    fields!(out, CpuStats = "cpu_stats" { seq, woken, waiting, class });
    for (at, name) in family::NAMES.iter().enumerate().skip(1) {
        out.push((format!("FAMILY_{}", name.to_uppercase()), at as u64));
    }
    for (at, (name, _)) in call::ALL.iter().enumerate().filter(|(_, call)| !call.0.is_empty()) {
        out.push((format!("CALL_{}", name.to_uppercase()), at as u64));
    }
    let constants: [(&str, u64); 16] = [
        ("CALL_SOCKETCALL", u64::from(call::SOCKETCALL)),
        ("FAMILY_COUNT", family::COUNT as u64),
        ("FLAG_TRUNCATED", u64::from(flag::TRUNCATED)),
        ("FLAG_COMPAT", u64::from(flag::COMPAT)),
        ("CUT_1", u64::from(part::CUT_1)),
        ("CUT_2", u64::from(part::CUT_2)),
        ("CUT_3", u64::from(part::CUT_3)),
        ("CUT_4", u64::from(part::CUT_4)),
        ("HAS_BASE", u64::from(part::HAS_BASE)),
        ("HAS_NAME2", u64::from(part::HAS_NAME2)),
        ("HAS_BASE2", u64::from(part::HAS_BASE2)),
        ("WANTED", u64::from(WANTED)),
        ("CALLS", CALLS as u64),
        ("NAME_MAX_BYTES", NAME_MAX_BYTES as u64),
        ("ARGV_MAX_BYTES", ARGV_MAX_BYTES as u64),
        ("EVENT_MAX_BYTES", EVENT_MAX_BYTES as u64),
    ];
    out.extend(constants.map(|(name, value)| (name.to_string(), value)));
    out
}
