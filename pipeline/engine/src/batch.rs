//! What flows through the graph.

use crate::{KeyGroup, Permit, SideInput};
use arrow::array::{Array, AsArray};
use arrow::compute::{max, min};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use bodkin_schema::{Epoch, EventTime, Lane, Position, Seq, Stream, Tenant};
use std::sync::Arc;

/// Where a batch came from: its lane and its number there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The lane.
    pub lane: Lane,
    /// The number in the lane.
    pub seq: Seq,
}

/// Earliest and latest event time of a batch, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// Earliest.
    pub min: EventTime,
    /// Latest.
    pub max: EventTime,
}

/// Rows of one stream and where they came from. Immutable and cheap to clone.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The rows; text columns may be dictionaries.
    pub records: RecordBatch,
    /// Name of the stream.
    pub stream: Arc<str>,
    /// Whose rows they are.
    pub tenant: Tenant,
    /// Where they came from; none for rows made by an operator.
    pub origin: Option<Origin>,
    /// Range of the stream's time column; none without one or without rows.
    pub event_time: Option<TimeRange>,
    /// When they were logged: decides the `date` partition.
    pub ingest_time: EventTime,
    /// End of their frame in the log.
    pub position: Position,
    /// Bytes of the rows.
    pub bytes: usize,
    /// The epoch that stores them. Zero until a shard hands them to a sink: then they belong to the epoch that is
    /// sealed next.
    pub epoch: Epoch,
    /// What they take of the process's memory.
    pub permit: Option<Permit>,
}

impl Batch {
    /// Rows that came through the log.
    pub fn logged(
        origin: Origin,
        tenant: Tenant,
        records: RecordBatch,
        ingest_time: EventTime,
        position: Position,
    ) -> Self {
        Self {
            stream: origin.lane.stream.clone(),
            tenant,
            event_time: event_time(&origin.lane.stream, &records),
            ingest_time,
            position,
            bytes: record_bytes(&records),
            records,
            origin: Some(origin),
            epoch: Epoch(0),
            permit: None,
        }
    }

    /// Rows made here, with no place in the log.
    pub fn made(stream: &str, records: RecordBatch) -> Self {
        Self {
            stream: stream.into(),
            tenant: Tenant::default(),
            origin: None,
            event_time: event_time(stream, &records),
            ingest_time: EventTime::default(),
            position: Position::default(),
            bytes: record_bytes(&records),
            records,
            epoch: Epoch(0),
            permit: None,
        }
    }

    /// The same place, time and owner with other rows of `stream`: what an operator makes of a batch.
    pub fn derived(&self, stream: &str, records: RecordBatch) -> Self {
        let Self { tenant, ingest_time, position, permit, .. } = self.clone();
        Self { tenant, ingest_time, position, permit, ..Self::made(stream, records) }
    }

    /// The key group of its lane, which decides the shard that takes it in.
    pub fn key_group(&self) -> KeyGroup {
        self.origin
            .as_ref()
            .map_or_else(KeyGroup::default, |origin| KeyGroup::of_bytes(origin.lane.producer.as_str().as_bytes()))
    }
}

/// Bytes that the rows use. Buffers that several columns share are counted by the part that each uses.
fn record_bytes(records: &RecordBatch) -> usize {
    records.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default()).sum()
}

fn event_time(stream: &str, records: &RecordBatch) -> Option<TimeRange> {
    let name = Stream::from_name(stream)?.time_column()?;
    let times = records.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    Some(TimeRange { min: EventTime(min(times)?), max: EventTime(max(times)?) })
}

/// What travels on an edge of the graph.
#[derive(Clone, Debug)]
pub enum Message {
    /// Rows.
    Data {
        /// The rows.
        batch: Batch,
        /// The operator that they go to; none for rows of a source, which go where their stream goes.
        to: Option<usize>,
    },
    /// No row with an earlier event time is expected.
    Watermark(EventTime),
    /// A side input changes here.
    Side(SideInput),
    /// Everything before belongs to this epoch, everything after to a later one.
    Barrier(Epoch),
    /// Nothing follows.
    Drain,
}

impl Message {
    /// Rows of a source.
    pub fn data(batch: Batch) -> Self {
        Self::Data { batch, to: None }
    }

    /// Bytes that the message holds against the bound of a queue; rows count as a cache line at least.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Data { batch, .. } => batch.bytes.max(64),
            _ => 0,
        }
    }
}
