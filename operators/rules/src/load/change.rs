//! Changes of a rule by `append` and `override`.

use super::collect::{Order, append};
use super::exception::{self, ExceptionDef};
use super::kind::Source;
use super::limits::EXCEPTIONS_MAX;
use super::object::{INCONSISTENT, Reader, Result};
use super::report::Diagnostic;
use super::yaml::Node;
use std::collections::BTreeSet;

impl Reader<'_> {
    /// Appends and replaces the keys of an earlier rule.
    pub(super) fn change_rule(&mut self, appended: &BTreeSet<&str>, replaced: &BTreeSet<&str>) -> Result<()> {
        let (name, _) = self.name("rule")?;
        self.check_source(&name)?;
        let has = |keys: &BTreeSet<&str>, key: &str| keys.contains(key);
        let text =
            |key: &str| if has(appended, key) || has(replaced, key) { self.text(key).map(Some) } else { Ok(None) };
        let (condition, output, description) = (text("condition")?, text("output")?, text("desc")?);
        let tags = if has(appended, "tags") || has(replaced, "tags") { self.tags()? } else { None };
        let priority = if has(replaced, "priority") { Some(self.priority()?) } else { None };
        let flag = |key: &str| if has(replaced, key) { self.flag(key) } else { Ok(None) };
        let (is_enabled, warns, skips) = (flag("enabled")?, flag("warn_evttypes")?, flag("skip-if-unknown-filter")?);
        let exceptions = match has(appended, "exceptions") || has(replaced, "exceptions") {
            true => Some(exception::read(self, has(appended, "exceptions"))?),
            false => None,
        };
        let files = self.files;
        let now = self.collection.next_change();
        let Some(rule) = self.collection.rules.get_mut(&name) else { return self.refuse_append("rule") };
        if let Some(condition) = condition {
            if has(appended, "condition") {
                append(&mut rule.condition, &condition)
            } else {
                rule.condition = condition
            }
        }
        if let Some(output) = output {
            if has(appended, "output") { append(&mut rule.output, &output) } else { rule.output = output.trimmed() }
        }
        if let Some(description) = description {
            match has(appended, "desc") {
                true => rule.description.push(' '),
                false => rule.description.clear(),
            }
            rule.description.push_str(description.as_str());
        }
        if let Some(tags) = tags {
            if !has(appended, "tags") {
                rule.tags.clear();
            }
            rule.tags.extend(tags);
        }
        rule.priority = priority.unwrap_or(rule.priority);
        rule.is_enabled = is_enabled.unwrap_or(rule.is_enabled);
        rule.warns_of_event_types = warns.unwrap_or(rule.warns_of_event_types);
        rule.is_skipped_if_unknown = skips.unwrap_or(rule.is_skipped_if_unknown);
        rule.order = Order { visibility: now, ..rule.order };
        match exceptions {
            Some(exceptions) if has(appended, "exceptions") => {
                append_exceptions(&mut rule.exceptions, exceptions, files)
            }
            Some(exceptions) => {
                rule.exceptions = exceptions;
                rule.exceptions.iter().try_for_each(|exception| exception.check_complete(files))
            }
            None => Ok(()),
        }
    }

    fn check_source(&self, rule: &str) -> Result<()> {
        let named = |node: &&Node| node.scalar().is_some_and(|name| !name.is_empty());
        let Some(node) = self.node.get("source").filter(named) else { return Ok(()) };
        let given = node.scalar().and_then(Source::from_name);
        match self.collection.rules.get(rule) {
            Some(before) if before.source != given => {
                self.refuse(INCONSISTENT, node, "the rule exists with another source")
            }
            _ => Ok(()),
        }
    }
}

/// Adds the values of known exceptions, and new exceptions as a whole.
fn append_exceptions(before: &mut Vec<ExceptionDef>, more: Vec<ExceptionDef>, files: &super::Files<'_>) -> Result<()> {
    for exception in more {
        let count = before.len();
        let known = before.iter_mut().find(|known| known.name == exception.name);
        let message =
            match (&known, exception.fields.is_some() || exception.comps.is_some(), exception.values.is_empty()) {
                (Some(_), true, _) => Some("only values can be appended to an exception that exists".to_owned()),
                (None, _, true) => Some("a new exception needs 'values'".to_owned()),
                (None, ..) if count >= EXCEPTIONS_MAX => {
                    Some(format!("a rule has at most {EXCEPTIONS_MAX} exceptions"))
                }
                _ => None,
            };
        if let Some(message) = message {
            return Err(Diagnostic::error(INCONSISTENT, message, files.place(exception.at, 1), None));
        }
        match known {
            Some(known) => known.values.extend(exception.values),
            None => {
                exception.check_complete(files)?;
                before.push(exception);
            }
        }
    }
    Ok(())
}

/// A node that is a list of texts or one text.
pub(super) fn one_or_many(node: &Node) -> Vec<&Node> {
    node.items().map_or_else(|| vec![node], |items| items.iter().map(|item| item.as_ref()).collect())
}
