//! Alertmanager's API v2, as far as `amtool` and Grafana use it: alerts, groups, silences, receivers, status.
//!
//! Contract: <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>. Errors are JSON texts there.

use super::filter::parameters;
use super::native::{alerting, end};
use super::{Alerting, PREFIX};
use crate::state::AppState;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bodkin_alert::{ActiveAlert, Matcher, PostedAlert, RESOLVE_AFTER_US, Silence};
use bodkin_schema::Principal;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The routes, with their prefix.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route(&format!("{PREFIX}/-/healthy"), get(|| async { "OK" }))
        .route(&format!("{PREFIX}/-/ready"), get(|| async { "OK" }))
        .route(&format!("{PREFIX}/api/v2/status"), get(status))
        .route(&format!("{PREFIX}/api/v2/receivers"), get(receivers))
        .route(&format!("{PREFIX}/api/v2/alerts"), get(alerts).post(post_alerts))
        .route(&format!("{PREFIX}/api/v2/alerts/groups"), get(groups))
        .route(&format!("{PREFIX}/api/v2/silences"), post(put).get(silences))
        .route(&format!("{PREFIX}/api/v2/silence/{{id}}"), get(silence).delete(expire))
}

/// A refusal, as a JSON text.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

fn wrong(why: String) -> Refused {
    Refused(StatusCode::BAD_REQUEST, why)
}

fn of(state: &AppState) -> Result<&Arc<dyn Alerting>, Refused> {
    alerting(state).map_err(|error| Refused(error.status(), error.to_string()))
}

fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
}

async fn status(State(state): State<AppState>) -> Result<Json<Value>, Refused> {
    let alerting = of(&state)?;
    let started = alerting.now().saturating_sub(i64::try_from(alerting.uptime().as_micros()).unwrap_or_default());
    // JSON is YAML.
    let original = alerting.routes().map(|routes| format!("{routes:#}")).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    Ok(Json(json!({
        "cluster": {"status": "disabled", "peers": []},
        "versionInfo": {"version": version, "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": ""},
        "config": {"original": original},
        "uptime": time(started),
    })))
}

async fn receivers(State(state): State<AppState>) -> Result<Json<Value>, Refused> {
    let names = of(&state)?.channels();
    Ok(Json(names.iter().map(|name| json!({"name": name})).collect()))
}

/// Alerts that fire and that the parameters of a request ask for.
fn wanted(state: &AppState, principal: &Principal, query: Option<&str>) -> Result<Vec<ActiveAlert>, Refused> {
    let (matchers, others) = parameters(query).map_err(wrong)?;
    let is_on = |name: &str| others.iter().all(|(other, value)| other != name || value != "false");
    let receiver = others.iter().find(|(name, _)| name == "receiver").map(|(_, value)| value.clone());
    let receiver = receiver.map(|value| Matcher::new("receiver", &value, true, true)).transpose().map_err(wrong)?;
    let is_wanted = |alert: &ActiveAlert| {
        let goes_there = receiver.as_ref().is_none_or(|matcher| {
            let is_it = |name: &String| matcher.matches(&BTreeMap::from([("receiver".to_owned(), name.clone())]));
            alert.receivers.iter().any(is_it)
        });
        let is_active = alert.silenced_by.is_empty() && alert.inhibited_by.is_empty();
        alert.is_firing
            && goes_there
            && Matcher::all_match(&matchers, &alert.labels)
            && (is_on("active") || !is_active)
            && (is_on("silenced") || alert.silenced_by.is_empty())
            && (is_on("inhibited") || alert.inhibited_by.is_empty())
    };
    Ok(of(state)?.alerts(principal).into_iter().filter(is_wanted).collect())
}

fn shape(alert: &ActiveAlert) -> Value {
    let is_suppressed = !alert.silenced_by.is_empty() || !alert.inhibited_by.is_empty();
    json!({
        "annotations": alert.annotations,
        "endsAt": time(alert.updated_at.saturating_add(300_000_000)),
        "fingerprint": alert.key,
        "receivers": alert.receivers.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "startsAt": time(alert.starts_at),
        "status": {
            "inhibitedBy": alert.inhibited_by,
            "silencedBy": alert.silenced_by,
            "mutedBy": [],
            "state": if is_suppressed { "suppressed" } else { "active" },
        },
        "updatedAt": time(alert.updated_at),
        "generatorURL": alert.generator_url,
        "labels": alert.labels,
    })
}

async fn alerts(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Refused> {
    Ok(Json(wanted(&state, &principal, query.as_deref())?.iter().map(shape).collect()))
}

/// An alert as a client posts it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedShape {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    starts_at: Option<String>,
    #[serde(default)]
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: Option<String>,
}

impl PostedShape {
    /// As Alertmanager fills in what is missing: it starts now, or at its end where that has been; it ends when it was not
    /// posted for a while.
    fn alert(self, now: i64) -> Result<PostedAlert, Refused> {
        let time = |text: Option<String>| match text.filter(|text| !text.is_empty() && !text.starts_with("0001-01-01"))
        {
            Some(text) => micros(&text).map(Some),
            None => Ok(None),
        };
        let (starts_at, ends_at) = (time(self.starts_at)?, time(self.ends_at)?);
        let ends_at = ends_at.unwrap_or_else(|| now.saturating_add(RESOLVE_AFTER_US));
        let alert = PostedAlert {
            labels: self.labels,
            annotations: self.annotations,
            starts_at: starts_at.unwrap_or_else(|| now.min(ends_at)),
            ends_at,
            generator_url: self.generator_url.unwrap_or_default(),
        };
        alert.check().map_err(wrong)?;
        Ok(alert)
    }
}

async fn post_alerts(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    Json(posted): Json<Vec<PostedShape>>,
) -> Result<StatusCode, Refused> {
    let alerting = of(&state)?;
    let now = alerting.now();
    let alerts = posted.into_iter().map(|posted| posted.alert(now)).collect::<Result<Vec<_>, _>>()?;
    let failed = |why| Refused(StatusCode::SERVICE_UNAVAILABLE, why);
    alerting.post_alerts(&principal, alerts).await.map_err(failed)?;
    Ok(StatusCode::OK)
}

fn micros(text: &str) -> Result<i64, Refused> {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(time.as_microsecond()),
        Err(error) => Err(wrong(format!("{text:?}: {error}"))),
    }
}

/// By receiver and name of the alert: how the configuration groups them is the notifier's.
async fn groups(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Refused> {
    let mut groups: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
    for alert in wanted(&state, &principal, query.as_deref())? {
        for receiver in &alert.receivers {
            groups.entry((receiver.clone(), alert.rule.clone())).or_default().push(shape(&alert));
        }
    }
    let group = |((receiver, rule), alerts): ((String, String), Vec<Value>)| json!({"labels": {"alertname": rule}, "receiver": {"name": receiver}, "alerts": alerts});
    Ok(Json(groups.into_iter().map(group).collect()))
}

fn silence_shape(silence: &Silence, now: i64) -> Value {
    let state = match () {
        () if silence.ends_at <= now => "expired",
        () if silence.starts_at > now => "pending",
        () => "active",
    };
    json!({
        "id": silence.id,
        "status": {"state": state},
        "updatedAt": time(silence.updated_at),
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "startsAt": time(silence.starts_at),
        "endsAt": time(silence.ends_at),
        "matchers": silence.matchers,
    })
}

async fn silences(State(state): State<AppState>, RawQuery(query): RawQuery) -> Result<Json<Value>, Refused> {
    let alerting = of(&state)?;
    let (matchers, _) = parameters(query.as_deref()).map_err(wrong)?;
    // A silence is asked for by the labels that its own matchers name.
    let is_wanted = |silence: &&Silence| {
        let named: BTreeMap<String, String> =
            silence.matchers.iter().map(|matcher| (matcher.name.clone(), matcher.value.clone())).collect();
        matchers.iter().all(|matcher| named.contains_key(&matcher.name) && matcher.matches(&named))
    };
    let now = alerting.now();
    Ok(Json(alerting.silences().iter().filter(is_wanted).map(|silence| silence_shape(silence, now)).collect()))
}

async fn silence(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>, Refused> {
    let alerting = of(&state)?;
    let found = alerting.silences().into_iter().find(|silence| silence.id == id);
    let found = found.ok_or_else(|| Refused(StatusCode::NOT_FOUND, format!("silence {id} not found")))?;
    Ok(Json(silence_shape(&found, alerting.now())))
}

/// A silence as a client posts it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Posted {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<Matcher>,
    starts_at: String,
    ends_at: String,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    comment: String,
}

async fn put(State(state): State<AppState>, Json(posted): Json<Posted>) -> Result<Json<Value>, Refused> {
    let alerting = of(&state)?;
    let (now, starts_at, ends_at) = (alerting.now(), micros(&posted.starts_at)?, micros(&posted.ends_at)?);
    let Posted { id: known, mut matchers, created_by, comment, .. } = posted;
    for matcher in &mut matchers {
        matcher.compile().map_err(wrong)?;
    }
    if matchers.iter().all(|matcher| matcher.matches(&BTreeMap::new())) {
        return Err(wrong("at least one matcher must not match the empty text".to_owned()));
    }
    if ends_at <= starts_at.max(now) {
        return Err(wrong("the silence would have ended already".to_owned()));
    }
    let known = known.filter(|id| !id.is_empty());
    if let Some(id) = &known
        && !alerting.silences().iter().any(|silence| silence.id == *id)
    {
        return Err(Refused(StatusCode::NOT_FOUND, format!("silence {id} not found")));
    }
    let id = known.unwrap_or_else(|| alerting.new_id());
    let silence = Silence { id: id.clone(), matchers, starts_at, ends_at, created_by, comment, updated_at: now };
    let failed = |why| Refused(StatusCode::INTERNAL_SERVER_ERROR, why);
    alerting.put_silence(silence).await.map_err(failed)?;
    Ok(Json(json!({"silenceID": id})))
}

async fn expire(State(state): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, Refused> {
    end(of(&state)?, &id).await.map_err(|error| Refused(error.status(), error.to_string()))?;
    Ok(StatusCode::OK)
}
