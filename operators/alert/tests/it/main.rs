//! What is unusual in series that were made, with default settings.

#[path = "../labelled/mod.rs"]
mod labelled;

use labelled::{Score, Wanted, judge};

/// Kinds that differ most in how they are found; the others are the example's.
const FOUND: [&str; 5] = ["spike", "rise", "scatter", "stuck", "silence"];

/// Nature, time between two values, and days. An hourly series whose noise is slow hides small shifts.
const SERIES: [(&str, i64, usize); 3] = [("slow", 300, 28), ("heavy", 900, 21), ("sines", 3600, 21)];

/// `cargo run --release -p bodkin-alert --example anomaly` judges more seeds, paces and natures.
#[test]
fn planted_anomalies_of_every_kind_are_found_and_little_else() {
    for kind in FOUND {
        let mut sum = Score::default();
        // That values scatter shows in more of them than a few hours have.
        for (nature, step_s, days) in SERIES.into_iter().filter(|series| kind != "scatter" || series.1 < 3600) {
            sum.add(judge(Wanted { seed: 1, kind, nature, step_s, days }));
        }
        let (recall, precision) = (sum.recall(), sum.precision());
        assert!(recall >= 0.9 && precision >= 0.8, "{kind}: recall {recall}, precision {precision}");
    }
}
