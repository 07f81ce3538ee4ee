//! Values that do not move although they usually do.

use super::exact;
use serde::{Deserialize, Serialize};

/// Equal values in a row before a series counts as stuck, and how unlikely they have to be, in a day of values.
const STUCK_MIN: u32 = 6;
const STUCK_LIKELY: f64 = 1e-4;
/// Steps by which what is known of a series has faded to a third.
const STEPS: f64 = 4096.0;

/// How often a series does not move.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Still {
    #[serde(with = "exact")]
    last: Option<f64>,
    /// Values equal to the one before, now and the most that was usual.
    equal: u32,
    equal_max: u32,
    /// Of all steps, those without a change, both fading.
    #[serde(with = "exact")]
    unmoved: f64,
    #[serde(with = "exact")]
    steps: f64,
    /// The run of equal values was found to be unusual.
    is_stuck: bool,
}

impl Still {
    /// Whether one more value like this is unusual, where a day has so many.
    pub(super) fn is_unusual(&self, value: f64, per_day: f64) -> bool {
        if self.last != Some(value) {
            return false;
        }
        let run = self.equal + 1;
        let share = (self.unmoved + 1.0) / (self.steps + 10.0);
        let usual = self.equal_max + (self.equal_max * 3 / 4).max(3);
        run >= STUCK_MIN.max(usual) && f64::from(run) * share.ln() < (STUCK_LIKELY / per_day).ln()
    }

    pub(super) fn learn(&mut self, value: f64, is_anomalous: bool) {
        if self.last == Some(value) {
            self.equal += 1;
            self.is_stuck |= is_anomalous;
            return;
        }
        // A run that was unusual says nothing of what is usual.
        let equal = if self.is_stuck { 0 } else { self.equal };
        self.equal_max = self.equal_max.max(equal);
        let fade = (1.0 - f64::from(equal + 1) / STEPS).max(0.0);
        self.unmoved = self.unmoved * fade + f64::from(equal);
        self.steps = self.steps * fade + f64::from(equal + 1);
        (self.equal, self.is_stuck, self.last) = (0, false, Some(value));
    }
}
