//! What the server says of itself in Prometheus's words.

use super::answer::{ApiFailure, data, plain};
use super::api;
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use std::cmp::Reverse;

/// The version whose API this is. Clients choose by it what they ask for; without one they fall back to costly requests.
const API_VERSION: &str = "3.5.3";
/// Entries of each list of `status/tsdb` unless `limit` says otherwise.
const TOP: usize = 10;

pub(super) async fn healthy() -> Response {
    plain(StatusCode::OK, "Prometheus Server is Healthy.")
}

pub(super) async fn ready(State(state): State<AppState>) -> Response {
    if state.node.not_ready().is_empty() {
        plain(StatusCode::OK, "Prometheus Server is Ready.")
    } else {
        plain(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
    }
}

/// As a Prometheus that was started without `--web.enable-lifecycle`: here, SIGHUP reads the configuration again.
pub(super) async fn lifecycle() -> Response {
    plain(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.")
}

pub(super) async fn buildinfo() -> Result<Response, ApiFailure> {
    data(&json!({
        "version": API_VERSION,
        "revision": concat!("bodkin-", env!("CARGO_PKG_VERSION")),
        "branch": "bodkin",
        "buildUser": "bodkin",
        "buildDate": "",
        "goVersion": "",
    }))
}

pub(super) async fn config() -> Result<Response, ApiFailure> {
    data(&json!({"yaml": "global:\n  scrape_interval: 1m\n  evaluation_interval: 1m\n"}))
}

pub(super) async fn flags() -> Result<Response, ApiFailure> {
    data(&json!({
        "query.lookback-delta": "5m",
        "query.max-concurrency": "20",
        "query.max-samples": "50000000",
        "query.timeout": "2m",
        "storage.tsdb.retention.time": "15d",
        "web.enable-admin-api": "false",
        "web.enable-remote-write-receiver": "true",
        "web.route-prefix": super::PREFIX,
    }))
}

pub(super) async fn runtimeinfo(State(state): State<AppState>) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let stats = api.store().stats();
    data(&json!({
        "startTime": "",
        "CWD": "",
        "hostname": "",
        "serverTime": "",
        "reloadConfigSuccess": true,
        "lastConfigTime": "",
        "corruptionCount": stats.faults,
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": "15d",
    }))
}

/// The largest of each kind, as `{name, value}`.
fn top(mut counts: Vec<(String, u64)>, limit: usize) -> Vec<Value> {
    counts.sort_by(|left, right| (Reverse(left.1), &left.0).cmp(&(Reverse(right.1), &right.0)));
    counts.truncate(limit);
    counts.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

pub(super) async fn tsdb(State(state): State<AppState>, params: super::params::Params) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let limit = match params.limit()? {
        usize::MAX => TOP,
        limit => limit,
    };
    let store = api.store();
    let (stats, labels) = (store.stats(), store.label_cardinality());
    let pairs: usize = labels.iter().map(|(_, values, ..)| values).sum();
    let mut by_pair = Vec::new();
    for (name, ..) in &labels {
        by_pair.extend(
            store.value_cardinality(name).into_iter().map(|(value, series)| (format!("{name}={value}"), series)),
        );
        // The largest stay: the list never holds more than those and one label's values.
        by_pair.sort_by_key(|(_, series)| Reverse(*series));
        by_pair.truncate(limit);
    }
    let times = store.time_range();
    data(&json!({
        "headStats": {
            "numSeries": stats.series,
            "numLabelPairs": pairs,
            "chunkCount": 0,
            "minTime": times.map_or(i64::MAX, |(min, _)| min),
            "maxTime": times.map_or(i64::MIN, |(_, max)| max),
        },
        "seriesCountByMetricName": top(store.value_cardinality("__name__"), limit),
        "labelValueCountByLabelName": top(labels.iter().map(|(name, values, ..)| (name.clone(), *values as u64)).collect(), limit),
        "memoryInBytesByLabelName": top(labels.iter().map(|(name, _, bytes, _)| (name.clone(), *bytes as u64)).collect(), limit),
        "seriesCountByLabelValuePair": top(by_pair, limit),
    }))
}
