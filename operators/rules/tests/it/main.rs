//! Rules over real rule files and events, and against a second evaluator.
#![allow(clippy::unwrap_used, reason = "helpers of tests; the lint knows only functions that are tests themselves")]

mod bounded;
mod broken;
mod documents;
#[path = "../fuzz/mod.rs"]
mod fuzz;
mod hostile;
#[path = "../naive/mod.rs"]
mod naive;
mod official;
mod oracle;
mod syscall;

use bodkin_rules::{Options, RuleFile, RuleSet};

/// Reads a file of the test data.
fn data(path: &str) -> String {
    let path = format!("{}/tests/data/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn file(name: &str, content: impl Into<String>) -> RuleFile {
    RuleFile { name: name.to_owned(), content: content.into() }
}

/// Loads rules that must be without error.
fn load(content: impl Into<String>) -> RuleSet {
    let options = Options { has_suggested_output: false, ..Options::default() };
    let (rules, report) = RuleSet::load(&[file("rules.yaml", content)], &options);
    rules.unwrap_or_else(|| panic!("{report}"))
}
