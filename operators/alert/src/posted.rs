//! Alerts that others post, as to an Alertmanager: Prometheus, vmalert, `amtool alert add`. They are routed, grouped,
//! silenced and inhibited like those of our own rules.
//!
//! Each post is logged as an observation of kind `posted` whose labels hold the alert as JSON, so that a replay has it
//! again. An alert fires until its end; where it says none, until it has not been posted for five minutes.

use crate::observe::{Kind, Observation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long an alert without an end fires after it was posted.
pub const RESOLVE_AFTER_US: i64 = 300_000_000;
/// Alerts at one time; further ones are counted and left out.
pub(crate) const POSTED_MAX: usize = 10_000;
/// Bytes of one alert.
const BYTES_MAX: usize = 64 << 10;

/// An alert of somebody else. Times are microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedAlert {
    /// Its identity.
    pub labels: BTreeMap<String, String>,
    /// Texts for people.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    pub starts_at: i64,
    /// When it ends; in the past where it is resolved.
    pub ends_at: i64,
    /// Where it came from.
    #[serde(default)]
    pub generator_url: String,
}

impl PostedAlert {
    /// Checks what was posted.
    ///
    /// # Errors
    /// What is wrong, for whoever posted it.
    pub fn check(&self) -> Result<(), String> {
        if self.labels.values().all(String::is_empty) {
            return Err("an alert has at least one label with a value".to_owned());
        }
        if let Some(name) = self.labels.keys().find(|name| name.is_empty()) {
            return Err(format!("{name:?} is no name of a label"));
        }
        if self.ends_at < self.starts_at {
            return Err("endsAt is before startsAt".to_owned());
        }
        let texts = self.labels.iter().chain(&self.annotations);
        let bytes: usize =
            texts.map(|(name, value)| name.len() + value.len()).sum::<usize>() + self.generator_url.len();
        if bytes > BYTES_MAX {
            return Err(format!("an alert of {bytes} bytes exceeds the limit of {BYTES_MAX}"));
        }
        Ok(())
    }

    /// As a row of `evaluations`.
    pub fn observation(&self, now: i64) -> Observation {
        Observation {
            ts: now,
            rule: self.rule().to_owned(),
            kind: Kind::Posted,
            labels: serde_json::to_string(self).expect("invariant: texts and numbers always serialize"),
            value: None,
        }
    }

    /// The alert of a row, if it is one.
    pub(crate) fn of(observation: &Observation) -> Option<Self> {
        let mut alert: Self = serde_json::from_str(&observation.labels).ok()?;
        // As Alertmanager: a label without a value is none.
        alert.labels.retain(|_, value| !value.is_empty());
        (!alert.labels.is_empty()).then_some(alert)
    }

    /// The name of its rule.
    pub(crate) fn rule(&self) -> &str {
        self.labels.get(bodkin_forward::message::ALERTNAME).map_or("", String::as_str)
    }

    /// Identity among all alerts.
    pub(crate) fn key(&self) -> String {
        let labels = crate::observe::labels_text(&self.labels);
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(format!("\n{labels}").as_bytes()))
    }
}
