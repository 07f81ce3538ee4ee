//! Batches between builder and server: numbered, kept until they are acked, on disk where that takes long.
//!
//! Each stream has a lane per life of the agent. A batch gets its number when it is pushed and keeps it: it is resent
//! under the same number after a lost connection, and under the old incarnation after a restart (ONCE-1). While acks
//! come quickly nothing is written; what is not acked for a second, or cannot be sent, goes to disk:
//!
//! ```text
//! <data-dir>/spool/<class>/<incarnation>-<stream>/<position>.wal     segments as the server's log has them
//! ```
//! Bounds: memory (frames beyond go to disk; if the disk cannot take them they are shed), and disk (whole segments are
//! shed, the lowest class first, within it the oldest; never `drops`, and never what the server may have already).
//! Every row shed is counted in [`Losses`] (DROP-1). An agent that is killed loses what it had for less than a second.
//!
//! | module | what it holds |
//! |---|---|
//! | `queue` | one lane in memory, pure |
//! | `disk` | one lane on disk |
//! | `upkeep` | what happens beside pushing and sending: persist, free, shed, close |

mod disk;
mod queue;
#[cfg(test)]
mod tests;
mod upkeep;

use crate::losses::{Losses, reason};
use crate::{Error, Result};
use arrow::array::RecordBatch;
use bodkin_schema::{Class, Clock, Incarnation, Lane, Producer, Stream, Tenant};
use bodkin_wal::ipc::Encoder;
use bodkin_wal::{BatchFrame, Compression, IpcFrame, SchemaDef};
use disk::LaneDisk;
use queue::{Entry, LaneQueue, Next};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Bytes of columns from which on compressing pays.
const COMPRESS_BYTES_MIN: usize = 4 * 1024;

/// Bytes read back from disk at once.
const LOAD_BYTES: usize = 1 << 20;

/// Bounds and places of a [`Spool`].
#[derive(Clone, Debug)]
pub struct SpoolConfig {
    /// The folder; made when it is needed.
    pub dir: PathBuf,
    /// Bytes of frames in memory from which on they are moved to disk. At twice that they are shed.
    pub memory_bytes_max: usize,
    /// Bytes of segments.
    pub disk_bytes_max: u64,
    /// Bytes after which a segment ends: what is shed at once.
    pub segment_bytes_max: u64,
    /// Age from which on an unacked batch is written to disk.
    pub persist_after: Duration,
}

impl SpoolConfig {
    /// The defaults: 16 MiB of memory, 1 GiB of disk.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            memory_bytes_max: 16 << 20,
            disk_bytes_max: 1 << 30,
            segment_bytes_max: 4 << 20,
            persist_after: Duration::from_secs(1),
        }
    }
}

/// A lane of a [`Spool`]. Earlier lives come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(u32);

/// Figures of a [`Spool`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpoolStats {
    /// Bytes of frames in memory.
    pub memory_bytes: usize,
    /// Bytes of segments on disk, as of the last upkeep.
    pub disk_bytes: u64,
    /// Batches pushed since the start.
    pub batches: u64,
    /// Rows pushed since the start.
    pub rows: u64,
}

/// The spool. Pushing never waits for a disk.
#[derive(Debug)]
pub struct Spool {
    config: SpoolConfig,
    clock: Arc<dyn Clock>,
    losses: Arc<Losses>,
    encoders: Mutex<Encoders>,
    /// Taken after `disks` where both are needed.
    queues: Mutex<BTreeMap<LaneId, LaneQueue>>,
    disks: Mutex<HashMap<LaneId, LaneDisk>>,
    live: HashMap<Stream, LaneId>,
    is_connected: AtomicBool,
    disk_bytes: AtomicU64,
    batches: AtomicU64,
    rows: AtomicU64,
    changed: watch::Sender<u64>,
    pressure: Notify,
}

impl Spool {
    /// Opens the spool in `config.dir` with whatever earlier lives left there, and a lane for each stream of this
    /// life. Segments are not read yet: this takes no longer for a full spool.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder cannot be listed.
    pub fn open(
        config: SpoolConfig,
        host_id: &str,
        incarnation: Incarnation,
        losses: Arc<Losses>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let (mut queues, mut disks, mut live) = (BTreeMap::new(), HashMap::new(), HashMap::new());
        let producer = |stream: Stream| Producer(format!("{host_id}/{}", stream.class()).into());
        let lane = |stream: Stream, incarnation| Lane {
            producer: producer(stream),
            incarnation,
            stream: stream.name().into(),
        };
        let found = recovered(&config.dir)?;
        let ids = (0..).map(LaneId);
        for (id, (old, stream, dir)) in ids.clone().zip(&found) {
            let disk = LaneDisk::open(dir.clone(), config.segment_bytes_max)?;
            let marks = disk.marks();
            queues.insert(id, LaneQueue::recovered(lane(*stream, *old), *stream, marks.acked, marks.sent));
            disks.insert(id, disk);
        }
        for (id, stream) in ids.skip(found.len()).zip(Stream::ALL) {
            let dir = lane_dir(&config.dir, stream, incarnation);
            queues.insert(id, LaneQueue::live(lane(stream, incarnation), stream));
            disks.insert(id, LaneDisk::open(dir, config.segment_bytes_max)?);
            live.insert(stream, id);
        }
        let disk_bytes = disks.values().map(LaneDisk::bytes).sum::<u64>().into();
        Ok(Self {
            encoders: Mutex::new(Encoders::new()?),
            queues: Mutex::new(queues),
            disks: Mutex::new(disks),
            live,
            is_connected: AtomicBool::new(false),
            disk_bytes,
            batches: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            pressure: Notify::new(),
            config,
            clock,
            losses,
        })
    }

    /// Numbers and queues a batch. If it cannot be encoded, or memory is full and the disk does not help, rows are
    /// counted as lost instead.
    ///
    /// # Errors
    /// [`Error::Batch`] if it cannot be encoded.
    pub fn push(&self, stream: Stream, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows() as u64;
        if rows == 0 {
            return Ok(());
        }
        let encoded = lock(&self.encoders).encode(stream, batch);
        let (ipc, schema) = encoded.inspect_err(|_| self.losses.count(stream.class(), reason::UNENCODABLE, rows))?;
        let memory_bytes = {
            let mut queues = lock(&self.queues);
            let id = self.live.get(&stream).copied().unwrap_or(LaneId(u32::MAX));
            let Some(queue) = queues.get_mut(&id) else { return Ok(()) };
            let frame = BatchFrame {
                tenant: Tenant::default(),
                lane: queue.lane.clone(),
                seq: queue.next_seq(),
                ingest_time: self.clock.now(),
                rows,
                schema,
                dictionaries: ipc.dictionaries,
                batch: ipc.batch,
            };
            queue.push(Entry::new(frame, self.clock.monotonic(), false));
            memory_bytes(&queues)
        };
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        if memory_bytes > self.config.memory_bytes_max {
            self.pressure.notify_one();
            self.shed_memory();
        }
        self.notify();
        Ok(())
    }

    /// Queues what was lost and not told yet as rows of `drops`.
    pub fn tell_losses(&self, host_id: &str) {
        let told = match self.losses.take(host_id, self.clock.now()) {
            Ok(None) => Ok(()),
            Ok(Some((counts, batch))) => {
                self.push(Stream::Drops, &batch).inspect_err(|_| self.losses.give_back(counts))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::warn!(%error, "losses cannot be told now");
        }
    }

    /// The first lane of `stream` with anything that is not acked.
    pub fn first_lane(&self, stream: Stream) -> Option<LaneId> {
        let queues = lock(&self.queues);
        queues.iter().find(|(_, queue)| queue.stream == stream && queue.is_pending()).map(|(id, _)| *id)
    }

    /// Whether batches may still be pushed to the lane.
    pub fn is_live(&self, lane: LaneId) -> bool {
        lock(&self.queues).get(&lane).is_some_and(|queue| queue.is_live)
    }

    /// Whether anything of the lane is not acked.
    pub fn is_pending(&self, lane: LaneId) -> bool {
        lock(&self.queues).get(&lane).is_some_and(LaneQueue::is_pending)
    }

    /// The next frame of the lane to be sent, in order. May read from disk.
    ///
    /// # Errors
    /// [`Error::Segment`] if the disk cannot be read.
    pub fn next(&self, lane: LaneId) -> Result<Option<BatchFrame>> {
        loop {
            let next = match lock(&self.queues).get_mut(&lane) {
                Some(queue) => queue.take(),
                None => Next::Nothing,
            };
            match next {
                Next::Send(entry) => return Ok(Some(entry.frame)),
                Next::Nothing => return Ok(None),
                Next::OnDisk => self.load(lane)?,
            }
        }
    }

    /// Makes everything of the lane that is sent and not acked be sent again.
    pub fn rewind(&self, lane: LaneId) {
        if let Some(queue) = lock(&self.queues).get_mut(&lane) {
            queue.rewind();
        }
    }

    /// The server has everything of the lane up to `seq`.
    pub fn ack(&self, lane: LaneId, seq: u64) {
        let is_news = lock(&self.queues).get_mut(&lane).is_some_and(|queue| queue.ack(seq));
        if is_news {
            self.notify();
        }
    }

    /// The server will never take the frame: its rows are lost and counted, the lane goes on with the next.
    pub fn refuse(&self, lane: LaneId, seq: u64) {
        let refused = lock(&self.queues).get_mut(&lane).and_then(|queue| Some((queue.class(), queue.refuse(seq)?)));
        if let Some((class, rows)) = refused {
            self.losses.count(class, reason::REFUSED, rows);
        }
    }

    /// Says whether the server takes batches. While it does not, everything goes to disk.
    pub fn set_connected(&self, is_connected: bool) {
        self.is_connected.store(is_connected, Ordering::Relaxed);
        if !is_connected {
            self.pressure.notify_one();
        }
    }

    /// Whether the server takes batches.
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// Whether everything pushed in any life is acked, refused or shed.
    pub fn is_drained(&self) -> bool {
        !lock(&self.queues).values().any(LaneQueue::is_pending)
    }

    /// Whether upkeep has nothing to do: everything is acked, and nothing lies on disk.
    pub fn is_at_rest(&self) -> bool {
        let is_done = |queue: &LaneQueue| queue.is_live && !queue.is_pending();
        self.disk_bytes.load(Ordering::Relaxed) == 0 && lock(&self.queues).values().all(is_done)
    }

    /// A number that changes whenever a batch is pushed or acked.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until upkeep should not wait for its next turn: memory runs full or the server went away. Safe to drop.
    pub async fn pressure(&self) {
        self.pressure.notified().await;
    }

    /// The figures.
    pub fn stats(&self) -> SpoolStats {
        SpoolStats {
            memory_bytes: memory_bytes(&lock(&self.queues)),
            disk_bytes: self.disk_bytes.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
        }
    }

    fn load(&self, lane: LaneId) -> Result<()> {
        let mut disks = lock(&self.disks);
        let range = lock(&self.queues).get(&lane).map(|queue| (queue.load_after(), queue.load_up_to()));
        let (Some(disk), Some((after, up_to))) = (disks.get_mut(&lane), range) else { return Ok(()) };
        let loaded = disk.read(after, up_to, LOAD_BYTES.min(self.config.memory_bytes_max / 8))?;
        let now = self.clock.monotonic();
        let mut queues = lock(&self.queues);
        let Some(queue) = queues.get_mut(&lane) else { return Ok(()) };
        for frame in loaded.frames {
            // An ack may have come meanwhile.
            if frame.seq.0 > queue.load_after() {
                queue.load(Entry::new(frame, now, true));
            }
        }
        if loaded.is_end {
            queue.loaded_all();
        }
        self.losses.count(queue.class(), reason::SPOOL_DAMAGED, loaded.damaged_rows);
        Ok(())
    }

    fn notify(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

fn memory_bytes(queues: &BTreeMap<LaneId, LaneQueue>) -> usize {
    queues.values().map(LaneQueue::bytes).sum()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // State behind the spool's locks is consistent between any two statements that can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lane_dir(root: &Path, stream: Stream, incarnation: Incarnation) -> PathBuf {
    root.join(stream.class().name()).join(format!("{:020}-{stream}", incarnation.0))
}

/// Folders of lanes of earlier lives, the oldest first. Foreign files and folders are left alone.
fn recovered(root: &Path) -> Result<Vec<(Incarnation, Stream, PathBuf)>> {
    let mut found = Vec::new();
    for class in Class::ALL {
        let dir = root.join(class.name());
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir).map_err(Error::io(&dir, "list folder"))? {
            let path = entry.map_err(Error::io(&dir, "list folder"))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('-'));
            let Some((incarnation, stream)) = name else { continue };
            if let (Ok(incarnation), Some(stream)) = (incarnation.parse(), Stream::from_name(stream)) {
                found.push((Incarnation(incarnation), stream, path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Encoders and the schemas that they made last.
#[derive(Debug)]
struct Encoders {
    plain: Encoder,
    compressed: Encoder,
    schemas: HashMap<Stream, Arc<SchemaDef>>,
}

impl Encoders {
    fn new() -> Result<Self> {
        let encoder = |compression| Encoder::new(compression).map_err(Error::batch(Stream::Events));
        Ok(Self { plain: encoder(Compression::None)?, compressed: encoder(Compression::Lz4)?, schemas: HashMap::new() })
    }

    fn encode(&mut self, stream: Stream, batch: &RecordBatch) -> Result<(IpcFrame, Arc<SchemaDef>)> {
        let bytes: usize = batch.columns().iter().filter_map(|c| c.to_data().get_slice_memory_size().ok()).sum();
        let encoder = if bytes < COMPRESS_BYTES_MIN { &mut self.plain } else { &mut self.compressed };
        let ipc = encoder.encode(batch).map_err(Error::batch(stream))?;
        let schema = match self.schemas.get(&stream) {
            Some(schema) if *schema.message() == ipc.schema => schema.clone(),
            _ => {
                let schema = SchemaDef::new(ipc.schema.clone()).map_err(Error::batch(stream))?;
                self.schemas.insert(stream, schema.clone());
                schema
            }
        };
        Ok((ipc, schema))
    }
}
