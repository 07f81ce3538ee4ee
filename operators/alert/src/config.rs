//! Rules, routes and inhibition as they stand in the configuration.

use crate::anomaly::AnomalyConfig;
use crate::matcher::{Matcher, matchers};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is wrong with the configuration of alerts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct ConfigError {
    /// Rule or section.
    pub place: String,
    /// Why.
    pub reason: String,
}

/// The section `alerts`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsConfig {
    /// The rules.
    pub rules: Vec<Rule>,
    /// Where notifications go.
    pub route: Option<Route>,
    /// Alerts that mute others.
    pub inhibit: Vec<Inhibit>,
    /// Whether the rules that come with the program are among them; they are unless this says no.
    pub shipped: Option<bool>,
}

/// A rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name: the label `alertname`.
    #[serde(rename = "alert")]
    pub name: String,
    /// The stream or operator whose rows it looks at.
    #[serde(default)]
    pub from: Option<String>,
    /// A scheduled query: columns of text are labels, `value` is the value.
    #[serde(default)]
    pub sql: Option<String>,
    /// A scheduled query in PromQL.
    #[serde(default)]
    pub promql: Option<String>,
    /// A family of our own metrics: its samples as rows, labels as columns, `value`.
    #[serde(default)]
    pub own: Option<String>,
    /// How often the query is asked.
    #[serde(default = "every", deserialize_with = "duration")]
    pub every: Duration,
    /// The condition, over the columns of a row or of an answer.
    #[serde(default)]
    pub when: Option<String>,
    /// Only when this holds a firing alert is resolved: the other threshold of a hysteresis.
    #[serde(default)]
    pub until: Option<String>,
    /// Columns that become labels.
    #[serde(default)]
    pub by: Vec<String>,
    /// An expression for the value of a row.
    #[serde(default)]
    pub value: Option<String>,
    /// At least so many rows within `over`.
    #[serde(default)]
    pub count: Option<u32>,
    /// The window of `count`.
    #[serde(default, deserialize_with = "some_duration")]
    pub over: Option<Duration>,
    /// No row for so long, of labels that had rows before.
    #[serde(default, deserialize_with = "some_duration")]
    pub absent: Option<Duration>,
    /// What is unusual in the values of a query.
    #[serde(default)]
    pub anomaly: Option<AnomalyConfig>,
    /// How long the condition has to hold before the alert fires.
    #[serde(default, rename = "for", deserialize_with = "duration")]
    pub hold: Duration,
    /// How long after its last row an alert over rows goes on.
    #[serde(default = "keep", deserialize_with = "duration")]
    pub keep: Duration,
    /// Its severity: the label `severity`.
    #[serde(default = "severity")]
    pub severity: String,
    /// Further labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Texts for people; `{{ labels.host }}` and `{{ value }}` are filled in.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// Each row of a node for which the condition holds.
    Rows,
    /// At least so many of them within a time.
    Count {
        /// Rows.
        at_least: u32,
        /// Microseconds.
        over: i64,
    },
    /// No row for so many microseconds.
    Absent {
        /// Microseconds.
        after: i64,
    },
    /// Answers of a scheduled query.
    Query,
}

/// Where notifications go. A route of `routes` that matches takes an alert before this one does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The channel.
    pub channel: String,
    /// Labels that an alert must have: `{severity: critical}`; `~` before a value makes it a regular expression.
    #[serde(default, rename = "match")]
    pub matches: BTreeMap<String, String>,
    /// Labels by which alerts are grouped into one notification.
    #[serde(default = "group_by")]
    pub group_by: Vec<String>,
    /// How long a new group waits for more.
    #[serde(default, deserialize_with = "duration")]
    pub group_wait: Duration,
    /// The least time between two notifications of a group.
    #[serde(default = "group_interval", deserialize_with = "duration")]
    pub group_interval: Duration,
    /// A group that still fires is notified again after this.
    #[serde(default = "repeat", deserialize_with = "duration")]
    pub repeat: Duration,
    /// Routes that come first.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// An alert goes on to the routes behind this one as well.
    #[serde(default, rename = "continue")]
    pub goes_on: bool,
}

/// While an alert of `source` fires, those of `target` with equal labels are not notified.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inhibit {
    /// Labels of the alert that mutes.
    pub source: BTreeMap<String, String>,
    /// Labels of those that are muted.
    pub target: BTreeMap<String, String>,
    /// Labels that both have with one value.
    #[serde(default)]
    pub equal: Vec<String>,
}

/// Routes below each other.
const ROUTES_DEEP_MAX: usize = 16;

fn every() -> Duration {
    Duration::from_secs(15)
}

fn keep() -> Duration {
    Duration::from_secs(300)
}

fn severity() -> String {
    "warning".to_owned()
}

fn group_by() -> Vec<String> {
    vec![bodkin_forward::message::ALERTNAME.to_owned()]
}

fn group_interval() -> Duration {
    Duration::from_secs(10)
}

fn repeat() -> Duration {
    Duration::from_secs(4 * 3600)
}

impl AlertsConfig {
    /// With the rules that come with the program, but for those whose names are taken; where there are alerts at all.
    pub fn with_shipped(mut self) -> Self {
        if self.is_used() && self.shipped != Some(false) {
            let is_new = |rule: &Rule| self.rules.iter().all(|own| own.name != rule.name);
            let shipped: Vec<Rule> = shipped().into_iter().filter(is_new).collect();
            self.rules.extend(shipped);
        }
        self
    }

    /// There are alerts: rules of our own, or a way for those of others.
    pub fn is_used(&self) -> bool {
        !self.rules.is_empty() || self.route.is_some()
    }

    /// Checks everything that needs no columns; `channels` are those that exist.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn check(&self, channels: &[&str]) -> Result<(), ConfigError> {
        let mut names = std::collections::BTreeSet::new();
        for rule in &self.rules {
            let wrong = |reason: String| ConfigError { place: format!("alerts.rules.{}", rule.name), reason };
            if rule.name.is_empty() || !names.insert(&rule.name) {
                return Err(wrong("every rule has a name of its own".to_owned()));
            }
            rule.kind().map_err(&wrong)?;
            rule.check().map_err(wrong)?;
        }
        if let Some(route) = &self.route {
            route.check(channels, 0).map_err(|reason| ConfigError { place: "alerts.route".to_owned(), reason })?;
        }
        for inhibit in &self.inhibit {
            matchers(&inhibit.source)
                .and_then(|_| matchers(&inhibit.target))
                .map_err(|reason| ConfigError { place: "alerts.inhibit".to_owned(), reason })?;
        }
        Ok(())
    }
}

impl Rule {
    /// What it looks at.
    ///
    /// # Errors
    /// Which keys do not go together.
    pub fn kind(&self) -> Result<RuleKind, String> {
        let kind = match (&self.from, self.queries()) {
            (Some(_), 0) => match (self.count, self.over, self.absent) {
                (None, None, None) if self.when.is_none() => {
                    return Err("a rule over rows has when, count or absent".to_owned());
                }
                (None, None, None) => RuleKind::Rows,
                (Some(at_least), Some(over), None) if at_least > 0 => RuleKind::Count { at_least, over: micros(over) },
                (None, None, Some(after)) => RuleKind::Absent { after: micros(after) },
                (Some(_), None, None) => return Err("count needs over: the time in which rows are counted".to_owned()),
                _ => return Err("count and over, or absent, but not both".to_owned()),
            },
            (None, 1) => match (self.count, self.over, self.absent) {
                (None, None, None) => RuleKind::Query,
                _ => return Err("count, over and absent are for rules over rows".to_owned()),
            },
            _ => return Err("a rule has exactly one of from, sql, promql and own".to_owned()),
        };
        if self.until.is_some() && (kind != RuleKind::Query || self.when.is_none()) {
            return Err("until is for queries that have when".to_owned());
        }
        if self.anomaly.is_some() && kind != RuleKind::Query {
            return Err("anomaly is for queries".to_owned());
        }
        Ok(kind)
    }

    /// Of how many queries it has the answers.
    fn queries(&self) -> usize {
        [&self.sql, &self.promql, &self.own].into_iter().filter(|query| query.is_some()).count()
    }

    fn check(&self) -> Result<(), String> {
        if self.kind() == Ok(RuleKind::Query) && self.every < Duration::from_secs(1) {
            return Err("every is a second or more".to_owned());
        }
        if self.count.is_some_and(|count| count > 10_000) {
            return Err("count is at most 10000: use a window, and when over its rows".to_owned());
        }
        for (name, text) in &self.annotations {
            minijinja::Environment::new()
                .template_from_str(text)
                .map_err(|error| format!("annotations.{name}: {error:#}"))?;
        }
        Ok(())
    }
}

impl Route {
    fn check(&self, channels: &[&str], depth: usize) -> Result<(), String> {
        if !channels.contains(&self.channel.as_str()) {
            return Err(format!("there is no channel {:?}; there are: {}", self.channel, channels.join(", ")));
        }
        if depth > ROUTES_DEEP_MAX {
            return Err("routes lie too deep in each other".to_owned());
        }
        matchers(&self.matches)?;
        self.routes.iter().try_for_each(|route| route.check(channels, depth + 1))
    }

    /// The routes that take an alert with these labels, with the number of each in the order of the configuration.
    pub(crate) fn takers<'a>(&'a self, labels: &BTreeMap<String, String>) -> Vec<(usize, &'a Route)> {
        let mut found = Vec::new();
        self.walk(labels, &mut 0, &mut found);
        found
    }

    fn walk<'a>(
        &'a self,
        labels: &BTreeMap<String, String>,
        number: &mut usize,
        found: &mut Vec<(usize, &'a Route)>,
    ) -> bool {
        let own = *number;
        *number += 1;
        let is_match = matchers(&self.matches).is_ok_and(|all| Matcher::all_match(&all, labels));
        let before = found.len();
        let mut is_taken = false;
        for route in &self.routes {
            if is_match && !is_taken {
                is_taken = route.walk(labels, number, found) && !route.goes_on;
            } else {
                *number += route.count();
            }
        }
        if is_match && found.len() == before {
            found.push((own, self));
        }
        is_match
    }

    fn count(&self) -> usize {
        1 + self.routes.iter().map(Self::count).sum::<usize>()
    }

    /// All channels that it names.
    pub fn channels(&self) -> Vec<&str> {
        let mut channels = vec![self.channel.as_str()];
        channels.extend(self.routes.iter().flat_map(Self::channels));
        channels.sort_unstable();
        channels.dedup();
        channels
    }
}

/// The rules that come with the program: whether rows wait, windows do not end, or nothing comes any more.
fn shipped() -> Vec<Rule> {
    let rules = serde_json::json!([
        {"alert": "BodkinQueueFull", "own": "bodkin_graph_queue_bytes", "when": "value > 33554432", "for": "1m",
         "annotations": {"summary": "{{ labels.node }} is behind: {{ value }} bytes wait for it"}},
        {"alert": "BodkinWatermarkBehind", "own": "bodkin_graph_watermark_seconds", "by": ["node"], "for": "5m",
         "when": "kind = 'window' AND value < extract(epoch FROM now()) - 900",
         "annotations": {"summary": "windows of {{ labels.node }} do not end: a producer is behind, or its clock is wrong"}},
        {"alert": "BodkinStale", "own": "bodkin_graph_lag_seconds", "by": ["node"], "for": "1m",
         "when": "node IN ('events', 'samples') AND value > 900", "until": "node IN ('events', 'samples') AND value < 60",
         "annotations": {"summary": "the newest row of {{ labels.node }} is {{ value }} s old: nothing comes any more"}},
    ]);
    serde_json::from_value(rules).expect("invariant: rules of this file")
}

/// Microseconds of a duration.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// `10s`, `1h30m`; a bare 0 is none.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write 10s, 5m, 1h30m or 7d");
    let (mut rest, mut total) = (text.trim(), Duration::ZERO);
    if rest == "0" {
        return Ok(total);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (count, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let count: u64 = count.parse().map_err(|_| wrong())?;
        let part = match unit {
            "ms" => Duration::from_millis(count),
            "s" => Duration::from_secs(count),
            "m" => Duration::from_secs(count.saturating_mul(60)),
            "h" => Duration::from_secs(count.saturating_mul(3600)),
            "d" => Duration::from_secs(count.saturating_mul(86_400)),
            "w" => Duration::from_secs(count.saturating_mul(604_800)),
            _ => return Err(wrong()),
        };
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(total)
}

pub(crate) fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

pub(crate) fn some_duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}
