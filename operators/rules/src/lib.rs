//! Falco-compatible rules as vectorized predicates over batches.
//!
//! A set of rule files compiles once to a shared expression graph ([`RuleSet`]); a batch of events runs through it
//! column by column and gives the rules that fired, live and over history alike. This crate deliberately reads no
//! files, asks no clock and knows no queries: files come as text ([`RuleFile`]), events as Arrow or JSON
//! ([`Events`]).
//!
//! ```
//! use bodkin_rules::{Documents, Events, Matching, Options, RuleFile, RuleSet, Source};
//!
//! let content = "
//! - rule: Secret read
//!   desc: Somebody reads a secret.
//!   condition: ka.target.resource = secrets and ka.verb in (get, list)
//!   output: secret %ka.target.name read by %ka.user.name
//!   priority: NOTICE
//!   source: k8s_audit
//! ".to_owned();
//! let (rules, report) = RuleSet::load(&[RuleFile { name: "rules.yaml".to_owned(), content }], &Options::default());
//! let rules = rules.unwrap_or_else(|| panic!("{report}"));
//!
//! let event = br#"{"kind":"Event","stageTimestamp":"2026-01-02T03:04:05Z","verb":"get","user":{"username":"eve"},
//!                  "objectRef":{"resource":"secrets","name":"db"}}"#;
//! let events = Documents::parse(Source::K8sAudit, event)?;
//! let found = rules.findings(Events::Documents(Source::K8sAudit, &events.documents), Matching::First);
//! assert_eq!(found[0].output, "03:04:05.000000000: Notice secret db read by eve");
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`syntax`] | conditions: text to tree, with the place of every error |
//! | `load` | rule files: YAML, lists, macros, overrides, exceptions; [`Report`], [`check`] |
//! | `fields` | the fields of the language: type, argument, column or JSON path |
//! | `compile` | trees to the shared graph, event types, outputs; [`RuleSet`], [`Options`] |
//! | `eval` | the graph over a batch; [`Events`], [`Hit`], [`Matching`] |
//! | `finding`, `output` | [`Finding`]: what a rule prints, as rows of `findings`; [`FindingRows`]: those as JSON |
//! | `operator` | [`RulesOperator`]: the rules as a step of the dataflow |
//!
//! **Missing values.** A comparison of a field that has no value is false, `!=` included; `not x = y` is then true. A
//! column that is not in a batch is a field without value in every row.

mod compile;
mod eval;
mod fields;
mod finding;
mod load;
mod operator;
mod output;
pub mod syntax;

pub use compile::{AppendOutput, Options, Restriction, Rule, RuleSet, Screen, Switch, TextRestriction};
pub use eval::{Events, Hit, Matching};
pub use fields::audit::{audit_identity, audit_rows};
pub use fields::document::{Document, Documents};
pub use fields::rows::EventRows;
pub use fields::{ArgRule, EventSet, FieldInfo, Kind, fields_of};
pub use finding::{Finding, to_batch};
pub use load::{Diagnostic, Place, Priority, Report, RuleFile, Severity, Source};
pub use operator::{Observer, RULES_INPUT, RuleLoader, RulesInForce, RulesOperator};
pub use output::FindingRows;

/// Checks rule files as they would be loaded, and drops the rules.
pub fn check(files: &[RuleFile]) -> Report {
    RuleSet::load(files, &Options::default()).1
}
