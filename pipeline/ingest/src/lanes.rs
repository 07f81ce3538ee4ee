//! What each lane has sent: durable or pending (ONCE-1).
//!
//! ```text
//!  seq:   1 2 3 4 5   6 7    8 ...
//!         durable     pending
//!               ^ the mark
//! ```
//! Within a lane the log holds ascending numbers, and never a number after one whose append failed unless the sender
//! skipped that on purpose. So the highest number of any prefix of the log is its mark, which is what intents and
//! replays rely on. Two rules make it true. A number is reserved and given its place in the log under one lock. And a
//! stream whose last number is neither durable nor pending is refused: that number failed, on this stream or on the
//! one that it waited for, and what follows would hide it, even if another stream has sent some of it again since. A
//! stream that never sent the number may go past it: its sender shed it.

use crate::Refusal;
use bodkin_schema::{EventTime, Lane, Seq, Tenant};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;

/// Idle lanes are looked for this often, in ingest time.
const SWEEP_INTERVAL_US: i64 = 3_600_000_000;

/// A lane of a tenant: two tenants may use the same producer name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey {
    /// Whose rows.
    pub tenant: Tenant,
    /// The lane.
    pub lane: Lane,
}

/// How far a lane is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneMark {
    /// The lane.
    pub key: LaneKey,
    /// Everything up to here is durable or was shed by the sender.
    pub seq: Seq,
    /// When it sent last.
    pub last_ingest: EventTime,
}

/// A number as a stream sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The first number that it stands for: itself, where batches are numbered and not rows.
    pub first: Seq,
    /// The number.
    pub seq: Seq,
    /// What the stream sent before on this lane.
    pub previous: Option<Seq>,
}

impl Sent {
    /// A batch's own number.
    pub fn batch(seq: Seq, previous: Option<Seq>) -> Self {
        Self { first: seq, seq, previous }
    }
}

/// What becomes of a number that was sent.
#[derive(Debug)]
pub enum Admit<T> {
    /// It is new; what the given closure made of it.
    New(T),
    /// It is durable.
    Durable,
    /// Another stream has it in flight; resolves to whether it became durable.
    Pending(oneshot::Receiver<bool>),
}

/// All lanes of a node. Bounded by a count and by idleness.
#[derive(Debug)]
pub struct Lanes {
    state: Mutex<State>,
    lanes_max: usize,
    idle: Duration,
}

#[derive(Debug, Default)]
struct State {
    lanes: HashMap<Arc<LaneKey>, LaneState>,
    swept: Option<EventTime>,
    gaps: u64,
}

#[derive(Debug, Default)]
struct LaneState {
    durable: Seq,
    last_ingest: EventTime,
    /// In flight, with the streams that wait for them.
    pending: BTreeMap<Seq, Vec<oneshot::Sender<bool>>>,
}

impl Lanes {
    /// At most `lanes_max` lanes, each forgotten after it sent nothing for `idle`.
    pub fn new(lanes_max: usize, idle: Duration) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), lanes_max, idle })
    }

    /// Only this module's code runs under the lock, and none of it panics between two changes.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Raises the mark of a lane to what was stored before a restart.
    pub fn restore(&self, mark: LaneMark) {
        let mut state = self.state();
        let lane = state.lanes.entry(Arc::new(mark.key)).or_default();
        lane.durable = lane.durable.max(mark.seq);
        lane.last_ingest = lane.last_ingest.max(mark.last_ingest);
    }

    /// The mark of every lane, in order of lanes.
    pub fn marks(&self) -> Vec<LaneMark> {
        let state = self.state();
        let mark = |(key, lane): (&Arc<LaneKey>, &LaneState)| LaneMark {
            key: key.as_ref().clone(),
            seq: lane.durable,
            last_ingest: lane.last_ingest,
        };
        let mut marks: Vec<LaneMark> = state.lanes.iter().map(mark).collect();
        marks.sort_by(|a, b| a.key.cmp(&b.key));
        marks
    }

    /// The highest number of a lane up to which all are durable or shed.
    pub fn durable(&self, key: &LaneKey) -> Seq {
        self.state().lanes.get(key).map_or(Seq(0), |lane| lane.durable)
    }

    /// Numbers that senders skipped.
    pub fn gaps(&self) -> u64 {
        self.state().gaps
    }

    /// Takes up a number that a stream sent at `now`. Where it is new, `send` is called under the lock and has to give it its place in the log; it must not drop the
    /// [`Reservation`] or end it in there.
    ///
    /// # Errors
    /// [`Refusal::OutOfOrder`], [`Refusal::LaneBroken`], [`Refusal::TooManyLanes`].
    pub fn admit<T>(
        self: &Arc<Self>,
        key: &Arc<LaneKey>,
        sent: Sent,
        now: EventTime,
        send: impl FnOnce(Reservation) -> T,
    ) -> Result<Admit<T>, Refusal> {
        let Sent { first, seq, previous } = sent;
        let mut guard = self.state();
        let state = &mut *guard;
        state.sweep(now, self.idle);
        let is_known = state.lanes.contains_key(key);
        if !is_known && state.lanes.len() >= self.lanes_max {
            return Err(Refusal::TooManyLanes { limit: self.lanes_max });
        }
        let lane = state.lanes.entry(key.clone()).or_default();
        lane.last_ingest = lane.last_ingest.max(now);
        if seq <= lane.durable {
            return Ok(Admit::Durable);
        }
        if let Some(waiting) = lane.pending.get_mut(&seq) {
            let (told, outcome) = oneshot::channel();
            waiting.push(told);
            return Ok(Admit::Pending(outcome));
        }
        let highest = lane.pending.last_key_value().map_or(lane.durable, |(seq, _)| *seq);
        if seq < highest {
            return Err(Refusal::OutOfOrder { lane: key.lane.clone(), seq, highest });
        }
        if previous > Some(highest) {
            return Err(Refusal::LaneBroken { lane: key.lane.clone(), seq: Seq(highest.0 + 1) });
        }
        if is_known {
            state.gaps += first.0.saturating_sub(highest.0 + 1);
        }
        lane.pending.insert(seq, Vec::new());
        Ok(Admit::New(send(Reservation { lanes: self.clone(), key: key.clone(), seq, is_open: true })))
    }

    fn end(&self, key: &LaneKey, seq: Seq, is_durable: bool) {
        let mut state = self.state();
        let Some(lane) = state.lanes.get_mut(key) else { return };
        let waiting = lane.pending.remove(&seq).unwrap_or_default();
        if is_durable {
            lane.durable = lane.durable.max(seq);
        }
        drop(state);
        // A stream that is gone does not wait any more.
        for told in waiting {
            told.send(is_durable).ok();
        }
    }
}

impl State {
    fn sweep(&mut self, now: EventTime, idle: Duration) {
        let swept = *self.swept.get_or_insert(now);
        if now.0.saturating_sub(swept.0) < SWEEP_INTERVAL_US {
            return;
        }
        self.swept = Some(now);
        let oldest = now.0.saturating_sub(i64::try_from(idle.as_micros()).unwrap_or(i64::MAX));
        self.lanes.retain(|_, lane| !lane.pending.is_empty() || lane.last_ingest.0 >= oldest);
    }
}

/// A number in flight. Dropped without [`Reservation::commit`] its append has failed.
#[derive(Debug)]
pub struct Reservation {
    lanes: Arc<Lanes>,
    key: Arc<LaneKey>,
    seq: Seq,
    is_open: bool,
}

impl Reservation {
    /// The number is durable.
    pub fn commit(mut self) {
        self.is_open = false;
        self.lanes.end(&self.key, self.seq, true);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_open {
            self.lanes.end(&self.key, self.seq, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_schema::Incarnation;

    const DAY_US: i64 = 86_400_000_000;

    fn key(producer: &str) -> Arc<LaneKey> {
        let lane = Lane { producer: producer.into(), incarnation: Incarnation(1), stream: "events".into() };
        Arc::new(LaneKey { tenant: Tenant::default(), lane })
    }

    fn lanes() -> Arc<Lanes> {
        Lanes::new(3, Duration::from_secs(30 * 86_400))
    }

    fn admit(lanes: &Arc<Lanes>, seq: u64, previous: Option<u64>) -> Result<Admit<Reservation>, Refusal> {
        lanes.admit(&key("a"), Sent::batch(Seq(seq), previous.map(Seq)), EventTime(0), |reservation| reservation)
    }

    fn new(lanes: &Arc<Lanes>, seq: u64, previous: Option<u64>) -> Reservation {
        match admit(lanes, seq, previous).unwrap() {
            Admit::New(reservation) => reservation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn once_1_a_number_is_new_once() {
        let lanes = lanes();
        let first = new(&lanes, 1, None);
        let Ok(Admit::Pending(mut waits)) = admit(&lanes, 1, None) else { panic!("in flight") };
        assert!(waits.try_recv().is_err());
        first.commit();
        assert!(waits.try_recv().unwrap());
        assert!(matches!(admit(&lanes, 1, None), Ok(Admit::Durable)));
        assert_eq!(lanes.durable(&key("a")), Seq(1));
    }

    #[test]
    fn gaps_are_counted_and_late_numbers_refused() {
        let lanes = lanes();
        new(&lanes, 4, None).commit();
        assert_eq!(lanes.gaps(), 0, "where a lane begins is not known");
        let pending = new(&lanes, 9, Some(4));
        assert_eq!(lanes.gaps(), 4);
        assert!(matches!(admit(&lanes, 7, Some(9)), Err(Refusal::OutOfOrder { highest: Seq(9), .. })));
        pending.commit();
        assert!(matches!(admit(&lanes, 7, None), Ok(Admit::Durable)), "shed numbers are covered by the mark");
    }

    #[test]
    fn a_failed_append_ends_the_streams_that_sent_it() {
        let lanes = lanes();
        new(&lanes, 1, None).commit();
        let failing = new(&lanes, 2, Some(1));
        let Ok(Admit::Pending(mut waits)) = admit(&lanes, 2, Some(1)) else { panic!("in flight") };
        drop(failing);
        assert!(!waits.try_recv().unwrap());
        // Neither of the two streams may go on as if 2 were stored.
        let error = admit(&lanes, 3, Some(2)).unwrap_err();
        assert!(matches!(error, Refusal::LaneBroken { seq: Seq(2), .. }), "{error}");
        assert_eq!(lanes.durable(&key("a")), Seq(1));
        // A new stream sends it again.
        new(&lanes, 2, None).commit();
        new(&lanes, 3, Some(2)).commit();
        assert_eq!(lanes.durable(&key("a")), Seq(3));
    }

    /// A stream may learn late that it failed, when another one has already sent part of what failed again.
    #[test]
    fn once_1_a_stream_that_failed_cannot_overtake_the_one_that_sends_again() {
        let lanes = lanes();
        let failing: Vec<_> = (1..=25).map(|seq| new(&lanes, seq, (seq > 1).then(|| seq - 1))).collect();
        drop(failing);
        for again in 1..=22 {
            new(&lanes, again, (again > 1).then(|| again - 1)).commit();
            assert!(matches!(admit(&lanes, 26, Some(25)), Err(Refusal::LaneBroken { .. })), "23 to 25 would be lost");
        }
        for again in 23..=25 {
            new(&lanes, again, Some(again - 1)).commit();
        }
        new(&lanes, 26, Some(25)).commit();
        assert_eq!((lanes.durable(&key("a")), lanes.gaps()), (Seq(26), 0));
    }

    #[test]
    fn a_new_stream_may_skip_what_failed() {
        let lanes = lanes();
        drop(new(&lanes, 2, None));
        new(&lanes, 5, None).commit();
        assert_eq!(lanes.durable(&key("a")), Seq(5));
    }

    #[test]
    fn lanes_are_bounded_by_count_and_idleness() {
        let lanes = lanes();
        let admit = |producer: &str, day: i64| {
            lanes.admit(&key(producer), Sent::batch(Seq(1), None), EventTime(day * DAY_US), |reservation| reservation)
        };
        for producer in ["a", "b", "c"] {
            let Ok(Admit::New(reservation)) = admit(producer, 0) else { panic!("{producer}") };
            reservation.commit();
        }
        let error = admit("d", 0).unwrap_err().to_string();
        assert_eq!(error, "more than 3 lanes (producers, incarnations, streams) are in use");
        assert!(matches!(admit("a", 20), Ok(Admit::Durable)));
        let Ok(Admit::New(reservation)) = admit("d", 31) else { panic!("b and c are idle for 31 days") };
        reservation.commit();
        assert_eq!(
            lanes.marks().iter().map(|mark| mark.key.lane.producer.as_str().to_owned()).collect::<String>(),
            "ad"
        );
    }

    #[test]
    fn tenants_do_not_share_lanes() {
        let lanes = lanes();
        new(&lanes, 1, None).commit();
        let other = Arc::new(LaneKey { tenant: Tenant("other".into()), lane: key("a").lane.clone() });
        assert_eq!(lanes.durable(&other), Seq(0));
    }

    #[test]
    fn marks_are_restored() {
        let before = lanes();
        new(&before, 7, None).commit();
        let after = lanes();
        before.marks().into_iter().for_each(|mark| after.restore(mark));
        assert_eq!(after.marks(), before.marks());
        assert!(matches!(admit(&after, 7, None), Ok(Admit::Durable)));
    }
}
