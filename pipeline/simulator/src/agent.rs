//! Agents: they number batches, keep them until they are acknowledged, and send them again after whatever happened.

use crate::executor::{Life, Sim, lock};
use crate::mutation::Mutation;
use crate::scenario::Scenario;
use crate::server::Gateway;
use crate::sink::RAW;
use crate::world::World;
use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use bodkin_ingest::{PutAck, PutMetadata, put_parts};
use bodkin_schema::{Clock, Principal, Stream};
use bodkin_wal::ipc::Encoder;
use bodkin_wal::{Compression, IpcFrame, IpcMessage};
use futures::StreamExt;
use futures::channel::mpsc;
use futures::future::{Either, select};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::Status;

/// An agent that is killed loses what is younger.
const PERSIST_AFTER: Duration = Duration::from_secs(1);
/// A server that owes an answer for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Batches in flight.
const WINDOW: usize = 4;

struct Batch {
    seq: u64,
    ids: Vec<i64>,
    frame: IpcFrame,
    made: Duration,
}

struct Lane {
    incarnation: u64,
    stream: Stream,
    next_seq: u64,
    pending: VecDeque<Batch>,
}

#[derive(Default)]
struct State {
    lanes: Vec<Lane>,
    incarnation: u64,
    /// Counts restarts, so that a sender knows that its agent is another one now.
    restarts: u64,
}

/// One agent.
#[derive(Clone)]
pub(crate) struct Agent {
    name: Arc<str>,
    sim: Sim,
    world: World,
    scenario: Arc<Scenario>,
    gateway: Gateway,
    clock: Arc<dyn Clock>,
    skew: Arc<AtomicI64>,
    state: Arc<Mutex<State>>,
    /// Connections that break with a batch, in thousandths.
    cuts: Arc<AtomicU64>,
}

impl Agent {
    pub(crate) fn new(number: u64, sim: &Sim, world: &World, scenario: &Arc<Scenario>, gateway: &Gateway) -> Self {
        let skew = Arc::new(AtomicI64::new(0));
        let agent = Self {
            name: format!("agent-{number}").into(),
            clock: sim.clock(skew.clone()),
            sim: sim.clone(),
            world: world.clone(),
            scenario: scenario.clone(),
            gateway: gateway.clone(),
            skew,
            state: Arc::default(),
            cuts: Arc::new(AtomicU64::new(scenario.cuts)),
        };
        agent.begin_life();
        for stream in RAW {
            let sender = agent.clone();
            sim.spawn(Life::WORLD, async move { sender.send_for_ever(stream).await });
        }
        agent
    }

    /// Connections hold from now on.
    pub(crate) fn calm(&self) {
        self.cuts.store(0, Ordering::Relaxed);
    }

    pub(crate) fn is_drained(&self) -> bool {
        lock(&self.state).lanes.iter().all(|lane| lane.pending.is_empty())
    }

    fn begin_life(&self) {
        let mut state = lock(&self.state);
        state.incarnation = state.incarnation.max(self.sim.now().as_micros() as u64) + 1;
        let incarnation = state.incarnation;
        for stream in RAW {
            state.lanes.push(Lane { incarnation, stream, next_seq: 1, pending: VecDeque::new() });
        }
    }

    /// The agent is killed and started again: what it had not written down is lost.
    fn restart(&self) {
        self.world.say(&self.sim, || format!("{} restarts", self.name));
        let now = self.sim.now();
        {
            let mut state = lock(&self.state);
            state.restarts += 1;
            for lane in &mut state.lanes {
                lane.pending.retain(|batch| batch.made + PERSIST_AFTER <= now);
            }
        }
        self.begin_life();
        if self.scenario.mutation == Some(Mutation::ResentUnderNewIncarnation) {
            let mut state = lock(&self.state);
            let incarnation = state.incarnation;
            for stream in RAW {
                let (mut old, mut new): (Vec<_>, Vec<_>) =
                    state.lanes.drain(..).partition(|lane| lane.stream == stream && lane.incarnation != incarnation);
                if let Some(live) = new.iter_mut().find(|lane| lane.stream == stream) {
                    for batch in old.iter_mut().flat_map(|lane| lane.pending.drain(..)) {
                        live.pending.push_back(Batch { seq: live.next_seq, ..batch });
                        live.next_seq += 1;
                    }
                }
                state.lanes = new;
            }
        }
    }

    /// Makes the batches of the run.
    pub(crate) async fn work(&self) {
        for _ in 0..self.scenario.batches {
            self.sim.pause(self.scenario.pace_ms * 1000).await;
            if self.scenario.has_agent_restarts && self.sim.chance(30) {
                self.restart();
            }
            if self.scenario.has_clock_jumps && self.sim.chance(50) {
                let jump_s = self.sim.below(7200) as i64 - 3600;
                self.skew.store(jump_s * 1_000_000, Ordering::Relaxed);
            }
            // Most rows belong to the stream that operators look at.
            let stream = if self.sim.chance(700) { RAW[0] } else { RAW[1] };
            let rows = self.sim.below(4) + 1;
            let late_us = if self.sim.chance(200) { self.sim.below(30_000_000) as i64 } else { 0 };
            self.push(stream, rows, self.clock.now().0 - late_us);
        }
    }

    /// Makes a batch with this event time.
    pub(crate) fn push(&self, stream: Stream, rows: u64, time: i64) {
        let keys: Vec<String> = (0..rows).map(|_| format!("k{}", self.sim.below(self.scenario.keys))).collect();
        let ids: Vec<i64> = keys.iter().map(|key| self.world.make(stream, key, time)).collect();
        let records = records(stream, &ids, &keys, time);
        let mut encoder = Encoder::new(Compression::None).expect("invariant: no compression always works");
        let frame = encoder.encode(&records).expect("invariant: rows of a stream can be encoded");
        let mut state = lock(&self.state);
        let incarnation = state.incarnation;
        let is_live = |lane: &&mut Lane| lane.stream == stream && lane.incarnation == incarnation;
        let Some(lane) = state.lanes.iter_mut().find(is_live) else { return };
        let seq = lane.next_seq;
        lane.next_seq += 1;
        if self.sim.chance(self.scenario.sheds) {
            return;
        }
        self.world
            .say(&self.sim, || format!("{} makes {stream} {seq} of {}: rows {ids:?}", self.name, lane.incarnation));
        lane.pending.push_back(Batch { seq, ids, frame, made: self.sim.now() });
    }

    async fn send_for_ever(&self, stream: Stream) {
        loop {
            let lane =
                lock(&self.state).lanes.iter().position(|lane| lane.stream == stream && !lane.pending.is_empty());
            if let Some(lane) = lane {
                let is_broken = self.put(lane).await.is_none();
                self.renumber(lane);
                // Long enough for the server to be another one when the batch comes again.
                if is_broken && self.sim.chance(300) {
                    self.sim.pause(6_000_000).await;
                }
            }
            self.sim.sleep(Duration::from_millis(20)).await;
        }
    }

    /// The mutation: what is not acknowledged gets numbers anew.
    fn renumber(&self, lane: usize) {
        if self.scenario.mutation == Some(Mutation::RenumberedOnReconnect)
            && let Some(lane) = lock(&self.state).lanes.get_mut(lane)
        {
            for batch in &mut lane.pending {
                batch.seq = lane.next_seq;
                lane.next_seq += 1;
            }
        }
    }

    /// One connection. What is not acknowledged when it ends stays pending.
    async fn put(&self, lane: usize) -> Option<()> {
        let server = self.gateway.current()?;
        let (restarts, first) = {
            let state = lock(&self.state);
            (state.restarts, state.lanes.get(lane)?.pending.front()?.frame.schema.clone())
        };
        let stream = lock(&self.state).lanes.get(lane)?.stream;
        let (messages, received) = mpsc::unbounded::<Result<FlightData, Status>>();
        let (session, answers) = put_parts(&server.service, Principal::default(), received);
        self.sim.spawn(server.life, session);
        let mut answers = pin!(answers);
        let descriptor = FlightDescriptor {
            r#type: DescriptorType::Path as i32,
            path: vec![stream.name().to_owned()],
            ..FlightDescriptor::default()
        };
        messages.unbounded_send(Ok(FlightData { flight_descriptor: Some(descriptor), ..data(&first) })).ok()?;
        let mut sent: VecDeque<u64> = VecDeque::new();
        let mut last = 0;
        loop {
            while sent.len() < WINDOW {
                let Some((seq, message)) = self.message(lane, last) else { break };
                self.sim.pause(3000).await;
                if self.is_cut() {
                    return None;
                }
                messages.unbounded_send(Ok(message)).ok()?;
                sent.push_back(seq);
                last = seq;
                if self.sim.chance(300) {
                    break;
                }
            }
            if sent.is_empty() {
                return Some(());
            }
            let silence = self.sim.sleep(SILENCE_MAX);
            let answer = match select(answers.next(), pin!(silence)).await {
                Either::Left((Some(Ok(answer)), _)) => answer,
                Either::Left((Some(Err(status)), _)) => {
                    self.world.say(&self.sim, || format!("{} is refused: {}", self.name, status.message()));
                    return None;
                }
                _ => return None,
            };
            let acked = self.answered(lane, restarts, &answer)?;
            sent.retain(|seq| *seq > acked);
        }
    }

    fn is_cut(&self) -> bool {
        self.sim.chance(self.cuts.load(Ordering::Relaxed))
    }

    /// The next batch of the lane after number `last`.
    fn message(&self, lane: usize, last: u64) -> Option<(u64, FlightData)> {
        let state = lock(&self.state);
        let lane = state.lanes.get(lane)?;
        let batch = lane.pending.iter().find(|batch| batch.seq > last)?;
        let producer = format!("{}/{}", self.name, lane.stream.class());
        let metadata = PutMetadata { producer, incarnation: lane.incarnation, seq: batch.seq };
        let app_metadata = serde_json::to_vec(&metadata).ok()?.into();
        Some((batch.seq, FlightData { app_metadata, ..data(&batch.frame.batch) }))
    }

    /// The server says that it has everything up to a number; none where that does not arrive.
    fn answered(&self, lane: usize, restarts: u64, answer: &PutResult) -> Option<u64> {
        let ack: PutAck = serde_json::from_slice(&answer.app_metadata).ok()?;
        let mut state = lock(&self.state);
        if state.restarts != restarts {
            return None;
        }
        let lane = state.lanes.get_mut(lane)?;
        // It was promised, whether the agent hears of it or not.
        for batch in lane.pending.iter().filter(|batch| batch.seq <= ack.acked_seq) {
            self.world.ack(&batch.ids);
        }
        if self.is_cut() {
            return None;
        }
        lane.pending.retain(|batch| batch.seq > ack.acked_seq);
        Some(ack.acked_seq)
    }
}

fn data(message: &IpcMessage) -> FlightData {
    FlightData { data_header: message.header.clone(), data_body: message.body.clone(), ..FlightData::default() }
}

/// Rows of a stream; columns that no invariant is about are null, or the same for all.
fn records(stream: Stream, ids: &[i64], keys: &[String], time: i64) -> RecordBatch {
    let schema = stream.schema();
    let column = |field: &arrow::datatypes::FieldRef| -> ArrayRef {
        match (field.name().as_str(), field.data_type()) {
            ("count" | "series_id", DataType::Int64) => Arc::new(Int64Array::from(ids.to_vec())),
            ("reason", DataType::Utf8) => Arc::new(StringArray::from(keys.to_vec())),
            (_, DataType::Timestamp(..)) => {
                Arc::new(TimestampMicrosecondArray::from(vec![time; ids.len()]).with_timezone("UTC"))
            }
            (_, kind) if field.is_nullable() => new_null_array(kind, ids.len()),
            (_, DataType::Utf8) => Arc::new(StringArray::from(vec!["x"; ids.len()])),
            (_, DataType::Float64) => Arc::new(Float64Array::from(vec![0.0; ids.len()])),
            (_, _) => Arc::new(Int64Array::from(vec![0; ids.len()])),
        }
    };
    let columns = schema.fields().iter().map(column).collect();
    RecordBatch::try_new(schema, columns).expect("invariant: columns are those of the schema")
}
