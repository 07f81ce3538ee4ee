//! What can go wrong with an epoch, named for what the caller can do about it.

use bodkin_schema::Epoch;

/// A failure of a sink or source, from whatever it writes to.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Result with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

/// The causes below `error` in one line, the nearest first: for a log.
pub fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(error.source(), |cause| cause.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Why an epoch did not end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another writer of this node has decided the epoch: this process must stop.
    #[error("epoch {} of node {node} was decided by another process", epoch.0)]
    Fenced {
        /// The node.
        node: String,
        /// The epoch.
        epoch: Epoch,
    },
    /// An intent could not be read or written.
    #[error("intent {path}")]
    Intent {
        /// Its object.
        path: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// An intent does not say what an intent must.
    #[error("intent {path} is corrupt")]
    Corrupt {
        /// Its object.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// An intent was written by a newer version of Bodkin.
    #[error("intent {path} has format {found}, this version reads up to {known}: run the newer version")]
    Newer {
        /// Its object.
        path: String,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// A sink failed; the epoch is tried again from where it stood.
    #[error("sink {sink} in epoch {}", epoch.0)]
    Sink {
        /// The sink.
        sink: String,
        /// The epoch.
        epoch: Epoch,
        /// Why.
        #[source]
        source: SinkError,
    },
    /// A source could not drop what is no longer needed.
    #[error("source")]
    Source(#[source] SinkError),
    /// Bytes of a state are not those that were written.
    #[error("state {path} is damaged at {what}: restore the object, or start with another data folder")]
    Damaged {
        /// Its object.
        path: String,
        /// Which part.
        what: String,
    },
    /// An operator does not take its state back.
    #[error("operator {operator} does not take its state back: give the operator a new name to start without it")]
    State {
        /// The operator.
        operator: String,
        /// Why.
        #[source]
        source: SinkError,
    },
    /// The graph is none.
    #[error("graph")]
    Graph(#[from] crate::GraphError),
    /// The operating system refused a thread.
    #[error("thread of a shard")]
    Thread(#[source] std::io::Error),
    /// An operator panicked; its epoch does not end. The log has every row: the next process takes them again.
    #[error("shard {shard} panicked")]
    Panicked {
        /// The shard.
        shard: usize,
    },
    /// The shards have stopped.
    #[error("the shards have stopped")]
    Stopped,
}
