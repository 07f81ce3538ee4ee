//! Which rules a query means.

use bodkin_rules::{Matching, Options, RuleFile, RuleSet, Switch};
use std::fmt;
use std::sync::Arc;

/// The rules of the process, as queries may name them.
pub trait RuleCatalog: Send + Sync + fmt::Debug {
    /// The files that run now.
    fn files(&self) -> Arc<Vec<RuleFile>>;

    /// How many rules may fire for one event.
    fn matching(&self) -> Matching;
}

/// The rules that `name` means: a rule of the process by its name, one of its files by its name or the last part of
/// it, all of its rules for an empty text, or a text that is a rule file itself.
///
/// # Errors
/// Where it means nothing, or the rules are wrong.
pub(super) fn resolve(name: &str, catalog: Option<&Arc<dyn RuleCatalog>>) -> Result<RuleSet, String> {
    if name.contains('\n') || name.trim_start().starts_with("- ") {
        return load(&[RuleFile { name: "query".to_owned(), content: name.to_owned() }], Vec::new());
    }
    let files = catalog.map(|catalog| catalog.files()).unwrap_or_default();
    if name.is_empty() {
        return load(&files, Vec::new());
    }
    let is_named = |file: &&RuleFile| file.name == name || file.name.rsplit('/').next() == Some(name);
    let named: Vec<RuleFile> = files.iter().filter(is_named).cloned().collect();
    if !named.is_empty() {
        return load(&named, Vec::new());
    }
    let all = load(&files, Vec::new())?;
    if all.rule(name).is_none() {
        return Err(format!("'{name}' is neither a rule nor a rule file of this process, nor a text of rules"));
    }
    // A pattern that is the name itself: its special characters stand for themselves.
    let pattern: String =
        name.chars().flat_map(|c| if "*?[\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
    let off = Switch::Rule { pattern: "*".to_owned(), is_enabled: false };
    load(&files, vec![off, Switch::Rule { pattern, is_enabled: true }])
}

fn load(files: &[RuleFile], switches: Vec<Switch>) -> Result<RuleSet, String> {
    let (rules, report) = RuleSet::load(files, &Options { switches, ..Options::default() });
    rules.ok_or_else(|| match report.errors.first() {
        Some(error) => error.to_string(),
        None => "the rules cannot be used".to_owned(),
    })
}
