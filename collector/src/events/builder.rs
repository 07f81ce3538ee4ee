//! The Arrow builder of `events`.

use super::container_columns;
use super::detail::DetailColumns;
use super::process_columns::{ContainerLookup, Named, ProcessColumns, TEXTS};
use super::sockets::SocketTable;
use super::text::{ConstColumn, constant};
use crate::process::ProcessTable;
use arrow::array::{
    BooleanArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::kernels::cmp::neq;
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use bodkin_ebpf::event::{Body, Event, Exit, Head};
use bodkin_ebpf::layout::flag;
use bodkin_schema::{Incarnation, Stream, events};
use std::sync::{Arc, LazyLock};

/// Columns of text that repeat, so that a dictionary is smaller than the texts, beside those of processes and
/// containers; paths are mostly distinct.
const DICTIONARIES: [&str; 10] = [
    events::HOST,
    events::HOST_ID,
    events::EVT_TYPE,
    events::FD_TYPE,
    events::FLAGS,
    events::PROTO,
    events::LOCAL_ADDR,
    events::REMOTE_ADDR,
    events::LOCAL_NAME,
    events::REMOTE_NAME,
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
    let text = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let name = field.name().as_str();
    let is_dictionary =
        DICTIONARIES.contains(&name) || TEXTS.contains(&name) || container_columns::TEXTS.contains(&name);
    let data_type = match field.data_type() {
        DataType::Utf8 if is_dictionary => text(),
        DataType::List(item) if *item.data_type() == DataType::Utf8 => {
            DataType::List(Arc::new(Field::new(item.name(), text(), item.is_nullable())))
        }
        other => other.clone(),
    };
    Field::new(name, data_type, field.is_nullable())
}

/// Columns that every event has.
#[derive(Debug, Default)]
struct Heads {
    ts_ns: Vec<i64>,
    cpu: Vec<i32>,
    seq: Vec<i64>,
    pid: Vec<i32>,
    tid: Vec<i32>,
    uid: Vec<i64>,
    gid: Vec<i64>,
    result: Vec<i64>,
    cgroup_id: Vec<i64>,
    truncated: Vec<bool>,
}

/// Columns of `events` in the making: those of the event itself here, those of its kind and of its process in their
/// own builders.
#[derive(Debug)]
pub struct EventsBuilder {
    origin: Origin,
    evt_type: ConstColumn,
    heads: Heads,
    detail: DetailColumns,
    processes: ProcessColumns,
    /// Row of `processes`, by row.
    process_rows: Vec<u32>,
    /// Bytes that are repeated in every row: labels of containers.
    repeated_bytes: usize,
}

impl EventsBuilder {
    /// An empty builder.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            evt_type: ConstColumn::default(),
            heads: Heads::default(),
            detail: DetailColumns::default(),
            processes: ProcessColumns::default(),
            process_rows: Vec::new(),
            repeated_bytes: 0,
        }
    }

    /// Appends the row of `event`, which `table` has been told of. `wall_offset_ns` is wall-clock time minus boot time.
    ///
    /// # Errors
    /// If columns do not fit each other: not for any input.
    pub fn append(
        &mut self,
        event: &Event<'_>,
        table: &mut ProcessTable,
        sockets: &mut SocketTable,
        wall_offset_ns: i64,
    ) -> Result<(), ArrowError> {
        let row = self.rows();
        self.heads.append(&event.head, wall_offset_ns);
        self.evt_type.put(row, event.name);
        self.detail.put(row, event, table, sockets)?;
        self.processes.set_wall_offset(wall_offset_ns);
        self.process_rows.push(table.row(event.head.tgid, &mut self.processes));
        Ok(())
    }

    /// Appends a row about a process as a whole, for sources that are no kernel event.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_process_event(
        &mut self,
        head: &Head,
        name: &'static str,
        table: &mut ProcessTable,
        wall_offset_ns: i64,
    ) -> Result<(), ArrowError> {
        let event = Event { head: *head, name, body: Body::Exit(Exit::default()) };
        self.append(&event, table, &mut SocketTable::default(), wall_offset_ns)
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.process_rows.len()
    }

    /// Bytes of texts so far; the other columns take about 300 bytes a row.
    pub fn text_bytes(&self) -> usize {
        self.processes.text_bytes() + self.detail.bytes() + self.repeated_bytes
    }

    /// Counts bytes that the last row repeats from its container.
    pub fn add_repeated(&mut self, bytes: usize) {
        self.repeated_bytes += bytes;
    }

    /// The batch, with what `containers` says of each container; the builder is empty afterwards.
    ///
    /// # Errors
    /// If columns do not fit the schema: not for any input.
    pub fn finish(&mut self, containers: ContainerLookup<'_>) -> Result<RecordBatch, ArrowError> {
        let rows = self.rows();
        self.repeated_bytes = 0;
        let columns = self.finish_columns(containers)?;
        let schema = wire_schema();
        let in_order = schema.fields().iter().map(|field| {
            let found = columns.iter().find(|(name, _)| *name == field.name());
            found.map_or_else(|| new_null_array(field.data_type(), rows), |(_, column)| column.clone())
        });
        RecordBatch::try_new(schema.clone(), in_order.collect())
    }

    fn finish_columns(&mut self, containers: ContainerLookup<'_>) -> Result<Vec<Named>, ArrowError> {
        let rows = self.rows();
        // The next batch is likely to be of the same size.
        let heads = std::mem::replace(&mut self.heads, Heads::with_capacity(rows));
        let ts: Vec<i64> = heads.ts_ns.iter().map(|ns| ns.div_euclid(1_000)).collect();
        let (pid, tid) = (Int32Array::from(heads.pid), Int32Array::from(heads.tid));
        let is_other_thread = neq(&pid, &tid)?;
        let mut columns: Vec<Named> = vec![
            (events::TS, Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC"))),
            (events::TS_NS, Arc::new(Int64Array::from(heads.ts_ns))),
            (events::HOST, constant(&self.origin.host, rows)?),
            (events::HOST_ID, constant(&self.origin.host_id, rows)?),
            (events::INCARNATION, Arc::new(Int64Array::from(vec![self.origin.incarnation.0 as i64; rows]))),
            (events::CPU, Arc::new(Int32Array::from(heads.cpu))),
            (events::SEQ, Arc::new(Int64Array::from(heads.seq))),
            (events::EVT_TYPE, self.evt_type.finish(rows)?),
            (events::PID, Arc::new(pid)),
            (events::TID, Arc::new(tid)),
            (events::UID, Arc::new(Int64Array::from(heads.uid))),
            (events::GID, Arc::new(Int64Array::from(heads.gid))),
            (events::RESULT, Arc::new(Int64Array::from(heads.result))),
            (events::CGROUP_ID, Arc::new(Int64Array::from(heads.cgroup_id))),
            (events::TRUNCATED, Arc::new(BooleanArray::from(heads.truncated))),
        ];
        columns.extend(self.detail.finish(rows)?);
        let process_rows = UInt32Array::from(std::mem::take(&mut self.process_rows));
        let of_processes = self.processes.finish(&process_rows, containers)?;
        // The first thread has the number of its process.
        if let Some((_, vpid)) = of_processes.iter().find(|(name, _)| *name == events::VPID) {
            columns.push((events::VTID, nullif(vpid, &is_other_thread)?));
        }
        columns.extend(of_processes);
        Ok(columns)
    }
}

impl Heads {
    fn with_capacity(rows: usize) -> Self {
        Self {
            ts_ns: Vec::with_capacity(rows),
            cpu: Vec::with_capacity(rows),
            seq: Vec::with_capacity(rows),
            pid: Vec::with_capacity(rows),
            tid: Vec::with_capacity(rows),
            uid: Vec::with_capacity(rows),
            gid: Vec::with_capacity(rows),
            result: Vec::with_capacity(rows),
            cgroup_id: Vec::with_capacity(rows),
            truncated: Vec::with_capacity(rows),
        }
    }

    fn append(&mut self, head: &Head, wall_offset_ns: i64) {
        self.ts_ns.push(wall_offset_ns.wrapping_add(head.boot_ns as i64));
        self.cpu.push(i32::from(head.cpu));
        self.seq.push(head.seq as i64);
        self.pid.push(head.tgid as i32);
        self.tid.push(head.tid as i32);
        self.uid.push(i64::from(head.uid));
        self.gid.push(i64::from(head.gid));
        self.result.push(head.ret);
        self.cgroup_id.push(head.cgroup_id as i64);
        self.truncated.push(head.flags & flag::TRUNCATED != 0);
    }
}

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
