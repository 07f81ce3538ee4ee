//! Breaks what comes from outside, for as long as asked: `fuzz [--target NAME] [--seconds N] [--seed S]`.
//!
//! It ends with what was done, or with a panic after the seed and the text that made it.

#[path = "../tests/fuzz/mod.rs"]
mod fuzz;

use fuzz::{Random, mutated, targets};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    let (mut wanted, mut seconds, mut seed) = (None, 60, 1_u64);
    let mut words = std::env::args().skip(1);
    while let (Some(flag), Some(value)) = (words.next(), words.next()) {
        match flag.as_str() {
            "--target" => wanted = Some(value),
            "--seconds" => seconds = value.parse().map_err(io::Error::other)?,
            _ => seed = value.parse().map_err(io::Error::other)?,
        }
    }
    let mut all = targets(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"));
    all.retain(|target| wanted.as_ref().is_none_or(|wanted| wanted == target.name));
    let share = Duration::from_secs(seconds) / all.len().max(1) as u32;
    for target in &all {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (start, mut rounds, mut slowest) = (Instant::now(), 0_u64, Duration::ZERO);
        while start.elapsed() < share {
            let text = &target.seeds[random.below(target.seeds.len())];
            let other = &target.seeds[random.below(target.seeds.len())];
            let text = mutated(&mut random, text, other);
            let began = Instant::now();
            if catch_unwind(AssertUnwindSafe(|| (target.take)(&text))).is_err() {
                let text = String::from_utf8_lossy(&text).into_owned();
                return Err(io::Error::other(format!("{}: seed {seed}, round {rounds}: {text}", target.name)));
            }
            slowest = slowest.max(began.elapsed());
            rounds += 1;
        }
        writeln!(io::stdout(), "{}: {rounds} texts, the slowest took {slowest:.1?}", target.name)?;
    }
    Ok(())
}
