//! What a query answers: a schema, a stream of plain batches, and what it took.

use crate::error::{ErrorKind, QueryError};
use crate::plain::plain_batch;
use crate::stop::Stop;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bodkin_schema::Clock;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use serde::Serialize;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Rows of an answer. Dropping it cancels the query.
pub type AnswerStream = Pin<Box<dyn Stream<Item = Result<RecordBatch, QueryError>> + Send>>;

/// The answer to a query: rows come as they are made.
pub struct Answer {
    /// Columns of the rows: plain types, without views and dictionaries; every column may be null.
    pub schema: SchemaRef,
    /// The rows.
    pub stream: AnswerStream,
    /// What the query took, to be read when the stream has ended.
    pub stats: AnswerStats,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Answer {
    /// All rows at once.
    ///
    /// # Errors
    /// The first error of the stream.
    pub async fn collect(self) -> Result<Vec<RecordBatch>, QueryError> {
        self.stream.try_collect().await
    }
}

/// What scans count while they are planned.
#[derive(Debug, Default)]
pub(crate) struct ScanCounters {
    files_scanned: AtomicU64,
    files_pruned: AtomicU64,
}

impl ScanCounters {
    pub(crate) fn add_files(&self, scanned: usize, pruned: usize) {
        self.files_scanned.fetch_add(scanned as u64, Ordering::Relaxed);
        self.files_pruned.fetch_add(pruned as u64, Ordering::Relaxed);
    }
}

/// What a query took. A report is complete once the stream has ended.
#[derive(Clone)]
pub struct AnswerStats {
    shared: Arc<Shared>,
}

struct Shared {
    plan: Arc<dyn ExecutionPlan>,
    counters: Arc<ScanCounters>,
    clock: Arc<dyn Clock>,
    started: Duration,
    rows: AtomicU64,
    /// Microseconds that the query took; 0 while it runs.
    elapsed_us: AtomicU64,
}

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StatsReport {
    /// Rows of the answer.
    pub rows: u64,
    /// Bytes read from files.
    pub bytes_scanned: u64,
    /// Files that were planned to be read.
    pub files_scanned: u64,
    /// Files that the log's facts ruled out.
    pub files_pruned: u64,
    /// Milliseconds from the call to the end of the stream.
    pub elapsed_ms: f64,
}

impl fmt::Debug for AnswerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.report(), f)
    }
}

impl AnswerStats {
    pub(crate) fn new(
        plan: Arc<dyn ExecutionPlan>,
        counters: Arc<ScanCounters>,
        clock: Arc<dyn Clock>,
        started: Duration,
    ) -> Self {
        let (rows, elapsed_us) = Default::default();
        Self { shared: Arc::new(Shared { plan, counters, clock, started, rows, elapsed_us }) }
    }

    /// The numbers so far. Walks the plan.
    pub fn report(&self) -> StatsReport {
        let shared = &self.shared;
        let elapsed_us = match shared.elapsed_us.load(Ordering::Relaxed) {
            0 => shared.running_us(),
            elapsed_us => elapsed_us,
        };
        StatsReport {
            rows: shared.rows.load(Ordering::Relaxed),
            bytes_scanned: bytes_scanned(shared.plan.as_ref()),
            files_scanned: shared.counters.files_scanned.load(Ordering::Relaxed),
            files_pruned: shared.counters.files_pruned.load(Ordering::Relaxed),
            elapsed_ms: elapsed_us as f64 / 1000.0,
        }
    }
}

impl Shared {
    fn running_us(&self) -> u64 {
        (self.clock.monotonic().saturating_sub(self.started).as_micros() as u64).max(1)
    }
}

fn bytes_scanned(plan: &dyn ExecutionPlan) -> u64 {
    let own = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
    let below = plan.children().into_iter().map(|child| bytes_scanned(child.as_ref()));
    own.map_or(0, |value| value.as_usize() as u64) + below.sum::<u64>()
}

/// What ends an answer early.
pub(crate) struct Limits {
    /// Fires when the time is over.
    pub(crate) deadline: Pin<Box<Sleep>>,
    /// Ends the operators.
    pub(crate) stop: Arc<Stop>,
    pub(crate) rows_max: u64,
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.stop.is_dropped.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn timed_out(timeout: Duration) -> QueryError {
    QueryError::new(ErrorKind::Timeout, format!("the query ran longer than {} s", timeout.as_secs_f64()))
        .with_hint("narrow the time range, or select fewer columns")
}

/// Runs `rows` under `limits` and makes them rows of the plain `schema`. `keep` lives as long as the stream: the snapshot whose files are read.
pub(crate) fn guarded<K: Send + Unpin + 'static>(
    rows: SendableRecordBatchStream,
    schema: SchemaRef,
    limits: Limits,
    stats: AnswerStats,
    keep: K,
) -> Answer {
    let guarded =
        Guarded { rows: Some(rows), schema: schema.clone(), limits, stats: stats.shared.clone(), _keep: keep };
    Answer { schema, stream: guarded.boxed(), stats: AnswerStats { shared: stats.shared } }
}

struct Guarded<K> {
    /// None once the stream has ended or failed: nothing runs on after an error.
    rows: Option<SendableRecordBatchStream>,
    schema: SchemaRef,
    limits: Limits,
    stats: Arc<Shared>,
    _keep: K,
}

impl<K> Guarded<K> {
    fn next_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, QueryError>>> {
        let Some(rows) = &mut self.rows else { return Poll::Ready(None) };
        if self.limits.deadline.poll_unpin(cx).is_ready() {
            return Poll::Ready(Some(Err(timed_out(self.limits.stop.timeout))));
        }
        // A panic in an operator is a failed query, not a failed process (SAFE-1); the stream is not polled again.
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| rows.poll_next_unpin(cx)));
        let batch = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(None)) => return Poll::Ready(None),
            Ok(Poll::Ready(Some(Ok(batch)))) => batch,
            Ok(Poll::Ready(Some(Err(error)))) => return Poll::Ready(Some(Err(QueryError::from_execution(error)))),
            Err(_) => return Poll::Ready(Some(Err(QueryError::panicked()))),
        };
        let before = self.stats.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        if before + batch.num_rows() as u64 > self.limits.rows_max {
            let message = format!("the answer has more than {} rows", self.limits.rows_max);
            let error = QueryError::new(ErrorKind::Limit, message).with_hint("add LIMIT, or aggregate");
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(Some(plain_batch(&batch, &self.schema).map_err(|error| QueryError::from_execution(error.into()))))
    }
}

impl<K: Unpin> Stream for Guarded<K> {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.next_batch(cx);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) && self.rows.take().is_some() {
            self.stats.elapsed_us.store(self.stats.running_us(), Ordering::Relaxed);
        }
        next
    }
}
