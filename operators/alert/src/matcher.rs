//! Which labels a silence, a route or an inhibition is about, as Alertmanager has it: a label that is missing is empty,
//! and a regular expression matches the whole value.

use regex::Regex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Characters of a regular expression.
const PATTERN_BYTES_MAX: usize = 4096;

/// A condition on one label.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// Its value, or a pattern of it.
    pub value: String,
    /// The value is a regular expression.
    #[serde(default)]
    pub is_regex: bool,
    /// It has to match; else it must not.
    #[serde(default = "yes")]
    pub is_equal: bool,
    /// Compiled.
    #[serde(skip)]
    pattern: Option<Regex>,
}

fn yes() -> bool {
    true
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        let key = |m: &Self| (m.name.clone(), m.value.clone(), m.is_regex, m.is_equal);
        key(self) == key(other)
    }
}

impl Matcher {
    /// A condition.
    ///
    /// # Errors
    /// Where the pattern is none.
    pub fn new(name: &str, value: &str, is_regex: bool, is_equal: bool) -> Result<Self, String> {
        let mut made = Self { name: name.to_owned(), value: value.to_owned(), is_regex, is_equal, pattern: None };
        made.compile()?;
        Ok(made)
    }

    /// Makes it ready after it was read.
    ///
    /// # Errors
    /// Where the pattern is none.
    pub fn compile(&mut self) -> Result<(), String> {
        if self.value.len() > PATTERN_BYTES_MAX {
            return Err(format!("the pattern of {} is too long", self.name));
        }
        if self.is_regex {
            let pattern = format!("^(?:{})$", self.value);
            self.pattern = Some(Regex::new(&pattern).map_err(|error| format!("{}: {error}", self.name))?);
        }
        Ok(())
    }

    /// Whether it holds for these labels.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.name).map_or("", String::as_str);
        let is_equal = match (&self.pattern, self.is_regex) {
            (Some(pattern), _) => pattern.is_match(value),
            (None, true) => false,
            (None, false) => value == self.value,
        };
        is_equal == self.is_equal
    }

    /// Whether all hold.
    pub fn all_match(matchers: &[Self], labels: &BTreeMap<String, String>) -> bool {
        matchers.iter().all(|matcher| matcher.matches(labels))
    }
}

/// `{severity: critical, host: "~web.*"}` as conditions.
pub(crate) fn matchers(texts: &BTreeMap<String, String>) -> Result<Vec<Matcher>, String> {
    let matcher = |(name, value): (&String, &String)| match value.strip_prefix('~') {
        Some(pattern) => Matcher::new(name, pattern, true, true),
        None => Matcher::new(name, value, false, true),
    };
    texts.iter().map(matcher).collect()
}

/// A silence. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Identity.
    pub id: String,
    /// What it is about; all hold.
    pub matchers: Vec<Matcher>,
    /// From when.
    pub starts_at: i64,
    /// Until when.
    pub ends_at: i64,
    /// Who made it.
    pub created_by: String,
    /// Why.
    pub comment: String,
    /// When it was changed last.
    pub updated_at: i64,
}

impl Silence {
    /// Whether it mutes an alert with these labels at `now`.
    pub fn mutes(&self, labels: &BTreeMap<String, String>, now: i64) -> bool {
        self.starts_at <= now && now < self.ends_at && Matcher::all_match(&self.matchers, labels)
    }

    /// Silences as a side input's value.
    ///
    /// # Errors
    /// Where a matcher cannot be used.
    pub fn parse(value: &serde_json::Value) -> Result<Vec<Self>, String> {
        let mut silences: Vec<Self> =
            Deserialize::deserialize(value).map_err(|error: serde_json::Error| error.to_string())?;
        for matcher in silences.iter_mut().flat_map(|silence| &mut silence.matchers) {
            matcher.compile()?;
        }
        Ok(silences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_alertmanager_matches() {
        let labels = BTreeMap::from([("host".to_owned(), "web1".to_owned())]);
        let matches =
            |name, value, is_regex, is_equal| Matcher::new(name, value, is_regex, is_equal).unwrap().matches(&labels);
        assert!(matches("host", "web1", false, true) && !matches("host", "web", false, true));
        assert!(matches("host", "web.", true, true) && !matches("host", "web", true, true));
        assert!(!matches("host", "web1", false, false) && matches("host", "db", false, false));
        assert!(matches("none", "", false, true) && matches("none", ".*", true, true));
        assert!(Matcher::new("host", "(", true, true).is_err());
    }
}
