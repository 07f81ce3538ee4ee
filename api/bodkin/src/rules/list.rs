//! `bodkin rules list`.

use super::{RulesFrom, TextFormat, files};
use crate::sql::http;
use bodkin_rules::{Options, RuleSet};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::process::ExitCode;

/// Arguments of `bodkin rules list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// How to write the list
    #[arg(long, value_enum, default_value_t = TextFormat::Text)]
    format: TextFormat,
    #[command(flatten)]
    from: RulesFrom,
}

pub(super) async fn run(args: ListArgs) -> anyhow::Result<ExitCode> {
    let rules = if args.from.files.is_empty() {
        http::get_json(&args.from.server, "/api/v1/rules").await?
    } else {
        describe(&files::rule_set(&files::read_files(&args.from.files)?, &Options::default())?)
    };
    let rules = rules.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut out = io::stdout().lock();
    for rule in &rules {
        match args.format {
            TextFormat::Json => writeln!(out, "{rule}")?,
            TextFormat::Text => writeln!(out, "{}", line(rule))?,
        }
    }
    if args.format == TextFormat::Text {
        let disabled = rules.iter().filter(|rule| rule["enabled"] == false).count();
        writeln!(io::stderr(), "({} rules, {disabled} disabled)", rules.len())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(rule: &Value) -> String {
    let text = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    let state = if rule["enabled"] == true { ' ' } else { '-' };
    format!("{state} {:<13} {:<14} {}", text("priority"), text("source"), text("rule"))
}

/// The rules of a set, as `GET /api/v1/rules` lists them.
pub(crate) fn describe(rules: &RuleSet) -> Value {
    let rules = rules.rules().iter().map(|rule| {
        json!({
            "rule": rule.name,
            "description": rule.description,
            "priority": rule.priority.name(),
            "source": rule.source.name(),
            "tags": rule.tags,
            "techniques": rule.techniques,
            "enabled": rule.is_enabled,
        })
    });
    json!({"rules": rules.collect::<Vec<_>>()})
}
