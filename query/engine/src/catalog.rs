//! Where the tables are: the one thing that the engine asks of the process around it.

use async_trait::async_trait;
use bodkin_schema::Stream;
use bodkin_table::{Snapshot, TableSnapshot};
use object_store::ObjectStore;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a snapshot could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The log of the table does not hold that version, or no longer.
    #[error("table {stream} has no version {version}")]
    NoSuchVersion {
        /// The table.
        stream: Stream,
        /// The version.
        version: u64,
    },
    /// Nothing that the asker can change.
    #[error("the tables are not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Gives queries their view of the tables.
#[async_trait]
pub trait Catalog: Send + Sync + fmt::Debug + 'static {
    /// The newest snapshot that holds every row that was acknowledged before the call; waits for it where the shards
    /// are behind (ACK-2). Safe to cancel.
    async fn snapshot(&self) -> Result<Arc<Snapshot>, CatalogError>;

    /// Version `version` of one table, without a tail. Reads the table's log.
    async fn snapshot_at(&self, stream: Stream, version: u64) -> Result<Arc<TableSnapshot>, CatalogError>;

    /// The store that holds the files, at the paths that snapshots name.
    fn store(&self) -> Arc<dyn ObjectStore>;

    /// The folder of this machine that the paths of the store begin in; none where they are no files.
    fn folder(&self) -> Option<PathBuf> {
        None
    }
}
