//! The durable ends of the graph.

use crate::{Batch, SinkError};
use async_trait::async_trait;
use bodkin_schema::{Epoch, Position};

/// Where rows come from, able to give them again from a position.
#[async_trait]
pub trait Source: Send + Sync {
    /// Everything up to here has been handed to the shard. Rows that were acknowledged lie before it.
    fn position(&self) -> Position;

    /// Everything up to `position` is committed and may be forgotten.
    async fn ack(&self, position: Position) -> Result<(), SinkError>;
}

/// Where rows end. `write` and `seal` are called by the shard and only touch memory; `prepare` and `commit` do the
/// slow work beside it.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Name in intents and metrics.
    fn name(&self) -> &str;

    /// Takes rows; they are visible to queries from here on.
    fn write(&self, batch: Batch);

    /// Ends the epoch: rows written so far belong to it, rows written from here on to the next.
    fn seal(&self, epoch: Epoch);

    /// Bytes that are written and not yet committed.
    fn pending_bytes(&self) -> usize;

    /// Uploads the sealed rows under their final names and returns what `commit` needs. May be called again after an
    /// error, and then starts over.
    async fn prepare(&self, epoch: Epoch) -> Result<serde_json::Value, SinkError>;

    /// Makes the prepared rows part of the tables. Idempotent: where the epoch is already in, nothing happens.
    async fn commit(&self, epoch: Epoch, prepared: &serde_json::Value) -> Result<(), SinkError>;
}
