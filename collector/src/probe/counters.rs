//! Counts that the programs keep: what was offered, sent and lost, by class.

use aya::maps::{MapData, PerCpuArray};
use bodkin_ebpf::layout::{CPU_STATS_WORDS, ClassStats, CpuStats, family};

use super::ProbeError;

/// Why events were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The ring had no room.
    RingFull,
    /// The ring was nearly full, and this kind of event goes first: opens for reading.
    Shed,
    /// The record was not an event of this version.
    Undecodable,
}

impl Reason {
    /// The reason as it stands in `drops`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::Shed => "ring_shed",
            Self::Undecodable => "undecodable",
        }
    }
}

/// Events of one class that were lost for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Class: exec, fork, exit, open, paths, socket, descriptor, identity, plain, move, or `unknown` where a record could not be read.
    pub class: &'static str,
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: u64,
}

/// Counts since the start over all processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    classes: [ClassStats; family::COUNT],
}

impl Totals {
    /// Counts by class name.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, ClassStats)> {
        family::NAMES.into_iter().zip(self.classes).skip(1)
    }

    /// Events that should have been delivered.
    pub fn offered(&self) -> u64 {
        self.classes.iter().map(|class| class.offered).sum()
    }

    /// Events written to rings.
    pub fn sent(&self) -> u64 {
        self.classes.iter().map(|class| class.sent).sum()
    }

    /// Events lost by the programs.
    pub fn lost(&self) -> u64 {
        self.classes.iter().map(|class| class.full + class.shed).sum()
    }
}

/// The map of counts, and what has been told of it.
pub(super) struct Counters {
    map: PerCpuArray<MapData, [u64; CPU_STATS_WORDS]>,
    told: Totals,
    told_undecodable: u64,
}

impl Counters {
    pub(super) fn new(map: PerCpuArray<MapData, [u64; CPU_STATS_WORDS]>) -> Self {
        Self { map, told: Totals::default(), told_undecodable: 0 }
    }

    pub(super) fn totals(&self) -> Result<Totals, ProbeError> {
        let values = self.map.get(&0, 0).map_err(|error| ProbeError::Read(std::io::Error::other(error)))?;
        let mut totals = Totals::default();
        for words in values.iter() {
            for (sum, class) in totals.classes.iter_mut().zip(CpuStats::from_words(words).class) {
                sum.offered += class.offered;
                sum.sent += class.sent;
                sum.full += class.full;
                sum.shed += class.shed;
                sum.policy += class.policy;
                sum.truncated += class.truncated;
            }
        }
        Ok(totals)
    }

    /// Losses since the last call; `undecodable` is the count since the start.
    pub(super) fn losses(&mut self, undecodable: u64) -> Result<Vec<Loss>, ProbeError> {
        let now = self.totals()?;
        let mut losses = difference(&self.told, &now);
        if undecodable > self.told_undecodable {
            let count = undecodable - self.told_undecodable;
            losses.push(Loss { class: "unknown", reason: Reason::Undecodable, count });
        }
        self.told = now;
        self.told_undecodable = undecodable;
        Ok(losses)
    }
}

/// What was lost between two readings. Each count is one word that only grows, so a reading beside a running program
/// misses nothing: it is in the next one.
fn difference(before: &Totals, now: &Totals) -> Vec<Loss> {
    let mut losses = Vec::new();
    for ((class, before), (_, now)) in before.classes().zip(now.classes()) {
        for (reason, before, now) in [(Reason::RingFull, before.full, now.full), (Reason::Shed, before.shed, now.shed)]
        {
            if now > before {
                losses.push(Loss { class, reason, count: now - before });
            }
        }
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    // DROP-1: a loss is told once, with its class and reason.
    #[test]
    fn a_loss_is_told_once() {
        let mut before = Totals::default();
        let mut now = Totals::default();
        now.classes[usize::from(family::OPEN)] =
            ClassStats { offered: 10, sent: 5, full: 3, shed: 2, ..Default::default() };
        now.classes[usize::from(family::EXEC)] = ClassStats { offered: 4, sent: 4, policy: 9, ..Default::default() };
        let open = |reason, count| Loss { class: "open", reason, count };
        assert_eq!(difference(&before, &now), [open(Reason::RingFull, 3), open(Reason::Shed, 2)]);
        assert_eq!((now.offered(), now.sent(), now.lost()), (14, 9, 5));
        before = now;
        assert_eq!(difference(&before, &now), []);
    }

    #[test]
    fn words_are_read_where_the_programs_write_them() {
        let mut words = [0; CPU_STATS_WORDS];
        for (at, word) in words.iter_mut().enumerate() {
            *word = at as u64;
        }
        let stats = CpuStats::from_words(&words);
        assert_eq!((stats.seq, stats.woken, stats.waiting), (0, 1, 2));
        let exec = stats.class[usize::from(family::EXEC)];
        assert_eq!((exec.offered, exec.truncated), (9, 14));
    }
}
