//! What configuration may change about rules.

use super::glob::Glob;
use crate::load::{Priority, Source};
use serde::{Deserialize, Serialize};

/// How rules are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Rules that are less urgent are left out.
    pub priority: Priority,
    /// Applied in order to each rule after `enabled` of the files.
    pub switches: Vec<Switch>,
    /// Texts that are added to outputs.
    pub append_output: Vec<AppendOutput>,
    /// Adds the container and pod to the outputs of source `syscall`, as Falco's container plugin suggests.
    pub has_suggested_output: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { priority: Priority::Debug, switches: Vec::new(), append_output: Vec::new(), has_suggested_output: true }
    }
}

/// Enables or disables rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// Rules whose name matches a shell pattern.
    Rule {
        /// The pattern.
        pattern: String,
        /// The new state.
        is_enabled: bool,
    },
    /// Rules with a tag.
    Tag {
        /// The tag.
        tag: String,
        /// The new state.
        is_enabled: bool,
    },
}

/// A text that is added to the outputs of rules that fit all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendOutput {
    /// Rules of that source.
    pub source: Option<Source>,
    /// Rules with all of these tags.
    pub tags: Vec<String>,
    /// The rule of that name.
    pub rule: Option<String>,
    /// The text; fields in it are printed like those of the output.
    pub extra_output: String,
}

/// What is added for source `syscall`.
const SUGGESTED: &str = " container_id=%container.id container_name=%container.name \
    container_image_repository=%container.image.repository container_image_tag=%container.image.tag \
    k8s_pod_name=%k8s.pod.name k8s_ns_name=%k8s.ns.name";

/// The parts of a rule that options look at.
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) source: Source,
    pub(super) tags: &'a [String],
}

impl Options {
    /// Of all rules only the one of that name runs.
    pub fn only(rule: &str) -> Self {
        // A pattern that is the name itself: its special characters stand for themselves.
        let pattern = rule.chars().flat_map(|c| if "*?[\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
        let off = Switch::Rule { pattern: "*".to_owned(), is_enabled: false };
        Self { switches: vec![off, Switch::Rule { pattern, is_enabled: true }], ..Self::default() }
    }

    /// Whether a rule runs that its file leaves in the state `is_enabled`.
    pub(super) fn is_enabled(&self, subject: &Subject<'_>, priority: Priority, is_enabled: bool) -> bool {
        let switched = self.switches.iter().fold(is_enabled, |state, switch| match switch {
            Switch::Rule { pattern, is_enabled }
                if Glob::new(pattern.as_bytes(), false).matches(subject.name.as_bytes()) =>
            {
                *is_enabled
            }
            Switch::Tag { tag, is_enabled } if subject.tags.contains(tag) => *is_enabled,
            _ => state,
        });
        switched && priority <= self.priority
    }

    /// What is added to the output of a rule.
    pub(super) fn appended(&self, subject: &Subject<'_>) -> String {
        let mut all = String::new();
        for append in &self.append_output {
            let fits = append.source.is_none_or(|source| source == subject.source)
                && append.rule.as_ref().is_none_or(|rule| rule == subject.name)
                && append.tags.iter().all(|tag| subject.tags.contains(tag));
            if fits {
                all.push(' ');
                all.push_str(&append.extra_output);
            }
        }
        if self.has_suggested_output && subject.source == Source::Syscall {
            all.push_str(SUGGESTED);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_apply_in_order() {
        let tags = ["net".to_owned()];
        let subject = Subject { name: "Read shadow", source: Source::Syscall, tags: &tags };
        let off = Switch::Rule { pattern: "Read*".to_owned(), is_enabled: false };
        let on = Switch::Tag { tag: "net".to_owned(), is_enabled: true };
        let options = |switches: &[&Switch], priority| Options {
            switches: switches.iter().map(|switch| (*switch).clone()).collect(),
            priority,
            ..Options::default()
        };
        assert!(!options(&[&off], Priority::Debug).is_enabled(&subject, Priority::Notice, true));
        assert!(options(&[&off, &on], Priority::Debug).is_enabled(&subject, Priority::Notice, true));
        assert!(!options(&[&on, &off], Priority::Debug).is_enabled(&subject, Priority::Notice, true));
        assert!(!options(&[], Priority::Warning).is_enabled(&subject, Priority::Notice, true));
        assert!(options(&[], Priority::Notice).is_enabled(&subject, Priority::Notice, true));
    }

    #[test]
    fn one_rule_alone() {
        let runs = |rule, name| {
            let subject = Subject { name, source: Source::Syscall, tags: &[] };
            Options::only(rule).is_enabled(&subject, Priority::Notice, true)
        };
        assert!(runs("Read [a]*", "Read [a]*") && runs("x\\", "x\\"));
        assert!(!runs("Read [a]*", "Read a") && !runs("Read", "Read a"));
    }

    #[test]
    fn output_is_appended_where_all_fits() {
        let tags = ["net".to_owned(), "x".to_owned()];
        let subject = Subject { name: "r", source: Source::Json, tags: &tags };
        let append = |tags: &[&str], rule: Option<&str>| AppendOutput {
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            rule: rule.map(str::to_owned),
            extra_output: "more".to_owned(),
            source: Some(Source::Json),
        };
        let appended = |append| Options { append_output: vec![append], ..Options::default() }.appended(&subject);
        assert_eq!(appended(append(&["net"], Some("r"))), " more");
        assert_eq!(appended(append(&["y"], None)), "");
        assert_eq!(appended(append(&[], Some("s"))), "");
    }
}
