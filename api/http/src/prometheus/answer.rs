//! The envelope of Prometheus's answers: `{"status":"success","data":...}` and its error.

use super::json;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bodkin_promql::{Error, ErrorKind};
use serde::Serialize;

/// An answer that is no data.
#[derive(Clone, Debug)]
pub(super) struct ApiFailure {
    kind: &'static str,
    message: String,
}

impl ApiFailure {
    pub(super) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The request makes no sense.
    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self::new("bad_data", message)
    }

    /// A fault of ours.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new("internal", message)
    }

    /// What is wrong.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    fn status(&self) -> StatusCode {
        match self.kind {
            "bad_data" => StatusCode::BAD_REQUEST,
            "execution" => StatusCode::UNPROCESSABLE_ENTITY,
            "timeout" | "unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            "canceled" => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            "not_found" => StatusCode::NOT_FOUND,
            "not_acceptable" => StatusCode::NOT_ACCEPTABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<Error> for ApiFailure {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::BadData => "bad_data",
            ErrorKind::Execution => "execution",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Canceled => "canceled",
            ErrorKind::Internal => "internal",
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for ApiFailure {
    fn into_response(self) -> Response {
        let mut out = br#"{"status":"error","errorType":"#.to_vec();
        json::text(&mut out, self.kind);
        out.extend_from_slice(br#","error":"#);
        json::text(&mut out, &self.message);
        out.push(b'}');
        respond(self.status(), out)
    }
}

/// Data in the making: the envelope's beginning is written.
pub(super) fn begin() -> Vec<u8> {
    br#"{"status":"success","data":"#.to_vec()
}

/// Ends the envelope with what is to be said about the data.
pub(super) fn end(mut out: Vec<u8>, warnings: &[String], infos: &[String]) -> Response {
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":");
            json::texts(&mut out, texts);
        }
    }
    out.push(b'}');
    respond(StatusCode::OK, out)
}

/// An answer whose data is what serde makes of a value.
pub(super) fn data(value: &impl Serialize) -> Result<Response, ApiFailure> {
    let mut out = begin();
    serde_json::to_writer(&mut out, value).map_err(|error| ApiFailure::internal(error.to_string()))?;
    Ok(end(out, &[], &[]))
}

fn respond(status: StatusCode, body: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, headers, Body::from(body)).into_response()
}

/// A plain text as Go's `http.Error` sends it.
pub(super) fn plain(status: StatusCode, text: &str) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
    (status, headers, format!("{text}\n")).into_response()
}
