//! Counters of ingest.

use crate::Refusal;
use crate::refusal::REASONS;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What ingest did since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngestStats {
    /// Batches that became durable.
    pub batches: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes as they came.
    pub bytes: u64,
    /// Batches that were sent again and dropped.
    pub duplicates: u64,
    /// Numbers that senders skipped.
    pub gaps: u64,
    /// Streams that were opened.
    pub streams: u64,
    /// Streams that were ended with a refusal, by reason.
    pub refused: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    batches: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    duplicates: AtomicU64,
    streams: AtomicU64,
    refused: [AtomicU64; REASONS.len()],
}

impl Counters {
    pub(crate) fn stored(&self, rows: u64, bytes: u64) {
        self.batches.fetch_add(1, Relaxed);
        self.rows.fetch_add(rows, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn duplicate(&self) {
        self.duplicates.fetch_add(1, Relaxed);
    }

    pub(crate) fn stream(&self) {
        self.streams.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        if let Some(counter) = self.refused.get(refusal.index()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn snapshot(&self, gaps: u64) -> IngestStats {
        IngestStats {
            batches: self.batches.load(Relaxed),
            rows: self.rows.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            gaps,
            streams: self.streams.load(Relaxed),
            refused: REASONS.into_iter().zip(&self.refused).map(|(reason, n)| (reason, n.load(Relaxed))).collect(),
        }
    }
}
