//! The rollup ladder: how far it is, and making at once what waits.

use crate::error::{ApiError, ErrorBody};
use crate::parameters::Parameters;
use crate::state::AppState;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

/// Which event times are made.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
pub(crate) struct RollupParams {
    /// From, in milliseconds since 1970; the beginning of time where it is not given.
    pub(crate) since_ms: Option<i64>,
    /// Until, in milliseconds since 1970; the end of time where it is not given.
    pub(crate) until_ms: Option<i64>,
}

/// What the ladder has made and what waits.
#[utoipa::path(get, path = "/api/v1/rollups", tag = "administration", responses(
    (status = 200, description = "Stretches of two hours of event time: made, waiting, done of those under way", content_type = "application/json", body = Object),
))]
pub(crate) async fn rollups(State(state): State<AppState>) -> Json<serde_json::Value> {
    Json(state.node.rollups())
}

/// Makes at once what waits, however new its samples are, and answers when that is done.
#[utoipa::path(method(get, post), path = "/api/v1/admin/rollup", tag = "administration", params(RollupParams), responses(
    (status = 200, description = "How far the ladder is now", content_type = "application/json", body = Object),
    (status = 500, description = "Not everything was made; what is missing is read from samples", body = ErrorBody),
    (status = 504, description = "It takes longer than the caller can wait", body = ErrorBody),
))]
pub(crate) async fn make(
    State(state): State<AppState>,
    Parameters(params): Parameters<RollupParams>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let (since, until) = (params.since_ms.unwrap_or(i64::MIN), params.until_ms.unwrap_or(i64::MAX));
    match tokio::time::timeout(state.limits.compact_timeout, state.node.roll_up(since..until)).await {
        Ok(Ok(progress)) => Ok(Json(progress)),
        Ok(Err(error)) => Err(ApiError::internal(error.to_string())),
        Err(_) => {
            let message = format!("not done within {} s", state.limits.compact_timeout.as_secs());
            Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message).hint("it goes on: see /api/v1/rollups"))
        }
    }
}
