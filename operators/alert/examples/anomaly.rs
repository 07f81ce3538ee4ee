//! Recall and precision of `anomaly: {}` on series that are made from seeds: `anomaly [FROM [TO [STEP_S [DAYS]]]]`.
//!
//! Prints a line for each kind of anomaly, over all natures of series; ends with 1 where recall is below 0.9 or precision
//! below 0.8.
#![allow(clippy::print_stdout, reason = "its answer")]

#[path = "../tests/labelled/mod.rs"]
mod labelled;

use labelled::{KINDS, NATURES, Score, Wanted, judge};
use std::process::ExitCode;

fn main() -> Result<ExitCode, std::num::ParseIntError> {
    let numbers = std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<Vec<u64>, _>>()?;
    let number = |at: usize, otherwise: u64| numbers.get(at).copied().unwrap_or(otherwise);
    let from = number(0, 1);
    let (to, step_s, days) = (number(1, from + 4), number(2, 300) as i64, number(3, 28) as usize);
    println!("seeds {from} to {to}, a value every {step_s} s, {days} days\n");
    println!("| kind | planted | recall | alerts | precision | worst nature |\n|---|---|---|---|---|---|");
    let mut is_good = true;
    for kind in KINDS {
        let (mut all, mut worst) = (Score::default(), (f64::INFINITY, ""));
        for nature in NATURES.into_iter().filter(|nature| (kind, *nature) != ("phase", "flat")) {
            let mut sum = Score::default();
            (from..=to).for_each(|seed| sum.add(judge(Wanted { seed, kind, nature, step_s, days })));
            let least = sum.recall().min(sum.precision());
            if least < worst.0 {
                worst = (least, nature);
            }
            all.add(sum);
        }
        let (recall, precision) = (all.recall(), all.precision());
        is_good &= recall >= 0.9 && precision >= 0.8;
        println!(
            "| {kind} | {} | {recall:.3} | {} | {precision:.3} | {} {:.2} |",
            all.planted, all.alerts, worst.1, worst.0
        );
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
