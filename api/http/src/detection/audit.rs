//! `POST /api/v1/k8s-audit` and `/api/v1/cloudtrail`: events of APIs, for the table `audit` and for rules.

use crate::error::{ApiError, ErrorBody};
use crate::read::{malformed, read_body};
use crate::state::AppState;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::{Extension, Json};
use bodkin_rules::{Documents, Source};
use bodkin_schema::Principal;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use std::io::Read;
use utoipa::ToSchema;

/// Largest body as it comes: Kubernetes sends at most 10 MiB, a file of CloudTrail is far smaller.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Largest body after decompression.
const TEXT_BYTES_MAX: u64 = 128 << 20;
/// Messages about records that are no events.
const MESSAGES_MAX: usize = 100;

/// What came of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditResponse {
    /// Events that are durable.
    pub accepted: u64,
    /// Events among them that had come before, and are stored once.
    pub repeated: u64,
    /// Records that are no events.
    pub rejected: u64,
    /// Why, for the first of them.
    pub messages: Vec<String>,
}

/// Takes what Kubernetes' audit webhook sends: an event, or an `EventList`.
#[utoipa::path(post, path = "/api/v1/k8s-audit", tag = "detection", request_body = Object, responses(
    (status = 200, description = "The events are durable", body = AuditResponse),
    (status = 400, description = "The body is no JSON, or holds no event", body = ErrorBody),
    (status = 413, description = "The body is too large", body = ErrorBody),
    (status = 503, description = "Too much is on its way", body = ErrorBody),
))]
pub(crate) async fn k8s_audit(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AuditResponse>, ApiError> {
    take(&state, &principal, Source::K8sAudit, &headers, body).await
}

/// Takes what a file of CloudTrail holds, also gzipped: `{"Records": [...]}`, or one record.
#[utoipa::path(post, path = "/api/v1/cloudtrail", tag = "detection", request_body = Object, responses(
    (status = 200, description = "The records are durable", body = AuditResponse),
    (status = 400, description = "The body is no JSON, or holds no record", body = ErrorBody),
    (status = 413, description = "The body is too large", body = ErrorBody),
    (status = 503, description = "Too much is on its way", body = ErrorBody),
))]
pub(crate) async fn cloudtrail(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AuditResponse>, ApiError> {
    take(&state, &principal, Source::AwsCloudtrail, &headers, body).await
}

async fn take(
    state: &AppState,
    principal: &Principal,
    source: Source,
    headers: &HeaderMap,
    body: Body,
) -> Result<Json<AuditResponse>, ApiError> {
    let bytes = read_body(body, &state.limits, BODY_BYTES_MAX).await?;
    let is_gzip = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip")
        || bytes.starts_with(&[0x1f, 0x8b]);
    let parse = move || {
        let text = if is_gzip { unzip(&bytes)? } else { bytes };
        Documents::parse(source, &text).map_err(|error| malformed(&error, "not JSON"))
    };
    let read = tokio::task::spawn_blocking(parse).await.map_err(|_| ApiError::internal("the body met a bug"))??;
    let (accepted, rejected) = (read.documents.len() as u64, read.rejected.len() as u64);
    if accepted == 0 && rejected > 0 {
        let message = format!("no {source} event among {rejected} records; {}", read.rejected[0]);
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "no_events", message));
    }
    let repeated = match accepted {
        0 => 0,
        _ => state.detection.store(principal, source, read.documents).await?,
    };
    let messages = read.rejected.into_iter().take(MESSAGES_MAX).collect();
    Ok(Json(AuditResponse { accepted, repeated, rejected, messages }))
}

fn unzip(bytes: &Bytes) -> Result<Bytes, ApiError> {
    let mut text = Vec::new();
    let read = MultiGzDecoder::new(bytes.as_ref()).take(TEXT_BYTES_MAX + 1).read_to_end(&mut text);
    read.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "malformed_body", format!("broken gzip: {error}")))?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        let message = format!("the body is larger than {TEXT_BYTES_MAX} bytes when it is unpacked");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
    }
    Ok(text.into())
}
