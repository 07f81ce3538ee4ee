//! Why something that was sent is not taken.

use bodkin_schema::{Lane, Mismatch, Seq, Stream};
use bodkin_wal::{Error as LogError, IpcError};
use thiserror::Error;
use tonic::{Code, Status};

/// Why a put ends. What was acknowledged before stays acknowledged.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The descriptor names no stream.
    #[error("the first message of a put needs a descriptor with path [stream]: {why}")]
    Descriptor {
        /// What is wrong with it.
        why: &'static str,
    },
    /// No stream of that name.
    #[error("stream {name:?} is not known; there are {}", sent())]
    UnknownStream {
        /// The name, cut to a sane length.
        name: String,
    },
    /// Rows of a stream that the server makes itself.
    #[error("stream {stream} is made by the server itself and takes no rows from outside; send to one of {}", sent())]
    MadeHere {
        /// The stream.
        stream: Stream,
    },
    /// The schema is none of the stream's.
    #[error("schema of stream {stream}: {mismatch}")]
    Schema {
        /// The stream.
        stream: Stream,
        /// The column and why.
        mismatch: Mismatch,
    },
    /// Bytes that are no valid message, or one that is too large.
    #[error(transparent)]
    Ipc(#[from] IpcError),
    /// A message that does not belong where it came.
    #[error("{0}")]
    Unexpected(&'static str),
    /// The application metadata of a batch is unusable.
    #[error("app_metadata of a batch must be JSON {{producer, incarnation, seq}}: {0}")]
    Metadata(String),
    /// Rows that break the rules of their stream.
    #[error("stream {stream}, column {column:?}: {why}")]
    Rows {
        /// The stream.
        stream: Stream,
        /// The column.
        column: String,
        /// What is wrong.
        why: String,
    },
    /// A message beyond a limit.
    #[error("{what} of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A number below one that the lane has in flight.
    #[error("lane {lane}: seq {seq} after {highest}: numbers of a lane ascend", seq = .seq.0, highest = .highest.0)]
    OutOfOrder {
        /// The lane.
        lane: Lane,
        /// The number.
        seq: Seq,
        /// The highest in flight.
        highest: Seq,
    },
    /// An earlier batch of the lane could not be stored.
    #[error("lane {lane}: seq {seq} could not be stored; send again from there", seq = .seq.0)]
    LaneBroken {
        /// The lane.
        lane: Lane,
        /// The batch that failed.
        seq: Seq,
    },
    /// Too many producers.
    #[error("more than {limit} lanes (producers, incarnations, streams) are in use")]
    TooManyLanes {
        /// The limit.
        limit: usize,
    },
    /// The log does not take it.
    #[error(transparent)]
    Log(#[from] LogError),
}

fn sent() -> String {
    let sent = Stream::ALL.into_iter().filter(|stream| !stream.is_made());
    sent.map(Stream::name).collect::<Vec<_>>().join(", ")
}

/// Labels of the refusals counter, in the order of [`Refusal::index`].
pub(crate) const REASONS: [&str; 11] = [
    "descriptor",
    "unknown_stream",
    "schema",
    "ipc",
    "unexpected",
    "metadata",
    "rows",
    "too_large",
    "lane",
    "log",
    "made_here",
];

impl Refusal {
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Descriptor { .. } => 0,
            Self::UnknownStream { .. } => 1,
            Self::Schema { .. } => 2,
            Self::Ipc(IpcError::TooLarge { .. }) | Self::TooLarge { .. } => 7,
            Self::Ipc(_) => 3,
            Self::Unexpected(_) => 4,
            Self::Metadata(_) => 5,
            Self::Rows { .. } => 6,
            Self::OutOfOrder { .. } | Self::LaneBroken { .. } | Self::TooManyLanes { .. } => 8,
            Self::Log(_) => 9,
            Self::MadeHere { .. } => 10,
        }
    }

    /// The label of the refusals counter.
    pub fn reason(&self) -> &'static str {
        REASONS.get(self.index()).copied().unwrap_or("other")
    }

    fn code(&self) -> Code {
        match self {
            Self::UnknownStream { .. } => Code::NotFound,
            Self::MadeHere { .. } => Code::PermissionDenied,
            // What is too large once is too large always; "exhausted" is what sending again may help.
            Self::TooManyLanes { .. } | Self::Log(LogError::Full { .. }) => Code::ResourceExhausted,
            Self::Log(LogError::TooLarge { .. }) => Code::InvalidArgument,
            Self::Log(_) | Self::LaneBroken { .. } => Code::Unavailable,
            _ => Code::InvalidArgument,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
