//! One account of bytes for all rows that are in memory.
//!
//! A batch brings a permit along that ends when its last copy is dropped. What a sink holds until its epoch is committed
//! is asked from the sink, because sinks merge and copy rows. Whoever takes rows in waits until both together leave
//! room: the log waits, then credits stop, then senders spool.

use crate::{Signal, Sink};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Sinks do not tell when they free memory other than by a commit: look again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The account.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    used: AtomicUsize,
    sinks: OnceLock<Sinks>,
    freed: Signal,
}

struct Sinks(Vec<Arc<dyn Sink>>);

impl std::fmt::Debug for Sinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|sink| sink.name())).finish()
    }
}

/// Bytes that are taken from a [`Budget`] until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Permit {
    _lent: Arc<Lent>,
}

#[derive(Debug)]
struct Lent {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.freed.notify();
    }
}

impl Budget {
    /// An account of `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, used: AtomicUsize::new(0), sinks: OnceLock::new(), freed: Signal::default() })
    }

    /// Counts what `sinks` hold, too.
    pub fn watch(&self, sinks: &[Arc<dyn Sink>]) {
        // A second engine on the same account would be a mistake of the wiring; the first stays.
        let _ = self.sinks.set(Sinks(sinks.to_vec()));
    }

    /// Bytes in flight and in sinks.
    pub fn used(&self) -> usize {
        let held = |sinks: &Sinks| sinks.0.iter().map(|sink| sink.pending_bytes()).sum::<usize>();
        self.used.load(Ordering::Acquire) + self.sinks.get().map_or(0, held)
    }

    /// The bound.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether `bytes` more fit; anything fits where nothing is used.
    pub fn has_room(&self, bytes: usize) -> bool {
        let used = self.used();
        used == 0 || used.saturating_add(bytes) <= self.bytes_max
    }

    /// Takes bytes at once, whether they fit or not: for rows that are logged and cannot be refused any more.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Permit {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Permit { _lent: Arc::new(Lent { budget: self.clone(), bytes }) }
    }

    /// Blocks until `bytes` fit.
    pub fn wait_for_room(&self, bytes: usize) {
        loop {
            let seen = self.freed.seen();
            if self.has_room(bytes) {
                return;
            }
            self.freed.wait_for(seen, LOOK_AGAIN);
        }
    }

    /// Sinks have freed memory.
    pub fn freed(&self) {
        self.freed.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mem_1_a_permit_counts_until_its_last_copy_is_gone() {
        let budget = Budget::new(100);
        let first = budget.take(80);
        let copy = first.clone();
        drop(first);
        assert!(budget.used() == 80 && budget.has_room(20) && !budget.has_room(21));
        let waiting = std::thread::spawn({
            let budget = budget.clone();
            move || budget.wait_for_room(50)
        });
        drop(copy);
        waiting.join().unwrap();
        assert!(budget.has_room(1000), "the largest passes alone");
    }
}
