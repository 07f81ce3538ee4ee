//! What the process says of itself: readiness, status, the end of an epoch on request.

use super::rates::Rate;
use super::storage::Storage;
use super::upkeep::Upkeep;
use arrow::array::RecordBatch;
use async_trait::async_trait;
use bodkin_engine::{Engine, EpochStats, Error, FlushHandle, GraphStatus};
use bodkin_http::{CompactError, FlushError, Node, NotReady, RollupError};
use bodkin_ingest::IngestService;
use bodkin_schema::{Clock, Epoch, Principal};
use bodkin_table::Tables;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often rates are noted.
const RATE_INTERVAL: Duration = Duration::from_secs(2);

/// The agent of the same process as a status object; null where none runs.
pub(crate) type AgentView = Arc<dyn Fn() -> Value + Send + Sync>;

/// The server role of this process.
pub(crate) struct ServerNode {
    tables: Arc<Tables>,
    ingest: Arc<IngestService>,
    epochs: Arc<EpochStats>,
    flush: FlushHandle,
    upkeep: Arc<Upkeep>,
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    rate: Rate,
    /// Rows per second of each node of the graph, by name.
    node_rates: Mutex<HashMap<String, Rate>>,
    agent: AgentView,
    listeners: OnceLock<(String, String)>,
    is_ready: AtomicBool,
    is_stopping: AtomicBool,
}

impl ServerNode {
    pub(crate) fn new(storage: &Storage, upkeep: Arc<Upkeep>, clock: Arc<dyn Clock>, agent: AgentView) -> Self {
        Self {
            tables: storage.tables().clone(),
            ingest: storage.ingest().clone(),
            epochs: storage.epochs().clone(),
            flush: storage.flush().clone(),
            upkeep,
            engine: storage.engine().clone(),
            rate: Rate::new(clock.clone()),
            clock,
            node_rates: Mutex::default(),
            agent,
            listeners: OnceLock::new(),
            is_ready: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// The listeners are up.
    pub(crate) fn listening(&self, http: String, flight: String) {
        // Set once, by the wiring.
        let _ = self.listeners.set((http, flight));
    }

    /// Everything that was asked for runs.
    pub(crate) fn ready(&self) {
        self.is_ready.store(true, Ordering::Release);
    }

    /// The process goes down.
    pub(crate) fn stopping(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    /// Rows stored since the start, and per second of late.
    pub(crate) fn rows(&self) -> (u64, f64) {
        let rows = self.ingest.stats().rows;
        (rows, self.rate.note(rows))
    }

    fn graph_status(&self) -> GraphStatus {
        let mut status = self.engine.status(self.clock.now());
        let mut rates = self.node_rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.retain(|name, _| status.nodes.iter().any(|node| node.name == *name));
        for node in &mut status.nodes {
            let rate = rates.entry(node.name.clone()).or_insert_with(|| Rate::new(self.clock.clone()));
            node.rows_per_second = rate.note(node.rows_in);
        }
        status
    }

    /// Notes counters now and then, so that whoever looks for the first time sees rates. Runs until `stopping`.
    pub(crate) async fn watch_rates(self: Arc<Self>, stopping: CancellationToken) {
        let mut ticks = tokio::time::interval(RATE_INTERVAL);
        while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
            self.rows();
            self.graph_status();
        }
    }
}

#[async_trait]
impl Node for ServerNode {
    fn not_ready(&self) -> Vec<NotReady> {
        let reason = if self.is_stopping.load(Ordering::Acquire) {
            "is stopping"
        } else if !self.is_ready.load(Ordering::Acquire) {
            "is starting"
        } else {
            return Vec::new();
        };
        vec![NotReady { component: "server".into(), reason: reason.into() }]
    }

    fn status(&self) -> Value {
        let (rows, rows_per_second) = self.rows();
        let tables: serde_json::Map<_, _> = self
            .tables
            .snapshot()
            .tables()
            .map(|table| {
                let of_table = json!({
                    "rows": table.rows(), "version": table.version, "files": table.files.len(),
                    "tail_parts": table.tail.len(),
                });
                (table.stream.name().to_owned(), of_table)
            })
            .collect();
        let (http, flight) = self.listeners.get().cloned().unwrap_or_default();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "listeners": {"http": http, "flight": flight},
            "rows": rows,
            "rows_per_second": rows_per_second,
            "epoch": self.epochs.epoch.load(Ordering::Relaxed),
            "tables": tables,
            "agent": (self.agent)(),
        })
    }

    fn graph(&self) -> Value {
        json!(self.graph_status())
    }

    fn tap(&self, principal: &Principal, node: &str) -> Result<BoxStream<'static, RecordBatch>, String> {
        let tap = self.engine.tap(node).map_err(|error| error.to_string())?;
        let tenant = principal.tenant.clone();
        let next = |tap: bodkin_engine::Tap| async move { Some((tap.next().await?, tap)) };
        let rows = futures::stream::unfold(tap, next);
        let own = rows.filter_map(move |batch| std::future::ready((batch.tenant == tenant).then_some(batch.records)));
        Ok(own.boxed())
    }

    async fn flush(&self) -> Result<Epoch, FlushError> {
        self.flush.flush().await.map_err(|error| FlushError {
            is_stopped: matches!(error, Error::Stopped | Error::Fenced { .. }),
            message: error.to_string(),
        })
    }

    fn rollups(&self) -> Value {
        self.upkeep.rollups()
    }

    /// What is in the tail goes to files first: tiers are made from those. In a task of its own, too.
    async fn roll_up(&self, range: Range<i64>) -> Result<Value, RollupError> {
        let failed = |error: &dyn std::fmt::Display| RollupError(error.to_string());
        self.flush.flush().await.map_err(|error| failed(&error))?;
        let (upkeep, range) = (self.upkeep.clone(), range.start.saturating_mul(1000)..range.end.saturating_mul(1000));
        let done = tokio::spawn(async move { upkeep.backfill(range).await }).await;
        done.map_err(|error| failed(&error))?.map_err(|error| failed(&format!("{:#}", anyhow::Error::from(error))))?;
        Ok(self.rollups())
    }

    /// In a task of its own: whoever asked may leave.
    async fn compact(&self, is_vacuum_now: bool) -> Result<Value, CompactError> {
        let upkeep = self.upkeep.clone();
        let done = tokio::spawn(async move { upkeep.compact_all(is_vacuum_now).await }).await;
        let report = done.map_err(|error| CompactError(error.to_string()))?;
        let report = report.map_err(|error| CompactError(format!("{error:#}")))?;
        serde_json::to_value(report).map_err(|error| CompactError(error.to_string()))
    }
}
