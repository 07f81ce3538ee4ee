//! What `benches/run detection` measures in memory: rules over events in arrays, on one core, beside the naive evaluator.
//!
//! `detection RULES [--rows N] [--seed S] [--arrow FILE]` prints one JSON object. The two evaluators must agree on the
//! first events before anything is timed. `--arrow` writes the events to a file, for what runs over history.
#![allow(clippy::unwrap_used, reason = "a benchmark ends where something is wrong")]

mod events;
#[path = "../../tests/naive/mod.rs"]
mod naive;
mod tripled;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use bodkin_rules::syntax::{Expr, parse_condition};
use bodkin_rules::{Events, Hit, Matching, Options, RuleFile, RuleSet};
use naive::columns::BatchRow;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 65_536;
const ROUNDS: usize = 3;
/// Rows that the naive evaluator is asked about.
const NAIVE_ROWS: usize = 131_072;

struct Args {
    rules: String,
    rows: usize,
    seed: u64,
    arrow: Option<String>,
}

fn args() -> Args {
    let mut args = Args { rules: String::new(), rows: 8_000_000, seed: 1, arrow: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rows" => args.rows = words.next().unwrap().parse().unwrap(),
            "--seed" => args.seed = words.next().unwrap().parse().unwrap(),
            "--arrow" => args.arrow = words.next(),
            _ => args.rules = word,
        }
    }
    args
}

fn load(name: &str, content: String) -> RuleSet {
    let (rules, report) = RuleSet::load(&[RuleFile { name: name.to_owned(), content }], &Options::default());
    rules.unwrap_or_else(|| panic!("{report}"))
}

/// The same rows with texts in another form.
fn with_texts(batch: &RecordBatch, text: &DataType) -> RecordBatch {
    let schema = batch.schema();
    let column = |(field, column): (&std::sync::Arc<arrow::datatypes::Field>, &ArrayRef)| {
        let is_text = matches!(column.data_type(), DataType::Dictionary(..));
        (field.name().clone(), if is_text { cast(column, text).unwrap() } else { column.clone() })
    };
    RecordBatch::try_from_iter(schema.fields().iter().zip(batch.columns()).map(column)).unwrap()
}

/// All hits of the naive evaluator, and its nanoseconds per event.
fn run_naive(rules: &RuleSet, batches: &[RecordBatch]) -> (Vec<Vec<Hit>>, f64) {
    let conditions: Vec<Expr> = rules.rules().iter().map(|rule| parse_condition(&rule.condition).unwrap()).collect();
    let (mut all, mut rows) = (Vec::new(), 0);
    let start = Instant::now();
    for batch in batches.iter().take_while(|batch| {
        rows += batch.num_rows();
        rows <= NAIVE_ROWS.max(batch.num_rows())
    }) {
        let fired = |row: usize| {
            let at = BatchRow { batch, row };
            (0..conditions.len()).filter_map({
                let conditions = &conditions;
                move |rule| naive::holds(&at, &conditions[rule]).then_some(Hit { row, rule })
            })
        };
        all.push((0..batch.num_rows()).flat_map(fired).collect());
    }
    let asked: usize = all.iter().zip(batches).map(|(_, batch): (&Vec<Hit>, _)| batch.num_rows()).sum();
    (all, start.elapsed().as_secs_f64() / asked as f64 * 1e9)
}

/// Nanoseconds per event, the best of some rounds, and the hits by rule.
fn measure(rules: &RuleSet, batches: &[RecordBatch]) -> (f64, Vec<u64>) {
    let events: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let mut best = f64::MAX;
    let mut by_rule = Vec::new();
    for _ in 0..ROUNDS {
        by_rule = vec![0; rules.rules().len()];
        let start = Instant::now();
        for batch in batches {
            rules.evaluate(Events::Batch(batch), Matching::All).iter().for_each(|hit| by_rule[hit.rule] += 1);
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    (best / events as f64 * 1e9, by_rule)
}

/// Holds the two evaluators against each other and gives the naive one's nanoseconds per event.
fn compare(name: &str, rules: &RuleSet, batches: &[RecordBatch]) -> f64 {
    let (expected, cost) = run_naive(rules, batches);
    for (index, (expected, batch)) in expected.iter().zip(batches).enumerate() {
        let found = rules.evaluate(Events::Batch(batch), Matching::All);
        assert!(
            found == *expected,
            "{name}: batch {index}: {} hits, the naive evaluator has {}",
            found.len(),
            expected.len()
        );
    }
    cost
}

fn main() -> io::Result<()> {
    let args = args();
    let content = std::fs::read_to_string(&args.rules)?;
    let once = load(&args.rules, content.clone());
    let thrice = load(&args.rules, tripled::tripled(&content));
    let mut host = events::Host::new(args.seed);
    let mut coded = Vec::new();
    let mut left = args.rows;
    while left > 0 {
        coded.push(host.batch(left.min(ROWS)));
        left -= left.min(ROWS);
    }
    if let Some(path) = &args.arrow {
        let mut writer = StreamWriter::try_new(BufWriter::new(File::create(path)?), &coded[0].schema()).unwrap();
        // Rows as agents send them: small batches.
        for batch in &coded {
            for start in (0..batch.num_rows()).step_by(8192) {
                writer.write(&batch.slice(start, 8192.min(batch.num_rows() - start))).unwrap();
            }
        }
        writer.finish().unwrap();
    }
    let naive = compare("the rules", &once, &coded);
    let naive_thrice = compare("the tripled rules", &thrice, &coded);
    let form = |batches: &[RecordBatch]| -> Value {
        let (cost, hits) = measure(&once, batches);
        let (more, _) = measure(&thrice, batches);
        json!({"ns": cost, "tripled_ns": more, "hits": hits.iter().sum::<u64>()})
    };
    let (_, hits) = measure(&once, &coded);
    let dictionary = form(&coded);
    let plain = {
        let part: Vec<RecordBatch> = coded.iter().take(16).map(|batch| with_texts(batch, &DataType::Utf8)).collect();
        form(&part)
    };
    let small: Vec<RecordBatch> = coded
        .iter()
        .take(16)
        .flat_map(|batch| {
            (0..batch.num_rows()).step_by(2048).map(|at| batch.slice(at, 2048.min(batch.num_rows() - at)))
        })
        .collect();
    let small = form(&small);
    let by_rule: Value = once.rules().iter().zip(&hits).map(|(rule, hits)| (rule.name.clone(), json!(hits))).collect();
    let rules = once.rules().iter().filter(|rule| rule.is_enabled).count();
    let said = json!({
        "rules": rules, "events": args.rows, "naive_ns": naive, "naive_tripled_ns": naive_thrice,
        "dictionary": dictionary, "plain": plain, "small_batches": small, "hits": by_rule,
    });
    writeln!(io::stdout(), "{said}")
}
