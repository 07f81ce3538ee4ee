//! The durable ends of the graph.

use crate::{Batch, SinkError};
use async_trait::async_trait;
use bodkin_schema::{Epoch, Position};
use bytes::Bytes;

/// Where rows come from, able to give them again from a position. It hands them to the [`Inlet`](crate::Inlet).
#[async_trait]
pub trait Source: Send + Sync {
    /// Everything up to `position` is committed and may be forgotten.
    async fn ack(&self, position: Position) -> Result<(), SinkError>;
}

/// Where rows end. `write` is called by shards, several at a time, and only touches memory; `prepare` and `commit` do
/// the slow work beside them.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Name in intents and metrics.
    fn name(&self) -> &str;

    /// Whether rows of a stream are for this sink.
    fn takes(&self, stream: &str) -> bool {
        let _ = stream;
        true
    }

    /// Takes rows; they are visible to queries from here on. They belong to the epoch that the batch names: while one
    /// shard still writes to an epoch another is in the next already.
    fn write(&self, batch: Batch);

    /// No shard writes to the epoch any more. Rows that were written for no epoch belong to it, too.
    fn seal(&self, epoch: Epoch);

    /// Bytes that are written and not yet committed.
    fn pending_bytes(&self) -> usize;

    /// Uploads the sealed rows under their final names and returns what `commit` needs. May be called again after an
    /// error, and then starts over.
    async fn prepare(&self, epoch: Epoch) -> Result<serde_json::Value, SinkError>;

    /// State of the sink at the end of the epoch, in parts by name, for its next life: it lies beside the operators', so that
    /// intents stay small. Asked for after `prepare`, again where that is called again.
    fn state(&self, epoch: Epoch) -> Result<Vec<(String, Bytes)>, SinkError> {
        let _ = epoch;
        Ok(Vec::new())
    }

    /// Takes back a part of the state of the newest epoch: at a start, after its `commit` and before any rows.
    fn restore(&self, part: &str, state: &Bytes) -> Result<(), SinkError> {
        let _ = (part, state);
        Ok(())
    }

    /// Makes the prepared rows part of the tables. Idempotent: where the epoch is already in, nothing happens.
    async fn commit(&self, epoch: Epoch, prepared: &serde_json::Value) -> Result<(), SinkError>;

    /// The newest epoch of this node that is committed to any table, read from the store and not from memory: a process
    /// that has been replaced learns it here.
    async fn committed(&self) -> Result<Option<Epoch>, SinkError>;
}
