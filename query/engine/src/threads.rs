//! Queries on threads of their own, so that what they compute does not hold up whoever asks.

use crate::error::QueryError;
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::{FutureExt, Stream, StreamExt};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Batches of an answer that are made and not yet taken.
const BATCHES_AHEAD: usize = 2;

/// Rows as the plan makes them.
pub(crate) type Rows = Pin<Box<dyn Stream<Item = Result<RecordBatch, QueryError>> + Send>>;

/// Ends what it spawned when nobody waits for it any more.
struct Spawned<T>(JoinHandle<T>);

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `work` on the threads of `runtime`, or here where there is none.
pub(crate) async fn run<T: Send + 'static>(
    runtime: Option<&Handle>,
    work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
) -> Result<T, QueryError> {
    match runtime {
        None => work.await,
        Some(runtime) => {
            let mut spawned = Spawned(runtime.spawn(work));
            (&mut spawned.0).await.unwrap_or_else(|_| Err(QueryError::panicked()))
        }
    }
}

/// The rows of a plan, made on the threads of `runtime`, or as they are asked for where there is none. A panic in an
/// operator is a failed query, not a failed process (SAFE-1). Dropping them ends the plan.
pub(crate) fn rows(runtime: Option<&Handle>, plan: SendableRecordBatchStream) -> Rows {
    let mut plan = fenced(plan);
    let Some(runtime) = runtime else { return plan };
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let driver = Spawned(runtime.spawn(async move {
        while let Some(batch) = plan.next().await {
            if sender.send(batch).await.is_err() {
                return;
            }
        }
    }));
    let next = |(mut receiver, driver): (mpsc::Receiver<_>, Spawned<()>)| async move {
        receiver.recv().await.map(|batch| (batch, (receiver, driver)))
    };
    futures::stream::unfold((receiver, driver), next).boxed()
}

/// Ends with an error where the plan panics: it is not polled again.
fn fenced(plan: SendableRecordBatchStream) -> Rows {
    let next = |plan: Option<SendableRecordBatchStream>| async move {
        let mut plan = plan?;
        match AssertUnwindSafe(plan.next()).catch_unwind().await {
            Ok(batch) => batch.map(|batch| (batch.map_err(QueryError::from_execution), Some(plan))),
            Err(_) => Some((Err(QueryError::panicked()), None)),
        }
    };
    futures::stream::unfold(Some(plan), next).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Schema;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use std::sync::Arc;

    fn plan(batches: usize) -> SendableRecordBatchStream {
        let schema = Arc::new(Schema::empty());
        let empty = RecordBatch::new_empty(schema.clone());
        let made = futures::stream::iter(0..=batches).map(move |number| {
            assert!(number < batches, "an operator with a bug");
            Ok(empty.clone())
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, made))
    }

    #[test]
    fn safe_1_a_panic_is_a_failed_query_wherever_it_runs() {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for runtime in [None, Some(threads.handle())] {
            let found: Vec<_> = own.block_on(rows(runtime, plan(3)).collect());
            assert_eq!(found.iter().filter(|batch| batch.is_ok()).count(), 3);
            assert_eq!(found.last().unwrap().as_ref().unwrap_err(), &QueryError::panicked());
        }
        let panics = run(Some(threads.handle()), async { panic!("a planner with a bug") });
        let outcome: Result<(), _> = own.block_on(panics);
        assert_eq!(outcome.unwrap_err(), QueryError::panicked());
    }

    #[test]
    fn what_nobody_waits_for_ends() {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let alive = Arc::new(());
        let held = alive.clone();
        let schema = Arc::new(Schema::empty());
        let empty = RecordBatch::new_empty(schema.clone());
        let endless = futures::stream::repeat_with(move || {
            let _held = &held;
            Ok(empty.clone())
        });
        let mut rows = rows(Some(threads.handle()), Box::pin(RecordBatchStreamAdapter::new(schema, endless)));
        let own = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(own.block_on(rows.next()).unwrap().is_ok());
        drop(rows);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while Arc::strong_count(&alive) > 1 {
            assert!(std::time::Instant::now() < deadline, "it still runs");
            std::thread::yield_now();
        }
    }
}
