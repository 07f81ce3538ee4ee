//! One put: its messages, from the first to the last.

use crate::conform::Conform;
use crate::lanes::{Admit, LaneKey, Reservation, Sent};
use crate::put::PutMetadata;
use crate::service::{Lent, Pool};
use crate::{IngestService, IngestedBatch, Refusal};
use arrow::array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::flight_descriptor::DescriptorType;
use bodkin_schema::{Incarnation, Lane, Position, Principal, Producer, Seq, Stream};
use bodkin_wal::ipc::{MessageKind, message_kind};
use bodkin_wal::{BatchFrame, Decoder, EncodedFrame, Error as LogError, IpcMessage, OnEnd, SchemaDef, Ticket};
use futures::StreamExt;
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

const METADATA_BYTES_MAX: usize = 4096;
const PRODUCER_BYTES_MAX: usize = 256;
/// A stream carries the lanes of one agent; more would let one connection hold a lot of state.
const LANES_PER_STREAM_MAX: usize = 64;
/// Batches smaller than this are decoded in place: moving them to another thread would cost more.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// What the answering side waits for.
pub(crate) enum Promise {
    /// A batch on its way to the disk.
    Batch(BatchPromise),
    /// The put ends here.
    Refused(Refusal),
    /// The connection ended here.
    Broken(Status),
}

pub(crate) struct BatchPromise {
    key: Arc<LaneKey>,
    seq: Seq,
    outcome: Outcome,
    _credit: Option<Lent>,
}

enum Outcome {
    Durable,
    Logged(Ticket),
    /// Another stream logs it.
    Elsewhere(oneshot::Receiver<bool>),
}

impl BatchPromise {
    /// Resolves when the batch is durable.
    pub(crate) async fn kept(self) -> Result<Arc<LaneKey>, Refusal> {
        match self.outcome {
            Outcome::Durable => {}
            Outcome::Logged(ticket) => drop(ticket.await?),
            Outcome::Elsewhere(outcome) => {
                if !outcome.await.unwrap_or(false) {
                    return Err(Refusal::LaneBroken { lane: self.key.lane.clone(), seq: self.seq });
                }
            }
        }
        Ok(self.key)
    }
}

pub(crate) struct Session {
    service: Arc<IngestService>,
    principal: Principal,
    promises: mpsc::Sender<Promise>,
    credit: Pool,
    /// The last number that this stream sent in each lane.
    sent: HashMap<Arc<LaneKey>, Seq>,
}

/// What the first message has settled.
struct Opened {
    stream: Stream,
    name: Arc<str>,
    schema: Arc<SchemaDef>,
    conform: Arc<Conform>,
    /// Away only while a batch is being decoded.
    decoder: Option<Decoder>,
    dictionaries: BTreeMap<i64, Dictionary>,
}

struct Dictionary {
    message: IpcMessage,
    _memory: Lent,
}

/// A batch that passed every check.
struct Checked {
    records: RecordBatch,
    frame: EncodedFrame,
    bytes: usize,
}

impl Session {
    pub(crate) fn new(service: Arc<IngestService>, principal: Principal, promises: mpsc::Sender<Promise>) -> Self {
        let credit = Pool::new(service.limits.credit_bytes);
        Self { service, principal, promises, credit, sent: HashMap::new() }
    }

    pub(crate) async fn run(mut self, messages: impl futures::Stream<Item = Result<FlightData, Status>>) {
        let promises = self.promises.clone();
        let last = tokio::select! {
            // In this order, so that a simulation repeats.
            biased;
            // Nobody waits for answers any more: the sender is gone.
            () = promises.closed() => return,
            last = self.read(messages) => last,
        };
        if let Err(last) = last {
            promises.send(last).await.ok();
        }
    }

    /// Reads to the end; an error is the last promise.
    async fn read(&mut self, messages: impl futures::Stream<Item = Result<FlightData, Status>>) -> Result<(), Promise> {
        let mut messages = pin!(messages);
        let Some(first) = messages.next().await else { return Ok(()) };
        let mut opened = self.open(&first.map_err(Promise::Broken)?).map_err(Promise::Refused)?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(Promise::Broken)?;
            if let Some(promise) = self.message(&mut opened, message).await.map_err(Promise::Refused)?
                && self.promises.send(Promise::Batch(promise)).await.is_err()
            {
                break;
            }
        }
        Ok(())
    }

    fn open(&self, first: &FlightData) -> Result<Opened, Refusal> {
        let descriptor = first.flight_descriptor.as_ref().ok_or(Refusal::Descriptor { why: "it has none" })?;
        if descriptor.r#type() != DescriptorType::Path {
            return Err(Refusal::Descriptor { why: "it is a command" });
        }
        let [name] = descriptor.path.as_slice() else {
            return Err(Refusal::Descriptor { why: "the path has not exactly one element" });
        };
        let stream =
            Stream::from_name(name).ok_or_else(|| Refusal::UnknownStream { name: name.chars().take(64).collect() })?;
        if stream.is_made() {
            return Err(Refusal::MadeHere { stream });
        }
        let limits = self.service.limits.ipc;
        if !first.data_body.is_empty() || message_kind(&first.data_header, &limits)? != MessageKind::Schema {
            return Err(Refusal::Unexpected("the first message of a put must be the schema"));
        }
        let decoder = Decoder::new(&first.data_header, limits)?;
        let conform = Arc::new(Conform::new(stream, decoder.schema())?);
        for column in conform.suffixed() {
            tracing::warn!(%stream, column = column.name(), "a column of another type is kept beside its own");
        }
        let message = IpcMessage { header: first.data_header.clone(), body: Default::default() };
        Ok(Opened {
            stream,
            name: stream.name().into(),
            schema: SchemaDef::new(message)?,
            conform,
            decoder: Some(decoder),
            dictionaries: BTreeMap::new(),
        })
    }

    async fn message(&mut self, opened: &mut Opened, data: FlightData) -> Result<Option<BatchPromise>, Refusal> {
        let limits = &self.service.limits.ipc;
        let (bytes, limit) = (data.data_body.len(), limits.body_bytes_max);
        if bytes > limit {
            return Err(Refusal::TooLarge { what: "body", bytes, limit });
        }
        let kind = message_kind(&data.data_header, limits)?;
        let message = IpcMessage { header: data.data_header, body: data.data_body }.aligned();
        match kind {
            MessageKind::Schema => Err(Refusal::Unexpected("a put has one schema")),
            MessageKind::Dictionary(id) => self.dictionary(opened, id, message).map(|()| None),
            MessageKind::Batch => self.batch(opened, &data.app_metadata, message).await.map(Some),
        }
    }

    fn dictionary(&self, opened: &mut Opened, id: i64, message: IpcMessage) -> Result<(), Refusal> {
        let limit = self.service.limits.ipc.body_bytes_max;
        let decoder = opened.decoder.as_mut().ok_or(Refusal::Unexpected("the decoder is gone"))?;
        let extent = decoder.verify(&message)?;
        // The old one goes first: a sender that replaces it must not need room for both.
        opened.dictionaries.remove(&id);
        let others: usize = opened.dictionaries.values().map(|dictionary| dictionary.message.len()).sum();
        let bytes = others + message.len();
        if bytes > limit {
            return Err(Refusal::TooLarge { what: "the dictionaries of a stream", bytes, limit });
        }
        let bytes = extent.decoded_bytes + message.len();
        let memory = self.service.dictionary_memory.try_lend(bytes).ok_or(Refusal::TooLarge {
            what: "dictionaries of all streams with one more",
            bytes,
            limit: self.service.limits.dictionary_memory_bytes,
        })?;
        decoder.set_dictionary(&message)?;
        opened.dictionaries.insert(id, Dictionary { message, _memory: memory });
        Ok(())
    }

    async fn batch(
        &mut self,
        opened: &mut Opened,
        metadata: &[u8],
        message: IpcMessage,
    ) -> Result<BatchPromise, Refusal> {
        let (lane, seq) = parse_metadata(metadata, opened.name.clone())?;
        let key = Arc::new(LaneKey { tenant: self.principal.tenant.clone(), lane });
        let key = self.sent.get_key_value(&key).map_or(key, |(known, _)| known.clone());
        let previous = self.sent.get(&key).copied();
        if previous.is_none() && self.sent.len() >= LANES_PER_STREAM_MAX {
            return Err(Refusal::Metadata(format!("more than {LANES_PER_STREAM_MAX} lanes on one stream")));
        }
        self.sent.insert(key.clone(), previous.max(Some(seq)).unwrap_or(seq));

        // What is sent again after a reconnect is common and need not even be decoded.
        if seq <= self.service.lanes.durable(&key) {
            self.service.counters.duplicate();
            return Ok(BatchPromise { key, seq, outcome: Outcome::Durable, _credit: None });
        }
        let credit = self.credit.lend(message.len()).await;
        let extent = opened.decoder.as_ref().ok_or(Refusal::Unexpected("the decoder is gone"))?.verify(&message)?;
        let memory = self.service.batch_memory.lend(extent.decoded_bytes).await;
        let frame = BatchFrame {
            tenant: key.tenant.clone(),
            lane: key.lane.clone(),
            seq,
            ingest_time: self.service.clock.now(),
            rows: extent.rows as u64,
            schema: opened.schema.clone(),
            dictionaries: opened.dictionaries.values().map(|dictionary| dictionary.message.clone()).collect(),
            batch: message,
        };
        let ingest_time = frame.ingest_time;
        let checked = opened.check(frame, extent.decoded_bytes).await?;
        let slot = self.service.wal.slot(checked.frame).await?;

        let entry = (checked.records, ingest_time, checked.bytes, memory);
        let send = |reservation| slot.try_send(Some(self.on_end(reservation, &key, seq, entry)));
        let outcome = match self.service.lanes.admit(&key, Sent::batch(seq, previous), ingest_time, send)? {
            Admit::New(Ok(ticket)) => Outcome::Logged(ticket),
            // Dropping the closure, and with it the reservation, must wait until the lanes are unlocked: here.
            Admit::New(Err(unsent)) => return Err(Refusal::Log(unsent.error)),
            Admit::Durable => Outcome::Durable,
            Admit::Pending(outcome) => Outcome::Elsewhere(outcome),
        };
        if !matches!(outcome, Outcome::Logged(_)) {
            self.service.counters.duplicate();
        }
        Ok(BatchPromise { key, seq, outcome, _credit: credit })
    }

    /// What the log's thread does when the frame is durable: hand over, then mark; on failure only the reservation is
    /// dropped. Holds nothing of the log itself.
    fn on_end(
        &self,
        reservation: Reservation,
        key: &LaneKey,
        seq: Seq,
        (records, ingest_time, bytes, memory): (RecordBatch, bodkin_schema::EventTime, usize, Option<Lent>),
    ) -> OnEnd {
        let (downstream, counters) = (self.service.downstream.clone(), self.service.counters.clone());
        let (tenant, lane) = (key.tenant.clone(), key.lane.clone());
        Box::new(move |outcome: Result<Position, LogError>| {
            let Ok(position) = outcome else { return };
            counters.stored(records.num_rows() as u64, bytes as u64);
            downstream.push(IngestedBatch { tenant, lane, seq, ingest_time, position, records });
            drop(memory);
            reservation.commit();
        })
    }
}

impl Opened {
    /// Decodes and sums a batch; a large one on a thread that may block.
    async fn check(&mut self, frame: BatchFrame, decoded_bytes: usize) -> Result<Checked, Refusal> {
        let decoder = self.decoder.take().ok_or(Refusal::Unexpected("the decoder is gone"))?;
        let conform = self.conform.clone();
        let work = move || {
            let checked = check(&decoder, &conform, &frame);
            (decoder, checked)
        };
        let (decoder, checked) = if decoded_bytes <= INLINE_BYTES_MAX {
            work()
        } else {
            tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::Rows {
                stream: self.stream,
                column: String::new(),
                why: format!("decoding ended early: {error}"),
            })?
        };
        self.decoder = Some(decoder);
        checked
    }
}

fn check(decoder: &Decoder, conform: &Conform, frame: &BatchFrame) -> Result<Checked, Refusal> {
    let records = conform.conform(&decoder.decode(&frame.batch)?)?;
    let bytes = frame.batch.len() + frame.dictionaries.iter().map(IpcMessage::len).sum::<usize>();
    Ok(Checked { records, frame: frame.encode()?, bytes })
}

fn parse_metadata(json: &[u8], stream: Arc<str>) -> Result<(Lane, Seq), Refusal> {
    if json.is_empty() {
        return Err(Refusal::Metadata("it is missing".into()));
    }
    if json.len() > METADATA_BYTES_MAX {
        return Err(Refusal::TooLarge { what: "app_metadata", bytes: json.len(), limit: METADATA_BYTES_MAX });
    }
    let metadata: PutMetadata = serde_json::from_slice(json).map_err(|error| Refusal::Metadata(error.to_string()))?;
    let producer = metadata.producer.as_str();
    if producer.len() > PRODUCER_BYTES_MAX {
        return Err(Refusal::TooLarge { what: "producer", bytes: producer.len(), limit: PRODUCER_BYTES_MAX });
    }
    if producer.is_empty() || producer.chars().any(char::is_control) {
        return Err(Refusal::Metadata("producer is empty or has control characters".into()));
    }
    if metadata.seq == 0 || metadata.seq == u64::MAX {
        return Err(Refusal::Metadata("seq counts from 1".into()));
    }
    let lane = Lane { producer: Producer::from(producer), incarnation: Incarnation(metadata.incarnation), stream };
    Ok((lane, Seq(metadata.seq)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        parse_metadata(json.as_bytes(), "events".into()).unwrap_err().to_string()
    }

    #[test]
    fn metadata_is_taken_only_as_it_is_specified() {
        let (lane, seq) =
            parse_metadata(br#"{"producer":"h/security","incarnation":7,"seq":3}"#, "events".into()).unwrap();
        assert_eq!((lane.to_string(), seq), ("h/security@7/events".to_owned(), Seq(3)));
        for nonsense in [
            "",
            "[]",
            "null",
            r#"{"producer":"h","incarnation":7}"#,
            r#"{"producer":"h","incarnation":7,"seq":0}"#,
            r#"{"producer":"h","incarnation":7,"seq":-1}"#,
            r#"{"producer":"h","incarnation":7,"seq":1.5}"#,
            r#"{"producer":"","incarnation":7,"seq":1}"#,
            r#"{"producer":"a\nb","incarnation":7,"seq":1}"#,
            r#"{"producer":"h","incarnation":7,"seq":1,"more":0}"#,
        ] {
            assert!(refusal(nonsense).starts_with("app_metadata of a batch must be JSON"), "{nonsense}");
        }
        let long = format!(r#"{{"producer":"{}","incarnation":7,"seq":1}}"#, "p".repeat(257));
        assert_eq!(refusal(&long), "producer of 257 bytes exceeds the limit of 256");
        assert_eq!(refusal(&" ".repeat(5000)), "app_metadata of 5000 bytes exceeds the limit of 4096");
    }
}
