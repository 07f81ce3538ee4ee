//! The Prometheus HTTP API under `/prometheus`: a Grafana data source points here and finds what it knows.
//!
//! Answers are equal to Prometheus's byte for byte where their order is defined; the shape of an error is Prometheus's
//! and not the one of the other routes.
//!
//! | module | what it holds |
//! |---|---|
//! | `query` | `query`, `query_range`, `query_exemplars`, `format_query`, `parse_query` |
//! | `labels` | `series`, `labels`, `label/<name>/values`, `metadata` |
//! | `rules` | `rules`, `alerts`, `alertmanagers` |
//! | `targets` | `targets`, `scrape_pools` |
//! | `status` | `status/...`, health |
//! | `write` | remote write, OTLP, text |
//! | `federate` | `/federate` |
//! | `arrow` | results as an Arrow stream, by `Accept` |
//! | `params`, `answer`, `json` | parameters in, envelopes and values out |

mod answer;
mod arrow;
mod federate;
mod json;
mod labels;
mod params;
mod query;
mod rules;
mod status;
mod targets;
mod write;

use crate::state::AppState;
use answer::{ApiFailure, plain};
use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use bodkin_gateway::Gateway;
use bodkin_metrics::{MetricStore, StoreView};
use bodkin_promql::Engine;
use bodkin_promrules::RuleManager;
use bodkin_schema::Clock;
use bodkin_scrape::Scraper;
use std::sync::Arc;

/// What the Prometheus API needs of the process.
#[derive(Debug)]
pub struct Prometheus {
    /// Evaluates queries.
    pub engine: Engine,
    /// Series and samples.
    pub view: StoreView,
    /// Takes samples.
    pub gateway: Arc<Gateway>,
    /// Tells the time of a query that names none.
    pub clock: Arc<dyn Clock>,
    /// Runs rule files; none where there is nothing that could.
    pub rules: Option<Arc<RuleManager>>,
    /// Scrapes; none where there is nothing that could.
    pub scraper: Option<Arc<Scraper>>,
}

impl Prometheus {
    fn store(&self) -> &Arc<MetricStore> {
        self.view.store()
    }
}

/// Where the API lies.
pub(crate) const PREFIX: &str = "/prometheus";

/// The routes below [`PREFIX`].
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/query_exemplars", get(query::exemplars).post(query::exemplars))
        .route("/api/v1/format_query", get(query::format).post(query::format))
        .route("/api/v1/parse_query", get(query::parse).post(query::parse))
        .route("/api/v1/series", get(labels::series).post(labels::series))
        .route("/api/v1/labels", get(labels::names).post(labels::names))
        .route("/api/v1/label/{name}/values", get(labels::values))
        .route("/api/v1/metadata", get(labels::metadata))
        .route("/api/v1/write", post(write::remote_write))
        .route("/api/v1/otlp/v1/metrics", post(write::otlp_metrics))
        .route("/api/v1/import/prometheus", post(write::import_page))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/targets", get(targets::targets))
        .route("/api/v1/targets/metadata", get(targets::metadata))
        .route("/api/v1/scrape_pools", get(targets::pools))
        .route("/api/v1/alertmanagers", get(rules::alertmanagers))
        .route("/api/v1/status/buildinfo", get(status::buildinfo))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/runtimeinfo", get(status::runtimeinfo))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .route("/federate", get(federate::federate))
        .route("/-/reload", post(status::lifecycle).put(status::lifecycle))
        .route("/-/quit", post(status::lifecycle).put(status::lifecycle))
        .route("/-/healthy", get(status::healthy).head(status::healthy))
        .route("/-/ready", get(status::ready).head(status::ready))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
}

/// What Go's router says; Grafana tells Prometheus from its relatives by it.
async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found")
}

async fn wrong_method() -> Response {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// The API of this process.
fn api(state: &AppState) -> Result<Arc<Prometheus>, ApiFailure> {
    let api = state.prometheus.clone();
    api.ok_or_else(|| ApiFailure::new("unavailable", "this node does not serve metrics; it has another role"))
}
