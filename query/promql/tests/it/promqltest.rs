//! Prometheus's own test scripts, all of them, with the exact count of what passes.

use std::path::Path;

use bodkin_promql::{Engine, EngineOptions, Release};

use crate::script::{parse, run};

/// Runs all scripts of a folder: how many queries passed of how many, and what failed.
fn run_folder(folder: &str, options: EngineOptions) -> (usize, usize, Vec<String>) {
    let engine = Engine::new(options);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/promqltest").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(path).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "test"));
    files.sort();
    let (mut passed, mut total, mut failures) = (0, 0, Vec::new());
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        for section in parse::sections(&text) {
            run::run(&engine, &section, |eval, failure| {
                total += 1;
                match failure {
                    None => passed += 1,
                    Some(why) => failures.push(format!("{name}:{} {}\n    {why}", eval.line, eval.query)),
                }
            });
        }
    }
    (passed, total, failures)
}

fn report(failures: &[String]) -> String {
    if let Ok(path) = std::env::var("PROMQL_FAILURES") {
        std::fs::write(path, failures.join("\n")).unwrap();
    }
    failures.join("\n")
}

#[test]
fn scripts_of_prometheus_3_5() {
    let options = EngineOptions { threads: 1, ..EngineOptions::default() };
    let (passed, total, failures) = run_folder("v3.5.3", options);
    assert_eq!((passed, total), (1479, 1479), "{}", report(&failures));
}

#[test]
fn scripts_of_prometheus_3_14() {
    let options = EngineOptions { threads: 2, release: Release::V3_14, ..EngineOptions::default() };
    let (passed, total, failures) = run_folder("v3.14.0", options);
    assert_eq!((passed, total), (2195, 2195), "{}", report(&failures));
}

#[test]
fn scripts_of_what_was_found() {
    let (passed, total, failures) = run_folder("found", EngineOptions::default());
    assert_eq!((passed, total), (6, 6), "{}", report(&failures));
}
