//! Findings as Falco's output: lines of JSON in a file, a POST of JSON each.

use super::FindingsFeed;
use super::limit::Limiter;
use crate::config::OutputSection;
use anyhow::{Context, bail};
use bodkin_http::LiveFindings;
use bodkin_rules::FindingRows;
use bodkin_schema::{Clock, SystemClock};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
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
/// Waits before a finding is posted again: a receiver that starts again is back by then.
const POST_AGAIN: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

enum Output {
    File(PathBuf),
    Http { client: Client, url: Url },
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
    let http = section.http.as_deref().map(Output::http).transpose()?;
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
            Self::Http { client, url } => {
                let mut outcome = Ok(());
                for finding in findings {
                    // One that is lost takes no others with it.
                    outcome = outcome.and(post(client, url, finding).await);
                }
                outcome
            }
        }
    }

    fn http(url: &str) -> anyhow::Result<Self> {
        let parsed = Url::parse(url).with_context(|| format!("rules.output.http: {url:?} is no URL"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            bail!("rules.output.http: {url:?} is neither http nor https");
        }
        let agent = concat!("bodkin/", env!("CARGO_PKG_VERSION"));
        let client = Client::builder().timeout(POST_TIMEOUT).user_agent(agent).build().context("rules.output.http")?;
        Ok(Self::Http { client, url: parsed })
    }
}

/// Posts a finding, again where that may help.
async fn post(client: &Client, url: &Url, finding: &Value) -> anyhow::Result<()> {
    let body = finding.to_string();
    let mut waits = POST_AGAIN.into_iter();
    loop {
        let request = client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(body.clone());
        let error = match request.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) if !answer.status().is_server_error() && answer.status().as_u16() != 429 => {
                bail!("{url} answered {}", answer.status());
            }
            Ok(answer) => anyhow::anyhow!("{url} answered {}", answer.status()),
            Err(error) => anyhow::Error::new(error),
        };
        match waits.next() {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::{StatusCode, Uri};
    use std::sync::Mutex;

    /// SAFE-1 of the other side: a receiver that is not ready yet gets its finding, at the very URL that was given.
    #[tokio::test]
    async fn findings_are_posted_until_they_are_taken() {
        let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let told = seen.clone();
        let answer = move |uri: Uri, body: String| {
            let told = told.clone();
            async move {
                let mut told = told.lock().unwrap();
                told.push((uri.to_string(), body));
                if told.len() == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        for path in ["", "/", "/in?key=x"] {
            let output = Output::http(&format!("http://{address}{path}")).unwrap();
            output.write(&[serde_json::json!({"rule": path})]).await.unwrap();
        }
        let seen = seen.lock().unwrap();
        let paths: Vec<&str> = seen.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["/", "/", "/", "/in?key=x"]);
        assert_eq!(seen[3].1, r#"{"rule":"/in?key=x"}"#);
        assert!(Output::http("nowhere").is_err() && Output::http("ftp://x/").is_err());
    }
}
