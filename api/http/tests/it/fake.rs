//! An engine and a node that say what a test wants.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use bodkin_http::*;
use bodkin_schema::{Epoch, Principal};
use futures::stream::{self, StreamExt};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::ServiceExt;

/// Answers by the text of the query.
#[derive(Default)]
pub(crate) struct FakeEngine {
    pub(crate) seen: Mutex<Vec<(Principal, String)>>,
}

pub(crate) fn batch(ids: &[i64]) -> RecordBatch {
    let names: StringArray = ids.iter().map(|id| Some(format!("row {id}"))).collect();
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_from_iter([("id", ids), ("name", Arc::new(names) as ArrayRef)]).unwrap()
}

fn failure(kind: SqlErrorKind) -> SqlError {
    SqlError { line: Some(1), column: Some(8), hint: Some("try less".into()), ..SqlError::new(kind, "it failed") }
}

#[async_trait]
impl SqlEngine for FakeEngine {
    async fn sql(&self, principal: &Principal, query: &str) -> Result<SqlAnswer, SqlError> {
        self.seen.lock().unwrap().push((principal.clone(), query.to_owned()));
        let kind = match query {
            "syntax" => Some(SqlErrorKind::Syntax),
            "plan" => Some(SqlErrorKind::Plan),
            "not found" => Some(SqlErrorKind::NotFound),
            "denied" => Some(SqlErrorKind::Denied),
            "limit" => Some(SqlErrorKind::Limit),
            "timeout" => Some(SqlErrorKind::Timeout),
            "overloaded" => Some(SqlErrorKind::Overloaded),
            "execution" => Some(SqlErrorKind::Execution),
            "internal" => Some(SqlErrorKind::Internal),
            _ => None,
        };
        if let Some(kind) = kind {
            return Err(failure(kind));
        }
        let first = Ok(batch(&[1, 2]));
        let batches = match query {
            "panic" => panic!("the engine panicked"),
            "empty" => stream::empty().boxed(),
            "error at once" => stream::iter([Err(failure(SqlErrorKind::Limit))]).boxed(),
            "error later" => stream::iter([first, Err(failure(SqlErrorKind::Limit))]).boxed(),
            "panic later" => stream::iter([first]).chain(stream::once(async { panic!("later") })).boxed(),
            "hang" => stream::pending().boxed(),
            "hang later" => stream::iter([first]).chain(stream::pending()).boxed(),
            "endless" => stream::repeat_with(|| Ok(batch(&[7; 4096]))).boxed(),
            "large, then error" => {
                let rows = stream::iter((0..100).map(|_| Ok(batch(&[2; 1000]))));
                rows.chain(stream::iter([Err(failure(SqlErrorKind::Limit))])).boxed()
            }
            "medium" => stream::iter((0..20).map(|i| Ok(batch(&[i; 1000])))).boxed(),
            "large" => stream::iter((0..200).map(|i| Ok(batch(&[i; 1000])))).boxed(),
            _ => stream::iter([first, Ok(batch(&[])), Ok(batch(&[3]))]).boxed(),
        };
        let stats = || SqlStats { rows: 99, elapsed_ms: 1.5, bytes_scanned: 4096, files_scanned: 2, files_pruned: 3 };
        Ok(SqlAnswer { schema: batch(&[]).schema(), batches, stats: Box::new(stats) })
    }
}

/// Is ready and flushes as it is told.
#[derive(Default)]
pub(crate) struct FakeNode {
    pub(crate) missing: Vec<NotReady>,
    pub(crate) flush_error: Option<FlushError>,
    pub(crate) is_stuck: bool,
}

#[async_trait]
impl Node for FakeNode {
    fn not_ready(&self) -> Vec<NotReady> {
        self.missing.clone()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({"version": "0.1.0"})
    }

    async fn flush(&self) -> Result<Epoch, FlushError> {
        if self.is_stuck {
            std::future::pending::<()>().await;
        }
        self.flush_error.clone().map_or(Ok(Epoch(7)), Err)
    }

    async fn compact(&self, is_vacuum_now: bool) -> Result<serde_json::Value, CompactError> {
        match self.is_stuck {
            true => Err(CompactError("the store is away".into())),
            false => Ok(serde_json::json!({"jobs": 3, "is_vacuum_now": is_vacuum_now})),
        }
    }
}

pub(crate) fn state_of(node: FakeNode) -> AppState {
    AppState {
        sql: Arc::new(FakeEngine::default()),
        node: Arc::new(node),
        detection: Arc::new(NoDetection::default()),
        metrics: Vec::new(),
        auth: Arc::new(NoCredentials),
        limits: Limits { query_timeout: Duration::from_secs(5), ..Limits::default() },
        is_loopback: true,
        counters: Arc::default(),
        prometheus: None,
        alerting: None,
    }
}

pub(crate) fn app() -> Router {
    router(state_of(FakeNode::default()))
}

pub(crate) async fn send(app: Router, request: Request<Body>) -> Response<Body> {
    app.oneshot(request).await.unwrap()
}

pub(crate) async fn get(app: Router, path: &str) -> Response<Body> {
    send(app, Request::get(path).body(Body::empty()).unwrap()).await
}

pub(crate) async fn query(app: Router, accept: Option<&str>, query: &str) -> Response<Body> {
    let body = serde_json::to_vec(&SqlRequest { query: query.to_owned() }).unwrap();
    let mut request = Request::post("/api/v1/sql");
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    send(app, request.body(body.into()).unwrap()).await
}

pub(crate) async fn bytes(response: Response<Body>) -> bytes::Bytes {
    to_bytes(response.into_body(), usize::MAX).await.unwrap()
}

pub(crate) async fn json(response: Response<Body>) -> serde_json::Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_slice(&bytes(response).await).unwrap()
}
