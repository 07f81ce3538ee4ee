//! What is unusual in series that were made, with default settings.

#[path = "../labelled/mod.rs"]
mod labelled;

use labelled::{Score, Wanted, judge};

/// Kinds that differ most in how they are found; the others are the example's.
const FOUND: [&str; 5] = ["spike", "rise", "scatter", "stuck", "silence"];

/// Nature, time between two values, and days.
const SERIES: [(&str, i64, usize); 3] = [("heavy", 900, 21), ("counts", 3600, 28), ("slow", 3600, 21)];

/// `cargo run --release -p bodkin-alert --example anomaly` judges more seeds, paces and natures.
#[test]
fn planted_anomalies_of_every_kind_are_found_and_little_else() {
    for kind in FOUND {
        let mut sum = Score::default();
        for (nature, step_s, days) in SERIES {
            // One of the hourly series of a seed has only five anomalies.
            let seeds = if step_s == 3600 { 1..=3 } else { 1..=1 };
            seeds.for_each(|seed| sum.add(judge(Wanted { seed, kind, nature, step_s, days })));
        }
        let (recall, precision) = (sum.recall(), sum.precision());
        assert!(recall >= 0.9 && precision >= 0.8, "{kind}: recall {recall}, precision {precision}");
    }
}
