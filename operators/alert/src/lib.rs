//! Alerts: from observations to states, from states to notifications.
//!
//! ```text
//!  rows of a node --(when)--> Observe ---+
//!  answers of scheduled queries ---------+--> AlertOperator --> table alerts (each change of a state)
//!  ticks ---------------------------------+        |
//!                                                  +--> deliver/<channel>: groups, less what is silenced or inhibited
//! ```
//! An observation says that the condition of a rule holds for some labels, or held, or was asked for. The operator has no
//! clock: time is the newest time of ingest that it has seen, and ticks in the log move it where nothing else comes. So
//! a replay makes the same changes and the same deliveries under the same keys. All observations meet on one shard. This
//! crate asks no queries: who asks them logs the answers.
//!
//! ```
//! use bodkin_alert::AlertsConfig;
//!
//! let config: AlertsConfig = serde_json::from_str(
//!     r#"{"rules": [{"alert": "Shadow", "from": "events", "when": "path = '/etc/shadow'", "by": ["host"]}],
//!         "route": {"channel": "ops"}}"#,
//! )?;
//! assert!(config.check(&["ops"]).is_ok());
//! assert!(config.check(&[]).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | [`AlertsConfig`], [`Rule`]: rules, routes, inhibition as they stand in the configuration |
//! | [`matcher`] | [`Matcher`]: labels that a silence or a route is about |
//! | [`observe`] | [`Observation`], [`Observe`]: rows that a rule looks at |
//! | `export` | routes as an Alertmanager's configuration |
//! | `instance` | states of one rule and label set |
//! | `kept` | what an epoch keeps, and how time passes in it |
//! | [`anomaly`] | what is unusual: against a seasonal baseline, against the others of a group |
//! | `notify` | groups, silences, inhibition, repeats |
//! | `posted` | [`PostedAlert`]: alerts of others, as an Alertmanager takes them |
//! | [`operator`] | [`AlertOperator`] |
//! | [`board`] | [`Board`]: the alerts as they are now, for whoever asks |

pub mod anomaly;
pub mod board;
pub mod config;
mod export;
mod instance;
mod kept;
pub mod matcher;
mod notify;
pub mod observe;
pub mod operator;
mod posted;
#[cfg(test)]
mod tests;

pub use board::{ActiveAlert, Board};
pub use config::{AlertsConfig, Rule, RuleKind};
pub use matcher::{Matcher, Silence};
pub use observe::{Kind, Observation, Observe};
pub use operator::{AlertOperator, SILENCES_INPUT};
pub use posted::{PostedAlert, RESOLVE_AFTER_US};
