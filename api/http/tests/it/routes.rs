//! The routes beside SQL, and the document that describes all.

use crate::fake::*;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use bodkin_http::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

#[tokio::test]
async fn alive_at_once_ready_when_nothing_is_missing() {
    let missing = vec![NotReady { component: "wal".into(), reason: "replays 3 segments".into() }];
    let node = || FakeNode { missing: missing.clone(), ..FakeNode::default() };
    assert_eq!(get(router(state_of(node())), "/healthz").await.status(), 200);
    let response = get(router(state_of(node())), "/readyz").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let expected = json!({"ready": false, "reasons": [{"component": "wal", "reason": "replays 3 segments"}]});
    assert_eq!(json(response).await, expected);

    let response = get(app(), "/readyz").await;
    assert_eq!(response.status(), 200);
    assert_eq!(json(response).await, json!({"ready": true, "reasons": []}));
}

#[tokio::test]
async fn flush_answers_with_the_epoch_by_either_method() {
    for method in [Method::GET, Method::POST] {
        let request = Request::builder().method(method).uri("/api/v1/admin/flush").body(Body::empty()).unwrap();
        assert_eq!(json(send(app(), request).await).await, json!({"epoch": 7}));
    }
}

#[tokio::test(start_paused = true)]
async fn flush_that_fails_says_why() {
    let flush_error = |is_stopped| Some(FlushError { message: "disk full".into(), is_stopped });
    for (is_stopped, status) in [(false, 500), (true, 503)] {
        let node = FakeNode { flush_error: flush_error(is_stopped), ..FakeNode::default() };
        let response = get(router(state_of(node)), "/api/v1/admin/flush").await;
        assert_eq!(response.status(), status);
        assert_eq!(json(response).await["error"]["message"], "epoch did not end: disk full");
    }
    let stuck = FakeNode { is_stuck: true, ..FakeNode::default() };
    assert_eq!(get(router(state_of(stuck)), "/api/v1/admin/flush").await.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn compact_answers_with_what_was_done() {
    let done = json(send(app(), Request::post("/api/v1/admin/compact?vacuum=now").body(Body::empty()).unwrap()).await);
    assert_eq!(done.await, json!({"jobs": 3, "is_vacuum_now": true}));
    assert_eq!(json(get(app(), "/api/v1/admin/compact").await).await, json!({"jobs": 3, "is_vacuum_now": false}));
    let wrong = get(app(), "/api/v1/admin/compact?vacuum=later").await;
    assert_eq!(wrong.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json(wrong).await["error"]["hint"], "vacuum=now");
    let stuck = FakeNode { is_stuck: true, ..FakeNode::default() };
    let failed = get(router(state_of(stuck)), "/api/v1/admin/compact").await;
    assert_eq!(json(failed).await["error"]["message"], "compaction stopped: the store is away");
}

#[tokio::test]
async fn status_is_what_the_node_says() {
    assert_eq!(json(get(app(), "/api/v1/status").await).await, json!({"version": "0.1.0"}));
}

#[tokio::test]
async fn metrics_join_the_sources_with_our_own() {
    struct Rows;
    impl MetricsSource for Rows {
        fn families(&self) -> Vec<Family> {
            vec![Family::counter("bodkin_ingest_rows_accepted_total", "rows accepted", 5)]
        }
    }
    let app = router(AppState { metrics: vec![Arc::new(Rows)], ..state_of(FakeNode::default()) });
    get(app.clone(), "/nowhere/1").await;
    get(app.clone(), "/nowhere/2").await;
    query(app.clone(), None, "panic").await;
    let response = get(app, "/metrics").await;
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(bytes(response).await.to_vec()).unwrap();
    for line in [
        "bodkin_ingest_rows_accepted_total 5",
        "# TYPE bodkin_http_requests_answered_total counter",
        "bodkin_http_requests_answered_total{route=\"unmatched\",method=\"GET\",status=\"404\"} 2",
        "bodkin_http_requests_answered_total{route=\"/api/v1/sql\",method=\"POST\",status=\"500\"} 1",
        "bodkin_http_handlers_panicked_total 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn unknown_routes_wrong_methods_and_panics_have_our_shape() {
    let response = get(app(), "/api/v2/sql").await;
    assert_eq!(response.status(), 404);
    assert_eq!(json(response).await["error"]["code"], "not_found");

    let response = get(app(), "/api/v1/sql").await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(json(response).await["error"]["code"], "method_not_allowed");

    let response = query(app(), None, "panic").await;
    assert_eq!(response.status(), 500);
    let error = json(response).await;
    assert_eq!(error["error"]["code"], "internal");
    assert!(!error.to_string().contains("engine panicked"), "the panic's text stays inside");
}

#[tokio::test]
async fn a_loopback_listener_refuses_other_sites() {
    let app = app();
    let status = |headers: &'static [(&str, &str)]| {
        let app = app.clone();
        async move {
            let request = headers
                .iter()
                .fold(Request::get("/api/v1/status"), |request, (name, value)| request.header(*name, *value));
            send(app, request.body(Body::empty()).unwrap()).await.status().as_u16()
        }
    };
    assert_eq!(status(&[]).await, 200);
    assert_eq!(status(&[("host", "localhost:9470")]).await, 200);
    assert_eq!(status(&[("host", "127.0.0.1:9470"), ("origin", "http://localhost:3000")]).await, 200);
    assert_eq!(status(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]).await, 200);
    assert_eq!(status(&[("host", "rebound.example:9470")]).await, 403);
    assert_eq!(status(&[("host", "localhost"), ("origin", "https://evil.example")]).await, 403);
    assert_eq!(status(&[("origin", "null")]).await, 403);
    assert_eq!(status(&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]).await, 403);

    let elsewhere = router(AppState { is_loopback: false, ..state_of(FakeNode::default()) });
    let request = Request::get("/healthz").header("host", "bodkin.example").body(Body::empty()).unwrap();
    assert_eq!(send(elsewhere, request).await.status(), 200);
}

/// Every method and path of the document, as `GET /healthz`.
async fn documented() -> BTreeSet<String> {
    let document = json(get(app(), "/api/v1/openapi.json").await).await;
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        found.extend(item.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    found
}

#[tokio::test]
async fn the_document_and_the_router_have_the_same_routes() {
    let documented = documented().await;
    let paths: BTreeSet<&str> =
        documented.iter().filter_map(|entry| entry.split_once(' ')).map(|(_, path)| path).collect();
    let known: BTreeSet<&str> = bodkin_http::paths().into_iter().collect();
    assert_eq!(paths, known);
    let mut taken = BTreeSet::new();
    for path in known {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let request = Request::builder().method(method.clone()).uri(path).body(Body::empty()).unwrap();
            match send(app(), request).await.status() {
                StatusCode::METHOD_NOT_ALLOWED => {}
                status => {
                    // Where a name is part of the path, that name is not found.
                    assert!(status != StatusCode::NOT_FOUND || path.contains('{'), "{path}");
                    taken.insert(format!("{method} {path}"));
                }
            }
        }
    }
    assert_eq!(taken, documented);
}

#[tokio::test]
async fn the_document_names_every_type_that_it_refers_to() {
    let document = json(get(app(), "/api/v1/openapi.json").await).await;
    let text = document.to_string();
    let mut count = 0;
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        count += 1;
    }
    assert!(count > 10);
    assert_eq!(document["components"]["schemas"]["SqlRequest"]["additionalProperties"], false);
}
