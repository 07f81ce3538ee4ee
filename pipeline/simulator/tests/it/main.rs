//! The protocol holds for every seed, and each breach of it is found.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop where something is wrong, as tests do")]

use bodkin_simulator::{Failure, Mutation, Scenario, simulate, simulate_scenario};
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds that CI runs; `./check --simulate N` runs more.
const SEEDS: u64 = 60;
/// Seeds after which a mutation counts as not found.
const SEEDS_PER_MUTATION: u64 = 400;

/// The run of which every operation fails once.
const SEED: u64 = 1;

/// Runs `work` for each number below `end`, on all cores, until it says stop.
fn on_all_cores(end: u64, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end || !work(number) {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn ack_1_ack_2_once_1_once_2_tail_1_det_1_late_1_hold_for_every_seed() {
    on_all_cores(SEEDS, |seed| {
        let report = simulate(seed, None, false);
        assert_eq!(report.violations, [], "{:?}", report.scenario);
        true
    });
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in [3, 11] {
        let (first, second) = (simulate(seed, None, true), simulate(seed, None, true));
        assert!(first.trace.len() > 20);
        assert_eq!(first, second);
    }
}

/// A simulator that does not find what is broken proves nothing.
#[test]
fn every_mutation_of_the_protocol_is_found() {
    on_all_cores(Mutation::ALL.len() as u64, |index| {
        let mutation = Mutation::ALL[index as usize];
        let found = (0..SEEDS_PER_MUTATION).find(|seed| !simulate(*seed, Some(mutation), false).violations.is_empty());
        assert!(found.is_some(), "{mutation:?} was not found by {SEEDS_PER_MUTATION} seeds");
        true
    });
}

/// R4: every single operation of a run fails once, of the disk and of the store, before and after it took effect.
#[test]
fn any_one_operation_may_fail() {
    let whole = simulate_scenario(Scenario::with_failure(SEED, Failure::Disk(0)), false);
    assert_eq!(whole.violations, []);
    assert!(whole.disk_operations > 60 && whole.store_requests > 60, "the run is too small");
    let disk = (1..=whole.disk_operations).flat_map(|at| [Failure::Disk(at), Failure::DiskFull(at)]);
    let store = (1..=whole.store_requests).flat_map(|at| [Failure::Refused(at), Failure::Unanswered(at)]);
    let failures: Vec<Failure> = disk.chain(store).collect();
    on_all_cores(failures.len() as u64, |index| {
        let report = simulate_scenario(Scenario::with_failure(SEED, failures[index as usize]), false);
        assert_eq!(report.violations, [], "{:?}", report.scenario);
        true
    });
}
