//! Relabeling: rules that keep, drop and rewrite label sets.

use crate::config::Text;
use md5::{Digest, Md5};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Labels by name.
pub type LabelMap = BTreeMap<String, String>;

/// Bytes of a compiled expression at most.
const REGEX_BYTES_MAX: usize = 10 << 20;

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Writes the replacement into the target label where the source matches.
    #[default]
    Replace,
    /// Keeps what matches.
    Keep,
    /// Drops what matches.
    Drop,
    /// Keeps what equals the target label.
    KeepEqual,
    /// Drops what equals the target label.
    DropEqual,
    /// Writes the hash of the source modulo the modulus.
    HashMod,
    /// Copies labels whose names match to names by the replacement.
    LabelMap,
    /// Drops labels whose names match.
    LabelDrop,
    /// Keeps only labels whose names match.
    LabelKeep,
    /// Writes the source in lower case.
    Lowercase,
    /// Writes the source in upper case.
    Uppercase,
}

/// A rule as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelabelConfig {
    /// Labels whose values are joined.
    pub source_labels: Vec<String>,
    /// What stands between them; `;` where it is missing.
    pub separator: Option<Text>,
    /// What they are matched with, as a whole; anything where it is missing.
    pub regex: Option<Text>,
    /// The modulus of `hashmod`.
    pub modulus: u64,
    /// The label that is written.
    pub target_label: String,
    /// What is written, `$1` where it is missing.
    pub replacement: Option<Text>,
    /// What is done.
    pub action: Action,
}

/// A rule that can run.
#[derive(Clone, Debug)]
pub struct Relabel {
    config: RelabelConfig,
    separator: String,
    replacement: String,
    regex: Regex,
}

impl Relabel {
    /// Compiles rules.
    ///
    /// # Errors
    /// The first rule that is wrong.
    pub fn compile(configs: &[RelabelConfig]) -> Result<Vec<Self>, String> {
        configs
            .iter()
            .enumerate()
            .map(|(at, config)| Self::new(config).map_err(|why| format!("rule {}: {why}", at + 1)))
            .collect()
    }

    fn new(config: &RelabelConfig) -> Result<Self, String> {
        let text = |text: &Option<Text>, default: &str| {
            text.as_ref().map_or_else(|| default.to_owned(), |text| text.0.clone())
        };
        let pattern = text(&config.regex, "(.*)");
        let regex = RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(REGEX_BYTES_MAX).build();
        let needs_target = !matches!(
            config.action,
            Action::Keep | Action::Drop | Action::LabelMap | Action::LabelDrop | Action::LabelKeep
        );
        if needs_target && config.target_label.is_empty() {
            return Err("relabel configuration requires 'target_label' value".to_owned());
        }
        if config.action == Action::HashMod && config.modulus == 0 {
            return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        Ok(Self {
            separator: text(&config.separator, ";"),
            replacement: text(&config.replacement, "$1"),
            regex: regex.map_err(|error| format!("regex {pattern:?}: {error}"))?,
            config: config.clone(),
        })
    }

    /// Applies a rule; false where the labels are dropped.
    fn apply(&self, labels: &mut LabelMap) -> bool {
        let values: Vec<&str> =
            self.config.source_labels.iter().map(|name| labels.get(name).map_or("", String::as_str)).collect();
        let source = values.join(&self.separator);
        let target = &self.config.target_label;
        match self.config.action {
            Action::Keep => return self.regex.is_match(&source),
            Action::Drop => return !self.regex.is_match(&source),
            Action::KeepEqual => return labels.get(target).map_or("", String::as_str) == source,
            Action::DropEqual => return labels.get(target).map_or("", String::as_str) != source,
            Action::Replace => self.replace(&source, labels),
            Action::Lowercase => set(labels, target, source.to_lowercase()),
            Action::Uppercase => set(labels, target, source.to_uppercase()),
            Action::HashMod => {
                let digest = Md5::digest(source.as_bytes());
                let low = digest.iter().skip(8).fold(0u64, |value, byte| value << 8 | u64::from(*byte));
                set(labels, target, (low % self.config.modulus.max(1)).to_string());
            }
            Action::LabelMap => {
                let matching: Vec<(String, String)> = labels
                    .iter()
                    .filter(|(name, _)| self.regex.is_match(name))
                    .map(|(n, v)| (n.clone(), v.clone()))
                    .collect();
                for (name, value) in matching {
                    let renamed = self.regex.replace(&name, &self.replacement).into_owned();
                    set(labels, &renamed, value);
                }
            }
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, source: &str, labels: &mut LabelMap) {
        let Some(captures) = self.regex.captures(source) else { return };
        let expand = |template: &str| {
            let mut out = String::new();
            captures.expand(template, &mut out);
            out
        };
        let target = expand(&self.config.target_label);
        if !target.is_empty() {
            set(labels, &target, expand(&self.replacement));
        }
    }
}

/// Writes a label; an empty value takes it away.
fn set(labels: &mut LabelMap, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else {
        labels.insert(name.to_owned(), value);
    }
}

/// Applies rules in order; false where the labels are dropped.
pub fn relabel(rules: &[Relabel], labels: &mut LabelMap) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(yaml: &str, pairs: &[(&str, &str)]) -> Option<String> {
        let configs: Vec<RelabelConfig> = serde_saphyr::from_str(yaml).unwrap();
        let mut labels: LabelMap = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let is_kept = relabel(&Relabel::compile(&configs).unwrap(), &mut labels);
        is_kept.then(|| labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn as_prometheus_relabels() {
        let abc = [("a", "foo"), ("b", "bar"), ("c", "baz")];
        for (yaml, expected) in [
            (
                "[{source_labels: [a], regex: 'f(.*)', target_label: d, replacement: 'ch${1}-ch${1}'}]",
                Some("a=foo b=bar c=baz d=choo-choo"),
            ),
            (
                "[{source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a, replacement: 'b${1}${2}m'}]",
                Some("a=boobam b=bar c=baz"),
            ),
            ("[{source_labels: [a], regex: '.*o.*', action: drop}]", None),
            ("[{source_labels: [a], regex: 'o', action: drop}]", Some("a=foo b=bar c=baz")),
            ("[{source_labels: [a], regex: no, action: keep}]", None),
            ("[{source_labels: [a], regex: 'f|foo', action: keep}]", Some("a=foo b=bar c=baz")),
            ("[{source_labels: [a], target_label: a, replacement: ''}]", Some("b=bar c=baz")),
            ("[{regex: '(b)', action: labelmap, replacement: 'x_$1'}]", Some("a=foo b=bar c=baz x_b=bar")),
            ("[{regex: '[ab]', action: labeldrop}]", Some("c=baz")),
            ("[{regex: '[ab]', action: labelkeep}]", Some("a=foo b=bar")),
            (
                "[{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}]",
                Some("a=foo b=bar c=baz d=976"),
            ),
            ("[{source_labels: [a], target_label: a, action: uppercase}]", Some("a=FOO b=bar c=baz")),
            ("[{source_labels: [a], target_label: b, action: keepequal}]", None),
            ("[{source_labels: [a], target_label: b, action: dropequal}]", Some("a=foo b=bar c=baz")),
            (
                "[{source_labels: [a], regex: '(f).*', target_label: '${1}x', replacement: 7}]",
                Some("a=foo b=bar c=baz fx=7"),
            ),
        ] {
            assert_eq!(run(yaml, &abc).as_deref(), expected, "{yaml}");
        }
    }

    #[test]
    fn wrong_rules_are_named() {
        let compile =
            |yaml: &str| Relabel::compile(&serde_saphyr::from_str::<Vec<RelabelConfig>>(yaml).unwrap()).unwrap_err();
        assert!(compile("[{action: replace}]").contains("rule 1: relabel configuration requires 'target_label'"));
        assert!(compile("[{action: drop}, {action: drop, regex: '('}]").contains("rule 2: regex"));
        assert!(compile("[{action: hashmod, target_label: a}]").contains("modulus"));
    }
}
