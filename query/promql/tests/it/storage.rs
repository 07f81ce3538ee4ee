//! What the evaluator asks of a store, and what it makes of the answer.

use std::ops::Range;
use std::sync::Mutex;

use bodkin_promql::{
    Engine, EngineOptions, Error, Labels, QueryOptions, SampleBatch, Select, Selection, Storage, StorageError, Value,
};

use crate::memory::{Memory, Point};

/// Notes what is asked for.
#[derive(Default)]
struct Recorder {
    asked: Mutex<Vec<String>>,
    fails: bool,
}

struct Empty;

impl Storage for Recorder {
    fn select(&self, request: &Select<'_>) -> Result<Box<dyn Selection>, StorageError> {
        let matchers: Vec<String> = request.matchers.iter().map(ToString::to_string).collect();
        let hints = &request.hints;
        self.asked.lock().unwrap().push(format!(
            "{} ({}, {}] step {} range {} {}",
            matchers.join(","),
            request.start_ms - 1,
            request.end_ms,
            hints.step_ms,
            hints.range_ms,
            hints.function
        ));
        if self.fails { Err(StorageError::Internal("disk on fire".to_owned())) } else { Ok(Box::new(Empty)) }
    }
}

impl Selection for Empty {
    fn series(&self) -> &[Labels] {
        &[]
    }

    fn read(&self, _: Range<usize>) -> Result<SampleBatch, StorageError> {
        Ok(SampleBatch::default())
    }

    fn warnings(&self) -> Vec<String> {
        vec!["hours before yesterday come from a rollup".to_owned()]
    }
}

fn asked(query: &str) -> Vec<String> {
    let store = Recorder::default();
    let engine = Engine::new(EngineOptions::default());
    engine.range(&store, query, 600_000, 900_000, 60_000, &QueryOptions::default()).unwrap();
    store.asked.into_inner().unwrap()
}

#[test]
fn asks_for_the_times_that_steps_need() {
    assert_eq!(asked("a{b=\"c\"}"), [r#"b="c",__name__="a" (300000, 900000] step 60000 range 0 "#]);
    assert_eq!(asked("rate(a[2m])"), [r#"__name__="a" (480000, 900000] step 60000 range 120000 rate"#]);
    assert_eq!(asked("a offset 1m"), [r#"__name__="a" (240000, 840000] step 60000 range 0 "#]);
    assert_eq!(asked("a @ 100"), [r#"__name__="a" (-200000, 100000] step 60000 range 0 "#]);
    assert_eq!(asked("a @ end()"), [r#"__name__="a" (600000, 900000] step 60000 range 0 "#]);
    let subquery = asked("max_over_time(rate(a[1m])[5m:30s] offset 1m)");
    assert_eq!(subquery, [r#"__name__="a" (210000, 840000] step 60000 range 60000 rate"#]);
    assert_eq!(asked("a / a"), [r#"__name__="a" (300000, 900000] step 60000 range 0 "#; 2]);
    let smoothed = asked("rate(a[1m] smoothed)");
    assert_eq!(smoothed, [r#"__name__="a" (240000, 1200000] step 60000 range 60000 rate"#]);
}

#[test]
fn passes_on_what_the_store_says() {
    let engine = Engine::new(EngineOptions::default());
    let options = QueryOptions::default();
    let result = engine.instant(&Recorder::default(), "a", 0, &options).unwrap();
    assert_eq!(result.warnings, ["hours before yesterday come from a rollup"]);
    let failing = Recorder { fails: true, ..Recorder::default() };
    let error = engine.instant(&failing, "sum(a)", 0, &options).unwrap_err();
    assert_eq!(error, Error::Storage("expanding series: disk on fire".to_owned()));
    assert_eq!(error.kind().as_str(), "internal");
}

fn store() -> Memory {
    let mut store = Memory::default();
    for (name, rate) in [("a_total", 1.0), ("b_total", 2.0)] {
        let labels = Labels::from_pairs([("__name__", name), ("__type__", "counter"), ("x", "y")]);
        for k in 0..60i64 {
            store.put(&labels, k * 15_000, Point::Float(k as f64 * rate), 0);
        }
    }
    store
}

#[test]
fn counts_samples_of_all_steps_and_of_each() {
    let engine = Engine::new(EngineOptions::default());
    let options = QueryOptions { per_step_stats: true, ..QueryOptions::default() };
    let result = engine.range(&store(), "rate(a_total[1m])", 300_000, 420_000, 60_000, &options).unwrap();
    assert_eq!(result.stats.total_queryable_samples, 12);
    assert_eq!(result.stats.total_queryable_samples_per_step, [(300_000, 4), (360_000, 4), (420_000, 4)]);
    let result = engine.instant(&store(), "{x=\"y\"}", 300_000, &options).unwrap();
    assert_eq!(result.stats.total_queryable_samples, 2);
    assert!(result.stats.peak_bytes > 0 && result.stats.peak_samples >= 2);
}

#[test]
fn rows_without_gaps_share_their_times() {
    let engine = Engine::new(EngineOptions::default());
    let result = engine.range(&store(), "{x=\"y\"}", 300_000, 420_000, 60_000, &QueryOptions::default()).unwrap();
    let Value::Matrix(series) = result.value else { panic!("no matrix") };
    assert_eq!(series[0].timestamps.as_ptr(), series[1].timestamps.as_ptr());
    assert_eq!(series[0].timestamps[..], [300_000, 360_000, 420_000]);
    assert_eq!(series[1].values[..], [40.0, 48.0, 56.0]);
}

#[test]
fn options_of_a_query_count() {
    let engine = Engine::new(EngineOptions::default());
    let store = store();
    let count = |options: &QueryOptions| {
        let result = engine.instant(&store, "count(a_total)", 1_000_000, options).unwrap();
        matches!(result.value, Value::Vector { samples, .. } if samples.len() == 1)
    };
    // The last sample is 115 s old.
    assert!(count(&QueryOptions::default()));
    assert!(!count(&QueryOptions { lookback: Some(std::time::Duration::from_secs(60)), ..QueryOptions::default() }));
    let annotations_max = 1;
    let options = QueryOptions { annotations_max, ..QueryOptions::default() };
    let both = "quantile(2, a_total) or quantile(3, b_total)";
    let result = engine.instant(&store, both, 300_000, &options).unwrap();
    assert_eq!(result.warnings.len(), 2);
    assert_eq!(result.warnings[1], "1 more warning annotations omitted");
}
