//! The graph as it runs, and live rows of its nodes.

use crate::error::{ApiError, ErrorBody};
use crate::parameters::Parameters;
use crate::state::AppState;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bodkin_schema::Principal;
use futures::StreamExt;
use serde::Deserialize;
use utoipa::IntoParams;

/// How much of a node's rows to show.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct TapQuery {
    /// Ends after this many rows.
    rows: Option<u64>,
}

/// The nodes of the graph with rows, lag, watermark, state and queue bytes.
#[utoipa::path(get, path = "/api/v1/graph", tag = "operation", responses(
    (status = 200, description = "Nodes and their figures; fields may grow", content_type = "application/json", body = Object),
))]
pub(crate) async fn graph(State(state): State<AppState>) -> Json<serde_json::Value> {
    Json(state.node.graph())
}

/// Live rows of a node as JSON lines: of a stream as they come in, of an operator as it emits them. A client that is too
/// slow misses rows.
#[utoipa::path(get, path = "/api/v1/graph/{node}/tap", tag = "operation",
    params(("node" = String, Path, description = "a stream or an operator"), TapQuery), responses(
    (status = 200, description = "One JSON object per row, for as long as the client reads", content_type = "application/jsonl", body = String),
    (status = 404, description = "There is no such node", body = ErrorBody),
))]
pub(crate) async fn tap(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    Path(node): Path<String>,
    Parameters(query): Parameters<TapQuery>,
) -> Result<Response, ApiError> {
    let batches = state.node.tap(&principal, &node).map_err(|why| {
        ApiError::new(StatusCode::NOT_FOUND, "not_found", why).hint("see /api/v1/graph for the nodes")
    })?;
    let left = query.rows.unwrap_or(u64::MAX);
    let lines = batches.scan(left, |left, batch| {
        let rows = (batch.num_rows() as u64).min(*left);
        let part = (*left > 0).then(|| batch.slice(0, rows as usize));
        *left -= rows;
        std::future::ready(part.map(|part| json_lines(&part)))
    });
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
}

fn json_lines(records: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(records)?;
    writer.finish()?;
    Ok(writer.into_inner())
}
