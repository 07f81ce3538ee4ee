use super::*;

fn spans(of: &[(i32, u32)]) -> Vec<BucketSpan> {
    of.iter().map(|(offset, length)| BucketSpan { offset: *offset, length: *length }).collect()
}

/// A histogram of schema 0 with positive buckets from an index on.
fn positive(first: i32, buckets: &[f64]) -> FloatHistogram {
    FloatHistogram {
        count: buckets.iter().sum(),
        sum: 1.0,
        positive_spans: spans(&[(first, buckets.len() as u32)]),
        positive_buckets: buckets.to_vec(),
        ..FloatHistogram::default()
    }
}

fn custom(bounds: &[f64], buckets: &[f64]) -> FloatHistogram {
    FloatHistogram { schema: CUSTOM_BUCKETS_SCHEMA, custom_values: bounds.into(), ..positive(0, buckets) }
}

fn cells(histogram: &FloatHistogram) -> Vec<(i32, f64)> {
    sparse::iter(&histogram.positive_spans, &histogram.positive_buckets).collect()
}

#[test]
fn sums_merge_what_lies_apart() {
    let mut sum = positive(0, &[1.0, 2.0]);
    sum.add(&positive(1, &[10.0, 20.0]), Bounds::MustMatch).unwrap();
    assert_eq!(cells(&sum), [(0, 1.0), (1, 12.0), (2, 20.0)]);
    assert_eq!((sum.count, sum.sum), (33.0, 2.0));
    sum.sub(&positive(0, &[1.0, 12.0, 20.0]), Bounds::MustMatch).unwrap();
    assert_eq!((sum.count, sum.sum), (0.0, 1.0));
    assert!(cells(sum.compact()).is_empty());
}

#[test]
fn sums_have_the_lower_resolution() {
    let fine = FloatHistogram { schema: 1, ..positive(1, &[1.0, 2.0, 3.0, 4.0]) };
    let mut sum = fine.clone();
    sum.add(&positive(1, &[10.0]), Bounds::MustMatch).unwrap();
    assert_eq!(sum.schema, 0);
    // Buckets 1 and 2 of schema 1 make up bucket 1 of schema 0.
    assert_eq!(cells(&sum), [(1, 13.0), (2, 7.0)]);
    assert_eq!(cells(&fine.at_schema(0)), [(1, 3.0), (2, 7.0)]);
    assert_eq!(cells(&fine.at_schema(4)), cells(&fine));
}

#[test]
fn the_wider_zero_bucket_takes_up_buckets_whole() {
    let mut sum = FloatHistogram { zero_threshold: 0.25, zero_count: 5.0, ..positive(0, &[1.0, 2.0]) };
    // The threshold 0.75 would cut the bucket (0.5, 1], so that it is widened to 1.
    let other = FloatHistogram { zero_threshold: 0.75, zero_count: 7.0, ..positive(2, &[3.0]) };
    sum.add(&other, Bounds::MustMatch).unwrap();
    assert_eq!((sum.zero_threshold, sum.zero_count), (1.0, 13.0));
    assert_eq!(cells(&sum), [(1, 2.0), (2, 3.0)]);
}

#[test]
fn custom_bounds_must_match_or_are_reduced_to_the_common() {
    let mut sum = custom(&[1.0, 2.0, 5.0], &[1.0, 2.0, 3.0, 4.0]);
    let other = custom(&[2.0, 5.0, 9.0], &[10.0, 20.0, 30.0, 40.0]);
    let before = sum.clone();
    assert_eq!(sum.add(&other, Bounds::MustMatch), Err(IncompatibleBuckets::Bounds));
    assert!(sum.same_as(&before), "what failed must change nothing");
    assert!(sum.add(&other, Bounds::Reconcile).unwrap().bounds_reconciled);
    assert_eq!(*sum.custom_values, [2.0, 5.0]);
    assert_eq!(cells(&sum), [(0, 13.0), (1, 23.0), (2, 74.0)]);
    assert_eq!(sum.add(&positive(0, &[1.0]), Bounds::Reconcile), Err(IncompatibleBuckets::Schema));
}

#[test]
fn running_sums_keep_what_rounding_loses() {
    let mut sum = HistogramSum::new(positive(0, &[1e16]));
    for _ in 0..10 {
        sum.add(&positive(0, &[1.0]), Bounds::MustMatch).unwrap();
    }
    let total = sum.finish();
    assert_eq!((total.count, cells(&total)), (1e16 + 10.0, vec![(0, 1e16 + 10.0)]));
}

#[test]
fn resets_are_seen_in_every_part() {
    let previous = positive(0, &[1.0, 2.0, 3.0]);
    let is_reset = |next: &FloatHistogram| next.is_reset_since(&previous, Bounds::MustMatch);
    assert!(!is_reset(&positive(0, &[1.0, 2.0, 3.0, 4.0])));
    assert!(is_reset(&positive(0, &[1.0, 2.0, 2.0])), "the count falls");
    assert!(is_reset(&positive(0, &[9.0, 1.0, 3.0])), "a bucket falls");
    assert!(is_reset(&positive(1, &[9.0, 9.0])), "a bucket goes");
    assert!(is_reset(&FloatHistogram { schema: 1, ..positive(0, &[9.0]) }), "the resolution rises");
    assert!(is_reset(&custom(&[1.0], &[9.0, 9.0])), "the kind changes");
    assert!(is_reset(&FloatHistogram { reset_hint: ResetHint::Reset, ..positive(0, &[9.0, 9.0, 9.0]) }));
    assert!(!is_reset(&FloatHistogram { reset_hint: ResetHint::NotReset, ..positive(0, &[0.0]) }));
    // A lower resolution alone is no reset: 1 + 2 + 3 in coarser buckets.
    assert!(!is_reset(&FloatHistogram { schema: -1, ..positive(0, &[1.0, 5.0]) }));
}

#[test]
fn hints_of_sums_collide() {
    let hinted = |reset_hint| FloatHistogram { reset_hint, ..positive(0, &[1.0]) };
    let sum_of = |a, b| {
        let mut sum = hinted(a);
        let outcome = sum.add(&hinted(b), Bounds::MustMatch).unwrap();
        (sum.reset_hint, outcome.hints_collide)
    };
    assert_eq!(sum_of(ResetHint::Reset, ResetHint::NotReset), (ResetHint::Unknown, true));
    assert_eq!(sum_of(ResetHint::Reset, ResetHint::Gauge), (ResetHint::Gauge, false));
    assert_eq!(sum_of(ResetHint::NotReset, ResetHint::Unknown), (ResetHint::Unknown, false));
}

#[test]
fn quantiles_interpolate_by_the_logarithm() {
    let histogram = positive(1, &[2.0, 2.0]);
    assert_eq!(quantile(0.25, &histogram).0, 2f64.sqrt());
    assert_eq!(quantile(0.5, &histogram).0, 2.0);
    assert_eq!(quantile(1.0, &histogram).0, 4.0);
    assert_eq!(quantile(-0.1, &histogram).0, f64::NEG_INFINITY);
    assert!(quantile(0.5, &FloatHistogram::default()).0.is_nan());
    assert_eq!(fraction(2.0, 4.0, &histogram, false).0, 0.5);
    assert_eq!(quantile(0.5, &custom(&[1.0, 3.0], &[0.0, 4.0, 0.0])).0, 2.0);
}

#[test]
fn empty_buckets_go_and_gaps_close() {
    let mut histogram = FloatHistogram {
        positive_spans: spans(&[(0, 2), (0, 1), (3, 2)]),
        positive_buckets: vec![1.0, 0.0, 2.0, 3.0, 0.0],
        ..FloatHistogram::default()
    };
    let before = cells(&histogram);
    histogram.compact();
    assert_eq!(histogram.positive_spans, spans(&[(0, 1), (1, 1), (3, 1)]));
    assert_eq!(cells(&histogram), before.into_iter().filter(|(_, count)| *count != 0.0).collect::<Vec<_>>());
}

#[test]
fn names_itself_as_prometheus_does() {
    let histogram = FloatHistogram {
        zero_threshold: 0.001,
        zero_count: 2.0,
        negative_spans: spans(&[(0, 1)]),
        negative_buckets: vec![1.0],
        ..positive(1, &[0.5])
    };
    assert_eq!(histogram.to_string(), "{count:0.5, sum:1, [-1,-0.5):1, [-0.001,0.001]:2, (1,2]:0.5}");
}
