//! Which rules a query means.

use bodkin_rules::{Matching, Options, RuleFile, RuleSet};
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
        return load(&[RuleFile { name: "query".to_owned(), content: name.to_owned() }], &Options::default());
    }
    let files = catalog.map(|catalog| catalog.files()).unwrap_or_default();
    if name.is_empty() {
        return load(&files, &Options::default());
    }
    let is_named = |file: &&RuleFile| file.name == name || file.name.rsplit('/').next() == Some(name);
    let named: Vec<RuleFile> = files.iter().filter(is_named).cloned().collect();
    if !named.is_empty() {
        return load(&named, &Options::default());
    }
    let all = load(&files, &Options::default())?;
    if all.rule(name).is_none() {
        return Err(format!("'{name}' is neither a rule nor a rule file of this process, nor a text of rules"));
    }
    load(&files, &Options::only(name))
}

fn load(files: &[RuleFile], options: &Options) -> Result<RuleSet, String> {
    let (rules, report) = RuleSet::load(files, options);
    rules.ok_or_else(|| match report.errors.first() {
        Some(error) => error.to_string(),
        None => "the rules cannot be used".to_owned(),
    })
}
