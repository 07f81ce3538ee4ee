//! `bodkin rules`: checks, lists, explains and tests rule files.

mod explain;
mod files;
mod list;
mod test;

pub(crate) use explain::only;
pub(crate) use files::{read_files, rule_set};

use crate::sql::DEFAULT_SERVER;
use bodkin_rules::{Diagnostic, Report, check};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `bodkin rules`.
#[derive(Debug, clap::Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    command: RulesCommand,
}

/// Subcommands of `bodkin rules`.
#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Say what is wrong with rule files, and where; fails where there is an error
    Check {
        /// How to write what is wrong
        #[arg(long, value_enum, default_value_t = TextFormat::Text)]
        format: TextFormat,
        /// Rule files, or folders of them, loaded together in this order
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List rules: those of files, or those that a server runs
    List(list::ListArgs),
    /// Show what a rule comes down to: its whole condition, event types, columns, cost
    Explain(explain::ExplainArgs),
    /// Run tests of rules: events in YAML, and the rules that must fire for them
    Test {
        /// Test files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Where rules come from: files, or a server.
#[derive(Debug, clap::Args)]
pub(crate) struct RulesFrom {
    /// Server to ask where no files are given
    #[arg(long, value_name = "URL", default_value = DEFAULT_SERVER)]
    pub(crate) server: String,
    /// Rule files, or folders of them
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(args: RulesArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        RulesCommand::Check { format, files } => check_files(format, &files),
        RulesCommand::List(args) => list::run(args).await,
        RulesCommand::Explain(args) => explain::run(args).await,
        RulesCommand::Test { files } => test::run(&files, &mut io::stdout().lock()),
    }
}

fn check_files(format: TextFormat, paths: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let report = match read_files(paths) {
        Ok(files) => check(&files),
        Err(unreadable) => unreadable.into_report(),
    };
    let mut out = io::stdout().lock();
    match format {
        TextFormat::Text => writeln!(out, "{report}")?,
        TextFormat::Json => writeln!(out, "{}", report_json(&report))?,
    }
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A report for programs.
pub(crate) fn report_json(report: &Report) -> Value {
    let messages = |all: &[Diagnostic]| all.iter().map(diagnostic_json).collect::<Vec<_>>();
    json!({
        "ok": report.is_ok(),
        "errors": messages(&report.errors),
        "warnings": messages(&report.warnings),
        "omitted": report.omitted,
    })
}

fn diagnostic_json(diagnostic: &Diagnostic) -> Value {
    let place = diagnostic.place.as_ref();
    json!({
        "code": diagnostic.code,
        "message": diagnostic.message,
        "file": place.map(|place| &place.file),
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "excerpt": place.map(|place| &place.excerpt),
        "hint": diagnostic.hint,
    })
}
