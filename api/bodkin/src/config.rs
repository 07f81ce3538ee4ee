//! The server's part of the configuration file.

#[cfg(test)]
mod mutants;
mod queries;
mod tables;

use crate::prometheus::PrometheusSection;
use crate::server::{AgentsEntry, FlowConfig, ForwardSection, MetricsSection, StatsdSection};
use anyhow::{Context, anyhow};
use bodkin_alert::AlertsConfig;
use bodkin_forward::ChannelConfig;
use bodkin_query::QueryOptions;
use bodkin_rules::{AppendOutput, Matching, Options, Priority, Source, Switch};
use bodkin_table::Retention;
pub(crate) use queries::QueriesSection;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
pub(crate) use tables::TableSection;

/// A configuration file of `bodkin server` and `bodkin up`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ServerConfig {
    /// Which rules run, and how.
    pub(crate) rules: RulesSection,
    /// Topics of Kafka to read, by a name that stays: rows are numbered under it.
    #[cfg(feature = "kafka")]
    pub(crate) kafka: BTreeMap<String, crate::server::kafka::KafkaSection>,
    #[cfg(not(feature = "kafka"))]
    kafka: BTreeMap<String, IgnoredAny>,
    /// Prometheus's rules and scraping.
    pub(crate) prometheus: PrometheusSection,
    /// How much of metrics there may be.
    pub(crate) metrics: MetricsSection,
    /// Where StatsD listens.
    pub(crate) statsd: StatsdSection,
    /// Where CloudTrail's files are.
    pub(crate) cloudtrail: CloudtrailSection,
    /// Where alerts and rows go.
    channels: BTreeMap<String, ChannelConfig>,
    /// Which rows go there.
    forward: BTreeMap<String, ForwardSection>,
    /// Rules over rows and queries, and who is told.
    alerts: AlertsConfig,
    /// What agents are to watch.
    pub(crate) agents: Vec<AgentsEntry>,
    /// What queries may take.
    pub(crate) queries: QueriesSection,
    /// How long tables keep their rows, by the table's name.
    tables: BTreeMap<String, TableSection>,
    /// Of other roles: one file may configure them all.
    agent: IgnoredAny,
    graph: IgnoredAny,
    containers: IgnoredAny,
    server: IgnoredAny,
    data_dir: IgnoredAny,
}

/// The section `cloudtrail`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CloudtrailSection {
    /// Buckets to which CloudTrail writes.
    pub(crate) buckets: Vec<BucketSection>,
}

/// `{url: s3://BUCKET/PREFIX, every: 30s}`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BucketSection {
    /// `s3://BUCKET/PREFIX`; credentials are in the `AWS_*` variables.
    pub(crate) url: String,
    /// How often it is looked at.
    #[serde(default = "BucketSection::every_default")]
    every: String,
}

impl BucketSection {
    fn every_default() -> String {
        "30s".to_owned()
    }

    /// How often the bucket is looked at.
    ///
    /// # Errors
    /// Where that is no time, or none at all.
    pub(crate) fn every(&self) -> anyhow::Result<Duration> {
        time(&self.every, "cloudtrail.buckets.every")
    }
}

/// The section `rules`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RulesSection {
    /// Rule files, or folders of them; the folder `rules` of the data folder where it is missing.
    pub(crate) files: Option<Vec<PathBuf>>,
    /// How many rules may fire for one event.
    matching: MatchingName,
    /// Rules that are less urgent do not run.
    priority: String,
    /// Turns rules on and off, in this order.
    switch: Vec<SwitchEntry>,
    /// Texts that are added to outputs.
    append_output: Vec<AppendEntry>,
    /// Adds the container and the pod to outputs of source syscall.
    suggested_output: bool,
    /// Where findings are written besides the table.
    pub(crate) output: OutputSection,
}

impl Default for RulesSection {
    fn default() -> Self {
        Self {
            files: None,
            matching: MatchingName::First,
            priority: "debug".to_owned(),
            switch: Vec::new(),
            append_output: Vec::new(),
            suggested_output: true,
            output: OutputSection::default(),
        }
    }
}

/// The section `rules.output`: findings as Falco prints them, for what reads Falco's output today.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutputSection {
    /// A file to which JSON lines are appended.
    pub(crate) file: Option<PathBuf>,
    /// A URL to which each finding is posted.
    pub(crate) http: Option<String>,
    /// How many findings of a kind go out in a time; all where it is missing.
    pub(crate) limit: Option<LimitSection>,
}

/// `{by: [rule, container_id], at_most: 10, every: 1m}`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitSection {
    /// What tells kinds apart: keys of a finding, or fields of its output.
    pub(crate) by: Vec<String>,
    /// Findings of a kind in the time.
    pub(crate) at_most: u64,
    /// The time.
    every: String,
}

impl Default for LimitSection {
    fn default() -> Self {
        Self { by: vec!["rule".to_owned()], at_most: 10, every: "1m".to_owned() }
    }
}

impl LimitSection {
    /// The time in which findings are counted.
    ///
    /// # Errors
    /// Where it is none.
    pub(crate) fn every(&self) -> anyhow::Result<Duration> {
        time(&self.every, "rules.output.limit.every")
    }
}

/// A time that is written as `30s`, `1m`, `1h 30m`.
fn time(text: &str, key: &str) -> anyhow::Result<Duration> {
    let time: Option<jiff::SignedDuration> = text.parse().ok();
    let time = time.and_then(|time| Duration::try_from(time).ok()).filter(|time| !time.is_zero());
    time.with_context(|| format!("{key}: {text:?} is no time, as 30s is"))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MatchingName {
    #[default]
    First,
    All,
}

/// `{enable: {rule: "Read*"}}`, `{disable: {tag: network}}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SwitchEntry {
    enable: Option<Selection>,
    disable: Option<Selection>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Selection {
    rule: Option<String>,
    tag: Option<String>,
}

/// `{match: {source: syscall, tags: [...], rule: ...}, extra_output: "..."}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AppendEntry {
    r#match: AppendMatch,
    extra_output: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AppendMatch {
    source: Option<String>,
    tags: Vec<String>,
    rule: Option<String>,
}

impl ServerConfig {
    /// Reads a file; without one everything is as by default.
    ///
    /// # Errors
    /// What is wrong, with the key and its line.
    pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(file) = file else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(file).with_context(|| format!("--config {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("--config {}", file.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let is_empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if text.lines().all(is_empty) {
            return Ok(Self::default());
        }
        let config: Self = serde_saphyr::from_str(text).map_err(|error| anyhow!("{error}"))?;
        config.rules.options()?;
        config.agents.iter().try_for_each(AgentsEntry::check)?;
        config.check_kafka()?;
        config.flow().check()?;
        config.retention()?;
        config.queries.apply(QueryOptions::default())?;
        config.metrics.limits()?;
        config.metrics.memory()?;
        Ok(config)
    }
}

impl ServerConfig {
    #[cfg(feature = "kafka")]
    fn check_kafka(&self) -> anyhow::Result<()> {
        for (name, section) in &self.kafka {
            section.decode().with_context(|| format!("kafka.{name}"))?;
        }
        Ok(())
    }

    #[cfg(not(feature = "kafka"))]
    fn check_kafka(&self) -> anyhow::Result<()> {
        match self.kafka.keys().next() {
            Some(name) => Err(anyhow!("kafka.{name}: this binary cannot read Kafka: build it with --features kafka")),
            None => Ok(()),
        }
    }

    /// How long each table keeps its rows.
    ///
    /// # Errors
    /// The table that is none, or its time that cannot be.
    pub(crate) fn retention(&self) -> anyhow::Result<Retention> {
        self.tables.iter().try_fold(Retention::default(), |retention, (table, section)| section.apply(retention, table))
    }

    /// Channels, forwarders and alerts.
    pub(crate) fn flow(&self) -> FlowConfig {
        let Self { channels, forward, alerts, .. } = self;
        FlowConfig { channels: channels.clone(), forward: forward.clone(), alerts: alerts.clone() }
    }
}

impl RulesSection {
    /// How many rules may fire for one event.
    pub(crate) fn matching(&self) -> Matching {
        match self.matching {
            MatchingName::First => Matching::First,
            MatchingName::All => Matching::All,
        }
    }

    /// How rules are loaded.
    ///
    /// # Errors
    /// The key that is wrong.
    pub(crate) fn options(&self) -> anyhow::Result<Options> {
        let priority = Priority::from_name(&self.priority);
        Ok(Options {
            priority: priority.with_context(|| format!("rules.priority: there is no priority {:?}", self.priority))?,
            switches: self.switch.iter().map(SwitchEntry::switch).collect::<anyhow::Result<_>>()?,
            append_output: self.append_output.iter().map(AppendEntry::append).collect::<anyhow::Result<_>>()?,
            has_suggested_output: self.suggested_output,
        })
    }
}

impl SwitchEntry {
    fn switch(&self) -> anyhow::Result<Switch> {
        let (selection, is_enabled) = match (&self.enable, &self.disable) {
            (Some(selection), None) => (selection, true),
            (None, Some(selection)) => (selection, false),
            _ => return Err(anyhow!("rules.switch: each entry has enable or disable")),
        };
        match (&selection.rule, &selection.tag) {
            (Some(pattern), None) => Ok(Switch::Rule { pattern: pattern.clone(), is_enabled }),
            (None, Some(tag)) => Ok(Switch::Tag { tag: tag.clone(), is_enabled }),
            _ => Err(anyhow!("rules.switch: an entry names a rule or a tag")),
        }
    }
}

impl AppendEntry {
    fn append(&self) -> anyhow::Result<AppendOutput> {
        let source = |name: &String| {
            Source::from_name(name).with_context(|| format!("rules.append_output: there is no source {name:?}"))
        };
        Ok(AppendOutput {
            source: self.r#match.source.as_ref().map(source).transpose()?,
            tags: self.r#match.tags.clone(),
            rule: self.r#match.rule.clone(),
            extra_output: self.extra_output.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_of_rules() {
        let config = ServerConfig::parse(
            "rules:\n  files: [a.yaml, dir]\n  matching: all\n  priority: warning\n  switch:\n    - disable: {rule: '*'}\n    \
             - enable: {tag: net}\n  append_output: [{match: {source: syscall}, extra_output: x}]\n  output: {file: f}\n",
        )
        .unwrap();
        let options = config.rules.options().unwrap();
        assert_eq!(
            (config.rules.matching(), options.priority, options.switches.len()),
            (Matching::All, Priority::Warning, 2)
        );
        assert_eq!(config.rules.files.unwrap(), [PathBuf::from("a.yaml"), PathBuf::from("dir")]);
        assert_eq!(options.append_output[0].source, Some(Source::Syscall));
        assert_eq!(ServerConfig::parse("# nothing\n").unwrap().rules, RulesSection::default());
        assert!(ServerConfig::parse("agent: {ring_mib: 4}\n").is_ok(), "sections of other roles");
    }

    #[test]
    fn errors_name_the_key_and_its_line() {
        let error = |text: &str| format!("{:#}", ServerConfig::parse(text).unwrap_err());
        assert!(error("rules:\n  file: []\n").contains("file") && error("rules:\n  file: []\n").contains('2'));
        assert!(error("rulez: {}\n").contains("rulez"));
        assert!(error("rules: {priority: urgent}\n").contains("rules.priority"));
        assert!(error("rules: {switch: [{enable: {}}]}\n").contains("rules.switch"));
        assert!(
            error("rules: {matching: some}\n").contains("matching")
                || error("rules: {matching: some}\n").contains("some")
        );
    }
}
