//! `POST /api/v1/sql`.

use crate::accept::negotiate;
use crate::body::{AnswerBody, ERROR_TRAILER, ERRORS_HEADER, STATS_TRAILER};
use crate::encode::Format;
use crate::engine::{SqlAnswer, SqlError, SqlErrorKind, SqlStats};
use crate::error::{ApiError, ErrorBody};
use crate::read::read_json;
use crate::state::{AppState, Limits};
use arrow::array::RecordBatch;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bodkin_schema::Principal;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlRequest {
    /// One statement that reads.
    #[schema(example = "SELECT ts, comm, path FROM events WHERE evt_type = 'openat' LIMIT 10")]
    pub query: String,
}

/// An answer as JSON. It only describes the document: answers are written row by row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SqlResponse {
    /// The columns in order.
    pub columns: Vec<SqlColumn>,
    /// The rows: one array per row, one value per column. Times are RFC 3339 texts in UTC, 64-bit integers numbers,
    /// decimals texts, lists arrays, maps and structs objects, binary values hexadecimal texts; floats that JSON has
    /// no number for are the texts `NaN`, `Infinity` and `-Infinity`.
    pub rows: Vec<Vec<serde_json::Value>>,
    /// What the query gave and cost.
    pub stats: SqlStats,
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SqlColumn {
    /// Its name.
    pub name: String,
    /// Its type, as Arrow names it: `Int64`, `Utf8`, `Timestamp(us, UTC)`, `Map(Utf8, Utf8)`, ...
    #[serde(rename = "type")]
    pub data_type: String,
}

/// Answers one read-only SQL statement.
///
/// The answer is streamed. An error before the first rows has its own status; where one occurs later, the connection
/// breaks off before the end of the document.
#[utoipa::path(post, path = "/api/v1/sql", tag = "query", request_body = SqlRequest, responses(
    (status = 200, description = "The rows, in the format of `Accept`", content(
        (SqlResponse = "application/json"),
        (String = "text/csv"),
        (Vec<u8> = "application/vnd.apache.arrow.stream"),
        (Vec<u8> = "application/vnd.apache.parquet"),
    )),
    (status = 400, description = "The body is no query, or the query does not fit the tables", body = ErrorBody),
    (status = 403, description = "The statement is not allowed", body = ErrorBody),
    (status = 406, description = "No format of `Accept` is ours", body = ErrorBody),
    (status = 408, description = "The body did not arrive in time", body = ErrorBody),
    (status = 413, description = "The body is larger than 1 MiB", body = ErrorBody),
    (status = 422, description = "The query needs more than a query may have", body = ErrorBody),
    (status = 500, description = "The query failed", body = ErrorBody),
    (status = 503, description = "Too many queries run", body = ErrorBody),
    (status = 504, description = "The query took too long", body = ErrorBody),
))]
pub(crate) async fn sql(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let format = negotiate(&headers)?;
    const EXAMPLE: &str = "{\"query\": \"SELECT ...\"}";
    let limit = state.limits.body_bytes_max;
    let request: SqlRequest = read_json(body, &state.limits, limit, "SQL request", EXAMPLE).await?;
    respond(&state, &headers, format, state.sql.sql(&principal, &request.query)).await
}

/// Streams the rows of a query in a format.
pub(crate) async fn respond(
    state: &AppState,
    headers: &HeaderMap,
    format: Format,
    query: impl Future<Output = Result<SqlAnswer, SqlError>>,
) -> Result<Response, ApiError> {
    let (answer, first) = match timeout(state.limits.query_timeout, run(query)).await {
        Ok(result) => result?,
        Err(_) => return Err(too_slow(&state.limits).into()),
    };
    let encoder = format.encoder(&answer.schema).map_err(|error| unwritable(format, &error))?;
    let has_error_trailer = headers.get(ERRORS_HEADER).is_some_and(|value| value == "trailer");
    let body = AnswerBody::new(answer, first, format, encoder, state).with_error_trailer(has_error_trailer);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(format.content_type())),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::VARY, HeaderValue::from_static("accept")),
        (header::TRAILER, HeaderValue::from_static(STATS_TRAILER)),
    ];
    let mut response = (headers, body.into_body()).into_response();
    if has_error_trailer {
        response.headers_mut().append(header::TRAILER, HeaderValue::from_static(ERROR_TRAILER));
    }
    Ok(response)
}

/// Runs the query up to its first batch, so that what fails at once has a status of its own.
async fn run(
    query: impl Future<Output = Result<SqlAnswer, SqlError>>,
) -> Result<(SqlAnswer, Option<RecordBatch>), SqlError> {
    let mut answer = query.await?;
    let first = answer.batches.next().await.transpose()?;
    Ok((answer, first))
}

pub(crate) fn too_slow(limits: &Limits) -> SqlError {
    let message = format!("the query gave no rows for {} s", limits.query_timeout.as_secs());
    SqlError { hint: Some("narrow the time range".to_owned()), ..SqlError::new(SqlErrorKind::Timeout, message) }
}

fn unwritable(format: Format, error: &arrow::error::ArrowError) -> ApiError {
    let message = format!("the answer cannot be written as {}: {error}", format.media_type());
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "unwritable", message)
        .hint("cast the column, or accept another format")
}
