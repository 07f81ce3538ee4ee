//! Conditions: lists substituted, parsed, macros bound in order.

use super::LoadedRule;
use super::collect::{Collection, MacroDef, RuleDef};
use super::limits::CONDITIONS_BYTES_MAX;
use super::list::{self, List};
use super::report::Report;
use super::text::{Files, Text};
use crate::syntax::suggest::did_you_mean;
use crate::syntax::{Expr, MAX_DEPTH, Macro, Span, parse_condition};
use std::collections::HashMap;
use std::sync::Arc;

/// Turns definitions into rules, and reports lists and macros that nothing uses.
pub(super) fn resolve(mut collection: Collection, files: &Files, report: &mut Report) -> (Vec<LoadedRule>, Vec<Text>) {
    let lists = match list::splice_all(&collection) {
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
        let path = &mut vec![];
        resolver.macro_named(definition, path);
    }
    let loaded = rules.into_items().into_iter().filter_map(|rule| resolver.rule(rule)).collect();
    resolver.warn_unused();
    (loaded, resolver.texts)
}

/// A macro that was resolved; none where it is wrong, which was reported.
struct Resolved {
    body: Option<Arc<Macro>>,
    depth: usize,
    is_used: bool,
}

struct Resolver<'a> {
    collection: &'a Collection,
    lists: Vec<List>,
    files: &'a Files,
    report: &'a mut Report,
    texts: Vec<Text>,
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
        self.bind(&mut tree, &scope, &mut vec![])?;
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

    /// Substitutes lists and parses; an error is reported where it was written.
    fn parse(&mut self, condition: &Text) -> Option<(Expr, usize)> {
        let substituted = list::substitute_all(condition, &mut self.lists);
        let text = match substituted {
            Ok(text) if self.bytes + text.len() <= CONDITIONS_BYTES_MAX => text,
            Ok(_) => {
                let message = format!("all conditions together are longer than {} MiB", CONDITIONS_BYTES_MAX >> 20);
                self.report.error("LOAD_ERR_VALIDATE", message, self.files.place(condition.at(0), 1), None);
                return None;
            }
            Err(message) => {
                self.report.error("LOAD_ERR_VALIDATE", message, self.files.place(condition.at(0), 1), None);
                return None;
            }
        };
        self.bytes += text.len();
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

    /// Replaces names by macros; gives the depth of the tree, none where a name is wrong.
    fn bind(&mut self, tree: &mut Expr, scope: &Scope, path: &mut Vec<&'a str>) -> Option<usize> {
        let depth = match tree {
            Expr::And(children) | Expr::Or(children) => {
                let mut depth = 0;
                for child in children {
                    depth = depth.max(self.bind(child, scope, path)?);
                }
                depth
            }
            Expr::Not(child) => self.bind(child, scope, path)?,
            Expr::Name(name, span) => {
                let (body, depth) = self.named(name, *span, scope, path)?;
                *tree = Expr::Macro(body);
                depth
            }
            Expr::Macro(_) | Expr::Check(_) => 0,
        };
        if depth >= MAX_DEPTH {
            let at = self.texts.get(scope.text).map(|text| text.at(0)).unwrap_or_default();
            let message = format!("macros are nested deeper than {MAX_DEPTH} levels");
            self.report.error("LOAD_ERR_VALIDATE", message, self.files.place(at, 1), None);
            return None;
        }
        Some(depth + 1)
    }

    fn named(&mut self, name: &str, span: Span, scope: &Scope, path: &mut Vec<&'a str>) -> Option<(Arc<Macro>, usize)> {
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
        Some((resolved.body.clone()?, resolved.depth))
    }

    fn report_unknown(&mut self, name: &str, span: Span, scope: &Scope, later: Option<&MacroDef>) {
        let place = self.texts.get(scope.text).and_then(|text| text.place(span, self.files));
        let hint = match later.and_then(|later| self.files.place(later.at, 1)) {
            Some(later) => Some(format!(
                "it is defined later, at {}:{}; a macro sees only those defined before it",
                later.file, later.line
            )),
            None => did_you_mean(name, self.collection.macros.names()),
        };
        self.report.error("LOAD_ERR_VALIDATE", format!("there is no macro '{name}'"), place, hint);
    }

    /// Resolves a macro once.
    fn macro_named(&mut self, definition: &'a MacroDef, path: &mut Vec<&'a str>) {
        if self.macros.contains_key(definition.name.as_str()) {
            return;
        }
        path.push(&definition.name);
        let mut resolved = Resolved { body: None, depth: 0, is_used: false };
        if let Some((mut condition, text)) = self.parse(&definition.condition) {
            let scope = Scope { text, visibility: definition.order.visibility };
            if let Some(depth) = self.bind(&mut condition, &scope, path) {
                resolved.depth = depth;
                resolved.body = Some(Arc::new(Macro { name: definition.name.clone(), text, condition }));
            }
        }
        path.pop();
        self.macros.insert(&definition.name, resolved);
    }

    fn warn_unused(&mut self) {
        for definition in self.collection.macros.items() {
            let is_used = self.macros.get(definition.name.as_str()).is_some_and(|resolved| resolved.is_used);
            if !is_used {
                let place = self.files.place(definition.at, definition.name.len());
                self.report.warn("LOAD_UNUSED_MACRO", format!("macro '{}' is not used", definition.name), place, None);
            }
        }
        for (list, definition) in self.lists.iter().zip(self.collection.lists.items()) {
            if !list.is_used {
                let place = self.files.place(definition.at, definition.name.len());
                self.report.warn("LOAD_UNUSED_LIST", format!("list '{}' is not used", definition.name), place, None);
            }
        }
    }
}
