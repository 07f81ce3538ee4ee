//! Exceptions: tables of values that a rule does not fire for, written into its condition.

use super::change::one_or_many;
use super::limits::{CONDITIONS_BYTES_MAX, EXCEPTIONS_MAX};
use super::list::push_quoted;
use super::object::{INCONSISTENT, INVALID, Reader, Result};
use super::report::Diagnostic;
use super::text::{At, Files, Text};
use super::yaml::Node;
use crate::syntax::{Modifier, Op};
use std::collections::HashSet;

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    One(Text),
    Many(Vec<Text>),
}

/// A row of values: one for a single field, else as many as there are fields.
#[derive(Clone, Debug)]
pub(super) struct Row {
    at: At,
    is_list: bool,
    entries: Vec<Entry>,
}

/// An exception of a rule.
#[derive(Clone, Debug)]
pub(super) struct ExceptionDef {
    pub(super) name: String,
    pub(super) at: At,
    pub(super) fields: Option<Entry>,
    pub(super) comps: Option<Entry>,
    pub(super) values: Vec<Row>,
}

/// Reads the exceptions of a rule; where they are appended, fields may be missing.
pub(super) fn read(reader: &mut Reader<'_>, is_append: bool) -> Result<Vec<ExceptionDef>> {
    let node = reader.node;
    let Some(list) = node.get("exceptions").filter(|node| !node.is_null()) else { return Ok(Vec::new()) };
    let Some(nodes) = list.items() else { return reader.refuse(INVALID, list, "'exceptions' must be a list") };
    if nodes.len() > EXCEPTIONS_MAX {
        return reader.refuse(INCONSISTENT, list, &format!("a rule has at most {EXCEPTIONS_MAX} exceptions"));
    }
    let mut exceptions: Vec<ExceptionDef> = Vec::new();
    let mut names = HashSet::new();
    for node in nodes {
        let exception = read_one(reader, node)?;
        if !names.insert(exception.name.clone()) {
            let message = format!("exception '{}' is defined more than once", exception.name);
            reader.report.warn("LOAD_EXCEPTION_NAME_NOT_UNIQUE", message, node.place(reader.files), None);
        }
        if is_append && node.get("values").is_none() {
            let message = format!("exception '{}' is appended without values", exception.name);
            reader.report.warn("LOAD_APPEND_NO_VALUES", message, node.place(reader.files), None);
        }
        exceptions.push(exception);
    }
    Ok(exceptions)
}

fn read_one(reader: &Reader<'_>, node: &Node) -> Result<ExceptionDef> {
    let Some(name) = node.get("name").and_then(Node::scalar) else {
        return reader.refuse(INVALID, node, "an exception is a mapping with a 'name'");
    };
    let rows = match node.get("values") {
        None => &[][..],
        Some(values) => match values.items() {
            Some(rows) => rows,
            None => return reader.refuse(INVALID, values, "'values' must be a list"),
        },
    };
    let mut values = Vec::new();
    for row in rows {
        let entries = one_or_many(row).into_iter().map(|node| entry(reader, node)).collect::<Result<_>>()?;
        values.push(Row { at: row.at, is_list: row.items().is_some(), entries });
    }
    let part = |key: &str| node.get(key).map(|node| entry(reader, node)).transpose();
    Ok(ExceptionDef { name: name.to_owned(), at: node.at, fields: part("fields")?, comps: part("comps")?, values })
}

fn entry(reader: &Reader<'_>, node: &Node) -> Result<Entry> {
    let text = |node: &Node| match node.text(reader.files) {
        Some(text) => Ok(text),
        None => reader.refuse(INVALID, node, "expected a text or a list of texts"),
    };
    match node.items() {
        Some(items) => items.iter().map(|item| text(item)).collect::<Result<_>>().map(Entry::Many),
        None => text(node).map(Entry::One),
    }
}

impl ExceptionDef {
    fn refuse<T>(&self, message: &str, hint: Option<String>, files: &Files<'_>) -> Result<T> {
        let message = format!("exception '{}': {message}", self.name);
        Err(Diagnostic::error(INCONSISTENT, message, files.place(self.at, 1), hint))
    }

    /// Checks that fields, comparisons and values fit each other.
    pub(super) fn check_complete(&self, files: &Files<'_>) -> Result<()> {
        match (&self.fields, &self.comps) {
            (None, _) => self.refuse("'fields' is missing", None, files),
            (Some(Entry::One(_)), Some(Entry::Many(_))) => self.refuse("one field takes one comparison", None, files),
            (Some(Entry::One(_)), Some(Entry::One(comp))) if !is_list_comparison(comp.as_str()) => {
                let hint = "use in, pmatch, intersects, or an operator with oneof, anyof or allof";
                self.refuse(&format!("'{}' takes no list", comp.as_str()), Some(hint.to_owned()), files)
            }
            (Some(Entry::Many(_)), Some(Entry::One(_))) => {
                self.refuse("fields and comps differ in length", None, files)
            }
            (Some(Entry::Many(fields)), Some(Entry::Many(comps))) if fields.len() != comps.len() => {
                self.refuse("fields and comps differ in length", None, files)
            }
            (Some(Entry::Many(_)), Some(Entry::Many(comps))) => {
                match comps.iter().find(|comp| !is_comparison(comp.as_str())) {
                    Some(comp) => self.refuse(&format!("'{}' is no operator", comp.as_str()), None, files),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Adds `and not (...)` to a condition; nothing where there are no values.
    pub(super) fn write(&self, condition: &mut Text, files: &Files<'_>) -> Result<()> {
        if self.values.is_empty() {
            return Ok(());
        }
        condition.push_str(" and not ", self.at);
        match &self.fields {
            Some(Entry::Many(fields)) => self.write_rows(condition, fields, files),
            Some(Entry::One(field)) => self.write_set(condition, field, files),
            None => self.refuse("'fields' is missing", None, files),
        }
    }

    /// `(f in (v1, v2))`
    fn write_set(&self, condition: &mut Text, field: &Text, files: &Files<'_>) -> Result<()> {
        let comp = match &self.comps {
            Some(Entry::One(comp)) => comp.as_str().trim(),
            _ => "in",
        };
        condition.push_str("(", self.at);
        condition.push_text(field);
        condition.push_str(&format!(" {comp} ("), self.at);
        for (index, row) in self.values.iter().enumerate() {
            self.check_length(condition, files)?;
            let [Entry::One(value)] = row.entries.as_slice() else {
                return self.refuse("one field takes a list of texts", None, files);
            };
            if row.is_list {
                return self.refuse("one field takes a list of texts", None, files);
            }
            condition.push_str(if index == 0 { "" } else { ", " }, row.at);
            push_quoted(condition, value);
        }
        condition.push_str("))", self.at);
        Ok(())
    }

    /// `((f1 = v1 and f2 in (v2, v3)) or (...))`
    fn write_rows(&self, condition: &mut Text, fields: &[Text], files: &Files<'_>) -> Result<()> {
        condition.push_str("(", self.at);
        for (index, row) in self.values.iter().enumerate() {
            self.check_length(condition, files)?;
            if row.entries.len() != fields.len() {
                return self.refuse("fields and values differ in length", None, files);
            }
            condition.push_str(if index == 0 { "(" } else { " or (" }, row.at);
            for (column, (field, entry)) in fields.iter().zip(&row.entries).enumerate() {
                let comp = match &self.comps {
                    Some(Entry::Many(comps)) => comps.get(column).map_or("=", |comp| comp.as_str().trim()),
                    _ => "=",
                };
                condition.push_str(if column == 0 { "" } else { " and " }, row.at);
                condition.push_text(field);
                condition.push_str(&format!(" {comp} "), row.at);
                write_entry(condition, entry, comp, row.at);
            }
            condition.push_str(")", row.at);
        }
        condition.push_str(")", self.at);
        Ok(())
    }

    /// Fields are written once for each row of values: a long one would make any condition.
    fn check_length(&self, condition: &Text, files: &Files<'_>) -> Result<()> {
        match condition.len() > CONDITIONS_BYTES_MAX {
            true => {
                let limit = CONDITIONS_BYTES_MAX >> 20;
                self.refuse(&format!("with its values the condition is longer than {limit} MiB"), None, files)
            }
            false => Ok(()),
        }
    }
}

fn write_entry(condition: &mut Text, entry: &Entry, comp: &str, at: At) {
    match entry {
        Entry::Many(values) => {
            condition.push_str("(", at);
            for (index, value) in values.iter().enumerate() {
                condition.push_str(if index == 0 { "" } else { ", " }, at);
                push_quoted(condition, value);
            }
            condition.push_str(")", at);
        }
        Entry::One(value) if is_list_comparison(comp) && !value.as_str().starts_with('(') => {
            condition.push_str("(", at);
            condition.push_text(value);
            condition.push_str(")", at);
        }
        Entry::One(value) if is_list_comparison(comp) => condition.push_text(value),
        Entry::One(value) => push_quoted(condition, value),
    }
}

/// An operator, perhaps with a modifier.
fn is_comparison(comp: &str) -> bool {
    comp.trim() == "==" || Op::from_word(comp.trim()).is_some() || has_modifier(comp)
}

/// An operator that takes a list on its right side.
fn is_list_comparison(comp: &str) -> bool {
    Op::from_word(comp.trim()).is_some_and(Op::takes_list) || has_modifier(comp)
}

fn has_modifier(comp: &str) -> bool {
    let mut words = comp.split_whitespace();
    let op = words.next().and_then(|op| if op == "==" { Some(Op::Eq) } else { Op::from_word(op) });
    let modifier = words.next().and_then(Modifier::from_word);
    op.is_some_and(Op::takes_modifier) && modifier.is_some() && words.next().is_none()
}
