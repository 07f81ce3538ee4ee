//! Tables and log of a data folder that no server holds, read without changing them.

use crate::sql::{DataDir, ServerFile};
use crate::store::TableStore;
use anyhow::{Context, bail};
use async_trait::async_trait;
use bodkin_engine::{Batch, IntentStore, Origin, Sink};
use bodkin_ingest::{Downstream, IngestLimits, IngestedBatch};
use bodkin_query::{Catalog, CatalogError, QueryEngine, QueryOptions};
use bodkin_schema::{Clock, Stream, SystemClock};
use bodkin_table::{Snapshot, TableSnapshot, Tables};
use object_store::ObjectStore;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the folder is: a running server's, or one to read here.
pub(crate) async fn open(path: &Path) -> anyhow::Result<DataDir> {
    let found = bodkin_table::DataDir::inspect(path)?;
    if found.is_live {
        return Ok(DataDir::Live(ServerFile::read(path)?.http));
    }
    let Some(node) = found.node else {
        bail!("{} holds no data of bodkin: start `bodkin up --data-dir {0}` first", path.display());
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let TableStore { store, root } = TableStore::read_only(path)?;
    let tables = Arc::new(Tables::open(store.clone(), root, &node, clock.clone()).await?);
    show_log(path, &tables, store, &node).await.with_context(|| format!("log of {}", path.display()))?;
    let options = QueryOptions { clock, ..Default::default() };
    Ok(DataDir::Stopped(Arc::new(QueryEngine::new(Arc::new(Offline(tables)), options)?)))
}

/// Adds to the tail what the newest intent decided and what the log holds after it.
async fn show_log(path: &Path, tables: &Arc<Tables>, store: Arc<dyn ObjectStore>, node: &str) -> anyhow::Result<()> {
    let intent = IntentStore::new(store, node).newest().await?;
    let (mut from, mut marks) = Default::default();
    if let Some(intent) = &intent {
        if let Some(prepared) = intent.prepared(tables.name()) {
            tables.overlay(intent.epoch(), prepared)?;
        }
        (from, marks) = (intent.position(), crate::server::lane_marks(intent.marks()));
    }
    let folder = path.join("wal");
    if !folder.is_dir() {
        return Ok(());
    }
    let tail = Arc::new(Tail(tables.clone()));
    let report = tokio::task::spawn_blocking(move || {
        bodkin_ingest::read_log(&folder, from, marks, &IngestLimits::default(), tail.as_ref())
    });
    let report = report.await??;
    if report.quarantined_count > 0 {
        tracing::warn!(places = report.quarantined_count, "damaged places of the log are left out");
    }
    Ok(())
}

/// Rows of the log, straight into the tail.
struct Tail(Arc<Tables>);

impl Downstream for Tail {
    fn push(&self, batch: IngestedBatch) {
        let IngestedBatch { tenant, lane, seq, ingest_time, position, records } = batch;
        self.0.write(Batch::logged(Origin { lane, seq }, tenant, records, ingest_time, position));
    }
}

#[derive(Debug)]
struct Offline(Arc<Tables>);

#[async_trait]
impl Catalog for Offline {
    async fn snapshot(&self) -> Result<Arc<Snapshot>, CatalogError> {
        Ok(self.0.snapshot())
    }

    async fn snapshot_at(&self, stream: Stream, version: u64) -> Result<Arc<TableSnapshot>, CatalogError> {
        crate::server::snapshot_at(&self.0, stream, version).await
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        self.0.store().clone()
    }

    fn folder(&self) -> Option<PathBuf> {
        self.0.root_url().to_file_path().ok()
    }
}
