//! One lane in memory: what is in flight, what waits, and what of it the disk has.
//!
//! ```text
//!   acked ---+                     load ---+             spilled ---+
//!            v                             v                        v
//!   seq  . . | window: sent or to be sent  | only on disk . . . . . | queue: newest, in memory |
//! ```
//! Frames move from the left of the disk part (or of the queue, where that part is empty) into the window, are sent
//! from there in order, and leave it when they are acked. Each part may have copies on disk; only those between
//! `load` and `spilled` have no other. Everything here is pure: no disk, no clock, no lock.

use bodkin_schema::{Class, Lane, Seq, Stream};
use bodkin_wal::BatchFrame;
use std::collections::VecDeque;
use std::time::Duration;

/// A frame in memory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) frame: BatchFrame,
    pub(crate) bytes: usize,
    /// When it was queued, by the monotonic clock.
    pub(crate) queued: Duration,
    pub(crate) is_on_disk: bool,
}

impl Entry {
    pub(crate) fn new(frame: BatchFrame, queued: Duration, is_on_disk: bool) -> Self {
        let bytes = frame.batch.len() + frame.dictionaries.iter().map(|message| message.len()).sum::<usize>();
        Self { frame, bytes, queued, is_on_disk }
    }

    fn seq(&self) -> u64 {
        self.frame.seq.0
    }
}

/// What the sender gets when it asks for a frame.
#[derive(Debug)]
pub(crate) enum Next {
    /// This one.
    Send(Box<Entry>),
    /// The next one is on disk: [`LaneQueue::load`] it first.
    OnDisk,
    /// There is none.
    Nothing,
}

/// The lane's state in memory.
#[derive(Debug)]
pub(crate) struct LaneQueue {
    pub(crate) lane: Lane,
    pub(crate) stream: Stream,
    /// Frames may still be pushed: it is of this life of the agent.
    pub(crate) is_live: bool,
    window: VecDeque<Entry>,
    /// Index in the window of the next frame to send.
    next: usize,
    queue: VecDeque<Entry>,
    last_seq: u64,
    acked: u64,
    /// Highest that was ever sent: the server may have it although no ack came.
    sent: u64,
    load: u64,
    spilled: u64,
    bytes: usize,
}

impl LaneQueue {
    pub(crate) fn live(lane: Lane, stream: Stream) -> Self {
        Self {
            lane,
            stream,
            is_live: true,
            window: VecDeque::new(),
            next: 0,
            queue: VecDeque::new(),
            last_seq: 0,
            acked: 0,
            sent: 0,
            load: 0,
            spilled: 0,
            bytes: 0,
        }
    }

    /// A lane of an earlier life, all on disk.
    pub(crate) fn recovered(lane: Lane, stream: Stream, acked: u64, sent: u64) -> Self {
        let mut queue = Self::live(lane, stream);
        queue.is_live = false;
        (queue.acked, queue.sent, queue.load, queue.spilled) = (acked, sent.max(acked), acked, u64::MAX);
        queue
    }

    pub(crate) fn class(&self) -> Class {
        self.stream.class()
    }

    /// The number for the next frame to push.
    pub(crate) fn next_seq(&self) -> Seq {
        Seq(self.last_seq + 1)
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        debug_assert_eq!(entry.seq(), self.last_seq + 1);
        self.last_seq = entry.seq();
        self.bytes += entry.bytes;
        self.queue.push_back(entry);
    }

    /// The next frame to send; it counts as sent.
    pub(crate) fn take(&mut self) -> Next {
        if self.next >= self.window.len() {
            if self.load < self.spilled {
                return Next::OnDisk;
            }
            let Some(entry) = self.queue.pop_front() else { return Next::Nothing };
            self.load = entry.seq();
            self.window.push_back(entry);
        }
        let Some(entry) = self.window.get(self.next) else { return Next::Nothing };
        self.next += 1;
        self.sent = self.sent.max(entry.seq());
        Next::Send(Box::new(entry.clone()))
    }

    /// Highest number that left the disk part; frames up to it are not to be loaded.
    pub(crate) fn load_after(&self) -> u64 {
        self.load
    }

    /// Highest number that is on disk alone; to be loaded up to here.
    pub(crate) fn load_up_to(&self) -> u64 {
        self.spilled
    }

    /// Adds a frame read from disk to the window.
    pub(crate) fn load(&mut self, entry: Entry) {
        debug_assert!(entry.seq() > self.load);
        self.load = entry.seq();
        self.bytes += entry.bytes;
        self.window.push_back(entry);
    }

    /// Says that nothing is left of the disk part, by damage, by shedding or because all was loaded.
    pub(crate) fn loaded_all(&mut self) {
        if self.is_live {
            self.load = self.load.max(self.spilled);
        } else {
            self.spilled = self.load;
        }
    }

    /// Everything that was sent and not acked is to be sent again.
    pub(crate) fn rewind(&mut self) {
        self.next = 0;
    }

    /// The server has everything up to `seq`. True if that is news.
    pub(crate) fn ack(&mut self, seq: u64) -> bool {
        let is_news = seq > self.acked;
        self.acked = self.acked.max(seq);
        self.load = self.load.max(seq.min(self.last_known()));
        self.sent = self.sent.max(self.acked);
        while let Some(entry) = self.window.pop_front_if(|entry| entry.seq() <= seq) {
            self.bytes -= entry.bytes;
            self.next = self.next.saturating_sub(1);
        }
        while let Some(entry) = self.queue.pop_front_if(|entry| entry.seq() <= seq) {
            self.bytes -= entry.bytes;
        }
        is_news
    }

    /// Removes the frame `seq` from the window without an ack; its rows, if it was there.
    pub(crate) fn refuse(&mut self, seq: u64) -> Option<u64> {
        let index = self.window.iter().position(|entry| entry.seq() == seq)?;
        let entry = self.window.remove(index)?;
        self.bytes -= entry.bytes;
        if index < self.next {
            self.next -= 1;
        }
        if index == 0 {
            // It must not come back from disk: nothing before it is missing.
            self.acked = self.acked.max(seq);
        }
        Some(entry.frame.rows)
    }

    /// Frames that the disk does not have, in order, up to the last one queued before `before`.
    pub(crate) fn unpersisted(&self, before: Duration) -> Vec<BatchFrame> {
        let missing = || self.window.iter().chain(&self.queue).filter(|entry| !entry.is_on_disk);
        let due = missing().take_while(|entry| entry.queued <= before).count();
        missing().take(due).map(|entry| entry.frame.clone()).collect()
    }

    /// Says that the disk has everything up to `seq`.
    pub(crate) fn persisted(&mut self, seq: u64) {
        for entry in self.window.iter_mut().chain(&mut self.queue).filter(|entry| entry.seq() <= seq) {
            entry.is_on_disk = true;
        }
    }

    /// Frees what waits in the queue and is on disk: it will be read back.
    pub(crate) fn spill(&mut self) {
        while let Some(entry) = self.queue.pop_front_if(|entry| entry.is_on_disk) {
            self.spilled = entry.seq();
            self.bytes -= entry.bytes;
        }
    }

    /// Gives up the oldest frame of the queue that is in memory alone; its rows.
    pub(crate) fn shed(&mut self) -> Option<u64> {
        let index = self.queue.iter().position(|entry| !entry.is_on_disk)?;
        let entry = self.queue.remove(index)?;
        self.bytes -= entry.bytes;
        Some(entry.frame.rows)
    }

    /// Whether anything is not acked.
    pub(crate) fn is_pending(&self) -> bool {
        !self.window.is_empty() || !self.queue.is_empty() || self.load < self.spilled
    }

    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes of frames in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Rows and frames in memory that are not on disk too.
    pub(crate) fn rows_in_memory_only(&self) -> u64 {
        self.window.iter().chain(&self.queue).filter(|entry| !entry.is_on_disk).map(|entry| entry.frame.rows).sum()
    }

    fn last_known(&self) -> u64 {
        if self.is_live { self.last_seq } else { u64::MAX }
    }
}
