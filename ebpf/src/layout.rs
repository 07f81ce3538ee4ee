//! Bytes that the kernel programs and user space share: the mirror of `c/layout.h`.
//!
//! `build.rs` compiles this module too and gives clang one `_Static_assert` per field and constant that `checks.rs`
//! lists, so the two sides cannot drift apart: the build fails instead.

use core::mem::{offset_of, size_of};

/// Layouts of events: the family in [`Head::kind`](crate::event::Head::kind), whose low bits are the call.
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
    /// A call that makes a descriptor or works on one.
    pub const DESCRIPTOR: u16 = 7;
    /// A call that changes who a process is.
    pub const IDENTITY: u16 = 8;
    /// Any other call.
    pub const PLAIN: u16 = 9;
    /// A process was moved to another cgroup.
    pub const MOVE: u16 = 10;
    /// A connection ended.
    pub const FLOW: u16 = 11;
    /// One more than the highest family.
    pub const COUNT: usize = 12;

    /// Names for counters, by family.
    pub const NAMES: [&str; COUNT] =
        ["none", "exec", "fork", "exit", "open", "paths", "socket", "descriptor", "identity", "plain", "move", "flow"];
}

/// Bits of the call in a kind.
const CALL_BITS: u32 = 11;

/// The kind of an event of `family` and `call`.
pub const fn kind(family: u16, call: u16) -> u16 {
    family << CALL_BITS | call
}

/// The family of a kind.
pub const fn family_of(kind: u16) -> u16 {
    kind >> CALL_BITS & 0xf
}

/// The call of a kind.
pub const fn call_of(kind: u16) -> u16 {
    kind & ((1 << CALL_BITS) - 1)
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

/// Bits of `layer`.
pub mod layer {
    /// In the upper layer of an overlay.
    pub const UPPER: u16 = 1;
    /// In a lower layer of an overlay.
    pub const LOWER: u16 = 2;
    /// Made by memfd_create.
    pub const MEMFD: u16 = 4;
}

/// Bits of [`Settings::options`].
pub mod option {
    /// Sends and receives on stream and Unix sockets are told, not only those of datagrams.
    pub const STREAMS: u32 = 1;
    /// Every prctl is told, not only those that change a state.
    pub const PRCTL: u32 = 2;
    /// Signals are told.
    pub const SIGNALS: u32 = 4;
    /// System calls are timed.
    pub const LATENCY: u32 = 8;
    /// Connections are told with their owners.
    pub const FLOWS: u32 = 16;
    /// Files under some folders are not told.
    pub const PREFIXES: u32 = 32;
    /// Whose the children of an ending process become is told when it is.
    pub const REPARENT: u32 = 64;
}

/// Bits of [`Settings::policies`]: which maps have entries.
pub mod policy {
    /// `proc_policy`: processes that are not told.
    pub const PROCESSES: u32 = 1;
    /// `cgroup_policy`: cgroups whose processes are not told.
    pub const CGROUPS: u32 = 2;
}

/// Process group and session, and ids as the process itself sees them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Process group.
    pub pgid: u32,
    /// Session.
    pub sid: u32,
    /// Process id in its pid namespace.
    pub vpid: u32,
    /// Process group in its pid namespace; 0 where it has no number there.
    pub vpgid: u32,
}

/// Sets of capabilities, bit n being capability n.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What it may take on.
    pub permitted: u64,
    /// What it has.
    pub effective: u64,
    /// What it may hand on.
    pub inheritable: u64,
}

/// Body of an exec. Texts follow: exe, argv, environment, cwd, cgroup.
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
    /// Bytes of the environment.
    pub env_len: u16,
    /// Bytes of the working directory's components.
    pub cwd_len: u16,
    /// Bytes of the cgroup's components.
    pub cgroup_len: u16,
    /// comm, padded with NUL.
    pub comm: [u8; 16],
    /// comm of the parent, padded with NUL.
    pub parent_comm: [u8; 16],
    /// Ids.
    pub ids: Ids,
    /// Capabilities.
    pub caps: Capabilities,
    /// Start of the process.
    pub start_ns: u64,
    /// Start of the first process of its pid namespace; 0 in the initial one.
    pub pidns_start_ns: u64,
    /// Inode of the executable.
    pub exe_ino: u64,
    /// Its change time since 1970.
    pub exe_ctime_ns: u64,
    /// Its modification time.
    pub exe_mtime_ns: u64,
    /// Its device as the kernel numbers it.
    pub exe_dev: u32,
    /// Its owner.
    pub exe_uid: u32,
    /// Its group.
    pub exe_gid: u32,
    /// Its st_mode.
    pub exe_mode: u16,
    /// [`layer`] bits.
    pub exe_layer: u16,
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
    /// Ids of the child.
    pub ids: Ids,
    /// Start of the child.
    pub start_ns: u64,
    /// As in [`ExecBody::pidns_start_ns`].
    pub pidns_start_ns: u64,
}

/// Body of the end of a process, and of the moment when its children are given away.
#[repr(C)]
pub struct ExitBody {
    /// Who takes over its children.
    pub reaper: u32,
    /// Not 0: they are its own until that moment is told.
    pub keeps_children: u32,
}

/// Body of an open. Name and folder follow.
#[repr(C)]
pub struct OpenBody {
    /// Open flags.
    pub flags: u64,
    /// Permission bits.
    pub mode: u32,
    /// Device of the file as the kernel numbers it.
    pub dev: u32,
    /// Inode of the file.
    pub ino: u64,
    /// st_mode of the file.
    pub inode_mode: u16,
    /// [`layer`] bits.
    pub layer: u16,
    /// [`part`] bits.
    pub parts: u16,
    /// Bytes of the name.
    pub name_len: u16,
    /// Bytes of the folder's components.
    pub base_len: u16,
    /// Padding.
    pub pad: [u16; 3],
}

/// Body of a call with paths. Name, folder, second name and its folder follow.
#[repr(C)]
pub struct PathsBody {
    /// Arguments of the call.
    pub args: [u64; 6],
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

/// Body of a call on a socket. sun_path and data follow.
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
    /// Inode of the socket.
    pub ino: u64,
    /// Flags of a message.
    pub flags: u32,
    /// SOCK_*.
    pub sock_type: u16,
    /// Bytes of the data.
    pub data_len: u16,
    /// TCP_*: 1 is connected, for datagrams too.
    pub state: u8,
    /// Padding.
    pub pad: [u8; 7],
}

/// Body of a call on a descriptor. The file's components and a text follow.
#[repr(C)]
pub struct DescriptorBody {
    /// Arguments of the call.
    pub args: [u64; 6],
    /// Inode behind the descriptor.
    pub ino: u64,
    /// Its device.
    pub dev: u32,
    /// Its st_mode.
    pub inode_mode: u16,
    /// [`layer`] bits.
    pub layer: u16,
    /// Bytes of the file's components.
    pub base_len: u16,
    /// Bytes of the text.
    pub text_len: u16,
    /// [`part`] bits.
    pub parts: u16,
    /// Padding.
    pub pad: u16,
    /// The descriptor's number, and its ends if it is a socket.
    pub socket: SocketBody,
}

/// Body of a call that changes who a process is, and what it is then.
#[repr(C)]
pub struct IdentityBody {
    /// Arguments of the call.
    pub args: [u64; 6],
    /// Ids.
    pub ids: Ids,
    /// Capabilities.
    pub caps: Capabilities,
    /// comm, padded with NUL.
    pub comm: [u8; 16],
}

/// Body of any other call.
#[repr(C)]
pub struct PlainBody {
    /// Arguments of the call.
    pub args: [u64; 6],
}

/// Body of a move to another cgroup, whose components follow.
#[repr(C)]
pub struct MoveBody {
    /// [`part`] bits.
    pub parts: u16,
    /// Bytes of the cgroup's components.
    pub cgroup_len: u16,
    /// Padding.
    pub pad: u32,
}

/// A connection, or the datagrams of one process on one socket, so far.
#[repr(C)]
pub struct FlowBody {
    /// Names the socket while it lives.
    pub sk: u64,
    /// When the connection was made since boot; 0 if it was there before.
    pub start_ns: u64,
    /// Bytes sent, repeated ones not counted.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Packets sent.
    pub packets_sent: u32,
    /// Packets received.
    pub packets_received: u32,
    /// Packets sent again.
    pub retransmits: u32,
    /// Round trip, smoothed.
    pub rtt_us: u32,
    /// Time of the handshake of who connected.
    pub connect_us: u32,
    /// Process; 0 if it is not known whose it is.
    pub tgid: u32,
    /// Local address.
    pub local: [u8; 16],
    /// Remote address.
    pub remote: [u8; 16],
    /// Local port, host order.
    pub local_port: u16,
    /// Remote port, host order.
    pub remote_port: u16,
    /// AF_*.
    pub family: u16,
    /// IPPROTO_*.
    pub protocol: u8,
    /// [`FLOW_OUT`], [`FLOW_IN`], or 0 where it is not known.
    pub direction: u8,
}

/// Direction of a connection that the process made.
pub const FLOW_OUT: u8 = 1;
/// Direction of a connection that the process accepted.
pub const FLOW_IN: u8 = 2;

/// Table sizes of [`Settings`].
pub const CALLS: usize = 512;
/// Numbers of socketcall, rounded up.
pub const SOCKETCALLS: usize = 32;
/// Known calls, rounded up.
pub const SHAPES: usize = 256;
/// Levels of shedding; the first is never shed.
pub const SHED_LEVELS: usize = 4;
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
    /// How the arguments of known calls are read.
    pub shapes: [u16; SHAPES],
    /// Process whose calls are never exported; 0 for none.
    pub own_tgid: u32,
    /// [`policy`] bits.
    pub policies: u32,
    /// Bytes waiting in an `events` ring from which on the reader is woken.
    pub events_wake_at: u32,
    /// Bytes waiting in the `life` ring from which on the reader is woken.
    pub life_wake_at: u32,
    /// Bytes waiting in an `events` ring from which on events of each level are shed.
    pub events_shed_at: [u32; SHED_LEVELS],
    /// [`option`] bits.
    pub options: u32,
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
        for (number, shape) in self.shapes.iter().enumerate() {
            put(offset_of!(Self, shapes) + number * 2, &shape.to_ne_bytes());
        }
        for (level, bytes) in self.events_shed_at.iter().enumerate() {
            put(offset_of!(Self, events_shed_at) + level * 4, &bytes.to_ne_bytes());
        }
        put(offset_of!(Self, own_tgid), &self.own_tgid.to_ne_bytes());
        put(offset_of!(Self, policies), &self.policies.to_ne_bytes());
        put(offset_of!(Self, events_wake_at), &self.events_wake_at.to_ne_bytes());
        put(offset_of!(Self, life_wake_at), &self.life_wake_at.to_ne_bytes());
        put(offset_of!(Self, options), &self.options.to_ne_bytes());
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

/// A process and a system call: the key of the counts. Its two numbers as the maps of user space have them.
pub type CallKey = [u32; 2];

/// Calls, those that failed, and nanoseconds: the value of the map `call_counts`.
pub type CallCount = [u64; 3];

/// Calls by their time: the value of the map `call_times`. Bucket `n` holds what took less than
/// `2^(n + TIMES_FIRST_BITS)` ns.
pub type CallTimes = [u32; TIMES_BUCKETS];

/// Buckets of [`CallTimes`].
pub const TIMES_BUCKETS: usize = 26;
/// Binary digits of the first bucket's bound.
pub const TIMES_FIRST_BITS: u32 = 8;
/// Bit of the call in a [`CallKey`]: it came by the 32-bit entry.
pub const CALL_KEY_COMPAT: u32 = 1 << 31;

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
/// Longest environment that is read.
pub const ENV_MAX_BYTES: usize = 4096;
/// Longest piece of a message that is read.
pub const DATA_MAX_BYTES: usize = 80;
/// Longest beginning of a name by which files are left out.
pub const PREFIX_MAX_BYTES: usize = 128;
/// Most cgroups that the programs leave out.
pub const CGROUPS_MAX: usize = 4096;
/// Longest argv that is read.
pub const ARGV_MAX_BYTES: usize = 8192;
/// Bytes of the buffer in which an event is made; no event is longer.
pub const EVENT_MAX_BYTES: usize = 28 * 1024;
