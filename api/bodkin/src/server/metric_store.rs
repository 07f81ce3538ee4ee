//! Series and recent samples of a server: fed with every durable row, before its sender is answered.

use async_trait::async_trait;
use bodkin_engine::Progress;
use bodkin_ingest::{Downstream, IngestedBatch};
use bodkin_metrics::{ColdError, MetricStore};
use bodkin_rollup::Ladder;
use bodkin_schema::{Position, Stream, Tenant};
use bodkin_table::{Snapshot, Tables};
use bodkin_wal::NoteFrame;
use object_store::ObjectStore;
use std::fmt;
use std::sync::Arc;

/// Hands rows to the store, then on. The store comes first: when the position of a row is known to be handed on, a query
/// finds it in memory.
pub(crate) struct MetricFeed<D> {
    pub(crate) store: Arc<MetricStore>,
    pub(crate) next: Arc<D>,
}

impl<D: Downstream> Downstream for MetricFeed<D> {
    fn push(&self, batch: IngestedBatch) {
        if batch.tenant == Tenant::default()
            && let Some(stream) = Stream::from_name(&batch.lane.stream)
        {
            self.store.apply(stream, &batch.records);
        }
        self.next.push(batch);
    }

    fn note(&self, position: Position, note: NoteFrame) {
        self.next.note(position, note);
    }
}

/// The tables, once every acknowledged row is in them.
pub(crate) struct MetricTables {
    pub(crate) tables: Arc<Tables>,
    pub(crate) ladder: Arc<Ladder>,
    pub(crate) progress: Progress,
}

impl fmt::Debug for MetricTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricTables").finish_non_exhaustive()
    }
}

#[async_trait]
impl bodkin_metrics::Tables for MetricTables {
    async fn snapshot(&self) -> Result<Arc<Snapshot>, ColdError> {
        self.progress.caught_up().await;
        Ok(self.tables.snapshot())
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        self.tables.store().clone()
    }

    fn ladder(&self) -> Option<Arc<Ladder>> {
        Some(self.ladder.clone())
    }
}
