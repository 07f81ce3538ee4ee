//! Other requests to a server: JSON out.

use super::client::{Remote, refusal};
use anyhow::{Context, anyhow};
use bodkin_http::SqlError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Response};
use serde_json::Value;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Asks `server` for a JSON document.
///
/// # Errors
/// Where no server answers, or it refuses; its words are in the error.
pub(crate) async fn get_json(server: &str, path: &str) -> anyhow::Result<Value> {
    let response = send(server, Method::GET, path, Bytes::new()).await?;
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| anyhow!(error))?;
    serde_json::from_slice(&body.to_bytes()).with_context(|| format!("the answer of {server}{path} is no JSON"))
}

/// Posts a JSON document to `server` and gives the one that it answers.
///
/// # Errors
/// As [`get_json`].
pub(crate) async fn post_json(server: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
    let response = send(server, Method::POST, path, Bytes::from(body.to_string())).await?;
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| anyhow!(error))?;
    serde_json::from_slice(&body.to_bytes()).with_context(|| format!("the answer of {server}{path} is no JSON"))
}

async fn send(server: &str, method: Method, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
    let remote = Remote::parse(server).map_err(|message| anyhow!(message))?;
    let request = remote.request(method, path).header(ACCEPT, "application/json");
    let request = request.header(CONTENT_TYPE, "application/json").body(Full::from(body))?;
    let response = remote.send(request).await.map_err(said)?;
    if !response.status().is_success() {
        return Err(said(refusal(response).await));
    }
    Ok(response)
}

fn said(error: SqlError) -> anyhow::Error {
    match error.hint {
        Some(hint) => anyhow!("{}\nhint: {hint}", error.message),
        None => anyhow!("{}", error.message),
    }
}
