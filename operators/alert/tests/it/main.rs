//! What is unusual in series that were made, with default settings.

#[path = "../labelled/mod.rs"]
mod labelled;

use labelled::{NATURES, Score, Wanted, judge};

/// Kinds that differ most in how they are found; the others are the example's.
const FOUND: [&str; 5] = ["spike", "rise", "scatter", "stuck", "silence"];

/// `cargo run --release -p bodkin-alert --example anomaly` judges more seeds, paces and natures.
#[test]
fn planted_anomalies_of_every_kind_are_found_and_little_else() {
    for kind in FOUND {
        let mut sum = Score::default();
        for nature in NATURES.into_iter().step_by(2) {
            sum.add(judge(Wanted { seed: 1, kind, nature, step_s: 300, days: 28 }));
        }
        let (recall, precision) = (sum.recall(), sum.precision());
        assert!(recall >= 0.9 && precision >= 0.8, "{kind}: recall {recall}, precision {precision}");
    }
}
