//! `POST /api/v1/sql` through the router.

use crate::fake::*;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use bodkin_http::*;
use bodkin_schema::Principal;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::test]
async fn json_is_the_default() {
    let response = query(app(), None, "SELECT").await;
    assert_eq!(response.status(), 200);
    let expected = json!({
        "columns": [{"name": "id", "type": "Int64"}, {"name": "name", "type": "Utf8"}],
        "rows": [[1, "row 1"], [2, "row 2"], [3, "row 3"]],
        "stats": {"rows": 3, "elapsed_ms": 1.5, "bytes_scanned": 4096, "files_scanned": 2, "files_pruned": 3},
    });
    let answer = json(response).await;
    assert_eq!(answer, expected);
    serde_json::from_value::<SqlResponse>(answer).unwrap();
}

#[tokio::test]
async fn each_format_by_accept() {
    let csv = query(app(), Some("text/csv"), "SELECT").await;
    assert_eq!(csv.headers()["content-type"], "text/csv; charset=utf-8; header=present");
    assert_eq!(bytes(csv).await, "id,name\n1,row 1\n2,row 2\n3,row 3\n");

    let arrow = query(app(), Some("application/vnd.apache.arrow.stream"), "SELECT").await;
    assert_eq!(arrow.headers()["content-type"], "application/vnd.apache.arrow.stream");
    let reader = arrow::ipc::reader::StreamReader::try_new(std::io::Cursor::new(bytes(arrow).await), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 3);

    let parquet = query(app(), Some("application/vnd.apache.parquet"), "SELECT").await;
    assert_eq!(parquet.headers()["content-type"], "application/vnd.apache.parquet");
    let file = bytes(parquet).await;
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 3);
}

#[tokio::test]
async fn stats_are_a_trailer_in_every_format() {
    for format in bodkin_http::encode::Format::ALL {
        let response = query(app(), Some(format.media_type()), "SELECT").await;
        assert_eq!(response.headers()["trailer"], STATS_TRAILER);
        let body = response.into_body().collect().await.unwrap();
        let stats: SqlStats = serde_json::from_slice(body.trailers().unwrap()[STATS_TRAILER].as_bytes()).unwrap();
        assert_eq!((stats.rows, stats.bytes_scanned), (3, 4096));
    }
}

#[tokio::test]
async fn an_empty_answer_keeps_its_columns() {
    let answer = json(query(app(), None, "empty").await).await;
    assert_eq!(answer["rows"], json!([]));
    assert_eq!(answer["columns"][0]["name"], "id");
}

#[tokio::test]
async fn other_formats_are_not_acceptable() {
    let response = query(app(), Some("application/xml"), "SELECT").await;
    assert_eq!(response.status(), StatusCode::NOT_ACCEPTABLE);
    let error = json(response).await;
    assert_eq!(error["error"]["code"], "not_acceptable");
    assert!(error["error"]["hint"].as_str().unwrap().contains("text/csv"));
}

#[tokio::test]
async fn errors_of_the_engine_keep_kind_place_and_hint() {
    let cases = [
        ("syntax", 400, "syntax"),
        ("plan", 400, "plan"),
        ("not found", 400, "not_found"),
        ("denied", 403, "denied"),
        ("limit", 422, "limit"),
        ("error at once", 422, "limit"),
        ("timeout", 504, "timeout"),
        ("overloaded", 503, "overloaded"),
        ("execution", 400, "execution"),
        ("internal", 500, "internal"),
    ];
    for (text, status, code) in cases {
        let response = query(app(), Some("text/csv"), text).await;
        assert_eq!(response.status(), status, "{text}");
        assert_eq!(response.headers().contains_key("retry-after"), status == 503, "{text}");
        let expected =
            json!({"error": {"code": code, "message": "it failed", "hint": "try less", "line": 1, "column": 8}});
        assert_eq!(json(response).await, expected, "{text}");
    }
}

#[tokio::test]
async fn an_error_after_the_first_rows_breaks_the_body_off() {
    for text in ["error later", "panic later"] {
        for format in bodkin_http::encode::Format::ALL {
            let state = state_of(FakeNode::default());
            let response = query(router(state.clone()), Some(format.media_type()), text).await;
            assert_eq!(response.status(), 200);
            to_bytes(response.into_body(), usize::MAX).await.unwrap_err();
            let families = state.counters.families();
            let aborted = families.iter().find(|family| family.name == "bodkin_http_answers_aborted_total").unwrap();
            assert_eq!(aborted.samples[0].value, 1.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_that_gives_nothing_times_out() {
    let response = query(app(), None, "hang").await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(json(response).await["error"]["code"], "timeout");

    let response = query(app(), None, "hang later").await;
    assert_eq!(response.status(), 200);
    to_bytes(response.into_body(), usize::MAX).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_times_out() {
    let never = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let response = send(app(), Request::post("/api/v1/sql").body(never).unwrap()).await;
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
}

async fn post(body: impl Into<Body>) -> (StatusCode, Value) {
    let response = send(app(), Request::post("/api/v1/sql").body(body.into()).unwrap()).await;
    (response.status(), json(response).await)
}

#[tokio::test]
async fn a_body_that_is_no_request_is_refused_with_its_place() {
    let (status, error) = post("{\"query\": \"SELECT 1\",\n \"limit\": 5}").await;
    assert_eq!(status, 400);
    assert_eq!((&error["error"]["code"], &error["error"]["line"]), (&json!("malformed_body"), &json!(2)));
    assert!(error["error"]["message"].as_str().unwrap().contains("unknown field `limit`"), "{error}");

    for body in ["", "SELECT 1", "{}", "[]", "{\"query\": 1}", "{\"query\": \"a\"} x"] {
        assert_eq!(post(body).await.0, 400, "{body}");
    }
    assert_eq!(post(b"{\"query\": \"\xff\"}".to_vec()).await.0, 400);
}

#[tokio::test]
async fn a_body_of_more_than_a_mebibyte_is_refused() {
    let long = |bytes: usize| {
        let frame = r#"{"query":""}"#.len();
        format!(r#"{{"query":"{}"}}"#, "x".repeat(bytes - frame))
    };
    assert_eq!(query(app(), None, &"x".repeat((1 << 20) - 12)).await.status(), 200);
    let (status, error) = post(long((1 << 20) + 1)).await;
    assert_eq!((status, &error["error"]["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large")));
}

#[tokio::test]
async fn the_engine_is_given_the_principal_of_the_hook() {
    struct Named;
    impl Authenticate for Named {
        fn principal(&self, head: &axum::http::request::Parts) -> Result<Principal, ApiError> {
            match head.headers.get("authorization").and_then(|value| value.to_str().ok()) {
                Some(name) => Ok(Principal { name: name.into(), ..Principal::default() }),
                None => Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "no token")),
            }
        }
    }
    let engine = Arc::new(FakeEngine::default());
    let state = AppState { auth: Arc::new(Named), sql: engine.clone(), ..state_of(FakeNode::default()) };
    let request = Request::post("/api/v1/sql").header("authorization", "ada");
    let response = send(router(state.clone()), request.body("{\"query\":\"q\"}".into()).unwrap()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        engine.seen.lock().unwrap().as_slice(),
        [(Principal { name: "ada".into(), ..Principal::default() }, "q".into())]
    );

    // ISO-1: no route answers without the hook's consent.
    for path in ["/api/v1/sql", "/api/v1/status", "/metrics", "/api/v1/admin/flush", "/nowhere"] {
        assert_eq!(get(router(state.clone()), path).await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn concurrent_requests_do_not_mix() {
    let app = app();
    let ask = |i: usize| {
        let app = app.clone();
        tokio::spawn(async move {
            match i % 3 {
                0 => assert_eq!(query(app, None, "syntax").await.status(), 400),
                1 => assert_eq!(json(query(app, None, "SELECT").await).await["stats"]["rows"], 3),
                _ => assert_eq!(json(query(app, None, "medium").await).await["rows"].as_array().unwrap().len(), 20_000),
            }
        })
    };
    let tasks: Vec<_> = (0..24).map(ask).collect();
    for task in tasks {
        task.await.unwrap();
    }
}
