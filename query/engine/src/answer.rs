//! What a query answers: a schema, a stream of plain batches, and what it took.

use crate::error::{ErrorKind, QueryError};
use crate::observe::{EndedQuery, QueryObserver};
use crate::plain::plain_batch;
use crate::stop::Stop;
use crate::threads::Rows;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bodkin_schema::{Clock, EventTime, Principal};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use serde::Serialize;
use std::fmt;
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

/// What scans count while they are planned and run.
#[derive(Debug)]
pub(crate) struct ScanCounters {
    files_scanned: AtomicU64,
    files_pruned: AtomicU64,
    bytes: AtomicU64,
    bytes_max: u64,
}

impl ScanCounters {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let (files_scanned, files_pruned, bytes) = Default::default();
        Self { files_scanned, files_pruned, bytes, bytes_max }
    }

    /// Counts bytes that are about to be read; gives all so far.
    pub(crate) fn add_bytes(&self, bytes: u64) -> u64 {
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Bytes that the query may read.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

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
    pub(crate) fn new(counters: Arc<ScanCounters>, clock: Arc<dyn Clock>, started: Duration) -> Self {
        let (rows, elapsed_us) = Default::default();
        Self { shared: Arc::new(Shared { counters, clock, started, rows, elapsed_us }) }
    }

    /// The numbers so far.
    pub fn report(&self) -> StatsReport {
        let shared = &self.shared;
        let elapsed_us = match shared.elapsed_us.load(Ordering::Relaxed) {
            0 => shared.running_us(),
            elapsed_us => elapsed_us,
        };
        StatsReport {
            rows: shared.rows.load(Ordering::Relaxed),
            bytes_scanned: shared.counters.bytes.load(Ordering::Relaxed),
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
    rows: Rows,
    schema: SchemaRef,
    limits: Limits,
    stats: AnswerStats,
    record: Record,
    keep: K,
) -> Answer {
    let guarded = Guarded {
        rows: Some(rows),
        schema: schema.clone(),
        limits,
        stats: stats.clone(),
        record: Some(record),
        _keep: keep,
    };
    Answer { schema, stream: guarded.boxed(), stats: AnswerStats { shared: stats.shared } }
}

struct Guarded<K> {
    /// None once the stream has ended or failed: nothing runs on after an error.
    rows: Option<Rows>,
    schema: SchemaRef,
    limits: Limits,
    stats: AnswerStats,
    /// None once the query was told of.
    record: Option<Record>,
    _keep: K,
}

impl<K> Guarded<K> {
    fn next_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch, QueryError>>> {
        let Some(rows) = &mut self.rows else { return Poll::Ready(None) };
        if self.limits.deadline.poll_unpin(cx).is_ready() {
            return Poll::Ready(Some(Err(timed_out(self.limits.stop.timeout))));
        }
        let batch = match rows.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(batch))) => batch,
            ended => return ended,
        };
        let before = self.stats.shared.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
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
        let error = match &next {
            Poll::Pending | Poll::Ready(Some(Ok(_))) => return next,
            Poll::Ready(None) => None,
            Poll::Ready(Some(Err(error))) => Some(error.message.clone()),
        };
        if self.rows.take().is_some() {
            self.end(error);
        }
        next
    }
}

impl<K> Guarded<K> {
    fn end(&mut self, error: Option<String>) {
        let shared = &self.stats.shared;
        shared.elapsed_us.store(shared.running_us(), Ordering::Relaxed);
        if let Some(record) = self.record.take() {
            record.end(self.stats.report(), error);
        }
    }
}

impl<K> Drop for Guarded<K> {
    fn drop(&mut self) {
        if self.rows.is_some() {
            self.end(Some("nobody waited for the answer".to_owned()));
        }
    }
}

/// What the query log wants to know of a query from its start.
pub(crate) struct Record {
    pub(crate) started: EventTime,
    pub(crate) principal: Principal,
    pub(crate) text: String,
    pub(crate) observer: Option<Arc<dyn QueryObserver>>,
}

impl Record {
    pub(crate) fn end(self, report: StatsReport, error: Option<String>) {
        let Self { started, principal, text, observer } = self;
        if let Some(observer) = observer {
            observer.ended(EndedQuery { started, principal, text, report, error });
        }
    }
}
