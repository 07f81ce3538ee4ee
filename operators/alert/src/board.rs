//! The alerts as they are now, for whoever asks; written by the operator, read by the API.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An alert that is pending or fires.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActiveAlert {
    /// The rule.
    pub rule: String,
    /// All its labels, `alertname` and `severity` among them.
    pub labels: BTreeMap<String, String>,
    /// Texts for people.
    pub annotations: BTreeMap<String, String>,
    /// It fires; else it is pending.
    pub is_firing: bool,
    /// The last value.
    pub value: Option<f64>,
    /// Since when the condition holds, in microseconds.
    pub starts_at: i64,
    /// When it changed or was confirmed last.
    pub updated_at: i64,
    /// Where somebody else has it from; empty for our own rules.
    #[serde(default)]
    pub generator_url: String,
    /// Identity.
    pub key: String,
    /// Silences that mute it.
    pub silenced_by: Vec<String>,
    /// Alerts that mute it, by key.
    pub inhibited_by: Vec<String>,
    /// Channels that it goes to.
    pub receivers: Vec<String>,
}

/// What the operator shows.
#[derive(Debug, Default)]
pub struct Board {
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    alerts: Vec<ActiveAlert>,
    now: i64,
}

impl Board {
    /// Shows these instead.
    pub(crate) fn show(&self, alerts: Vec<ActiveAlert>, now: i64) {
        *self.lock() = Shown { alerts, now };
    }

    /// The alerts, by rule and labels.
    pub fn alerts(&self) -> Vec<ActiveAlert> {
        self.lock().alerts.clone()
    }

    /// The operator's time, in microseconds.
    pub fn now(&self) -> i64 {
        self.lock().now
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
