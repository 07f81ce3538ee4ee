//! What a seed means: sizes, rates, and what goes wrong.

use crate::mutation::Mutation;
use crate::random::Random;

/// All that is drawn from a seed before the simulation starts. Printed with a violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// The protocol is broken in this way.
    pub mutation: Option<Mutation>,
    /// Agents that send.
    pub agents: u64,
    /// Batches that each agent makes.
    pub batches: u64,
    /// Different keys of rows.
    pub keys: u64,
    /// Milliseconds between batches, at most.
    pub pace_ms: u64,
    /// Milliseconds between epochs.
    pub epoch_ms: u64,
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// Bytes between shards.
    pub exchange_bytes: usize,
    /// Lives of the server before the last one.
    pub lives: u64,
    /// Milliseconds of a life, at most.
    pub life_ms: u64,
    /// Deaths that are power losses, in thousandths; others are kills.
    pub power_losses: u64,
    /// Deaths that strike within a disk operation, in thousandths.
    pub deaths_in_disk: u64,
    /// Deaths that are a long sleep while another process takes over, in thousandths.
    pub sleeps: u64,
    /// Failed disk operations in 100,000.
    pub disk_failures: u64,
    /// Requests to the store that do not arrive, in thousandths.
    pub store_refusals: u64,
    /// Answers of the store that do not arrive, in thousandths.
    pub store_silences: u64,
    /// Microseconds of a request at most.
    pub store_slow_us: u64,
    /// The store is away for a while now and then.
    pub has_outages: bool,
    /// Connections that break with a batch, in thousandths.
    pub cuts: u64,
    /// Batches that an agent sheds, in thousandths.
    pub sheds: u64,
    /// Agents restart now and then.
    pub has_agent_restarts: bool,
    /// Clocks of server and agents jump.
    pub has_clock_jumps: bool,
    /// One operation that fails, and nothing else goes wrong.
    pub failure: Option<Failure>,
}

/// The one operation of a run that fails, counted from 1 over all lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A disk operation, with an input/output error.
    Disk(u64),
    /// A disk operation, for want of space.
    DiskFull(u64),
    /// A request to the store that does not arrive.
    Refused(u64),
    /// A request to the store whose answer does not arrive.
    Unanswered(u64),
}

impl Scenario {
    /// What `seed` means.
    pub fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let random = &mut Random::new(seed ^ 0x5ca1_ab1e);
        // Half of the faults are absent in half of the runs: faults must not hide each other.
        let maybe = |random: &mut Random, end: u64| if random.chance(500) { random.below(end) } else { 0 };
        Self {
            seed,
            mutation,
            agents: random.range(1, 4),
            batches: random.range(10, 40),
            keys: random.range(1, 12),
            pace_ms: random.range(5, 600),
            epoch_ms: random.range(200, 3000),
            segment_bytes: random.range(2_000, 20_000),
            exchange_bytes: random.range(1, 2_000) as usize,
            lives: random.range(1, 6),
            life_ms: random.range(500, 12_000),
            power_losses: maybe(random, 1000),
            deaths_in_disk: maybe(random, 1000),
            sleeps: maybe(random, 900),
            disk_failures: maybe(random, 300),
            store_refusals: maybe(random, 150),
            store_silences: maybe(random, 150),
            store_slow_us: random.range(10, 400_000),
            has_outages: random.chance(300),
            cuts: maybe(random, 200),
            sheds: maybe(random, 60),
            has_agent_restarts: random.chance(400),
            has_clock_jumps: random.chance(400),
            failure: None,
        }
    }

    /// A short run in which one operation fails and the server is killed once.
    pub fn with_failure(seed: u64, failure: Failure) -> Self {
        Self {
            agents: 1,
            batches: 12,
            keys: 3,
            pace_ms: 200,
            epoch_ms: 500,
            segment_bytes: 4000,
            exchange_bytes: 500,
            lives: 2,
            life_ms: 2500,
            power_losses: 1000,
            deaths_in_disk: 0,
            sleeps: 0,
            disk_failures: 0,
            store_refusals: 0,
            store_silences: 0,
            store_slow_us: 10_000,
            has_outages: false,
            cuts: 0,
            sheds: 0,
            has_agent_restarts: false,
            has_clock_jumps: false,
            failure: Some(failure),
            ..Self::new(seed, None)
        }
    }
}
