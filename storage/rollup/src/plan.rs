//! Which units are to be made now: decided from the state and the time alone.

use crate::state::{State, UNIT_US, Unit};
use crate::tier::Tier;
use std::ops::Range;

const MINUTE_MS: i64 = 60_000;
/// How old the newest sample of a unit is, by ingestion, when the unit is made for the first time.
const QUIET_NEW_MS: i64 = 6 * 60 * MINUTE_MS;
/// The same where it was made before and a sample came late.
const QUIET_LATE_MS: i64 = 10 * MINUTE_MS;

/// Whether `unit` is due at `now_ms`. A unit into which samples trickle is made when the first has waited twice as
/// long, and again later.
fn is_due(unit: &Unit, now_ms: i64) -> bool {
    let quiet_ms = if unit.made_day.is_some() { QUIET_LATE_MS } else { QUIET_NEW_MS };
    unit.pending
        .is_some_and(|pending| now_ms - pending.last_ms >= quiet_ms || now_ms - pending.first_ms >= 2 * quiet_ms)
}

/// Whether the samples of a unit that was made are partly gone, so that it cannot be made again.
pub(crate) fn is_settled(unit: &Unit, kept_since_day: i32) -> bool {
    unit.made_day.is_some() && unit.oldest_day < kept_since_day
}

/// The stretches of event time to be made, in microseconds: units that follow each other, of one UTC day each. All that
/// are pending within `all` where that is given, else those that are due at `now_ms`.
pub(crate) fn stretches(state: &State, now_ms: i64, kept_since_day: i32, all: Option<&Range<i64>>) -> Vec<Range<i64>> {
    let is_wanted = |start: i64, unit: &Unit| match all {
        Some(range) => unit.pending.is_some() && start < range.end && start.saturating_add(UNIT_US) > range.start,
        None => is_due(unit, now_ms),
    };
    let mut stretches: Vec<Range<i64>> = Vec::new();
    for (start, unit) in &state.units {
        if !is_wanted(*start, unit) || is_settled(unit, kept_since_day) {
            continue;
        }
        let end = start.saturating_add(UNIT_US);
        match stretches.last_mut() {
            Some(last) if last.end == *start && start.rem_euclid(Tier::Day.window_us()) != 0 => last.end = end,
            _ => stretches.push(*start..end),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(state: &State, now_ms: i64, all: Option<Range<i64>>) -> Vec<(i64, i64)> {
        let hour = Tier::Hour.window_us();
        let found = stretches(state, now_ms, 0, all.as_ref());
        found.into_iter().map(|stretch| (stretch.start / hour, stretch.end / hour)).collect()
    }

    #[test]
    fn six_hours_after_the_last_sample_and_at_the_latest_after_twelve() {
        let mut state = State::default();
        state.touch(0, 0, 1000);
        assert_eq!(hours(&state, 1000 + QUIET_NEW_MS - 1, None), []);
        assert_eq!(hours(&state, 1000 + QUIET_NEW_MS, None), [(0, 2)]);
        state.touch(0, 0, 1000 + 2 * QUIET_NEW_MS);
        assert_eq!(hours(&state, 1000 + 2 * QUIET_NEW_MS, None), [(0, 2)], "it trickles");
        if let Some(unit) = state.units.get_mut(&0) {
            *unit = Unit { made_day: Some(1), pending: None, ..*unit };
        }
        assert_eq!(hours(&state, i64::MAX / 2, None), []);
        state.touch(0, 0, 5000);
        assert_eq!(hours(&state, 5000 + QUIET_LATE_MS, None), [(0, 2)]);
        assert_eq!(stretches(&state, 5000 + QUIET_LATE_MS, 1, None), [], "its samples are gone");
    }

    #[test]
    fn a_stretch_ends_with_its_day() {
        let mut state = State::default();
        (-1..14).filter(|unit| *unit != 3).for_each(|unit| state.touch(unit * UNIT_US, 0, 0));
        assert_eq!(hours(&state, 0, Some(i64::MIN..i64::MAX)), [(-2, 0), (0, 6), (8, 24), (24, 28)]);
        assert_eq!(hours(&state, 0, Some(UNIT_US * 2 + 1..UNIT_US * 2 + 2)), [(4, 6)]);
    }
}
