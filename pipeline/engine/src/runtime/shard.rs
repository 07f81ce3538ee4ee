//! One shard: all levels of the graph for some key groups.
//!
//! A shard never blocks inside a step. It takes from the deepest level that has a message and room behind it, so that
//! what is under way leaves before more comes in; the deepest level of all writes to sinks, which only touch memory.
//! Hence a full exchange pauses the levels before it and nothing else, and shards cannot wait for each other in a
//! circle.

use super::OperatorState;
use super::level::{Ends, Level, Turn};
use super::stats::ShardStats;
use super::tap::Taps;
use crate::graph::Plan;
use crate::queue::tell;
use crate::{Error, Message, Signal, Sink};
use bodkin_schema::Epoch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// What a shard says at a barrier, when its last level has passed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The epoch that ended.
    pub epoch: Epoch,
    /// Which shard.
    pub shard: usize,
    /// The states of its operators.
    pub states: Vec<OperatorState>,
}

/// What shards say: that they have passed a barrier, or that one is gone.
pub type Report = crate::Result<Sealed>;

/// Tells the coordinator when the thread of a shard panics.
struct Alarm {
    shard: usize,
    reports: mpsc::UnboundedSender<Report>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Without a coordinator there is nobody to tell: the process is going down.
            let _ = self.reports.send(Err(Error::Panicked { shard: self.shard }));
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A message was taken.
    Worked,
    /// There is nothing to do until the shard's signal says so.
    Idle,
    /// Everything is done: the graph was drained.
    Ended,
}

/// How many batches a shard was handed, and how many of them its sinks have.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) handed: AtomicU64,
    done: AtomicU64,
}

/// How far the shards have come. A query that starts after an acknowledgement waits for them here (ACK-2).
#[derive(Clone, Debug)]
pub struct Progress {
    pub(crate) counts: Arc<[Counts]>,
    pub(crate) done: Arc<Signal>,
}

impl Progress {
    /// Waits until everything that was handed to the shards before the call is in the sinks. Safe to drop.
    pub async fn caught_up(&self) {
        let handed: Vec<u64> = self.counts.iter().map(|counts| counts.handed.load(Ordering::Acquire)).collect();
        loop {
            let seen = self.done.seen();
            let is_done = |(counts, handed): (&Counts, &u64)| counts.done.load(Ordering::Acquire) >= *handed;
            if self.counts.iter().zip(&handed).all(is_done) {
                return;
            }
            self.done.changed(seen).await;
        }
    }

    /// Batches that were handed over and are not in the sinks yet.
    pub fn behind(&self) -> u64 {
        let behind =
            |counts: &Counts| counts.handed.load(Ordering::Acquire).saturating_sub(counts.done.load(Ordering::Acquire));
        self.counts.iter().map(behind).sum()
    }
}

/// A shard as a state machine: whoever owns it calls [`ShardCore::step`] until it is idle, then waits for its signal.
pub struct ShardCore {
    pub(super) shard: usize,
    pub(super) plan: Arc<Plan>,
    pub(super) levels: Vec<Level>,
    pub(super) sinks: Vec<Arc<dyn Sink>>,
    pub(super) taps: Arc<Taps>,
    pub(super) stats: Arc<ShardStats>,
    pub(super) signal: Arc<Signal>,
    pub(super) progress: Progress,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    pub(super) states: Vec<OperatorState>,
    pub(super) unkeyed: u64,
    pub(super) is_ended: bool,
}

impl std::fmt::Debug for ShardCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardCore").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl ShardCore {
    /// Told whenever there may be something to do.
    pub fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Its number.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Takes one message, if there is one.
    pub fn step(&mut self) -> Step {
        if self.is_ended {
            return Step::Ended;
        }
        for index in (0..self.levels.len()).rev() {
            let Some(level) = self.levels.get_mut(index).filter(|level| level.has_room()) else { continue };
            if let Some(turn) = level.take() {
                self.turn(index, turn);
                return if self.is_ended { Step::Ended } else { Step::Worked };
            }
        }
        Step::Idle
    }

    /// Steps until the graph is drained, waiting in between.
    pub(super) fn run(mut self) -> Self {
        let _alarm = Alarm { shard: self.shard, reports: self.reports.clone() };
        loop {
            let seen = self.signal.seen();
            match self.step() {
                Step::Worked => {}
                Step::Idle => self.signal.wait(seen),
                Step::Ended => return self,
            }
        }
    }

    fn turn(&mut self, index: usize, turn: Turn) {
        let Self { plan, levels, sinks, taps, stats, shard, unkeyed, states, .. } = self;
        let is_last = index + 1 == levels.len();
        let Some(level) = levels.get_mut(index) else { return };
        let mut ends = Ends { plan, sinks, taps, stats, shard: *shard, unkeyed };
        match turn {
            Turn::Rows(batch, to) => {
                level.rows(batch, to, &mut ends);
                if to.is_none() {
                    if let Some(counts) = self.progress.counts.get(self.shard) {
                        counts.done.fetch_add(1, Ordering::Release);
                    }
                    self.progress.done.notify();
                }
            }
            Turn::Watermark(time) => level.watermark(time, &mut ends),
            Turn::Control(Message::Side(input)) => {
                level.side_input(&input, &mut ends);
                tell(&level.outputs, &Message::Side(input));
            }
            Turn::Control(Message::Barrier(epoch)) => {
                level.barrier(epoch, states, stats);
                tell(&level.outputs, &Message::Barrier(epoch));
                if is_last {
                    let sealed = Sealed { epoch, shard: *shard, states: std::mem::take(states) };
                    // Without a coordinator there is nobody to tell: the process is going down.
                    let _ = self.reports.send(Ok(sealed));
                }
            }
            Turn::Control(_) => {
                tell(&level.outputs, &Message::Drain);
                self.is_ended = is_last;
            }
        }
    }

    /// What the operators hold now, for the shards of another graph.
    pub(super) fn into_states(mut self) -> Vec<OperatorState> {
        let mut states = Vec::new();
        for level in &mut self.levels {
            // The epoch goes on: the number only tells operators which one their state would end.
            let epoch = level.epoch;
            level.barrier(epoch, &mut states, &self.stats);
        }
        states
    }
}
