//! Why the log cannot do what it was asked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Failures of the log and its segments. Cheap to clone: one failed group fails all of its appends.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk has no room. Nothing was acknowledged; later appends try again.
    #[error("{path}: no space left on the disk ({operation})")]
    Full {
        /// The file.
        path: PathBuf,
        /// What was being done.
        operation: &'static str,
        /// The operating system's answer.
        #[source]
        source: Arc<io::Error>,
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
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed, so that nobody knows what is on the disk. Only a restart, which reads it
    /// again, ends this state.
    #[error("the log takes no more frames since {cause}")]
    Poisoned {
        /// The first failure.
        cause: Arc<Error>,
    },
    /// Written by a newer release.
    #[error("{path}: format {found} is newer than {supported}, the newest that this release reads")]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known here.
        supported: u32,
    },
    /// Another process, or another part of this one, has the log open.
    #[error("{path}: the log is in use by another process")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A file that is no segment although its name says so.
    #[error("{path}: {why}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A frame that no reader would take.
    #[error("frame of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The log was closed, or its writer thread is gone.
    #[error("the log is closed")]
    Closed,
}

impl Error {
    pub(crate) fn io(path: &Path, operation: &'static str, source: io::Error) -> Self {
        let (path, is_full) = (path.to_owned(), is_full(&source));
        let source = Arc::new(source);
        if is_full { Self::Full { path, operation, source } } else { Self::Io { path, operation, source } }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Result of the log.
pub type Result<T, E = Error> = std::result::Result<T, E>;
