//! One put: the frames of one lane, as long as their schema stays the same.

use super::Client;
use crate::spool::LaneId;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use bodkin_schema::Stream;
use bodkin_wal::{BatchFrame, IpcMessage, SchemaDef};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Bytes in flight before the server has said how many it takes, and the most at any time.
const CREDIT_AT_FIRST: u64 = 1 << 20;
const CREDIT_MAX: u64 = 8 << 20;

/// A server that says nothing for so long while it owes an answer is gone.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How often a server without credit is asked by sending one batch, in case its word got lost.
const CREDIT_PROBE: Duration = Duration::from_secs(1);

/// Largest answer; it is a small JSON object.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why a put ended early.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server will not take one of the batches; the first that it may be.
    Refused { seq: u64, unacked: usize, why: String },
    /// Try again later.
    Broken(String),
}

#[derive(Serialize)]
struct BatchMetadata<'a> {
    producer: &'a str,
    incarnation: u64,
    seq: u64,
}

#[derive(Deserialize)]
struct Ack {
    acked_seq: u64,
    credit_bytes: u64,
}

/// A put and what of it is in flight.
pub(super) struct Put<'a> {
    client: &'a Client,
    index: usize,
    lane: LaneId,
    stream: Stream,
    /// Numbers and bytes of batches that were sent and not acked.
    in_flight: VecDeque<(u64, u64)>,
    in_flight_bytes: u64,
    credit: u64,
    careful: usize,
    had_ack: bool,
}

impl<'a> Put<'a> {
    pub(super) fn new(client: &'a Client, index: usize, lane: LaneId, stream: Stream, careful: usize) -> Self {
        Self {
            client,
            index,
            lane,
            stream,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            credit: CREDIT_AT_FIRST,
            careful,
            had_ack: false,
        }
    }

    /// Batches still to be sent one at a time.
    pub(super) fn careful(&self) -> usize {
        self.careful
    }

    /// Whether the server took anything.
    pub(super) fn had_ack(&self) -> bool {
        self.had_ack
    }

    /// Sends until the lane has nothing more, or another schema comes; a live lane without frames keeps the put open.
    pub(super) async fn run(&mut self, channel: Channel) -> Result<(), Failure> {
        let Some(first) = self.next()? else { return Ok(()) };
        self.client.counters.puts.fetch_add(1, Ordering::Relaxed);
        let (messages, receiver) = mpsc::unbounded_channel();
        let schema = first.schema.clone();
        send(&messages, self.schema_message(&schema))?;
        self.send(&messages, &first)?;
        let mut service = FlightServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        let request = self.client.server.request(UnboundedReceiverStream::new(receiver));
        let response = tokio::time::timeout(SILENCE_MAX, service.do_put(request)).await;
        let response = response.map_err(|_| Failure::Broken("no answer".into()))?;
        let mut answers = response.map_err(|status| self.failure(&status))?.into_inner();
        self.client.set_healthy(self.index, true);
        let outcome = self.exchange(&messages, &schema, &mut answers).await;
        drop(messages);
        outcome?;
        // What is open on the server ends with the last message.
        let ended = tokio::time::timeout(SILENCE_MAX, async {
            while answers.message().await?.is_some() {}
            Ok(())
        });
        let ended = ended.await.map_err(|_| Failure::Broken("the server does not end the put".into()))?;
        ended.map_err(|status| self.failure(&status))
    }

    async fn exchange(
        &mut self,
        messages: &mpsc::UnboundedSender<FlightData>,
        schema: &SchemaDef,
        answers: &mut tonic::Streaming<PutResult>,
    ) -> Result<(), Failure> {
        let mut changes = self.client.spool.changes();
        let mut waiting: Option<BatchFrame> = None;
        let mut silence = pin!(sleep(SILENCE_MAX));
        loop {
            let was_idle = self.in_flight.is_empty();
            let has_other_schema = self.fill(messages, schema, &mut waiting)?;
            if was_idle && !self.in_flight.is_empty() {
                silence.set(sleep(SILENCE_MAX));
            }
            let spool = &self.client.spool;
            let is_over = has_other_schema || (!spool.is_live(self.lane) && !spool.is_pending(self.lane));
            if self.in_flight.is_empty() && is_over {
                return Ok(());
            }
            tokio::select! {
                answer = answers.message() => {
                    let answer = answer.map_err(|status| self.failure(&status))?;
                    let answer = answer.ok_or_else(|| Failure::Broken("the server ended the put".into()))?;
                    self.acked(&answer)?;
                    silence.set(sleep(SILENCE_MAX));
                }
                _ = changes.changed(), if waiting.is_none() && !has_other_schema => {}
                () = sleep(CREDIT_PROBE), if waiting.is_some() && self.in_flight.is_empty() => {
                    if let Some(frame) = waiting.take() {
                        self.send(messages, &frame)?;
                    }
                }
                () = &mut silence, if !self.in_flight.is_empty() => {
                    return Err(Failure::Broken("the server is silent".into()));
                }
            }
        }
    }

    /// Sends what there is room for. True if the next frame has another schema: it needs a put of its own.
    fn fill(
        &mut self,
        messages: &mpsc::UnboundedSender<FlightData>,
        schema: &SchemaDef,
        waiting: &mut Option<BatchFrame>,
    ) -> Result<bool, Failure> {
        loop {
            let frame = match waiting.take() {
                Some(frame) => frame,
                None => match self.next()? {
                    Some(frame) => frame,
                    None => return Ok(false),
                },
            };
            if frame.schema.id() != schema.id() {
                *waiting = Some(frame);
                return Ok(true);
            }
            if !self.has_room(bytes(&frame)) {
                *waiting = Some(frame);
                return Ok(false);
            }
            self.send(messages, &frame)?;
        }
    }

    fn next(&self) -> Result<Option<BatchFrame>, Failure> {
        self.client.spool.next(self.lane).map_err(|error| Failure::Broken(error.to_string()))
    }

    fn has_room(&self, bytes: u64) -> bool {
        if self.in_flight.is_empty() {
            return self.credit > 0;
        }
        self.careful == 0 && self.in_flight_bytes + bytes <= self.credit.min(CREDIT_MAX)
    }

    fn send(&mut self, messages: &mpsc::UnboundedSender<FlightData>, frame: &BatchFrame) -> Result<(), Failure> {
        for dictionary in &frame.dictionaries {
            send(messages, data(dictionary))?;
        }
        let metadata = BatchMetadata {
            producer: frame.lane.producer.as_str(),
            incarnation: frame.lane.incarnation.0,
            seq: frame.seq.0,
        };
        let json = serde_json::to_vec(&metadata).map_err(|error| Failure::Broken(error.to_string()))?;
        send(messages, FlightData { app_metadata: Bytes::from(json), ..data(&frame.batch) })?;
        self.in_flight.push_back((frame.seq.0, bytes(frame)));
        self.in_flight_bytes += bytes(frame);
        self.client.counters.rows_sent.fetch_add(frame.rows, Ordering::Relaxed);
        Ok(())
    }

    fn acked(&mut self, answer: &PutResult) -> Result<(), Failure> {
        let ack: Ack = serde_json::from_slice(&answer.app_metadata)
            .map_err(|error| Failure::Broken(format!("the server's answer is not understood: {error}")))?;
        self.credit = ack.credit_bytes;
        self.client.spool.ack(self.lane, ack.acked_seq);
        while let Some((_, bytes)) = self.in_flight.pop_front_if(|(seq, _)| *seq <= ack.acked_seq) {
            self.in_flight_bytes -= bytes;
            self.careful = self.careful.saturating_sub(1);
            self.had_ack = true;
        }
        Ok(())
    }

    fn failure(&self, status: &Status) -> Failure {
        let why = format!("{}: {}", status.code(), status.message());
        match (status.code(), self.in_flight.front()) {
            (Code::InvalidArgument | Code::OutOfRange, Some((seq, _))) => {
                Failure::Refused { seq: *seq, unacked: self.in_flight.len(), why }
            }
            _ => Failure::Broken(why),
        }
    }

    fn schema_message(&self, schema: &SchemaDef) -> FlightData {
        let descriptor = FlightDescriptor {
            r#type: DescriptorType::Path as i32,
            path: vec![self.stream.name().to_owned()],
            ..FlightDescriptor::default()
        };
        FlightData { flight_descriptor: Some(descriptor), ..data(schema.message()) }
    }
}

fn data(message: &IpcMessage) -> FlightData {
    FlightData { data_header: message.header.clone(), data_body: message.body.clone(), ..FlightData::default() }
}

fn bytes(frame: &BatchFrame) -> u64 {
    (frame.batch.len() + frame.dictionaries.iter().map(IpcMessage::len).sum::<usize>()) as u64
}

fn send(messages: &mpsc::UnboundedSender<FlightData>, message: FlightData) -> Result<(), Failure> {
    messages.send(message).map_err(|_| Failure::Broken("the connection is closed".into()))
}
