//! Pages of protocol buffers, encoded by another encoder than the one under test.

use crate::harness::Rig;
use crate::messages::{Label, Span};
use bodkin_gateway::{Encoding, Histograms, OwnValue, PageFormat, WriteError, read_page};
use bodkin_schema::{Stream, Tenant};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(message, optional, tag = "3")]
    at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(message, optional, tag = "2")]
    exemplar: Option<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Quantile {
    #[prost(double, tag = "1")]
    quantile: f64,
    #[prost(double, tag = "2")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    quantiles: Vec<Quantile>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    bound: f64,
    #[prost(message, optional, tag = "3")]
    exemplar: Option<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(message, repeated, tag = "3")]
    buckets: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "13")]
    deltas: Vec<i64>,
    #[prost(message, repeated, tag = "16")]
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Value>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Value>,
    #[prost(message, optional, tag = "4")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
    #[prost(int64, tag = "6")]
    timestamp_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Family {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
}

fn family(name: &str, kind: i32, metric: Metric) -> Family {
    Family { name: name.into(), help: format!("About {name}."), kind, metrics: vec![metric] }
}

fn label(name: &str, value: &str) -> Vec<Label> {
    vec![Label { name: name.into(), value: value.into() }]
}

/// An observation of 0.5 with a trace, perhaps so many seconds after 1970 and a bit.
fn traced(trace: &str, seconds: Option<i64>) -> Exemplar {
    let at = seconds.map(|seconds| Timestamp { seconds, nanos: 250_000_000 });
    Exemplar { labels: label("trace_id", trace), value: 0.5, at }
}

fn page() -> Vec<u8> {
    let counter = Metric {
        labels: label("path", "C:\\a \"b\"\n"),
        counter: Some(Value { value: 5.0, exemplar: Some(traced("c", None)) }),
        timestamp_ms: 1000,
        ..Default::default()
    };
    let gauge = Metric { gauge: Some(Value { value: -0.5, exemplar: None }), ..Default::default() };
    let quantiles = vec![Quantile { quantile: 0.5, value: 3.0 }];
    let summary = Metric { summary: Some(Summary { count: 2, sum: 6.0, quantiles }), ..Default::default() };
    let histogram = Histogram {
        count: 6,
        sum: 9.5,
        buckets: vec![
            Bucket { count: 4, bound: 1.0, exemplar: Some(traced("b", Some(2))) },
            Bucket { count: 5, bound: 2.5, exemplar: None },
        ],
        schema: 3,
        zero_threshold: 1e-128,
        zero_count: 1,
        spans: vec![Span { offset: 0, length: 2 }],
        deltas: vec![2, 1],
        exemplars: vec![traced("n", Some(3)), traced("timeless", None)],
    };
    let plain =
        Histogram { schema: 0, zero_threshold: 0.0, zero_count: 0, spans: vec![], deltas: vec![], ..histogram.clone() };
    let of = |histogram| Metric { histogram: Some(histogram), ..Default::default() };
    let families = [
        family("requests_total", 0, counter),
        family("depth", 1, gauge),
        family("rpc.seconds", 2, summary),
        family("native_seconds", 4, of(histogram)),
        family("classic_seconds", 4, of(plain)),
    ];
    families.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
}

/// `labels value`, one a sample.
fn shown(histograms: Histograms) -> Vec<String> {
    let mut shown = Vec::new();
    let metadata = read_page(&page(), PageFormat::Families, histograms, |sample| {
        let labels: Vec<_> = sample.labels()?.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let value = match &sample.value {
            OwnValue::Float(value) => value.to_string(),
            OwnValue::Histogram(native) => format!("native {} {:?}", native.count, native.positive.counts),
        };
        shown.push(format!(
            "{} {value}{}",
            labels.join(","),
            sample.ts_ms.map_or(String::new(), |ts| format!(" @{ts}"))
        ));
        Ok(())
    });
    let metadata = metadata.unwrap();
    assert_eq!(metadata.len(), 5);
    assert_eq!(
        (metadata[2].name.as_str(), metadata[2].kind, metadata[2].help.as_str()),
        ("rpc.seconds", "summary", "About rpc.seconds.")
    );
    shown
}

#[test]
fn samples_of_every_kind() {
    let common = [
        "__name__=requests_total,path=C:\\a \"b\"\n 5 @1000",
        "__name__=depth -0.5",
        "__name__=rpc.seconds_count 2",
        "__name__=rpc.seconds_sum 6",
        "__name__=rpc.seconds,quantile=0.5 3",
    ];
    let native = ["__name__=native_seconds native 6 [2.0, 3.0]"];
    let classic = |name: &str| {
        [("_count", "6"), ("_sum", "9.5"), ("_bucket,le=1.0", "4"), ("_bucket,le=2.5", "5"), ("_bucket,le=+Inf", "6")]
            .map(|(suffix, value)| format!("__name__={name}_seconds{suffix} {value}"))
    };
    let all = |with_native: bool, with_classic: bool| {
        let mut all: Vec<String> = common.map(str::to_owned).into();
        all.extend(native.iter().filter(|_| with_native).map(|line| (*line).to_owned()));
        all.extend(classic("native").into_iter().filter(|_| with_classic));
        all.extend(classic("classic"));
        all
    };
    assert_eq!(shown(Histograms::Native), all(true, false));
    assert_eq!(shown(Histograms::Classic), all(false, true));
    assert_eq!(shown(Histograms::Both), all(true, true));
}

#[test]
fn exemplars_stay_with_their_series() {
    let traced = |histograms| {
        let mut found = Vec::new();
        let read = read_page(&page(), PageFormat::Families, histograms, |sample| {
            let name = sample.labels()?.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(",");
            found.extend(sample.exemplars.iter().map(|exemplar| {
                assert_eq!((exemplar.labels[0].0.as_str(), exemplar.value), ("trace_id", 0.5));
                format!("{name} {} {:?}", exemplar.labels[0].1, exemplar.ts_ms)
            }));
            Ok(())
        });
        read.unwrap();
        found
    };
    let counter = "requests_total,C:\\a \"b\"\n c None";
    let classic = "classic_seconds_bucket,1.0 b Some(2250)";
    // Those of a native histogram say when they were.
    assert_eq!(traced(Histograms::Native), [counter, "native_seconds n Some(3250)", classic]);
    assert_eq!(traced(Histograms::Classic), [counter, "native_seconds_bucket,1.0 b Some(2250)", classic]);
}

#[test]
fn what_is_cut_off_is_refused_with_its_number() {
    let page = page();
    for end in [1, page.len() / 2, page.len() - 1] {
        let read = read_page(&page[..end], PageFormat::Families, Histograms::Native, |_| Ok(()));
        assert!(read.unwrap_err().starts_with("metric family "), "{end}");
    }
    let nameless = family("", 0, Metric::default()).encode_length_delimited_to_vec();
    let read = read_page(&nameless, PageFormat::Families, Histograms::Native, |_| Ok(()));
    assert_eq!(read.unwrap_err(), "metric family 1: it has no name");
}

#[tokio::test]
async fn a_page_that_is_pushed() {
    let rig = Rig::new();
    let tenant = Tenant::default();
    let write = |page: Vec<u8>| rig.gateway.page(&tenant, PageFormat::Families, Encoding::Identity, page);
    let written = write(page()).await.unwrap();
    assert_eq!((written.samples, written.histograms, written.exemplars), (15, 1, 4));
    assert_eq!(rig.kept.samples().len(), 15);
    assert_eq!(rig.kept.batches(Stream::Histograms)[0].num_rows(), 1);
    assert!(
        matches!(write(b"\x05abc".to_vec()).await.unwrap_err(), WriteError::Text(text) if text.contains("family 1"))
    );
}
