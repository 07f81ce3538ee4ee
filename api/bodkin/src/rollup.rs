//! `bodkin rollup`: the tiers of samples and flows of a running server.

use crate::graph::Which;
use crate::promql::time;
use crate::sql::http::{get_json, post_json};
use bodkin_schema::{Clock, SystemClock};
use clap::Subcommand;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How often progress is shown.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
const BAR_CELLS: u64 = 30;

/// Arguments of `bodkin rollup`.
#[derive(Debug, clap::Args)]
pub(crate) struct RollupArgs {
    #[command(subcommand)]
    command: RollupCommand,
}

#[derive(Debug, Subcommand)]
enum RollupCommand {
    /// Make the tiers of all samples and flows that wait, at once and not when they are six hours old
    Backfill {
        #[command(flatten)]
        which: Which,
        /// From this event time on: 2026-11-25T10:00:00Z, seconds since 1970, or 30d for thirty days ago
        #[arg(long, value_name = "T")]
        since: Option<String>,
        /// Up to this event time
        #[arg(long, value_name = "T")]
        until: Option<String>,
    },
    /// Show what is made and what waits
    Status {
        #[command(flatten)]
        which: Which,
    },
}

/// `bodkin rollup`.
pub(crate) async fn run(args: RollupArgs) -> anyhow::Result<()> {
    match args.command {
        RollupCommand::Status { which } => {
            let status = get_json(&which.server()?, "/api/v1/rollups").await?;
            writeln!(std::io::stdout().lock(), "{}", summary(&status))?;
        }
        RollupCommand::Backfill { which, since, until } => {
            let server = which.server()?;
            let now_ms = SystemClock::default().now().micros().div_euclid(1000);
            let bound = |name: &str, text: Option<String>| -> anyhow::Result<String> {
                let Some(text) = text else { return Ok(String::new()) };
                let at = time::parse(&text, now_ms).map_err(|error| anyhow::anyhow!("{text}: {error}"))?;
                Ok(format!("{name}={at}&"))
            };
            let path = format!("/api/v1/admin/rollup?{}{}", bound("since_ms", since)?, bound("until_ms", until)?);
            let made = {
                let making = post_json(&server, path.trim_end_matches(['?', '&']), &Value::Null);
                let mut making = std::pin::pin!(making);
                loop {
                    match tokio::time::timeout(LOOK_INTERVAL, &mut making).await {
                        Ok(made) => break made,
                        Err(_) => show(&server).await?,
                    }
                }
            };
            if std::io::stderr().is_terminal() {
                write!(std::io::stderr(), "\r\x1b[K")?;
            }
            writeln!(std::io::stdout().lock(), "{}", summary(&made?))?;
        }
    }
    Ok(())
}

/// One line on standard error, where a person looks at it.
async fn show(server: &str) -> anyhow::Result<()> {
    // The making goes on, whether or not its progress can be told.
    let Ok(status) = get_json(server, "/api/v1/rollups").await else { return Ok(()) };
    if std::io::stderr().is_terminal() {
        write!(std::io::stderr(), "\r\x1b[K{}", bar(&status))?;
        std::io::stderr().flush()?;
    }
    Ok(())
}

fn number(status: &Value, key: &str) -> u64 {
    status[key].as_u64().unwrap_or_default()
}

fn bar(status: &Value) -> String {
    // One ladder works after the other: that of flows, once it has begun.
    let flows = &status["flows"];
    let is_of_flows = number(flows, "units_done") < number(flows, "units_planned");
    let status = if is_of_flows { flows } else { status };
    let (done, planned) = (number(status, "units_done"), number(status, "units_planned"));
    let full = (done * BAR_CELLS).checked_div(planned).unwrap_or_default().min(BAR_CELLS);
    let cells: String = (0..BAR_CELLS).map(|cell| if cell < full { '#' } else { '.' }).collect();
    let rows = if is_of_flows { "flows" } else { "samples" };
    format!("[{cells}] {} of {} hours, {} {rows} read", done * 2, planned * 2, number(status, "rows_read"))
}

fn summary(status: &Value) -> String {
    format!("{}\n{}", line("samples", status), line("flows", &status["flows"]))
}

fn line(rows: &str, status: &Value) -> String {
    let (made, waiting) = (number(status, "units_made"), number(status, "units_pending"));
    let oldest = status["oldest_pending_ms"].as_i64().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let since = oldest.map(|oldest| format!(", the oldest of {oldest}")).unwrap_or_default();
    format!("{} hours of {rows} have their tiers, {} hours wait{since}", made * 2, waiting * 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_person_reads() {
        let status = json!({"units_made": 3, "units_pending": 1, "units_planned": 4, "units_done": 2,
            "rows_read": 900, "oldest_pending_ms": 7_200_000});
        assert_eq!(bar(&status), "[###############...............] 4 of 8 hours, 900 samples read");
        assert_eq!(
            summary(&status),
            "6 hours of samples have their tiers, 2 hours wait, the oldest of 1970-01-01T02:00:00Z\n\
             0 hours of flows have their tiers, 0 hours wait"
        );
        let flows = json!({"flows": {"units_planned": 4, "units_done": 1, "rows_read": 7}});
        assert_eq!(bar(&flows), "[#######.......................] 2 of 8 hours, 7 flows read");
    }
}
