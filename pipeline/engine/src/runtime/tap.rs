//! Taps: live rows of a node, for whoever looks. A slow looker loses rows, never the graph time.

use crate::{Batch, Message, Queue, Signal};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that wait for a looker.
const TAP_BYTES_MAX: usize = 4 << 20;
/// Lookers at one time.
const TAPS_MAX: usize = 16;

/// Live rows of one node. Dropping it ends the look.
#[derive(Debug)]
pub struct Tap {
    line: Arc<Line>,
    taps: Arc<Taps>,
}

/// Why there is no tap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TapError {
    /// There is no such node.
    #[error("there is no node {name:?} in the graph; there are {nodes}")]
    NoNode {
        /// The name.
        name: String,
        /// The nodes.
        nodes: String,
    },
    /// Too many look already.
    #[error("{TAPS_MAX} taps are open already: close one first")]
    TooMany,
}

#[derive(Debug)]
struct Line {
    node: String,
    queue: Queue,
    signal: Arc<Signal>,
    rows_missed: AtomicU64,
}

/// The taps of a graph.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    open: AtomicUsize,
    lines: Mutex<BTreeMap<usize, Arc<Line>>>,
    next: AtomicUsize,
}

impl Taps {
    pub(crate) fn open(self: &Arc<Self>, node: &str) -> Result<Tap, TapError> {
        let mut lines = self.lock();
        if lines.len() >= TAPS_MAX {
            return Err(TapError::TooMany);
        }
        let signal = Arc::new(Signal::default());
        let queue = Queue::new(TAP_BYTES_MAX, signal.clone(), Arc::default());
        let line = Arc::new(Line { node: node.to_owned(), queue, signal, rows_missed: AtomicU64::new(0) });
        lines.insert(self.next.fetch_add(1, Ordering::Relaxed), line.clone());
        self.open.store(lines.len(), Ordering::Release);
        Ok(Tap { line, taps: self.clone() })
    }

    /// Shows what `node` emits. One atomic load where nobody looks.
    pub(crate) fn show(&self, node: &str, batch: &Batch) {
        if self.open.load(Ordering::Acquire) == 0 {
            return;
        }
        for line in self.lock().values().filter(|line| line.node == node) {
            if line.queue.has_room() {
                // The memory of rows that somebody looks at is bounded by the tap, not by the process's account.
                line.queue.push(Message::data(Batch { permit: None, ..batch.clone() }));
            } else {
                line.rows_missed.fetch_add(batch.records.num_rows() as u64, Ordering::Relaxed);
            }
        }
    }

    /// Tells every looker that the graph has ended.
    pub(crate) fn close(&self) {
        self.lock().values().for_each(|line| line.queue.close());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap {
    /// The next rows; none where the graph has ended. Safe to drop.
    pub async fn next(&self) -> Option<Batch> {
        loop {
            let seen = self.line.signal.seen();
            match self.line.queue.pop() {
                Some(Message::Data { batch, .. }) => return Some(batch),
                Some(_) => {}
                None if self.line.queue.is_over() => return None,
                None => self.line.signal.changed(seen).await,
            }
        }
    }

    /// Rows that passed while nobody took any.
    pub fn rows_missed(&self) -> u64 {
        self.line.rows_missed.load(Ordering::Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut lines = self.taps.lock();
        lines.retain(|_, line| !Arc::ptr_eq(line, &self.line));
        self.taps.open.store(lines.len(), Ordering::Release);
    }
}
