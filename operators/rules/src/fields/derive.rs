//! Fields that are computed from several columns of a row.

use super::address::service_name;
use super::argument::{argument, arguments};
use super::errno::result_name;
use super::event_type::has_fd;
use super::syscall::column as c;
use super::{FieldArg, mount, time};
use crate::eval::column::Column;
use bodkin_schema::events as e;

/// A computed field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Derived {
    Time,
    TimeSeconds,
    TimeIso,
    DateTime,
    DateTimeSeconds,
    RawSeconds,
    RawNanos,
    SourceName,
    Direction,
    Arguments,
    Argument,
    RawArgument,
    ResultName,
    Failed,
    IsIo,
    IsIoRead,
    IsIoWrite,
    IoDirection,
    IsOpenRead,
    IsOpenWrite,
    IsOpenExec,
    IsOpenCreate,
    ParentName,
    ParentExe,
    ParentExepath,
    ParentCmdline,
    ProcArguments,
    Cmdline,
    ArgumentCount,
    ArgumentLength,
    Environment,
    Cwd,
    Duration,
    ParentDuration,
    CtimeToProcStart,
    CtimeToPidnsStart,
    IsSessionLeader,
    IsGroupLeader,
    IsVirtualGroupLeader,
    IsMainThread,
    LoginUid,
    FdNumber,
    FdType,
    FdTypeChar,
    FdName,
    FdNameRaw,
    FdDirectory,
    FdFilename,
    FdUid,
    FdContainerName,
    FdContainerDirectory,
    EitherAddress,
    ClientAddress,
    ServerAddress,
    EitherPort,
    ClientPort,
    ServerPort,
    ClientService,
    ServerService,
    LocalService,
    RemoteService,
    ClientName,
    ServerName,
    L4Proto,
    SockFamily,
    IsServer,
    DeviceMajor,
    DeviceMinor,
    Mount,
    MountSource,
    MountDest,
    MountMode,
    MountReadWrite,
    MountPropagation,
    ContainerDuration,
}

/// What a computed field gives for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Number,
    Flag,
    /// Both ends of a connection.
    TextPair,
    NumberPair,
}

use Derived as D;

const FD_NAME: &[&str] =
    &[e::EVT_TYPE, e::PATH, e::FD_TYPE, e::LOCAL_ADDR, e::REMOTE_ADDR, e::LOCAL_PORT, e::REMOTE_PORT, c::FD_IS_SERVER];
const FD_CONTAINER_NAME: &[&str] = &[
    e::EVT_TYPE,
    e::PATH,
    e::FD_TYPE,
    e::LOCAL_ADDR,
    e::REMOTE_ADDR,
    e::LOCAL_PORT,
    e::REMOTE_PORT,
    c::FD_IS_SERVER,
    e::CONTAINER_ID,
];
const FD_KIND: &[&str] = &[e::EVT_TYPE, e::FD_TYPE];
const ARGUMENT: &[&str] = &[e::EVT_TYPE, e::FLAGS, e::MODE, e::PATH, e::PATH2, e::FD, e::RESULT, c::EVT_ARGS];

impl Derived {
    pub(crate) fn form(self) -> Form {
        match self {
            D::RawSeconds
            | D::RawNanos
            | D::RawArgument
            | D::ArgumentCount
            | D::ArgumentLength
            | D::Duration
            | D::ParentDuration
            | D::CtimeToProcStart
            | D::CtimeToPidnsStart
            | D::LoginUid
            | D::FdNumber
            | D::ClientPort
            | D::ServerPort
            | D::DeviceMajor
            | D::DeviceMinor
            | D::ContainerDuration => Form::Number,
            D::Failed
            | D::IsIo
            | D::IsIoRead
            | D::IsIoWrite
            | D::IsOpenRead
            | D::IsOpenWrite
            | D::IsOpenExec
            | D::IsOpenCreate
            | D::IsSessionLeader
            | D::IsGroupLeader
            | D::IsVirtualGroupLeader
            | D::IsMainThread
            | D::IsServer => Form::Flag,
            D::EitherAddress => Form::TextPair,
            D::EitherPort => Form::NumberPair,
            _ => Form::Text,
        }
    }

    /// The columns that it is computed from; [`Derived::text`] and the others take them in this order.
    pub(crate) fn inputs(self) -> &'static [&'static str] {
        match self {
            D::Time | D::TimeSeconds | D::TimeIso | D::DateTime | D::DateTimeSeconds | D::RawSeconds | D::RawNanos => {
                &[e::TS_NS]
            }
            D::SourceName | D::Direction => &[],
            D::Arguments | D::Argument | D::RawArgument => ARGUMENT,
            D::ResultName | D::Failed => &[e::RESULT],
            D::IsIo | D::IsIoRead | D::IsIoWrite | D::IoDirection => &[e::EVT_TYPE],
            D::IsOpenRead | D::IsOpenWrite | D::IsOpenExec | D::IsOpenCreate => {
                &[e::EVT_TYPE, e::FLAGS, e::MODE, e::RESULT]
            }
            D::ParentName => &[e::PNAME, c::ANCESTOR_NAMES],
            D::ParentExe => &[c::ANCESTOR_EXES],
            D::ParentExepath => &[c::ANCESTOR_EXEPATHS],
            D::ParentCmdline => &[c::ANCESTOR_CMDLINES],
            D::Cmdline => &[e::COMM, e::ARGS],
            D::ProcArguments | D::ArgumentCount | D::ArgumentLength => &[e::ARGS],
            D::Environment => &[c::ENV],
            D::Cwd => &[e::CWD],
            D::Duration => &[e::TS_NS, c::PROC_START_NS],
            D::ParentDuration => &[e::TS_NS, c::PARENT_START_NS],
            D::ContainerDuration => &[e::TS_NS, c::CONTAINER_START_NS],
            D::CtimeToProcStart => &[c::PROC_START_NS, c::EXE_CTIME_NS],
            D::CtimeToPidnsStart => &[c::PIDNS_START_NS, c::EXE_CTIME_NS],
            D::IsSessionLeader => &[e::PID, c::SID],
            D::IsGroupLeader => &[e::PID, c::PGID],
            D::IsVirtualGroupLeader => &[c::VPID, c::VPGID],
            D::IsMainThread => &[e::PID, e::TID],
            D::LoginUid => &[e::LOGINUID],
            D::FdNumber => &[e::EVT_TYPE, e::FD, e::RESULT],
            D::FdType | D::FdTypeChar | D::SockFamily => FD_KIND,
            D::FdName => FD_NAME,
            D::FdContainerName => FD_CONTAINER_NAME,
            D::FdNameRaw => &[e::EVT_TYPE, c::PATH_RAW],
            D::FdDirectory | D::FdFilename => &[e::EVT_TYPE, e::PATH, e::FD_TYPE],
            D::FdContainerDirectory => &[e::EVT_TYPE, e::PATH, e::FD_TYPE, e::CONTAINER_ID],
            D::FdUid => &[e::TID, e::FD],
            D::EitherAddress => &[e::LOCAL_ADDR, e::REMOTE_ADDR],
            D::EitherPort => &[e::LOCAL_PORT, e::REMOTE_PORT],
            D::ClientAddress | D::ServerAddress => &[e::EVT_TYPE, c::FD_IS_SERVER, e::LOCAL_ADDR, e::REMOTE_ADDR],
            D::ClientName | D::ServerName => &[e::EVT_TYPE, c::FD_IS_SERVER, c::LOCAL_NAME, c::REMOTE_NAME],
            D::ClientPort | D::ServerPort | D::ClientService | D::ServerService => {
                &[e::EVT_TYPE, c::FD_IS_SERVER, e::LOCAL_PORT, e::REMOTE_PORT]
            }
            D::LocalService => &[e::LOCAL_PORT],
            D::RemoteService => &[e::REMOTE_PORT],
            D::L4Proto => &[e::PROTO],
            D::IsServer => &[e::EVT_TYPE, c::FD_IS_SERVER],
            D::DeviceMajor | D::DeviceMinor => &[c::FD_DEV],
            D::Mount | D::MountSource | D::MountDest | D::MountMode | D::MountReadWrite | D::MountPropagation => {
                &[c::CONTAINER_MOUNTS]
            }
        }
    }

    /// How many of the first inputs, all of them text, decide the value: rows with the same ones share it.
    pub(crate) fn deciding_inputs(self) -> usize {
        match self {
            D::Cmdline => 2,
            D::ProcArguments | D::Environment => 1,
            _ => 0,
        }
    }

    /// The text of a row, appended to `out`, which holds the texts of other rows before it; false where it has none,
    /// and what was appended is then void.
    pub(crate) fn text(self, i: &[Column], row: usize, arg: &FieldArg, out: &mut Vec<u8>) -> bool {
        let text = |index: usize| i.get(index).and_then(|column| column.text(row));
        let number = |index: usize| i.get(index).and_then(|column| column.number(row));
        let first_of = |index: usize| ancestor(i.get(index), row, 0);
        let made = match self {
            D::Time => number(0).and_then(time::time).map(String::into_bytes),
            D::TimeSeconds => number(0).and_then(time::time_seconds).map(String::into_bytes),
            D::TimeIso => number(0).and_then(time::time_iso).map(String::into_bytes),
            D::DateTime => number(0).and_then(time::date_time).map(String::into_bytes),
            D::DateTimeSeconds => number(0).and_then(time::date_time_seconds).map(String::into_bytes),
            D::Direction => return put(out, Some(b"<")),
            D::ResultName => return put(out, number(0).map(|result| result_name(result).as_bytes())),
            D::Argument => argument(i, row, arg),
            D::Arguments => Some(arguments(i, row)),
            D::IoDirection => return put(out, io_direction(text(0)).map(str::as_bytes)),
            D::ParentName => return put(out, text(0).or_else(|| first_of(1))),
            D::ParentExe | D::ParentExepath | D::ParentCmdline => return put(out, first_of(0)),
            D::ProcArguments => return put(out, text(0).map(|args| word(args, arg))),
            D::Cmdline => return cmdline(text(0), text(1), out),
            D::Environment => return put(out, text(0).and_then(|env| variable(env, arg))),
            D::Cwd => return text(0).map(|cwd| put_directory(cwd, out)).is_some(),
            D::FdType => return put(out, fd_kind(i, row, 0, 1)),
            D::FdTypeChar => {
                let Some(event) = text(0).filter(|event| has_fd(event)) else { return false };
                return put(out, Some(fd_type_char(fd_kind(i, row, 0, 1), is_open(event) || event == b"creat")));
            }
            D::FdName => return super::fd::name(i, row, out),
            D::FdNameRaw => {
                let raw = text(1).filter(|_| text(0).is_some_and(has_fd));
                return raw.map(|raw| put_squeezed(raw, out)).is_some();
            }
            D::FdDirectory => return put(out, super::fd::directory(i, row)),
            D::FdFilename => return put(out, super::fd::filename(i, row)),
            D::FdContainerName => return put(out, text(8)) && put(out, Some(b":")) && super::fd::name(i, row, out),
            D::FdContainerDirectory => {
                return put(out, text(3)) && put(out, Some(b":")) && put(out, super::fd::directory(i, row));
            }
            D::FdUid => number(0).zip(number(1)).map(|(tid, fd)| format!("{tid}{fd}").into_bytes()),
            D::ClientAddress | D::ClientName => return put(out, text(if is_server(i, row) { 3 } else { 2 })),
            D::ServerAddress | D::ServerName => return put(out, text(if is_server(i, row) { 2 } else { 3 })),
            D::ClientService | D::ServerService | D::LocalService | D::RemoteService => {
                let port = match self {
                    D::ClientService => number(if is_server(i, row) { 3 } else { 2 }),
                    D::ServerService => number(if is_server(i, row) { 2 } else { 3 }),
                    _ => number(0),
                };
                port.map(|port| service_name(port).map_or(port.to_string(), str::to_owned).into_bytes())
            }
            D::L4Proto => {
                return put(out, text(0).filter(|proto| is_transport(proto)));
            }
            D::SockFamily => return put(out, super::fd::family(fd_kind(i, row, 0, 1))),
            D::Mount | D::MountSource | D::MountDest | D::MountMode | D::MountReadWrite | D::MountPropagation => {
                return put(out, text(0).and_then(|mounts| mount::find(self, mounts, arg)));
            }
            _ => None,
        };
        put(out, made.as_deref())
    }

    /// The number of a row.
    pub(crate) fn number(self, i: &[Column], row: usize, arg: &FieldArg) -> Option<i64> {
        let number = |index: usize| i.get(index).and_then(|column| column.number(row));
        let text = |index: usize| i.get(index).and_then(|column| column.text(row));
        match self {
            D::RawSeconds => number(0).map(|ns| ns.div_euclid(1_000_000_000)),
            D::RawNanos => number(0).map(|ns| ns.rem_euclid(1_000_000_000)),
            D::RawArgument => std::str::from_utf8(&argument(i, row, arg)?).ok()?.parse().ok(),
            D::ArgumentCount => {
                text(0).map(|args| args.split(|b| *b == b' ').filter(|word| !word.is_empty()).count() as i64)
            }
            D::ArgumentLength => text(0).map(|args| args.iter().filter(|b| **b != b' ').count() as i64),
            D::Duration | D::ParentDuration | D::ContainerDuration | D::CtimeToProcStart | D::CtimeToPidnsStart => {
                Some(number(0)?.saturating_sub(number(1)?))
            }
            D::LoginUid => Some(number(0).unwrap_or(-1)),
            // A call that fails to make a descriptor has the descriptor -1.
            D::FdNumber => number(1).or_else(|| (number(2)? < 0 && text(0).is_some_and(has_fd)).then_some(-1)),
            D::ClientPort => number(if is_server(i, row) { 3 } else { 2 }),
            D::ServerPort => number(if is_server(i, row) { 2 } else { 3 }),
            D::DeviceMajor => number(0).map(|device| (device >> 8) & 0xfff),
            D::DeviceMinor => number(0).map(|device| (device & 0xff) | ((device >> 12) & 0xfff00)),
            _ => None,
        }
    }

    /// The truth value of a row.
    pub(crate) fn flag(self, i: &[Column], row: usize) -> Option<bool> {
        let number = |index: usize| i.get(index).and_then(|column| column.number(row));
        let text = |index: usize| i.get(index).and_then(|column| column.text(row));
        let equal = || Some(number(0)? == number(1)?);
        match self {
            D::Failed => number(0).map(|result| result < 0),
            D::IsIo => Some(io_direction(text(0)).is_some()),
            D::IsIoRead => Some(io_direction(text(0)) == Some("read")),
            D::IsIoWrite => Some(io_direction(text(0)) == Some("write")),
            D::IsOpenRead => Some(is_open(text(0)?) && has_word(text(1), &["O_RDONLY", "O_RDWR"])),
            D::IsOpenWrite => Some(is_open(text(0)?) && has_word(text(1), &["O_WRONLY", "O_RDWR"])),
            D::IsOpenExec => {
                let is_made = text(0)? == b"creat" || is_open(text(0)?) && has_word(text(1), &["O_CREAT", "O_TMPFILE"]);
                Some(is_made && number(2).is_some_and(|mode| mode & 0o111 != 0))
            }
            D::IsOpenCreate => {
                let is_temporary = has_word(text(1), &["O_TMPFILE"]) && number(3).is_some_and(|result| result >= 0);
                Some(is_open(text(0)?) && (has_word(text(1), &["O_F_CREATED"]) || is_temporary))
            }
            D::IsSessionLeader | D::IsGroupLeader | D::IsVirtualGroupLeader | D::IsMainThread => equal(),
            D::IsServer => Some(is_server(i, row)),
            _ => None,
        }
    }
}

fn put(out: &mut Vec<u8>, text: Option<&[u8]>) -> bool {
    text.inspect(|text| out.extend_from_slice(text)).is_some()
}

/// The text of the n-th ancestor of a row, 0 being the parent.
pub(crate) fn ancestor(column: Option<&Column>, row: usize, index: usize) -> Option<&[u8]> {
    let Some(Column::Texts(list)) = column else { return None };
    list.items.view().get(list.nth(row, index)?)
}

/// Falco's command line: the short name, then the arguments.
fn cmdline(comm: Option<&[u8]>, args: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    let args = args.filter(|args| !args.is_empty());
    put(out, comm) && args.is_none_or(|args| put(out, Some(b" ")) && put(out, Some(args)))
}

fn word<'a>(args: &'a [u8], arg: &FieldArg) -> &'a [u8] {
    match arg {
        FieldArg::Index(index) => args.split(|b| *b == b' ').nth(*index).unwrap_or_default(),
        _ => args,
    }
}

/// The whole environment, or the value of one variable.
fn variable<'a>(env: &'a [u8], arg: &FieldArg) -> Option<&'a [u8]> {
    let FieldArg::Key(name) = arg else { return Some(env) };
    env.split(|b| *b == b' ').find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Falco's working directory ends with a slash.
fn put_directory(cwd: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(cwd);
    out.extend_from_slice(if cwd.ends_with(b"/") { b"" } else { b"/" });
}

/// Appends a path with one slash for several in a row.
pub(super) fn put_squeezed(path: &[u8], out: &mut Vec<u8>) {
    let is_repeated = |at: usize| at > 0 && path[at] == b'/' && path[at - 1] == b'/';
    out.extend((0..path.len()).filter(|at| !is_repeated(*at)).map(|at| path[at]));
}

/// Holds one of the words, which are separated by `|`.
pub(super) fn has_word(flags: Option<&[u8]>, words: &[&str]) -> bool {
    flags.is_some_and(|flags| flags.split(|b| *b == b'|').any(|flag| words.iter().any(|word| word.as_bytes() == flag)))
}

/// Opens a file with flags.
pub(super) fn is_open(event: &[u8]) -> bool {
    matches!(event, b"open" | b"openat" | b"openat2" | b"open_by_handle_at")
}

pub(super) fn io_direction(event: Option<&[u8]>) -> Option<&'static str> {
    match event? {
        b"read" | b"readv" | b"pread" | b"pread64" | b"preadv" | b"preadv2" | b"recv" | b"recvfrom" | b"recvmsg"
        | b"recvmmsg" => Some("read"),
        b"write" | b"writev" | b"pwrite" | b"pwrite64" | b"pwritev" | b"pwritev2" | b"send" | b"sendto"
        | b"sendmsg" | b"sendmmsg" => Some("write"),
        _ => None,
    }
}

/// The process is the side that accepted the connection: as its descriptor says, else by the call.
fn is_server(i: &[Column], row: usize) -> bool {
    let by_descriptor = i.get(1).and_then(|column| column.flag(row));
    let event = i.first().and_then(|column| column.text(row));
    by_descriptor.unwrap_or_else(|| event.is_some_and(is_accepting))
}

/// A call of the side that accepts connections.
pub(super) fn is_accepting(event: &[u8]) -> bool {
    matches!(event, b"accept" | b"accept4" | b"listen" | b"bind")
}

/// Falco's name for the kind of a row's descriptor, given the inputs that hold type of event and kind. A call that
/// failed has none.
pub(super) fn fd_kind(i: &[Column], row: usize, event: usize, kind: usize) -> Option<&[u8]> {
    i.get(event)?.text(row).filter(|event| has_fd(event))?;
    i.get(kind)?.text(row)
}

/// Falco's letter for a kind of descriptor; what a call was to open that failed is a file.
pub(super) fn fd_type_char(kind: Option<&[u8]>, is_open: bool) -> &'static [u8] {
    match kind {
        Some(b"file") => b"f",
        Some(b"directory") => b"d",
        Some(b"ipv4") => b"4",
        Some(b"ipv6") => b"6",
        Some(b"unix") => b"u",
        Some(b"pipe") => b"p",
        Some(b"event") => b"e",
        Some(b"signalfd") => b"s",
        Some(b"eventpoll") => b"l",
        Some(b"inotify") => b"i",
        Some(b"timerfd") => b"t",
        Some(b"netlink") => b"n",
        Some(b"bpf") => b"b",
        Some(b"userfaultfd") => b"u",
        Some(b"io_uring") => b"r",
        Some(b"memfd") => b"m",
        Some(b"pidfd") => b"P",
        None if is_open => b"f",
        _ => b"o",
    }
}

/// A transport that Falco knows by name.
pub(super) fn is_transport(proto: &[u8]) -> bool {
    matches!(proto, b"tcp" | b"udp" | b"icmp" | b"raw")
}
