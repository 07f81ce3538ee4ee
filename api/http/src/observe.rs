//! A span and a counter per request. Neither query strings nor bodies are logged: they may hold what is secret.

use crate::error::ApiError;
use crate::state::AppState;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::any::Any;
use std::sync::atomic::Ordering;
use tracing::Instrument;

/// Middleware around all others.
pub(crate) async fn observe(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = method_name(request.method());
    let span = tracing::info_span!("request", method, route);
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.in_scope(|| tracing::debug!(status, "answered"));
    state.counters.count_answer(&route, method, status);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The answer where a handler panicked. The message of the panic stays in the log.
pub(crate) fn panicked(state: &AppState, _panic: Box<dyn Any + Send>) -> Response {
    state.counters.panicked.fetch_add(1, Ordering::Relaxed);
    ApiError::internal("the request hit a fault of ours").hint("the server's log has the panic").into_response()
}

/// Bounded, as methods label a counter and anyone can invent one.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
