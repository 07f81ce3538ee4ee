//! What queries see: the tables, once every acknowledged row is in them.

use async_trait::async_trait;
use bodkin_engine::Progress;
use bodkin_query::{Catalog, CatalogError};
use bodkin_schema::Stream;
use bodkin_table::{Snapshot, TableSnapshot, Tables};
use object_store::ObjectStore;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The tables of a running server.
pub(crate) struct LiveCatalog {
    pub(crate) tables: Arc<Tables>,
    pub(crate) progress: Progress,
}

impl fmt::Debug for LiveCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveCatalog").field("progress", &self.progress).finish_non_exhaustive()
    }
}

#[async_trait]
impl Catalog for LiveCatalog {
    /// Waits until the shards have done what was handed to them before the query began (ACK-2).
    async fn snapshot(&self) -> Result<Arc<Snapshot>, CatalogError> {
        self.progress.caught_up().await;
        Ok(self.tables.snapshot())
    }

    async fn snapshot_at(&self, stream: Stream, version: u64) -> Result<Arc<TableSnapshot>, CatalogError> {
        snapshot_at(&self.tables, stream, version).await
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        self.tables.store().clone()
    }

    fn folder(&self) -> Option<PathBuf> {
        self.tables.root_url().to_file_path().ok()
    }
}

/// Version `version` of a table, without a tail.
pub(crate) async fn snapshot_at(
    tables: &Tables,
    stream: Stream,
    version: u64,
) -> Result<Arc<TableSnapshot>, CatalogError> {
    if tables.snapshot().table(stream).version.is_none_or(|newest| version > newest) {
        return Err(CatalogError::NoSuchVersion { stream, version });
    }
    let snapshot = tables.snapshot_at(stream, version).await;
    snapshot.map(Arc::new).map_err(|error| CatalogError::Unavailable(Box::new(error)))
}
