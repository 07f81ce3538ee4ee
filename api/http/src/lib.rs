//! The REST surface of a node: SQL, health, metrics, administration.
//!
//! It knows neither the query engine's library nor the node's insides: both come in through the traits [`SqlEngine`]
//! and [`Node`]. It deliberately holds no state of its own but counters, and no TLS.
//!
//! ```
//! use bodkin_http::{AppState, Limits, NoCredentials, router};
//! use std::sync::Arc;
//!
//! fn surface(sql: Arc<dyn bodkin_http::SqlEngine>, node: Arc<dyn bodkin_http::Node>) -> axum::Router {
//!     router(AppState {
//!         sql,
//!         node,
//!         metrics: Vec::new(),
//!         auth: Arc::new(NoCredentials),
//!         limits: Limits::default(),
//!         is_loopback: true,
//!         detection: Arc::new(bodkin_http::NoDetection::default()),
//!         counters: Arc::default(),
//!         prometheus: None,
//!         alerting: None,
//!     })
//! }
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `router` | the routes and the layers around them |
//! | `sql`, `body`, `accept` | `POST /api/v1/sql`: request, streamed answer, choice of format |
//! | [`encode`] | answers as JSON, CSV, Arrow stream, Parquet; shared with the command line |
//! | `detection` | rules, findings, searches, audit events; [`Detection`] |
//! | `alerting` | alerts, silences, channels; Alertmanager's API under `/alertmanager`; [`Alerting`] |
//! | `prometheus` | the Prometheus API under `/prometheus` |
//! | `health`, `metrics`, `openapi` | the other handlers; [`MetricsSource`] |
//! | `auth`, `guard`, `observe` | middleware: principal, loopback guard, span and counter |
//! | [`mod@serve`] | connections: accept, time out, drain |
//! | `engine`, `adapter`, `state` | [`SqlEngine`], its implementation by `bodkin-query`, [`Node`], [`AppState`] |
//! | `error`, `parameters` | [`ApiError`]: the one shape of an error; parameters of requests |

mod accept;
mod adapter;
mod alerting;
mod auth;
mod body;
mod detection;
pub mod encode;
mod engine;
mod error;
mod graph;
mod guard;
mod health;
mod metrics;
mod observe;
mod openapi;
mod parameters;
mod prometheus;
mod read;
mod rollup;
mod router;
pub mod serve;
mod sql;
mod stall;
mod state;

pub use alerting::Alerting;
pub use auth::{Authenticate, NoCredentials};
pub use body::{ERROR_TRAILER, ERRORS_HEADER, STATS_TRAILER};
pub use detection::{
    AuditResponse, DetectRequest, Detection, DetectionError, FindingsResponse, LiveFindings, NoDetection,
    ReloadResponse, RuleMessage, RunningRules,
};
pub use engine::{DetectSearch, SqlAnswer, SqlEngine, SqlError, SqlErrorKind, SqlStats};
pub use error::{ApiError, ErrorBody, ErrorDetail};
pub use health::{CompactParams, FlushResponse, ReadyResponse};
pub use metrics::{Family, HttpCounters, MetricKind, MetricsSource, Sample, render};
pub use prometheus::Prometheus;
pub use router::{paths, router};
pub use serve::serve;
pub use sql::{SqlColumn, SqlRequest, SqlResponse};
pub use state::{AppState, CompactError, FlushError, Limits, Node, NotReady, RollupError};
