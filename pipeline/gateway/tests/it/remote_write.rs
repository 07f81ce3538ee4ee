//! Remote write v1 and v2.

use crate::harness::Rig;
use crate::messages::{
    Exemplar, Histogram, Label, MetadataV2, MetricMetadata, RequestV2, Sample, Span, TimeSeries, TimeSeriesV2,
    WriteRequest,
};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type};
use bodkin_gateway::{Encoding, GatewayLimits, Limit, TenantLimits, Version, WriteError};
use bodkin_ingest::{IngestLimits, read_log};
use bodkin_schema::{Position, Stream, Tenant, metrics};
use proptest::prelude::*;
use prost::Message;

fn labels(pairs: &[(&str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(name, value)| Label { name: name.to_string(), value: value.to_string() }).collect()
}

fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let samples = samples.iter().map(|(timestamp, value)| Sample { timestamp: *timestamp, value: *value }).collect();
    TimeSeries { labels: labels(pairs), samples, ..Default::default() }
}

fn request(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    WriteRequest { timeseries, ..Default::default() }.encode_to_vec()
}

#[tokio::test]
async fn ack_1_samples_of_any_age_are_logged_with_their_labels() {
    let rig = Rig::new();
    let body = request(vec![
        series(&[("__name__", "up"), ("job", "a")], &[(0, 1.0), (-5000, 2.0), (1_700_000_000_000, 3.0)]),
        series(&[("__name__", "up"), ("job", "b")], &[(60_000, f64::INFINITY)]),
    ]);
    let written = rig.write(Version::V1, &body).await.unwrap();
    assert_eq!(written.samples, 4);
    let expected =
        ["up{job=\"a\"} -5000 2", "up{job=\"a\"} 0 1", "up{job=\"a\"} 1700000000000 3", "up{job=\"b\"} 60000 inf"];
    assert_eq!(rig.kept.samples(), expected);

    // The log alone gives the same rows.
    let again = std::sync::Arc::new(crate::harness::Kept::default());
    drop(rig.gateway);
    read_log(rig.folder.path(), Position(0), [], &IngestLimits::default(), again.as_ref()).unwrap();
    assert_eq!(again.samples(), expected);
}

#[tokio::test]
async fn the_bits_of_a_nan_come_through() {
    let rig = Rig::new();
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    rig.write(Version::V1, &request(vec![series(&[("__name__", "x")], &[(1, stale)])])).await.unwrap();
    let batch = rig.kept.batches(Stream::Samples).remove(0);
    assert_eq!(batch.column(3).as_primitive::<Float64Type>().value(0).to_bits(), stale.to_bits());
}

#[tokio::test]
async fn labels_are_logged_once_and_samples_each_time() {
    let rig = Rig::new();
    for ts in 0..5 {
        rig.write(Version::V1, &request(vec![series(&[("__name__", "up"), ("job", "a")], &[(ts, 1.0)])]))
            .await
            .unwrap();
    }
    assert_eq!((rig.kept.batches(Stream::Series).len(), rig.kept.samples().len()), (1, 5));
    // Another order of labels is the same series.
    rig.write(Version::V1, &request(vec![series(&[("job", "a"), ("__name__", "up")], &[(9, 1.0)])])).await.unwrap();
    assert_eq!((rig.kept.batches(Stream::Series).len(), rig.gateway.tenants()[0].series), (1, 1));
}

#[tokio::test]
async fn once_1_the_first_value_stays() {
    let rig = Rig::new();
    let up = [("__name__", "up")];
    rig.write(Version::V1, &request(vec![series(&up, &[(1000, 1.0), (2000, 2.0)])])).await.unwrap();
    // Another body with the same samples, and a new one.
    rig.write(Version::V1, &request(vec![series(&up, &[(1000, 1.0), (2000, 2.0), (3000, 3.0)])])).await.unwrap();
    assert_eq!(rig.kept.samples(), ["up{} 1000 1", "up{} 2000 2", "up{} 3000 3"]);
    let error = rig.write(Version::V1, &request(vec![series(&up, &[(2000, 7.0), (500, 5.0)])])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "duplicate sample for timestamp 2000; overrides not allowed: existing 2, new value 7"
    );
    let WriteError::Partial { written, .. } = error else { panic!("{error}") };
    assert_eq!(written.samples, 1, "the rest is stored");
    assert_eq!(rig.kept.samples(), ["up{} 1000 1", "up{} 2000 2", "up{} 3000 3", "up{} 500 5"]);
}

#[tokio::test]
async fn once_1_the_same_body_is_stored_once() {
    let rig = Rig::new();
    let body = request(vec![series(&[("__name__", "up")], &[(1, 1.0)])]);
    for _ in 0..3 {
        rig.write(Version::V1, &body).await.unwrap();
    }
    assert_eq!(rig.kept.samples().len(), 1);
    assert_eq!(rig.gateway.stats().duplicate_bodies.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test]
async fn invalid_series_are_left_out_and_the_rest_is_taken() {
    let rig = Rig::new();
    let body = request(vec![
        series(&[("job", "a")], &[(1, 1.0)]),
        series(&[("__name__", "a"), ("x", "1"), ("x", "2")], &[(1, 1.0)]),
        series(&[("__name__", "good")], &[(1, 1.0)]),
        series(&[], &[(1, 1.0)]),
    ]);
    rig.write(Version::V1, &body).await.unwrap();
    assert_eq!(rig.kept.samples(), ["good{} 1 1"]);
    assert_eq!(rig.gateway.stats().invalid_series.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[tokio::test]
async fn native_histograms_become_rows() {
    let rig = Rig::new();
    let integer = Histogram {
        count_int: Some(6),
        sum: 2.5,
        schema: 1,
        zero_threshold: 0.001,
        zero_count_int: Some(1),
        positive_spans: vec![Span { offset: -1, length: 2 }, Span { offset: 3, length: 1 }],
        positive_deltas: vec![1, 1, 0],
        reset_hint: 2,
        timestamp: 1000,
        ..Default::default()
    };
    let custom = Histogram {
        count_float: Some(3.5),
        schema: -53,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_counts: vec![1.5, 2.0],
        custom_values: vec![0.5, 1.0],
        timestamp: 2000,
        ..Default::default()
    };
    let faulty = Histogram { schema: 77, timestamp: 3000, ..Default::default() };
    let histograms = vec![integer, custom, faulty];
    let body = request(vec![TimeSeries { labels: labels(&[("__name__", "h")]), histograms, ..Default::default() }]);
    let error = rig.write(Version::V1, &body).await.unwrap_err();
    assert!(error.to_string().starts_with("invalid histogram schema 77"), "{error}");

    let batch = rig.kept.batches(Stream::Histograms).remove(0);
    assert_eq!(batch.num_rows(), 2);
    let column = |name: &str| batch.column_by_name(name).unwrap().clone();
    assert_eq!(column(metrics::COUNT).as_primitive::<Float64Type>().values().as_ref(), [6.0, 3.5]);
    assert_eq!(column(metrics::BUCKET_SCHEMA).as_primitive::<Int32Type>().values().as_ref(), [1, -53]);
    let counts = column(metrics::POSITIVE_COUNTS);
    let counts = |row| counts.as_list::<i32>().value(row).as_primitive::<Float64Type>().values().to_vec();
    assert_eq!((counts(0), counts(1)), (vec![1.0, 2.0, 2.0], vec![1.5, 2.0]));
    let offsets = column(metrics::POSITIVE_OFFSETS);
    assert_eq!(offsets.as_list::<i32>().value(0).as_primitive::<Int32Type>().values().as_ref(), [-1, 3]);
    let bounds = column(metrics::CUSTOM_BOUNDS);
    assert_eq!((bounds.as_list::<i32>().value(0).len(), bounds.as_list::<i32>().value(1).len()), (0, 2));
}

#[tokio::test]
async fn exemplars_and_metadata_are_told() {
    let rig = Rig::new();
    let exemplar = Exemplar { labels: labels(&[("trace_id", "abc")]), value: 0.5, timestamp: 7 };
    let mut of_series = series(&[("__name__", "x_bucket")], &[(7, 1.0)]);
    of_series.exemplars.push(exemplar);
    let said = MetricMetadata { kind: 3, name: "x".into(), help: "how long".into() };
    let body = WriteRequest { timeseries: vec![of_series], metadata: vec![said] }.encode_to_vec();
    assert_eq!(rig.write(Version::V1, &body).await.unwrap().exemplars, 1);
    let exemplars = rig.kept.exemplars.lock().unwrap();
    assert_eq!((exemplars[0].value, exemplars[0].ts_ms, exemplars[0].labels[0].1.as_str()), (0.5, 7, "abc"));
    let metadata = rig.kept.metadata.lock().unwrap();
    assert_eq!(
        (metadata[0].name.as_str(), metadata[0].kind, metadata[0].help.as_str()),
        ("x", "histogram", "how long")
    );
}

#[tokio::test]
async fn version_2_by_symbols() {
    let rig = Rig::new();
    let symbols = ["", "__name__", "up", "job", "a", "is it up"].map(str::to_owned).to_vec();
    let sample = Sample { value: 1.0, timestamp: 5 };
    let good = TimeSeriesV2 {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![sample.clone()],
        metadata: Some(MetadataV2 { kind: 2, help_ref: 5 }),
        ..Default::default()
    };
    let beyond = TimeSeriesV2 { labels_refs: vec![1, 99], samples: vec![sample.clone()], ..Default::default() };
    let odd = TimeSeriesV2 { labels_refs: vec![1], samples: vec![sample], ..Default::default() };
    let error = rig
        .write(Version::V2, &RequestV2 { symbols, timeseries: vec![beyond, good, odd] }.encode_to_vec())
        .await
        .unwrap_err();
    let WriteError::Partial { written, problems } = error else { panic!("{error}") };
    assert_eq!((written.samples, problems.count), (1, 2));
    assert!(problems.listed[0].starts_with("invalid metric name or labels"), "{:?}", problems.listed);
    assert_eq!(rig.kept.samples(), ["up{job=\"a\"} 5 1"]);
    let metadata = rig.kept.metadata.lock().unwrap();
    assert_eq!((metadata[0].kind, metadata[0].help.as_str()), ("gauge", "is it up"));
}

#[tokio::test]
async fn safe_1_what_is_too_much_is_refused() {
    let rig = Rig::with(GatewayLimits { body_bytes_max: 1000, series_max: 1, ..Default::default() });
    let error = rig.write(Version::V1, &vec![0; 1001]).await.unwrap_err().to_string();
    assert_eq!(error, "the body has more than 1000 bytes uncompressed");
    rig.write(Version::V1, &request(vec![series(&[("__name__", "a")], &[(1, 1.0)])])).await.unwrap();
    let two = request(vec![series(&[("__name__", "b")], &[(1, 1.0)]), series(&[("__name__", "a")], &[(2, 1.0)])]);
    let error = rig.write(Version::V1, &two).await.unwrap_err().to_string();
    assert_eq!(error, "per-tenant series limit of 1 exceeded; 1 samples are not stored");
    assert_eq!(rig.kept.samples().len(), 2);
}

#[tokio::test]
async fn iso_1_limits_bodies_and_series_are_of_one_tenant() {
    let small =
        GatewayLimits { series_max: 1, labels_max: 2, buckets_max: 1, body_bytes_max: 500, ..Default::default() };
    let (acme, other) = (Tenant("acme".into()), Tenant("other".into()));
    let limits = TenantLimits::new(GatewayLimits::default(), [(acme.clone(), small)].into());
    let rig = Rig::with(limits);
    let write = async |tenant: &Tenant, all: Vec<TimeSeries>| {
        let body = snap::raw::Encoder::new().compress_vec(&request(all)).unwrap();
        rig.gateway.remote_write(tenant, Version::V1, Encoding::Snappy, body).await
    };
    let one = || vec![series(&[("__name__", "a")], &[(1, 1.0)])];
    let two = || vec![series(&[("__name__", "b"), ("c", "d"), ("e", "f")], &[(1, 1.0)])];
    // The very same body of another tenant is another body, and its series goes to the log again.
    for tenant in [&acme, &other, &Tenant::default()] {
        assert_eq!(write(tenant, one()).await.unwrap().samples, 1);
    }
    assert_eq!(rig.kept.batches(Stream::Series).len(), 3);
    assert_eq!(write(&other, two()).await.unwrap().samples, 1);
    let refused = write(&acme, two()).await.unwrap_err().to_string();
    assert!(refused.contains("number of labels exceeds the limit (actual: 3, limit: 2) series: 'b{"), "{refused}");
    let refused = write(&acme, vec![series(&[("__name__", "b")], &[(1, 1.0)])]).await.unwrap_err().to_string();
    assert!(refused.starts_with("per-tenant series limit of 1 exceeded"), "{refused}");
    write(&acme, vec![series(&[("__name__", &"a".repeat(600))], &[])]).await.unwrap_err();
    let used: Vec<_> = rig.gateway.tenants().into_iter().map(|used| (used.tenant, used.series, used.refused)).collect();
    let none = Limit::ALL.map(|limit| (limit, 0));
    let mut met = none;
    (met[0].1, met[1].1, met[3].1) = (1, 1, 1);
    assert_eq!(used, [(acme, 1, met), (Tenant::default(), 1, none), (other, 2, none)]);
}

fn arbitrary_request() -> impl Strategy<Value = Vec<TimeSeries>> {
    let pair = (prop::sample::select(vec!["__name__", "a", "b", ""]), "[a-c]{0,2}");
    let one = (prop::collection::vec(pair, 0..4), prop::collection::vec((-10i64..10, -5i32..5), 0..4));
    prop::collection::vec(one, 0..6).prop_map(|all| {
        all.into_iter()
            .map(|(pairs, samples)| {
                let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let samples: Vec<(i64, f64)> = samples.into_iter().map(|(ts, value)| (ts, f64::from(value))).collect();
                series(&pairs, &samples)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn safe_1_mutants_are_stored_or_refused(
        timeseries in arbitrary_request(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut raw = request(timeseries);
        for (index, byte) in flips {
            if !raw.is_empty() {
                let at = index.index(raw.len());
                raw[at] = byte;
            }
        }
        raw.truncate(cut.index(raw.len() + 1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            for version in [Version::V1, Version::V2] {
                let _ = rig.write(version, &raw).await;
            }
            // Every stored sample has its labels.
            rig.kept.samples();
        });
    }
}
