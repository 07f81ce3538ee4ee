//! Tests of the spool as a whole: what is pushed comes out once and in order, or is counted.

use super::*;
use crate::testing::{ManualClock, numbered, numbers};
use proptest::prelude::*;
use std::collections::BTreeSet;

struct Rig {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    losses: Arc<Losses>,
    spool: Spool,
    incarnation: u64,
    config: SpoolConfig,
}

impl Rig {
    fn new(change: impl FnOnce(&mut SpoolConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = SpoolConfig::new(dir.path().join("spool"));
        change(&mut config);
        let (clock, losses) = (Arc::new(ManualClock::default()), Arc::new(Losses::default()));
        let spool = open(&config, 1, &losses, &clock);
        Self { dir, clock, losses, spool, incarnation: 1, config }
    }

    /// As after a kill: what was in memory is gone.
    fn restart(&mut self) {
        self.incarnation += 1;
        self.spool = open(&self.config, self.incarnation, &self.losses, &self.clock);
    }

    /// Pushes to `samples`, whose schema does not matter to the spool.
    fn push(&self, first: i64, rows: usize) {
        self.spool.push(Stream::Samples, &numbered(first, rows)).unwrap();
    }

    fn lane(&self) -> LaneId {
        self.spool.first_lane(Stream::Samples).expect("something is pending")
    }

    /// Sends and acks everything, lane by lane; the numbers in the order sent.
    fn drain(&self) -> Vec<i64> {
        let mut sent = Vec::new();
        while let Some(lane) = self.spool.first_lane(Stream::Samples) {
            while let Some(frame) = self.spool.next(lane).unwrap() {
                sent.extend(numbers(&frame));
                self.spool.ack(lane, frame.seq.0);
            }
        }
        sent
    }

    fn files(&self) -> usize {
        let dir = self.dir.path().join("spool/metrics");
        let lanes = std::fs::read_dir(dir).into_iter().flatten().flatten();
        lanes.flat_map(|lane| std::fs::read_dir(lane.path()).unwrap()).count()
    }

    fn lost(&self) -> u64 {
        self.losses.total().values().sum()
    }
}

fn open(config: &SpoolConfig, incarnation: u64, losses: &Arc<Losses>, clock: &Arc<ManualClock>) -> Spool {
    Spool::open(config.clone(), "id", Incarnation(incarnation), losses.clone(), clock.clone()).unwrap()
}

#[test]
fn nothing_is_written_while_acks_come() {
    let rig = Rig::new(|_| {});
    rig.spool.set_connected(true);
    for first in 0..10 {
        rig.push(first, 1);
        rig.clock.advance(100);
        rig.spool.maintain().unwrap();
        assert_eq!(rig.drain(), [first]);
    }
    assert_eq!(rig.files(), 0);
    assert!(rig.spool.is_drained());
    assert_eq!(rig.spool.stats().memory_bytes, 0);
}

/// ACK-1 begins at the server; until then the agent keeps what it sent.
#[test]
fn what_is_unacked_for_a_second_survives_a_kill() {
    let mut rig = Rig::new(|_| {});
    rig.spool.set_connected(true);
    rig.push(0, 3);
    let lane = rig.lane();
    let sent = rig.spool.next(lane).unwrap().unwrap();
    rig.clock.advance(900);
    rig.push(3, 1);
    rig.spool.maintain().unwrap();
    assert_eq!(rig.files(), 0);
    rig.clock.advance(100);
    rig.spool.maintain().unwrap();
    assert_eq!(rig.files(), 1);
    rig.restart();
    let resent = rig.spool.next(rig.lane()).unwrap().unwrap();
    // ONCE-1: the same number under the same incarnation.
    assert_eq!((resent.lane, resent.seq), (sent.lane, sent.seq));
    assert_eq!(rig.lost(), 0);
}

#[test]
fn an_outage_goes_to_disk_and_comes_back_in_order() {
    let mut rig = Rig::new(|config| config.segment_bytes_max = 4 * 1024);
    for first in 0..50 {
        rig.push(first * 10, 10);
        if first % 7 == 0 {
            rig.spool.maintain().unwrap();
            assert_eq!(rig.spool.stats().memory_bytes, 0, "nothing stays in memory while the server is away");
        }
    }
    rig.spool.close().unwrap();
    assert!(rig.files() > 4);
    rig.restart();
    rig.push(500, 1);
    assert_eq!(rig.drain(), (0..=500).collect::<Vec<i64>>());
    rig.spool.maintain().unwrap();
    assert_eq!((rig.files(), rig.spool.stats().disk_bytes), (0, 0));
    assert!(!rig.dir.path().join("spool/metrics/00000000000000000001-samples").exists());
}

#[test]
fn a_lost_connection_resends_from_the_first_unacked() {
    let rig = Rig::new(|_| {});
    rig.spool.set_connected(true);
    (0..5).for_each(|first| rig.push(first, 1));
    let lane = rig.lane();
    for _ in 0..4 {
        rig.spool.next(lane).unwrap().unwrap();
    }
    rig.spool.ack(lane, 2);
    rig.spool.set_connected(false);
    rig.spool.rewind(lane);
    rig.push(5, 1);
    rig.spool.maintain().unwrap();
    rig.push(6, 1);
    assert_eq!(rig.drain(), [2, 3, 4, 5, 6]);
}

#[test]
fn acks_of_an_orderly_stop_are_remembered() {
    let mut rig = Rig::new(|_| {});
    (0..5).for_each(|first| rig.push(first, 1));
    rig.spool.maintain().unwrap();
    let lane = rig.lane();
    (0..3).for_each(|_| drop(rig.spool.next(lane).unwrap()));
    rig.spool.ack(lane, 3);
    rig.spool.close().unwrap();
    rig.restart();
    assert_eq!(rig.drain(), [3, 4]);
}

#[test]
fn a_refused_batch_is_counted_and_the_next_goes_on() {
    let rig = Rig::new(|_| {});
    rig.spool.set_connected(true);
    rig.push(0, 3);
    rig.push(3, 1);
    let lane = rig.lane();
    let refused = rig.spool.next(lane).unwrap().unwrap();
    rig.spool.rewind(lane);
    rig.spool.refuse(lane, refused.seq.0);
    assert_eq!(rig.drain(), [3]);
    assert_eq!(rig.losses.total(), [((Class::Metrics, reason::REFUSED), 3)].into());
    assert!(rig.spool.is_drained());
}

/// DROP-1: the lowest class is shed first, then the oldest, and every row is counted.
#[test]
fn a_full_disk_budget_sheds_by_class_and_counts() {
    let mut rig = Rig::new(|config| (config.disk_bytes_max, config.segment_bytes_max) = (40 << 10, 4 << 10));
    let mut pushed = (0, 0);
    for round in 0..400 {
        rig.push(round * 10, 10);
        pushed.0 += 10;
        if round % 4 == 0 {
            rig.spool.push(Stream::Events, &numbered(round, 1)).unwrap();
            pushed.1 += 1;
        }
        if round % 100 == 0 {
            rig.spool.push(Stream::Drops, &numbered(round, 1)).unwrap();
        }
        rig.spool.maintain().unwrap();
        assert!(rig.spool.stats().disk_bytes <= 40 << 10, "round {round}");
    }
    rig.spool.close().unwrap();
    rig.restart();
    let kept = rig.drain();
    let lost = |rig: &Rig, class| rig.losses.total().get(&(class, reason::SPOOL_FULL)).copied().unwrap_or_default();
    assert_eq!(kept.len() as u64 + lost(&rig, Class::Metrics), pushed.0);
    assert!(kept.is_empty() || kept.windows(2).all(|pair| pair[0] + 1 == pair[1]) && kept.last() == Some(&3_999));
    let mut events = 0;
    let lane = rig.spool.first_lane(Stream::Events).unwrap();
    while let Some(frame) = rig.spool.next(lane).unwrap() {
        events += frame.rows;
    }
    assert_eq!(events + lost(&rig, Class::Security), pushed.1);
    assert!(lost(&rig, Class::Security) == 0 || lost(&rig, Class::Metrics) == pushed.0, "security goes last");
    let drops = rig.spool.first_lane(Stream::Drops).unwrap();
    let told = std::iter::from_fn(|| rig.spool.next(drops).unwrap()).count() as u64;
    assert_eq!(told, 4, "drops are never shed");
}

/// What the server may have is not shed, or it would be counted as lost and stored.
#[test]
fn what_was_sent_is_never_shed() {
    let rig = Rig::new(|config| (config.disk_bytes_max, config.segment_bytes_max) = (1, 1));
    (0..6).for_each(|first| rig.push(first, 1));
    rig.spool.maintain().unwrap();
    assert_eq!(rig.lost(), 6, "nothing was sent, all is shed");
    (6..9).for_each(|first| rig.push(first, 1));
    let lane = rig.lane();
    rig.spool.next(lane).unwrap().unwrap();
    rig.spool.next(lane).unwrap().unwrap();
    rig.spool.rewind(lane);
    rig.spool.maintain().unwrap();
    assert_eq!(rig.lost(), 7);
    assert_eq!(rig.drain(), [6, 7]);
}

/// DROP-1, MEM-1: a disk that fails makes memory the limit.
#[test]
fn a_disk_that_fails_sheds_from_memory_and_counts() {
    let rig = Rig::new(|config| config.memory_bytes_max = 20_000);
    std::fs::write(rig.dir.path().join("spool"), "a file where the folder should be").unwrap();
    for first in 0..300 {
        rig.push(first, 1);
        assert!(rig.spool.stats().memory_bytes <= 40_000);
    }
    assert!(rig.spool.maintain().is_err());
    let kept = rig.drain();
    assert_eq!(kept.len() as u64 + rig.lost(), 300);
    assert_eq!(kept.last(), Some(&299), "the oldest go first");
}

#[test]
fn damage_on_disk_costs_the_damaged_rows_only() {
    let rig = Rig::new(|_| {});
    (0..9).for_each(|first| rig.push(first, 1));
    rig.spool.maintain().unwrap();
    let lane = std::fs::read_dir(rig.dir.path().join("spool/metrics")).unwrap().next().unwrap().unwrap().path();
    let file = lane.join("00000000000000000000.wal");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(rig.drain().len() as u64 + rig.lost(), 9);
    assert_eq!(rig.losses.total().get(&(Class::Metrics, reason::SPOOL_DAMAGED)), Some(&1));
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Send,
    Ack,
    Lose,
    Upkeep,
    Connect,
    Wait,
    Kill,
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1_usize..40).prop_map(Step::Push),
        6 => Just(Step::Send),
        4 => Just(Step::Ack),
        1 => Just(Step::Lose),
        3 => Just(Step::Upkeep),
        2 => Just(Step::Connect),
        2 => Just(Step::Wait),
        1 => Just(Step::Kill),
        1 => Just(Step::Stop),
    ];
    prop::collection::vec(step, 1..60)
}

/// A server that keeps what is new to its lane's mark, as the real one does.
#[derive(Default)]
struct Server {
    marks: HashMap<Lane, u64>,
    stored: Vec<i64>,
}

impl Server {
    fn take(&mut self, frame: &BatchFrame) {
        let mark = self.marks.entry(frame.lane.clone()).or_default();
        if frame.seq.0 > *mark {
            *mark = frame.seq.0;
            self.stored.extend(numbers(frame));
        }
    }
}

/// Does `steps` and drains what is left; everything pushed and not killed is stored exactly once.
fn run(steps: Vec<Step>, memory_bytes_max: usize) {
    let mut rig = Rig::new(|config| (config.memory_bytes_max, config.segment_bytes_max) = (memory_bytes_max, 6 * 1024));
    let (mut server, mut pushed, mut killed) = (Server::default(), 0, BTreeSet::new());
    // Numbers pushed since everything was on disk for sure: what a kill may take.
    let mut unsafe_from = 0;
    let mut last: Option<(LaneId, u64)> = None;
    for step in steps {
        match step {
            Step::Push(rows) => {
                rig.push(pushed, rows);
                pushed += rows as i64;
                // As the agent does under pressure.
                if rig.spool.stats().memory_bytes > memory_bytes_max {
                    rig.spool.maintain().unwrap();
                    unsafe_from = pushed;
                }
            }
            Step::Send => {
                let Some(lane) = rig.spool.first_lane(Stream::Samples) else { continue };
                if let Some(frame) = rig.spool.next(lane).unwrap() {
                    if let Some((_, seq)) = last.filter(|(before, _)| *before == lane) {
                        assert!(frame.seq.0 > seq, "in order");
                    }
                    last = Some((lane, frame.seq.0));
                    server.take(&frame);
                }
            }
            Step::Ack => {
                if let Some((lane, seq)) = last {
                    rig.spool.ack(lane, seq);
                }
            }
            Step::Lose => {
                rig.spool.set_connected(false);
                if let Some((lane, _)) = last.take() {
                    rig.spool.rewind(lane);
                }
            }
            Step::Upkeep => {
                rig.spool.maintain().unwrap();
                if !rig.spool.is_connected() {
                    unsafe_from = pushed;
                }
            }
            Step::Connect => rig.spool.set_connected(true),
            Step::Wait => rig.clock.advance(400),
            Step::Kill => {
                killed.extend(unsafe_from..pushed);
                (last, unsafe_from) = (None, pushed);
                rig.restart();
            }
            Step::Stop => {
                rig.spool.close().unwrap();
                (last, unsafe_from) = (None, pushed);
                rig.restart();
            }
        }
    }
    rig.spool.maintain().unwrap();
    if let Some((lane, _)) = last {
        rig.spool.rewind(lane);
    }
    while let Some(lane) = rig.spool.first_lane(Stream::Samples) {
        while let Some(frame) = rig.spool.next(lane).unwrap() {
            server.take(&frame);
            rig.spool.ack(lane, frame.seq.0);
        }
    }
    rig.spool.maintain().unwrap();
    assert_eq!(rig.files(), 0, "acked frames leave the disk");
    let stored: BTreeSet<i64> = server.stored.iter().copied().collect();
    assert_eq!(stored.len(), server.stored.len(), "stored once");
    let missing: Vec<i64> = (0..pushed).filter(|number| !stored.contains(number) && !killed.contains(number)).collect();
    assert!(missing.is_empty(), "lost without a kill: {missing:?}");
    assert_eq!(rig.lost(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// ONCE-1: whatever happens in between, each row arrives once, and nothing is lost that was safe.
    #[test]
    fn every_row_arrives_once(steps in steps(), is_tight in any::<bool>()) {
        run(steps, if is_tight { 16 * 1024 } else { 1 << 20 });
    }
}
