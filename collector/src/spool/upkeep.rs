//! What keeps the spool inside its bounds, beside pushing and sending.

use super::disk::{LaneDisk, Marks};
use super::queue::LaneQueue;
use super::{LaneId, Spool, lock, memory_bytes};
use crate::Result;
use crate::losses::reason;
use bodkin_schema::Stream;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Spool {
    /// Writes what is due to disk, frees acked segments, sheds what is too much. To be called a few times a second
    /// and on [`pressure`](Spool::pressure); blocks on the disk.
    ///
    /// # Errors
    /// The first failure of the disk; what could not be written stays in memory.
    pub fn maintain(&self) -> Result<()> {
        let outcome = self.persist(false);
        let mut disks = lock(&self.disks);
        self.remove_acked(&mut disks);
        self.shed_disk(&mut disks);
        self.disk_bytes.store(disks.values().map(LaneDisk::bytes).sum(), Ordering::Relaxed);
        outcome
    }

    /// Writes everything that is not acked to disk and notes how far the server is: what an agent does last. Batches
    /// pushed afterwards are lost.
    ///
    /// # Errors
    /// The first failure of the disk; the rows concerned are counted in [`Losses`](crate::losses::Losses), for what
    /// that is still worth.
    pub fn close(&self) -> Result<()> {
        let mut outcome = self.persist(true);
        let mut disks = lock(&self.disks);
        self.remove_acked(&mut disks);
        self.shed_disk(&mut disks);
        for (id, queue) in lock(&self.queues).iter() {
            let marks = Marks { acked: queue.acked(), sent: queue.sent() };
            let closed = disks.get_mut(id).map_or(Ok(()), |disk| disk.close(marks));
            outcome = outcome.and(closed);
            self.losses.count(queue.class(), reason::SPOOL_FULL, queue.rows_in_memory_only());
        }
        self.disk_bytes.store(disks.values().map(LaneDisk::bytes).sum(), Ordering::Relaxed);
        outcome
    }

    /// Writes frames that are due: all where there is no server, the process ends or memory is full, else those that
    /// wait for an ack for long.
    fn persist(&self, is_closing: bool) -> Result<()> {
        let mut disks = lock(&self.disks);
        let is_full = memory_bytes(&lock(&self.queues)) > self.config.memory_bytes_max;
        let is_all = is_closing || is_full || !self.is_connected();
        let now = self.clock.monotonic();
        let before = if is_all { Duration::MAX } else { now.saturating_sub(self.config.persist_after) };
        let mut outcome = Ok(());
        let ids: Vec<LaneId> = lock(&self.queues).keys().copied().collect();
        for id in ids {
            let Some(disk) = disks.get_mut(&id) else { continue };
            let Some(frames) = lock(&self.queues).get(&id).map(|queue| queue.unpersisted(before)) else { continue };
            let mut durable = 0;
            if !frames.is_empty() {
                let written;
                (durable, written) = disk.write(&frames, self.clock.now());
                outcome = outcome.and(written);
            }
            if let Some(queue) = lock(&self.queues).get_mut(&id) {
                queue.persisted(durable);
                if is_full || !self.is_connected() {
                    queue.spill();
                }
            }
        }
        outcome
    }

    fn remove_acked(&self, disks: &mut HashMap<LaneId, LaneDisk>) {
        let mut queues = lock(&self.queues);
        queues.retain(|id, queue| {
            let Some(disk) = disks.get_mut(id) else { return queue.is_live };
            disk.remove_acked(queue.acked());
            let is_finished = !queue.is_live && !queue.is_pending() && disk.is_empty();
            if is_finished {
                disk.remove_dir();
                disks.remove(id);
            }
            !is_finished
        });
    }

    /// Sheds whole segments until the disk bound holds: the lowest class first, within it the oldest.
    fn shed_disk(&self, disks: &mut HashMap<LaneId, LaneDisk>) {
        while disks.values().map(LaneDisk::bytes).sum::<u64>() > self.config.disk_bytes_max {
            let mut queues = lock(&self.queues);
            let mut victims = Vec::new();
            for (id, queue) in queues.iter().filter(|(_, queue)| queue.stream != Stream::Drops) {
                let (sent, spilled) = (queue.sent().max(queue.load_after()), queue.load_up_to());
                if let Some((made, index)) = disks.get_mut(id).and_then(|disk| disk.oldest_unsent(sent, spilled)) {
                    victims.push((std::cmp::Reverse(queue.class()), made, *id, index));
                }
            }
            let Some((std::cmp::Reverse(class), _, id, index)) = victims.into_iter().min() else { return };
            let Some(disk) = disks.get_mut(&id) else { return };
            let shed = disk.shed(index);
            tracing::warn!(%class, rows = shed.rows, dir = %disk.dir().display(), "spool is full, rows are shed");
            self.losses.count(class, reason::SPOOL_FULL, shed.rows);
            if let Some(queue) = queues.get_mut(&id).filter(|_| disk.is_empty()) {
                queue.loaded_all();
            }
        }
    }

    /// Sheds frames while memory is at twice its bound: the disk does not take them. The lowest class first.
    pub(super) fn shed_memory(&self) {
        let mut queues = lock(&self.queues);
        while memory_bytes(&queues) > 2 * self.config.memory_bytes_max {
            let mut lanes: Vec<&mut LaneQueue> =
                queues.values_mut().filter(|queue| queue.is_live && queue.stream != Stream::Drops).collect();
            lanes.sort_by_key(|queue| std::cmp::Reverse(queue.class()));
            let shed = lanes.into_iter().find_map(|queue| Some((queue.class(), queue.shed()?)));
            let Some((class, rows)) = shed else { return };
            self.losses.count(class, reason::SPOOL_FULL, rows);
        }
    }
}
