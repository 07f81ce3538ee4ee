//! SAFE-1: whatever comes, there is an answer. `cargo run --release -p bodkin-rules --example fuzz_rules` does it for longer.

use crate::fuzz::{PIECES, targets};
use bodkin_fuzz::{Random, mutated};
use std::path::Path;

#[test]
fn broken_texts_get_an_answer() {
    let rounds = if cfg!(debug_assertions) { 400 } else { 20_000 };
    for mut target in targets(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")) {
        assert!(!target.seeds.is_empty(), "{} has nothing to start from", target.name);
        let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
        for seed in &target.seeds {
            (target.take)(seed);
        }
        for round in 0..rounds {
            let (seed, other) = (&target.seeds[round % target.seeds.len()], random.pick(&target.seeds));
            (target.take)(&mutated(&mut random, seed, other, PIECES));
        }
    }
}
