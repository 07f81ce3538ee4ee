//! The Arrow builder of `events`.

use super::PROCESS_TEXTS;
use super::detail::DetailColumns;
use super::text::{ConstColumn, TextColumn, constant};
use crate::process::Process;
use arrow::array::{
    ArrayRef, BooleanBuilder, Int32Builder, Int64Array, Int64Builder, RecordBatch, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use bodkin_ebpf::event::{Body, Event, Head};
use bodkin_ebpf::layout::flag;
use bodkin_schema::{Incarnation, Stream, events};
use std::sync::{Arc, LazyLock};

/// Columns of text that repeat, so that a dictionary is smaller than the texts; paths are mostly distinct.
const DICTIONARIES: [&str; 17] = [
    events::HOST,
    events::HOST_ID,
    events::EVT_TYPE,
    events::PNAME,
    events::USER,
    events::COMM,
    events::EXE,
    events::EXE_ARG0,
    events::CMDLINE,
    events::ARGS,
    events::CWD,
    events::FD_TYPE,
    events::FLAGS,
    events::PROTO,
    events::LOCAL_ADDR,
    events::REMOTE_ADDR,
    events::CONTAINER_ID,
];

/// Who sends: the same in every row.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Host name.
    pub host: Arc<str>,
    /// Stable identity of the host.
    pub host_id: Arc<str>,
    /// This life of the agent.
    pub incarnation: Incarnation,
}

/// The schema of a batch of `events` as the agent sends it: that of the stream, repeating texts as dictionaries,
/// without comments.
pub fn wire_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let fields: Vec<Field> = Stream::Events.schema().fields().iter().map(|field| wire_field(field)).collect();
        Arc::new(Schema::new(fields))
    });
    SCHEMA.clone()
}

fn wire_field(field: &Field) -> Field {
    let is_dictionary = DICTIONARIES.contains(&field.name().as_str());
    let data_type = if is_dictionary {
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
    } else {
        field.data_type().clone()
    };
    Field::new(field.name(), data_type, field.is_nullable())
}

/// Columns of a batch of `events` in the making.
#[derive(Debug)]
pub struct EventsBuilder {
    origin: Origin,
    /// Number of the batch, from 1: what [`RowKeys`](super::RowKeys) are valid for.
    batch: u64,
    rows: usize,
    ts_ns: Vec<i64>,
    cpu: Int32Builder,
    seq: Int64Builder,
    evt_type: ConstColumn,
    pid: Int32Builder,
    tid: Int32Builder,
    uid: Int64Builder,
    result: Int64Builder,
    cgroup_id: Int64Builder,
    truncated: BooleanBuilder,
    texts: [TextColumn; PROCESS_TEXTS],
    ppid: Int32Builder,
    loginuid: Int64Builder,
    tty: Int32Builder,
    detail: DetailColumns,
}

impl EventsBuilder {
    /// An empty builder.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            batch: 1,
            rows: 0,
            ts_ns: Vec::new(),
            cpu: Int32Builder::new(),
            seq: Int64Builder::new(),
            evt_type: ConstColumn::default(),
            pid: Int32Builder::new(),
            tid: Int32Builder::new(),
            uid: Int64Builder::new(),
            result: Int64Builder::new(),
            cgroup_id: Int64Builder::new(),
            truncated: BooleanBuilder::new(),
            texts: Default::default(),
            ppid: Int32Builder::new(),
            loginuid: Int64Builder::new(),
            tty: Int32Builder::new(),
            detail: DetailColumns::default(),
        }
    }

    /// Appends the row of `event`, which `process` did. `wall_offset_ns` is wall-clock time minus boot time.
    pub fn append(&mut self, event: &Event<'_>, process: &mut Process, wall_offset_ns: i64) {
        self.append_head(&event.head, event.name, wall_offset_ns);
        self.append_process(process);
        self.detail.append(event);
        self.rows += 1;
    }

    /// Appends a row about a process as a whole, for sources that are no kernel event.
    pub fn append_process_event(
        &mut self,
        head: &Head,
        name: &'static str,
        process: &mut Process,
        wall_offset_ns: i64,
    ) {
        self.append(&Event { head: *head, name, body: Body::Exit }, process, wall_offset_ns);
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of texts so far; the other columns take about 130 bytes a row.
    pub fn text_bytes(&self) -> usize {
        self.texts.iter().map(TextColumn::bytes).sum::<usize>() + self.detail.bytes()
    }

    /// The batch; the builder is empty afterwards.
    ///
    /// # Errors
    /// If columns do not fit the schema: not for any input.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let columns = self.finish_columns()?;
        self.rows = 0;
        self.batch += 1;
        RecordBatch::try_new(wire_schema(), columns)
    }

    fn append_head(&mut self, head: &Head, name: &'static str, wall_offset_ns: i64) {
        self.ts_ns.push(wall_offset_ns.wrapping_add(head.boot_ns as i64));
        self.cpu.append_value(i32::from(head.cpu));
        self.seq.append_value(head.seq as i64);
        self.evt_type.push(Some(name));
        self.pid.append_value(head.tgid as i32);
        self.tid.append_value(head.tid as i32);
        self.uid.append_value(i64::from(head.uid));
        self.result.append_value(head.ret);
        self.cgroup_id.append_value(head.cgroup_id as i64);
        self.truncated.append_value(head.flags & flag::TRUNCATED != 0);
    }

    fn append_process(&mut self, process: &mut Process) {
        if process.keys.batch != self.batch {
            self.look_up(process);
        }
        for (column, key) in self.texts.iter_mut().zip(process.keys.keys) {
            column.push(key);
        }
        self.ppid.append_option(process.ppid.map(|pid| pid as i32));
        self.loginuid.append_option(process.loginuid.map(i64::from));
        self.tty.append_option(process.tty);
    }

    /// Finds the keys of the process's texts; the order is that of [`finish_columns`](Self::finish_columns).
    fn look_up(&mut self, process: &mut Process) {
        let [pname, user, comm, exe, arg0, cmdline, args, cwd, container_id] = &mut self.texts;
        process.keys.keys = [
            pname.key_opt(process.pname.as_ref()),
            user.key_opt(process.user.as_ref()),
            comm.key_opt(process.comm.as_ref()),
            exe.key_opt(process.exe.as_ref()),
            arg0.key_opt(process.arg0.as_ref()),
            cmdline.key_opt(process.cmdline.as_ref()),
            args.key_opt(process.args.as_ref()),
            cwd.key_opt(process.cwd.as_ref()),
            container_id.key(&process.container_id),
        ];
        process.keys.batch = self.batch;
    }

    /// The columns in the order of the schema.
    fn finish_columns(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let rows = self.rows;
        let ts_ns = std::mem::take(&mut self.ts_ns);
        let ts: Vec<i64> = ts_ns.iter().map(|ns| ns.div_euclid(1_000)).collect();
        let [pname, user, comm, exe, arg0, cmdline, args, cwd, container_id] = &mut self.texts;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC")),
            Arc::new(Int64Array::from(ts_ns)),
            constant(&self.origin.host, rows)?,
            constant(&self.origin.host_id, rows)?,
            Arc::new(Int64Array::from(vec![self.origin.incarnation.0 as i64; rows])),
            Arc::new(self.cpu.finish()),
            Arc::new(self.seq.finish()),
            self.evt_type.finish()?,
            Arc::new(self.pid.finish()),
            Arc::new(self.tid.finish()),
            Arc::new(self.ppid.finish()),
            pname.finish()?,
            Arc::new(self.uid.finish()),
            user.finish()?,
            Arc::new(self.loginuid.finish()),
            comm.finish()?,
            exe.finish()?,
            arg0.finish()?,
            cmdline.finish()?,
            args.finish()?,
            cwd.finish()?,
            Arc::new(self.tty.finish()),
        ];
        columns.extend(self.detail.finish_files()?);
        columns.push(Arc::new(self.result.finish()));
        columns.extend(self.detail.finish_sockets()?);
        columns.push(container_id.finish()?);
        columns.push(Arc::new(self.cgroup_id.finish()));
        columns.push(Arc::new(self.truncated.finish()));
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::compute::cast;
    use arrow::util::display::array_value_to_string;
    use bodkin_ebpf::event::{Components, Exec, Fork, Name, Open, Paths, Socket};
    use bodkin_schema::check_compatible;

    const HEAD: Head = Head {
        boot_ns: 5_000_000_999,
        seq: 7,
        tid: 43,
        tgid: 42,
        cgroup_id: 9,
        ret: 3,
        kind: 0,
        len: 64,
        cpu: 1,
        flags: 0,
        nargs: 0,
        uid: 1000,
        pad: 0,
        spare: 0,
    };

    fn builder() -> EventsBuilder {
        let incarnation = Incarnation(77);
        EventsBuilder::new(Origin { host: "h".into(), host_id: "id".into(), incarnation })
    }

    fn event(name: &'static str, body: Body<'static>) -> Event<'static> {
        Event { head: HEAD, name, body }
    }

    fn name(raw: &'static [u8], base: Option<&'static [u8]>) -> Name<'static> {
        Name { raw, base: base.map(|bytes| Components { bytes, truncated: false }) }
    }

    fn socket(name: &'static str, family: u16, unix_path: &'static [u8]) -> Event<'static> {
        let (local, remote) = ([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0; 16]);
        let (local_port, remote_port) = (5432, 0);
        let body = Socket { fd: 4, family, protocol: 6, local, local_port, remote, remote_port, unix_path };
        event(name, Body::Socket(body))
    }

    fn bash() -> Process {
        let mut process = Process::unknown(42);
        process.comm = Some("bash".into());
        process.cmdline = Some("bash -c x".into());
        process.ppid = Some(1);
        process
    }

    /// The cells of `column`, nulls as `-`.
    fn cells(batch: &RecordBatch, column: &str) -> Vec<String> {
        let array = batch.column_by_name(column).unwrap();
        let cell = |row| if array.is_null(row) { "-".into() } else { array_value_to_string(array, row).unwrap() };
        (0..array.len()).map(cell).collect()
    }

    #[test]
    fn every_kind_of_event_makes_one_row() {
        let walk = |bytes| Components { bytes, truncated: false };
        let exec = Body::Exec(Exec {
            ppid: 1,
            comm: b"bash",
            parent_comm: b"init",
            exe: walk(b"bash\0"),
            argv: b"bash\0",
            cwd: walk(b""),
            cgroup: walk(b""),
            loginuid: u32::MAX,
            tty: 0,
        });
        let fork = Body::Fork(Fork { child_tgid: 3, comm: b"bash", clone_flags: 0x4100, cgroup: walk(b"") });
        let open = |name, flags, inode_mode| Body::Open(Open { name, flags, mode: 0o644, inode_mode });
        let rename = Paths { name: name(b"a", Some(b"tmp\0")), name2: Some(name(b"/tmp/b", None)), flags: 1 };
        let events = [
            event("execve", exec),
            event("clone", fork),
            event("procexit", Body::Exit),
            event("openat", open(name(b"../x", Some(b"b\0a\0")), 0o2_000_101, 0o100_644)),
            event("openat", open(name(b"/", None), 0o200_000, 0o040_755)),
            event("renameat2", Body::Paths(rename)),
            socket("accept4", 2, b""),
            socket("connect", 1, b"\0abstract"),
        ];
        let (mut builder, mut process) = (builder(), bash());
        for event in &events {
            builder.append(event, &mut process, 1_000);
        }
        assert_eq!(builder.rows(), 8);
        let batch = builder.finish().unwrap();
        assert_eq!(check_compatible(&Stream::Events.schema(), &batch.schema()), Ok(()));
        let expected = [
            ("ts_ns", "5000001999 5000001999 5000001999 5000001999 5000001999 5000001999 5000001999 5000001999"),
            ("evt_type", "execve clone procexit openat openat renameat2 accept4 connect"),
            ("path", "- - - /a/x / /tmp/a - @abstract"),
            ("path2", "- - - - - /tmp/b - -"),
            ("fd", "- - - 3 3 - 4 4"),
            ("fd_type", "- - - file directory - ipv4 unix"),
            ("mode", "- - - 420 - - - -"),
            ("proto", "- - - - - - tcp unix"),
            ("local_addr", "- - - - - - 127.0.0.1 -"),
            ("local_port", "- - - - - - 5432 -"),
            ("remote_addr", "- - - - - - - -"),
            ("comm", "bash bash bash bash bash bash bash bash"),
            ("container_id", "host host host host host host host host"),
            ("result", "3 3 3 3 3 3 3 3"),
            ("host", "h h h h h h h h"),
            ("incarnation", "77 77 77 77 77 77 77 77"),
            ("truncated", "false false false false false false false false"),
        ];
        for (column, values) in expected {
            assert_eq!(cells(&batch, column).join(" "), values, "{column}");
        }
        let flags = "-,CLONE_VM|CLONE_VFORK,-,O_CREAT|O_WRONLY|O_CLOEXEC,O_DIRECTORY|O_RDONLY,RENAME_NOREPLACE,-,-";
        assert_eq!(cells(&batch, "flags").join(","), flags);
        let ts = batch.column(0).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        assert_eq!(ts.value(0), 5_000_001);
    }

    #[test]
    fn texts_of_a_process_are_looked_up_again_in_the_next_batch_and_after_a_change() {
        let (mut builder, mut process) = (builder(), bash());
        let exit = event("procexit", Body::Exit);
        builder.append(&exit, &mut process, 0);
        process.comm = Some("other".into());
        process.keys.forget();
        builder.append(&exit, &mut process, 0);
        let first = builder.finish().unwrap();
        assert_eq!(cells(&first, "comm"), ["bash", "other"]);
        builder.append(&exit, &mut Process::unknown(2), 0);
        builder.append(&exit, &mut process, 0);
        let second = builder.finish().unwrap();
        assert_eq!(cells(&second, "comm"), ["-", "other"]);
        assert_eq!(cells(&second, "cmdline"), ["-", "bash -c x"]);
        assert_eq!(builder.finish().unwrap().num_rows(), 0);
    }

    #[test]
    fn a_failed_open_has_a_path_and_no_descriptor() {
        let open = Open { name: name(b"/no\xff", None), flags: 0, mode: 0, inode_mode: 0 };
        let mut failed = event("open", Body::Open(open));
        failed.head.ret = -2;
        failed.head.flags = flag::TRUNCATED;
        let mut builder = builder();
        builder.append(&failed, &mut bash(), 0);
        assert!(builder.text_bytes() > 5);
        let batch = builder.finish().unwrap();
        assert_eq!((cells(&batch, "fd"), cells(&batch, "fd_type")), (vec!["-".to_owned()], vec!["-".to_owned()]));
        assert_eq!(cells(&batch, "path"), ["/no\u{fffd}"]);
        assert_eq!(cells(&batch, "result"), ["-2"]);
        assert_eq!(cells(&batch, "truncated"), ["true"]);
        let utf8 = cast(batch.column_by_name("container_id").unwrap(), &DataType::Utf8).unwrap();
        assert_eq!(utf8.as_string::<i32>().value(0), "host");
        assert_eq!(builder.text_bytes(), 0);
    }
}
