//! `bodkin forward` and `bodkin alerts`: channels and alerts of a running server.

mod replay;

use crate::graph::Which;
use crate::sql::http::{get_json, post_json};
use anyhow::Context;
use clap::Subcommand;
use serde_json::Value;
use std::io::Write;

/// Arguments of `bodkin forward`.
#[derive(Debug, clap::Args)]
pub(crate) struct ForwardArgs {
    #[command(subcommand)]
    command: ForwardCommand,
}

#[derive(Debug, Subcommand)]
enum ForwardCommand {
    /// Send a test message to a channel, at once and once
    Test {
        #[command(flatten)]
        which: Which,
        /// A channel of the server's configuration
        #[arg(value_name = "CHANNEL")]
        name: String,
    },
}

/// Arguments of `bodkin alerts`.
#[derive(Debug, clap::Args)]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    command: AlertsCommand,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// Show the alerts that are pending or fire
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Run a rule over what was stored, and show when it would have fired
    Test(replay::TestArgs),
    /// Show the rules
    Rules {
        #[command(flatten)]
        which: Which,
    },
}

/// `bodkin forward`.
pub(crate) async fn forward(args: ForwardArgs) -> anyhow::Result<()> {
    let ForwardCommand::Test { which, name } = args.command;
    let path = url::form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>();
    post_json(&which.server()?, &format!("/api/v1/channels/{path}/test"), &Value::Null).await?;
    writeln!(std::io::stdout(), "{name}: the receiver took it")?;
    Ok(())
}

/// `bodkin alerts`.
pub(crate) async fn alerts(args: AlertsArgs) -> anyhow::Result<()> {
    match args.command {
        AlertsCommand::List { which } => {
            let answer = get_json(&which.server()?, "/api/v1/alerts").await?;
            let alerts = answer["alerts"].as_array().context("what answers is no Bodkin server")?;
            let lines = alerts.iter().map(alert_line).collect::<Vec<_>>();
            print(&lines, "no alert is pending or fires")
        }
        AlertsCommand::Test(args) => replay::run(args).await,
        AlertsCommand::Rules { which } => {
            let answer = get_json(&which.server()?, "/api/v1/alerts/rules").await?;
            let rules = answer["rules"].as_array().context("what answers is no Bodkin server")?;
            let text = |rule: &Value, name: &str| rule[name].as_str().unwrap_or_default().to_owned();
            let line = |rule: &Value| {
                format!("{:<10} {:<8} {}", text(rule, "severity"), text(rule, "kind"), text(rule, "alert"))
            };
            print(&rules.iter().map(line).collect::<Vec<_>>(), "there are no rules")
        }
    }
}

fn print(lines: &[String], none: &str) -> anyhow::Result<()> {
    let text = if lines.is_empty() { none.to_owned() } else { lines.join("\n") };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// `firing  DiskFull  {host="a"}  since 2026-01-01T00:00:00Z  0.93`
fn alert_line(alert: &Value) -> String {
    let state = match alert["is_firing"].as_bool() {
        Some(true) => "firing",
        _ => "pending",
    };
    let labels = alert["labels"].as_object().into_iter().flatten().filter(|(name, _)| *name != "alertname");
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={value}")).collect();
    let since = alert["starts_at"].as_i64().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    let since = since.map_or_else(String::new, |time| format!("  since {time}"));
    let value = alert["value"].as_f64().map_or_else(String::new, |value| format!("  {value}"));
    let muted =
        ["silenced_by", "inhibited_by"].iter().any(|name| alert[*name].as_array().is_some_and(|by| !by.is_empty()));
    let muted = if muted { "  (muted)" } else { "" };
    let rule = alert["rule"].as_str().unwrap_or_default();
    format!("{state:<8} {rule}  {{{}}}{since}{value}{muted}", labels.join(", "))
}
