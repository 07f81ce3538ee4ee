//! A decoded kernel event, borrowed from the ring buffer.

use crate::layout::{Capabilities, Ids};

/// Fixed part of every event, 64 bytes, as `struct head` in `c/layout.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// `CLOCK_BOOTTIME` in nanoseconds at the end of the call.
    pub boot_ns: u64,
    /// Number of the event on its processor, from 1; taken before the ring is asked for room, so a gap is a loss.
    pub seq: u64,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Inode of the cgroup in the v2 hierarchy.
    pub cgroup_id: u64,
    /// What the call returned: negative errno on failure.
    pub ret: i64,
    /// Kind of the event: family and call, see [`crate::layout`].
    pub kind: u16,
    /// Bytes of the whole event, this head included.
    pub len: u16,
    /// Processor.
    pub cpu: u16,
    /// [`crate::layout::flag`] bits.
    pub flags: u8,
    /// Number of u64 arguments that follow the head.
    pub nargs: u8,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Padding.
    pub pad: u32,
    /// Real group id in the initial user namespace.
    pub gid: u32,
    /// Process id of the parent at the time of the event.
    pub ppid: u32,
}

/// What an event tells, by kind. Texts are raw bytes as the kernel holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// A program was started.
    Exec(Exec<'a>),
    /// A process was made.
    Fork(Fork<'a>),
    /// The last thread of a process ended; the wait status is `head.ret`.
    Exit(Exit),
    /// The children of a process that ended are this one's from now on.
    Reparent(u32),
    /// open, openat, openat2, creat.
    Open(Open<'a>),
    /// Calls with one or two paths, and an execve that failed.
    Paths(Paths<'a>),
    /// connect, accept, bind, sendto, recvfrom, sendmsg, recvmsg.
    Socket(Socket<'a>),
    /// Calls that make a descriptor or work on one.
    Descriptor(Descriptor<'a>),
    /// Calls that change who a process is.
    Identity(Identity<'a>),
    /// Any other call, by its arguments.
    Plain([u64; 6]),
    /// The process was moved to another cgroup.
    Move(Components<'a>),
    /// A connection ended.
    Flow(Flow),
}

/// An event and its decoded body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The fixed part.
    pub head: Head,
    /// Name of the system call or life-cycle event, as Falco says it.
    pub name: &'static str,
    /// The rest.
    pub body: Body<'a>,
}

/// A path made of components, the last one first, as a walk up the dentry tree gives them; empty for the root.
/// Each component is NUL-terminated; an unlinked or cut one says so in `truncated`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Components<'a> {
    /// The components, each followed by NUL.
    pub bytes: &'a [u8],
    /// The walk ended before the root.
    pub truncated: bool,
}

/// A name that a call was given, with the folder that it is relative to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name<'a> {
    /// The name as given.
    pub raw: &'a [u8],
    /// Where a relative name starts: the working directory, or the folder of dirfd. None where the name is absolute
    /// or the folder could not be read.
    pub base: Option<Components<'a>>,
}

/// Fields of [`Body::Exec`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exec<'a> {
    /// execve or execveat is in the event's name; this is the parent's process id.
    pub ppid: u32,
    /// comm after the exec.
    pub comm: &'a [u8],
    /// comm of the parent.
    pub parent_comm: &'a [u8],
    /// Resolved executable.
    pub exe: Components<'a>,
    /// argv, each argument followed by NUL.
    pub argv: &'a [u8],
    /// The first 4 KiB of the environment, each variable followed by NUL.
    pub env: &'a [u8],
    /// Working directory.
    pub cwd: Components<'a>,
    /// Path of the cgroup (v1 pids hierarchy where mounted, else v2).
    pub cgroup: Components<'a>,
    /// Audit login uid; u32::MAX where unset.
    pub loginuid: u32,
    /// Controlling terminal as the kernel numbers it, 0 without one.
    pub tty: u32,
    /// Group, session and ids of its own namespace.
    pub ids: Ids,
    /// Capabilities after the exec.
    pub caps: Capabilities,
    /// Start of the process since boot.
    pub start_ns: u64,
    /// Start of the first process of its pid namespace since boot; 0 in the initial one.
    pub pidns_start_ns: u64,
    /// The executable's inode.
    pub file: ExeFile,
}

/// What is known of the inode of an executable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExeFile {
    /// Inode.
    pub ino: u64,
    /// Change time in nanoseconds since 1970.
    pub ctime_ns: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: u64,
    /// Device as the kernel numbers it.
    pub dev: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// st_mode.
    pub mode: u16,
    /// [`crate::layout::layer`] bits.
    pub layer: u16,
}

/// Fields of [`Body::Fork`]; head.tgid is the parent, head.ret the child.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fork<'a> {
    /// Process id of the child.
    pub child_tgid: u32,
    /// comm of the child (the parent's).
    pub comm: &'a [u8],
    /// Flags of clone, 0 for fork and vfork.
    pub clone_flags: u64,
    /// Path of the child's cgroup.
    pub cgroup: Components<'a>,
    /// Ids of the child.
    pub ids: Ids,
    /// Start of the child since boot.
    pub start_ns: u64,
    /// As in [`Exec::pidns_start_ns`].
    pub pidns_start_ns: u64,
}

/// Fields of [`Body::Exit`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Process id of who takes over its children; 0 where unknown.
    pub reaper: u32,
    /// They are its own until a [`Body::Reparent`] says whose they become: that may be another by then.
    pub keeps_children: bool,
}

/// Fields of [`Body::Open`]; head.ret is the descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open<'a> {
    /// The name.
    pub name: Name<'a>,
    /// Open flags (O_*).
    pub flags: u64,
    /// Permission bits asked for.
    pub mode: u32,
    /// st_mode of what was opened, 0 on failure.
    pub inode_mode: u32,
    /// Inode of what was opened.
    pub ino: u64,
    /// Its device as the kernel numbers it.
    pub dev: u32,
    /// [`crate::layout::layer`] bits.
    pub layer: u16,
}

/// Fields of [`Body::Paths`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths<'a> {
    /// The (old) name: of a symbolic link the link, of a mount where it is mounted.
    pub name: Name<'a>,
    /// The new name of a rename or link; the target of a symbolic link; the source of a mount.
    pub name2: Option<Name<'a>>,
    /// All arguments.
    pub args: [u64; 6],
}

/// Fields of [`Body::Socket`]. Ports are in host order, addresses in network order; IPv4 fills the first 4 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Socket<'a> {
    /// The descriptor: the call's argument, accept's result.
    pub fd: i32,
    /// AF_*.
    pub family: u16,
    /// IPPROTO_*.
    pub protocol: u16,
    /// SOCK_*.
    pub sock_type: u16,
    /// TCP_*; 1 is connected, for datagrams too.
    pub state: u8,
    /// Local address.
    pub local: [u8; 16],
    /// Local port.
    pub local_port: u16,
    /// Remote address: the peer's, or the one that the call names.
    pub remote: [u8; 16],
    /// Remote port.
    pub remote_port: u16,
    /// Inode of the socket.
    pub ino: u64,
    /// Flags of a message.
    pub flags: u32,
    /// sun_path of a Unix socket; empty otherwise. An abstract name starts with NUL.
    pub unix_path: &'a [u8],
    /// First bytes of a message.
    pub data: &'a [u8],
}

/// Fields of [`Body::Descriptor`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptor<'a> {
    /// All arguments.
    pub args: [u64; 6],
    /// Inode behind the descriptor.
    pub ino: u64,
    /// Its device as the kernel numbers it.
    pub dev: u32,
    /// Its st_mode; 0 where there is no such descriptor.
    pub inode_mode: u16,
    /// [`crate::layout::layer`] bits.
    pub layer: u16,
    /// Path of the file.
    pub path: Components<'a>,
    /// The name that the call was given, or the first bytes that it read or wrote.
    pub text: &'a [u8],
    /// The descriptor's number (-1 without one), and its ends if it is a socket.
    pub socket: Socket<'a>,
}

/// A connection, or the datagrams of one process on one socket, so far. Addresses as in [`Socket`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Names the socket while it lives.
    pub sk: u64,
    /// When it was made since boot; 0 if it was there before the programs.
    pub start_ns: u64,
    /// Process id of its owner; 0 where unknown.
    pub tgid: u32,
    /// AF_*.
    pub family: u16,
    /// IPPROTO_*.
    pub protocol: u8,
    /// [`crate::layout::FLOW_OUT`], [`crate::layout::FLOW_IN`], or 0.
    pub direction: u8,
    /// Local address.
    pub local: [u8; 16],
    /// Local port.
    pub local_port: u16,
    /// Remote address.
    pub remote: [u8; 16],
    /// Remote port.
    pub remote_port: u16,
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
}

/// Fields of [`Body::Identity`]: the arguments, and what the process is after the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity<'a> {
    /// All arguments.
    pub args: [u64; 6],
    /// Ids.
    pub ids: Ids,
    /// Capabilities.
    pub caps: Capabilities,
    /// comm of the thread.
    pub comm: &'a [u8],
}
