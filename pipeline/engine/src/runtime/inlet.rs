//! The inlet: the one place where rows, notes and barriers get their order, which is that of the log.
//!
//! A barrier cuts the log here: everything before it is in front of the barrier in some shard's queue, nothing after it
//! is. So what an intent says of the log (position, marks, watermark, side inputs) is read off here, in one step with the
//! barrier.

use super::shard::Progress;
use crate::queue::tell;
use crate::watermark::{WATERMARK_TOPIC, WatermarkNote, WatermarkState, Watermarks};
use crate::{Batch, Budget, Mark, Message, Queue, SIDE_TOPIC, SideInput};
use bodkin_schema::{Clock, Epoch, EventTime, Lane, Position, Seq, Tenant};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lanes that have sent nothing for this long are forgotten: 30 days, longer than any spool lives.
const LANE_IDLE_MAX_US: i64 = 30 * 86_400 * 1_000_000;

/// What the log says up to a barrier.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The epoch that ends.
    pub epoch: Epoch,
    /// The end of its last frame.
    pub position: Position,
    /// The deduplication marks there.
    pub marks: Vec<Mark>,
    /// The watermark there.
    pub watermarks: WatermarkState,
    /// The side inputs there.
    pub side_inputs: Vec<SideInput>,
}

/// Takes what is durable and hands it to the shards.
#[derive(Debug)]
pub struct Inlet {
    state: Mutex<State>,
    progress: Progress,
    budget: Arc<Budget>,
    clock: Arc<dyn Clock>,
    /// Callers may be made to wait for room.
    may_block: bool,
}

#[derive(Debug)]
struct State {
    shards: Vec<Arc<Queue>>,
    position: Position,
    /// The end of the last frame that an epoch has to hold: rows, or a side input.
    substance: Position,
    marks: HashMap<(Tenant, Lane), (Seq, EventTime)>,
    watermarks: Watermarks,
    side_inputs: BTreeMap<Arc<str>, SideInput>,
}

/// Where an inlet goes on.
pub(super) struct Start<'a> {
    pub(super) position: Position,
    pub(super) marks: &'a [Mark],
    pub(super) watermarks: Watermarks,
    pub(super) side_inputs: &'a [SideInput],
}

impl Inlet {
    pub(super) fn new(
        shards: Vec<Arc<Queue>>,
        start: Start<'_>,
        progress: Progress,
        budget: Arc<Budget>,
        clock: Arc<dyn Clock>,
        may_block: bool,
    ) -> Self {
        let mark = |mark: &Mark| ((mark.tenant(), mark.lane()), (mark.seq(), mark.last_ingest()));
        let state = State {
            shards,
            position: start.position,
            substance: start.position,
            marks: start.marks.iter().map(mark).collect(),
            watermarks: start.watermarks,
            side_inputs: start.side_inputs.iter().map(|input| (input.name.clone(), input.clone())).collect(),
        };
        Self { state: Mutex::new(state), progress, budget, clock, may_block }
    }

    /// Takes rows, in log order. Blocks while the shard or the process has no room: that is the back-pressure.
    pub fn push(&self, mut batch: Batch) {
        if self.may_block {
            self.budget.wait_for_room(batch.bytes);
            self.queue_of(&batch).wait_for_room();
        }
        batch.permit = Some(self.budget.take(batch.bytes));
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let moved = state.logged(&batch, now);
        let shard = batch.key_group().shard(state.shards.len());
        if let (Some(queue), Some(counts)) = (state.shards.get(shard), self.progress.counts.get(shard)) {
            // Counted before: whoever asks from here on waits for it. A closed queue says that the process goes down.
            counts.handed.fetch_add(1, Ordering::Release);
            queue.push(Message::data(batch));
        }
        if let Some(time) = moved {
            state.tell(&Message::Watermark(time));
        }
    }

    /// Whether rows would be taken without waiting.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.budget.has_room(bytes) && self.lock().shards.iter().all(|queue| queue.has_room())
    }

    /// Takes a note of the log, at its place. Topics that are not for the graph are let be.
    pub fn note(&self, position: Position, topic: &str, value: &serde_json::Value) {
        let mut state = self.lock();
        state.position = state.position.max(position);
        if topic == WATERMARK_TOPIC {
            match serde::Deserialize::deserialize(value) {
                Ok(note) => {
                    if let Some(time) = state.watermarks.note(&note) {
                        state.tell(&Message::Watermark(time));
                    }
                }
                Err(error) => tracing::warn!(position = position.0, %error, "watermark note is not understood"),
            }
        } else if let Some(name) = topic.strip_prefix(SIDE_TOPIC) {
            state.substance = position;
            let input = SideInput { name: name.into(), value: Arc::new(value.clone()), position };
            state.side_inputs.insert(input.name.clone(), input.clone());
            state.tell(&Message::Side(input));
        }
    }

    /// What clocks say that has to be logged, if anything.
    pub fn decide_watermark(&self) -> Option<WatermarkNote> {
        self.lock().watermarks.decide(self.clock.now(), self.clock.monotonic())
    }

    /// The watermark that operators were told.
    pub fn watermark(&self) -> Option<EventTime> {
        self.lock().watermarks.told()
    }

    /// The value of a side input.
    pub fn side_input(&self, name: &str) -> Option<SideInput> {
        self.lock().side_inputs.get(name).cloned()
    }

    /// The end of the last frame that was taken.
    pub fn position(&self) -> Position {
        self.lock().position
    }

    /// Ends an epoch: cuts the log and sends the barrier.
    pub fn barrier(&self, epoch: Epoch) -> Cut {
        let mut state = self.lock();
        state.tell(&Message::Barrier(epoch));
        state.forget_lanes();
        let mut marks: Vec<_> =
            state.marks.iter().map(|((tenant, lane), (seq, ingest))| Mark::new(tenant, lane, *seq, *ingest)).collect();
        marks.sort_unstable_by_key(|mark| (mark.tenant(), mark.lane()));
        Cut {
            epoch,
            position: state.position,
            marks,
            watermarks: state.watermarks.state(),
            side_inputs: state.side_inputs.values().cloned().collect(),
        }
    }

    /// Whether there is anything after `position` that an epoch has to hold.
    pub fn has_substance_after(&self, position: Position) -> bool {
        self.lock().substance > position
    }

    /// The sinks have committed an epoch and freed its rows.
    pub fn freed(&self) {
        self.budget.freed();
    }

    /// How far the shards have come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.progress.counts.len()
    }

    /// The account of the rows in flight.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Bytes in front of the shards.
    pub fn queue_bytes(&self) -> usize {
        self.lock().shards.iter().map(|queue| queue.bytes()).sum()
    }

    /// Lets the shards end after what they have.
    pub fn drain(&self) {
        self.lock().tell(&Message::Drain);
    }

    /// Holds everything up while `swap` ends the shards and gives the queues of others, to which side inputs and
    /// watermark are told first.
    pub(super) fn replace(&self, swap: impl FnOnce() -> Vec<Arc<Queue>>) {
        let mut state = self.lock();
        state.tell(&Message::Drain);
        state.shards = swap();
        let inputs: Vec<_> = state.side_inputs.values().cloned().map(Message::Side).collect();
        inputs.iter().for_each(|input| state.tell(input));
        if let Some(time) = state.watermarks.told() {
            state.tell(&Message::Watermark(time));
        }
    }

    fn queue_of(&self, batch: &Batch) -> Arc<Queue> {
        let state = self.lock();
        let shard = batch.key_group().shard(state.shards.len());
        state.shards.get(shard).or(state.shards.first()).cloned().expect("invariant: a graph has a shard")
    }

    /// Only this module's code runs under the lock, and none of it panics between two changes.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes what a batch says about the log; the watermark where it moved.
    fn logged(&mut self, batch: &Batch, now: std::time::Duration) -> Option<EventTime> {
        self.position = self.position.max(batch.position);
        let Some(origin) = &batch.origin else {
            // Rows without a place in the log, of what a replay had to give up: the epoch must not wait for others.
            self.substance = Position(self.substance.0.max(batch.position.0));
            return None;
        };
        self.substance = self.substance.max(batch.position);
        let key = (batch.tenant.clone(), origin.lane.clone());
        let mark = self.marks.entry(key).or_insert((origin.seq, batch.ingest_time));
        *mark = (mark.0.max(origin.seq), mark.1.max(batch.ingest_time));
        let newest = batch.event_time?.max;
        self.watermarks.rows(&batch.tenant, &origin.lane.producer, newest, batch.ingest_time, now)
    }

    fn tell(&self, message: &Message) {
        tell(&self.shards, message);
    }

    fn forget_lanes(&mut self) {
        let newest = self.marks.values().map(|(_, ingest)| *ingest).max().unwrap_or_default();
        self.marks.retain(|_, (_, ingest)| newest.0.saturating_sub(ingest.0) <= LANE_IDLE_MAX_US);
    }
}
