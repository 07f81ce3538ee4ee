//! A decoded kernel event, borrowed from the ring buffer.

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
    /// Kept for later use.
    pub spare: u64,
}

/// What an event tells, by kind. Texts are raw bytes as the kernel holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// A program was started.
    Exec(Exec<'a>),
    /// A process was made.
    Fork(Fork<'a>),
    /// The last thread of a process ended; the wait status is `head.ret`.
    Exit,
    /// open, openat, openat2, creat.
    Open(Open<'a>),
    /// unlink, unlinkat, rename*, and an execve that failed: calls with one or two paths.
    Paths(Paths<'a>),
    /// connect, accept, accept4.
    Socket(Socket<'a>),
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Working directory.
    pub cwd: Components<'a>,
    /// Path of the cgroup (v1 pids hierarchy where mounted, else v2).
    pub cgroup: Components<'a>,
    /// Audit login uid; u32::MAX where unset.
    pub loginuid: u32,
    /// Controlling terminal as the kernel numbers it, 0 without one.
    pub tty: u32,
}

/// Fields of [`Body::Fork`]; head.tgid is the parent, head.ret the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork<'a> {
    /// Process id of the child.
    pub child_tgid: u32,
    /// comm of the child (the parent's).
    pub comm: &'a [u8],
    /// Flags of clone, 0 for fork and vfork.
    pub clone_flags: u64,
    /// Path of the child's cgroup.
    pub cgroup: Components<'a>,
}

/// Fields of [`Body::Open`]; head.ret is the descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// The name.
    pub name: Name<'a>,
    /// Open flags (O_*).
    pub flags: u64,
    /// Permission bits asked for.
    pub mode: u32,
    /// st_mode of what was opened, 0 on failure.
    pub inode_mode: u32,
}

/// Fields of [`Body::Paths`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths<'a> {
    /// The (old) name.
    pub name: Name<'a>,
    /// The new name of a rename.
    pub name2: Option<Name<'a>>,
    /// Flags of unlinkat, renameat2, execveat; else 0.
    pub flags: u64,
}

/// Fields of [`Body::Socket`]. Ports are in host order, addresses in network order; IPv4 fills the first 4 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket<'a> {
    /// The descriptor: connect's argument, accept's result.
    pub fd: i32,
    /// AF_*.
    pub family: u16,
    /// IPPROTO_*.
    pub protocol: u16,
    /// Local address.
    pub local: [u8; 16],
    /// Local port.
    pub local_port: u16,
    /// Remote address.
    pub remote: [u8; 16],
    /// Remote port.
    pub remote_port: u16,
    /// sun_path of a Unix socket; empty otherwise. An abstract name starts with NUL.
    pub unix_path: &'a [u8],
}
