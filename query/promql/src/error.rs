//! What a query can fail with, in the words of Prometheus.

use crate::position::Span;

/// Why a query has no result. [`Error::kind`] is the `errorType` of the HTTP API.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no query, or not one that the engine takes.
    #[error("{0}")]
    Parse(ParseError),
    /// A parameter of the query is wrong.
    #[error("{0}")]
    BadData(String),
    /// The evaluation of the query failed.
    #[error("{0}")]
    Execution(String),
    /// The query would hold too many samples.
    #[error("query processing would load too many samples into memory in {during}")]
    TooManySamples {
        /// What was going on.
        during: &'static str,
    },
    /// The query would hold too many bytes.
    #[error(
        "query processing would hold more than {limit} bytes of memory; narrow the selectors, the range or the steps"
    )]
    TooManyBytes {
        /// The budget.
        limit: u64,
    },
    /// Time is up.
    #[error("query timed out in {during}")]
    Timeout {
        /// What was going on.
        during: &'static str,
    },
    /// Somebody canceled it.
    #[error("query was canceled in {during}")]
    Canceled {
        /// What was going on.
        during: &'static str,
    },
    /// The store failed.
    #[error("{0}")]
    Storage(String),
}

/// The `errorType` of Prometheus's HTTP API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// `bad_data`, status 400.
    BadData,
    /// `execution`, status 422.
    Execution,
    /// `timeout`, status 503.
    Timeout,
    /// `canceled`, status 499.
    Canceled,
    /// `internal`, status 500.
    Internal,
}

impl ErrorKind {
    /// The word that the HTTP API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
        }
    }
}

impl Error {
    /// What the HTTP API calls the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Parse(_) | Self::BadData(_) => ErrorKind::BadData,
            Self::Execution(_) | Self::TooManySamples { .. } | Self::TooManyBytes { .. } => ErrorKind::Execution,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Canceled { .. } => ErrorKind::Canceled,
            Self::Storage(_) => ErrorKind::Internal,
        }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Query(inner) => *inner,
            StorageError::Internal(text) => Self::Storage(text),
        }
    }
}

/// What a store can fail with.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The query's own control said no: canceled, timed out, over budget.
    #[error(transparent)]
    Query(Box<Error>),
    /// The store is broken or cannot be reached.
    #[error("{0}")]
    Internal(String),
}

impl From<Error> for StorageError {
    fn from(error: Error) -> Self {
        Self::Query(Box::new(error))
    }
}

/// What is wrong with the text of a query; written as `LINE:COLUMN: parse error: TEXT`.
///
/// Prometheus collects all faults and reports the first; so does this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where.
    pub span: Span,
    /// What.
    pub message: String,
    /// `line:column` of where, as Prometheus counts them.
    pub position: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: parse error: {}", self.position, self.message)
    }
}
