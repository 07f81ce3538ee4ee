//! Between the log and the shard: what became durable goes into the shard's queue, what is committed leaves the log.

use async_trait::async_trait;
use bodkin_engine::{Batch, Message, Origin, Queue, SinkError, Source};
use bodkin_ingest::{Downstream, IngestedBatch};
use bodkin_schema::Position;
use bodkin_wal::Wal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Hands durable rows to the shard, in log order.
#[derive(Debug, Default)]
pub(crate) struct ShardFeed {
    queue: OnceLock<Arc<Queue>>,
    handed: AtomicU64,
}

impl ShardFeed {
    /// Connects the shard that has everything up to `position`.
    pub(crate) fn connect(&self, queue: Arc<Queue>, position: Position) {
        self.handed.store(position.0, Ordering::Release);
        // A second shard would be a mistake of the wiring; the first stays.
        let _ = self.queue.set(queue);
    }
}

impl Downstream for ShardFeed {
    fn push(&self, batch: IngestedBatch) {
        let IngestedBatch { tenant, lane, seq, ingest_time, position, records } = batch;
        let batch = Batch::logged(Origin { lane, seq }, tenant, records, ingest_time, position);
        if let Some(queue) = self.queue.get() {
            // A closed queue says that the process goes down; the rows are in the log.
            queue.push(Message::Data(batch));
        }
        // After the push: whoever reads this position finds the rows in front of whatever it pushes next.
        self.handed.store(position.0, Ordering::Release);
    }
}

/// The log as the source of the graph.
#[derive(Debug)]
pub(crate) struct LogSource {
    pub(crate) wal: Arc<Wal>,
    pub(crate) feed: Arc<ShardFeed>,
}

#[async_trait]
impl Source for LogSource {
    fn position(&self) -> Position {
        Position(self.feed.handed.load(Ordering::Acquire))
    }

    async fn ack(&self, position: Position) -> Result<(), SinkError> {
        let wal = self.wal.clone();
        tokio::task::spawn_blocking(move || wal.trim(position)).await??;
        Ok(())
    }
}
