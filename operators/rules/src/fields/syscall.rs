//! Fields of source `syscall` and the columns of `events` that they come from.

use super::ArgRule::{Index, Key, NeedsKey};
use super::Get::{Column, MapColumn, Nothing};
use super::Kind::{Address, Bytes, Flag, Network, Number, Port, Text};
use super::derive::Derived as D;
use super::{FieldInfo, Get};
use bodkin_schema::events;

/// Columns of `events` that rules read where a batch has them. The agent adds them step by step; a name moves to
/// [`bodkin_schema::events`] together with the column.
pub(crate) mod column {
    macro_rules! names {
        ($($constant:ident = $name:literal: $type:literal;)*) => {
            $(#[doc = $type] pub(crate) const $constant: &str = $name;)*
            /// Every name with its type.
            pub(crate) const ALL: &[(&str, &str)] = &[$(($name, $type)),*];
        };
    }
    names! {
        ANCESTOR_PIDS = "ancestor_pids": "List<Int32>, the parent first";
        ANCESTOR_NAMES = "ancestor_names": "List<Utf8>, comm";
        ANCESTOR_EXES = "ancestor_exes": "List<Utf8>, argv[0]";
        ANCESTOR_EXEPATHS = "ancestor_exepaths": "List<Utf8>, resolved executable";
        ANCESTOR_CMDLINES = "ancestor_cmdlines": "List<Utf8>, comm and arguments";
        EVT_ARGS = "evt_args": "Map<Utf8, Utf8>, arguments as Falco prints them";
        BUFFER = "buffer": "Binary, first bytes of a read or write";
        PATH_RAW = "path_raw": "Utf8, the path as given";
        PATH2_RAW = "path2_raw": "Utf8, the second path as given";
        ENV = "env": "Utf8, environment joined by blanks";
        VPID = "vpid": "Int32, pid in its pid namespace";
        VTID = "vtid": "Int32, tid in its pid namespace";
        PVPID = "pvpid": "Int32, the parent's pid in its pid namespace";
        PGID = "pgid": "Int32, process group";
        VPGID = "vpgid": "Int32, process group in its pid namespace";
        PGID_NAME = "pgid_name": "Utf8, comm of the process group's leader";
        PGID_EXE = "pgid_exe": "Utf8, argv[0] of the process group's leader";
        PGID_EXEPATH = "pgid_exepath": "Utf8, executable of the process group's leader";
        SID = "sid": "Int32, session";
        SID_NAME = "sid_name": "Utf8, comm of the session's leader";
        SID_EXE = "sid_exe": "Utf8, argv[0] of the session's leader";
        SID_EXEPATH = "sid_exepath": "Utf8, executable of the session's leader";
        LOGIN_SHELL_PID = "login_shell_pid": "Int32, oldest shell among the ancestors";
        PROC_START_NS = "proc_start_ns": "Int64, start of the process, nanoseconds since 1970";
        PARENT_START_NS = "parent_start_ns": "Int64, start of the parent";
        PIDNS_START_NS = "pidns_start_ns": "Int64, start of the pid namespace's first process";
        EXE_INO = "exe_ino": "Int64, inode of the executable";
        EXE_CTIME_NS = "exe_ctime_ns": "Int64, change time of the executable's inode";
        EXE_MTIME_NS = "exe_mtime_ns": "Int64, modification time of the executable";
        EXE_IS_WRITABLE = "exe_is_writable": "Boolean, its user could write it";
        EXE_IS_UPPER_LAYER = "exe_is_upper_layer": "Boolean, in the upper layer of an overlay";
        EXE_IS_LOWER_LAYER = "exe_is_lower_layer": "Boolean, in a lower layer of an overlay";
        EXE_IS_MEMFD = "exe_is_memfd": "Boolean, in memory only";
        CAP_PERMITTED = "cap_permitted": "Utf8, names joined by blanks";
        CAP_INHERITABLE = "cap_inheritable": "Utf8, names joined by blanks";
        CAP_EFFECTIVE = "cap_effective": "Utf8, names joined by blanks";
        CGROUPS = "cgroups": "Utf8, subsystem=path joined by blanks";
        USER_HOME = "user_home": "Utf8";
        USER_SHELL = "user_shell": "Utf8";
        LOGIN_USER = "login_user": "Utf8, name of loginuid";
        GID = "gid": "Int64, real group id";
        GROUP = "group": "Utf8, name of gid";
        FD_IS_SERVER = "fd_is_server": "Boolean, the process accepted the connection";
        FD_CONNECTED = "fd_connected": "Boolean, the socket is connected";
        FD_NAME_CHANGED = "fd_name_changed": "Boolean, the call changed the socket's addresses";
        FD_DEV = "fd_dev": "Int64, device of the file";
        FD_INO = "fd_ino": "Int64, inode of the file";
        FD_IS_UPPER_LAYER = "fd_is_upper_layer": "Boolean";
        FD_IS_LOWER_LAYER = "fd_is_lower_layer": "Boolean";
        LOCAL_NAME = "local_name": "Utf8, name of the local address";
        REMOTE_NAME = "remote_name": "Utf8, name of the remote address";
        CONTAINER_FULL_ID = "container_full_id": "Utf8, all 64 digits";
        CONTAINER_NAME = "container_name": "Utf8";
        CONTAINER_TYPE = "container_type": "Utf8, runtime";
        CONTAINER_IMAGE = "container_image": "Utf8, as the runtime was told";
        CONTAINER_IMAGE_ID = "container_image_id": "Utf8";
        CONTAINER_IMAGE_REPOSITORY = "container_image_repository": "Utf8, without tag and digest";
        CONTAINER_IMAGE_TAG = "container_image_tag": "Utf8";
        CONTAINER_IMAGE_DIGEST = "container_image_digest": "Utf8";
        CONTAINER_PRIVILEGED = "container_privileged": "Boolean";
        CONTAINER_MOUNTS = "container_mounts": "Utf8, source:dest:mode:rdwr:propagation joined by commas";
        CONTAINER_START_NS = "container_start_ns": "Int64, start of the container, nanoseconds since 1970";
        CONTAINER_IP = "container_ip": "Utf8";
        CONTAINER_LABELS = "container_labels": "Map<Utf8, Utf8>";
        K8S_NS = "k8s_ns": "Utf8, namespace";
        K8S_POD = "k8s_pod": "Utf8, pod";
        K8S_POD_UID = "k8s_pod_uid": "Utf8";
        K8S_POD_LABELS = "k8s_pod_labels": "Map<Utf8, Utf8>";
    }
}

use column as c;

const fn text(name: &'static str, get: Get) -> FieldInfo {
    FieldInfo::new(name, Text, get)
}

const fn number(name: &'static str, get: Get) -> FieldInfo {
    FieldInfo::new(name, Number, get)
}

const fn flag(name: &'static str, get: Get) -> FieldInfo {
    FieldInfo::new(name, Flag, get)
}

const fn ancestors(name: &'static str, list: &'static str, own: &'static str) -> FieldInfo {
    FieldInfo::new(name, Text, Get::Ancestors { list, own }).arg(Index).plain_only()
}

const fn derived(derived: D) -> Get {
    Get::Derived(derived)
}

/// Fields of source `syscall`.
#[rustfmt::skip]
pub(super) static FIELDS: &[FieldInfo] = &[
    number("evt.num", Column(events::SEQ)),
    text("evt.time", derived(D::Time)),
    text("evt.time.s", derived(D::TimeSeconds)),
    text("evt.time.iso8601", derived(D::TimeIso)),
    text("evt.datetime", derived(D::DateTime)),
    text("evt.datetime.s", derived(D::DateTimeSeconds)),
    number("evt.rawtime", Column(events::TS_NS)),
    number("evt.rawtime.s", derived(D::RawSeconds)),
    number("evt.rawtime.ns", derived(D::RawNanos)),
    text("evt.source", derived(D::SourceName)),
    text("evt.hostname", Column(events::HOST)),
    text("evt.pluginname", Nothing),
    text("evt.plugininfo", Nothing),
    flag("evt.is_async", Nothing),
    text("evt.asynctype", Nothing),
    text("evt.type", Column(events::EVT_TYPE)),
    text("syscall.type", Column(events::EVT_TYPE)),
    text("evt.dir", derived(D::Direction)).deprecated(),
    text("evt.category", Nothing),
    number("evt.cpu", Column(events::CPU)),
    text("evt.args", derived(D::Arguments)),
    text("evt.arg", derived(D::Argument)).arg(NeedsKey),
    number("evt.rawarg", derived(D::RawArgument)).arg(NeedsKey).plain_only(),
    text("evt.info", derived(D::Arguments)),
    text("evt.abspath", Column(events::PATH)).arg(Key),
    FieldInfo::new("evt.buffer", Bytes, Column(c::BUFFER)),
    number("evt.buflen", Nothing),
    text("evt.res", derived(D::ResultName)),
    number("evt.rawres", Column(events::RESULT)),
    flag("evt.failed", derived(D::Failed)),
    flag("evt.is_io", derived(D::IsIo)),
    flag("evt.is_io_read", derived(D::IsIoRead)),
    flag("evt.is_io_write", derived(D::IsIoWrite)),
    text("evt.io_dir", derived(D::IoDirection)),
    flag("evt.is_wait", Nothing),
    flag("evt.is_syslog", Nothing),
    number("evt.count", Nothing),
    flag("evt.is_open_read", derived(D::IsOpenRead)),
    flag("evt.is_open_write", derived(D::IsOpenWrite)),
    flag("evt.is_open_exec", derived(D::IsOpenExec)),
    flag("evt.is_open_create", derived(D::IsOpenCreate)),

    text("proc.exe", Column(events::EXE_ARG0)),
    text("proc.pexe", derived(D::ParentExe)),
    ancestors("proc.aexe", c::ANCESTOR_EXES, events::EXE_ARG0),
    text("proc.exepath", Column(events::EXE)),
    text("proc.pexepath", derived(D::ParentExepath)),
    ancestors("proc.aexepath", c::ANCESTOR_EXEPATHS, events::EXE),
    text("proc.name", Column(events::COMM)),
    text("proc.pname", derived(D::ParentName)),
    ancestors("proc.aname", c::ANCESTOR_NAMES, events::COMM),
    text("proc.args", derived(D::ProcArguments)).arg(Index),
    text("proc.cmdline", derived(D::Cmdline)),
    text("proc.pcmdline", derived(D::ParentCmdline)),
    ancestors("proc.acmdline", c::ANCESTOR_CMDLINES, events::CMDLINE),
    number("proc.cmdnargs", derived(D::ArgumentCount)),
    number("proc.cmdlenargs", derived(D::ArgumentLength)),
    text("proc.exeline", Column(events::CMDLINE)),
    text("proc.env", derived(D::Environment)).arg(Key),
    text("proc.aenv", Nothing).arg(Key).plain_only(),
    text("proc.cwd", derived(D::Cwd)),
    number("proc.loginshellid", Column(c::LOGIN_SHELL_PID)),
    number("proc.tty", Column(events::TTY)),
    number("proc.pid", Column(events::PID)),
    number("proc.ppid", Column(events::PPID)),
    FieldInfo::new("proc.apid", Number, Get::Ancestors { list: c::ANCESTOR_PIDS, own: events::PID }).arg(Index).plain_only(),
    number("proc.vpid", Column(c::VPID)),
    number("proc.pvpid", Column(c::PVPID)),
    number("proc.sid", Column(c::SID)),
    text("proc.sname", Column(c::SID_NAME)),
    text("proc.sid.exe", Column(c::SID_EXE)),
    text("proc.sid.exepath", Column(c::SID_EXEPATH)),
    number("proc.vpgid", Column(c::VPGID)),
    text("proc.vpgid.name", Column(c::PGID_NAME)),
    text("proc.vpgid.exe", Column(c::PGID_EXE)),
    text("proc.vpgid.exepath", Column(c::PGID_EXEPATH)),
    number("proc.pgid", Column(c::PGID)),
    text("proc.pgid.name", Column(c::PGID_NAME)),
    text("proc.pgid.exe", Column(c::PGID_EXE)),
    text("proc.pgid.exepath", Column(c::PGID_EXEPATH)),
    number("proc.duration", derived(D::Duration)),
    number("proc.ppid.duration", derived(D::ParentDuration)),
    number("proc.pid.ts", Column(c::PROC_START_NS)),
    number("proc.ppid.ts", Column(c::PARENT_START_NS)),
    flag("proc.is_exe_writable", Column(c::EXE_IS_WRITABLE)),
    flag("proc.is_exe_upper_layer", Column(c::EXE_IS_UPPER_LAYER)),
    flag("proc.is_exe_lower_layer", Column(c::EXE_IS_LOWER_LAYER)),
    flag("proc.is_exe_from_memfd", Column(c::EXE_IS_MEMFD)),
    flag("proc.is_sid_leader", derived(D::IsSessionLeader)),
    flag("proc.is_vpgid_leader", derived(D::IsVirtualGroupLeader)),
    flag("proc.is_pgid_leader", derived(D::IsGroupLeader)),
    number("proc.exe_ino", Column(c::EXE_INO)),
    number("proc.exe_ino.ctime", Column(c::EXE_CTIME_NS)),
    number("proc.exe_ino.mtime", Column(c::EXE_MTIME_NS)),
    number("proc.exe_ino.ctime_duration_proc_start", derived(D::CtimeToProcStart)),
    number("proc.exe_ino.ctime_duration_pidns_start", derived(D::CtimeToPidnsStart)),
    number("proc.pidns_init_start_ts", Column(c::PIDNS_START_NS)),
    number("proc.fdopencount", Nothing),
    number("proc.fdlimit", Nothing),
    number("proc.vmsize", Nothing),
    number("proc.vmrss", Nothing),
    number("proc.vmswap", Nothing),
    number("proc.nthreads", Nothing),
    number("proc.nchilds", Nothing),
    text("proc.stdin.type", Nothing),
    text("proc.stdout.type", Nothing),
    text("proc.stderr.type", Nothing),
    text("proc.stdin.name", Nothing),
    text("proc.stdout.name", Nothing),
    text("proc.stderr.name", Nothing),
    text("thread.cap_permitted", Column(c::CAP_PERMITTED)),
    text("thread.cap_inheritable", Column(c::CAP_INHERITABLE)),
    text("thread.cap_effective", Column(c::CAP_EFFECTIVE)),
    number("thread.tid", Column(events::TID)),
    number("thread.vtid", Column(c::VTID)),
    flag("thread.ismain", derived(D::IsMainThread)),
    text("thread.cgroups", Column(c::CGROUPS)),
    text("thread.cgroup", Nothing).arg(NeedsKey),
    number("thread.vmsize", Nothing),
    number("thread.vmrss", Nothing),

    number("user.uid", Column(events::UID)),
    text("user.name", Column(events::USER)),
    text("user.homedir", Column(c::USER_HOME)),
    text("user.shell", Column(c::USER_SHELL)),
    number("user.loginuid", derived(D::LoginUid)),
    text("user.loginname", Column(c::LOGIN_USER)),
    number("group.gid", Column(c::GID)),
    text("group.name", Column(c::GROUP)),

    number("fd.num", derived(D::FdNumber)),
    text("fd.type", derived(D::FdType)),
    text("fd.typechar", derived(D::FdTypeChar)),
    text("fd.name", derived(D::FdName)),
    text("fd.directory", derived(D::FdDirectory)),
    text("fd.filename", derived(D::FdFilename)),
    text("fd.nameraw", derived(D::FdNameRaw)),
    FieldInfo::new("fd.ip", Address, derived(D::EitherAddress)).filter_only(),
    FieldInfo::new("fd.cip", Address, derived(D::ClientAddress)),
    FieldInfo::new("fd.sip", Address, derived(D::ServerAddress)),
    FieldInfo::new("fd.lip", Address, Column(events::LOCAL_ADDR)),
    FieldInfo::new("fd.rip", Address, Column(events::REMOTE_ADDR)),
    FieldInfo::new("fd.port", Port, derived(D::EitherPort)).filter_only(),
    FieldInfo::new("fd.cport", Port, derived(D::ClientPort)),
    FieldInfo::new("fd.sport", Port, derived(D::ServerPort)),
    FieldInfo::new("fd.lport", Port, Column(events::LOCAL_PORT)),
    FieldInfo::new("fd.rport", Port, Column(events::REMOTE_PORT)),
    FieldInfo::new("fd.net", Network, derived(D::EitherAddress)).filter_only(),
    FieldInfo::new("fd.cnet", Network, derived(D::ClientAddress)).filter_only(),
    FieldInfo::new("fd.snet", Network, derived(D::ServerAddress)).filter_only(),
    FieldInfo::new("fd.lnet", Network, Column(events::LOCAL_ADDR)).filter_only(),
    FieldInfo::new("fd.rnet", Network, Column(events::REMOTE_ADDR)).filter_only(),
    FieldInfo::new("fd.proto", Port, derived(D::EitherPort)).filter_only(),
    text("fd.cproto", derived(D::ClientService)),
    text("fd.sproto", derived(D::ServerService)),
    text("fd.lproto", derived(D::LocalService)),
    text("fd.rproto", derived(D::RemoteService)),
    text("fd.cip.name", derived(D::ClientName)).plain_only(),
    text("fd.sip.name", derived(D::ServerName)).plain_only(),
    text("fd.lip.name", Column(c::LOCAL_NAME)).plain_only(),
    text("fd.rip.name", Column(c::REMOTE_NAME)).plain_only(),
    text("fd.l4proto", derived(D::L4Proto)),
    text("fd.sockfamily", derived(D::SockFamily)),
    flag("fd.is_server", derived(D::IsServer)),
    flag("fd.connected", Column(c::FD_CONNECTED)),
    flag("fd.name_changed", Column(c::FD_NAME_CHANGED)),
    text("fd.uid", derived(D::FdUid)),
    text("fd.containername", derived(D::FdContainerName)),
    text("fd.containerdirectory", derived(D::FdContainerDirectory)),
    number("fd.dev", Column(c::FD_DEV)),
    number("fd.dev.major", derived(D::DeviceMajor)),
    number("fd.dev.minor", derived(D::DeviceMinor)),
    number("fd.ino", Column(c::FD_INO)),
    flag("fd.is_upper_layer", Column(c::FD_IS_UPPER_LAYER)),
    flag("fd.is_lower_layer", Column(c::FD_IS_LOWER_LAYER)),
    text("fd.types", Nothing).list().arg(Index).plain_only(),
    text("fs.path.name", Column(events::PATH)),
    text("fs.path.nameraw", Column(c::PATH_RAW)),
    text("fs.path.source", Column(events::PATH)),
    text("fs.path.sourceraw", Column(c::PATH_RAW)),
    text("fs.path.target", Column(events::PATH2)),
    text("fs.path.targetraw", Column(c::PATH2_RAW)),

    text("container.id", Column(events::CONTAINER_ID)),
    text("container.full_id", Column(c::CONTAINER_FULL_ID)),
    text("container.name", Column(c::CONTAINER_NAME)),
    text("container.type", Column(c::CONTAINER_TYPE)),
    text("container.image", Column(c::CONTAINER_IMAGE)),
    text("container.image.id", Column(c::CONTAINER_IMAGE_ID)),
    text("container.image.repository", Column(c::CONTAINER_IMAGE_REPOSITORY)),
    text("container.image.tag", Column(c::CONTAINER_IMAGE_TAG)),
    text("container.image.digest", Column(c::CONTAINER_IMAGE_DIGEST)),
    flag("container.privileged", Column(c::CONTAINER_PRIVILEGED)),
    text("container.mounts", Column(c::CONTAINER_MOUNTS)),
    text("container.mount", derived(D::Mount)).arg(NeedsKey),
    text("container.mount.source", derived(D::MountSource)).arg(NeedsKey),
    text("container.mount.dest", derived(D::MountDest)).arg(NeedsKey),
    text("container.mount.mode", derived(D::MountMode)).arg(NeedsKey),
    text("container.mount.rdwr", derived(D::MountReadWrite)).arg(NeedsKey),
    text("container.mount.propagation", derived(D::MountPropagation)).arg(NeedsKey),
    number("container.start_ts", Column(c::CONTAINER_START_NS)),
    number("container.duration", derived(D::ContainerDuration)),
    text("container.ip", Column(c::CONTAINER_IP)),
    text("container.cni.json", Nothing),
    flag("container.host_pid", Nothing),
    flag("container.host_network", Nothing),
    flag("container.host_ipc", Nothing),
    text("container.label", MapColumn(c::CONTAINER_LABELS)).arg(NeedsKey),
    text("container.healthcheck", Nothing),
    text("container.liveness_probe", Nothing),
    text("container.readiness_probe", Nothing),
    flag("proc.is_container_healthcheck", Nothing),
    flag("proc.is_container_liveness_probe", Nothing),
    flag("proc.is_container_readiness_probe", Nothing),
    text("k8s.ns.name", Column(c::K8S_NS)),
    text("k8s.pod.name", Column(c::K8S_POD)),
    text("k8s.pod.uid", Column(c::K8S_POD_UID)),
    text("k8s.pod.label", MapColumn(c::K8S_POD_LABELS)).arg(NeedsKey),

    // What Falco measures and a stored event does not tell: rules with them load, and find no value.
    number("evt.latency", Nothing),
    number("evt.latency.s", Nothing),
    number("evt.latency.ns", Nothing),
    number("evt.latency.quantized", Nothing),
    number("evt.deltatime", Nothing),
    number("evt.deltatime.s", Nothing),
    number("evt.deltatime.ns", Nothing),
    number("evt.wait_latency", Nothing),
    number("evt.reltime", Nothing),
    number("evt.reltime.s", Nothing),
    number("evt.reltime.ns", Nothing),
    number("evt.count.error", Nothing),
    number("evt.count.error.file", Nothing),
    number("evt.count.error.net", Nothing),
    number("evt.count.error.memory", Nothing),
    number("evt.count.error.other", Nothing),
    number("evt.count.exit", Nothing),
    number("evt.count.procinfo", Nothing),
    number("evt.count.threadinfo", Nothing),
    number("evt.buflen.in", Nothing),
    number("evt.buflen.out", Nothing),
    number("evt.buflen.file", Nothing),
    number("evt.buflen.file.in", Nothing),
    number("evt.buflen.file.out", Nothing),
    number("evt.buflen.net", Nothing),
    number("evt.buflen.net.in", Nothing),
    number("evt.buflen.net.out", Nothing),
    number("proc.fdusage", Nothing),
    number("thread.pfmajor", Nothing),
    number("thread.pfminor", Nothing),
    number("thread.exectime", Nothing),
    number("thread.totexectime", Nothing),
    number("thread.cpu", Nothing),
    number("thread.cpu.user", Nothing),
    number("thread.cpu.system", Nothing),
    number("thread.vmsize.b", Nothing),
    number("thread.vmrss.b", Nothing),
    number("util.cnt", Nothing),
    text("evt.latency.human", Nothing),
    text("evt.outputtime", Nothing),
    text("thread.nametid", Nothing),
    text("fdlist.nums", Nothing),
    text("fdlist.names", Nothing),
    text("fdlist.cips", Nothing),
    text("fdlist.sips", Nothing),
    text("fdlist.cports", Nothing),
    text("fdlist.sports", Nothing),
    text("proc.aargs", Nothing).arg(Index).plain_only(),
    number("evt.type.is", Nothing).arg(NeedsKey),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A column that has come to the schema has the type that is expected here.
    #[test]
    fn columns_have_the_types_that_rules_expect() {
        let schema = events::schema();
        for (name, expected) in column::ALL {
            let Ok(field) = schema.field_with_name(name) else { continue };
            let found = field.data_type().to_string();
            let family =
                |text: &str| text.split(['(', '<', ',', ' ']).next().unwrap_or_default().replace("Int32", "Int64");
            assert_eq!(family(&found), family(expected), "{name}");
        }
    }
}
