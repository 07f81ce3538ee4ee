//! The body of a request.

use crate::error::ApiError;
use crate::state::Limits;
use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::error::Error;
use tokio::time::timeout;

/// Reads a body of at most `bytes_max`.
pub(crate) async fn read_body(body: Body, limits: &Limits, bytes_max: usize) -> Result<Bytes, ApiError> {
    match timeout(limits.body_timeout, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(unreadable(&error, bytes_max)),
        Err(_) => {
            let message = format!("the body did not arrive within {} s", limits.body_timeout.as_secs());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message))
        }
    }
}

fn unreadable(error: &axum::Error, bytes_max: usize) -> ApiError {
    let is_too_long = error.source().is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
    if is_too_long {
        let message = format!("the body is larger than {bytes_max} bytes");
        return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message);
    }
    ApiError::new(StatusCode::BAD_REQUEST, "malformed_body", format!("the body broke off: {error}"))
}

/// Reads a body of at most `bytes_max` that holds one JSON value. `what` it is and an `example` go into errors.
pub(crate) async fn read_json<T: DeserializeOwned>(
    body: Body,
    limits: &Limits,
    bytes_max: usize,
    what: &str,
    example: &str,
) -> Result<T, ApiError> {
    let bytes = read_body(body, limits, bytes_max).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| malformed(&error, &format!("no {what}")).hint(format!("send {example}")))
}

/// A body that is not what it should be, with the place where that shows.
pub(crate) fn malformed(error: &serde_json::Error, what: &str) -> ApiError {
    let message = format!("the body is {what}: {error}");
    ApiError::new(StatusCode::BAD_REQUEST, "malformed_body", message).at(error.line() as u64, error.column() as u64)
}
