//! Conditions: lists substituted, parsed, macros bound in order.

use super::LoadedRule;
use super::collect::{Collection, MacroDef, RuleDef};
use super::limits::{CONDITIONS_BYTES_MAX, VALUE_BYTES};
use super::list::{self, Lists};
use super::report::Report;
use super::text::{At, Files, Text};
use crate::syntax::{Expr, MAX_DEPTH, Macro, Span, parse_condition};
use std::collections::HashMap;
use std::sync::Arc;

/// Turns definitions into rules, and reports lists and macros that nothing uses.
pub(super) fn resolve(
    mut collection: Collection,
    files: &Files<'_>,
    report: &mut Report,
) -> (Vec<LoadedRule>, Vec<Text>) {
    let lists = match Lists::spliced(&collection) {
        Ok(lists) => lists,
        Err((at, message)) => {
            report.error("LOAD_ERR_VALIDATE", message, files.place(at, 1), None);
            return (Vec::new(), Vec::new());
        }
    };
    let rules = std::mem::take(&mut collection.rules);
    let mut resolver =
        Resolver { collection: &collection, lists, files, report, texts: Vec::new(), bytes: 0, macros: HashMap::new() };
    for definition in collection.macros.items() {
        if resolver.report.is_full() {
            break;
        }
        resolver.macro_named(definition, &mut vec![]);
    }
    let mut loaded = Vec::new();
    for rule in rules.into_items() {
        if resolver.report.is_full() {
            break;
        }
        loaded.extend(resolver.rule(rule));
    }
    // What uses them may be in a condition that is wrong.
    if resolver.report.is_ok() {
        resolver.warn_unused();
    }
    (loaded, resolver.texts)
}

/// A macro that was resolved; none where it is wrong, which was reported.
struct Resolved {
    body: Option<Arc<Macro>>,
    size: Size,
    is_used: bool,
}

/// How large a tree is with its macros expanded.
#[derive(Clone, Copy, Default)]
struct Size {
    depth: usize,
    /// Its text, and [`VALUE_BYTES`] for each word of it.
    bytes: usize,
}

struct Resolver<'a> {
    collection: &'a Collection,
    lists: Lists,
    files: &'a Files<'a>,
    report: &'a mut Report,
    texts: Vec<Text>,
    /// What all texts and trees take, macros expanded.
    bytes: usize,
    macros: HashMap<&'a str, Resolved>,
}

/// What a name may refer to where it stands.
struct Scope {
    text: usize,
    visibility: usize,
}

impl<'a> Resolver<'a> {
    fn rule(&mut self, rule: RuleDef) -> Option<LoadedRule> {
        let source = rule.source?;
        let mut condition = Text::default();
        let is_excepted = rule.exceptions.iter().any(|exception| !exception.values.is_empty());
        condition.push_str(if is_excepted { "(" } else { "" }, rule.condition.at(0));
        condition.push_text(&rule.condition);
        condition.push_str(if is_excepted { ")" } else { "" }, rule.condition.at(rule.condition.len()));
        for exception in &rule.exceptions {
            if let Err(refusal) = exception.write(&mut condition, self.files) {
                self.report.push(*refusal);
                return None;
            }
        }
        let (mut tree, text) = self.parse(&condition)?;
        let scope = Scope { text, visibility: usize::MAX };
        let size = self.bind(&mut tree, &scope, &mut vec![])?;
        // An output takes as much for each of its fields.
        let fields = rule.output.as_str().bytes().filter(|b| *b == b'%').count();
        let output = rule.output.len().saturating_add(fields * 2 * VALUE_BYTES);
        // The text itself was counted when it was read.
        let macros = size.bytes - self.texts.get(text).map_or(0, bytes_of);
        self.charge(macros.saturating_add(output), &rule.condition)?;
        Some(LoadedRule {
            name: rule.name,
            at: rule.at,
            description: rule.description,
            condition: tree,
            text,
            output: rule.output,
            priority: rule.priority,
            source,
            tags: rule.tags,
            is_enabled: rule.is_enabled,
            warns_of_event_types: rule.warns_of_event_types,
            is_skipped_if_unknown: rule.is_skipped_if_unknown,
        })
    }

    /// Counts what a condition takes; one that is too much is reported.
    fn charge(&mut self, bytes: usize, condition: &Text) -> Option<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= CONDITIONS_BYTES_MAX {
            return Some(());
        }
        let limit = CONDITIONS_BYTES_MAX >> 20;
        let message = format!("all conditions with their lists and macros expanded take more than {limit} MiB");
        self.report.error("LOAD_ERR_VALIDATE", message, condition.place_of_first_line(self.files), None);
        // One message is enough, and what follows may be small again.
        self.bytes -= bytes.min(self.bytes);
        None
    }

    /// Substitutes lists and parses; an error is reported where it was written.
    fn parse(&mut self, condition: &Text) -> Option<(Expr, usize)> {
        match self.lists.bytes_of(condition) {
            Ok(bytes) => self.charge(bytes, condition)?,
            Err(message) => {
                self.report.error("LOAD_ERR_VALIDATE", message, condition.place_of_first_line(self.files), None);
                return None;
            }
        }
        let text = self.lists.substitute(condition);
        match parse_condition(text.as_str()) {
            Ok(tree) => {
                self.texts.push(text);
                Some((tree, self.texts.len() - 1))
            }
            Err(e) => {
                let place = text.place(e.span, self.files);
                self.report.error("LOAD_ERR_COMPILE_CONDITION", e.message, place, e.hint);
                None
            }
        }
    }

    /// Replaces names by macros; gives the size of the tree, none where a name is wrong.
    fn bind(&mut self, tree: &mut Expr, scope: &Scope, path: &mut Vec<&'a str>) -> Option<Size> {
        let mut size = Size { bytes: self.texts.get(scope.text).map_or(0, bytes_of), depth: 0 };
        self.bind_names(tree, scope, path, &mut size, 0)?;
        if size.depth >= MAX_DEPTH {
            let at = self.texts.get(scope.text).map(|text| text.at(0)).unwrap_or_default();
            let message = format!("macros are nested deeper than {MAX_DEPTH} levels");
            self.report.error("LOAD_ERR_VALIDATE", message, self.files.place(at, 1), None);
            return None;
        }
        Some(size)
    }

    /// `depth` is how deep in its condition `tree` is.
    fn bind_names(
        &mut self,
        tree: &mut Expr,
        scope: &Scope,
        path: &mut Vec<&'a str>,
        size: &mut Size,
        depth: usize,
    ) -> Option<()> {
        match tree {
            Expr::And(children) | Expr::Or(children) => {
                children.iter_mut().try_for_each(|child| self.bind_names(child, scope, path, size, depth + 1))?;
            }
            Expr::Not(child) => self.bind_names(child, scope, path, size, depth + 1)?,
            Expr::Name(name, span) => {
                let (body, of_macro) = self.named(name, *span, scope, path)?;
                size.depth = size.depth.max(depth + 1 + of_macro.depth);
                size.bytes = size.bytes.saturating_add(of_macro.bytes);
                *tree = Expr::Macro(body);
            }
            Expr::Macro(_) | Expr::Check(_) => {}
        }
        size.depth = size.depth.max(depth + 1);
        Some(())
    }

    fn named(&mut self, name: &str, span: Span, scope: &Scope, path: &mut Vec<&'a str>) -> Option<(Arc<Macro>, Size)> {
        let collection = self.collection;
        let found = collection.macros.get(name);
        let visible = found.filter(|found| found.order.index < scope.visibility);
        let Some(definition) = visible else {
            if !collection.refused.contains(name) {
                self.report_unknown(name, span, scope, found);
            }
            return None;
        };
        let is_loop = path.contains(&definition.name.as_str());
        if is_loop || path.len() >= MAX_DEPTH {
            let place = self.texts.get(scope.text).and_then(|text| text.place(span, self.files));
            let problem = if is_loop { "refers to itself" } else { "is nested too deeply" };
            self.report.error("LOAD_ERR_VALIDATE", format!("macro '{name}' {problem}"), place, None);
            return None;
        }
        self.macro_named(definition, path);
        let resolved = self.macros.get_mut(name)?;
        resolved.is_used = true;
        Some((resolved.body.clone()?, resolved.size))
    }

    fn report_unknown(&mut self, name: &str, span: Span, scope: &Scope, later: Option<&MacroDef>) {
        let place = self.texts.get(scope.text).and_then(|text| text.place(span, self.files));
        let hint = match later.and_then(|later| self.files.place(later.at, 1)) {
            Some(later) => Some(format!(
                "it is defined later, at {}:{}; a macro sees only those defined before it",
                later.file, later.line
            )),
            None => self.collection.macros.nearest(name),
        };
        self.report.error("LOAD_ERR_VALIDATE", format!("there is no macro '{name}'"), place, hint);
    }

    /// Resolves a macro once.
    fn macro_named(&mut self, definition: &'a MacroDef, path: &mut Vec<&'a str>) {
        if self.macros.contains_key(definition.name.as_str()) {
            return;
        }
        path.push(&definition.name);
        let mut resolved = Resolved { body: None, size: Size::default(), is_used: false };
        if let Some((mut condition, text)) = self.parse(&definition.condition) {
            let scope = Scope { text, visibility: definition.order.visibility };
            if let Some(size) = self.bind(&mut condition, &scope, path) {
                resolved.size = size;
                resolved.body = Some(Arc::new(Macro { name: definition.name.clone(), text, condition }));
            }
        }
        path.pop();
        self.macros.insert(&definition.name, resolved);
    }

    fn warn_unused(&mut self) {
        let collection = self.collection;
        for definition in collection.macros.items() {
            if self.macros.get(definition.name.as_str()).is_none_or(|resolved| !resolved.is_used) {
                self.warn_of("LOAD_UNUSED_MACRO", "macro", &definition.name, definition.at);
            }
        }
        let are_used: Vec<bool> = self.lists.are_used().collect();
        for (definition, _) in collection.lists.items().iter().zip(are_used).filter(|(_, is_used)| !is_used) {
            self.warn_of("LOAD_UNUSED_LIST", "list", &definition.name, definition.at);
        }
    }

    fn warn_of(&mut self, code: &'static str, kind: &str, name: &str, at: At) {
        let place = self.files.place(at, name.len());
        self.report.warn(code, format!("{kind} '{name}' is not used"), place, None);
    }
}

/// What a text and its tree take: each of its words may be a value.
fn bytes_of(text: &Text) -> usize {
    text.len() + VALUE_BYTES * list::words(text.as_str().as_bytes()).count()
}
