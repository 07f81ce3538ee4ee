//! `bodkin rules explain`.

use super::{RulesFrom, files};
use crate::sql::http;
use anyhow::{Context, bail};
use bodkin_rules::{Options, Rule, RuleSet};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `bodkin rules explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Events to measure the rule's cost on: Parquet, Arrow, or JSON; those of the server where no files are given
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Name of the rule
    #[arg(value_name = "RULE")]
    rule: String,
    #[command(flatten)]
    from: RulesFrom,
}

pub(super) async fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let files = if args.from.files.is_empty() {
        from_server(&args.from.server).await?
    } else {
        files::read_files(&args.from.files)?
    };
    let rules = files::rule_set(&files, &Options::default())?;
    let rule = find(&rules, &args.rule)?;
    let mut text = explained(&rules, rule);
    let cost = match &args.input {
        Some(input) => Some(tokio::task::block_in_place(|| crate::detect::cost(input, &files, rule))?),
        None if args.from.files.is_empty() => crate::detect::recent_cost(&args.from.server, &files, rule).await?,
        None => None,
    };
    if let Some(cost) = cost {
        let _ = writeln!(text, "{:<12} {cost}", "cost");
    }
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

async fn from_server(server: &str) -> anyhow::Result<Vec<bodkin_rules::RuleFile>> {
    let mut rules = http::get_json(server, "/api/v1/rules?files=true").await?;
    let files = rules.get_mut("files").map(Value::take).context("the server tells of no rule files")?;
    serde_json::from_value(files).context("rule files of the server")
}

fn find<'a>(rules: &'a RuleSet, name: &str) -> anyhow::Result<&'a Rule> {
    if let Some(rule) = rules.rule(name) {
        return Ok(rule);
    }
    let lower = name.to_lowercase();
    let similar = rules.rules().iter().filter(|rule| rule.name.to_lowercase().contains(&lower));
    match similar.collect::<Vec<_>>().as_slice() {
        [only] => Ok(only),
        [] => match rules.did_you_mean(name) {
            Some(hint) => bail!("there is no rule {name:?}: {hint}"),
            None => bail!("there is no rule {name:?}: see bodkin rules list"),
        },
        several => {
            let names: Vec<&str> = several.iter().map(|rule| rule.name.as_str()).collect();
            bail!("{name:?} may be any of: {}", names.join(", "))
        }
    }
}

fn explained(rules: &RuleSet, rule: &Rule) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("rule", &rule.name);
    line("priority", rule.priority.name());
    line("source", rule.source.name());
    line("enabled", if rule.is_enabled { "yes" } else { "no" });
    line("tags", &rule.tags.join(" "));
    line("techniques", &rule.techniques.join(" "));
    line("description", rule.description.trim());
    line("condition", &rule.condition);
    if rule.source == bodkin_rules::Source::Syscall {
        let events: Vec<&str> = rule.events.names().collect();
        line("events", &if events.len() > 100 { format!("{} types", events.len()) } else { events.join(" ") });
        line("columns", &rules.columns_of(rule).join(" "));
    }
    line("fields", &rules.fields_of(rule).join(" "));
    text
}

/// The rules of one file set with one rule switched on.
pub(crate) fn only(files: &[bodkin_rules::RuleFile], rule: &str) -> anyhow::Result<Arc<RuleSet>> {
    files::rule_set(files, &Options::only(rule)).map(Arc::new)
}
