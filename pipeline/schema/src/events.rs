//! Columns of `events`: one row per kernel event.

use crate::field::{optional, required, timestamp};
use arrow_schema::DataType::{Boolean, Int32, Int64, Utf8};
use arrow_schema::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

macro_rules! columns {
    ($($constant:ident = $name:literal : $kind:ident $data_type:expr, $comment:literal;)*) => {
        $(#[doc = $comment] pub const $constant: &str = $name;)*

        /// The schema of `events`.
        pub fn schema() -> SchemaRef {
            static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
                Arc::new(Schema::new(vec![$($kind($constant, $data_type, $comment),)*]))
            });
            SCHEMA.clone()
        }
    };
}

columns! {
    TS = "ts": required timestamp(), "time of the event (end of the system call), microseconds UTC; kernel boot clock plus the wall clock's offset";
    TS_NS = "ts_ns": required Int64, "the same time in nanoseconds since 1970";
    HOST = "host": required Utf8, "host name";
    HOST_ID = "host_id": required Utf8, "machine-id of the host; stable where the name is not";
    INCARNATION = "incarnation": required Int64, "life of the agent: its start in microseconds since 1970; host_id/incarnation/cpu/seq identify an event";
    CPU = "cpu": required Int32, "processor that the event happened on";
    SEQ = "seq": required Int64, "number of the event on its processor, counted in the kernel from 1; a gap is a loss";
    EVT_TYPE = "evt_type": required Utf8, "name of the system call or life-cycle event, as Falco says it: execve, clone, procexit, openat, renameat2, connect, ...";
    PID = "pid": required Int32, "process (thread group) id in the initial pid namespace";
    TID = "tid": required Int32, "thread id in the initial pid namespace";
    PPID = "ppid": optional Int32, "process id of the parent; null where unknown";
    PNAME = "pname": optional Utf8, "comm of the parent";
    UID = "uid": optional Int64, "real user id in the initial user namespace";
    USER = "user": optional Utf8, "name of uid in the host's user database";
    LOGINUID = "loginuid": optional Int64, "audit login uid; null where nobody logged in";
    COMM = "comm": optional Utf8, "short name of the process, at most 15 bytes";
    EXE = "exe": optional Utf8, "resolved path of the executable";
    EXE_ARG0 = "exe_arg0": optional Utf8, "argv[0]";
    CMDLINE = "cmdline": optional Utf8, "argv joined by blanks";
    ARGS = "args": optional Utf8, "argv without argv[0], joined by blanks";
    CWD = "cwd": optional Utf8, "working directory of the process";
    TTY = "tty": optional Int32, "controlling terminal as the kernel numbers it; 0 without one";
    PATH = "path": optional Utf8, "absolute path that the call names, . and .. folded, symbolic links kept; of a Unix socket its address";
    PATH2 = "path2": optional Utf8, "second path of a rename: the new name";
    FD = "fd": optional Int32, "file descriptor that the call made or worked on";
    FD_TYPE = "fd_type": optional Utf8, "kind of the descriptor: file, directory, ipv4, ipv6, unix, ...";
    FLAGS = "flags": optional Utf8, "flags of the call by name, joined by |: O_RDONLY|O_CLOEXEC";
    MODE = "mode": optional Int32, "permission bits asked for by a call that makes a file";
    RESULT = "result": required Int64, "what the call returned: negative errno on failure; of procexit the wait status";
    PROTO = "proto": optional Utf8, "transport of a socket: tcp, udp, unix, ...";
    LOCAL_ADDR = "local_addr": optional Utf8, "local IP address of the socket";
    LOCAL_PORT = "local_port": optional Int32, "local port of the socket";
    REMOTE_ADDR = "remote_addr": optional Utf8, "remote IP address of the socket";
    REMOTE_PORT = "remote_port": optional Int32, "remote port of the socket";
    CONTAINER_ID = "container_id": required Utf8, "first 12 hex digits of the container's id; host outside containers";
    CGROUP_ID = "cgroup_id": required Int64, "inode of the cgroup (v2 hierarchy)";
    TRUNCATED = "truncated": required Boolean, "a text of this event was cut by the kernel side";
}
