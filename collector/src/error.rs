//! What can go wrong in the agent.

use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// An error of the agent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration does not say what it must, or says what is not known.
    #[error("configuration: {0}")]
    Invalid(String),
    /// Kernel events were required and are not to be had.
    #[error("kernel events are required but cannot be had: {0}")]
    NoEbpf(String),
    /// Another agent uses the folder.
    #[error("{path}: in use by another agent")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A newer release wrote the folder.
    #[error("{path}: format {found} is newer than {supported}, the newest that this release reads")]
    Newer {
        /// The format file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What this release writes.
        supported: u32,
    },
    /// The operating system refused.
    #[error("{path}: {operation}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// A segment of the spool cannot be read or written.
    #[error(transparent)]
    Segment(#[from] bodkin_wal::Error),
    /// A batch cannot be built or encoded.
    #[error("batch of {stream}: {why}")]
    Batch {
        /// The stream.
        stream: bodkin_schema::Stream,
        /// Why.
        why: String,
    },
}

impl Error {
    /// Names the path of an I/O error, for `map_err`.
    pub(crate) fn io(path: &Path, operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, operation, source }
    }

    /// Names the stream of a batch, for `map_err`.
    pub(crate) fn batch<E: std::fmt::Display>(stream: bodkin_schema::Stream) -> impl FnOnce(E) -> Self {
        move |why| Self::Batch { stream, why: why.to_string() }
    }
}

/// Result of the agent's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}
