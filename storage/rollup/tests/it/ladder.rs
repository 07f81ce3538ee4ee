//! LATE-1 for the tiers: what a view calls exact equals a batch over the samples, whatever came in which order.

use crate::harness::{HOUR, Node, SECOND, STALE, START, Sample, Step, steps};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use bodkin_rollup::{Sketch, Tier};
use bodkin_schema::{MetricId, Tenant, metrics, rollup};
use futures::TryStreamExt;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ALL_TIME: std::ops::Range<i64> = i64::MIN..i64::MAX;

/// Every stretch that the view calls exact is, and nothing is in a tier twice.
async fn check(node: &Node) {
    let view = node.view().await;
    for tier in Tier::ALL {
        let (from, to) = (START - 26 * HOUR, START + 60 * HOUR);
        let found = node.rows(&view, tier, from..to).await;
        let expected = node.expected(tier, &(from..to));
        let is_exact = |ts: i64| view.is_exact(tier, &(ts..ts + tier.window_us()));
        let keys = |rows: &[bodkin_rollup::TierRow]| -> Vec<_> {
            rows.iter().map(|row| (row.series_id, row.window_us)).collect()
        };
        let (mut once, all) = (keys(&found), keys(&found));
        once.dedup();
        assert_eq!(once, all, "{tier:?}: a row is there once");
        let exact = |rows: Vec<bodkin_rollup::TierRow>| -> Vec<_> {
            rows.into_iter().filter(|row| is_exact(row.window_us)).collect()
        };
        assert_eq!(exact(found), exact(expected), "LATE-1: {tier:?}");
    }
}

/// Whether the tiers tell everything.
async fn is_complete(node: &Node) -> bool {
    let view = node.view().await;
    let is_exact = |(_, ts): &(i64, i64)| {
        Tier::ALL.iter().all(|tier| {
            let window = tier.window_of(*ts);
            view.is_exact(*tier, &(window..window + tier.window_us()))
        })
    };
    node.given.keys().all(is_exact)
}

fn counter(series: i64, from_us: i64, count: i64) -> Vec<Sample> {
    (0..count).map(|n| (series, from_us + n * 15 * SECOND, ((n * 7 + series) % 100) as f64)).collect()
}

#[tokio::test]
async fn made_when_six_hours_old_and_again_where_a_sample_is_late() {
    let mut node = Node::new().await;
    node.write(counter(1, START, 240));
    node.end_epoch().await;
    assert_eq!(node.ladder.round().await.unwrap(), 0);
    node.forward(6 * HOUR);
    assert_eq!(node.ladder.round().await.unwrap(), 1);
    assert!(is_complete(&node).await);
    let rows = node.rows(&node.view().await, Tier::Minute, ALL_TIME).await;
    assert_eq!((rows.len(), rows[0].whole.count, rows[0].inner.unwrap().count), (60, 4, 3));
    check(&node).await;

    node.write(vec![(1, START + 7 * SECOND, 50.0)]);
    assert!(!is_complete(&node).await, "from the moment of its acknowledgement");
    node.end_epoch().await;
    assert!(!is_complete(&node).await);
    assert_eq!(node.ladder.round().await.unwrap(), 0);
    node.tables.compact(true).await.unwrap();
    assert!(!is_complete(&node).await);
    node.forward(HOUR);
    assert_eq!(node.ladder.round().await.unwrap(), 1);
    assert!(is_complete(&node).await);
    check(&node).await;
    assert_eq!(node.ladder.round().await.unwrap(), 0, "nothing is left");
}

#[tokio::test]
async fn compaction_leaves_what_the_ladder_has_not_seen() {
    let mut node = Node::new().await;
    node.write(counter(1, START, 20));
    node.end_epoch().await;
    node.write(counter(2, START, 20));
    node.end_epoch().await;
    assert_eq!(node.tables.compact(true).await.unwrap().jobs, 0);
    node.ladder.round().await.unwrap();
    assert_eq!(node.tables.compact(true).await.unwrap().jobs, 1);
    assert_eq!(node.ladder.backfill(ALL_TIME).await.unwrap(), 1);
    check(&node).await;
    assert!(is_complete(&node).await);
}

#[tokio::test]
async fn late_samples_of_what_is_gone_change_nothing() {
    let mut node = Node::new().await;
    node.write(counter(1, START, 240));
    node.end_epoch().await;
    node.ladder.backfill(ALL_TIME).await.unwrap();
    node.forward(17 * 24 * HOUR);
    node.write(vec![(1, START + 7 * SECOND, 50.0)]);
    node.end_epoch().await;
    assert_eq!(node.ladder.backfill(ALL_TIME).await.unwrap(), 0);
    let hours = node.rows(&node.view().await, Tier::Hour, ALL_TIME).await;
    assert_eq!(hours[0].whole.count, 240, "the hour keeps what it had");
    assert_eq!(node.ladder.progress().units_pending, 0);
}

/// The sketches of a tier by series and window, in microseconds.
async fn sketches(node: &Node, tier: Tier) -> BTreeMap<(i64, i64), Option<Sketch>> {
    let view = node.view().await;
    let read = node.tables.read_stretch(view.snapshot.table(tier.stream()), &Tenant::default(), ALL_TIME).unwrap();
    let batches: Vec<RecordBatch> = read.try_collect().await.unwrap();
    let mut found = BTreeMap::new();
    for batch in &batches {
        let ints = |name| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>();
        let times = batch.column_by_name(rollup::TS).unwrap().as_primitive::<TimestampMicrosecondType>();
        let texts = batch.column_by_name(rollup::SKETCH).unwrap().as_string::<i32>();
        for (row, text) in texts.iter().enumerate() {
            let key = (ints(metrics::SERIES_ID).value(row), times.value(row));
            found.insert(key, text.map(|text| text.parse().unwrap()));
        }
    }
    found
}

#[tokio::test]
async fn sketches_of_the_metrics_that_were_named() {
    let mut node = Node::new().await;
    node.ladder.sketch([MetricId(1)]);
    let value = |n: i64| (n * n % 1009 - 300) as f64 / 7.0;
    let samples = |series: i64| (0..900).map(move |n| (series, START + n * 120 * SECOND, value(n + series)));
    node.write(samples(1).chain(samples(2)).filter(|sample| sample.1 % 7 != 0).collect());
    node.end_epoch().await;
    node.ladder.backfill(ALL_TIME).await.unwrap();
    // Late ones change the sketch of their windows.
    node.write(samples(1).filter(|sample| sample.1 % 7 == 0).collect());
    node.end_epoch().await;
    node.ladder.backfill(ALL_TIME).await.unwrap();
    for tier in Tier::ALL {
        let mut expected: BTreeMap<(i64, i64), Option<Sketch>> = BTreeMap::new();
        for ((series, ts), value) in &node.given {
            let sketch = expected.entry((*series, tier.window_of(*ts))).or_default();
            if *series == 1 {
                sketch.get_or_insert_default().add(*value);
            }
        }
        assert_eq!(sketches(&node, tier).await, expected, "{tier:?}");
    }
    // Nothing is told of a day of which some hours are not known.
    node.ladder.sketch([]);
    node.write(vec![(1, START + 7 * SECOND, 1.0)]);
    node.end_epoch().await;
    node.ladder.backfill(ALL_TIME).await.unwrap();
    let (hours, days) = (sketches(&node, Tier::Hour).await, sketches(&node, Tier::Day).await);
    assert!(hours[&(1, START)].is_none() && hours[&(1, START + 10 * HOUR)].is_some() && days[&(1, START)].is_none());
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    // Times on the borders of windows are as frequent as others.
    let time = prop_oneof![
        (-24i64..30).prop_map(|hour| START + hour * HOUR),
        (-144i64..180).prop_map(|n| START + n * 600 * SECOND),
        (0i64..2400).prop_map(|n| START + n * 15 * SECOND),
        (0i64..2400).prop_map(|n| START + 2 * HOUR + n * 1_001_000),
    ];
    // The value of a time is the same whenever it is sent.
    let value = |series: i64, ts: i64| match (ts / SECOND) % 11 {
        3 => f64::from_bits(STALE),
        _ => ((ts / SECOND) * 31 % 997 + series).abs() as f64,
    };
    let sample = (0i64..3, time).prop_map(move |(series, ts)| (series, ts, value(series, ts)));
    prop::collection::vec(sample, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn late_1_a_tier_is_a_batch_over_the_samples(steps in steps(samples(), 24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut node = Node::new().await;
            let mut sent: Vec<Vec<Sample>> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Write(samples) => {
                        // Every third batch is sent again with a later one.
                        let again = (number % 3 == 0).then(|| sent.last().cloned()).flatten();
                        sent.push(samples.clone());
                        node.write(samples.into_iter().chain(again.into_iter().flatten()).collect());
                    }
                    Step::EndEpoch => node.end_epoch().await,
                    Step::Forward(micros) => node.forward(micros),
                    Step::Round => drop(node.ladder.round().await.unwrap()),
                    Step::Backfill => drop(node.ladder.backfill(ALL_TIME).await.unwrap()),
                    Step::Compact => drop(node.tables.compact(true).await.unwrap()),
                    Step::Die(puts) => {
                        node.dies_after(puts);
                        let _ = node.ladder.backfill(ALL_TIME).await;
                        check(&node).await;
                        node.restart().await;
                    }
                    Step::Restart => node.restart().await,
                }
                check(&node).await;
            }
            node.end_epoch().await;
            node.ladder.backfill(ALL_TIME).await.unwrap();
            check(&node).await;
            assert!(is_complete(&node).await);
        });
    }
}
