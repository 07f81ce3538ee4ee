//! Rule files: YAML text to rules whose conditions are syntax trees, or located errors and warnings.
//!
//! The steps, each with its own error positions: [`yaml`] reads nodes with their places, [`object`] reads lists,
//! macros and rules from nodes, [`collect`] applies redefinition, `append` and `override`, [`resolve`] substitutes
//! lists in texts, parses, and binds macros. A text remembers for each of its bytes where in which file it was
//! written ([`text`]), through folding, appending and substitution, so that a message always points at the file.
//!
//! Nothing here can run away (SAFE-1): files, nodes, aliases, what conditions are with lists and macros expanded, their
//! depth and the number of messages are bounded by the constants of [`limits`].

mod change;
mod collect;
mod exception;
mod kind;
mod limits;
mod list;
mod object;
mod report;
mod resolve;
mod text;
mod version;
mod yaml;

pub use kind::{Priority, Source};
pub use report::{Diagnostic, Place, Report, Severity};

use crate::syntax::Expr;
use collect::Collection;
use limits::OBJECTS_MAX;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
pub(crate) use text::{At, Files, Text};

/// A rule file: its name for messages and its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// Path or other name.
    pub name: String,
    /// The YAML text.
    pub content: String,
}

/// A rule with its condition as a tree.
#[derive(Debug)]
pub(crate) struct LoadedRule {
    pub(crate) name: String,
    pub(crate) at: At,
    pub(crate) description: String,
    pub(crate) condition: Expr,
    /// Index of the condition's text in [`Loaded::texts`].
    pub(crate) text: usize,
    pub(crate) output: Text,
    pub(crate) priority: Priority,
    pub(crate) source: Source,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) is_enabled: bool,
    pub(crate) warns_of_event_types: bool,
    pub(crate) is_skipped_if_unknown: bool,
}

/// What the files hold.
pub(crate) struct Loaded<'a> {
    pub(crate) rules: Vec<LoadedRule>,
    /// Texts of all conditions, after substitution: what spans of trees refer to.
    pub(crate) texts: Vec<Text>,
    pub(crate) files: Files<'a>,
    pub(crate) report: Report,
}

/// Reads rule files, in order, into one set.
pub(crate) fn load(files: &[RuleFile]) -> Loaded<'_> {
    let mut report = Report::default();
    let mut collection = Collection::default();
    let files = Files::new(files, &mut report);
    let (mut bytes, mut objects) = (0, 0);
    for index in 0..files.len() {
        for node in yaml::read(&files, index, &mut bytes, &mut report) {
            objects += 1;
            if objects > OBJECTS_MAX {
                let message = format!("rule files hold more than {OBJECTS_MAX} lists, macros and rules in all");
                report.error("LOAD_ERR_YAML_VALIDATE", message, node.place(&files), None);
                return Loaded { rules: Vec::new(), texts: Vec::new(), files, report };
            }
            object::read(&node, &files, &mut collection, &mut report);
        }
    }
    let (rules, texts) = resolve::resolve(collection, &files, &mut report);
    Loaded { rules, texts, files, report }
}

#[cfg(test)]
mod tests;
