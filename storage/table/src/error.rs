//! What can go wrong with tables, named for what the caller can do about it.

use bodkin_schema::{Epoch, Stream};
use std::path::PathBuf;

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a table could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The object store refused; worth another try.
    #[error("object {path}")]
    Store {
        /// The object.
        path: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// The data folder could not be used.
    #[error("{}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The log of a table could not be read or written; worth another try.
    #[error("log of table {table}")]
    Log {
        /// The table.
        table: Stream,
        /// Why.
        #[source]
        source: Box<deltalake_core::DeltaTableError>,
    },
    /// Another writer changed what the commit builds on.
    #[error("commit to table {table} conflicts: {reason}")]
    Conflict {
        /// The table.
        table: Stream,
        /// With what.
        reason: String,
    },
    /// Stored bytes are not what they must be.
    #[error("{path} is corrupt: {reason}")]
    Corrupt {
        /// The object or file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The data was written by a newer version, or by a tool with features that are not known here.
    #[error("{path} has format {found}, this version knows up to {known}: run the newer version")]
    Newer {
        /// The file or table.
        path: String,
        /// Its format.
        found: String,
        /// The newest format known here.
        known: String,
    },
    /// Another process uses the data folder.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// Rows do not fit the schema of their table.
    #[error("rows of table {table}")]
    Rows {
        /// The table.
        table: Stream,
        /// Why.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// Rows could not be written as Parquet.
    #[error("parquet file {path}")]
    Parquet {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// What an intent says of the tables cannot be read.
    #[error("prepared files of epoch {}", epoch.0)]
    Prepared {
        /// The epoch.
        epoch: Epoch,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The process is shutting down.
    #[error("stopped while working on table {table}")]
    Stopped {
        /// The table.
        table: Stream,
    },
}
