//! Prometheus's rule files: evaluated on time, results as samples, alerts to Alertmanagers.
//!
//! A [`RuleManager`] runs the groups of rule files over anything that PromQL can read, hands what they give to a
//! [`SampleSink`] and what fires to a [`Notifier`]. It deliberately stores nothing itself: what an alert has waited is read
//! back from its own series `ALERTS_FOR_STATE` after a restart, as Prometheus does.
//!
//! ```
//! use bodkin_promrules::RuleFile;
//!
//! let file = RuleFile::parse("rules.yml", r#"
//! groups:
//! - name: node
//!   rules:
//!   - record: instance:load1
//!     expr: avg by (instance) (node_load1)
//!   - alert: NodeBusy
//!     expr: instance:load1 > 8
//!     for: 10m
//!     labels: {severity: page}
//!     annotations: {summary: "{{ $labels.instance }} has a load of {{ $value }}"}
//! "#)?;
//! assert_eq!(file.groups[0].rules.len(), 2);
//! # Ok::<(), bodkin_promrules::RuleFileError>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`mod@file`] | rule files and what is wrong with them |
//! | [`template`] | texts of labels and annotations |
//! | `alert` | the states of an alert: a pure function of results and time |
//! | `group` | one evaluation of a group |
//! | [`manager`] | [`RuleManager`]: groups on time, reload, what they look like now |
//! | [`notify`] | [`Notifier`]: alerts to Alertmanagers |

mod alert;
pub mod file;
mod group;
pub mod manager;
pub mod notify;
pub mod template;

pub use alert::{AlertState, AlertView};
pub use file::{Group, Rule, RuleFile, RuleFileError, RuleKind};
pub use manager::{GroupView, Health, ManagerOptions, ManagerStats, RuleManager, RuleView, SampleSink};
pub use notify::{Alertmanager, Edit, Notification, Notifier, NotifierOptions, NotifierStats};
