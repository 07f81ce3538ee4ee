//! Alerts, silences and channels under `/api/v1`.

use super::Alerting;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use bodkin_alert::{Matcher, Silence};
use bodkin_schema::Principal;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// A silence that is wanted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SilenceRequest {
    /// Labels that an alert must have; `~` before a value makes it a regular expression.
    matchers: BTreeMap<String, String>,
    /// How long: `2h`.
    duration: String,
    /// Who asks.
    #[serde(default)]
    created_by: String,
    /// Why.
    #[serde(default)]
    comment: String,
}

pub(super) fn alerting(state: &AppState) -> Result<&Arc<dyn Alerting>, ApiError> {
    let none = || ApiError::new(StatusCode::NOT_IMPLEMENTED, "no_alerts", "this node has no alerts".to_owned());
    state.alerting.as_ref().ok_or_else(none)
}

/// Lists the alerts that are pending or fire.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", responses(
    (status = 200, description = "Alerts by rule and labels; times are microseconds", body = Object),
))]
pub(crate) async fn alerts(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({"alerts": alerting(&state)?.alerts(&principal)})))
}

/// Lists the rules of alerts.
#[utoipa::path(get, path = "/api/v1/alerts/rules", tag = "alerts", responses(
    (status = 200, description = "Rules in the order of the configuration", body = Object),
))]
pub(crate) async fn rules(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({"rules": alerting(&state)?.rules()})))
}

/// Lists silences, ended ones included.
#[utoipa::path(get, path = "/api/v1/silences", tag = "alerts", responses(
    (status = 200, description = "Silences; times are microseconds", body = Object),
))]
pub(crate) async fn silences(State(state): State<AppState>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({"silences": alerting(&state)?.silences()})))
}

/// Makes a silence that begins now.
#[utoipa::path(post, path = "/api/v1/silences", tag = "alerts", request_body = SilenceRequest, responses(
    (status = 200, description = "It is in force", body = Object),
    (status = 400, description = "It cannot be", body = ErrorBody),
))]
pub(crate) async fn silence(
    State(state): State<AppState>,
    Json(request): Json<SilenceRequest>,
) -> Result<Json<Value>, ApiError> {
    let alerting = alerting(&state)?;
    let wrong = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "invalid", message);
    let matcher = |(name, value): (&String, &String)| match value.strip_prefix('~') {
        Some(pattern) => Matcher::new(name, pattern, true, true),
        None => Matcher::new(name, value, false, true),
    };
    let matchers = request.matchers.iter().map(matcher).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if matchers.is_empty() {
        return Err(wrong("matchers: a silence of everything is not meant".to_owned()));
    }
    let duration = bodkin_alert::config::parse_duration(&request.duration).map_err(wrong)?;
    let now = alerting.now();
    let silence = Silence {
        id: alerting.new_id(),
        matchers,
        starts_at: now,
        ends_at: now.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        created_by: request.created_by,
        comment: request.comment,
        updated_at: now,
    };
    let id = silence.id.clone();
    alerting.put_silence(silence).await.map_err(ApiError::internal)?;
    Ok(Json(json!({"id": id})))
}

/// Ends a silence.
#[utoipa::path(delete, path = "/api/v1/silences/{id}", tag = "alerts",
    params(("id" = String, Path, description = "identity of the silence")), responses(
    (status = 200, description = "It has ended", body = Object),
    (status = 404, description = "There is no such silence", body = ErrorBody),
))]
pub(crate) async fn expire(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    end(alerting(&state)?, &id).await?;
    Ok(Json(json!({"id": id})))
}

pub(super) async fn end(alerting: &Arc<dyn Alerting>, id: &str) -> Result<(), ApiError> {
    let silence = alerting.silences().into_iter().find(|silence| silence.id == id);
    let none = || ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is no silence {id:?}"));
    let mut silence = silence.ok_or_else(none)?;
    let now = alerting.now();
    if silence.ends_at > now {
        silence.ends_at = now;
        silence.starts_at = silence.starts_at.min(now);
        silence.updated_at = now;
        alerting.put_silence(silence).await.map_err(ApiError::internal)?;
    }
    Ok(())
}

/// Sends a test message to a channel.
#[utoipa::path(post, path = "/api/v1/channels/{name}/test", tag = "alerts",
    params(("name" = String, Path, description = "channel in the configuration")), responses(
    (status = 200, description = "The receiver took it", body = Object),
    (status = 404, description = "There is no such channel", body = ErrorBody),
    (status = 502, description = "The receiver did not take it", body = ErrorBody),
))]
pub(crate) async fn test(State(state): State<AppState>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let alerting = alerting(&state)?;
    let channels = alerting.channels();
    if !channels.contains(&name) {
        let message = format!("there is no channel {name:?}; there are: {}", channels.join(", "));
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", message));
    }
    let failed = |why| ApiError::new(StatusCode::BAD_GATEWAY, "receiver", format!("{name}: {why}"));
    alerting.test(&name).await.map_err(failed)?;
    Ok(Json(json!({"channel": name, "sent": true})))
}
