//! `./check --simulate N`: runs N seeds, prints what was violated, and how to repeat it.
#![allow(clippy::print_stdout, reason = "a command says what it found")]

use bodkin_simulator::{Mutation, Report, simulate};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the command line asks for.
#[derive(Default)]
struct Args {
    seeds: u64,
    from: u64,
    only: Option<u64>,
    mutation: Option<Mutation>,
}

fn parse() -> Result<Args, String> {
    let mut args = Args { seeds: 1000, ..Args::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|error| format!("{word} {value}: {error}"));
        match word.as_str() {
            "--seeds" => args.seeds = number()?,
            "--from" => args.from = number()?,
            "--seed" => args.only = Some(number()?),
            "--mutation" => {
                let all = Mutation::ALL.map(|mutation| format!("{mutation:?}")).join(", ");
                args.mutation =
                    Some(Mutation::from_name(&value).ok_or(format!("no mutation {value}; there are {all}"))?);
            }
            _ => return Err(format!("{word}: expected --seeds N, --from SEED, --seed SEED, --mutation NAME")),
        }
    }
    Ok(args)
}

fn show(report: &Report) {
    println!("seed {}: {:?}", report.scenario.seed, report.scenario);
    for violation in &report.violations {
        println!("  {}: {}", violation.id, violation.what);
    }
    println!("  again: cargo run -p bodkin-simulator --example simulate -- --seed {}", report.scenario.seed);
}

fn main() -> ExitCode {
    let args = match parse() {
        Ok(args) => args,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = args.only {
        let report = simulate(seed, args.mutation, true);
        report.trace.iter().for_each(|line| println!("{line}"));
        show(&report);
        println!("1 seeds, {} violations", report.violations.len());
        return ExitCode::from(u8::from(!report.violations.is_empty()));
    }
    let (next, violations, printing) = (AtomicU64::new(args.from), AtomicU64::new(0), Mutex::new(()));
    let end = args.from + args.seeds;
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let report = simulate(seed, args.mutation, false);
            if !report.violations.is_empty() {
                violations.fetch_add(report.violations.len() as u64, Ordering::Relaxed);
                let _printing = printing.lock().unwrap_or_else(PoisonError::into_inner);
                show(&report);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let violations = violations.load(Ordering::Relaxed);
    println!("{} seeds, {violations} violations", args.seeds);
    ExitCode::from(u8::from(violations > 0))
}
