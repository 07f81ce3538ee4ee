//! Rows that a gateway of this process makes out of another protocol, through the same log as an agent's.
//!
//! Each [`LocalProducer`] is one lane per stream. Its numbers are given out under a lock that is held until the frame
//! has its place in the log, so they ascend there (see [`crate::lanes`]). A number whose append failed is skipped: the
//! sender was told, and what it sends again comes under a new one.

use crate::lanes::{Admit, LaneKey, Reservation};
use crate::{IngestService, IngestedBatch, Refusal};
use arrow::array::RecordBatch;
use bodkin_schema::{EventTime, Incarnation, Lane, Position, Producer, Seq, Stream, Tenant};
use bodkin_wal::ipc::{Encoder, encode_schema};
use bodkin_wal::{BatchFrame, Compression, Error as LogError, OnEnd, SchemaDef, Ticket};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// A sender inside of the process. Cheap to share; one put at a time takes places in the log, their syncs overlap.
#[derive(Debug)]
pub struct LocalProducer {
    service: Arc<IngestService>,
    producer: Producer,
    incarnation: Incarnation,
    lanes: Mutex<LocalLanes>,
}

#[derive(Debug)]
struct LocalLanes {
    encoder: Encoder,
    lanes: HashMap<(Tenant, Stream), LocalLane>,
}

#[derive(Debug)]
struct LocalLane {
    key: Arc<LaneKey>,
    schema: Arc<SchemaDef>,
    next: Seq,
}

impl LocalProducer {
    /// A producer of that name. Its incarnation is the present time, so that a later life never meets an earlier mark.
    ///
    /// # Errors
    /// [`Refusal::Ipc`] never: bodies are not compressed.
    pub fn new(service: Arc<IngestService>, name: &str) -> Result<Self, Refusal> {
        let incarnation = Incarnation(service.clock.now().micros().max(0) as u64);
        let lanes = LocalLanes { encoder: Encoder::new(Compression::None)?, lanes: HashMap::new() };
        Ok(Self { service, producer: Producer::from(name), incarnation, lanes: Mutex::new(lanes) })
    }

    /// When something that is put now is said to have come.
    pub fn now(&self) -> EventTime {
        self.service.clock.now()
    }

    /// Gives each batch its place in the log, in their order, and returns what resolves when they are durable and were
    /// handed over. The batches have the registered columns of their stream. Safe to cancel: what has its place stays.
    ///
    /// # Errors
    /// Where the log takes nothing; batches before the failing one may be logged.
    pub async fn put(&self, tenant: &Tenant, batches: Vec<(Stream, RecordBatch)>) -> Result<Vec<Ticket>, Refusal> {
        let mut lanes = self.lanes.lock().await;
        let mut tickets = Vec::with_capacity(batches.len());
        for (stream, records) in batches {
            tickets.push(self.put_one(&mut lanes, tenant, stream, records).await?);
        }
        Ok(tickets)
    }

    async fn put_one(
        &self,
        lanes: &mut LocalLanes,
        tenant: &Tenant,
        stream: Stream,
        records: RecordBatch,
    ) -> Result<Ticket, Refusal> {
        let LocalLanes { encoder, lanes } = lanes;
        let lane = match lanes.entry((tenant.clone(), stream)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(self.lane(tenant, stream)?),
        };
        let ipc = encoder.encode(&records)?;
        let bytes = ipc.batch.len() + ipc.dictionaries.iter().map(bodkin_wal::IpcMessage::len).sum::<usize>();
        let seq = lane.next;
        lane.next = Seq(seq.0 + 1);
        let ingest_time = self.service.clock.now();
        let frame = BatchFrame {
            tenant: tenant.clone(),
            lane: lane.key.lane.clone(),
            seq,
            ingest_time,
            rows: records.num_rows() as u64,
            schema: lane.schema.clone(),
            dictionaries: ipc.dictionaries,
            batch: ipc.batch,
        };
        let slot = self.service.wal.slot(frame.encode()?).await?;
        let key = lane.key.clone();
        let send = |reservation| slot.try_send(Some(self.on_end(reservation, &key, seq, ingest_time, records, bytes)));
        match self.service.lanes.admit(&key, seq, None, ingest_time, send)? {
            Admit::New(Ok(ticket)) => Ok(ticket),
            Admit::New(Err(unsent)) => Err(Refusal::Log(unsent.error)),
            Admit::Durable | Admit::Pending(_) => Err(Refusal::Unexpected("a number of a local lane was used twice")),
        }
    }

    fn lane(&self, tenant: &Tenant, stream: Stream) -> Result<LocalLane, Refusal> {
        let lane =
            Lane { producer: self.producer.clone(), incarnation: self.incarnation, stream: stream.name().into() };
        Ok(LocalLane {
            key: Arc::new(LaneKey { tenant: tenant.clone(), lane }),
            schema: SchemaDef::new(encode_schema(&stream.schema()))?,
            next: Seq(1),
        })
    }

    /// As a session's: hand over, then mark; on failure only the reservation is dropped.
    fn on_end(
        &self,
        reservation: Reservation,
        key: &LaneKey,
        seq: Seq,
        ingest_time: EventTime,
        records: RecordBatch,
        bytes: usize,
    ) -> OnEnd {
        let (downstream, counters) = (self.service.downstream.clone(), self.service.counters.clone());
        let (tenant, lane) = (key.tenant.clone(), key.lane.clone());
        Box::new(move |outcome: Result<Position, LogError>| {
            let Ok(position) = outcome else { return };
            counters.stored(records.num_rows() as u64, bytes as u64);
            downstream.push(IngestedBatch { tenant, lane, seq, ingest_time, position, records });
            reservation.commit();
        })
    }
}
