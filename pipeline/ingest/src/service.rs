//! The service that all puts share, and whom it hands rows to.

use crate::lanes::Lanes;
use crate::stats::{Counters, IngestStats};
use arrow::array::RecordBatch;
use bodkin_schema::{Clock, EventTime, Lane, Position, Seq, Tenant};
use bodkin_wal::{Limits, NoteFrame, Wal};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Permits of byte semaphores count in this unit.
const PERMIT_BYTES: usize = 1024;

/// Rows that are durable.
#[derive(Clone, Debug)]
pub struct IngestedBatch {
    /// Whose rows they are.
    pub tenant: Tenant,
    /// Who sent them, and on which stream.
    pub lane: Lane,
    /// Their number in the lane.
    pub seq: Seq,
    /// When they were taken.
    pub ingest_time: EventTime,
    /// End of their frame in the log.
    pub position: Position,
    /// The rows: every column of the stream's schema in its order; text may be dictionaries.
    pub records: RecordBatch,
}

/// Where rows go once they are durable.
pub trait Downstream: Send + Sync {
    /// Takes rows, in log order, before their sender is told that they are stored. Blocking holds up the log: that is
    /// the back-pressure. Called from the log's writer thread, and from [`IngestService::replay`] before that.
    fn push(&self, batch: IngestedBatch);

    /// Takes a note that a replay found between batches, with the position after it. Whoever logged it acted on it at
    /// the time, so it comes by replay only.
    fn note(&self, position: Position, note: NoteFrame) {
        let _ = (position, note);
    }
}

/// What senders may ask for.
#[derive(Clone, Copy, Debug)]
pub struct IngestLimits {
    /// Limits of one message.
    pub ipc: Limits,
    /// Bytes that a stream may have unacknowledged.
    pub credit_bytes: usize,
    /// Bytes of decoded batches that are on their way into the log, of all streams together.
    pub batch_memory_bytes: usize,
    /// Bytes of decoded dictionaries that streams hold, of all streams together.
    pub dictionary_memory_bytes: usize,
    /// Lanes that are remembered.
    pub lanes_max: usize,
    /// A lane that sent nothing for so long is forgotten.
    pub lane_idle: Duration,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self {
            ipc: Limits::default(),
            credit_bytes: 16 << 20,
            batch_memory_bytes: 256 << 20,
            dictionary_memory_bytes: 128 << 20,
            lanes_max: 100_000,
            lane_idle: Duration::from_secs(30 * 86_400),
        }
    }
}

impl IngestLimits {
    /// What the gRPC server has to be told to accept (`max_decoding_message_size`), so that a message that is too large
    /// is refused here, with the limit, and one far beyond it there.
    pub fn message_bytes_max(&self) -> usize {
        self.ipc.body_bytes_max + self.ipc.header_bytes_max + (1 << 20)
    }
}

/// Takes puts: verifies, deduplicates, logs, hands over, acknowledges.
pub struct IngestService {
    pub(crate) wal: Arc<Wal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: IngestLimits,
    pub(crate) downstream: Arc<dyn Downstream>,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) batch_memory: Pool,
    pub(crate) dictionary_memory: Pool,
}

impl std::fmt::Debug for IngestService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IngestService").field("wal", &self.wal).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl IngestService {
    /// A service over an open log. Call [`IngestService::replay`] before the first put.
    pub fn new(
        wal: Arc<Wal>,
        clock: Arc<dyn Clock>,
        limits: IngestLimits,
        downstream: Arc<dyn Downstream>,
    ) -> Arc<Self> {
        Arc::new(Self {
            wal,
            clock,
            limits,
            downstream,
            lanes: Lanes::new(limits.lanes_max, limits.lane_idle),
            counters: Arc::default(),
            batch_memory: Pool::new(limits.batch_memory_bytes),
            dictionary_memory: Pool::new(limits.dictionary_memory_bytes),
        })
    }

    /// The lanes and their marks.
    pub fn lanes(&self) -> &Arc<Lanes> {
        &self.lanes
    }

    /// The log.
    pub fn wal(&self) -> &Arc<Wal> {
        &self.wal
    }

    /// The limits.
    pub fn limits(&self) -> &IngestLimits {
        &self.limits
    }

    /// What happened since the start.
    pub fn stats(&self) -> IngestStats {
        self.counters.snapshot(self.lanes.gaps())
    }

    /// What a sender may have unacknowledged: less when the log is behind.
    pub(crate) fn credit_bytes(&self) -> u64 {
        self.limits.credit_bytes.min(self.wal.free_bytes()) as u64
    }
}

/// A number of bytes that are lent out.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    permits: Arc<Semaphore>,
    total: usize,
}

/// Bytes that are given back when this is dropped.
pub(crate) type Lent = tokio::sync::OwnedSemaphorePermit;

impl Pool {
    pub(crate) fn new(bytes: usize) -> Self {
        let total = bytes.div_ceil(PERMIT_BYTES).clamp(1, u32::MAX as usize);
        Self { permits: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits for `bytes`; for everything if that is less, so that the largest message passes alone. None only if the
    /// semaphore was closed, which nobody does.
    pub(crate) async fn lend(&self, bytes: usize) -> Option<Lent> {
        let permits = bytes.div_ceil(PERMIT_BYTES).min(self.total) as u32;
        self.permits.clone().acquire_many_owned(permits).await.ok()
    }

    /// Without waiting, or not at all.
    pub(crate) fn try_lend(&self, bytes: usize) -> Option<Lent> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).ok()?;
        self.permits.clone().try_acquire_many_owned(permits).ok()
    }
}
