//! Who a request is from: the one place where a [`Principal`] is made.

use crate::error::ApiError;
use crate::state::AppState;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use bodkin_schema::Principal;

/// Tells on whose behalf a request runs.
pub trait Authenticate: Send + Sync {
    /// The principal of a request with this head.
    ///
    /// # Errors
    /// The answer to a request without valid credentials.
    fn principal(&self, head: &Parts) -> Result<Principal, ApiError>;
}

/// Everyone is the default principal: a listener on loopback, or one that was started as insecure.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCredentials;

impl Authenticate for NoCredentials {
    fn principal(&self, _head: &Parts) -> Result<Principal, ApiError> {
        Ok(Principal::default())
    }
}

/// Middleware that puts the [`Principal`] into the request's extensions, where the handlers take it from (ISO-1).
pub(crate) async fn authenticate(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (mut head, body) = request.into_parts();
    let principal = state.auth.principal(&head)?;
    head.extensions.insert(principal);
    Ok(next.run(Request::from_parts(head, body)).await)
}
