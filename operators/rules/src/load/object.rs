//! The objects of a rule file: what keys they have, and what each key may hold.

use super::collect::{Collection, ListDef, MacroDef, Order, RuleDef};
use super::exception;
use super::kind::{Priority, Source};
use super::report::{Diagnostic, Report};
use super::text::{Files, Text};
use super::version::{check_engine, check_plugin};
use super::yaml::Node;
use crate::syntax::suggest::did_you_mean;
use std::collections::BTreeSet;

pub(super) const INVALID: &str = "LOAD_ERR_YAML_VALIDATE";
pub(super) const INCONSISTENT: &str = "LOAD_ERR_VALIDATE";
const DEPRECATED: &str = "LOAD_DEPRECATED_ITEM";

const LIST_KEYS: &[&str] = &["list", "items", "append", "override"];
const MACRO_KEYS: &[&str] = &["macro", "condition", "append", "override"];
const RULE_KEYS: &[&str] = &[
    "rule",
    "condition",
    "output",
    "desc",
    "priority",
    "source",
    "enabled",
    "capture",
    "capture_duration",
    "capture_events",
    "capture_filesize",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "tags",
    "exceptions",
    "override",
    "append",
];
const RULE_APPENDS: &[&str] = &["condition", "output", "desc", "tags", "exceptions"];
const RULE_REPLACES: &[&str] = &[
    "condition",
    "output",
    "desc",
    "priority",
    "tags",
    "exceptions",
    "enabled",
    "capture",
    "capture_duration",
    "capture_events",
    "capture_filesize",
    "warn_evttypes",
    "skip-if-unknown-filter",
];

/// What an object is refused with.
pub(super) type Result<T> = std::result::Result<T, Box<Diagnostic>>;

/// An object being read.
pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
    pub(super) files: &'a Files<'a>,
    pub(super) collection: &'a mut Collection,
    pub(super) report: &'a mut Report,
}

/// Reads one object into `collection`; one that is wrong is reported and left out.
pub(super) fn read(node: &Node, files: &Files<'_>, collection: &mut Collection, report: &mut Report) {
    if report.is_full() {
        return;
    }
    let mut reader = Reader { node, files, collection, report };
    if let Err(refusal) = reader.object() {
        for key in ["list", "macro", "rule"] {
            let name = node.get(key).and_then(Node::scalar);
            reader.collection.refused.extend(name.map(str::to_owned));
        }
        reader.report.push(*refusal);
    }
}

impl Reader<'_> {
    fn object(&mut self) -> Result<()> {
        let node = self.node;
        if node.entries().is_empty() {
            return self.refuse(INVALID, node, "an object is a mapping of keys to values");
        }
        if let Some(version) = node.get("required_engine_version") {
            self.warn_unknown_keys(&["required_engine_version"]);
            let wanted = version.scalar().unwrap_or_default();
            return check_engine(wanted).or_else(|message| self.refuse(INCONSISTENT, version, &message));
        }
        if let Some(plugins) = node.get("required_plugin_versions") {
            self.warn_unknown_keys(&["required_plugin_versions"]);
            return self.plugins(plugins);
        }
        if node.get("list").is_some() {
            return self.list();
        }
        if node.get("macro").is_some() {
            return self.macro_();
        }
        if node.get("rule").is_some() {
            return self.rule();
        }
        let key = node.entries().first().and_then(|(key, _)| key.scalar()).unwrap_or_default();
        let kinds = ["list", "macro", "rule", "required_engine_version", "required_plugin_versions"];
        let message = format!("unknown object '{key}' is ignored");
        self.report.warn("LOAD_UNKNOWN_ITEM", message, node.place(self.files), did_you_mean(key, kinds));
        Ok(())
    }

    fn plugins(&mut self, plugins: &Node) -> Result<()> {
        let Some(entries) = plugins.items() else { return self.refuse(INVALID, plugins, "expected a list of plugins") };
        for entry in entries {
            let mut alternatives = vec![self.plugin(entry)?];
            if let Some(others) = entry.get("alternatives") {
                let Some(others) = others.items() else {
                    return self.refuse(INVALID, others, "expected a list of plugins");
                };
                for other in others {
                    alternatives.push(self.plugin(other)?);
                }
            }
            if let Err(message) = check_plugin(&alternatives) {
                return self.refuse(INCONSISTENT, entry, &message);
            }
        }
        Ok(())
    }

    fn plugin(&self, entry: &Node) -> Result<(String, String)> {
        let part = |key: &str| match entry.get(key).and_then(Node::scalar) {
            Some(value) => Ok(value.to_owned()),
            None => self.refuse(INVALID, entry, &format!("a plugin needs '{key}'")),
        };
        Ok((part("name")?, part("version")?))
    }

    fn list(&mut self) -> Result<()> {
        self.warn_unknown_keys(LIST_KEYS);
        let (name, at) = self.name("list")?;
        if name.contains(|c: char| c.is_whitespace() || "()\"'=,".contains(c)) {
            self.warn(
                "LOAD_INVALID_LIST_NAME",
                "list",
                &format!("list name '{name}' cannot be used in a condition"),
                None,
            );
        }
        let items = self.texts("items")?;
        let Some(items) = items else { return self.refuse(INVALID, self.node, "a list needs 'items'") };
        let list = ListDef { name, at, order: Order::default(), items };
        if !self.is_append("items")? {
            self.collection.define_list(list);
        } else if !self.collection.append_list(list) {
            return self.refuse_append("list");
        }
        Ok(())
    }

    fn macro_(&mut self) -> Result<()> {
        self.warn_unknown_keys(MACRO_KEYS);
        let (name, at) = self.name("macro")?;
        let is_identifier = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_identifier {
            let message = format!("macro name '{name}' cannot be used in a condition");
            self.warn("LOAD_INVALID_MACRO_NAME", "macro", &message, Some("use letters, digits and underscores"));
        }
        let condition = self.text("condition")?;
        let definition = MacroDef { name, at, order: Order::default(), condition };
        if !self.is_append("condition")? {
            self.collection.define_macro(definition);
        } else if !self.collection.append_macro(&definition) {
            return self.refuse_append("macro");
        }
        Ok(())
    }

    fn rule(&mut self) -> Result<()> {
        self.warn_unknown_keys(RULE_KEYS);
        let node = self.node;
        let is_append = self.flag("append")?.unwrap_or(false);
        if node.get("override").is_some_and(|node| !node.is_null()) {
            if is_append {
                return self.refuse(INVALID, node, "'override' and 'append: true' cannot be used together");
            }
            return self.override_rule();
        }
        if is_append {
            self.warn(
                DEPRECATED,
                "append",
                "'append' is deprecated",
                Some("write 'append' under 'override' for each key"),
            );
            return self.append_rule();
        }
        let is_switch = ["condition", "output", "desc", "priority"].iter().all(|key| node.get(key).is_none());
        if is_switch { self.switch_rule() } else { self.define_rule() }
    }

    fn define_rule(&mut self) -> Result<()> {
        let (name, at) = self.name("rule")?;
        let condition = self.text("condition")?;
        let output = self.text("output")?.trimmed();
        let description = self.text("desc")?.as_str().to_owned();
        let priority = self.priority()?;
        let source = self.source(&name)?;
        let rule = RuleDef {
            at,
            order: Order::default(),
            condition,
            output,
            description,
            priority,
            source,
            tags: self.tags()?.unwrap_or_default(),
            exceptions: exception::read(self, false)?,
            is_enabled: self.flag("enabled")?.unwrap_or(true),
            warns_of_event_types: self.flag("warn_evttypes")?.unwrap_or(true),
            is_skipped_if_unknown: self.flag("skip-if-unknown-filter")?.unwrap_or(false),
            name,
        };
        self.flag("capture")?;
        self.number("capture_duration")?;
        for exception in &rule.exceptions {
            exception.check_complete(self.files)?;
        }
        self.collection.define_rule(rule);
        Ok(())
    }

    /// The rule's source; none for one that is not known.
    fn source(&mut self, rule: &str) -> Result<Option<Source>> {
        let node = self.node;
        let Some(source) = node.get("source").filter(|source| source.scalar().is_some_and(|name| !name.is_empty()))
        else {
            return Ok(Some(Source::Syscall));
        };
        let name = source.scalar().unwrap_or_default();
        let known = Source::from_name(name);
        if known.is_none() {
            let message = format!("source '{name}' is not known, rule '{rule}' is skipped");
            let hint = did_you_mean(name, Source::ALL.map(Source::name));
            self.report.warn("LOAD_UNKNOWN_SOURCE", message, source.place(self.files), hint);
        }
        let before = self.collection.rules.get(rule).map(|before| before.source);
        match before {
            Some(before) if before != known => self.refuse(INCONSISTENT, source, "the rule exists with another source"),
            _ => Ok(known),
        }
    }

    /// A rule with nothing but `enabled` switches an earlier one.
    fn switch_rule(&mut self) -> Result<()> {
        let (name, _) = self.name("rule")?;
        let Some(is_enabled) = self.flag("enabled")? else {
            return self.refuse(INVALID, self.node, "a rule needs 'condition', 'output', 'desc' and 'priority'");
        };
        let hint = "add 'override: {enabled: replace}'";
        self.warn(DEPRECATED, "enabled", "'enabled' alone is deprecated", Some(hint));
        match self.collection.rules.get_mut(&name) {
            Some(rule) => rule.is_enabled = is_enabled,
            None => return self.refuse_append("rule"),
        }
        Ok(())
    }

    fn append_rule(&mut self) -> Result<()> {
        let keys: BTreeSet<&str> =
            ["condition", "exceptions"].into_iter().filter(|key| self.node.get(key).is_some()).collect();
        if keys.is_empty() {
            return self.refuse(INCONSISTENT, self.node, "nothing to append: expected 'condition' or 'exceptions'");
        }
        self.change_rule(&keys, &BTreeSet::new())
    }

    fn override_rule(&mut self) -> Result<()> {
        let (appended, replaced) = self.overrides(RULE_APPENDS, RULE_REPLACES)?;
        for (key, _) in self.node.entries() {
            let Some(name) = key.scalar().filter(|name| RULE_REPLACES.contains(name)) else { continue };
            if !appended.contains(name) && !replaced.contains(name) {
                return self.refuse(INVALID, key, &format!("'{name}' has no entry under 'override'"));
            }
        }
        for key in appended.iter().chain(&replaced) {
            if self.node.get(key).is_none() {
                return self.refuse(INVALID, self.node, &format!("'override' names '{key}', which is not given"));
            }
        }
        self.change_rule(&appended, &replaced)
    }

    /// Whether the object adds to an earlier one, by `append: true` or `override: {key: append}`.
    fn is_append(&mut self, key: &str) -> Result<bool> {
        let is_append = self.flag("append")?.unwrap_or(false);
        let (appended, replaced) = self.overrides(&[key], &[key])?;
        if is_append && !(appended.is_empty() && replaced.is_empty()) {
            return self.refuse(INVALID, self.node, "'override' and 'append: true' cannot be used together");
        }
        if is_append {
            let hint = format!("write 'override: {{{key}: append}}'");
            self.warn(DEPRECATED, "append", "'append' is deprecated", Some(&hint));
        }
        Ok(is_append || !appended.is_empty())
    }

    pub(super) fn warn_unknown_keys(&mut self, known: &[&str]) {
        for (key, _) in self.node.entries() {
            let name = key.scalar().unwrap_or_default();
            if !known.contains(&name) {
                let message = format!("unknown key '{name}' is ignored");
                self.report.warn(
                    "LOAD_UNKNOWN_KEY",
                    message,
                    key.place(self.files),
                    did_you_mean(name, known.iter().copied()),
                );
            }
        }
    }

    pub(super) fn warn(&mut self, code: &'static str, key: &str, message: &str, hint: Option<&str>) {
        let node = self.node.get(key).unwrap_or(self.node);
        self.report.warn(code, message.to_owned(), node.place(self.files), hint.map(str::to_owned));
    }

    pub(super) fn refuse<T>(&self, code: &'static str, node: &Node, message: &str) -> Result<T> {
        Err(Diagnostic::error(code, message.to_owned(), node.place(self.files), None))
    }

    pub(super) fn refuse_append<T>(&self, kind: &str) -> Result<T> {
        let node = self.node.get(kind).unwrap_or(self.node);
        let name = node.scalar().unwrap_or_default();
        let known = match kind {
            "list" => self.collection.lists.nearest(name),
            "macro" => self.collection.macros.nearest(name),
            _ => self.collection.rules.nearest(name),
        };
        Err(Diagnostic::error(
            INCONSISTENT,
            format!("there is no earlier {kind} '{name}' to change"),
            node.place(self.files),
            known,
        ))
    }
}

impl<'a> Reader<'a> {
    pub(super) fn name(&self, key: &str) -> Result<(String, super::At)> {
        let at = self.node.get(key).map_or(self.node.at, |node| node.at);
        Ok((self.text(key)?.as_str().to_owned(), at))
    }

    /// A key that must hold a text.
    pub(super) fn text(&self, key: &str) -> Result<Text> {
        let Some(node) = self.node.get(key) else {
            return self.refuse(INVALID, self.node, &format!("'{key}' is missing"));
        };
        match node.text(self.files).filter(|text| !text.as_str().is_empty()) {
            Some(text) => Ok(text),
            None => self.refuse(INVALID, node, &format!("'{key}' must be a text that is not empty")),
        }
    }

    /// A key that may hold a list of texts.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<Text>>> {
        let Some(node) = self.node.get(key) else { return Ok(None) };
        let Some(items) = node.items() else { return self.refuse(INVALID, node, &format!("'{key}' must be a list")) };
        let text = |item: &std::sync::Arc<Node>| match item.text(self.files) {
            Some(text) => Ok(text),
            None => self.refuse(INVALID, item, &format!("a value of '{key}' must be a text or a number")),
        };
        items.iter().map(text).collect::<Result<Vec<_>>>().map(Some)
    }

    pub(super) fn tags(&self) -> Result<Option<BTreeSet<String>>> {
        let tags = self.texts("tags")?;
        Ok(tags.map(|tags| tags.iter().map(|tag| tag.as_str().to_owned()).collect()))
    }

    /// A key that may hold true or false, written in any of YAML's ways.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        let Some(node) = self.node.get(key) else { return Ok(None) };
        match node.scalar().unwrap_or_default().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(Some(true)),
            "false" | "no" | "off" | "n" => Ok(Some(false)),
            _ => self.refuse(INVALID, node, &format!("'{key}' must be true or false")),
        }
    }

    /// A key that may hold a whole number.
    fn number(&self, key: &str) -> Result<Option<u64>> {
        let Some(node) = self.node.get(key) else { return Ok(None) };
        match node.scalar().and_then(|text| text.parse().ok()) {
            Some(number) => Ok(Some(number)),
            None => self.refuse(INVALID, node, &format!("'{key}' must be a whole number")),
        }
    }

    pub(super) fn priority(&self) -> Result<Priority> {
        let text = self.text("priority")?;
        let node = self.node.get("priority").unwrap_or(self.node);
        Priority::from_name(text.as_str()).ok_or_else(|| {
            let hint = did_you_mean(text.as_str(), Priority::ALL.map(|(_, name)| name))
                .or_else(|| Some(format!("priorities are {}", Priority::ALL.map(|(_, name)| name).join(", "))));
            Diagnostic::error(INVALID, format!("'{}' is no priority", text.as_str()), node.place(self.files), hint)
        })
    }

    /// The keys under `override` that are appended and replaced.
    fn overrides(&self, appendable: &[&str], replaceable: &[&str]) -> Result<(BTreeSet<&'a str>, BTreeSet<&'a str>)> {
        let (mut appended, mut replaced) = (BTreeSet::new(), BTreeSet::new());
        for (key, operation) in self.node.get("override").map_or(&[][..], Node::entries) {
            let name = key.scalar().unwrap_or_default();
            let keys = match operation.scalar() {
                Some("append") => (appendable, &mut appended),
                Some("replace") => (replaceable, &mut replaced),
                _ => return self.refuse(INVALID, operation, "an override is 'append' or 'replace'"),
            };
            if !keys.0.contains(&name) {
                let message = format!("'{name}' cannot be overridden by '{}'", operation.scalar().unwrap_or_default());
                let mut refusal = self.refuse(INVALID, key, &message);
                if let Err(refusal) = &mut refusal {
                    refusal.hint = did_you_mean(name, keys.0.iter().copied());
                }
                return refusal;
            }
            keys.1.insert(name);
        }
        Ok((appended, replaced))
    }
}
