//! Time order over several rings.
//!
//! Each ring is in order but for a few microseconds; the rings among each other are not. Records are copied into one
//! arena as they are read and sorted by time; what is younger than the cutoff stays where it is for the next round. The copy
//! is what lets the rings be freed at once, and no event costs an allocation. Events are given in slices, between which
//! the rings can be read again: a ring fills while events are given, not while a round lasts.
//!
//! Worst case: the arena holds twice what may wait, see [`Merge::read`].

use bodkin_ebpf::{Event, decode};
use std::ops::Add;

/// Records that were read and not given yet take at most so many times the memory of their ring.
const BACKLOG_RINGS: usize = 2;
/// The same for the life of processes, which comes in storms and must not be lost.
const BACKLOG_LIFE: usize = 8;

/// The number of the ring of the life of processes.
const LIFE_RING: u16 = 0;

/// Header of a record in a ring.
const RECORD_HEADER_BYTES: usize = 8;

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
    len: u16,
    ring: u16,
}

/// What was read of a ring.
#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    /// Bytes that wait.
    held: usize,
    /// Time of the last record.
    read_up_to: u64,
}

/// Records waiting to be given, and the time up to which others have been.
#[derive(Debug, Default)]
pub struct Merge {
    arena: Vec<u8>,
    slots: Vec<Slot>,
    rings: Vec<Ring>,
    /// Slots that are due, in the order of time, and how many of them have been given.
    due: usize,
    given: usize,
    given_up_to: u64,
    records: u64,
    undecodable: u64,
}

impl Merge {
    /// Reads a ring of `size` bytes, at most once around, as long as there is room for what it holds: `next` hands on one
    /// record, or says that there is none. Gives the time up to which the events of all rings may be given: that of the last
    /// record if the ring was not read to its end, since what it still holds must not be overtaken.
    ///
    /// Each ring has room of its own. Were it shared, one that finds none left would hold back the events of the one that
    /// took it, and neither would ever be given.
    pub(super) fn read(&mut self, ring: u16, size: usize, mut next: impl FnMut(&mut dyn FnMut(&[u8])) -> bool) -> u64 {
        let backlog = if ring == LIFE_RING { BACKLOG_LIFE } else { BACKLOG_RINGS };
        let mut left = size.min((size * backlog).saturating_sub(self.ring(ring).held));
        while left > 0 {
            let mut taken = 0;
            if !next(&mut |record| taken = self.push(ring, record)) {
                return u64::MAX;
            }
            left = left.saturating_sub(taken + RECORD_HEADER_BYTES);
        }
        self.ring(ring).read_up_to
    }

    /// Takes a record of a ring; returns its bytes. One too short to have a time is given at once. The arena of the largest
    /// rings that may be asked for stays below the 4 GiB that a place in it can name.
    pub fn push(&mut self, ring: u16, record: &[u8]) -> usize {
        let boot_ns = decode::boot_ns(record).unwrap_or(0);
        // No event is that long: what is cut is no event either way.
        let len = u16::try_from(record.len()).unwrap_or(u16::MAX);
        self.slots.push(Slot { boot_ns, start: self.arena.len() as u32, len, ring });
        self.arena.extend_from_slice(record.get(..usize::from(len)).unwrap_or(record));
        self.records += 1;
        let ring = self.ring(ring);
        ring.held += usize::from(len);
        ring.read_up_to = boot_ns;
        usize::from(len)
    }

    fn ring(&mut self, number: u16) -> &mut Ring {
        let number = usize::from(number);
        if self.rings.len() <= number {
            self.rings.resize(number + 1, Ring::default());
        }
        &mut self.rings[number]
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
            let (start, len) = (slot.start as usize, usize::from(slot.len));
            self.rings[usize::from(slot.ring)].held -= len;
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
    use std::collections::VecDeque;

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
            assert_eq!(merge.push(0, &record(time, seq)), RECORD_BYTES);
        }
        let (seen, stats) = drain(&mut merge, 30);
        assert_eq!(seen, [(5, 1), (10, 1), (30, 2), (30, 9)]);
        assert_eq!(
            stats,
            DrainStats { delivered: 4, held: 2, bytes: 4 * RECORD_BYTES as u64, ..DrainStats::default() }
        );
        merge.push(0, &record(40, 4));
        let (seen, stats) = drain(&mut merge, 100);
        assert_eq!(seen, [(40, 4), (45, 2), (50, 3)]);
        assert_eq!((stats.held, stats.late, merge.records()), (0, 0, 7));
    }

    #[test]
    fn an_event_that_comes_too_late_is_given_and_counted() {
        let mut merge = Merge::default();
        merge.push(0, &record(100, 1));
        drain(&mut merge, 100);
        merge.push(0, &record(90, 2));
        let (seen, stats) = drain(&mut merge, 100);
        assert_eq!((seen, stats.late), (vec![(90, 2)], 1));
    }

    // SAFE-1, DROP-1: a broken record is neither given nor forgotten.
    #[test]
    fn a_broken_record_is_counted() {
        let mut merge = Merge::default();
        merge.push(0, b"");
        merge.push(0, &record(1, 1)[..20]);
        merge.push(0, &record(2, 2));
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
                merge.push(0, &record(round * 10 + n, round * 10 + n));
            }
            merge.push(0, &record(round * 10 + 35, 100_000 + round));
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
        (1..=5).for_each(|at| assert_eq!(merge.push(0, &record(at * 10, at)), RECORD_BYTES));
        let (mut seen, mut stats) = (Vec::new(), DrainStats::default());
        merge.begin(40);
        assert!(merge.give(3, &mut |event| seen.push(event.head.seq), &mut stats));
        merge.push(0, &record(60, 6));
        assert!(!merge.give(3, &mut |event| seen.push(event.head.seq), &mut stats));
        merge.end(&mut stats);
        assert_eq!((seen, stats.delivered, stats.held, stats.late), (vec![1, 2, 3, 4], 4, 2, 0));
        assert_eq!(drain(&mut merge, 100).0, [(50, 5), (60, 6)]);
        assert_eq!((merge.ring(0).held, merge.arena.len()), (0, 0));
    }

    /// One ring is full again after every look, another has little that is older or younger: all move on.
    #[test]
    fn a_ring_that_is_always_full_does_not_stop_the_others() {
        const SIZE: usize = 100 * (RECORD_BYTES + RECORD_HEADER_BYTES);
        let (mut merge, mut now, mut given) = (Merge::default(), 0, 0);
        let mut rings: [VecDeque<u64>; 3] = Default::default();
        for round in 0..1_000 {
            while rings[0].len() < 100 {
                now += 1;
                rings[0].push_back(now);
                if now % 150 == 0 {
                    rings[2].push_back(now);
                }
            }
            if round == 3 {
                rings[1].extend([now - 50, now]);
            }
            let mut look = |merge: &mut Merge, cutoff: u64| {
                (0..).zip(&mut rings).fold(cutoff, |cutoff, (number, ring)| {
                    let next = |push: &mut dyn FnMut(&[u8])| ring.pop_front().map(|at| push(&record(at, at))).is_some();
                    cutoff.min(merge.read(number, SIZE, next))
                })
            };
            let cutoff = look(&mut merge, now.saturating_sub(if round % 7 == 0 { 500 } else { 5 }));
            merge.begin(cutoff);
            let mut stats = DrainStats::default();
            while merge.give(30, &mut |_| given += 1, &mut stats) {
                look(&mut merge, u64::MAX);
            }
            merge.end(&mut stats);
            assert_eq!(stats.late, 0);
            assert!(merge.arena.len() <= 2 * (BACKLOG_LIFE + 2 * BACKLOG_RINGS) * SIZE, "{}", merge.arena.len());
        }
        assert!(given > now * 9 / 10, "{given} of {now}");
    }

    #[test]
    fn a_burst_does_not_keep_its_memory() {
        let mut merge = Merge::default();
        for at in 0..40_000 {
            merge.push(0, &record(at, at));
        }
        assert!(merge.arena.capacity() > IDLE_BYTES);
        drain(&mut merge, u64::MAX);
        for _ in 0..2 {
            merge.push(0, &record(50_000, 1));
            drain(&mut merge, u64::MAX);
        }
        assert!(merge.arena.capacity() <= IDLE_BYTES);
    }
}
