//! Event types: the names that `evt.type` can have, and sets of them.

use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::LazyLock;

/// Every system call of Linux on x86_64 and aarch64, and the life-cycle events of Falco, sorted.
#[rustfmt::skip]
pub(crate) static EVENT_TYPES: &[&str] = &[
    "_llseek", "_newselect", "_sysctl", "accept", "accept4", "access", "acct", "add_key", "adjtimex", "alarm",
    "arch_prctl", "asyncevent", "bdflush", "bind", "bpf", "brk", "cachestat", "capget", "capset", "chdir",
    "chmod", "chown", "chroot", "clock_adjtime", "clock_getres", "clock_gettime", "clock_nanosleep",
    "clock_settime", "clone", "clone3", "close", "close_range", "connect", "container", "copy_file_range",
    "cpu_hotplug", "creat", "create_module", "delete_module", "drop", "dup", "dup2", "dup3", "epoll_create",
    "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait", "epoll_pwait2", "epoll_wait",
    "epoll_wait_old", "eventfd", "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat",
    "faccessat2", "fadvise64", "fallocate", "fanotify_init", "fanotify_mark", "fchdir", "fchmod", "fchmodat",
    "fchmodat2", "fchown", "fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr", "file_getattr",
    "file_setattr", "finit_module", "flistxattr", "flock", "fork", "fremovexattr", "fsconfig", "fsetxattr",
    "fsmount", "fsopen", "fspick", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync",
    "ftruncate", "futex", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "futimesat",
    "get_kernel_syms", "get_mempolicy", "get_robust_list", "get_thread_area", "getcpu", "getcwd", "getdents",
    "getdents64", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
    "getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getpmsg", "getppid", "getpriority",
    "getrandom", "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit", "getrusage", "getsid",
    "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "getuid32", "getxattr", "getxattrat",
    "groupadded", "groupdeleted", "idle", "infra", "init_module", "inotify_add_watch", "inotify_init",
    "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup",
    "io_submit", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioctl", "ioperm", "iopl",
    "ioprio_get", "ioprio_set", "ipc", "k8s", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "kill",
    "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown", "lgetxattr", "link",
    "linkat", "listen", "listmount", "listns", "listxattr", "listxattrat", "llistxattr", "llseek",
    "lookup_dcookie", "lremovexattr", "lseek", "lsetxattr", "lsm_get_self_attr", "lsm_list_modules",
    "lsm_set_self_attr", "lstat", "lstat64", "madvise", "map_shadow_stack", "mbind", "membarrier",
    "memfd_create", "memfd_secret", "mesos", "migrate_pages", "mincore", "mkdir", "mkdirat", "mknod", "mknodat",
    "mlock", "mlock2", "mlockall", "mmap", "mmap2", "modify_ldt", "mount", "mount_setattr", "move_mount",
    "move_pages", "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend",
    "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "multiplexer", "munlock",
    "munlockall", "munmap", "na_1", "name", "name_to_handle_at", "nanosleep", "newfstatat", "nfsservctl",
    "nice", "notification", "oldfstat", "oldlstat", "oldolduname", "oldstat", "olduname", "open",
    "open_by_handle_at", "open_tree", "open_tree_attr", "openat", "openat2", "page_fault", "page_fault_kernel",
    "page_fault_user", "pause", "pciconfig_iobase", "pciconfig_read", "pciconfig_write", "perf_event_open",
    "personality", "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pivot_root",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "pluginevent", "poll", "ppoll", "prctl", "pread", "pread64",
    "preadv", "preadv2", "prlimit", "prlimit64", "process_madvise", "process_mrelease", "process_vm_readv",
    "process_vm_writev", "procexit", "procinfo", "pselect6", "ptrace", "pwrite", "pwrite64", "pwritev",
    "pwritev2", "query_module", "quotactl", "quotactl_fd", "read", "readahead", "readdir", "readlink",
    "readlinkat", "readv", "reboot", "recv", "recvfrom", "recvmmsg", "recvmsg", "remap_file_pages",
    "removexattr", "removexattrat", "rename", "renameat", "renameat2", "request_key", "restart_syscall",
    "riscv_flush_icache", "riscv_hwprobe", "rmdir", "rseq", "rseq_slice_yield", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_tgsigqueueinfo", "rtas", "s390_guarded_storage", "s390_pci_mmio_read", "s390_pci_mmio_write",
    "s390_runtime_instr", "s390_sthyi", "scapevent", "sched_get_priority_max", "sched_get_priority_min",
    "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_process_exit",
    "sched_rr_get_interval", "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler",
    "sched_switch", "sched_yield", "seccomp", "select", "semctl", "semget", "semop", "semtimedop", "send",
    "sendfile", "sendfile64", "sendmmsg", "sendmsg", "sendto", "set_mempolicy", "set_mempolicy_home_node",
    "set_robust_list", "set_thread_area", "set_tid_address", "setdomainname", "setfsgid", "setfsuid", "setgid",
    "setgid32", "setgroups", "sethostname", "setitimer", "setns", "setpgid", "setpriority", "setregid",
    "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setrlimit", "setsid", "setsockopt",
    "settimeofday", "setuid", "setuid32", "setxattr", "setxattrat", "sgetmask", "shmat", "shmctl", "shmdt",
    "shmget", "shutdown", "sigaction", "sigaltstack", "signal", "signal_deliver", "signaldeliver", "signalfd",
    "signalfd4", "sigpending", "sigprocmask", "sigreturn", "sigsuspend", "socket", "socketcall", "socketpair",
    "splice", "spu_create", "spu_run", "ssetmask", "stat", "stat64", "statfs", "statfs64", "statmount", "statx",
    "stime", "subpage_prot", "swapcontext", "swapoff", "swapon", "switch", "switch_endian", "symlink",
    "symlinkat", "sync", "sync_file_range", "sync_file_range2", "syncfs", "sys_debug_setcontext", "syscall",
    "sysfs", "sysinfo", "syslog", "task", "task_file_directory", "task_file_memfd", "task_file_pipe",
    "task_file_regular", "task_file_socket_inet", "task_file_socket_inet6", "task_file_socket_netlink",
    "task_file_socket_unix", "tee", "tgkill", "time", "timer_create", "timer_delete", "timer_getoverrun",
    "timer_gettime", "timer_settime", "timerfd", "timerfd_create", "timerfd_gettime", "timerfd_settime",
    "times", "tkill", "tracer", "truncate", "ugetrlimit", "umask", "umount", "umount2", "uname", "unlink",
    "unlinkat", "unshare", "uprobe", "uretprobe", "uselib", "useradded", "userdeleted", "userfaultfd", "ustat",
    "utime", "utimensat", "utimes", "vfork", "vhangup", "vm86", "vmsplice", "wait4", "waitid", "waitpid",
    "write", "writev",
];

/// Event types with a file descriptor among their arguments or as their result, sorted. Only these have `fd.*` values.
#[rustfmt::skip]
static FD_TYPES: &[&str] = &[
    "accept", "accept4", "bind", "bpf", "close", "connect", "copy_file_range", "creat", "dup", "dup2", "dup3",
    "epoll_create", "epoll_create1", "eventfd", "eventfd2", "fchdir", "fchmod", "fchown", "fcntl",
    "finit_module", "flock", "fsconfig", "fstat", "fstat64", "getdents", "getdents64", "inotify_init",
    "inotify_init1", "io_uring_enter", "io_uring_setup", "ioctl", "listen", "llseek", "lseek", "memfd_create",
    "mmap", "mmap2", "open", "open_by_handle_at", "openat", "openat2", "pidfd_getfd", "pidfd_open", "pipe",
    "pipe2", "pread", "preadv", "pwrite", "pwritev", "read", "readv", "recv", "recvfrom", "recvmmsg", "recvmsg",
    "send", "sendfile", "sendmmsg", "sendmsg", "sendto", "shutdown", "signalfd", "signalfd4", "socket",
    "socketpair", "splice", "timerfd_create", "userfaultfd", "write", "writev",
];

/// Names of arguments of events, sorted: what may follow `evt.arg.`.
#[rustfmt::skip]
pub(crate) static ARGUMENTS: &[&str] = &[
    "ID", "action", "addr", "arg", "arg2_int", "arg2_str", "args", "argument", "argv", "aux", "backlog",
    "cap_effective", "cap_inheritable", "cap_permitted", "cgroups", "clockid", "cmd", "comm", "container_id",
    "core", "cpu", "cpu_sys", "cpu_usr", "creat_flags", "cur", "cwd", "data", "desc", "description", "dev",
    "dir", "dirfd", "domain", "dpid", "dqb_bhardlimit", "dqb_bsoftlimit", "dqb_btime", "dqb_curspace",
    "dqb_ihardlimit", "dqb_isoftlimit", "dqb_itime", "dqi_bgrace", "dqi_flags", "dqi_igrace", "egid", "env",
    "error", "euid", "event_data", "event_type", "exe", "exe_ino", "exe_ino_ctime", "exe_ino_mtime",
    "exe_ino_num", "exepath", "fd", "fd1", "fd2", "fd_in", "fd_out", "fdin", "fdlimit", "fdout", "fds",
    "filename", "first", "flags", "gid", "home", "how", "id", "image", "img", "in_fd", "initval", "ino",
    "ino_num", "interval", "ip", "json", "key", "last", "len", "length", "linkdirfd", "linkpath", "local_ip",
    "local_port", "loginuid", "mask", "max", "maxevents", "min_complete", "mnt_id", "mode", "mountfd",
    "msgcontrol", "name", "nativeID", "newcur", "newdir", "newdirfd", "newfd", "newmax", "newpath", "next",
    "nsems", "nsops", "nstype", "offin", "offout", "offset", "oldcur", "olddir", "olddirfd", "oldfd", "oldmax",
    "oldpath", "op", "operation", "option", "out_fd", "path", "pathname", "peer", "pgft_maj", "pgft_min",
    "pgid", "pgoffset", "pid", "pid_fd", "pidns_init_start_ts", "plugin_id", "pos", "ppid", "prot", "proto",
    "ptid", "queuelen", "queuemax", "queuepct", "quota_fmt", "quota_fmt_out", "quotafilepath", "ratio",
    "reaper_tid", "remote_ip", "remote_port", "request", "res", "resolve", "resource", "ret", "rgid", "root",
    "ruid", "scope", "sem_flg_0", "sem_flg_1", "sem_num_0", "sem_num_1", "sem_op_0", "sem_op_1", "semflg",
    "semid", "semnum", "sgid", "shell", "sid", "sig", "sigmask", "size", "sk_pointer", "sk_proto", "sk_type",
    "source", "special", "spid", "start_time", "status", "suid", "sun_path", "tags", "target", "target_fd",
    "tid", "timeout", "to_submit", "trusted_exepath", "tty", "tuple", "type", "uargs", "uid", "val",
    "value_bytebuf", "value_charbuf", "vm_rss", "vm_size", "vm_swap", "vpgid", "vpid", "vtgid", "vtid", "whence",
];

/// Asked for each row of a plain text column: one hash where a search would compare seven times.
static INDEXES: LazyLock<FxHashMap<&'static [u8], u16>> =
    LazyLock::new(|| (0..).zip(EVENT_TYPES).map(|(index, name)| (name.as_bytes(), index)).collect());

/// [`FD_TYPES`] as a set, for the same reason.
static HAVE_FD: LazyLock<FxHashSet<&'static [u8]>> =
    LazyLock::new(|| FD_TYPES.iter().map(|name| name.as_bytes()).collect());

const WORDS: usize = 8;
const _: () = assert!(EVENT_TYPES.len() < WORDS * 64);

/// An event type by its index in [`EVENT_TYPES`]; types of no known name share one further index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EventType(u16);

impl EventType {
    /// The type of that name; none where it is not known.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        INDEXES.get(name).map(|index| Self(*index))
    }

    /// The type of any name.
    pub(crate) fn of(name: &[u8]) -> Self {
        Self::from_name(name).unwrap_or(Self(EVENT_TYPES.len() as u16))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// How many indexes there are.
    pub(crate) const COUNT: usize = EVENT_TYPES.len() + 1;
}

/// Says whether events of that type work on a file descriptor.
pub(crate) fn has_fd(name: &[u8]) -> bool {
    HAVE_FD.contains(name)
}

/// A set of event types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventSet([u64; WORDS]);

impl EventSet {
    pub(crate) const NONE: Self = Self([0; WORDS]);

    /// Every type, those of no known name included.
    pub(crate) fn all() -> Self {
        let mut all = Self::NONE;
        (0..EventType::COUNT).for_each(|index| all.0[index / 64] |= 1 << (index % 64));
        all
    }

    pub(crate) fn insert(&mut self, event: EventType) {
        self.0[event.index() / 64] |= 1 << (event.index() % 64);
    }

    /// Says whether the type with that index is in it.
    pub(crate) fn contains_index(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    pub(crate) fn intersection(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    pub(crate) fn complement(self) -> Self {
        let all = Self::all();
        Self(std::array::from_fn(|i| all.0[i] & !self.0[i]))
    }

    /// How many types are in it.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The names of the types in it; where types of no known name are in it, the names of those that are not.
    ///
    /// # Errors
    /// The names of types that are not in it.
    pub fn names_or_others(&self) -> Result<Vec<&'static str>, Vec<&'static str>> {
        if self.contains_index(EVENT_TYPES.len()) {
            Err(self.complement().names().collect())
        } else {
            Ok(self.names().collect())
        }
    }

    /// The names of the types in it, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let set = *self;
        (0..EVENT_TYPES.len()).filter(move |index| set.contains_index(*index)).map(|index| EVENT_TYPES[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        for table in [EVENT_TYPES, FD_TYPES, ARGUMENTS] {
            assert!(table.windows(2).all(|pair| pair[0] < pair[1]));
        }
        assert!(FD_TYPES.iter().all(|name| EventType::from_name(name.as_bytes()).is_some()));
    }

    #[test]
    fn sets() {
        let mut set = EventSet::NONE;
        set.insert(EventType::of(b"execve"));
        let contains = |set: EventSet, name: &[u8]| set.contains_index(EventType::of(name).index());
        assert!(contains(set, b"execve") && !contains(set, b"open"));
        assert!(contains(set.complement(), b"no such call"));
        assert_eq!(set.union(set.complement()), EventSet::all());
        assert_eq!(set.intersection(set.complement()), EventSet::NONE);
        assert_eq!(set.names().collect::<Vec<_>>(), ["execve"]);
        assert_eq!(set.names_or_others(), Ok(vec!["execve"]));
        assert_eq!(set.complement().names_or_others(), Err(vec!["execve"]));
        assert_eq!(EventSet::all().names_or_others(), Err(vec![]));
    }
}
