//! The log: segments in a folder, one writer thread, group commit.
//!
//! ```text
//!  append --+                          +-> on_end closures, in log order --> append futures
//!  append --+--> queue (bytes) --> write, fdatasync
//!  append --+                one group at a time; the next one collects meanwhile
//! ```
//! The thread starts at once when it is idle and takes what has collected when it is not, so a group is as large as
//! the disk is slow and never waits for company.

#[cfg(test)]
mod faults;
mod queue;
mod recover;
mod replay;
mod stats;
mod writer;

pub use queue::{OnEnd, Slot, Ticket, Unsent};
pub use recover::Recovered;
pub use replay::Replay;
pub use stats::WalStats;
pub use writer::{Turn, WalDriver};

use crate::frame::EncodedFrame;
use crate::segment::{Disk, RealDisk, segments_on};
use crate::{Error, Result};
use bodkin_schema::{Clock, Position};
use queue::Queue;
use stats::Counters;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use writer::Writer;

/// A segment that is in tables as a whole is ended before it is full where it has this many bytes.
const RENEWED_BYTES_MIN: u64 = 1 << 20;
/// Name of the file whose lock makes one process the owner.
const LOCK_FILE: &str = "LOCK";

/// Sizes of the log.
#[derive(Clone, Copy, Debug)]
pub struct WalOptions {
    /// A segment is ended when the next frame would make it larger than this.
    pub segment_bytes: u64,
    /// Most bytes that are written before one sync.
    pub group_bytes: usize,
    /// Most bytes that wait or are being written; appends beyond wait for room.
    pub queue_bytes: usize,
    /// Positions start here at least: what the newest intent says, so that none is given out twice even if the folder
    /// was lost.
    pub floor: Position,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, group_bytes: 4 << 20, queue_bytes: 64 << 20, floor: Position(0) }
    }
}

/// The write-ahead log of one node. Dropping it writes what is queued and waits for the writer thread.
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
    recovered: Recovered,
    /// Holds the lock for as long as the log is open.
    _lock: Box<dyn Send + Sync>,
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("dir", &self.dir).field("durable", &self.durable()).finish_non_exhaustive()
    }
}

impl Wal {
    /// Opens the log in `dir`, which is made if need be, and finds its end. Frames that a crash tore are cut off; they
    /// were never acknowledged. Reads the last segment: O(its bytes).
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Newer`], [`Error::Io`], [`Error::Full`].
    pub fn open(dir: &Path, options: WalOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_on(Arc::new(RealDisk), dir, options, clock)
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, dir: &Path, options: WalOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let (wal, driver) = Self::open_driven(disk, dir, options, clock)?;
        let thread = std::thread::Builder::new()
            .name("wal".into())
            .spawn(move || driver.run())
            .map_err(|source| Error::io(dir, "start the writer thread", source))?;
        *wal.thread.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(thread);
        Ok(wal)
    }

    /// As [`Wal::open`], on a disk of the caller and without a writer thread: what is appended waits until the caller
    /// takes a turn.
    ///
    /// # Errors
    /// As [`Wal::open`].
    pub fn open_driven(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: WalOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, WalDriver)> {
        disk.create_dir(dir).map_err(|source| Error::io(dir, "create folder", source))?;
        let lock = lock(disk.as_ref(), &dir.join(LOCK_FILE))?;
        let (segment, recovered) = recover::recover(disk.as_ref(), dir, options.floor)?;
        let counters = Arc::new(Counters::new(segment.durable(), recovered.quarantined));
        let queue = Arc::new(Queue::new(options.queue_bytes));
        let writer = Writer {
            disk: disk.clone(),
            dir: dir.to_owned(),
            segment,
            options,
            clock,
            queue: queue.clone(),
            counters: counters.clone(),
        };
        let (dir, thread) = (dir.to_owned(), Mutex::default());
        Ok((Self { disk, dir, queue, counters, thread, recovered, _lock: lock }, WalDriver::new(writer)))
    }

    /// What opening found.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// Where the segments lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until the queue has room for `frame`. The place in the log is taken by [`Slot::send`], not here, so a
    /// caller can decide what to send, and send it, without a wait in between. Safe to cancel.
    ///
    /// # Errors
    /// [`Error::Poisoned`] or [`Error::Closed`].
    pub async fn slot(&self, frame: EncodedFrame) -> Result<Slot> {
        self.queue.slot(frame).await
    }

    /// Appends a frame; the answer, the position after it, comes when it is durable. If the future is dropped the
    /// frame may be written nevertheless.
    ///
    /// # Errors
    /// [`Error::Full`], after which later appends may succeed; [`Error::Poisoned`] and [`Error::Closed`], after which
    /// none will.
    pub async fn append(&self, frame: EncodedFrame) -> Result<Position> {
        self.slot(frame).await?.send(None).await
    }

    /// Everything before this position is durable.
    pub fn durable(&self) -> Position {
        self.counters.durable()
    }

    /// Bytes that the queue has room for.
    pub fn free_bytes(&self) -> usize {
        self.queue.free_bytes()
    }

    /// What happened since the log was opened.
    pub fn stats(&self) -> WalStats {
        self.counters.snapshot()
    }

    /// The frames that end after `from`, up to what is durable now.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be listed.
    pub fn replay(&self, from: Position) -> Result<Replay> {
        Ok(Replay::open_on(self.disk.clone(), &self.dir, from)?.up_to(self.durable()))
    }

    /// Deletes the segments that end at or before `position`, the oldest first. The one that is written is replaced by
    /// a new one, soon after this returns, if it ends there and is worth it. Returns how many were deleted at once.
    ///
    /// # Errors
    /// [`Error::Io`]; calling again goes on.
    pub fn trim(&self, position: Position) -> Result<usize> {
        let found = segments_on(self.disk.as_ref(), &self.dir)?;
        let mut deleted = 0;
        for (segment, next) in found.iter().zip(found.iter().skip(1)) {
            if next.start > position {
                break;
            }
            self.disk.remove(&segment.path).map_err(|source| Error::io(&segment.path, "delete segment", source))?;
            deleted += 1;
        }
        let written = found.last().map_or(0, |last| self.durable().0.saturating_sub(last.start.0));
        if position == self.durable() && written >= RENEWED_BYTES_MIN {
            self.queue.renew(position);
        }
        Ok(deleted)
    }

    /// Writes what is queued, ends the writer thread and refuses appends from then on. Blocks.
    pub fn close(&self) {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        // The last handle may be dropped by a closure that the writer itself runs; it cannot wait for itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id())
            && thread.join().is_err()
        {
            tracing::error!(dir = %self.dir.display(), "the writer thread of the log panicked");
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn Send + Sync>> {
    disk.lock(path).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => Error::Locked { path: path.to_owned() },
        _ => Error::io(path, "lock", error),
    })
}
