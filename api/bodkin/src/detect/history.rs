//! Rules over the tables of a server or of a folder.

use super::Printer;
use crate::sql::{DataDir, Progress, Remote};
use anyhow::{Context, anyhow};
use arrow::array::RecordBatch;
use bodkin_http::{DetectSearch, SqlEngine, SqlError};
use bodkin_rules::RuleSet;
use bodkin_schema::{EventTime, Principal, Stream};
use futures::{StreamExt, TryStreamExt};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Events that a rule's cost is measured on.
const RECENT_EVENTS: usize = 65_536;

/// From when to when; without bounds everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) since: Option<EventTime>,
    pub(super) until: Option<EventTime>,
}

impl Span {
    /// Reads the bounds, of which one may lie `now` minus something.
    pub(super) fn parse(since: Option<&str>, until: Option<&str>, now: EventTime) -> anyhow::Result<Self> {
        let time = |flag: &str, text: &str| {
            bodkin_query::detect::time(text, now).map_err(|message| anyhow!("{flag}: {message}"))
        };
        let since = since.map(|text| time("--since", text)).transpose()?;
        let until = until.map(|text| time("--until", text)).transpose()?;
        Ok(Self { since, until })
    }
}

/// Searches and prints what is found as it is found.
pub(super) async fn run(
    server: &str,
    data_dir: Option<&PathBuf>,
    search: DetectSearch,
    open: impl AsyncFnOnce(&Path) -> anyhow::Result<DataDir>,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let remote = |server: &str| Remote::parse(server).map_err(|message| anyhow!(message));
    let engine: Arc<dyn SqlEngine> = match data_dir {
        None => Arc::new(remote(server)?),
        Some(folder) => match open(folder).await? {
            DataDir::Live(server) => Arc::new(remote(&server)?),
            DataDir::Stopped(engine) => engine,
        },
    };
    let mut err = io::stderr();
    let mut progress = Progress::new(err.is_terminal());
    let answer = progress.wait(0, &mut err, engine.detect(&Principal::default(), search)).await.map_err(said)?;
    let mut batches = answer.batches;
    while let Some(batch) = progress.wait(printer.findings, &mut err, batches.next()).await {
        printer.print(&batch.map_err(said)?)?;
    }
    let stats = (answer.stats)();
    if err.is_terminal() {
        writeln!(
            err,
            "({} findings, {} files searched, {} left out)",
            printer.findings, stats.files_scanned, stats.files_pruned
        )
        .context("standard error")?;
    }
    Ok(())
}

/// The newest events of a server, with the columns that rules read.
pub(super) async fn recent(server: &str, rules: &RuleSet) -> anyhow::Result<Vec<RecordBatch>> {
    let remote = Remote::parse(server).map_err(|message| anyhow!(message))?;
    let registered = Stream::Events.schema();
    let columns = rules.columns().into_iter().filter(|name| registered.field_with_name(name).is_ok());
    let columns: Vec<String> = columns.map(|name| format!("\"{name}\"")).collect();
    let query = format!("SELECT {} FROM events ORDER BY ts DESC LIMIT {RECENT_EVENTS}", columns.join(", "));
    let answer = remote.sql(&Principal::default(), &query).await.map_err(said)?;
    answer.batches.try_collect().await.map_err(said)
}

fn said(error: SqlError) -> anyhow::Error {
    match error.hint {
        Some(hint) => anyhow!("{}\nhint: {hint}", error.message),
        None => anyhow!("{}", error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let now = EventTime(10_000_000);
        let span = Span::parse(Some("4s"), Some("1970-01-01T00:00:09Z"), now).unwrap();
        assert_eq!(span, Span { since: Some(EventTime(6_000_000)), until: Some(EventTime(9_000_000)) });
        let error = Span::parse(Some("soon"), None, now).unwrap_err().to_string();
        assert!(error.starts_with("--since: 'soon' is no time"), "{error}");
    }
}
