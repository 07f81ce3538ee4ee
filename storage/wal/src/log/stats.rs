//! Counters of the log.

use bodkin_schema::Position;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What the log did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Frames that became durable.
    pub frames: u64,
    /// Their bytes, schema frames included.
    pub bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Time spent in them.
    pub sync_time: Duration,
    /// The slowest of them.
    pub sync_time_max: Duration,
    /// Appends that failed, on a full disk or after a failure.
    pub failed: u64,
    /// Segments that were begun.
    pub segments: u64,
    /// Damaged places found when the log was opened, a torn tail not counted.
    pub quarantined: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    durable: AtomicU64,
    frames: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    sync_us: AtomicU64,
    sync_us_max: AtomicU64,
    failed: AtomicU64,
    segments: AtomicU64,
    quarantined: u64,
}

impl Counters {
    pub(super) fn new(durable: Position, quarantined: u64) -> Self {
        Self { durable: AtomicU64::new(durable.0), quarantined, ..Self::default() }
    }

    pub(super) fn durable(&self) -> Position {
        // Readers open the file after they read this: what it says must be visible to them.
        Position(self.durable.load(std::sync::atomic::Ordering::Acquire))
    }

    pub(super) fn group(&self, durable: Position, frames: usize, bytes: u64) {
        self.durable.store(durable.0, std::sync::atomic::Ordering::Release);
        self.frames.fetch_add(frames as u64, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn synced(&self, took: Duration) {
        let us = took.as_micros() as u64;
        self.syncs.fetch_add(1, Relaxed);
        self.sync_us.fetch_add(us, Relaxed);
        self.sync_us_max.fetch_max(us, Relaxed);
    }

    pub(super) fn failed(&self, appends: usize) {
        self.failed.fetch_add(appends as u64, Relaxed);
    }

    pub(super) fn segment(&self, durable: Position) {
        self.durable.store(durable.0, std::sync::atomic::Ordering::Release);
        self.segments.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self) -> WalStats {
        WalStats {
            frames: self.frames.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_time: Duration::from_micros(self.sync_us.load(Relaxed)),
            sync_time_max: Duration::from_micros(self.sync_us_max.load(Relaxed)),
            failed: self.failed.load(Relaxed),
            segments: self.segments.load(Relaxed),
            quarantined: self.quarantined,
        }
    }
}
