//! The events that the programs know by name, and how each one's arguments are read.

use crate::layout::family::FLOW as FLOW_FAMILY;
use crate::layout::family::{DESCRIPTOR, EXEC, EXIT, FORK, IDENTITY, MOVE, OPEN, PATHS, PLAIN, SOCKET};

/// Bits of a shape, as `c/layout.h` explains them.
pub mod shape {
    /// Number of an argument that is not there.
    pub const NONE: u16 = 7;
    /// The descriptor is what the call returns.
    pub const RESULT: u16 = 6;
    /// The text is a name that ends with NUL.
    pub const TEXT_NAME: u16 = 1;
    /// The text is data; its length is the next argument.
    pub const TEXT_DATA: u16 = 2;
    /// The event goes to the ring of process life: it changes a process, or it is never to be crowded out.
    pub const LIFE: u16 = 1 << 13;
    /// Shed before opens for reading: what looks at files.
    pub const SHED_SECOND: u16 = 2 << 14;
    /// Shed first: reads and writes.
    pub const SHED_FIRST: u16 = 3 << 14;
}

use shape::{LIFE, NONE, RESULT, SHED_FIRST, SHED_SECOND, TEXT_DATA, TEXT_NAME};

/// A known event.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Name as Falco says it.
    pub name: &'static str,
    /// Layout of its body; an execve that fails has that of [`PATHS`].
    pub family: u16,
    /// [`shape`] bits.
    pub shape: u16,
}

/// Numbers from here on are system calls of 64-bit programs that [`ALL`] does not have.
pub const NATIVE_BASE: u16 = 256;
/// The same for 32-bit programs.
pub const COMPAT_BASE: u16 = 1024;
/// One more than the highest number.
pub const COUNT: usize = 2048;
/// i386 only: the kernel replaces it by the call that its first argument names.
pub const SOCKETCALL: u16 = 255;
/// Call number of the end of a process.
pub const PROCEXIT: u16 = 7;
/// Call number of the moment when the children of a process that ended are given away.
pub const REPARENT: u16 = 27;
/// Call number of a move to another cgroup.
pub const CGROUP_MOVE: u16 = 24;

/// Call number of the end of a connection.
pub const FLOW: u16 = 25;

/// Names that the programs tell apart themselves: `c/layout.h` has a constant for each.
pub const IN_C: usize = 27;

const fn call(name: &'static str, family: u16) -> Call {
    Call { name, family, shape: 0 }
}

/// A call with one name; relative ones start at the working directory.
const fn path(name: &'static str, at: u16) -> Call {
    path_at(name, at, NONE)
}

const fn path_at(name: &'static str, at: u16, dirfd: u16) -> Call {
    paths(name, (at, dirfd), (NONE, NONE))
}

const fn paths(name: &'static str, first: (u16, u16), second: (u16, u16)) -> Call {
    Call { name, family: PATHS, shape: first.0 | first.1 << 3 | second.0 << 6 | second.1 << 9 }
}

/// A call on the descriptor that an argument names.
const fn fd(name: &'static str, at: u16) -> Call {
    Call { name, family: DESCRIPTOR, shape: at | NONE << 3 }
}

const fn makes_fd(name: &'static str) -> Call {
    fd(name, RESULT)
}

const fn named(call: Call, at: u16) -> Call {
    Call { shape: call.shape & !(7 << 3) | at << 3 | TEXT_NAME << 6, ..call }
}

const fn with_data(call: Call) -> Call {
    Call { shape: call.shape & !(7 << 3) | 1 << 3 | TEXT_DATA << 6 | SHED_FIRST, ..call }
}

const fn life(call: Call) -> Call {
    Call { shape: call.shape | LIFE, ..call }
}

const fn shed(call: Call, bits: u16) -> Call {
    Call { shape: call.shape | bits, ..call }
}

/// A call that changes who a process is: always told, in the ring of process life.
const fn identity(name: &'static str) -> Call {
    Call { name, family: IDENTITY, shape: LIFE }
}

/// Known events by number. The first [`IN_C`] are the programs' own, in their order.
#[rustfmt::skip]
pub const ALL: &[Call] = &[
    call("", 0),
    Call { name: "execve", family: EXEC, shape: path("", 0).shape },
    Call { name: "execveat", family: EXEC, shape: path_at("", 1, 0).shape },
    call("fork", FORK), call("vfork", FORK), call("clone", FORK), call("clone3", FORK),
    call("procexit", EXIT),
    call("open", OPEN), call("openat", OPEN), call("openat2", OPEN), call("creat", OPEN),
    life(call("connect", SOCKET)), life(call("accept", SOCKET)), life(call("accept4", SOCKET)), call("bind", SOCKET),
    shed(call("sendto", SOCKET), SHED_SECOND), shed(call("sendmsg", SOCKET), SHED_SECOND),
    shed(call("recvfrom", SOCKET), SHED_FIRST), shed(call("recvmsg", SOCKET), SHED_FIRST),
    life(path("chdir", 0)),
    identity("prctl"),
    call("signaldeliver", PLAIN), call("oomkill", PLAIN),
    call("cgroup_move", MOVE), call("flow", FLOW_FAMILY), makes_fd("socket"),
    call("reparent", EXIT),

    path("unlink", 0), path_at("unlinkat", 1, 0), path("rmdir", 0), path("mkdir", 0), path_at("mkdirat", 1, 0),
    paths("rename", (0, NONE), (1, NONE)), paths("renameat", (1, 0), (3, 2)), paths("renameat2", (1, 0), (3, 2)),
    paths("link", (0, NONE), (1, NONE)), paths("linkat", (1, 0), (3, 2)),
    // The link comes first: what it points to is no path of this process.
    paths("symlink", (1, NONE), (0, NONE)), paths("symlinkat", (2, 1), (0, NONE)),
    path("mknod", 0), path_at("mknodat", 1, 0),
    path("chmod", 0), path_at("fchmodat", 1, 0), path_at("fchmodat2", 1, 0),
    path("chown", 0), path("lchown", 0), path_at("fchownat", 1, 0),
    life(path("chroot", 0)), life(paths("pivot_root", (0, NONE), (1, NONE))),
    // Where it is mounted comes first.
    paths("mount", (1, NONE), (0, NONE)), path("umount", 0), path("umount2", 0),
    paths("move_mount", (1, 0), (3, 2)), path_at("open_tree", 1, 0), path_at("mount_setattr", 1, 0), path_at("fspick", 1, 0),
    path("truncate", 0), path("swapon", 0), path("swapoff", 0), path("acct", 0), path("uselib", 0),
    path("utime", 0), path("utimes", 0), path_at("utimensat", 1, 0), path_at("futimesat", 1, 0),
    path("setxattr", 0), path("lsetxattr", 0), path("removexattr", 0), path("lremovexattr", 0),
    path_at("name_to_handle_at", 1, 0), path("inotify_add_watch", 1),
    shed(path("access", 0), SHED_SECOND), shed(path_at("faccessat", 1, 0), SHED_SECOND),
    shed(path_at("faccessat2", 1, 0), SHED_SECOND), shed(path("stat", 0), SHED_SECOND),
    shed(path("lstat", 0), SHED_SECOND), shed(path_at("newfstatat", 1, 0), SHED_SECOND),
    shed(path_at("statx", 1, 0), SHED_SECOND), shed(path("statfs", 0), SHED_SECOND),
    shed(path("readlink", 0), SHED_SECOND), shed(path_at("readlinkat", 1, 0), SHED_SECOND),
    shed(path("getxattr", 0), SHED_SECOND), shed(path("lgetxattr", 0), SHED_SECOND),

    fd("listen", 0), fd("shutdown", 0), fd("setsockopt", 0), shed(fd("getsockopt", 0), SHED_SECOND),
    shed(fd("getsockname", 0), SHED_SECOND), shed(fd("getpeername", 0), SHED_SECOND),
    shed(fd("sendmmsg", 0), SHED_FIRST), shed(fd("recvmmsg", 0), SHED_FIRST),
    makes_fd("dup"), makes_fd("dup2"), makes_fd("dup3"), fd("fcntl", 0), shed(fd("close", 0), SHED_SECOND),
    fd("fchmod", 0), fd("fchown", 0), life(fd("fchdir", 0)), fd("setns", 0), fd("ftruncate", 0), fd("fallocate", 0),
    fd("fsetxattr", 0), fd("fremovexattr", 0), fd("flock", 0), fd("fsync", 0), fd("fdatasync", 0),
    named(makes_fd("memfd_create"), 0), makes_fd("memfd_secret"), makes_fd("userfaultfd"), makes_fd("bpf"),
    named(fd("finit_module", 0), 1), named(fd("init_module", NONE), 2), named(fd("delete_module", NONE), 0),
    makes_fd("perf_event_open"), makes_fd("eventfd"), makes_fd("eventfd2"), makes_fd("epoll_create"),
    makes_fd("epoll_create1"), makes_fd("signalfd"), makes_fd("signalfd4"), makes_fd("timerfd_create"),
    makes_fd("inotify_init"), makes_fd("inotify_init1"), makes_fd("fanotify_init"), makes_fd("io_uring_setup"),
    shed(fd("io_uring_enter", 0), SHED_FIRST), fd("io_uring_register", 0), makes_fd("pidfd_open"), makes_fd("pidfd_getfd"),
    fd("pidfd_send_signal", 0), makes_fd("open_by_handle_at"), named(makes_fd("fsopen"), 0), makes_fd("fsmount"),
    named(fd("fsconfig", 0), 2), fd("ioctl", 0), fd("kexec_file_load", 0), makes_fd("landlock_create_ruleset"),
    named(makes_fd("mq_open"), 0), named(fd("add_key", NONE), 0), named(fd("request_key", NONE), 0),
    named(fd("sethostname", NONE), 0), named(fd("setdomainname", NONE), 0),
    with_data(fd("read", 0)), with_data(fd("write", 0)), with_data(fd("pread64", 0)), with_data(fd("pwrite64", 0)),
    shed(fd("readv", 0), SHED_FIRST), shed(fd("writev", 0), SHED_FIRST), shed(fd("preadv", 0), SHED_FIRST),
    shed(fd("pwritev", 0), SHED_FIRST), shed(fd("preadv2", 0), SHED_FIRST), shed(fd("pwritev2", 0), SHED_FIRST),
    shed(fd("sendfile", 0), SHED_FIRST), shed(fd("splice", 0), SHED_FIRST), shed(fd("copy_file_range", 0), SHED_FIRST),
    shed(fd("lseek", 0), SHED_FIRST), shed(fd("fstat", 0), SHED_SECOND), shed(fd("getdents", 0), SHED_SECOND),
    shed(fd("getdents64", 0), SHED_SECOND), shed(fd("mmap", 4), SHED_SECOND), shed(fd("epoll_ctl", 0), SHED_SECOND),

    identity("setuid"), identity("setgid"), identity("setreuid"), identity("setregid"), identity("setresuid"),
    identity("setresgid"), identity("setfsuid"), identity("setfsgid"), identity("setgroups"), identity("capset"),
    identity("setsid"), identity("setpgid"), identity("unshare"),

    call("ptrace", PLAIN), call("kill", PLAIN), call("tkill", PLAIN), call("tgkill", PLAIN), call("socketpair", PLAIN),
    call("pipe", PLAIN), call("pipe2", PLAIN), call("close_range", PLAIN), call("process_vm_readv", PLAIN),
    call("process_vm_writev", PLAIN), call("seccomp", PLAIN), call("personality", PLAIN), call("kexec_load", PLAIN),
    call("reboot", PLAIN), call("keyctl", PLAIN), call("iopl", PLAIN), call("ioperm", PLAIN), call("settimeofday", PLAIN),
    call("clock_settime", PLAIN), call("prlimit64", PLAIN), call("setrlimit", PLAIN), call("quotactl", PLAIN),
];

/// What is told unless configured otherwise: every type of event that the official rules name, and what changes the
/// kernel, mounts, rights or another process.
#[rustfmt::skip]
pub const SECURITY: &[&str] = &[
    "accept", "accept4", "add_key", "bind", "bpf", "capset", "chmod", "chroot", "clock_settime", "connect", "creat",
    "delete_module", "dup", "dup2", "dup3", "execve", "execveat", "fchmod", "fchmodat", "fchmodat2", "finit_module",
    "init_module", "io_uring_setup", "ioperm", "iopl", "kexec_file_load", "kexec_load", "link", "linkat", "listen",
    "memfd_create", "mkdir", "mkdirat", "mknod", "mknodat", "mount", "move_mount", "oomkill", "open", "open_by_handle_at",
    "open_tree", "openat", "openat2", "pidfd_getfd", "pivot_root", "process_vm_writev", "ptrace", "reboot", "recvfrom",
    "recvmsg", "rename", "renameat", "renameat2", "rmdir", "sendmsg", "sendto", "setgid", "setns", "setregid",
    "setresgid", "setresuid", "setreuid", "settimeofday", "setuid", "socket", "symlink", "symlinkat", "umount",
    "umount2", "unlink", "unlinkat", "unshare", "userfaultfd",
];

/// Calls that change what is known of a process: told to user space whether they become rows or not.
#[rustfmt::skip]
pub const STATE: &[&str] = &[
    "capset", "cgroup_move", "chdir", "chroot", "fchdir", "pivot_root", "prctl", "setfsgid", "setfsuid", "setgid",
    "setgroups", "setpgid", "setregid", "setresgid", "setresuid", "setreuid", "setsid", "setuid", "unshare",
];

/// Calls whose events tell whose a connection is: told to user space where flows are wanted.
pub const FLOW_OWNERS: &[&str] = &["accept", "accept4", "connect"];

/// The number of a known name; O(n).
pub fn by_name(name: &str) -> Option<u16> {
    let at = ALL.iter().position(|call| !call.name.is_empty() && call.name == name)?;
    u16::try_from(at).ok()
}

/// The shapes of all known calls, as the programs read them.
pub fn shapes() -> [u16; 256] {
    let mut shapes = [0; 256];
    for (slot, call) in shapes.iter_mut().zip(ALL) {
        *slot = call.shape;
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sets_are_known() {
        assert!(ALL.len() <= usize::from(SOCKETCALL));
        for (number, call) in ALL.iter().enumerate().skip(1) {
            assert_eq!(by_name(call.name), Some(number as u16), "{}", call.name);
        }
        for set in [SECURITY, STATE, FLOW_OWNERS] {
            assert!(set.windows(2).all(|pair| pair[0] < pair[1]), "sorted");
            assert!(set.iter().all(|name| by_name(name).is_some()));
        }
        assert_eq!(by_name("procexit"), Some(PROCEXIT));
        assert_eq!(by_name("reparent"), Some(REPARENT));
        assert_eq!(by_name("cgroup_move"), Some(CGROUP_MOVE));
        assert_eq!(by_name("flow"), Some(FLOW));
        assert_eq!((by_name(""), by_name("opne")), (None, None));
    }

    #[test]
    fn shapes_say_where_arguments_are() {
        let shape = |name: &str| ALL[usize::from(by_name(name).unwrap())].shape;
        assert_eq!(shape("renameat2"), 1 | 3 << 6 | 2 << 9);
        assert_eq!(shape("mount"), 1 | 7 << 3 | 7 << 9);
        assert_eq!(shape("dup3"), 6 | 7 << 3);
        assert_eq!(shape("memfd_create"), 6 | 1 << 6);
        assert_eq!(shape("write"), 1 << 3 | 2 << 6 | 3 << 14);
        assert_eq!(shape("setuid"), 1 << 13);
    }
}
