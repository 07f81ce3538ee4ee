//! One request: timeouts, what a status means, when to come again.

use crate::config::ConfigError;
use bodkin_engine::ChannelError;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode, redirect};
use std::fmt;
use std::time::Duration;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer that are quoted.
const QUOTED_BYTES_MAX: usize = 200;
/// The longest wait that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// A client of one channel: its connections are its own.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    pub(crate) fn new(timeout: Duration) -> Result<Self, ConfigError> {
        // No redirects: a receiver does not decide where alerts go.
        let client = Client::builder().timeout(timeout).redirect(redirect::Policy::none()).no_proxy();
        let client = client.user_agent(concat!("bodkin/", env!("CARGO_PKG_VERSION"))).build();
        Ok(Self { client: client.map_err(|error| ConfigError::new("channel", error))? })
    }

    pub(crate) fn post(&self, url: &str) -> RequestBuilder {
        self.client.post(url)
    }

    /// A request with a JSON body.
    pub(crate) fn json(&self, url: &str, body: &impl serde::Serialize) -> RequestBuilder {
        let body = serde_json::to_vec(body).expect("invariant: values that were made here always serialize");
        self.post(url).header("content-type", "application/json").body(body)
    }
}

/// Sends a request; the text of a good answer, as far as it is read.
pub(crate) async fn send(request: RequestBuilder) -> Result<String, ChannelError> {
    send_within(request, ANSWER_BYTES_MAX).await
}

/// Sends a request; the text of a good answer up to this size.
pub(crate) async fn send_within(request: RequestBuilder, bytes_max: usize) -> Result<String, ChannelError> {
    let mut answer = request.send().await.map_err(|error| retry(reason(&error)))?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut body = Vec::new();
    while body.len() < bytes_max
        && let Some(chunk) = answer.chunk().await.map_err(|error| retry(reason(&error)))?
    {
        body.extend_from_slice(&chunk);
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() { Ok(text) } else { Err(refused(status, &headers, &text)) }
}

/// Whether a status blames the request: it will not get better.
pub(crate) fn is_final(status: u16) -> bool {
    matches!(status, 300..400 | 400 | 405 | 406 | 409 | 410 | 411 | 413..=418 | 421 | 422 | 426 | 431)
}

/// What a status other than success means.
fn refused(status: StatusCode, headers: &HeaderMap, text: &str) -> ChannelError {
    let quoted = text.get(..text.floor_char_boundary(QUOTED_BYTES_MAX)).unwrap_or_default().trim();
    let reason = if quoted.is_empty() { status.to_string() } else { format!("{status}: {quoted}") };
    ChannelError { reason, is_final: is_final(status.as_u16()), retry_after: retry_after(headers) }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            let date = headers.get(reqwest::header::DATE)?.to_str().ok()?;
            let now = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
            Duration::try_from(until.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// An error after which another attempt makes sense.
pub(crate) fn retry(reason: impl fmt::Display) -> ChannelError {
    ChannelError { reason: reason.to_string(), is_final: false, retry_after: None }
}

/// An error that every further attempt would meet, too.
pub(crate) fn dead(reason: impl fmt::Display) -> ChannelError {
    ChannelError { reason: reason.to_string(), is_final: true, retry_after: None }
}

/// What went wrong with a connection, down to its cause. URLs may hold secrets and are left out.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match error.is_timeout() {
        true => "no answer in time".to_owned(),
        false => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let error = |status: u16| refused(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), "x");
        for status in [401, 403, 404, 408, 425, 429, 500, 502, 503, 504] {
            assert!(!error(status).is_final, "{status}");
        }
        for status in [301, 400, 410, 413, 415, 422] {
            assert!(error(status).is_final, "{status}");
        }
    }

    #[test]
    fn when_to_come_again() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
        headers.insert(RETRY_AFTER, "999999999".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(RETRY_AFTER_MAX));
        headers.insert(RETRY_AFTER, "Thu, 01 Jan 2026 00:01:00 GMT".parse().unwrap());
        headers.insert(reqwest::header::DATE, "Thu, 01 Jan 2026 00:00:00 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(60)));
        headers.insert(RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(retry_after(&headers), None);
    }
}
