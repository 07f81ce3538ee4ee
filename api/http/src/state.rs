//! What the handlers are given: the engine, the process around them, and limits.

use crate::alerting::Alerting;
use crate::auth::Authenticate;
use crate::detection::Detection;
use crate::engine::SqlEngine;
use crate::metrics::{HttpCounters, MetricsSource};
use crate::prometheus::Prometheus;
use arrow::array::RecordBatch;
use async_trait::async_trait;
use bodkin_schema::{Epoch, Principal};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// The process that serves, as far as its surface can ask it.
#[async_trait]
pub trait Node: Send + Sync {
    /// What still has to happen before requests make sense; empty where the node is ready. Cheap: it is asked often.
    fn not_ready(&self) -> Vec<NotReady>;

    /// Versions, listeners, agent, rates: whatever an operator wants to see at a glance.
    fn status(&self) -> serde_json::Value;

    /// The graph that runs and its figures; an empty object where none does.
    fn graph(&self) -> serde_json::Value {
        serde_json::Value::Object(serde_json::Map::new())
    }

    /// Live rows of a node of the graph that `principal` may see (ISO-1). They end when they are dropped.
    ///
    /// # Errors
    /// Why there are none, as a message for the caller.
    fn tap(&self, principal: &Principal, node: &str) -> Result<BoxStream<'static, RecordBatch>, String> {
        let _ = principal;
        Err(format!("there is no node {node:?}"))
    }

    /// Ends the current epoch; resolves when all that was acked before is committed to the tables.
    /// A client that leaves drops the future: the epoch must then end all the same.
    ///
    /// # Errors
    /// Why the epoch did not end, as a message for the caller.
    async fn flush(&self) -> Result<Epoch, FlushError>;

    /// Compacts every table; with `is_vacuum_now`, also deletes at once what the tables' logs have removed and nobody
    /// reads. Resolves with what was done. A client that leaves drops the future: the work goes on.
    ///
    /// # Errors
    /// Why it could not be done, as a message for the caller.
    async fn compact(&self, is_vacuum_now: bool) -> Result<serde_json::Value, CompactError>;

    /// What the rollup ladder has made and what waits, for JSON.
    fn rollups(&self) -> serde_json::Value {
        serde_json::Value::Object(serde_json::Map::new())
    }

    /// Makes the rollups of all samples within `range` (milliseconds of event time) that wait. Resolves with what
    /// [`Node::rollups`] says then. A client that leaves drops the future: the work goes on.
    ///
    /// # Errors
    /// Why it could not be done, as a message for the caller.
    async fn roll_up(&self, range: Range<i64>) -> Result<serde_json::Value, RollupError> {
        let _ = range;
        Err(RollupError("this node makes none".to_owned()))
    }
}

/// One thing that is not ready yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotReady {
    /// Which part: `wal`, `rules`, `ebpf`, ...
    pub component: String,
    /// What it waits for.
    pub reason: String,
}

/// Why an epoch did not end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("epoch did not end: {message}")]
pub struct FlushError {
    /// The cause.
    pub message: String,
    /// The node is stopping or fenced: trying again here does not help.
    pub is_stopped: bool,
}

/// Why tables were not compacted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compaction stopped: {0}")]
pub struct CompactError(pub String);

/// Why rollups were not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rollups stopped: {0}")]
pub struct RollupError(pub String);

/// Limits of the surface. Worst case of memory per request: the body, one batch of the engine, and one chunk of the
/// answer ([`crate::encode::CHUNK_BYTES_TARGET`]; of Parquet the open row group).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of a request.
    pub body_bytes_max: usize,
    /// Longest wait for the body of a request.
    pub body_timeout: Duration,
    /// Longest wait for the first batch of an answer, and for each further one.
    pub query_timeout: Duration,
    /// Longest wait for an epoch to end.
    pub flush_timeout: Duration,
    /// Longest wait for a compaction of everything.
    pub compact_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            body_timeout: Duration::from_secs(30),
            query_timeout: Duration::from_secs(300),
            flush_timeout: Duration::from_secs(120),
            compact_timeout: Duration::from_secs(3600),
        }
    }
}

/// Everything that the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// Answers SQL.
    pub sql: Arc<dyn SqlEngine>,
    /// The process around.
    pub node: Arc<dyn Node>,
    /// Its rules.
    pub detection: Arc<dyn Detection>,
    /// Where `/metrics` reads, besides this crate's own counters.
    pub metrics: Vec<Arc<dyn MetricsSource>>,
    /// Who a request is from.
    pub auth: Arc<dyn Authenticate>,
    /// Limits.
    pub limits: Limits,
    /// The listener is on loopback: only requests that a local program meant to send are taken
    /// (DNS rebinding and cross-site requests of a browser are refused).
    pub is_loopback: bool,
    /// This crate's own counters.
    pub counters: Arc<HttpCounters>,
    /// The Prometheus API; none where the node has no role that holds samples.
    pub prometheus: Option<Arc<Prometheus>>,
    /// Alerts; none where the node evaluates no rules.
    pub alerting: Option<Arc<dyn Alerting>>,
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState")
            .field("limits", &self.limits)
            .field("is_loopback", &self.is_loopback)
            .finish_non_exhaustive()
    }
}
