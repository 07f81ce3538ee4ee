//! Rule files: YAML in, rules that can run out.

use crate::template::Template;
use bodkin_promql::labels::METRIC_NAME;
use bodkin_promql::text::{is_legacy_label_name, is_legacy_metric_name};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Bytes of a file (SAFE-1).
const FILE_BYTES_MAX: usize = 16 << 20;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {message}")]
pub struct RuleFileError {
    /// The file.
    pub file: String,
    /// What is wrong, and where.
    pub message: String,
}

/// A rule file.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleFile {
    /// Its path.
    pub path: String,
    /// Its groups, in order.
    pub groups: Vec<Group>,
}

/// Rules that are evaluated one after the other, at the same times.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name, unique in its file.
    pub name: String,
    /// The file.
    pub file: String,
    /// How often; the manager's default where it is none.
    pub interval: Option<Duration>,
    /// How far behind the present queries look.
    pub query_offset: Option<Duration>,
    /// Series of one rule at most; 0 for any number.
    pub limit: usize,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The recorded metric, or the name of the alert.
    pub name: String,
    /// The query.
    pub expr: String,
    /// Labels that results get; of an alert they are templates.
    pub labels: BTreeMap<String, String>,
    /// Which of the two.
    pub kind: RuleKind,
}

/// What a rule does with its results.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    /// It records them.
    Recording,
    /// It alerts.
    Alerting {
        /// How long a result must last before it fires.
        hold: Duration,
        /// How long it goes on to fire after the last result.
        keep_firing: Duration,
        /// Texts.
        annotations: BTreeMap<String, String>,
        /// The labels as templates.
        label_templates: Vec<(String, Template)>,
        /// The texts as templates.
        annotation_templates: Vec<(String, Template)>,
    },
}

impl RuleFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first thing that is wrong, with the group and the rule.
    pub fn parse(path: &str, text: &str) -> Result<Self, RuleFileError> {
        let wrong = |message: String| RuleFileError { file: path.to_owned(), message };
        if text.len() > FILE_BYTES_MAX {
            return Err(wrong(format!("more than {FILE_BYTES_MAX} bytes")));
        }
        let is_empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
        if text.lines().all(is_empty) {
            return Ok(Self { path: path.to_owned(), groups: Vec::new() });
        }
        let file: FileYaml = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let mut names = BTreeSet::new();
        let mut groups = Vec::with_capacity(file.groups.len());
        for group in file.groups {
            if group.name.is_empty() {
                return Err(wrong("a group without a name".to_owned()));
            }
            if !names.insert(group.name.clone()) {
                return Err(wrong(format!("groupname: {:?} is repeated in the same file", group.name)));
            }
            let name = group.name.clone();
            groups.push(group.check(path).map_err(|message| wrong(format!("group {name:?}, {message}")))?);
        }
        Ok(Self { path: path.to_owned(), groups })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileYaml {
    #[serde(default)]
    groups: Vec<GroupYaml>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupYaml {
    name: String,
    #[serde(default)]
    interval: Option<Text>,
    #[serde(default)]
    query_offset: Option<Text>,
    #[serde(default)]
    limit: usize,
    #[serde(default)]
    labels: BTreeMap<String, Text>,
    #[serde(default)]
    rules: Vec<RuleYaml>,
    /// Of other servers with Prometheus's rule files.
    #[serde(default)]
    #[allow(dead_code, reason = "known, and without a meaning here")]
    partial_response_strategy: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleYaml {
    #[serde(default)]
    record: Option<Text>,
    #[serde(default)]
    alert: Option<Text>,
    expr: Text,
    #[serde(default)]
    r#for: Option<Text>,
    #[serde(default)]
    keep_firing_for: Option<Text>,
    #[serde(default)]
    labels: BTreeMap<String, Text>,
    #[serde(default)]
    annotations: BTreeMap<String, Text>,
}

/// A scalar of YAML as text, whatever type it looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl Visitor<'_> for Scalar {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
        }
        deserializer.deserialize_str(Scalar)
    }
}

fn texts(yaml: BTreeMap<String, Text>) -> BTreeMap<String, String> {
    yaml.into_iter().map(|(name, text)| (name, text.0)).collect()
}

fn duration(key: &str, text: Option<&Text>) -> Result<Option<Duration>, String> {
    let Some(text) = text else { return Ok(None) };
    let ms = bodkin_promql::parse_duration_ms(&text.0).map_err(|error| format!("{key}: {error}"))?;
    Ok(Some(Duration::from_millis(ms.unsigned_abs())))
}

impl GroupYaml {
    fn check(self, file: &str) -> Result<Group, String> {
        let interval = duration("interval", self.interval.as_ref())?.filter(|interval| !interval.is_zero());
        let query_offset = duration("query_offset", self.query_offset.as_ref())?;
        let shared = texts(self.labels);
        let mut rules = Vec::with_capacity(self.rules.len());
        for (number, rule) in self.rules.into_iter().enumerate() {
            let name = rule.record.as_ref().or(rule.alert.as_ref()).map_or_else(String::new, |name| name.0.clone());
            let rule = rule.check(&shared);
            rules.push(rule.map_err(|message| format!("rule {}, {name:?}: {message}", number + 1))?);
        }
        Ok(Group { name: self.name, file: file.to_owned(), interval, query_offset, limit: self.limit, rules })
    }
}

impl RuleYaml {
    fn check(self, shared: &BTreeMap<String, String>) -> Result<Rule, String> {
        let (hold, keep_firing) =
            (duration("for", self.r#for.as_ref())?, duration("keep_firing_for", self.keep_firing_for.as_ref())?);
        let expr = self.expr.0;
        if expr.trim().is_empty() {
            return Err("field 'expr' must be set in rule".to_owned());
        }
        let parsed = bodkin_promql::parse(&expr).map_err(|error| format!("could not parse expression: {error}"))?;
        let value_type = parsed.value_type();
        use bodkin_promql::ast::ValueType;
        if !matches!(value_type, ValueType::Vector | ValueType::Scalar) {
            return Err(format!(
                "the expression gives a {}; a rule needs an instant vector or a scalar",
                value_type.documented()
            ));
        }
        // The rule's own labels win over the group's.
        let mut labels = shared.clone();
        labels.extend(texts(self.labels));
        if let Some(name) = labels.keys().find(|name| !is_legacy_label_name(name) || *name == METRIC_NAME) {
            return Err(format!("invalid label name: {name}"));
        }
        let (name, kind) = match (self.record, self.alert) {
            (Some(record), None) => {
                if hold.is_some() || keep_firing.is_some() || !self.annotations.is_empty() {
                    return Err("invalid field 'for', 'keep_firing_for' or 'annotations' in recording rule".to_owned());
                }
                if !is_legacy_metric_name(&record.0) {
                    return Err(format!("invalid recording rule name: {}", record.0));
                }
                (record.0, RuleKind::Recording)
            }
            (None, Some(alert)) if !alert.0.is_empty() => {
                let annotations = texts(self.annotations);
                if let Some(name) = annotations.keys().find(|name| !is_legacy_label_name(name)) {
                    return Err(format!("invalid annotation name: {name}"));
                }
                let kind = RuleKind::Alerting {
                    hold: hold.unwrap_or_default(),
                    keep_firing: keep_firing.unwrap_or_default(),
                    label_templates: templates("label", &labels)?,
                    annotation_templates: templates("annotation", &annotations)?,
                    annotations,
                };
                (alert.0, kind)
            }
            (Some(_), Some(_)) => return Err("only one of 'record' and 'alert' must be set".to_owned()),
            _ => return Err("one of 'record' or 'alert' must be set".to_owned()),
        };
        Ok(Rule { name, expr, labels, kind })
    }
}

fn templates(kind: &str, texts: &BTreeMap<String, String>) -> Result<Vec<(String, Template)>, String> {
    let parsed = texts.iter().map(|(name, text)| match Template::parse(text) {
        Ok(template) => Ok((name.clone(), template)),
        Err(error) => Err(format!("{kind} {name:?}: {error}")),
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RuleFile, String> {
        RuleFile::parse("r.yml", text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file() {
        let file = parse(
            "groups:\n- name: g\n  interval: 30s\n  limit: 5\n  query_offset: 1m\n  labels: {team: a, severity: info}\n  rules:\n  \
             - record: a:b\n    expr: 1\n    labels: {shard: 3}\n  - alert: A\n    expr: up == 0\n    for: 1h30m\n    \
             keep_firing_for: 5m\n    labels: {severity: page}\n    annotations: {summary: '{{ $value }}'}\n",
        )
        .unwrap();
        let group = &file.groups[0];
        assert_eq!((group.interval, group.limit), (Some(Duration::from_secs(30)), 5));
        assert_eq!((group.rules[0].expr.as_str(), group.rules[0].labels["shard"].as_str()), ("1", "3"));
        assert_eq!(group.rules[1].labels["severity"], "page");
        assert_eq!(group.rules[1].labels["team"], "a");
        let RuleKind::Alerting { hold, keep_firing, .. } = &group.rules[1].kind else { panic!("no alert") };
        assert_eq!((*hold, *keep_firing), (Duration::from_secs(5400), Duration::from_secs(300)));
        assert!(parse("# nothing\n").unwrap().groups.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let rule = |rule: &str| parse(&format!("groups:\n- name: g\n  rules:\n  - {rule}\n")).unwrap_err();
        assert!(rule("{record: a, expr: 'sum('}").contains("group \"g\", rule 1, \"a\": could not parse expression"));
        assert!(rule("{record: 'a b', expr: '1'}").contains("invalid recording rule name"));
        assert!(rule("{record: a, alert: b, expr: '1'}").contains("only one of"));
        assert!(rule("{expr: '1'}").contains("one of 'record' or 'alert'"));
        assert!(rule("{record: a, expr: '1', for: 1m}").contains("in recording rule"));
        assert!(rule("{alert: a, expr: '1', for: soon}").contains("for: "));
        assert!(rule("{alert: a, expr: 'up[5m]'}").contains("needs an instant vector"));
        assert!(rule("{alert: a, expr: '1', labels: {'a-b': c}}").contains("invalid label name"));
        assert!(rule("{alert: a, expr: '1', annotations: {a: '{{ x'}}").contains("unclosed action"));
        assert!(rule("{alert: a, expr: '1', fro: 1m}").contains("fro"));
        let twice = parse("groups:\n- name: g\n- name: g\n").unwrap_err();
        assert!(twice.contains("repeated in the same file"));
    }
}
