//! The memory of all queries.
//!
//! Sorts take what they may and spill. What merges their sorted rows can do neither: it holds a few batches of each of them,
//! asks for them last, and a query that has spilled gigabytes would fail for the last MiB. So some room is kept for merges.

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of the room for merges at most: of 64 runs, 1 MiB each.
const ROOM_BYTES_MAX: usize = 64 << 20;
/// One part of the memory in this many is the room, where that is less.
const ROOM_PART: usize = 4;

/// Memory that those who can spill share evenly. While there are merges, what they do not hold of their room is kept free.
#[derive(Debug)]
pub(crate) struct QueryMemory {
    shared: FairSpillPool,
    bytes_max: usize,
    room_bytes_max: usize,
    merges: Mutex<Merges>,
}

/// All merges together.
#[derive(Debug, Default)]
struct Merges {
    count: usize,
    bytes: usize,
}

impl QueryMemory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let room_bytes_max = (bytes_max / ROOM_PART).min(ROOM_BYTES_MAX);
        Self { shared: FairSpillPool::new(bytes_max), bytes_max, room_bytes_max, merges: Mutex::default() }
    }

    fn merges(&self) -> MutexGuard<'_, Merges> {
        self.merges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_merge(consumer: &MemoryConsumer) -> bool {
    consumer.name().starts_with("SortPreservingMergeExec")
}

impl MemoryPool for QueryMemory {
    fn name(&self) -> &str {
        "queries"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.merges().count += usize::from(is_merge(consumer));
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.merges().count -= usize::from(is_merge(consumer));
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        if is_merge(reservation.consumer()) {
            self.merges().bytes += additional;
        }
        self.shared.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        if is_merge(reservation.consumer()) {
            self.merges().bytes -= shrink;
        }
        self.shared.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut merges = self.merges();
        if is_merge(reservation.consumer()) {
            self.shared.try_grow(reservation, additional)?;
            merges.bytes += additional;
            return Ok(());
        }
        let kept = if merges.count > 0 { self.room_bytes_max.saturating_sub(merges.bytes) } else { 0 };
        let free = self.bytes_max.saturating_sub(kept).saturating_sub(self.shared.reserved());
        if additional > free {
            let name = reservation.consumer().name();
            let message = format!("{additional} more bytes for {name}: {free} are left of {}", self.bytes_max);
            return Err(DataFusionError::ResourcesExhausted(message));
        }
        self.shared.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.shared.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes_max)
    }
}

impl fmt::Display for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} bytes for merges", self.shared, self.room_bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_merge_has_room_when_sorts_have_taken_all() {
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryMemory::new(100));
        let of = |name: &str| MemoryConsumer::new(name).register(&pool);
        let (sort, other) = (of("ExternalSorterMerge[0]"), of("Join"));
        sort.try_grow(70).unwrap();
        other.try_grow(30).unwrap();
        other.free();
        let merge = of("SortPreservingMergeExec[0]");
        other.try_grow(6).unwrap_err();
        other.try_grow(5).unwrap();
        merge.try_grow(20).unwrap();
        let second = of("SortPreservingMergeExec[0]");
        second.try_grow(10).unwrap_err();
        sort.shrink(10);
        second.try_grow(10).unwrap();
        assert_eq!(pool.reserved(), 95);
        other.try_grow(6).unwrap_err();
        merge.free();
        other.try_grow(10).unwrap();
        drop((merge, second));
        other.try_grow(25).unwrap();
        drop((sort, other));
        assert_eq!(pool.reserved(), 0);
    }
}
