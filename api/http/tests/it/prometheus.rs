//! The Prometheus API as its clients use it: samples by remote write into a real log, answers compared byte for byte.

use crate::fake::{FakeNode, bytes, state_of};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bodkin_gateway::{Gateway, GatewayLimits};
use bodkin_http::{AppState, Prometheus, router};
use bodkin_ingest::{Downstream, IngestLimits, IngestService, IngestedBatch, LocalProducer};
use bodkin_metrics::{MetricOptions, MetricStore, StoreView};
use bodkin_promql::{Engine, EngineOptions};
use bodkin_schema::{Stream, SystemClock};
use bodkin_wal::{Wal, WalOptions};
use std::sync::Arc;
use tower::ServiceExt;

/// What is durable goes into the store.
struct Feed(Arc<MetricStore>);

impl Downstream for Feed {
    fn push(&self, batch: IngestedBatch) {
        self.0.apply(Stream::from_name(&batch.lane.stream).unwrap(), &batch.records);
    }
}

struct Server {
    app: Router,
    _folder: tempfile::TempDir,
}

fn server() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock::default());
    let wal = Arc::new(Wal::open(folder.path(), WalOptions::default(), clock.clone()).unwrap());
    let store = MetricStore::new(MetricOptions::default());
    let ingest = IngestService::new(wal, clock.clone(), IngestLimits::default(), Arc::new(Feed(store.clone())));
    let producer = LocalProducer::new(ingest, "node/metrics").unwrap();
    let gateway = Arc::new(Gateway::new(producer, store.clone(), GatewayLimits::default()));
    let view = StoreView::new(store, tokio::runtime::Handle::current());
    let engine = Engine::new(EngineOptions::default());
    let prometheus = Prometheus { engine, view, gateway, clock, rules: None, scraper: None };
    let state = AppState { prometheus: Some(Arc::new(prometheus)), ..state_of(FakeNode::default()) };
    Server { app: router(state), _folder: folder }
}

/// A field of a message: a message, a text.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 16_384);
    let mut out = vec![number << 3 | 2];
    match bytes.len() {
        short @ 0..128 => out.push(short as u8),
        long => out.extend([(long & 127) as u8 | 128, (long >> 7) as u8]),
    }
    out.extend_from_slice(bytes);
    out
}

fn series(labels: &[(&str, &str)], samples: &[(u32, f64)]) -> Vec<u8> {
    let mut message = Vec::new();
    for (name, value) in labels {
        let label = [field(1, name.as_bytes()), field(2, value.as_bytes())].concat();
        message.extend(field(1, &label));
    }
    for (seconds, value) in samples {
        let mut sample = vec![1 << 3 | 1];
        sample.extend(value.to_le_bytes());
        sample.push(2 << 3);
        let mut ms = u64::from(*seconds) * 1000;
        while ms >= 128 {
            sample.push((ms & 127) as u8 | 128);
            ms >>= 7;
        }
        sample.push(ms as u8);
        message.extend(field(2, &sample));
    }
    field(1, &message)
}

impl Server {
    async fn write(&self, body: &[u8]) -> (StatusCode, String) {
        let body = snap::raw::Encoder::new().compress_vec(body).unwrap();
        let request = Request::post("/prometheus/api/v1/write")
            .header("content-type", "application/x-protobuf")
            .header("content-encoding", "snappy")
            .body(Body::from(body))
            .unwrap();
        self.send(request).await
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        (status, String::from_utf8(bytes(response).await.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.send(Request::get(format!("/prometheus{path}")).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, form: &str) -> (StatusCode, String) {
        let request = Request::post(format!("/prometheus{path}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        self.send(request).await
    }
}

async fn with_samples() -> Server {
    let server = server();
    let body = [
        series(&[("__name__", "up"), ("instance", "a:9100"), ("job", "node")], &[(60, 1.0), (120, 1.0)]),
        series(&[("__name__", "up"), ("instance", "b:9100"), ("job", "node")], &[(60, 1.0), (120, 0.0)]),
        series(&[("__name__", "load"), ("job", "<x>")], &[(120, 0.5)]),
    ];
    assert_eq!(server.write(&body.concat()).await, (StatusCode::NO_CONTENT, String::new()));
    server
}

#[tokio::test]
async fn ack_2_the_next_query_sees_what_was_written() {
    let server = with_samples().await;
    let (status, body) = server.get("/api/v1/query?query=up&time=120").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        body,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"a:9100","job":"node"},"value":[120,"1"]},{"metric":{"__name__":"up","instance":"b:9100","job":"node"},"value":[120,"0"]}]}}"#
    );
    let form = "query=sum(up)%20by%20(job)&start=60&end=120.5&step=30";
    assert_eq!(
        server.post("/api/v1/query_range", form).await.1,
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"job":"node"},"values":[[60,"2"],[90,"2"],[120,"1"]]}]}}"#
    );
    let (_, body) = server.get("/api/v1/query?query=1%2F3&time=1.5").await;
    assert_eq!(body, r#"{"status":"success","data":{"resultType":"scalar","result":[1.500,"0.3333333333333333"]}}"#);
}

#[tokio::test]
async fn what_a_grafana_data_source_asks() {
    let server = with_samples().await;
    let ok = |data: &str| (StatusCode::OK, format!(r#"{{"status":"success","data":{data}}}"#));
    // Test of the data source, then the query builder's pickers.
    assert!(server.get("/api/v1/status/buildinfo").await.1.contains(r#""version":"3."#));
    assert!(server.post("/api/v1/query", "query=1%2B1&time=4").await.1.contains(r#""result":[4,"2"]"#));
    assert_eq!(server.get("/api/v1/labels?start=0&end=200").await, ok(r#"["__name__","instance","job"]"#));
    assert_eq!(server.get("/api/v1/label/__name__/values").await, ok(r#"["load","up"]"#));
    assert_eq!(server.get("/api/v1/label/job/values?match[]=up").await, ok(r#"["node"]"#));
    assert_eq!(server.get("/api/v1/label/job/values").await, ok("[\"\\u003cx\\u003e\",\"node\"]"));
    assert_eq!(server.get("/api/v1/label/none/values").await, ok("[]"));
    assert_eq!(
        server.get("/api/v1/series?match[]=load&match[]=%7Binstance%3D%22b:9100%22%7D").await,
        ok(r#"[{"__name__":"load","job":"<x>"},{"__name__":"up","instance":"b:9100","job":"node"}]"#)
    );
    assert_eq!(
        server.post("/api/v1/series", "match[]=up&limit=1").await.1,
        r#"{"status":"success","data":[{"__name__":"up","instance":"a:9100","job":"node"}],"warnings":["results truncated due to limit"]}"#
    );
    assert_eq!(server.get("/api/v1/metadata").await, ok("{}"));
    assert_eq!(server.get("/api/v1/rules").await, ok(r#"{"groups":[]}"#));
    assert_eq!(server.get("/api/v1/alerts").await, ok(r#"{"alerts":[]}"#));
    assert_eq!(server.get("/api/v1/query_exemplars?query=up&start=0&end=9").await, ok("[]"));
    // The probe of the Mimir ruler.
    let (status, body) = server.get("/api/v1/rules/test/test").await;
    assert_eq!((status, body.trim_end()), (StatusCode::NOT_FOUND, "404 page not found"));
    assert_eq!(server.get("/-/healthy").await.0, StatusCode::OK);
    assert_eq!(server.get("/-/ready").await.0, StatusCode::OK);
}

#[tokio::test]
async fn errors_in_prometheus_own_shape() {
    let server = with_samples().await;
    let failed = |kind: &str, text: &str| format!(r#"{{"status":"error","errorType":"{kind}","error":"{text}"}}"#);
    let cases = [
        (
            "/api/v1/query?query=up&time=soon",
            failed("bad_data", r#"invalid parameter \"time\": cannot parse \"soon\" to a valid timestamp"#),
        ),
        (
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            failed("bad_data", r#"invalid parameter \"end\": end timestamp must not be before start time"#),
        ),
        (
            "/api/v1/query_range?query=up&start=1&end=2&step=0",
            failed(
                "bad_data",
                r#"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"#,
            ),
        ),
        (
            "/api/v1/query_range?query=up&start=1&end=2",
            failed("bad_data", r#"invalid parameter \"step\": cannot parse \"\" to a valid duration"#),
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=11001&step=1",
            failed(
                "bad_data",
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
            ),
        ),
        ("/api/v1/series", failed("bad_data", "no match[] parameter provided")),
        (
            "/api/v1/labels?match[]=%7B%7D",
            failed("bad_data", r#"invalid parameter \"match[]\": match[] must contain at least one non-empty matcher"#),
        ),
    ];
    for (path, expected) in cases {
        assert_eq!(server.get(path).await, (StatusCode::BAD_REQUEST, expected), "{path}");
    }
    let (status, body) = server.get("/api/v1/query?query=sum(").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        body.starts_with(
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error: "#
        ),
        "{body}"
    );
    let (status, body) = server.get("/api/v1/query?query=up*on(job)up&time=120").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    assert!(body.contains(r#""errorType":"execution""#), "{body}");
}

#[tokio::test]
async fn remote_write_answers_that_a_sender_understands() {
    let server = with_samples().await;
    let other = series(&[("__name__", "load"), ("job", "<x>")], &[(120, 0.75)]);
    let expected = "duplicate sample for timestamp 120000; overrides not allowed: existing 0.5, new value 0.75\n";
    assert_eq!(server.write(&other).await, (StatusCode::BAD_REQUEST, expected.to_owned()));
    let same = series(&[("job", "<x>"), ("__name__", "load")], &[(120, 0.5)]);
    assert_eq!(server.write(&same).await.0, StatusCode::NO_CONTENT);
    let post = |content_type: &'static str, encoding: &'static str| {
        let request = Request::post("/prometheus/api/v1/write");
        let request = request.header("content-type", content_type).header("content-encoding", encoding);
        request.body(Body::from("nonsense")).unwrap()
    };
    assert_eq!(server.send(post("application/json", "snappy")).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(server.send(post("application/x-protobuf", "br")).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(server.send(post("application/x-protobuf", "snappy")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(server.get("/api/v1/write").await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn answers_as_arrow_hold_the_same_values() {
    let server = with_samples().await;
    let request = Request::get("/prometheus/api/v1/query_range?query=up&start=60&end=120&step=60")
        .header("accept", "application/vnd.apache.arrow.stream")
        .body(Body::empty())
        .unwrap();
    let response = server.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/vnd.apache.arrow.stream");
    let body = bytes(response).await;
    let reader = arrow::ipc::reader::StreamReader::try_new(body.as_ref(), None).unwrap();
    assert_eq!(reader.schema().metadata()["resultType"], "matrix");
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    assert_eq!(batches[0].num_rows(), 2);
    let values = batches[0].column_by_name("values").unwrap().as_list::<i32>().clone();
    let of = |row| values.value(row).as_primitive::<Float64Type>().values().to_vec();
    assert_eq!((of(0), of(1)), (vec![1.0, 1.0], vec![1.0, 0.0]));
    assert_eq!(batches[0].column(0).as_map().value(1).len(), 3);
}

#[tokio::test]
async fn federation_gives_the_newest_samples_as_text() {
    let server = server();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as u32;
    server.write(&series(&[("__name__", "up"), ("job", "a\"b")], &[(now - 20, 1.0), (now - 10, 0.0)])).await;
    let (status, body) = server.get("/federate?match[]=up").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        body,
        format!("# TYPE up untyped\nup{{instance=\"\",job=\"a\\\"b\"}} 0 {}\n", u64::from(now - 10) * 1000)
    );
}
