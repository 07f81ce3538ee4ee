//! Breaks queries, and evaluates what is left of them: `fuzz_promql all [SECONDS] [SEED]`.
//!
//! Inputs are mutations of the queries of Prometheus's test scripts: pieces of one in the place of pieces of another. Each is
//! parsed, printed, parsed again (the same text must come out), and evaluated over strange samples at one time and over a
//! range. A panic ends the program with the query that made it; memory has to stay where it was.

#[path = "../tests/it/memory.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "a store for tests, which use all of it")]
mod memory;

use bodkin_fuzz::{Arguments, Corpus, Random, resident_mib};
use bodkin_promql::{Engine, EngineOptions, FloatHistogram, Labels, Limits, QueryOptions, Release, parse};
use memory::{Memory, Point};
use std::io::{Error, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CORPUS_MAX: usize = 8_192;
const QUERY_BYTES_MAX: usize = 600;
const MEMORY_MIB_MAX: u64 = 1_024;
/// Longer than any query may take: it has a second.
const SLOW: Duration = Duration::from_secs(5);

/// A query in pieces that mean something.
fn pieces(query: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut kind) = (Vec::new(), 0, 0);
    for (at, c) in query.char_indices() {
        let next = if c.is_alphanumeric() || c == '_' || c == ':' { 1 } else { 2 + at };
        if next != kind && at > start {
            pieces.push(&query[start..at]);
            start = at;
        }
        kind = next;
    }
    pieces.push(&query[start..]);
    pieces
}

fn mutated(random: &mut Random, query: &str, other: &str) -> String {
    const MORE: [&str; 20] = [
        "-",
        "(",
        ")",
        "[5m]",
        "[1m:10s]",
        " offset -1m",
        " @ 0",
        " @ end()",
        "{",
        "}",
        "=~\".+\"",
        " or ",
        " ^ ",
        " bool ",
        "NaN",
        "1e308",
        " group_left() ",
        " atan2 ",
        " smoothed",
        "by (a) ",
    ];
    let (mut mine, theirs) = (pieces(query), pieces(other));
    for _ in 0..1 + random.below(3) {
        let at = random.below(mine.len() + 1);
        match random.below(5) {
            0 => mine.insert(at, MORE[random.below(MORE.len())]),
            1 if at < mine.len() => drop(mine.remove(at)),
            2 if at < mine.len() => mine[at] = theirs[random.below(theirs.len())],
            3 => {
                let from = random.below(theirs.len());
                let piece = theirs[from..(from + random.below(8)).min(theirs.len())].to_vec();
                drop(mine.splice(at..at, piece));
            }
            _ => {
                let from = random.below(mine.len());
                let piece = mine[from..(from + random.below(12)).min(mine.len())].to_vec();
                drop(mine.splice(at..at, piece));
            }
        }
    }
    let mut query = mine.concat();
    while query.len() > QUERY_BYTES_MAX {
        query.pop();
    }
    query
}

/// The queries of the scripts.
fn corpus() -> Result<Vec<String>, Error> {
    let mut corpus = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/promqltest/v3.14.0");
    for file in std::fs::read_dir(folder)? {
        let text = std::fs::read_to_string(file?.path())?;
        corpus.extend(text.lines().filter_map(|line| {
            let query = line.trim().strip_prefix("eval ")?;
            let query = query.split_once(" at ").or_else(|| query.split_once(" step "))?.1;
            query.split_once(' ').map(|(_, query)| query.to_owned())
        }));
    }
    corpus.sort();
    corpus.dedup();
    Ok(corpus)
}

fn store() -> Memory {
    let mut store = Memory::default();
    let values = [0.0, -0.0, 1.0, 5e-324, 1e308, -1e308, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 3.0, 2.0];
    for (number, name) in ["http_requests_total", "metric", "foo", "x", "data", "testcounter"].iter().enumerate() {
        for i in 0..4 {
            let le = ["0.1", "1", "5.0", "+Inf"][i];
            let pairs = [("__name__", *name), ("job", "api"), ("instance", &i.to_string()), ("le", le)];
            let labels = Labels::from_pairs(pairs);
            for k in 0..30i64 {
                let at = (k as usize * (i + 1) + number) % values.len();
                let histogram =
                    FloatHistogram { count: 3.0, sum: values[at], zero_count: k as f64, ..Default::default() };
                let is_histogram = i == 3 && number % 2 == 0 && k % 5 != 0;
                let point = if is_histogram { Point::Histogram(Arc::new(histogram)) } else { Point::Float(values[at]) };
                store.put(&labels, k * 15_000, point, 0);
            }
        }
    }
    store
}

/// Takes a query; true if it parses.
fn take(engine: &Engine, store: &Memory, query: &str) -> bool {
    let options = QueryOptions { timeout: Some(Duration::from_secs(1)), ..QueryOptions::default() };
    // What it answers does not matter here, only that it does.
    let _ = engine.instant(store, query, 300_000, &options);
    let _ = engine.range(store, query, 0, 420_000, 30_000, &options);
    let Ok(expr) = parse(query) else { return false };
    let printed = expr.to_string();
    match parse(&printed) {
        // Infinity is printed with a sign, as in Prometheus, and a sign before a power is an operator: one more each time.
        Ok(again) => {
            assert!(printed.contains("Inf") || again.to_string() == printed, "{printed:?} is printed as {again}")
        }
        Err(error) => panic!("{printed:?} was printed, and {error}"),
    }
    true
}

fn main() -> Result<(), Error> {
    let Arguments { time, seed, .. } = Arguments::of_process();
    let limits = Limits { bytes_max: 64 << 20, ..Limits::default() };
    let engine = Engine::new(EngineOptions { release: Release::V3_14, limits, threads: 1, ..EngineOptions::default() });
    let (store, mut corpus, mut random) = (store(), Corpus::new(corpus()?, CORPUS_MAX), Random::new(seed));
    let (begun, mut inputs, mut good, mut slowest) = (Instant::now(), 0_u64, 0_u64, Duration::ZERO);
    while begun.elapsed() < time {
        let (one, other) = (corpus.pick(&mut random), corpus.pick(&mut random));
        let query = mutated(&mut random, one, other);
        let started = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| take(&engine, &store, &query)));
        slowest = slowest.max(started.elapsed());
        let Ok(is_good) = outcome else {
            return Err(Error::other(format!("a panic, seed {seed}, query {query:?}")));
        };
        if started.elapsed() > SLOW {
            return Err(Error::other(format!("{:?} for the query {query:?}", started.elapsed())));
        }
        inputs += 1;
        if is_good {
            good += 1;
            corpus.keep(&mut random, query);
        }
    }
    let memory = resident_mib();
    if memory > MEMORY_MIB_MAX {
        return Err(Error::other(format!("{memory} MiB of memory, seed {seed}")));
    }
    writeln!(
        std::io::stdout(),
        "promql: {inputs} queries, {good} of them good, the slowest took {slowest:.1?}, {memory} MiB, no panic"
    )
}
