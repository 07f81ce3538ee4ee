//! Breaks what comes from outside, for as long as asked: `fuzz_rules TARGET|all [SECONDS] [SEED]`.
//!
//! Targets: `rules`, `condition`, `k8s_audit`, `cloudtrail`. A panic ends the program with the text that made it.

#[path = "../tests/fuzz/mod.rs"]
mod fuzz;

use bodkin_fuzz::{Arguments, run};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let arguments = Arguments::of_process();
    let targets = fuzz::targets(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"));
    let mut targets = targets.into_iter().filter(|target| arguments.wants(target.name));
    targets.try_for_each(|target| run(target, &arguments))
}
