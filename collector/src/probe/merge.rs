//! Time order over several rings.
//!
//! Each ring is in order but for a few microseconds; the rings among each other are not. Records are copied into one
//! arena as they are read and sorted by time; what is younger than the cutoff stays where it is for the next round. The copy
//! is what lets the rings be freed at once, and no event costs an allocation. Events are given in slices, between which
//! the rings can be read again: a ring fills while events are given, not while a round lasts.
//!
//! Worst case: the arena holds as many bytes as the one who pushes allows, see [`Merge::bytes`].

use bodkin_ebpf::{Event, decode};
use std::ops::Add;

/// Arena that is kept although it was not needed in the last round.
const IDLE_BYTES: usize = 1 << 20;

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainStats {
    /// Events given.
    pub delivered: u64,
    /// Events held back for the next round.
    pub held: u64,
    /// Bytes of the events given.
    pub bytes: u64,
    /// Events given after a younger one had been given in an earlier round.
    pub late: u64,
    /// Records that are no event; they are in [`Probe::losses`](super::Probe::losses) too.
    pub undecodable: u64,
}

/// One round after the other.
impl Add for DrainStats {
    type Output = Self;

    fn add(self, next: Self) -> Self {
        Self {
            delivered: self.delivered + next.delivered,
            held: next.held,
            bytes: self.bytes + next.bytes,
            late: self.late + next.late,
            undecodable: self.undecodable + next.undecodable,
        }
    }
}

/// A record in the arena.
#[derive(Clone, Copy, Debug)]
struct Slot {
    boot_ns: u64,
    start: u32,
    len: u32,
}

/// Records waiting to be given, and the time up to which others have been.
#[derive(Debug, Default)]
pub struct Merge {
    arena: Vec<u8>,
    slots: Vec<Slot>,
    /// Slots that are due, in the order of time, and how many of them have been given.
    due: usize,
    given: usize,
    given_up_to: u64,
    records: u64,
    undecodable: u64,
}

impl Merge {
    /// Takes a record; returns its time. One too short to have a time is given at once.
    pub fn push(&mut self, record: &[u8]) -> u64 {
        let boot_ns = decode::boot_ns(record).unwrap_or(0);
        self.slots.push(Slot { boot_ns, start: self.arena.len() as u32, len: record.len() as u32 });
        self.arena.extend_from_slice(record);
        self.records += 1;
        boot_ns
    }

    /// Bytes of the arena: 4 GiB at most, which is far above the size of all rings.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// Records taken so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Records so far that were no event.
    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Gives all events up to `cutoff` in the order of time and keeps the others.
    pub fn deliver(&mut self, cutoff: u64, on_event: &mut dyn FnMut(&Event<'_>)) -> DrainStats {
        let mut stats = DrainStats::default();
        self.begin(cutoff);
        self.give(usize::MAX, on_event, &mut stats);
        self.end(&mut stats);
        stats
    }

    /// Begins a round: what is there up to `cutoff` is due.
    pub(super) fn begin(&mut self, cutoff: u64) {
        // Stable, and nearly free on runs that are in order: two events of one processor and nanosecond stay as they came.
        self.slots.sort_by_key(|slot| slot.boot_ns);
        self.due = self.slots.partition_point(|slot| slot.boot_ns <= cutoff);
        self.given = 0;
    }

    /// Gives the next events of the round, at most `count`; false if there are no more. Records may be pushed before the
    /// next slice: they are of a later round.
    pub(super) fn give(&mut self, count: usize, on_event: &mut dyn FnMut(&Event<'_>), stats: &mut DrainStats) -> bool {
        let end = self.due.min(self.given.saturating_add(count));
        for slot in self.slots.get(self.given..end).unwrap_or_default() {
            let (start, len) = (slot.start as usize, slot.len as usize);
            match decode(self.arena.get(start..start + len).unwrap_or_default()) {
                Ok(event) => {
                    stats.delivered += 1;
                    stats.bytes += len as u64;
                    // Within a round all are in order.
                    stats.late += u64::from(slot.boot_ns < self.given_up_to);
                    on_event(&event);
                }
                Err(_) => {
                    stats.undecodable += 1;
                    self.undecodable += 1;
                }
            }
            self.given_up_to = self.given_up_to.max(slot.boot_ns);
        }
        self.given = end;
        self.given < self.due
    }

    /// Ends the round: what was given is forgotten.
    pub(super) fn end(&mut self, stats: &mut DrainStats) {
        self.keep_from(self.given);
        (self.due, self.given) = (0, 0);
        stats.held = self.slots.len() as u64;
    }

    /// Forgets the records before `due`. What is left is moved to the front only when at least as much before it is free: a
    /// record that is held for many rounds is moved once.
    fn keep_from(&mut self, due: usize) {
        self.slots.drain(..due);
        let used = self.arena.len();
        let first = self.slots.iter().map(|slot| slot.start as usize).min().unwrap_or(used);
        if first >= used - first {
            self.arena.copy_within(first.., 0);
            self.arena.truncate(used - first);
            self.slots.iter_mut().for_each(|slot| slot.start -= first as u32);
        }
        if self.arena.capacity() > IDLE_BYTES.max(4 * used) {
            self.arena.shrink_to(IDLE_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_ebpf::call;
    use bodkin_ebpf::layout::{family, kind};

    const RECORD_BYTES: usize = 72;

    /// An exit event: the shortest there is.
    fn record(boot_ns: u64, seq: u64) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&boot_ns.to_ne_bytes());
        bytes[8..16].copy_from_slice(&seq.to_ne_bytes());
        bytes[40..42].copy_from_slice(&kind(family::EXIT, call::PROCEXIT).to_ne_bytes());
        bytes[42..44].copy_from_slice(&(RECORD_BYTES as u16).to_ne_bytes());
        bytes[47] = 1;
        bytes
    }

    fn drain(merge: &mut Merge, cutoff: u64) -> (Vec<(u64, u64)>, DrainStats) {
        let mut seen = Vec::new();
        let stats = merge.deliver(cutoff, &mut |event| seen.push((event.head.boot_ns, event.head.seq)));
        (seen, stats)
    }

    #[test]
    fn rings_are_merged_by_time_and_young_events_wait() {
        let mut merge = Merge::default();
        for (time, seq) in [(10, 1), (30, 2), (50, 3), (5, 1), (30, 9), (45, 2)] {
            assert_eq!(merge.push(&record(time, seq)), time);
        }
        let (seen, stats) = drain(&mut merge, 30);
        assert_eq!(seen, [(5, 1), (10, 1), (30, 2), (30, 9)]);
        assert_eq!(
            stats,
            DrainStats { delivered: 4, held: 2, bytes: 4 * RECORD_BYTES as u64, ..DrainStats::default() }
        );
        merge.push(&record(40, 4));
        let (seen, stats) = drain(&mut merge, 100);
        assert_eq!(seen, [(40, 4), (45, 2), (50, 3)]);
        assert_eq!((stats.held, stats.late, merge.records()), (0, 0, 7));
    }

    #[test]
    fn an_event_that_comes_too_late_is_given_and_counted() {
        let mut merge = Merge::default();
        merge.push(&record(100, 1));
        drain(&mut merge, 100);
        merge.push(&record(90, 2));
        let (seen, stats) = drain(&mut merge, 100);
        assert_eq!((seen, stats.late), (vec![(90, 2)], 1));
    }

    // SAFE-1, DROP-1: a broken record is neither given nor forgotten.
    #[test]
    fn a_broken_record_is_counted() {
        let mut merge = Merge::default();
        merge.push(b"");
        merge.push(&record(1, 1)[..20]);
        merge.push(&record(2, 2));
        let (seen, stats) = drain(&mut merge, 10);
        assert_eq!((seen, stats.undecodable, merge.undecodable()), (vec![(2, 2)], 2, 2));
    }

    #[test]
    fn what_is_held_for_rounds_is_given_whole() {
        let mut merge = Merge::default();
        let mut given = Vec::new();
        for round in 0..200_u64 {
            // Two rings, of which one is ahead of the other.
            for n in 0..7 {
                merge.push(&record(round * 10 + n, round * 10 + n));
            }
            merge.push(&record(round * 10 + 35, 100_000 + round));
            let mut times = |event: &Event<'_>| given.push(event.head.boot_ns);
            assert_eq!(merge.deliver((round * 10).saturating_sub(30), &mut times).undecodable, 0);
            assert!(merge.arena.len() < 200 * RECORD_BYTES);
        }
        merge.deliver(u64::MAX, &mut |event| given.push(event.head.boot_ns));
        assert!(given.is_sorted() && given.len() == 200 * 8);
        assert_eq!((merge.arena.len(), merge.slots.len()), (0, 0));
    }

    #[test]
    fn what_comes_between_two_slices_is_of_the_next_round() {
        let mut merge = Merge::default();
        (1..=5).for_each(|at| assert_eq!(merge.push(&record(at * 10, at)), at * 10));
        let (mut seen, mut stats) = (Vec::new(), DrainStats::default());
        merge.begin(40);
        assert!(merge.give(3, &mut |event| seen.push(event.head.seq), &mut stats));
        merge.push(&record(60, 6));
        assert!(!merge.give(3, &mut |event| seen.push(event.head.seq), &mut stats));
        merge.end(&mut stats);
        assert_eq!((seen, stats.delivered, stats.held, stats.late), (vec![1, 2, 3, 4], 4, 2, 0));
        assert_eq!(drain(&mut merge, 100).0, [(50, 5), (60, 6)]);
        assert_eq!(merge.bytes(), 0);
    }

    #[test]
    fn a_burst_does_not_keep_its_memory() {
        let mut merge = Merge::default();
        for at in 0..40_000 {
            merge.push(&record(at, at));
        }
        assert!(merge.arena.capacity() > IDLE_BYTES);
        drain(&mut merge, u64::MAX);
        for _ in 0..2 {
            merge.push(&record(50_000, 1));
            drain(&mut merge, u64::MAX);
        }
        assert!(merge.arena.capacity() <= IDLE_BYTES);
    }
}
