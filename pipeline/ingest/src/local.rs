//! Rows that a gateway of this process makes out of another protocol, through the same log as an agent's.
//!
//! Each [`LocalProducer`] is one lane per stream. Its numbers are given out under a lock that is held until the frame
//! has its place in the log, so they ascend there (see [`crate::lanes`]). A number whose append failed is skipped: the
//! sender was told, and what it sends again comes under a new one.

use crate::lanes::{Admit, LaneKey, Reservation, Sent};
use crate::{IngestService, IngestedBatch, Refusal};
use arrow::array::RecordBatch;
use bodkin_schema::{EventTime, Incarnation, Lane, Position, Producer, Seq, Stream, Tenant};
use bodkin_wal::ipc::{Encoder, encode_schema};
use bodkin_wal::{BatchFrame, Compression, Error as LogError, OnEnd, SchemaDef, Ticket};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::RangeInclusive;
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
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(LocalLane::new(&self.producer, self.incarnation, tenant, stream)?),
        };
        let seq = lane.next;
        lane.next = Seq(seq.0 + 1);
        let ticket = lane.put(&self.service, encoder, Sent::batch(seq, None), records).await?;
        ticket.ok_or(Refusal::Unexpected("a number of a local lane was used twice"))
    }
}

/// A sender whose rows come from a log elsewhere that numbers them, such as a partition of Kafka: the number of a row
/// is its place there, from 1. What is durable of the lane says where to go on reading, so nothing else has to remember
/// it, and what is read again is dropped (ONCE-1).
#[derive(Debug)]
pub struct PlacedProducer {
    service: Arc<IngestService>,
    lane: LocalLane,
    encoder: Encoder,
    previous: Option<Seq>,
}

impl PlacedProducer {
    /// A sender of that name and life; another life starts to count anew.
    ///
    /// # Errors
    /// [`Refusal::Ipc`] never: bodies are not compressed.
    pub fn new(
        service: Arc<IngestService>,
        name: &str,
        incarnation: Incarnation,
        tenant: &Tenant,
        stream: Stream,
    ) -> Result<Self, Refusal> {
        let lane = LocalLane::new(&Producer::from(name), incarnation, tenant, stream)?;
        Ok(Self { service, lane, encoder: Encoder::new(Compression::None)?, previous: None })
    }

    /// The last place of which everything is durable; 0 where nothing is.
    pub fn durable(&self) -> Seq {
        self.service.lanes.durable(&self.lane.key)
    }

    /// Gives rows that stand for these places their place in our log. None where they are durable already. After an
    /// error, read again from [`Self::durable`] and call [`Self::restart`]: places behind one that failed are refused.
    ///
    /// # Errors
    /// Where the log takes nothing, or a place before these has failed.
    pub async fn put(&mut self, places: RangeInclusive<Seq>, records: RecordBatch) -> Result<Option<Ticket>, Refusal> {
        let sent = Sent { first: *places.start(), seq: *places.end(), previous: self.previous };
        let ticket = self.lane.put(&self.service, &mut self.encoder, sent, records).await?;
        self.previous = Some(sent.seq);
        Ok(ticket)
    }

    /// Goes on after what is durable.
    pub fn restart(&mut self) {
        self.previous = None;
    }
}

impl LocalLane {
    fn new(producer: &Producer, incarnation: Incarnation, tenant: &Tenant, stream: Stream) -> Result<Self, Refusal> {
        let lane = Lane { producer: producer.clone(), incarnation, stream: stream.name().into() };
        Ok(Self {
            key: Arc::new(LaneKey { tenant: tenant.clone(), lane }),
            schema: SchemaDef::new(encode_schema(&stream.schema()))?,
            next: Seq(1),
        })
    }

    /// None where the number is durable.
    async fn put(
        &self,
        service: &IngestService,
        encoder: &mut Encoder,
        sent: Sent,
        records: RecordBatch,
    ) -> Result<Option<Ticket>, Refusal> {
        let ipc = encoder.encode(&records)?;
        let bytes = ipc.batch.len() + ipc.dictionaries.iter().map(bodkin_wal::IpcMessage::len).sum::<usize>();
        let ingest_time = service.clock.now();
        let frame = BatchFrame {
            tenant: self.key.tenant.clone(),
            lane: self.key.lane.clone(),
            seq: sent.seq,
            ingest_time,
            rows: records.num_rows() as u64,
            schema: self.schema.clone(),
            dictionaries: ipc.dictionaries,
            batch: ipc.batch,
        };
        let slot = service.wal.slot(frame.encode()?).await?;
        let on_end = |reservation| self.on_end(service, reservation, sent.seq, ingest_time, (records, bytes));
        let send = |reservation| slot.try_send(Some(on_end(reservation)));
        match service.lanes.admit(&self.key, sent, ingest_time, send)? {
            Admit::New(Ok(ticket)) => Ok(Some(ticket)),
            Admit::New(Err(unsent)) => Err(Refusal::Log(unsent.error)),
            Admit::Durable => Ok(None),
            Admit::Pending(_) => Err(Refusal::Unexpected("a number of a local lane is on its way already")),
        }
    }

    /// As a session's: hand over, then mark; on failure only the reservation is dropped.
    fn on_end(
        &self,
        service: &IngestService,
        reservation: Reservation,
        seq: Seq,
        ingest_time: EventTime,
        (records, bytes): (RecordBatch, usize),
    ) -> OnEnd {
        let (downstream, counters) = (service.downstream.clone(), service.counters.clone());
        let (tenant, lane) = (self.key.tenant.clone(), self.key.lane.clone());
        Box::new(move |outcome: Result<Position, LogError>| {
            let Ok(position) = outcome else { return };
            counters.stored(records.num_rows() as u64, bytes as u64);
            downstream.push(IngestedBatch { tenant, lane, seq, ingest_time, position, records });
            reservation.commit();
        })
    }
}
