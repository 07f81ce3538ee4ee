//! The routes and what stands around them.

use crate::auth::authenticate;
use crate::error::ApiError;
use crate::guard::guard;
use crate::observe::{observe, panicked};
use crate::state::AppState;
use crate::{alerting, detection, graph, health, metrics, openapi, prometheus, rollup, sql};
use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

/// Every route, as it stands in the OpenAPI document.
fn routes() -> Vec<(&'static str, MethodRouter<AppState>)> {
    vec![
        ("/healthz", get(health::healthz)),
        ("/readyz", get(health::readyz)),
        ("/metrics", get(metrics::metrics)),
        ("/api/v1/sql", post(sql::sql)),
        ("/api/v1/detect", post(detection::detect)),
        ("/api/v1/rules", get(detection::list).post(detection::reload)),
        ("/api/v1/findings", get(detection::findings)),
        ("/api/v1/findings/live", get(detection::live)),
        ("/api/v1/k8s-audit", post(detection::k8s_audit)),
        ("/api/v1/cloudtrail", post(detection::cloudtrail)),
        ("/api/v1/alerts", get(alerting::alerts)),
        ("/api/v1/alerts/rules", get(alerting::rules)),
        ("/api/v1/silences", get(alerting::silences).post(alerting::silence)),
        ("/api/v1/silences/{id}", delete(alerting::expire)),
        ("/api/v1/channels/{name}/test", post(alerting::test)),
        ("/api/v1/status", get(health::status)),
        ("/api/v1/graph", get(graph::graph)),
        ("/api/v1/graph/{node}/tap", get(graph::tap)),
        ("/api/v1/admin/flush", get(health::flush).post(health::flush)),
        ("/api/v1/admin/compact", get(health::compact).post(health::compact)),
        ("/api/v1/admin/rollup", get(rollup::make).post(rollup::make)),
        ("/api/v1/rollups", get(rollup::rollups)),
        ("/api/v1/openapi.json", get(openapi::openapi)),
    ]
}

/// The paths of all routes.
pub fn paths() -> Vec<&'static str> {
    routes().into_iter().map(|(path, _)| path).collect()
}

/// The surface of a node. A request passes, from the outside: span and counter, panic fence, loopback guard,
/// principal, handler.
pub fn router(state: AppState) -> Router {
    let on_panic = state.clone();
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, route)| router.route(path, route))
        .nest(prometheus::PREFIX, prometheus::routes())
        .merge(alerting::routes())
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), authenticate))
        .layer(from_fn_with_state(state.clone(), guard))
        .layer(CatchPanicLayer::custom(move |panic| panicked(&on_panic, panic)))
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

async fn unknown_route(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("no route {}", uri.path()))
        .hint("see /api/v1/openapi.json for the routes")
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        .hint("see /api/v1/openapi.json for the methods of a route")
}
