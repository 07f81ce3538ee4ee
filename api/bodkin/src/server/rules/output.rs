//! Findings as Falco's output: lines of JSON in a file, a POST of JSON each.

use super::FindingsFeed;
use super::limit::Limiter;
use crate::config::OutputSection;
use crate::sql::Remote;
use anyhow::{Context, anyhow, bail};
use bodkin_http::LiveFindings;
use bodkin_rules::FindingRows;
use bodkin_schema::{Clock, SystemClock};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Method;
use hyper::header::CONTENT_TYPE;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// Longest wait for a receiver of findings.
const POST_TIMEOUT: Duration = Duration::from_secs(5);

enum Output {
    File(PathBuf),
    Http(String),
}

/// Starts what `section` asks for. What an output cannot take is counted as missed, what a limit holds back as such; both
/// stay in the table.
///
/// # Errors
/// What is wrong with the section.
pub(super) fn spawn(
    section: &OutputSection,
    feed: &Arc<FindingsFeed>,
    hostname: &str,
    stopping: &CancellationToken,
) -> anyhow::Result<()> {
    let file = section.file.clone().map(Output::File);
    let http = section.http.clone().map(Output::Http);
    for output in file.into_iter().chain(http) {
        let limiter = section.limit.as_ref().map(Limiter::new).transpose()?;
        let delivery = Delivery { output, limiter, hostname: hostname.to_owned(), clock: SystemClock::default() };
        tokio::spawn(delivery.run(feed.clone(), stopping.clone()));
    }
    Ok(())
}

/// One output under way.
struct Delivery {
    output: Output,
    limiter: Option<Limiter>,
    hostname: String,
    clock: SystemClock,
}

impl Delivery {
    async fn run(mut self, feed: Arc<FindingsFeed>, stopping: CancellationToken) {
        let mut findings = feed.subscribe();
        loop {
            let next = tokio::select! {
                next = findings.recv() => next,
                () = stopping.cancelled() => return,
            };
            match next {
                Ok(found) => {
                    let before = self.held_back();
                    let findings = self.passing(&found);
                    feed.hold_back(self.held_back() - before);
                    if let Err(error) = self.output.write(&findings).await {
                        feed.miss(1);
                        tracing::warn!(error = format!("{error:#}"), "findings are not delivered");
                    }
                }
                Err(RecvError::Lagged(batches)) => feed.miss(batches),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn held_back(&self) -> u64 {
        self.limiter.as_ref().map_or(0, Limiter::held_back)
    }

    fn passing(&mut self, found: &LiveFindings) -> Vec<Value> {
        let rows = FindingRows::new(&found.rows);
        let now = self.clock.monotonic();
        let findings = (0..rows.len()).map(|row| rows.falco(row, &self.hostname));
        let passing = findings.filter_map(|finding| match &mut self.limiter {
            Some(limiter) => limiter.pass(finding, now),
            None => Some(finding),
        });
        passing.map(Value::Object).collect()
    }
}

impl Output {
    async fn write(&self, findings: &[Value]) -> anyhow::Result<()> {
        if findings.is_empty() {
            return Ok(());
        }
        match self {
            Self::File(path) => {
                let lines: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
                let path = path.clone();
                // Opened each time: whoever rotates the file finds a new one.
                let append = move || {
                    let mut file = OpenOptions::new().create(true).append(true).open(&path);
                    let written = file
                        .as_mut()
                        .map_err(|error| error.kind().into())
                        .and_then(|file| file.write_all(lines.as_bytes()));
                    written.with_context(|| path.display().to_string())
                };
                tokio::task::spawn_blocking(append).await?
            }
            Self::Http(url) => {
                for finding in findings {
                    tokio::time::timeout(POST_TIMEOUT, post(url, finding)).await.context(url.clone())??;
                }
                Ok(())
            }
        }
    }
}

async fn post(url: &str, finding: &Value) -> anyhow::Result<()> {
    let remote = Remote::parse(url).map_err(|message| anyhow!(message))?;
    let body = Full::from(Bytes::from(finding.to_string()));
    // The client asks below the URL's path, and a receiver at the root of its host has none.
    let path = if url.trim_end_matches('/').matches('/').count() > 2 { "" } else { "/" };
    let request = remote.request(Method::POST, path).header(CONTENT_TYPE, "application/json").body(body)?;
    let response = remote.send(request).await.map_err(|error| anyhow!(error.message))?;
    let status = response.status();
    // The connection ends with its answer.
    let _ = response.into_body().collect().await;
    if !status.is_success() {
        bail!("{url} answered {status}");
    }
    Ok(())
}
