//! One rule and label set: what was observed, and the state that follows.

use crate::anomaly::Baseline;
use crate::config::{Rule, RuleKind, micros};
use crate::observe::{Kind, Observation};
use serde::{Deserialize, Serialize};

const DAY_US: i64 = 86_400_000_000;
/// What was learned of a series is kept for so long after its last value.
const LEARNED_KEPT_US: i64 = 14 * DAY_US;

/// Answers that may be missing while a condition counts as held.
const ANSWERS_MISSED_MAX: i64 = 2;

/// How long a source is missed that is silent: then it is gone for good, and so is its alert.
fn remembered(absent: i64) -> i64 {
    absent.saturating_mul(10).max(DAY_US)
}

/// The state of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// The condition does not hold.
    #[default]
    Inactive,
    /// It holds, not yet long enough.
    Pending,
    /// It has held long enough.
    Firing,
}

/// What is kept of a label set. Times are microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) state: State,
    /// Since when the condition holds, by the time of what showed it.
    pub(crate) starts_at: i64,
    /// Since when it holds, by the operator's time.
    held_since: i64,
    /// The operator's time at the last observation that the condition holds.
    pub(crate) seen: i64,
    pub(crate) value: Option<f64>,
    /// Event times of rows that are counted, ascending, at most as many as are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    times: Vec<i64>,
    /// It was part of the answer that is being given.
    #[serde(default)]
    is_answered: bool,
    /// Time since it was part of an answer in which nobody could have asked.
    #[serde(default)]
    unasked_us: i64,
    /// What is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    baseline: Option<Box<Baseline>>,
}

/// A change of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Pending,
    Firing,
    Resolved,
    /// Pending, and then not.
    Dropped,
}

impl Change {
    /// As `alerts.state` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Dropped => "inactive",
        }
    }
}

impl Instance {
    /// Takes an observation at `now`.
    pub(crate) fn observe(&mut self, rule: &Rule, kind: RuleKind, seen: &Observation, now: i64) -> Vec<Change> {
        self.value = seen.value.or(self.value);
        match kind {
            RuleKind::Rows => {
                self.seen = now;
                self.set(rule, true, seen.ts, now)
            }
            RuleKind::Count { at_least, over } => {
                let at = self.times.partition_point(|time| *time <= seen.ts);
                self.times.insert(at, seen.ts);
                let spare = self.times.len().saturating_sub(at_least as usize);
                self.times.drain(..spare);
                let (Some(first), Some(last)) = (self.times.first(), self.times.last()) else { return Vec::new() };
                let holds = self.times.len() >= at_least as usize && last - first <= over;
                self.value = Some(self.times.len() as f64);
                if !holds {
                    return Vec::new();
                }
                self.seen = now;
                let last = *last;
                self.set(rule, true, last, now)
            }
            RuleKind::Absent { .. } => {
                self.seen = now;
                self.set(rule, false, seen.ts, now)
            }
            RuleKind::Query => {
                (self.is_answered, self.unasked_us) = (true, 0);
                if rule.anomaly.as_ref().is_some_and(|config| config.outlier) {
                    // Judged when the others are known.
                    return Vec::new();
                }
                let kind = match (&rule.anomaly, seen.value) {
                    (Some(config), Some(value)) if seen.kind == Kind::Firing => {
                        let baseline = self.baseline.get_or_insert_default();
                        let verdict = baseline.add(config, seen.ts, value);
                        if verdict.is_anomalous { Kind::Firing } else { Kind::Clear }
                    }
                    _ => seen.kind,
                };
                match kind {
                    Kind::Firing => {
                        self.seen = now;
                        self.set(rule, true, seen.ts, now)
                    }
                    // Between the two thresholds the state stays, but a pending alert has not held all the time.
                    Kind::Held if self.state == State::Firing => Vec::new(),
                    _ => self.set(rule, false, seen.ts, now),
                }
            }
        }
    }

    /// It is part of the answer that is being given.
    pub(crate) fn is_in_answer(&self) -> bool {
        self.is_answered
    }

    /// Bytes that it holds, about.
    pub(crate) fn bytes(&self) -> usize {
        std::mem::size_of::<Self>() + 8 * self.times.len() + self.baseline.as_ref().map_or(0, |_| Baseline::BYTES)
    }

    /// Its group has judged it.
    pub(crate) fn judged(&mut self, rule: &Rule, is_outlier: bool, now: i64) -> Vec<Change> {
        if is_outlier {
            self.seen = now;
        }
        self.set(rule, is_outlier, now, now)
    }

    /// The answer of a query is complete: what was not in it is gone.
    pub(crate) fn answered(&mut self, rule: &Rule, now: i64) -> Vec<Change> {
        if std::mem::take(&mut self.is_answered) {
            return Vec::new();
        }
        let Some((config, baseline)) = rule.anomaly.as_ref().zip(self.baseline.as_ref()) else {
            return self.set(rule, false, now, now);
        };
        let asked = now - self.unasked_us;
        // That a learned series ends is unusual; what was silent for a day is gone for good.
        if baseline.is_missed(config, asked) {
            self.seen = now;
            return self.set(rule, true, now, now);
        }
        // A gap that is short says nothing.
        if baseline.is_gap(config, asked) { Vec::new() } else { self.set(rule, false, now, now) }
    }

    /// The clock was moved by `by` microseconds: times that are measured from move along.
    pub(crate) fn shift(&mut self, by: i64) {
        self.seen = self.seen.saturating_add(by);
        self.held_since = self.held_since.saturating_add(by);
    }

    /// Nobody could have seen anything for `away` microseconds: they do not count.
    pub(crate) fn skip(&mut self, away: i64) {
        self.shift(away);
        self.unasked_us = self.unasked_us.saturating_add(away);
    }

    /// Time has come to `now`.
    pub(crate) fn step(&mut self, rule: &Rule, kind: RuleKind, now: i64) -> Vec<Change> {
        match kind {
            RuleKind::Rows if self.state != State::Inactive && now - self.seen > micros(rule.keep) => {
                self.set(rule, false, now, now)
            }
            RuleKind::Count { over, .. }
                if self.state != State::Inactive && now - self.seen > over.max(micros(rule.keep)) =>
            {
                self.set(rule, false, now, now)
            }
            RuleKind::Absent { after } if now - self.seen > remembered(after) => self.set(rule, false, now, now),
            RuleKind::Absent { after } if now - self.seen >= after => self.set(rule, true, self.seen + after, now),
            // Whether it still holds is not known where no answer has come for a while.
            RuleKind::Query if now - self.seen > micros(rule.every).saturating_mul(ANSWERS_MISSED_MAX) => Vec::new(),
            _ if self.state == State::Pending => self.set(rule, true, self.starts_at, now),
            _ => Vec::new(),
        }
    }

    /// Whether nothing needs it any more.
    pub(crate) fn is_idle(&self, kind: RuleKind, now: i64) -> bool {
        let keeps = match kind {
            RuleKind::Rows => false,
            RuleKind::Count { over, .. } => self.times.last().is_some_and(|last| now - last <= over),
            RuleKind::Absent { after } => now - self.seen <= remembered(after),
            RuleKind::Query => {
                self.baseline.as_ref().is_some_and(|baseline| now - baseline.last_ts() <= LEARNED_KEPT_US)
            }
        };
        self.state == State::Inactive && !keeps
    }

    fn set(&mut self, rule: &Rule, holds: bool, ts: i64, now: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        match (self.state, holds) {
            (State::Inactive, true) => {
                (self.starts_at, self.held_since, self.state) = (ts, now, State::Pending);
                if rule.hold.is_zero() {
                    self.state = State::Firing;
                    changes.push(Change::Firing);
                } else {
                    changes.push(Change::Pending);
                }
            }
            (State::Pending, true) if now - self.held_since >= micros(rule.hold) => {
                self.state = State::Firing;
                changes.push(Change::Firing);
            }
            (State::Pending, false) => {
                self.state = State::Inactive;
                changes.push(Change::Dropped);
            }
            (State::Firing, false) => {
                self.state = State::Inactive;
                changes.push(Change::Resolved);
            }
            _ => {}
        }
        changes
    }
}
