//! Columns of `events`: one row per kernel event.

use crate::field::{list, optional, required, text_map, timestamp};
use arrow_schema::DataType::{Binary, Boolean, Int32, Int64, Utf8};
use arrow_schema::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

macro_rules! columns {
    ($($constant:ident = $name:literal : $kind:ident $data_type:expr, $comment:literal;)*) => {
        $(#[doc = $comment] pub const $constant: &str = $name;)*

        /// The newest schema.
        pub fn schema() -> SchemaRef {
            static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
                Arc::new(Schema::new(vec![$($kind($constant, $data_type, $comment),)*]))
            });
            SCHEMA.clone()
        }
    };
}

pub(crate) use columns;

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
    EXE_ARG0 = "exe_arg0": optional Utf8, "argument 0, as it was given";
    CMDLINE = "cmdline": optional Utf8, "argv joined by blanks";
    ARGS = "args": optional Utf8, "arguments from 1 on, joined by blanks";
    CWD = "cwd": optional Utf8, "working directory of the process";
    TTY = "tty": optional Int32, "controlling terminal as the kernel numbers it; 0 without one";
    PATH = "path": optional Utf8, "absolute path that the call names, . and .. folded, symbolic links kept; of a Unix socket its address";
    PATH2 = "path2": optional Utf8, "second path: the new name of a rename or link, the link that symlink makes, the source of a mount that is a path";
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
    EVT_ARGS = "evt_args": optional text_map(), "arguments that have no column of their own, as Falco prints them: request, domain, cmd, target, uid, ...";
    BUFFER = "buffer": optional Binary, "first 80 bytes that the call sent or received, read or wrote";
    PATH_RAW = "path_raw": optional Utf8, "the path as it was given";
    PATH2_RAW = "path2_raw": optional Utf8, "the second path as it was given";
    FD_IS_SERVER = "fd_is_server": optional Boolean, "the process accepted the connection, or listens";
    FD_CONNECTED = "fd_connected": optional Boolean, "the socket is connected";
    FD_NAME_CHANGED = "fd_name_changed": optional Boolean, "the call changed the ends of the socket";
    FD_DEV = "fd_dev": optional Int64, "device of the file as the kernel numbers it";
    FD_INO = "fd_ino": optional Int64, "inode of the file or socket";
    FD_IS_UPPER_LAYER = "fd_is_upper_layer": optional Boolean, "the file lies in the upper layer of an overlay";
    FD_IS_LOWER_LAYER = "fd_is_lower_layer": optional Boolean, "the file lies in a lower layer of an overlay";
    ENV = "env": optional Utf8, "environment of a program that starts, its first 4 KiB, joined by blanks; on rows of execve and execveat";
    GID = "gid": optional Int64, "real group id in the initial user namespace";
    GROUP = "group": optional Utf8, "name of gid in the host's group database";
    LOGIN_USER = "login_user": optional Utf8, "name of loginuid";
    USER_HOME = "user_home": optional Utf8, "home directory of uid";
    USER_SHELL = "user_shell": optional Utf8, "shell of uid";
    CAP_PERMITTED = "cap_permitted": optional Utf8, "capabilities that the process may take on, joined by blanks";
    CAP_EFFECTIVE = "cap_effective": optional Utf8, "capabilities that the process has";
    CAP_INHERITABLE = "cap_inheritable": optional Utf8, "capabilities that the process may hand on";
    ANCESTOR_PIDS = "ancestor_pids": optional list(Int32), "process ids of the ancestors, the parent first, at most 16";
    ANCESTOR_NAMES = "ancestor_names": optional list(Utf8), "comm of each ancestor; empty where unknown";
    ANCESTOR_EXES = "ancestor_exes": optional list(Utf8), "argument 0 of each ancestor";
    ANCESTOR_EXEPATHS = "ancestor_exepaths": optional list(Utf8), "resolved executable of each ancestor";
    ANCESTOR_CMDLINES = "ancestor_cmdlines": optional list(Utf8), "comm and arguments of each ancestor; cut to 512 bytes from the grandparent on";
    VPID = "vpid": optional Int32, "process id in its own pid namespace";
    VTID = "vtid": optional Int32, "thread id in its own pid namespace; null for threads other than the first";
    PVPID = "pvpid": optional Int32, "process id of the parent in the parent's own pid namespace";
    PGID = "pgid": optional Int32, "process group";
    PGID_NAME = "pgid_name": optional Utf8, "comm of the process group's leader";
    PGID_EXE = "pgid_exe": optional Utf8, "argument 0 of the process group's leader";
    PGID_EXEPATH = "pgid_exepath": optional Utf8, "executable of the process group's leader";
    VPGID = "vpgid": optional Int32, "process group in the process's own pid namespace";
    SID = "sid": optional Int32, "session";
    SID_NAME = "sid_name": optional Utf8, "comm of the session's leader";
    SID_EXE = "sid_exe": optional Utf8, "argument 0 of the session's leader";
    SID_EXEPATH = "sid_exepath": optional Utf8, "executable of the session's leader";
    LOGIN_SHELL_PID = "login_shell_pid": optional Int32, "process id of the oldest shell among the process and its ancestors";
    PROC_START_NS = "proc_start_ns": optional Int64, "start of the process, nanoseconds since 1970";
    PARENT_START_NS = "parent_start_ns": optional Int64, "start of the parent";
    PIDNS_START_NS = "pidns_start_ns": optional Int64, "start of the first process of its pid namespace; null in the initial one";
    EXE_INO = "exe_ino": optional Int64, "inode of the executable";
    EXE_CTIME_NS = "exe_ctime_ns": optional Int64, "change time of the executable's inode, nanoseconds since 1970";
    EXE_MTIME_NS = "exe_mtime_ns": optional Int64, "modification time of the executable";
    EXE_IS_WRITABLE = "exe_is_writable": optional Boolean, "the user who started the executable may write it";
    EXE_IS_UPPER_LAYER = "exe_is_upper_layer": optional Boolean, "the executable lies in the upper layer of an overlay: it was put there after the container started";
    EXE_IS_LOWER_LAYER = "exe_is_lower_layer": optional Boolean, "the executable lies in a lower layer of an overlay";
    EXE_IS_MEMFD = "exe_is_memfd": optional Boolean, "the executable is in memory only, made by memfd_create";
    CGROUPS = "cgroups": optional Utf8, "path of the cgroup: of the v1 pids hierarchy where mounted, else of v2";
    LOCAL_NAME = "local_name": optional Utf8, "host name under which local_addr is known, of those that rules or the configuration name";
    REMOTE_NAME = "remote_name": optional Utf8, "host name under which remote_addr is known, of those that rules or the configuration name";
    CONTAINER_ID = "container_id": required Utf8, "first 12 hex digits of the container's id; host outside containers";
    CONTAINER_FULL_ID = "container_full_id": optional Utf8, "all 64 digits of the container's id";
    CONTAINER_NAME = "container_name": optional Utf8, "name of the container";
    CONTAINER_TYPE = "container_type": optional Utf8, "runtime: docker, podman, containerd, cri-o, ...";
    CONTAINER_IMAGE = "container_image": optional Utf8, "image as the runtime was told";
    CONTAINER_IMAGE_ID = "container_image_id": optional Utf8, "id of the image, without sha256:";
    CONTAINER_IMAGE_REPOSITORY = "container_image_repository": optional Utf8, "image without tag and digest";
    CONTAINER_IMAGE_TAG = "container_image_tag": optional Utf8, "tag of the image";
    CONTAINER_IMAGE_DIGEST = "container_image_digest": optional Utf8, "digest of the image, sha256:...";
    CONTAINER_PRIVILEGED = "container_privileged": optional Boolean, "the container has every right of the host";
    CONTAINER_MOUNTS = "container_mounts": optional Utf8, "source:dest:mode:rdwr:propagation of each mount, joined by commas";
    CONTAINER_START_NS = "container_start_ns": optional Int64, "start of the container, nanoseconds since 1970";
    CONTAINER_IP = "container_ip": optional Utf8, "IP address of the container";
    CONTAINER_LABELS = "container_labels": optional text_map(), "labels of the container";
    K8S_NS = "k8s_ns": optional Utf8, "Kubernetes namespace";
    K8S_POD = "k8s_pod": optional Utf8, "pod";
    K8S_POD_UID = "k8s_pod_uid": optional Utf8, "uid of the pod";
    K8S_POD_LABELS = "k8s_pod_labels": optional text_map(), "labels of the pod";
    CGROUP_ID = "cgroup_id": required Int64, "inode of the cgroup (v2 hierarchy)";
    TRUNCATED = "truncated": required Boolean, "a text of this event was cut by the kernel side";
}
