//! What is meant to break the evaluator does not.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bodkin_promql::histogram::ResetHint;
use bodkin_promql::{
    BucketSpan, CancelToken, Engine, EngineOptions, Error, FloatHistogram, Labels, Limits, QueryOptions, Release,
    SampleBatch, Select, Selection, Storage, StorageError, Value,
};
use proptest::prelude::*;

use crate::memory::{Memory, Point};

fn series(name: &str, i: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", name),
        ("a", &format!("{}", i % 3)),
        ("b", &format!("{i}")),
        ("le", &format!("{}", i % 4)),
    ])
}

/// Floats of all kinds, and histograms that no client should send.
fn strange() -> Memory {
    let mut store = Memory::default();
    let floats = [0.0, -0.0, 1.0, 5e-324, 1e308, -1e308, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 3.0, 2.0];
    for i in 0..6 {
        for k in 0..40i64 {
            let value = floats[(k as usize * (i + 1)) % floats.len()];
            store.put(&series("m", i), k * 15_000, Point::Float(value), 0);
        }
    }
    for (i, histogram) in broken_histograms().into_iter().enumerate() {
        for k in 0..20i64 {
            let mut histogram = histogram.clone();
            histogram.mul(1.0 + (k % 5) as f64);
            let point = if k % 7 == 6 { Point::Float(1.0) } else { Point::Histogram(Arc::new(histogram)) };
            store.put(&series("h", i), k * 15_000, point, 0);
        }
    }
    store
}

fn broken_histograms() -> Vec<FloatHistogram> {
    let span = |offset, length| BucketSpan { offset, length };
    let with = |schema, spans: Vec<BucketSpan>, counts: Vec<f64>| FloatHistogram {
        schema,
        count: 10.0,
        sum: 5.0,
        zero_threshold: 0.001,
        zero_count: 1.0,
        positive_spans: spans.clone(),
        positive_buckets: counts.clone(),
        negative_spans: spans,
        negative_buckets: counts,
        ..FloatHistogram::default()
    };
    vec![
        with(0, vec![span(0, 3)], vec![1.0, 2.0, 3.0]),
        with(3, vec![span(-2, 1), span(1, 2)], vec![1.0, 2.0, 3.0]),
        with(8, vec![span(i32::MAX, 2), span(i32::MAX, 1)], vec![1.0, 2.0, 3.0]),
        with(-4, vec![span(i32::MIN, u32::MAX)], vec![1.0, 2.0]),
        with(100, vec![span(0, 10)], vec![1.0]),
        with(i32::MIN, vec![span(5, 1)], vec![f64::NAN]),
        with(-53, vec![span(0, 5)], vec![1.0, 1.0, 1.0, 1.0, 1.0]),
        FloatHistogram {
            schema: -53,
            count: 3.0,
            sum: f64::NAN,
            custom_values: [1.0, 2.0, f64::INFINITY].into(),
            positive_spans: vec![span(0, 2), span(9, 1)],
            positive_buckets: vec![1.0, 1.0, 1.0],
            reset_hint: ResetHint::Gauge,
            ..FloatHistogram::default()
        },
        FloatHistogram { zero_threshold: f64::INFINITY, zero_count: 3.0, count: f64::NAN, ..FloatHistogram::default() },
        FloatHistogram::default(),
    ]
}

/// A query out of random pieces, some of them well typed.
fn query() -> impl Strategy<Value = String> {
    let functions = [
        "abs",
        "ceil",
        "exp",
        "sgn",
        "hour",
        "days_in_month",
        "timestamp",
        "histogram_avg",
        "histogram_stddev",
        "sort_desc",
        "absent",
        "histogram_count",
        "-",
    ];
    let over_time = [
        "rate",
        "increase",
        "delta",
        "irate",
        "idelta",
        "changes",
        "resets",
        "deriv",
        "avg_over_time",
        "sum_over_time",
        "max_over_time",
        "stdvar_over_time",
        "mad_over_time",
        "last_over_time",
        "ts_of_min_over_time",
        "absent_over_time",
    ];
    let aggregations = [
        "sum",
        "avg",
        "min",
        "count",
        "group",
        "stddev",
        "topk(2, ",
        "quantile(0.3, ",
        "limit_ratio(0.5, ",
        "count_values(\"v\", ",
    ];
    let operators = ["+", "/", "%", "^", "==", "> bool", "and", "or", "unless", "atan2", "</", ">/"];
    let leaf = prop_oneof![
        Just("m".to_owned()),
        Just("h".to_owned()),
        Just("{__name__=~\"m|h\"}".to_owned()),
        Just("h{b=\"1\"} offset -30s".to_owned()),
        Just("m @ 300 smoothed".to_owned()),
        prop::sample::select(over_time.to_vec()).prop_map(|f| format!("{f}(h[2m])")),
        prop::sample::select(over_time.to_vec())
            .prop_map(|f| format!("{f}({{__name__=~\"m|h\"}}[1m7s] @ 240 offset 9s)")),
        Just("rate(h[2m] anchored)".to_owned()),
        Just("increase(h[45s] smoothed)".to_owned()),
        Just("quantile_over_time(0.5, m[1m])".to_owned()),
        Just("predict_linear(m[3m], 60)".to_owned()),
        Just("vector(time())".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 2, move |inner| {
        prop_oneof![
            (prop::sample::select(functions.to_vec()), inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (prop::sample::select(aggregations.to_vec()), inner.clone()).prop_map(|(f, a)| if f.ends_with(' ') {
                format!("{f}{a})")
            } else {
                format!("{f} by (a) ({a})")
            }),
            (prop::sample::select(operators.to_vec()), inner.clone(), inner.clone())
                .prop_map(|(op, a, b)| format!("({a}) {op} on (b) ({b})")),
            (prop::sample::select(operators.to_vec()), inner.clone()).prop_map(|(op, a)| format!("({a}) {op} 0.7")),
            inner.clone().prop_map(|a| format!("histogram_quantile(0.9, {a})")),
            inner.clone().prop_map(|a| format!("histogram_fraction(-1, 2, {a})")),
            inner.clone().prop_map(|a| format!("max_over_time(({a})[2m:20s])")),
            inner.prop_map(|a| format!("label_replace({a}, \"a\", \"$1x\", \"b\", \"(.*)\")")),
        ]
    })
}

proptest! {
    #[test]
    fn evaluates_anything_without_panic(text in query(), release in any::<bool>(), threads in 1usize..3) {
        let release = if release { Release::V3_5 } else { Release::V3_14 };
        let engine = Engine::new(EngineOptions { release, threads, ..EngineOptions::default() });
        let store = strange();
        let options = QueryOptions::default();
        let instant = engine.instant(&store, &text, 240_000, &options);
        let range = engine.range(&store, &text, 180_000, 300_000, 60_000, &options);
        // One evaluator serves both: what a step of a range gives, an instant query gives, too.
        if let (Ok(instant), Ok(range)) = (instant, range)
            && let (Value::Vector { samples, .. }, Value::Matrix(series)) = (instant.value, range.value)
            && !text.contains("topk") && !text.contains("timestamp")
        {
            let at = |m: &bodkin_promql::MatrixSeries| {
                m.timestamps.contains(&240_000) || m.histograms.iter().any(|(t, _)| *t == 240_000)
            };
            prop_assert_eq!(samples.len(), series.iter().filter(|m| at(m)).count());
        }
    }
}

#[test]
fn odd_times_are_refused_or_answered() {
    let engine = Engine::new(EngineOptions::default());
    let store = strange();
    let options = QueryOptions::default();
    for time in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
        let _ = engine.instant(&store, "rate(m[5m]) + m offset 290y", time, &options);
        let _ = engine.range(&store, "sum(m)", time, i64::MAX, i64::MAX / 3, &options);
    }
    let far = "m @ 9223372036854775 offset -292y";
    assert!(engine.instant(&store, far, 0, &options).is_ok());
    assert!(engine.range(&store, "m", 0, 1_000_000_000_000, 1, &options).is_err());
    assert!(engine.range(&store, "m", 10, 0, 1, &options).is_err());
    assert!(engine.range(&store, "m", 0, 10, 0, &options).is_err());
}

/// Any number of series with one sample each.
struct Flood(Vec<Labels>);

struct FloodSelection(Vec<Labels>);

impl Storage for Flood {
    fn select(&self, _: &Select<'_>) -> Result<Box<dyn Selection>, StorageError> {
        Ok(Box::new(FloodSelection(self.0.clone())))
    }
}

impl Selection for FloodSelection {
    fn series(&self) -> &[Labels] {
        &self.0
    }

    fn read(&self, positions: Range<usize>) -> Result<SampleBatch, StorageError> {
        let mut batch = SampleBatch::default();
        batch.floats.offsets = (0..=positions.len()).collect();
        batch.floats.timestamps = vec![0; positions.len()].into();
        batch.floats.values = positions.map(|i| i as f64).collect::<Vec<_>>().into();
        Ok(batch)
    }
}

fn flood(count: usize) -> Flood {
    Flood(
        (0..count).map(|i| Labels::from_pairs([("__name__", "flood".to_owned()), ("id", format!("{i:08}"))])).collect(),
    )
}

#[test]
fn a_flood_of_series_stays_inside_the_budget() {
    let limits = Limits { bytes_max: 64 << 20, ..Limits::default() };
    let engine = Engine::new(EngineOptions { limits, ..EngineOptions::default() });
    let store = flood(20_000);
    let options = QueryOptions::default();
    // 50,000 steps of 20,000 series would be 8 GB; each is refused before it is made.
    for query in [
        "flood",
        "-flood",
        "flood or flood",
        "count_values(\"v\", flood)",
        "topk(10, flood)",
        "flood * on (id) flood",
        "max_over_time(flood[5m:1s])",
        "flood @ 0",
    ] {
        let result = engine.range(&store, query, 0, 50_000_000, 1000, &options);
        assert!(matches!(result, Err(Error::TooManyBytes { .. })), "{query}: {:?}", result.map(|r| r.stats));
    }
    // What aggregates as it goes needs a stretch of series at a time.
    let counted = engine.range(&store, "count(flood)", 0, 1_000_000, 1000, &options).unwrap();
    assert!(counted.stats.peak_bytes < 64 << 20);
    let result = engine.instant(&store, "count by (id) (flood)", 0, &options).unwrap();
    assert!(matches!(result.value, Value::Vector { samples, .. } if samples.len() == 20_000));
}

#[test]
fn a_query_can_be_canceled_and_times_out() {
    let engine = Engine::new(EngineOptions::default());
    let store = flood(100);
    let cancel = CancelToken::default();
    cancel.cancel();
    let canceled = QueryOptions { cancel, ..QueryOptions::default() };
    let error = engine.instant(&store, "sum(flood)", 0, &canceled).unwrap_err();
    assert_eq!(
        (error.kind().as_str(), error.to_string().as_str()),
        ("canceled", "query was canceled in expression evaluation")
    );
    let late = QueryOptions { timeout: Some(Duration::ZERO), ..QueryOptions::default() };
    let error = engine.instant(&store, "sum(flood)", 0, &late).unwrap_err();
    assert_eq!(
        (error.kind().as_str(), error.to_string().as_str()),
        ("timeout", "query timed out in expression evaluation")
    );
}

#[test]
fn deep_expressions_and_huge_labels_are_survived() {
    let engine = Engine::new(EngineOptions::default());
    let store = strange();
    let options = QueryOptions::default();
    // As on a thread of a runtime, with a small stack.
    std::thread::Builder::new()
        .stack_size(256 << 10)
        .spawn(move || {
            let deep = format!("{}m{}", "-(".repeat(600), ")".repeat(600));
            assert!(engine.instant(&store, &deep, 0, &options).is_ok());
            let long = format!("m{}", " + on (b) m".repeat(1000));
            assert!(engine.instant(&store, &long, 0, &options).is_ok());
            let nested = format!("{}m{}", "max_over_time(".repeat(100), "[1m:30s])".repeat(100));
            assert!(engine.instant(&store, &nested, 0, &options).is_ok());
            let label = "x".repeat(10 << 20);
            assert!(engine.instant(&store, &format!("m{{b!=\"{label}\"}}"), 0, &options).is_ok());
            let join = format!("label_join(m, \"c\", \"{label}\", \"a\", \"b\")");
            assert!(engine.instant(&store, &join, 0, &options).is_ok());
            assert!(engine.instant(&store, "m{b=~\"(((((a{1000}){1000}){1000}))))\"}", 0, &options).is_err());
            assert!(engine.instant(&store, "m{b=~\"(x+x+)+y\"}", 0, &options).is_ok());
        })
        .unwrap()
        .join()
        .unwrap();
}
