//! Remote write, OTLP and text: bodies to the gateway, its outcome to what senders understand.
//!
//! A 4xx tells a sender that sending the same again is of no use, a 5xx that it is; so a fault in a part of a body is
//! a 400, although the rest is stored.

use super::answer::{ApiFailure, plain};
use super::api;
use crate::state::AppState;
use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bodkin_gateway::{DecompressError, Encoding, PageFormat, Version, WriteError, Written};
use bodkin_schema::Principal;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of a body as it is sent.
const BODY_BYTES_MAX: usize = 64 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn remote_write(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let content_type = header_text(&headers, header::CONTENT_TYPE);
    let Some(version) = Version::from_content_type(content_type) else {
        let message = format!(
            "{content_type} protobuf message is not accepted by this server; accepted prometheus.WriteRequest,io.prometheus.write.v2.Request"
        );
        return Ok(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message));
    };
    let encoding = match header_text(&headers, header::CONTENT_ENCODING) {
        // Senders of the first version may leave it out.
        "" | "snappy" => Encoding::Snappy,
        "zstd" => Encoding::Zstd,
        other => {
            let message = format!(
                "{other} encoding (compression) is not accepted by this server; only snappy and zstd are acceptable"
            );
            return Ok(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message));
        }
    };
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return Ok(refusal),
    };
    let outcome = api.gateway.remote_write(&principal.tenant, version, encoding, body).await;
    let (mut response, written) = match outcome {
        Ok(written) => (StatusCode::NO_CONTENT.into_response(), written),
        Err(error) => refusal(error),
    };
    if version == Version::V2 {
        for (name, count) in [
            ("x-prometheus-remote-write-samples-written", written.samples),
            ("x-prometheus-remote-write-histograms-written", written.histograms),
            ("x-prometheus-remote-write-exemplars-written", written.exemplars),
        ] {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(count));
        }
    }
    Ok(response)
}

/// An `ExportMetricsServiceRequest` as protocol buffers. The answer to one that is stored is an empty message.
pub(super) async fn otlp_metrics(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let content_type = header_text(&headers, header::CONTENT_TYPE);
    if content_type.split(';').next().map(str::trim) != Some("application/x-protobuf") {
        let message = format!("unsupported content type: {content_type}, supported: [application/x-protobuf]");
        return Ok(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message));
    }
    let (encoding, body) = match encoded(&headers, body).await {
        Ok(body) => body,
        Err(refusal) => return Ok(refusal),
    };
    Ok(match api.gateway.otlp_metrics(&principal.tenant, encoding, body).await {
        Ok(_) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/x-protobuf")]).into_response(),
        Err(error) => refusal(error).0,
    })
}

/// A page of an exporter, in any of the formats that are scraped.
pub(super) async fn import_page(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let format = PageFormat::from_content_type(header_text(&headers, header::CONTENT_TYPE));
    let (encoding, body) = match encoded(&headers, body).await {
        Ok(body) => body,
        Err(refusal) => return Ok(refusal),
    };
    Ok(match api.gateway.page(&principal.tenant, format, encoding, body).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refusal(error).0,
    })
}

fn header_text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The body and how it is compressed; a refusal where that is not known.
async fn encoded(headers: &HeaderMap, body: Body) -> Result<(Encoding, Bytes), Response> {
    let name = header_text(headers, header::CONTENT_ENCODING);
    let Some(encoding) = Encoding::from_header(name) else {
        let message = format!("{name} encoding (compression) is not accepted by this server");
        return Err(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &message));
    };
    Ok((encoding, read(body).await?))
}

/// The whole body; a refusal where it is too large or too slow.
async fn read(body: Body) -> Result<Bytes, Response> {
    match timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(plain(StatusCode::BAD_REQUEST, &error.to_string())),
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

/// The answer to a body that is not stored, or not all of it, and how much of it is.
fn refusal(error: WriteError) -> (Response, Written) {
    let status = match &error {
        WriteError::Decompress(DecompressError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        WriteError::Decompress(_) | WriteError::Wire(_) | WriteError::Text(_) | WriteError::Partial { .. } => {
            StatusCode::BAD_REQUEST
        }
        WriteError::Log(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status.is_server_error() {
        tracing::warn!(%error, "samples are not stored");
    }
    let response = plain(status, &error.to_string());
    let written = match error {
        WriteError::Partial { written, .. } => written,
        _ => Written::default(),
    };
    (response, written)
}
