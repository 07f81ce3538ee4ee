//! The one shape of an error on this surface: `{"error":{"code","message","hint"}}`.

use crate::engine::{SqlError, SqlErrorKind};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error as it stands in a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// Stable word for programs: `syntax`, `plan`, `not_found`, `limit`, ...
    pub code: String,
    /// Sentence for people.
    pub message: String,
    /// What to try instead; null where nothing is known.
    pub hint: Option<String>,
    /// Line of the query or body, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Column in that line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
}

/// An error with its status.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", detail.message)]
pub struct ApiError {
    status: StatusCode,
    detail: Box<ErrorDetail>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// An error with a stable `code` and a message.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let detail =
            ErrorDetail { code: code.to_owned(), message: message.into(), hint: None, line: None, column: None };
        Self { status, detail: Box::new(detail), header: None }
    }

    /// A fault of ours. The message goes to the caller: no secrets in it.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// The same with something to try instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.detail.hint = Some(hint.into());
        self
    }

    /// The same with a place in the query or body.
    #[must_use]
    pub fn at(mut self, line: u64, column: u64) -> Self {
        self.detail.line = Some(line);
        self.detail.column = Some(column);
        self
    }

    /// The same with a header of the response.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// Status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What the body says.
    pub fn detail(&self) -> &ErrorDetail {
        &self.detail
    }
}

impl From<SqlError> for ApiError {
    fn from(error: SqlError) -> Self {
        let status = match error.kind {
            SqlErrorKind::Syntax | SqlErrorKind::Plan | SqlErrorKind::NotFound | SqlErrorKind::Execution => {
                StatusCode::BAD_REQUEST
            }
            SqlErrorKind::Denied => StatusCode::FORBIDDEN,
            SqlErrorKind::Limit => StatusCode::UNPROCESSABLE_ENTITY,
            SqlErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            SqlErrorKind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            SqlErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut answer = Self::new(status, error.kind.code(), error.message);
        answer.detail.hint = error.hint;
        answer.detail.line = error.line;
        answer.detail.column = error.column;
        match error.kind {
            SqlErrorKind::Overloaded => answer.header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            _ => answer,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), code = self.detail.code, error = self.detail.message);
        }
        let mut response = (self.status, axum::Json(ErrorBody { error: *self.detail })).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
