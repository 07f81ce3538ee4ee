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
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
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
    let lines = lines(batches, query.rows.unwrap_or(u64::MAX));
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from_stream(lines)).into_response())
}

/// The first `left` rows. It ends with the last of them: on a quiet host the next one may be long in coming.
fn lines(
    batches: BoxStream<'static, RecordBatch>,
    left: u64,
) -> impl Stream<Item = Result<Vec<u8>, ArrowError>> + Send + 'static {
    futures::stream::unfold((batches, left), |(mut batches, left)| async move {
        let batch = if left > 0 { batches.next().await? } else { return None };
        let rows = left.min(batch.num_rows() as u64);
        Some((json_lines(&batch.slice(0, rows as usize)), (batches, left - rows)))
    })
}

fn json_lines(records: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(records)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use futures::{FutureExt, stream};
    use std::sync::Arc;

    #[test]
    fn it_ends_with_its_last_row() {
        let batch = |rows: i64| {
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
            RecordBatch::try_from_iter([("n", column)]).unwrap()
        };
        for (left, expected) in [(0, vec![]), (2, vec!["0", "1"]), (4, vec!["0", "1", "2", "0"])] {
            // Nothing comes behind these, and the stream does not end.
            let batches = stream::iter([batch(3), batch(1)]).chain(stream::pending()).boxed();
            let taken = lines(batches, left).collect::<Vec<_>>().now_or_never().expect("it has all that it needs");
            let text = taken.into_iter().map(|lines| String::from_utf8(lines.unwrap()).unwrap()).collect::<String>();
            let expected: Vec<String> = expected.iter().map(|n| format!("{{\"n\":{n}}}")).collect();
            assert_eq!(text.lines().collect::<Vec<_>>(), expected);
        }
    }
}
