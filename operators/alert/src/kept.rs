//! The state of the operator, and how time passes in it.

use crate::instance::Instance;
use crate::notify::Notifier;
use crate::posted::PostedAlert;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What lies between two ticks counts for at most so long: a tick is logged each second, and where none was, nobody could
/// have seen that a condition holds, or that a source is not silent.
const TICK_US_MAX: i64 = 10_000_000;

/// What an epoch keeps.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// By rule, then by labels.
    pub(crate) instances: BTreeMap<String, BTreeMap<String, Instance>>,
    pub(crate) notifier: Notifier,
    /// Alerts of others that fire, by key.
    #[serde(default)]
    pub(crate) posted: BTreeMap<String, PostedAlert>,
    /// Rule and labels of alerts that fired when their rule was taken out of the configuration.
    #[serde(default)]
    pub(crate) orphans: Vec<(String, String)>,
    /// The newest time that was seen, in microseconds.
    pub(crate) now: i64,
    /// That of the last tick.
    #[serde(default)]
    ticked_at: Option<i64>,
}

impl Kept {
    /// Takes the time of what comes. Only ticks are from one clock and in its order: they say that it was set back, or that
    /// nobody was there; what others bring is believed as far as it lies close to the last one.
    pub(crate) fn pass(&mut self, time: i64, is_tick: bool) {
        let Some(last) = self.ticked_at else {
            self.now = self.now.max(time);
            self.ticked_at = is_tick.then_some(time);
            return;
        };
        if !is_tick {
            self.now = self.now.max(time.min(last.saturating_add(TICK_US_MAX)));
            return;
        }
        self.ticked_at = Some(time);
        let passed = time.saturating_sub(last);
        let instances = self.instances.values_mut().flat_map(BTreeMap::values_mut);
        if passed < 0 {
            instances.for_each(|instance| instance.shift(passed));
            self.notifier.shift(passed);
            self.now = self.now.saturating_add(passed);
        } else if passed > TICK_US_MAX {
            let away = passed - TICK_US_MAX;
            instances.for_each(|instance| instance.skip(away));
            self.posted.values_mut().for_each(|alert| alert.ends_at = alert.ends_at.saturating_add(away));
        }
        self.now = self.now.max(time);
    }
}
