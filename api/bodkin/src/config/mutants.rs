//! SAFE-1: whatever is done to a configuration, it is taken or refused with a reason.

use super::ServerConfig;
use crate::server::graph_of;
use bodkin_fuzz::Random;
use std::fmt::Write;

/// A file with something of every section.
const WHOLE: &str = "\
rules:
  files: [a.yaml]
  matching: all
  switch: [{disable: {tag: network}}]
  append_output: [{match: {source: syscall}, extra_output: x}]
  output: {file: f, limit: {by: [rule], at_most: 5, every: 1m}}
tables: {events: {retention: 30d}}
cloudtrail: {buckets: [{url: 's3://b/p', every: 30s}]}
channels:
  hook: {webhook: {url: 'http://127.0.0.1:1/'}}
agents: []
graph:
  operators:
    quiet: {inputs: [events], filter: \"evt_type <> 'close'\"}
    half: {inputs: [quiet], sample: {keep: 0.5, by: [pid]}}
    slim: {inputs: [half], sql: 'SELECT pid, comm FROM input'}
    per: {inputs: [events], window: \"SELECT comm, count(*) AS n FROM events GROUP BY comm, tumble(ts, '10s')\"}
    ways: {inputs: [events], route: [{to: failed, when: result < 0}, {to: rest}]}
  tables: {events: [quiet]}
";

fn mutant(random: &mut Random, text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(3) {
        let (at, other) = (random.below(letters.len()), random.below(letters.len()));
        match random.below(6) {
            0 => drop(letters.drain(at..(at + 1 + random.below(12)).min(letters.len()))),
            1 => letters
                .insert(at, ['{', '}', '[', ']', ':', '\'', '\"', '&', '*', '\n', '-', '\0', 'é'][random.below(13)]),
            2 => letters.swap(at, other),
            3 => letters.truncate(at.max(1)),
            4 => {
                let piece: Vec<char> = letters[at..(at + 20).min(letters.len())].to_vec();
                letters.splice(other..other, piece);
            }
            _ => {
                let number = ["-1", "18446744073709551616", "1e400", "0", "99999999d", "~", ".nan"][random.below(7)];
                letters.splice(at..at, number.chars());
            }
        }
        if letters.is_empty() {
            letters.push('a');
        }
    }
    letters.into_iter().collect()
}

fn outcome(text: &str) -> Result<(), String> {
    ServerConfig::parse(text).map_err(|error| format!("{error:#}"))?;
    graph_of(text).map(drop).map_err(|error| format!("{error:#}"))
}

#[test]
fn the_whole_is_taken() {
    outcome(WHOLE).unwrap();
}

#[test]
fn mutants_are_taken_or_refused_with_a_reason() {
    let mut random = Random::new(1);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..1500 {
        match outcome(&mutant(&mut random, WHOLE)) {
            Ok(()) => taken += 1,
            Err(reason) => {
                assert!(!reason.trim().is_empty());
                refused += 1;
            }
        }
    }
    assert!(taken > 20 && refused > 500, "{taken} taken, {refused} refused");
}

#[test]
fn bombs_are_refused() {
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = vec![format!("*a{}", level - 1); 10].join(", ");
        let _ = writeln!(aliases, "a{level}: &a{level} [{before}]");
    }
    assert!(outcome(&aliases).is_err());
    let deep = format!("rules: {}1{}", "[".repeat(20_000), "]".repeat(20_000));
    assert!(outcome(&deep).is_err());
}
