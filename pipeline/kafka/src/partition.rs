//! The lanes of one partition: its rows, and what is to be said of messages that are none.

use crate::assignment::{Assignment, Start};
use crate::decode::{Decode, Decoded};
use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use bodkin_ingest::{IngestService, PlacedProducer, Refusal};
use bodkin_schema::{EventTime, Seq, Stream};
use bodkin_wal::Ticket;
use std::sync::Arc;

/// Reason of drops: messages that are no rows.
const MALFORMED: &str = "malformed";
/// Reason of drops: messages that the broker had deleted.
const EXPIRED: &str = "expired";

/// Name of the producer of a partition's rows.
pub(crate) fn lane_name(source: &str, topic: &str, partition: i32) -> String {
    format!("kafka/{source}/{topic}/{partition}")
}

/// Messages of one partition, in their order.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) offsets: Vec<u64>,
    pub(crate) payloads: Vec<Vec<u8>>,
}

/// A partition that is ours.
#[derive(Debug)]
pub(crate) struct Partition {
    start: Start,
    name: String,
    rows: PlacedProducer,
    drops: PlacedProducer,
    expired: u64,
}

/// What a run has become, on its way into the log.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) tickets: Vec<Ticket>,
    pub(crate) rows: u64,
    pub(crate) malformed: u64,
}

impl Partition {
    pub(crate) fn new(of: &Assignment, topic: &str, partition: i32, start: Start) -> Result<Self, Refusal> {
        let name = lane_name(&of.source, topic, partition);
        let lane = |service: &Arc<IngestService>, stream| {
            PlacedProducer::new(service.clone(), &name, start.incarnation, &of.tenant, stream)
        };
        let (rows, drops) = (lane(&of.service, of.stream)?, lane(&of.service, Stream::Drops)?);
        Ok(Self { start, rows, drops, expired: start.expired, name })
    }

    /// Whether it is still what the group gave us last.
    pub(crate) fn is_of(&self, start: Start) -> bool {
        self.start == start
    }

    /// The offset of the first message that is not stored.
    pub(crate) fn next_offset(&self) -> u64 {
        self.rows.durable().0
    }

    /// All that was put is durable.
    pub(crate) fn settled(&mut self) {
        self.expired = 0;
    }

    /// Goes on after what is durable.
    pub(crate) fn restart(&mut self) {
        self.rows.restart();
        self.drops.restart();
    }

    /// Puts a run on its way. What is said of lost messages goes first, so that it is not forgotten where the rows
    /// behind it are durable and it is not.
    pub(crate) async fn put(&mut self, run: &Run, decode: &dyn Decode, now: EventTime) -> Result<Stored, Refusal> {
        let mut stored = Stored { tickets: Vec::new(), rows: 0, malformed: 0 };
        // Where a partition starts over, it may begin with what is stored.
        let known = run.offsets.partition_point(|offset| *offset < self.next_offset());
        let (offsets, payloads) = (&run.offsets[known..], &run.payloads[known..]);
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return Ok(stored) };
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let Decoded { records, malformed } = decode.decode(&payloads);
        let told = self.drops.durable().0;
        let (mut places, mut first_reason) = (Vec::new(), None);
        for (place, reason) in &malformed {
            // What was read again is counted already.
            places.extend(offsets.get(*place).map(|offset| offset + 1).filter(|place| *place > told));
            first_reason.get_or_insert(reason);
        }
        if let (false, Some(reason)) = (places.is_empty(), first_reason) {
            tracing::warn!(partition = self.name, messages = places.len(), reason, "messages are no rows");
        }
        if self.expired > 0 || !places.is_empty() {
            let place = Seq(places.last().copied().unwrap_or(first + 1));
            let lost = [(EXPIRED, self.expired), (MALFORMED, places.len() as u64)];
            stored.tickets.extend(self.drops.put(place..=place, drops(&self.name, &lost, now)).await?);
        }
        (stored.rows, stored.malformed) = (records.num_rows() as u64, places.len() as u64);
        stored.tickets.extend(self.rows.put(Seq(first + 1)..=Seq(last + 1), records).await?);
        Ok(stored)
    }
}

/// Rows of `drops` for the counts that are not zero.
fn drops(producer: &str, lost: &[(&str, u64)], now: EventTime) -> RecordBatch {
    let lost: Vec<_> = lost.iter().filter(|(_, count)| *count > 0).collect();
    let all = |text: &str| Arc::new(StringArray::from(vec![text; lost.len()])) as _;
    RecordBatch::try_new(
        Stream::Drops.schema(),
        vec![
            Arc::new(TimestampMicrosecondArray::from(vec![now.micros(); lost.len()]).with_timezone("UTC")),
            all(producer),
            all(Stream::Drops.class().name()),
            Arc::new(StringArray::from_iter_values(lost.iter().map(|(reason, _)| reason))),
            Arc::new(Int64Array::from_iter_values(lost.iter().map(|(_, count)| *count as i64))),
        ],
    )
    .expect("invariant: the columns of drops")
}
