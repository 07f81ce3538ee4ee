//! What an operator and an orchestrator ask: alive, ready, how it is going; and the end of an epoch on demand.

use crate::error::{ApiError, ErrorBody};
use crate::parameters::Parameters;
use crate::state::{AppState, NotReady};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

/// Whether the node is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadyResponse {
    /// Nothing is missing.
    pub ready: bool,
    /// What is missing.
    pub reasons: Vec<NotReady>,
}

/// The epoch that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlushResponse {
    /// Its number.
    pub epoch: u64,
}

/// Answers 200 as long as the process serves.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses(
    (status = 200, description = "The process serves", content_type = "text/plain", body = String),
))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Answers 200 when the node takes work, else 503 with what is missing.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses(
    (status = 200, description = "The node is ready", body = ReadyResponse),
    (status = 503, description = "The node is not ready yet", body = ReadyResponse),
))]
pub(crate) async fn readyz(State(state): State<AppState>) -> Response {
    let reasons = state.node.not_ready();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadyResponse { ready: reasons.is_empty(), reasons })).into_response()
}

/// Versions, listeners, agent and rates of this node.
#[utoipa::path(get, path = "/api/v1/status", tag = "operation", responses(
    (status = 200, description = "State of the node; its parts may grow", content_type = "application/json", body = Object),
))]
pub(crate) async fn status(State(state): State<AppState>) -> Json<serde_json::Value> {
    Json(state.node.status())
}

/// Ends the epoch and answers when all that was acked before is in the tables.
#[utoipa::path(method(get, post), path = "/api/v1/admin/flush", tag = "administration", responses(
    (status = 200, description = "The epoch has ended", body = FlushResponse),
    (status = 500, description = "The epoch did not end", body = ErrorBody),
    (status = 503, description = "The node is stopping", body = ErrorBody),
    (status = 504, description = "The epoch did not end in time", body = ErrorBody),
))]
pub(crate) async fn flush(State(state): State<AppState>) -> Result<Json<FlushResponse>, ApiError> {
    match timeout(state.limits.flush_timeout, state.node.flush()).await {
        Ok(Ok(epoch)) => Ok(Json(FlushResponse { epoch: epoch.0 })),
        Ok(Err(error)) if error.is_stopped => {
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", error.to_string()))
        }
        Ok(Err(error)) => Err(ApiError::internal(error.to_string())),
        Err(_) => {
            let message = format!("the epoch did not end within {} s", state.limits.flush_timeout.as_secs());
            Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
                .hint("it may still end: see /api/v1/status"))
        }
    }
}

/// What else a compaction does.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
pub struct CompactParams {
    /// `now`: delete at once what the tables' logs have removed and nobody reads. Older versions cannot be read then.
    pub vacuum: Option<String>,
}

/// Compacts every table and answers when that is done.
#[utoipa::path(method(get, post), path = "/api/v1/admin/compact", tag = "administration", params(CompactParams), responses(
    (status = 200, description = "What was done", content_type = "application/json", body = Object),
    (status = 400, description = "A parameter is wrong", body = ErrorBody),
    (status = 500, description = "The tables were not compacted", body = ErrorBody),
    (status = 504, description = "It takes longer than the caller can wait", body = ErrorBody),
))]
pub(crate) async fn compact(
    State(state): State<AppState>,
    Parameters(params): Parameters<CompactParams>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let is_vacuum_now = match params.vacuum.as_deref() {
        None => false,
        Some("now") => true,
        Some(other) => {
            let message = format!("vacuum={other} is not known");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "parameter", message).hint("vacuum=now"));
        }
    };
    match timeout(state.limits.compact_timeout, state.node.compact(is_vacuum_now)).await {
        Ok(Ok(report)) => Ok(Json(report)),
        Ok(Err(error)) => Err(ApiError::internal(error.to_string())),
        Err(_) => {
            let message = format!("not done within {} s", state.limits.compact_timeout.as_secs());
            Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message).hint("it goes on: see /api/v1/status"))
        }
    }
}
