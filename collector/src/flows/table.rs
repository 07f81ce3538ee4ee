//! What has been told of each conversation.

use bodkin_ebpf::event::Flow;
use rustc_hash::FxHashMap;

/// Most conversations that are remembered: 5 MiB. One beyond is told from its beginning on each time that it is read, so
/// it is left out until it ends.
const FLOWS_MAX: usize = 64 * 1024;

/// Rounds after which datagrams of a socket that moves none are forgotten.
const QUIET_ROUNDS: u64 = 6;

const IPPROTO_TCP: u8 = 6;

/// What an interval moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Counts of the interval alone; what else is said holds at its end.
    pub flow: Flow,
    /// The conversation is over.
    pub is_ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    flow: Flow,
    /// The round in which it was read last, and in which it moved something last.
    read: u64,
    moved: u64,
}

/// Conversations by socket; datagrams by socket and process.
#[derive(Debug, Default)]
pub struct FlowTable {
    told: FxHashMap<(u64, u32), Told>,
    round: u64,
}

impl FlowTable {
    /// A connection has ended; None if it moved nothing since it was told last and that was its beginning too.
    pub fn ended(&mut self, flow: &Flow) -> Interval {
        let told = self.told.remove(&key(flow)).map(|told| told.flow);
        Interval { flow: since(flow, told.filter(|told| is_same(told, flow))), is_ended: true }
    }

    /// A round of readings: what moved something since the last one, or is new. Conversations that were there before the
    /// first round count from it on.
    pub fn round(&mut self, flows: &[Flow]) -> Vec<Interval> {
        self.round += 1;
        let mut moved = Vec::new();
        for flow in flows {
            moved.extend(self.read(flow));
        }
        // A connection that is not there any more has ended, and that event was lost.
        let round = self.round;
        self.told.retain(|_, told| told.read == round);
        moved
    }

    /// Datagrams that have not moved for a minute: their counts can be forgotten.
    pub fn quiet(&mut self) -> Vec<Flow> {
        let round = self.round;
        let is_quiet = |told: &&Told| told.flow.protocol != IPPROTO_TCP && round - told.moved >= QUIET_ROUNDS;
        let quiet: Vec<Flow> = self.told.values().filter(is_quiet).map(|told| told.flow).collect();
        for flow in &quiet {
            self.told.remove(&key(flow));
        }
        quiet
    }

    fn read(&mut self, flow: &Flow) -> Option<Interval> {
        let (key, round) = (key(flow), self.round);
        if self.told.len() >= FLOWS_MAX && !self.told.contains_key(&key) {
            return None;
        }
        let told = self.told.insert(key, Told { flow: *flow, read: round, moved: round });
        let before = told.map(|told| told.flow).filter(|told| is_same(told, flow));
        let is_old = flow.start_ns == 0;
        if before.is_none() && is_old {
            return None; // what it moved so far was moved before
        }
        let interval = since(flow, before);
        let has_moved = interval.packets_sent > 0 || interval.packets_received > 0;
        if before.is_some() && !has_moved {
            if let (Some(entry), Some(told)) = (self.told.get_mut(&key), told) {
                entry.moved = told.moved;
            }
            return None;
        }
        Some(Interval { flow: interval, is_ended: false })
    }
}

fn key(flow: &Flow) -> (u64, u32) {
    // A connection has one owner, who may become known late.
    (flow.sk, if flow.protocol == IPPROTO_TCP { 0 } else { flow.tgid })
}

/// Memory of a socket is used again for the next.
fn is_same(told: &Flow, flow: &Flow) -> bool {
    let ends = |flow: &Flow| (flow.start_ns, flow.local_port, flow.remote_port, flow.remote);
    ends(told) == ends(flow) || (told.protocol != IPPROTO_TCP && told.start_ns == flow.start_ns)
}

fn since(flow: &Flow, told: Option<Flow>) -> Flow {
    let Some(told) = told else { return *flow };
    Flow {
        bytes_sent: flow.bytes_sent.wrapping_sub(told.bytes_sent),
        bytes_received: flow.bytes_received.wrapping_sub(told.bytes_received),
        packets_sent: flow.packets_sent.wrapping_sub(told.packets_sent),
        packets_received: flow.packets_received.wrapping_sub(told.packets_received),
        retransmits: flow.retransmits.wrapping_sub(told.retransmits),
        ..*flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(sk: u64, start_ns: u64, sent: u64) -> Flow {
        Flow { sk, start_ns, protocol: IPPROTO_TCP, bytes_sent: sent, packets_sent: sent as u32, ..Flow::default() }
    }

    fn sent(intervals: &[Interval]) -> Vec<(u64, u64)> {
        intervals.iter().map(|interval| (interval.flow.sk, interval.flow.bytes_sent)).collect()
    }

    #[test]
    fn an_interval_has_what_it_moved() {
        let mut table = FlowTable::default();
        let before = flow(1, 0, 1_000);
        assert_eq!(sent(&table.round(&[before, flow(2, 5, 10)])), [(2, 10)], "what was before is not ours");
        let later = Flow { bytes_sent: 1_007, packets_sent: 1_001, ..before };
        assert_eq!(sent(&table.round(&[later, flow(2, 5, 10)])), [(1, 7)], "what is quiet is not told");
        let last = table.ended(&flow(2, 5, 25));
        assert_eq!((last.flow.bytes_sent, last.is_ended), (15, true));
        assert_eq!(table.ended(&flow(3, 9, 4)).flow.bytes_sent, 4, "a short one comes whole");
        assert_eq!(sent(&table.round(&[flow(1, 77, 3)])), [(1, 3)], "another connection in the same memory");
        assert_eq!(table.told.len(), 1);
        table.round(&[]);
        assert!(table.told.is_empty(), "one whose end was lost is not kept");
    }

    #[test]
    fn datagrams_belong_to_their_process_and_are_forgotten_when_quiet() {
        let mut table = FlowTable::default();
        let of = |tgid, sent| Flow { protocol: 17, tgid, ..flow(1, 5, sent) };
        assert_eq!(table.round(&[of(10, 3), of(11, 4)]).len(), 2);
        for _ in 1..QUIET_ROUNDS {
            assert_eq!(table.round(&[of(10, 3), of(11, 5)]).len(), usize::from(table.round == 2));
            assert_eq!(table.quiet(), []);
        }
        table.round(&[of(10, 3), of(11, 5)]);
        assert_eq!(table.quiet(), [of(10, 3)]);
    }

    #[test]
    fn hostile_numbers_of_sockets_do_not_fill_memory() {
        let mut table = FlowTable::default();
        let flows: Vec<Flow> = (0..FLOWS_MAX as u64 + 5).map(|sk| flow(sk, 1, 1)).collect();
        assert_eq!(table.round(&flows).len(), FLOWS_MAX);
        assert_eq!(table.told.len(), FLOWS_MAX);
    }
}
