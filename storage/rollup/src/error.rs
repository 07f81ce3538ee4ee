//! What can go wrong with the ladder, named for what the caller can do about it.

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// Why tiers could not be made or read. What is not made is read from the samples.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tables; worth another try.
    #[error("tables of the rollup ladder")]
    Table(#[from] bodkin_table::Error),
    /// The object store refused; worth another try.
    #[error("object {path}")]
    Store {
        /// The object.
        path: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// Another process makes rollups in the same store.
    #[error("{path} was written by another process")]
    Overtaken {
        /// The state that was to be written.
        path: String,
    },
    /// Stored bytes are not what they must be.
    #[error("{path} is corrupt: {reason}")]
    Corrupt {
        /// The object.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Rows are not what their table has.
    #[error("rows of the rollup ladder")]
    Rows(#[from] arrow::error::ArrowError),
    /// What was asked for cannot be answered.
    #[error("{0}")]
    Asked(String),
    /// The process is shutting down.
    #[error("stopped while rollups were made")]
    Stopped,
}
