//! The Arrow builder of `events`.

use super::container_columns;
use super::detail::DetailColumns;
use super::process_columns::{ContainerLookup, Named, ProcessColumns, TEXTS};
use super::sockets::SocketTable;
use super::text::{ConstColumn, constant};
use crate::process::ProcessTable;
use arrow::array::{
    BooleanBuilder, Int32Builder, Int64Array, Int64Builder, RecordBatch, TimestampMicrosecondArray, UInt32Array,
    new_null_array,
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

/// Columns of `events` in the making: those of the event itself here, those of its kind and of its process in their
/// own builders.
#[derive(Debug)]
pub struct EventsBuilder {
    origin: Origin,
    ts_ns: Vec<i64>,
    cpu: Int32Builder,
    seq: Int64Builder,
    evt_type: ConstColumn,
    pid: Int32Builder,
    tid: Int32Builder,
    uid: Int64Builder,
    gid: Int64Builder,
    result: Int64Builder,
    cgroup_id: Int64Builder,
    truncated: BooleanBuilder,
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
            ts_ns: Vec::new(),
            cpu: Int32Builder::new(),
            seq: Int64Builder::new(),
            evt_type: ConstColumn::default(),
            pid: Int32Builder::new(),
            tid: Int32Builder::new(),
            uid: Int64Builder::new(),
            gid: Int64Builder::new(),
            result: Int64Builder::new(),
            cgroup_id: Int64Builder::new(),
            truncated: BooleanBuilder::new(),
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
        self.append_head(&event.head, event.name, wall_offset_ns);
        self.detail.append(event, table, sockets)?;
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

    fn append_head(&mut self, head: &Head, name: &'static str, wall_offset_ns: i64) {
        self.ts_ns.push(wall_offset_ns.wrapping_add(head.boot_ns as i64));
        self.cpu.append_value(i32::from(head.cpu));
        self.seq.append_value(head.seq as i64);
        self.evt_type.push(Some(name));
        self.pid.append_value(head.tgid as i32);
        self.tid.append_value(head.tid as i32);
        self.uid.append_value(i64::from(head.uid));
        self.gid.append_value(i64::from(head.gid));
        self.result.append_value(head.ret);
        self.cgroup_id.append_value(head.cgroup_id as i64);
        self.truncated.append_value(head.flags & flag::TRUNCATED != 0);
    }

    fn finish_columns(&mut self, containers: ContainerLookup<'_>) -> Result<Vec<Named>, ArrowError> {
        let rows = self.rows();
        let ts_ns = std::mem::take(&mut self.ts_ns);
        let ts: Vec<i64> = ts_ns.iter().map(|ns| ns.div_euclid(1_000)).collect();
        let (pid, tid) = (self.pid.finish(), self.tid.finish());
        let is_other_thread = neq(&pid, &tid)?;
        let mut columns: Vec<Named> = vec![
            (events::TS, Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC"))),
            (events::TS_NS, Arc::new(Int64Array::from(ts_ns))),
            (events::HOST, constant(&self.origin.host, rows)?),
            (events::HOST_ID, constant(&self.origin.host_id, rows)?),
            (events::INCARNATION, Arc::new(Int64Array::from(vec![self.origin.incarnation.0 as i64; rows]))),
            (events::CPU, Arc::new(self.cpu.finish())),
            (events::SEQ, Arc::new(self.seq.finish())),
            (events::EVT_TYPE, self.evt_type.finish()?),
            (events::PID, Arc::new(pid)),
            (events::TID, Arc::new(tid)),
            (events::UID, Arc::new(self.uid.finish())),
            (events::GID, Arc::new(self.gid.finish())),
            (events::RESULT, Arc::new(self.result.finish())),
            (events::CGROUP_ID, Arc::new(self.cgroup_id.finish())),
            (events::TRUNCATED, Arc::new(self.truncated.finish())),
        ];
        columns.extend(self.detail.finish()?);
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

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
