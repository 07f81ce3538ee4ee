//! How many findings an output is given: of a rule, or of a rule and more that tells them apart, so many in a time.
//!
//! What is held back is in the table all the same, and is counted: the next finding of its kind that goes out says how many
//! there were before it.

use crate::config::LimitSection;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::time::Duration;

/// Kinds that are counted at one time; findings of any further kind go out.
const KINDS_MAX: usize = 10_000;

/// The limit of one output.
#[derive(Debug)]
pub(super) struct Limiter {
    by: Vec<String>,
    at_most: u64,
    every: Duration,
    kinds: HashMap<String, Kind>,
    held_back: u64,
}

#[derive(Debug)]
struct Kind {
    since: Duration,
    sent: u64,
    held_back: u64,
}

impl Limiter {
    /// # Errors
    /// Where the section gives no time.
    pub(super) fn new(section: &LimitSection) -> anyhow::Result<Self> {
        let (by, at_most, every) = (section.by.clone(), section.at_most.max(1), section.every()?);
        Ok(Self { by, at_most, every, kinds: HashMap::new(), held_back: 0 })
    }

    /// Findings that were held back so far.
    pub(super) fn held_back(&self) -> u64 {
        self.held_back
    }

    /// The finding if it may go out at `now`, with `held_back` where others of its kind were before it.
    pub(super) fn pass(&mut self, mut finding: Map<String, Value>, now: Duration) -> Option<Map<String, Value>> {
        let key = self.key(&finding);
        let every = self.every;
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&key) {
            self.kinds.retain(|_, kind| now.saturating_sub(kind.since) < every || kind.held_back > 0);
            if self.kinds.len() >= KINDS_MAX {
                return Some(finding);
            }
        }
        let kind = self.kinds.entry(key).or_insert(Kind { since: now, sent: 0, held_back: 0 });
        if now.saturating_sub(kind.since) >= self.every {
            (kind.since, kind.sent) = (now, 0);
        }
        if kind.sent >= self.at_most {
            kind.held_back += 1;
            self.held_back += 1;
            return None;
        }
        kind.sent += 1;
        match std::mem::take(&mut kind.held_back) {
            0 => {}
            count => drop(finding.insert("held_back".to_owned(), count.into())),
        }
        Some(finding)
    }

    /// What tells a finding from others: values of it or of its output fields.
    fn key(&self, finding: &Map<String, Value>) -> String {
        let value = |name: &String| {
            let field = || finding.get("output_fields").and_then(|fields| fields.get(name));
            finding.get(name).or_else(field).unwrap_or(&Value::Null).to_string()
        };
        self.by.iter().map(value).collect::<Vec<_>>().join("\0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn finding(rule: &str, name: &str) -> Map<String, Value> {
        match json!({"rule": rule, "output_fields": {"proc.name": name}}) {
            Value::Object(finding) => finding,
            _ => Map::new(),
        }
    }

    #[test]
    fn so_many_of_a_kind_in_a_time() {
        let section: LimitSection = serde_saphyr::from_str("{by: [rule, proc.name], at_most: 2, every: 10s}").unwrap();
        let mut limiter = Limiter::new(&section).unwrap();
        let mut pass = |rule, name, seconds| {
            let passed = limiter.pass(finding(rule, name), Duration::from_secs(seconds));
            passed.map(|finding| finding.get("held_back").cloned())
        };
        assert_eq!(pass("a", "x", 0), Some(None));
        assert_eq!(pass("a", "x", 1), Some(None));
        assert_eq!(pass("a", "x", 2), None);
        assert_eq!(pass("a", "y", 2), Some(None), "another kind");
        assert_eq!(pass("b", "x", 2), Some(None));
        assert_eq!(pass("a", "x", 9), None);
        assert_eq!(pass("a", "x", 10), Some(Some(json!(2))));
        assert_eq!(pass("a", "x", 11), Some(None));
        assert_eq!(limiter.held_back(), 2);
        assert!(Limiter::new(&serde_saphyr::from_str("{every: soon}").unwrap()).is_err());
    }
}
