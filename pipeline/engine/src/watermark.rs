//! How far event time has come, over all producers.
//!
//! The watermark is the smallest time that an active producer has reached, less what rows may be late. It is a function
//! of the log alone: rows move it, and what only a clock can tell (a producer is idle, the watermark is held up) is
//! written to the log as a [`WatermarkNote`] first and counts at its place there. So a replay moves it the same way.

use bodkin_schema::{EventTime, Producer, Tenant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Topic of [`WatermarkNote`]s in the log.
pub const WATERMARK_TOPIC: &str = "watermark";

/// How watermarks move.
#[derive(Clone, Copy, Debug)]
pub struct WatermarkOptions {
    /// How much later than the newest row of its producer a row may come.
    pub lateness: Duration,
    /// A producer that sent nothing for so long holds up nobody.
    pub idle_after: Duration,
    /// The watermark is at most so far behind the clock.
    pub lag_max: Duration,
    /// Event time counts at most so far ahead of the time of ingest.
    pub ahead_max: Duration,
    /// Operators hear of the watermark when it has moved by so much.
    pub step: Duration,
}

impl Default for WatermarkOptions {
    fn default() -> Self {
        Self {
            lateness: Duration::from_secs(10),
            idle_after: Duration::from_secs(30),
            lag_max: Duration::from_secs(600),
            ahead_max: Duration::from_secs(3600),
            step: Duration::from_secs(1),
        }
    }
}

/// What a clock has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkNote {
    /// Producers that are idle now, by tenant and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle: Vec<(String, String)>,
    /// The watermark is at least here, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least_us: Option<i64>,
}

/// The state as intents keep it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkState {
    current_us: Option<i64>,
    told_us: Option<i64>,
    newest_us: Option<i64>,
    /// Tenant, producer, newest event time.
    producers: Vec<(String, String, i64)>,
}

/// The watermark and what it follows from.
#[derive(Debug)]
pub struct Watermarks {
    options: WatermarkOptions,
    producers: BTreeMap<(Tenant, Producer), Active>,
    current: Option<EventTime>,
    /// The newest event time of any producer, idle ones included.
    newest: Option<EventTime>,
    /// What operators were told.
    told: Option<EventTime>,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    newest: EventTime,
    /// By the monotonic clock; only ever used to decide notes.
    seen: Duration,
}

impl Watermarks {
    /// Goes on from `state`. Producers count as seen at `now` of the monotonic clock.
    pub fn new(options: WatermarkOptions, state: &WatermarkState, now: Duration) -> Self {
        let producers = state.producers.iter().map(|(tenant, producer, newest)| {
            let key = (Tenant(tenant.as_str().into()), Producer::from(producer.as_str()));
            (key, Active { newest: EventTime(*newest), seen: now })
        });
        let current = state.current_us.map(EventTime);
        let newest = state.newest_us.map(EventTime);
        Self { options, producers: producers.collect(), current, newest, told: state.told_us.map(EventTime) }
    }

    /// The state for an intent.
    pub fn state(&self) -> WatermarkState {
        let producers = self.producers.iter();
        WatermarkState {
            current_us: self.current.map(EventTime::micros),
            told_us: self.told.map(EventTime::micros),
            newest_us: self.newest.map(EventTime::micros),
            producers: producers
                .map(|((tenant, producer), active)| (tenant.to_string(), producer.to_string(), active.newest.0))
                .collect(),
        }
    }

    /// Where operators were told it is.
    pub fn told(&self) -> Option<EventTime> {
        self.told
    }

    /// Rows up to event time `newest` came at `ingest`. Gives the watermark where operators should hear of it.
    pub fn rows(
        &mut self,
        tenant: &Tenant,
        producer: &Producer,
        newest: EventTime,
        ingest: EventTime,
        now: Duration,
    ) -> Option<EventTime> {
        let newest = EventTime(newest.0.min(ingest.0.saturating_add(micros(self.options.ahead_max))));
        self.newest = self.newest.max(Some(newest));
        let key = (tenant.clone(), producer.clone());
        let active = self.producers.entry(key).or_insert(Active { newest, seen: now });
        active.seen = now;
        active.newest = active.newest.max(newest);
        self.advance()
    }

    /// Applies what a clock has decided, at its place in the log.
    pub fn note(&mut self, note: &WatermarkNote) -> Option<EventTime> {
        for (tenant, producer) in &note.idle {
            self.producers.remove(&(Tenant(tenant.as_str().into()), Producer::from(producer.as_str())));
        }
        self.current = self.current.max(note.at_least_us.map(EventTime));
        self.advance()
    }

    /// What the clocks say now, if that is something new: to be logged, then applied by [`Self::note`].
    pub fn decide(&self, wall: EventTime, now: Duration) -> Option<WatermarkNote> {
        let is_idle = |active: &Active| now.saturating_sub(active.seen) >= self.options.idle_after;
        let idle = self.producers.iter().filter(|(_, active)| is_idle(active));
        let idle: Vec<_> = idle.map(|((tenant, producer), _)| (tenant.to_string(), producer.to_string())).collect();
        // Nothing waits for a watermark beyond the newest row: an idle server must not write notes for ever.
        let floor = EventTime(wall.0.saturating_sub(micros(self.options.lag_max)));
        let is_held_up = self.newest.is_some_and(|newest| self.current < Some(floor.min(newest)));
        let at_least_us = is_held_up.then_some(self.newest.map_or(floor, |newest| floor.min(newest)).0);
        (!idle.is_empty() || at_least_us.is_some()).then_some(WatermarkNote { idle, at_least_us })
    }

    fn advance(&mut self) -> Option<EventTime> {
        let slowest = self.producers.values().map(|active| active.newest).min().or(self.newest);
        let reached = slowest.map(|time| EventTime(time.0.saturating_sub(micros(self.options.lateness))));
        self.current = self.current.max(reached);
        let current = self.current?;
        let is_step = self.told.is_none_or(|told| current.0.saturating_sub(told.0) >= micros(self.options.step));
        is_step.then(|| {
            self.told = Some(current);
            current
        })
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn watermarks() -> Watermarks {
        Watermarks::new(WatermarkOptions::default(), &WatermarkState::default(), secs(0))
    }

    fn rows(watermarks: &mut Watermarks, producer: &str, event_s: i64, now_s: u64) -> Option<i64> {
        let ingest = EventTime(now_s as i64 * S);
        let moved = watermarks.rows(&Tenant::default(), &producer.into(), EventTime(event_s * S), ingest, secs(now_s));
        moved.map(|time| time.0 / S)
    }

    #[test]
    fn the_slowest_active_producer_counts() {
        let mut all = watermarks();
        assert_eq!(rows(&mut all, "a", 100, 100), Some(90));
        assert_eq!(rows(&mut all, "b", 95, 100), None, "it never goes back");
        assert_eq!(rows(&mut all, "a", 200, 101), None, "b is at 95");
        assert_eq!(all.decide(EventTime(120 * S), secs(120)), None);
        let note = all.decide(EventTime(130 * S), secs(130)).unwrap();
        assert_eq!(note.idle, [("default".to_owned(), "b".to_owned())]);
        assert_eq!(all.note(&note), Some(EventTime(190 * S)));
        assert_eq!(rows(&mut all, "b", 96, 140), None, "late rows do not hold it up in retrospect");
        assert_eq!(all.told(), Some(EventTime(190 * S)));
    }

    #[test]
    fn a_clock_that_is_ahead_does_not_run_away_and_one_that_is_behind_does_not_hold_up() {
        let mut all = watermarks();
        assert_eq!(rows(&mut all, "ahead", 1_000_000, 100), Some(100 + 3600 - 10));
        let mut all = watermarks();
        rows(&mut all, "behind", 0, 5000);
        rows(&mut all, "right", 5000, 5000);
        let note = all.decide(EventTime(5001 * S), secs(5001)).unwrap();
        assert_eq!(note.at_least_us, Some(4401 * S));
        assert_eq!(all.note(&note), Some(EventTime(4401 * S)));
    }

    #[test]
    fn det_1_a_replay_moves_it_the_same_way_and_an_idle_server_writes_no_notes() {
        let mut live = watermarks();
        rows(&mut live, "a", 100, 100);
        let mut replayed = Watermarks::new(WatermarkOptions::default(), &live.state(), secs(7));
        assert_eq!(rows(&mut live, "b", 300, 300), rows(&mut replayed, "b", 300, 300));
        let mut notes = 0;
        for second in 300..100_000 {
            if let Some(note) = live.decide(EventTime(second * S), secs(second as u64)) {
                assert_eq!(live.note(&note), replayed.note(&note));
                notes += 1;
            }
        }
        assert!(notes < 1000, "{notes} notes");
        assert_eq!(live.state(), replayed.state());
        let again = Watermarks::new(WatermarkOptions::default(), &live.state(), secs(0));
        assert_eq!(again.state(), live.state());
    }
}
