use crate::{Corpus, Random, mutated};
use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Inputs that are kept to be mutated again.
const CORPUS_MAX: usize = 4_096;
/// Inputs between two looks at the memory.
const INPUTS_PER_LOOK: usize = 1_000;

/// Takes one input; true if it was a good one.
pub type Take = Box<dyn FnMut(&[u8]) -> bool>;

/// A reader of foreign bytes.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Good inputs.
    pub seeds: Vec<Vec<u8>>,
    /// The reader.
    pub take: Take,
    /// Words of its language; none where it has none.
    pub pieces: &'static [&'static str],
    /// Longest input.
    pub bytes_max: usize,
    /// Memory that the process may have.
    pub memory_mib_max: u64,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a fuzzer is told: `TARGET|all [SECONDS] [SEED]`, each target for so long.
#[derive(Clone, Debug)]
pub struct Arguments {
    target: String,
    /// For each target.
    pub time: Duration,
    /// Equal seeds give equal inputs.
    pub seed: u64,
}

impl Arguments {
    /// Those of this process; all targets for 10 seconds with seed 1 where it has none.
    pub fn of_process() -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let number = |at: usize, otherwise: u64| words.get(at).and_then(|word| word.parse().ok()).unwrap_or(otherwise);
        let target = words.first().cloned().unwrap_or_else(|| "all".to_owned());
        Self { target, time: Duration::from_secs(number(1, 10)), seed: number(2, 1) }
    }

    /// Whether this target is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.target == "all" || self.target == name
    }
}

/// Throws mutants at a target, and says how many.
///
/// # Errors
/// A panic, with the input that made it; more memory than there may be.
pub fn run(mut target: Target, arguments: &Arguments) -> io::Result<()> {
    let (name, seed, begun) = (target.name, arguments.seed, Instant::now());
    let (mut random, mut corpus) = (Random::new(seed), Corpus::new(target.seeds, CORPUS_MAX));
    let (mut inputs, mut good, mut memory, mut slowest) = (0_u64, 0_u64, 0, Duration::ZERO);
    while begun.elapsed() < arguments.time {
        for _ in 0..INPUTS_PER_LOOK {
            let (input, other) = (corpus.pick(&mut random), corpus.pick(&mut random));
            let mut input = mutated(&mut random, input, other, target.pieces);
            input.truncate(target.bytes_max);
            let started = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| (target.take)(&input)));
            slowest = slowest.max(started.elapsed());
            let Ok(is_good) = outcome else {
                let text = String::from_utf8_lossy(&input);
                return Err(io::Error::other(format!("{name}: a panic, seed {seed}, input {input:?}: {text}")));
            };
            inputs += 1;
            if is_good {
                good += 1;
                corpus.keep(&mut random, input);
            }
            if begun.elapsed() >= arguments.time {
                break;
            }
        }
        memory = resident_mib().max(memory);
        if memory > target.memory_mib_max {
            return Err(io::Error::other(format!("{name}: {memory} MiB of memory, seed {seed}")));
        }
    }
    writeln!(
        io::stdout(),
        "{name:18}{inputs} inputs, {good} of them good, the slowest took {slowest:.1?}, {memory} MiB, no panic"
    )
}

/// Memory of this process.
pub fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1_024
}
