//! What flows through the graph.

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
        }
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
    Data(Batch),
    /// No row with an earlier event time is expected.
    Watermark(EventTime),
    /// Everything before belongs to this epoch, everything after to a later one.
    Barrier(Epoch),
    /// Nothing follows.
    Drain,
}

impl Message {
    /// Bytes that the message holds; a control message counts as a cache line.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Data(batch) => batch.bytes.max(64),
            _ => 64,
        }
    }
}
