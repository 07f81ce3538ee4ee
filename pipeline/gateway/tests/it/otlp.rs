//! OTLP metrics.

use crate::harness::Rig;
use crate::messages::otlp::{
    AnyValue, Data, HistogramData, HistogramPoint, KeyValue, Metric, NumberPoint, Request, Resource, ResourceMetrics,
    ScopeMetrics,
};
use bodkin_gateway::Encoding;
use bodkin_schema::Tenant;
use prost::Message;

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { text: Some(value.into()), int: None }) }
}

fn point(time_ms: u64, int: i64, attributes: Vec<KeyValue>) -> NumberPoint {
    NumberPoint { time_ns: time_ms * 1_000_000, int: Some(int), double: None, attributes }
}

fn body(metrics: Vec<Metric>) -> Vec<u8> {
    let attributes = vec![
        text("service.name", "shop"),
        text("service.namespace", "eu"),
        text("service.instance.id", "i-1"),
        KeyValue { key: "host.cores".into(), value: Some(AnyValue { text: None, int: Some(4) }) },
    ];
    let scope_metrics = vec![ScopeMetrics { metrics }];
    Request { resource_metrics: vec![ResourceMetrics { resource: Some(Resource { attributes }), scope_metrics }] }
        .encode_to_vec()
}

#[tokio::test]
async fn sums_gauges_histograms_and_their_resource() {
    let rig = Rig::new();
    let counter = |time_ms, change| Metric {
        name: "http.requests".into(),
        sum: Some(Data {
            points: vec![point(time_ms, change, vec![text("http.code", "200")])],
            temporality: 1,
            is_monotonic: true,
        }),
        ..Default::default()
    };
    let gauge = Metric {
        name: "queue.size".into(),
        unit: "By".into(),
        gauge: Some(Data { points: vec![point(1000, 7, Vec::new())], ..Default::default() }),
        ..Default::default()
    };
    let histogram = Metric {
        name: "latency".into(),
        unit: "s".into(),
        histogram: Some(HistogramData {
            points: vec![HistogramPoint {
                time_ns: 1_000_000_000,
                count: 3,
                sum: Some(1.5),
                bucket_counts: vec![1, 1, 1],
                explicit_bounds: vec![0.1, 1.0],
            }],
            temporality: 2,
        }),
        ..Default::default()
    };
    let send = async |metrics| {
        rig.gateway.otlp_metrics(&Tenant::default(), Encoding::Identity, body(metrics)).await.unwrap();
    };
    send(vec![counter(1000, 5), gauge, histogram]).await;
    send(vec![counter(2000, 3)]).await;
    let common = "instance=\"i-1\",job=\"eu/shop\"";
    let mut expected = vec![
        format!("http_requests_total{{http_code=\"200\",{common}}} 1000 5"),
        format!("http_requests_total{{http_code=\"200\",{common}}} 2000 8"),
        format!("queue_size_bytes{{{common}}} 1000 7"),
        format!("latency_seconds_bucket{{{common},le=\"0.1\"}} 1000 1"),
        format!("latency_seconds_bucket{{{common},le=\"1\"}} 1000 2"),
        format!("latency_seconds_bucket{{{common},le=\"+Inf\"}} 1000 3"),
        format!("latency_seconds_count{{{common}}} 1000 3"),
        format!("latency_seconds_sum{{{common}}} 1000 1.5"),
        format!("target_info{{host_cores=\"4\",{common}}} 1000 1"),
        format!("target_info{{host_cores=\"4\",{common}}} 2000 1"),
    ];
    expected.sort();
    assert_eq!(rig.kept.samples(), expected);
}
