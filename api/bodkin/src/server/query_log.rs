//! The table `queries`: what was asked, written like any other stream, through log and epochs.

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use bodkin_http::{Family, MetricsSource};
use bodkin_ingest::LocalProducer;
use bodkin_query::{EndedQuery, QueryObserver};
use bodkin_schema::{Stream, Tenant};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Queries that wait to be written; with their texts at most 16 MiB.
const WAITING_MAX: usize = 2048;
/// Bytes of a text that are kept.
const TEXT_BYTES_MAX: usize = 8192;
/// How long queries are gathered.
const INTERVAL: Duration = Duration::from_secs(1);

/// Takes ended queries from the engine.
#[derive(Debug)]
pub(crate) struct QueryLog {
    waiting: mpsc::Sender<EndedQuery>,
    dropped: AtomicU64,
}

/// Writes what a [`QueryLog`] took.
pub(crate) struct QueryLogWriter {
    ended: mpsc::Receiver<EndedQuery>,
}

impl QueryLog {
    pub(crate) fn new() -> (Arc<Self>, QueryLogWriter) {
        let (waiting, ended) = mpsc::channel(WAITING_MAX);
        (Arc::new(Self { waiting, dropped: AtomicU64::new(0) }), QueryLogWriter { ended })
    }
}

impl MetricsSource for QueryLog {
    fn families(&self) -> Vec<Family> {
        let dropped = self.dropped.load(Ordering::Relaxed);
        vec![Family::counter("bodkin_query_records_dropped_total", "Queries that are not in table queries.", dropped)]
    }
}

impl QueryObserver for QueryLog {
    fn ended(&self, mut query: EndedQuery) {
        query.text.truncate(query.text.floor_char_boundary(TEXT_BYTES_MAX));
        if self.waiting.try_send(query).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl QueryLogWriter {
    /// Writes until everything that could ask is gone.
    pub(crate) async fn run(mut self, producer: LocalProducer) {
        let mut queries = Vec::new();
        while self.ended.recv_many(&mut queries, WAITING_MAX).await > 0 {
            tokio::time::sleep(INTERVAL).await;
            while queries.len() < WAITING_MAX
                && let Ok(query) = self.ended.try_recv()
            {
                queries.push(query);
            }
            if let Err(error) = write(&producer, &queries).await {
                tracing::warn!(%error, queries = queries.len(), "queries are not logged");
            }
            queries.clear();
        }
    }
}

/// Resolves when the rows are durable.
async fn write(producer: &LocalProducer, queries: &[EndedQuery]) -> anyhow::Result<()> {
    for ticket in producer.put(&Tenant::default(), vec![(Stream::Queries, rows(queries)?)]).await? {
        ticket.await?;
    }
    Ok(())
}

fn rows(queries: &[EndedQuery]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let text = |of: fn(&EndedQuery) -> &str| StringArray::from_iter_values(queries.iter().map(of));
    let number =
        |of: fn(&EndedQuery) -> u64| Int64Array::from_iter_values(queries.iter().map(|query| of(query) as i64));
    let started = queries.iter().map(|query| query.started.micros());
    RecordBatch::try_new(
        Stream::Queries.schema(),
        vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(started).with_timezone("UTC")),
            Arc::new(text(|query| &query.principal.tenant.0)),
            Arc::new(text(|query| &query.text)),
            Arc::new(number(|query| query.report.rows)),
            Arc::new(number(|query| query.report.bytes_scanned)),
            Arc::new(Float64Array::from_iter_values(queries.iter().map(|query| query.report.elapsed_ms))),
            Arc::new(queries.iter().map(|query| query.error.as_deref()).collect::<StringArray>()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_query::StatsReport;
    use bodkin_schema::{EventTime, Principal};

    fn query(text: &str) -> EndedQuery {
        let report = StatsReport { rows: 3, bytes_scanned: 4, files_scanned: 1, files_pruned: 0, elapsed_ms: 1.5 };
        EndedQuery { started: EventTime(7), principal: Principal::default(), text: text.into(), report, error: None }
    }

    #[test]
    fn what_cannot_wait_is_counted_and_long_texts_are_cut() {
        let (log, mut writer) = QueryLog::new();
        for _ in 0..WAITING_MAX + 3 {
            log.ended(query(&"\u{e4}".repeat(TEXT_BYTES_MAX)));
        }
        assert_eq!(log.dropped.load(Ordering::Relaxed), 3);
        let first = writer.ended.try_recv().unwrap();
        assert_eq!(first.text.len(), TEXT_BYTES_MAX);
        let rows = rows(&[first, query("SELECT 1")]).unwrap();
        assert_eq!((rows.num_rows(), rows.schema()), (2, Stream::Queries.schema()));
    }
}
