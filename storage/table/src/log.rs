//! The log of a table: what is part of it, decided one commit at a time.

use crate::{PreparedFile, Removed, Result, Suffixed, TableFile};
use async_trait::async_trait;
use bodkin_schema::Epoch;
use std::sync::Arc;

/// What a log says of its table at a version. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LogState {
    /// The version; none where nothing was committed yet.
    pub version: Option<u64>,
    /// The files.
    pub files: Arc<Vec<Arc<TableFile>>>,
    /// The last epoch of this node that is in.
    pub epoch: Option<Epoch>,
    /// Columns that the table has beyond those of its stream.
    pub suffixed: Suffixed,
}

/// What a commit changes.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// Files that become part of the table.
    pub adds: Vec<PreparedFile>,
    /// Files that cease to be; each must be there.
    pub removes: Vec<Arc<TableFile>>,
    /// The epoch of this node that the commit is. Where the table has it or a later one, nothing happens.
    pub epoch: Option<Epoch>,
    /// The rows are the same as before, in other files.
    pub is_rewrite: bool,
}

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is this version.
    At(u64),
    /// The table had the epoch already.
    AlreadyThere,
}

/// The log of one table, as one node sees it. Commits run one after the other.
#[async_trait]
pub trait TableLog: Send + Sync + std::fmt::Debug {
    /// What is known: the state after the last load, refresh or commit. Free.
    fn state(&self) -> LogState;

    /// Reads what others have committed since.
    async fn refresh(&self) -> Result<LogState>;

    /// Changes the table. A commit of others in between is read, and the commit tried again on top of it. Dropping
    /// the future leaves it open whether the commit happened; asking again with the same epoch tells.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] where a file to remove is no longer there.
    async fn commit(&self, request: &CommitRequest) -> Result<Committed>;

    /// The files of an older version. Reads the log.
    async fn files_at(&self, version: u64) -> Result<Vec<Arc<TableFile>>>;

    /// Files that commits have removed, as long as the log remembers. Reads the log.
    async fn removed(&self) -> Result<Vec<Removed>> {
        Ok(Vec::new())
    }

    /// Writes a checkpoint and drops expired log entries, where that is due. Returns whether it did.
    async fn maintain(&self) -> Result<bool>;
}
