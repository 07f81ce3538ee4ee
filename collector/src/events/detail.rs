//! The columns of `events` that depend on the kind of the event.

use super::arguments::ArgumentColumn;
use super::endpoint::{self, Ends};
use super::flags::{FlagKind, describe, exe};
use super::paths::PathColumns;
use super::process_columns::Named;
use super::sockets::{SocketNote, SocketTable};
use super::sparse::Sparse;
use super::text::{ConstColumn, MadeColumn};
use crate::lossy::lossy;
use crate::process::{Lineage, ProcessTable};
use arrow::array::{BinaryBuilder, BooleanBuilder, Int32Builder, Int64Builder, StringBuilder};
use arrow::error::ArrowError;
use bodkin_ebpf::event::{Body, Descriptor, Event, Exec, Open, Paths, Socket};
use bodkin_ebpf::layout::layer;
use bodkin_schema::events as e;
use std::fmt::Write as _;

const O_CREAT: u64 = 0o100;
const O_TMPFILE: u64 = 0o20_000_000;
const S_IFMT: u32 = 0o170_000;
const S_IFSOCK: u32 = 0o140_000;

const FLAGS: [&str; 5] =
    [e::FD_IS_SERVER, e::FD_CONNECTED, e::FD_NAME_CHANGED, e::FD_IS_UPPER_LAYER, e::FD_IS_LOWER_LAYER];

/// Builders of the columns. A row costs what it says: what it leaves out is null.
#[derive(Debug, Default)]
pub(super) struct DetailColumns {
    paths: PathColumns,
    fd: Sparse<Int32Builder>,
    fd_type: ConstColumn,
    flags: MadeColumn<(FlagKind, u64)>,
    mode: Sparse<Int32Builder>,
    ends: Ends,
    booleans: [Sparse<BooleanBuilder>; FLAGS.len()],
    fd_dev: Sparse<Int64Builder>,
    fd_ino: Sparse<Int64Builder>,
    env: Sparse<StringBuilder>,
    env_bytes: usize,
    buffer: Sparse<BinaryBuilder>,
    arguments: ArgumentColumn,
}

/// The values of a row that are not texts of their own.
#[derive(Default)]
struct Row<'a> {
    fd: Option<i32>,
    fd_type: Option<&'static str>,
    flags: Option<(FlagKind, u64)>,
    mode: Option<u64>,
    socket: Option<&'a Socket<'a>>,
    note: SocketNote,
    file: Option<File>,
    data: Option<&'a [u8]>,
}

/// An inode behind a descriptor.
struct File {
    ino: u64,
    dev: u32,
    layer: u16,
}

impl DetailColumns {
    /// Says in row `at` what is particular to `event`.
    pub(super) fn put(
        &mut self,
        at: usize,
        event: &Event<'_>,
        table: &ProcessTable,
        sockets: &mut SocketTable,
    ) -> Result<(), ArrowError> {
        self.arguments.put(at, event, table.users())?;
        self.paths.set_row(at);
        let row = match &event.body {
            Body::Exec(exec) => {
                self.environment(at, exec);
                Row { flags: exe_flags(table.lineage(event.head.tgid)), ..Row::default() }
            }
            Body::Fork(fork) => {
                let flags = (fork.clone_flags != 0).then_some((FlagKind::Clone, fork.clone_flags));
                Row { flags, ..Row::default() }
            }
            Body::Exit(_) | Body::Reparent(_) | Body::Plain(_) | Body::Move(_) | Body::Flow(_) => return Ok(()),
            Body::Identity(identity) => Row { flags: flags_of(event.name, identity.args), ..Row::default() },
            Body::Open(open) => self.open(event, open),
            Body::Paths(paths) => self.paths(event, paths),
            Body::Socket(socket) => self.socket(event, socket, sockets),
            Body::Descriptor(descriptor) => self.descriptor(event, descriptor, sockets),
        };
        self.put_row(at, &row, sockets);
        Ok(())
    }

    /// Bytes of texts appended so far.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.paths.bytes() + self.flags.bytes() + self.ends.bytes();
        texts + self.env_bytes + self.arguments.bytes()
    }

    pub(super) fn finish(&mut self, rows: usize) -> Result<Vec<Named>, ArrowError> {
        let mut columns: Vec<Named> = vec![
            (e::FD, self.fd.finish(rows)),
            (e::FD_TYPE, self.fd_type.finish(rows)?),
            (e::FLAGS, self.flags.finish(rows)?),
            (e::MODE, self.mode.finish(rows)),
            (e::FD_DEV, self.fd_dev.finish(rows)),
            (e::FD_INO, self.fd_ino.finish(rows)),
            (e::ENV, self.env.finish(rows)),
            (e::BUFFER, self.buffer.finish(rows)),
            (e::EVT_ARGS, self.arguments.finish(rows)?),
        ];
        self.env_bytes = 0;
        columns.extend(self.paths.finish(rows));
        columns.extend(self.ends.finish(rows)?);
        columns.extend(FLAGS.into_iter().zip(&mut self.booleans).map(|(name, column)| (name, column.finish(rows))));
        Ok(columns)
    }

    fn environment(&mut self, at: usize, exec: &Exec<'_>) {
        let env = exec.env.strip_suffix(&[0]).unwrap_or(exec.env);
        let text = lossy(env);
        self.env_bytes += text.len();
        let column = self.env.at(at);
        // Writing to a column does not fail.
        for (number, variable) in text.split('\0').enumerate() {
            let _ = column.write_str(if number > 0 { " " } else { "" }).and_then(|()| column.write_str(variable));
        }
        column.append_value("");
    }

    fn open<'a>(&mut self, event: &Event<'_>, open: &Open<'_>) -> Row<'a> {
        self.paths.one(&open.name);
        let makes_file = open.flags & (O_CREAT | O_TMPFILE) != 0 || event.name == "creat";
        let fd = i32::try_from(event.head.ret).ok().filter(|fd| *fd >= 0);
        Row {
            fd,
            fd_type: fd.map(|_| endpoint::file_kind(open.inode_mode).unwrap_or("file")),
            flags: Some((FlagKind::Open, open.flags)),
            mode: makes_file.then_some(u64::from(open.mode)),
            file: fd.map(|_| File { ino: open.ino, dev: open.dev, layer: open.layer }),
            ..Row::default()
        }
    }

    fn paths<'a>(&mut self, event: &Event<'_>, paths: &Paths<'_>) -> Row<'a> {
        self.paths.append(event, paths);
        let mode = match event.name {
            "mkdir" | "mknod" | "chmod" => Some(paths.args[1]),
            "mkdirat" | "mknodat" | "fchmodat" | "fchmodat2" => Some(paths.args[2]),
            _ => None,
        };
        Row { flags: flags_of(event.name, paths.args), mode, ..Row::default() }
    }

    fn socket<'a>(&mut self, event: &Event<'_>, socket: &'a Socket<'a>, sockets: &mut SocketTable) -> Row<'a> {
        self.paths.unix(socket);
        // A failed accept has no descriptor of its own.
        let is_accept = matches!(event.name, "accept" | "accept4");
        Row {
            fd: (socket.fd >= 0 && (event.head.ret >= 0 || !is_accept)).then_some(socket.fd),
            fd_type: endpoint::socket_kind(socket),
            socket: Some(socket),
            note: sockets.note(event.name, event.head.ret, socket),
            file: (socket.ino != 0).then_some(File { ino: socket.ino, dev: 0, layer: 0 }),
            data: (!socket.data.is_empty()).then_some(socket.data),
            ..Row::default()
        }
    }

    fn descriptor<'a>(&mut self, event: &Event<'_>, d: &'a Descriptor<'a>, sockets: &mut SocketTable) -> Row<'a> {
        let is_socket = u32::from(d.inode_mode) & S_IFMT == S_IFSOCK;
        let anonymous = endpoint::anonymous_kind(d);
        let fd_type = match anonymous {
            _ if is_socket => endpoint::socket_kind(&d.socket),
            Some(kind) => Some(kind),
            None => endpoint::file_kind(u32::from(d.inode_mode)),
        };
        match (is_socket, anonymous) {
            (false, None) if !d.path.bytes.is_empty() => self.paths.walked(&d.path),
            (false, Some("memfd")) => self.paths.text(d.path.bytes.split(|byte| *byte == 0).next().unwrap_or_default()),
            _ => {}
        }
        Row {
            fd: (d.socket.fd >= 0).then_some(d.socket.fd),
            fd_type,
            flags: flags_of(event.name, d.args),
            mode: (event.name == "fchmod").then_some(d.args[1]),
            socket: is_socket.then_some(&d.socket),
            note: if is_socket { sockets.note(event.name, event.head.ret, &d.socket) } else { SocketNote::default() },
            file: (d.ino != 0).then_some(File { ino: d.ino, dev: d.dev, layer: d.layer }),
            data: matches!(event.name, "read" | "write" | "pread64" | "pwrite64").then_some(d.text),
        }
    }

    fn put_row(&mut self, at: usize, row: &Row<'_>, sockets: &SocketTable) {
        if let Some(fd) = row.fd {
            self.fd.at(at).append_value(fd);
        }
        if let Some(fd_type) = row.fd_type {
            self.fd_type.put(at, fd_type);
        }
        if let Some((kind, value)) = row.flags {
            self.flags.put(at, (kind, value), |text| describe(kind, value, text));
        }
        if let Some(mode) = row.mode {
            self.mode.at(at).append_value((mode & 0o7777) as i32);
        }
        if let Some(socket) = row.socket {
            self.ends.put(at, socket, &sockets.names);
        }
        if let Some(file) = &row.file {
            self.fd_ino.at(at).append_value(file.ino as i64);
        }
        let on_disk = row.file.as_ref().filter(|file| file.dev != 0);
        if let Some(file) = on_disk {
            self.fd_dev.at(at).append_value(i64::from(file.dev));
        }
        let layer = |bit: u16| on_disk.map(|file| file.layer & bit != 0);
        let note = row.note;
        let values =
            [note.is_server, note.is_connected, note.is_name_changed, layer(layer::UPPER), layer(layer::LOWER)];
        for (column, value) in self.booleans.iter_mut().zip(values) {
            if let Some(value) = value {
                column.at(at).append_value(value);
            }
        }
        if let Some(data) = row.data {
            self.buffer.at(at).append_value(data);
        }
    }
}

fn flags_of(name: &str, args: [u64; 6]) -> Option<(FlagKind, u64)> {
    let (kind, at) = FlagKind::of_call(name)?;
    args.get(at).map(|value| (kind, *value))
}

/// What Falco calls the flags of an exec: where its executable lies.
fn exe_flags(lineage: Option<Lineage<'_>>) -> Option<(FlagKind, u64)> {
    let process = lineage?.process;
    let layer = process.file.map_or(0, |file| file.layer);
    let bits = [
        (process.is_exe_writable == Some(true), exe::WRITABLE),
        (layer & layer::UPPER != 0, exe::UPPER_LAYER),
        (layer & layer::MEMFD != 0, exe::FROM_MEMFD),
        (layer & layer::LOWER != 0, exe::LOWER_LAYER),
    ];
    let value = bits.iter().filter(|(is_set, _)| *is_set).fold(0, |value, (_, bit)| value | bit);
    Some((FlagKind::Exe, value))
}
