//! Computed fields for all rows of a batch at once, where event types and columns decide them.
//!
//! [`Derived::text`] and its likes say what a value is, row by row; what is here gives the same faster.

use super::FieldArg;
use super::derive::{Derived, fd_type_char, has_word, io_direction, is_accepting, is_open};
use super::event_type::has_fd;
use super::fd;
use crate::eval::bits::Bits;
use crate::eval::column::{Column, FlagColumn, NumberColumn};
use crate::eval::pieces::{Cut, Origin, Piece};
use crate::eval::text::{Memo, TextColumn};
use crate::eval::types::Types;
use memchr::memmem::Finder;
use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use Derived as D;

/// Pieces, and whether all other rows have no value.
type Found = (Vec<Piece>, bool);

impl Derived {
    /// The value in pieces, for fields that have it so; `inputs` as [`Derived::inputs`] lists them.
    pub(crate) fn pieces(self, inputs: &[Column], arg: &FieldArg, types: &Types) -> Option<Found> {
        let text = |index: usize| match inputs.get(index) {
            Some(Column::Text(column)) => Some(column),
            _ => None,
        };
        let of_fd = || types.rows_named(has_fd);
        let identity = |column: &TextColumn, rows: Bits| vec![Piece::of(column, rows)];
        match self {
            D::IoDirection => {
                let direction = |wanted: &'static str| Piece {
                    rows: types.rows_named(|name| io_direction(Some(name)) == Some(wanted)),
                    from: Origin::Constant(wanted.as_bytes()),
                };
                Some((vec![direction("read"), direction("write")], true))
            }
            D::ParentName => Some((identity(text(0)?, types.all()), false)),
            D::ProcArguments | D::Environment if *arg == FieldArg::None => {
                Some((identity(text(0)?, types.all()), true))
            }
            D::Cwd => Some((vec![Piece::cut(text(0)?, types.all(), with_slash)], true)),
            D::L4Proto => Some((vec![Piece::cut(text(0)?, types.all(), transport)], true)),
            D::FdType => Some((identity(text(1)?, of_fd()), true)),
            D::SockFamily => Some((vec![Piece::cut(text(1)?, of_fd(), family)], true)),
            D::FdTypeChar => Some((fd_type_chars(text(1), types), true)),
            D::FdName => Some((identity(text(1)?, of_fd()), false)),
            D::FdNameRaw => Some((vec![Piece::cut(text(1)?, of_fd(), squeezed)], true)),
            D::FdDirectory => Some((directories(text(1)?, text(2), types), true)),
            D::FdFilename => {
                let path = text(1)?;
                let files = with_kind(text(2), of_fd(), b"file");
                Some((vec![Piece::cut(path, files, |path| Some(Cow::Borrowed(fd::last_component(path))))], true))
            }
            D::ClientAddress | D::ServerAddress | D::ClientName | D::ServerName => {
                let is_client = matches!(self, D::ClientAddress | D::ClientName);
                let mut remote = types.all();
                if is_client {
                    remote.and(&servers(inputs, types))
                } else {
                    remote.minus(&servers(inputs, types))
                }
                let mut local = types.all();
                local.minus(&remote);
                let piece = |column: Option<&TextColumn>, rows| column.map(|column| Piece::of(column, rows));
                Some((piece(text(2), local).into_iter().chain(piece(text(3), remote)).collect(), true))
            }
            _ => None,
        }
    }

    /// The numbers of all rows, for fields that are made of whole columns.
    pub(crate) fn numbers(self, inputs: &[Column], types: &Types) -> Option<NumberColumn> {
        match self {
            D::FdNumber => Some(fd_numbers(inputs, types)),
            D::ClientPort => Some(ports(inputs, types, true)),
            D::ServerPort => Some(ports(inputs, types, false)),
            D::Duration | D::ParentDuration | D::ContainerDuration | D::CtimeToProcStart | D::CtimeToPidnsStart => {
                Some(difference(inputs, types))
            }
            _ => None,
        }
    }

    /// The truth values of all rows, for fields that event types and flags decide.
    pub(crate) fn flags(self, inputs: &[Column], types: &Types) -> Option<FlagColumn> {
        let io = |is_wanted: fn(&str) -> bool| types.rows_named(|name| io_direction(Some(name)).is_some_and(is_wanted));
        let number = |index: usize, test: fn(i64) -> bool| {
            move |row: usize| inputs.get(index).and_then(|column| column.number(row)).is_some_and(test)
        };
        let opened = |words: &'static [&'static str]| {
            let mut rows = types.rows_named(is_open);
            match inputs.get(1) {
                Some(Column::Text(flags)) => {
                    flags.view().retain(&mut rows, &mut Memo::default(), |flags| has_word(Some(flags), words));
                }
                _ => rows = Bits::none(rows.rows()),
            }
            rows
        };
        let is_true = match self {
            D::IsIo => io(|_| true),
            D::IsIoRead => io(|direction| direction == "read"),
            D::IsIoWrite => io(|direction| direction == "write"),
            D::IsOpenRead => opened(&["O_RDONLY", "O_RDWR"]),
            D::IsOpenWrite => opened(&["O_WRONLY", "O_RDWR"]),
            D::IsOpenExec => {
                let mut made = types.rows_named(|name| name == b"creat");
                made.or(&opened(&["O_CREAT", "O_TMPFILE"]));
                made.retain(number(2, |mode| mode & 0o111 != 0));
                made
            }
            D::IsOpenCreate => {
                let mut made = opened(&["O_TMPFILE"]);
                made.retain(number(3, |result| result >= 0));
                made.or(&opened(&["O_F_CREATED"]));
                made
            }
            _ => return None,
        };
        // Whether a call is input or output is known of calls without type, too: it is none.
        let is_about_io = matches!(self, D::IsIo | D::IsIoRead | D::IsIoWrite);
        let valid = if is_about_io { None } else { Some(Arc::new(types.typed())) };
        Some(FlagColumn { is_true: Arc::new(is_true), valid })
    }
}

/// The numbers of descriptors; inputs as `Derived::FdNumber` lists them.
fn fd_numbers(inputs: &[Column], types: &Types) -> NumberColumn {
    let Numbers { mut values, mut valid } = Numbers::new(inputs.get(1), types);
    // A call that fails to make a descriptor has the descriptor -1.
    let mut failed = types.rows_named(has_fd);
    failed.minus(&valid);
    failed.retain(|row| inputs.get(2).and_then(|column| column.number(row)).is_some_and(|result| result < 0));
    failed.iter().for_each(|row| values[row] = -1);
    valid.or(&failed);
    NumberColumn { values: values.into(), valid: Some(Arc::new(valid)) }
}

/// The ports of one side; inputs as `Derived::ClientPort` lists them.
fn ports(inputs: &[Column], types: &Types, of_client: bool) -> NumberColumn {
    let mut is_remote = types.all();
    let servers = servers(inputs, types);
    if of_client {
        is_remote.and(&servers)
    } else {
        is_remote.minus(&servers)
    }
    let (mut local, mut remote) = (Numbers::new(inputs.get(2), types), Numbers::new(inputs.get(3), types));
    local.valid.minus(&is_remote);
    remote.valid.and(&is_remote);
    remote.valid.iter().for_each(|row| local.values[row] = remote.values[row]);
    local.valid.or(&remote.valid);
    NumberColumn { values: local.values.into(), valid: Some(Arc::new(local.valid)) }
}

/// The first column less the second.
fn difference(inputs: &[Column], types: &Types) -> NumberColumn {
    let (mut first, second) = (Numbers::new(inputs.first(), types), Numbers::new(inputs.get(1), types));
    first.valid.and(&second.valid);
    first.values.iter_mut().zip(&second.values).for_each(|(a, b)| *a = a.saturating_sub(*b));
    NumberColumn { values: first.values.into(), valid: Some(Arc::new(first.valid)) }
}

/// Numbers that can be changed.
struct Numbers {
    values: Vec<i64>,
    valid: Bits,
}

impl Numbers {
    /// A copy of a column; no values where it holds no numbers.
    fn new(column: Option<&Column>, types: &Types) -> Self {
        match column {
            Some(Column::Number(column)) => Self {
                values: column.values.to_vec(),
                valid: column.valid.as_ref().map_or_else(|| types.all(), |valid| valid.as_ref().clone()),
            },
            _ => Self { values: vec![0; types.all().rows()], valid: Bits::none(types.all().rows()) },
        }
    }
}

impl Piece {
    /// The rows of `rows` that have a text in `column`, which is their value.
    fn of(column: &TextColumn, rows: Bits) -> Self {
        Self { rows: existing(column, rows), from: Origin::Column(column.clone()) }
    }

    fn cut(column: &TextColumn, rows: Bits, cut: Cut) -> Self {
        Self { rows: existing(column, rows), from: Origin::Cut(column.clone(), cut) }
    }
}

fn existing(column: &TextColumn, mut rows: Bits) -> Bits {
    if let Some(valid) = column.view().valid {
        rows.and(valid);
    }
    rows
}

/// The rows whose descriptor is of a kind.
fn with_kind(kinds: Option<&TextColumn>, mut rows: Bits, wanted: &'static [u8]) -> Bits {
    match kinds {
        Some(kinds) => kinds.view().retain(&mut rows, &mut Memo::default(), |kind| kind == wanted),
        None => rows = Bits::none(rows.rows()),
    }
    rows
}

/// The rows whose descriptor is of no kind: the call failed.
fn without_kind(kinds: Option<&TextColumn>, mut rows: Bits) -> Bits {
    match kinds.map(|kinds| kinds.view().valid) {
        Some(Some(valid)) => rows.minus(valid),
        Some(None) => rows = Bits::none(rows.rows()),
        None => {}
    }
    rows
}

fn directories(path: &TextColumn, kinds: Option<&TextColumn>, types: &Types) -> Vec<Piece> {
    let of_fd = types.rows_named(has_fd);
    let mut below = without_kind(kinds, types.rows_named(|name| is_open(name) || name == b"creat"));
    below.or(&with_kind(kinds, of_fd.clone(), b"file"));
    below.and(&of_fd);
    let itself = with_kind(kinds, of_fd, b"directory");
    vec![Piece::of(path, itself), Piece::cut(path, below, |path| Some(Cow::Borrowed(fd::parent(path))))]
}

fn fd_type_chars(kinds: Option<&TextColumn>, types: &Types) -> Vec<Piece> {
    let unknown = without_kind(kinds, types.rows_named(has_fd));
    let mut opened = types.rows_named(|name| is_open(name) || name == b"creat");
    opened.and(&unknown);
    let mut others = unknown;
    others.minus(&opened);
    let known = kinds.map(|kinds| {
        Piece::cut(kinds, types.rows_named(has_fd), |kind| Some(Cow::Borrowed(fd_type_char(Some(kind), false))))
    });
    let constant = |rows: Bits, is_open: bool| Piece { rows, from: Origin::Constant(fd_type_char(None, is_open)) };
    known.into_iter().chain([constant(opened, true), constant(others, false)]).collect()
}

/// The rows whose process is the side that accepted the connection.
fn servers(inputs: &[Column], types: &Types) -> Bits {
    let by_call = types.rows_named(is_accepting);
    let Some(Column::Flag(flag)) = inputs.get(1) else { return by_call };
    let Some(valid) = &flag.valid else { return flag.is_true.as_ref().clone() };
    let mut servers = by_call;
    servers.minus(valid);
    let mut said = flag.is_true.as_ref().clone();
    said.and(valid);
    servers.or(&said);
    servers
}

/// Falco's working directory ends with a slash.
fn with_slash(cwd: &[u8]) -> Option<Cow<'_, [u8]>> {
    if cwd.ends_with(b"/") { Some(Cow::Borrowed(cwd)) } else { Some(Cow::Owned([cwd, b"/"].concat())) }
}

fn transport(proto: &[u8]) -> Option<Cow<'_, [u8]>> {
    super::derive::is_transport(proto).then_some(Cow::Borrowed(proto))
}

fn family(kind: &[u8]) -> Option<Cow<'_, [u8]>> {
    fd::family(Some(kind)).map(Cow::Borrowed)
}

/// A path with one slash for several in a row.
fn squeezed(path: &[u8]) -> Option<Cow<'_, [u8]>> {
    static TWO: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"//"));
    if TWO.find(path).is_none() {
        return Some(Cow::Borrowed(path));
    }
    let mut out = Vec::with_capacity(path.len());
    super::derive::put_squeezed(path, &mut out);
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Events;
    use crate::eval::batch::View;
    use arrow::array::{ArrayRef, BooleanArray, DictionaryArray, Int64Array, StringArray, StringViewArray};
    use arrow::datatypes::Int32Type;
    use arrow::record_batch::RecordBatch;

    const TEXTS: &[(&str, &[Option<&str>])] = &[
        (
            "evt_type",
            &[
                Some("openat"),
                Some("creat"),
                Some("read"),
                Some("sendto"),
                Some("accept4"),
                Some("fork"),
                Some("what"),
                None,
            ],
        ),
        ("path", &[Some("/etc/x"), Some("/"), Some("a//b/"), None]),
        ("path_raw", &[Some("..//x"), Some("/a/b"), None]),
        ("fd_type", &[Some("file"), Some("directory"), Some("ipv4"), Some("pipe"), None]),
        ("flags", &[Some("O_RDONLY"), Some("O_CREAT|O_RDWR"), Some("O_TMPFILE|O_WRONLY"), Some("O_F_CREATED"), None]),
        ("pname", &[Some("sh"), None]),
        ("cwd", &[Some("/"), Some("/a"), None]),
        ("args", &[Some("-a b"), Some(""), None]),
        ("env", &[Some("A=1"), None]),
        ("proto", &[Some("tcp"), Some("what"), None]),
        ("local_addr", &[Some("10.0.0.1"), None]),
        ("remote_addr", &[Some("::1"), None]),
        ("local_name", &[Some("a.example"), None]),
        ("remote_name", &[None]),
        ("container_id", &[Some("host")]),
    ];

    /// Rows in which the values of all columns meet in many ways; texts in one of three forms.
    fn events(form: usize, leave_out: &str) -> RecordBatch {
        let rows = 0..600_usize;
        let pick = |index: usize, row: usize, of: usize| (row * (2 * index + 7) / 3 + row / (index + 5)) % of;
        let texts = TEXTS.iter().enumerate().map(|(index, (name, values))| {
            let column = rows.clone().map(|row| values[pick(index, row, values.len())]);
            let column: ArrayRef = match form {
                0 => Arc::new(column.collect::<StringArray>()),
                1 => Arc::new(column.collect::<DictionaryArray<Int32Type>>()),
                _ => Arc::new(column.collect::<StringViewArray>()),
            };
            (*name, column)
        });
        let numbers = ["fd", "result", "mode", "local_port", "remote_port", "ts_ns", "proc_start_ns"]
            .into_iter()
            .enumerate()
            .map(|(index, name)| {
                let number = |row| [Some(3), Some(-2), None, Some(0o755)][pick(index, row, 4)];
                (name, Arc::new(rows.clone().map(number).collect::<Int64Array>()) as ArrayRef)
            });
        let flag = |row| [Some(true), Some(false), None][pick(9, row, 3)];
        let flags = ("fd_is_server", Arc::new(rows.clone().map(flag).collect::<BooleanArray>()) as ArrayRef);
        let columns = texts.chain(numbers).chain([flags]).filter(|(name, _)| *name != leave_out);
        RecordBatch::try_from_iter(columns).unwrap()
    }

    /// What is given for a whole batch is what is given row by row, whatever the form of the columns.
    #[test]
    fn whole_batches_and_rows_agree() {
        let texts = [
            D::IoDirection,
            D::ParentName,
            D::ProcArguments,
            D::Environment,
            D::Cwd,
            D::L4Proto,
            D::FdType,
            D::SockFamily,
            D::FdTypeChar,
            D::FdName,
            D::FdNameRaw,
            D::FdDirectory,
            D::FdFilename,
            D::ClientAddress,
            D::ServerAddress,
            D::ClientName,
            D::ServerName,
        ];
        let flags = [D::IsIo, D::IsIoRead, D::IsIoWrite, D::IsOpenRead, D::IsOpenWrite, D::IsOpenExec, D::IsOpenCreate];
        let numbers = [D::FdNumber, D::ClientPort, D::ServerPort, D::Duration];
        for form in 0..3 {
            for leave_out in ["", "fd_type", "path", "fd_is_server", "flags", "evt_type", "fd"] {
                let events = events(form, leave_out);
                let mut view = View::new(Events::Batch(&events), &[]);
                let mut inputs_of =
                    |derived: D| derived.inputs().iter().map(|name| view.base(name)).collect::<Vec<_>>();
                let all: Vec<(D, Vec<Column>)> =
                    texts.iter().chain(&flags).chain(&numbers).map(|d| (*d, inputs_of(*d))).collect();
                let types = view.types().unwrap();
                for (derived, inputs) in all {
                    agree(derived, &inputs, types, &format!("{derived:?} form {form} without '{leave_out}'"));
                }
            }
        }
    }

    fn agree(derived: D, inputs: &[Column], types: &Types, what: &str) {
        let rows = types.all().rows();
        if let Some(numbers) = derived.numbers(inputs, types) {
            (0..rows).for_each(|row| {
                assert_eq!(numbers.get(row), derived.number(inputs, row, &FieldArg::None), "{what} row {row}");
            });
            return;
        }
        if let Some(flags) = derived.flags(inputs, types) {
            (0..rows).for_each(|row| assert_eq!(flags.get(row), derived.flag(inputs, row), "{what} row {row}"));
            return;
        }
        let Some((pieces, is_whole)) = derived.pieces(inputs, &FieldArg::None, types) else { return };
        let pieces = crate::eval::pieces::Pieces::new(pieces, None);
        for row in 0..rows {
            let mut expected = Vec::new();
            let has_value = derived.text(inputs, row, &FieldArg::None, &mut expected);
            let found = pieces.get(row);
            if is_whole || found.is_some() {
                assert_eq!(found.as_deref(), has_value.then_some(expected.as_slice()), "{what} row {row}");
            }
        }
    }
}
