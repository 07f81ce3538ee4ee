//! The writer thread: groups of frames to durable bytes.

use super::WalOptions;
use super::queue::{Job, Queue};
use super::stats::Counters;
use crate::segment::{Disk, FDATASYNC, SegmentWriter};
use crate::{Error, Result};
use bodkin_schema::{Clock, Position};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) struct Writer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) segment: SegmentWriter,
    pub(super) options: WalOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) queue: Arc<Queue>,
    pub(super) counters: Arc<Counters>,
}

/// Refuses all appends when the thread ends, however it ends.
struct StopGuard(Arc<Queue>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        self.0.stop(Error::Closed);
        self.0.drain().into_iter().for_each(|job| job.end(Err(Error::Closed)));
    }
}

/// How a turn of the writer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A group was written, or failed.
    Worked,
    /// Nothing waits.
    Idle,
    /// The log takes nothing any more.
    Ended,
}

/// The writing side of a log: whoever owns it takes its turns, one group of frames at a time. Dropping it refuses all
/// appends.
pub struct WalDriver {
    writer: Writer,
    _stop: StopGuard,
}

impl fmt::Debug for WalDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalDriver").field("dir", &self.writer.dir).finish_non_exhaustive()
    }
}

impl WalDriver {
    pub(super) fn new(writer: Writer) -> Self {
        let stop = StopGuard(writer.queue.clone());
        Self { writer, _stop: stop }
    }

    /// Resolves when something waits to be written; false when the log was closed and nothing does. Safe to drop.
    pub fn ready(&self) -> impl Future<Output = bool> + Send + use<> {
        let queue = self.writer.queue.clone();
        async move { queue.ready().await }
    }

    /// Writes and syncs what waits, at most one group, and tells the outcome.
    pub fn turn(&mut self) -> Turn {
        if let Some(position) = self.writer.queue.take_renewal()
            && let Err(error) = self.writer.renew(position)
        {
            // It is begun when the segment is full, then.
            tracing::warn!(%error, "no new segment could be begun");
        }
        let mut rest = self.writer.queue.take(self.writer.options.group_bytes);
        if rest.is_empty() {
            return Turn::Idle;
        }
        while !rest.is_empty() {
            rest = match self.writer.write(rest) {
                Ok(rest) => rest,
                Err((failed, error)) => match self.writer.fail(failed, error) {
                    Some(error) => {
                        tracing::error!(%error, "the log takes no more frames until a restart");
                        return Turn::Ended;
                    }
                    None => Vec::new(),
                },
            };
        }
        Turn::Worked
    }

    /// Takes turns until the log is closed or fails.
    pub(super) fn run(mut self) {
        while self.writer.queue.wait() {
            if self.turn() == Turn::Ended {
                return;
            }
        }
        let Self { writer, _stop: stop } = self;
        drop(stop);
        if let Err(error) = writer.segment.close() {
            tracing::error!(%error, "the log could not be closed cleanly");
        }
    }
}

impl Writer {
    /// Writes and syncs the jobs up to the end of the segment, ends them in order and returns the others.
    fn write(&mut self, mut jobs: Vec<Job>) -> Result<Vec<Job>, (Vec<Job>, Error)> {
        if let Err(error) = self.roll_for(&jobs) {
            return Err((jobs, error));
        }
        let before = self.segment.position();
        let mut ends: Vec<Position> = Vec::with_capacity(jobs.len());
        for job in &jobs {
            // A group never spans segments: it is durable by one sync, or not at all.
            if !ends.is_empty() && !self.fits(job) {
                break;
            }
            match self.segment.append(&job.frame) {
                Ok(end) => ends.push(end),
                Err(error) => return Err((jobs, error)),
            }
        }
        let started = self.clock.monotonic();
        let durable = match self.segment.sync() {
            Ok(durable) => durable,
            Err(error) => return Err((jobs, error)),
        };
        self.counters.synced(self.clock.monotonic().saturating_sub(started));
        self.counters.group(durable, ends.len(), durable.0 - before.0);
        let rest = jobs.split_off(ends.len());
        jobs.into_iter().zip(ends).for_each(|(job, end)| job.end(Ok(end)));
        Ok(rest)
    }

    fn fits(&self, job: &Job) -> bool {
        self.segment.len() + job.frame.len() as u64 <= self.options.segment_bytes
    }

    /// Begins a new segment where the first job does not fit any more.
    fn roll_for(&mut self, jobs: &[Job]) -> Result<()> {
        if self.segment.is_empty() || jobs.first().is_none_or(|job| self.fits(job)) {
            return Ok(());
        }
        // Everything in the old one is synced; only what it reserved is given back, and a failure to do so costs
        // space until it is trimmed.
        self.segment.rollback().ok();
        self.segment = SegmentWriter::create_on(self.disk.as_ref(), &self.dir, self.segment.position())?;
        self.counters.segment(self.segment.durable());
        Ok(())
    }

    /// Begins a new segment and deletes the present one where it ends at `position`, up to which nobody needs the log.
    fn renew(&mut self, position: Position) -> Result<()> {
        if self.segment.is_empty() || self.segment.position() != position || self.segment.durable() != position {
            return Ok(());
        }
        let old = self.segment.path().to_owned();
        let new = SegmentWriter::create_on(self.disk.as_ref(), &self.dir, position)?;
        self.segment = new;
        self.counters.segment(self.segment.durable());
        self.disk.remove(&old).map_err(|source| Error::io(&old, "delete segment", source))
    }

    /// Fails a group and all that waits behind it: a lane must not get a later batch durable where an earlier one
    /// failed. Returns the reason if the log cannot go on.
    ///
    /// The order is what makes this true. First the closures of the failed group run, so that whoever sends next knows
    /// of the failure; then what was sent before it knew is taken from the queue; only then the tickets resolve, so
    /// that an append that was made because of a failure is not taken for one that waited behind it.
    fn fail(&mut self, mut group: Vec<Job>, error: Error) -> Option<Error> {
        let poison = match &error {
            // The write found no room and nothing of the group is promised: back to the last durable byte.
            Error::Full { operation, .. } if *operation != FDATASYNC => self.segment.rollback().err(),
            _ => Some(error.clone()),
        };
        let told = match &poison {
            Some(cause) => {
                let cause = Error::Poisoned { cause: Arc::new(cause.clone()) };
                self.queue.stop(cause.clone());
                cause
            }
            None => error,
        };
        let outcome = Err(told);
        group.iter_mut().for_each(|job| job.tell(&outcome));
        let mut waiting = self.queue.drain();
        waiting.iter_mut().for_each(|job| job.tell(&outcome));
        group.append(&mut waiting);
        self.counters.failed(group.len());
        group.into_iter().for_each(|job| job.resolve(outcome.clone()));
        poison
    }
}
