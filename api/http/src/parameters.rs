//! Parameters of a request, refused in the one shape of an error.

use crate::error::ApiError;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// The parameters in the query of a URL.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => {
                let said = rejection.body_text();
                let message = said.strip_prefix("Failed to deserialize query string: ").unwrap_or(&said);
                Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed_parameter", message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Limit {
        limit: Option<u8>,
    }

    async fn read(uri: &str) -> Result<Option<u8>, ApiError> {
        let (mut parts, ()) = axum::http::Request::get(uri).body(()).unwrap().into_parts();
        Parameters::<Limit>::from_request_parts(&mut parts, &()).await.map(|Parameters(found)| found.limit)
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_as_every_error_is() {
        assert_eq!((read("/x").await.unwrap(), read("/x?limit=7").await.unwrap()), (None, Some(7)));
        for (uri, part) in
            [("/x?limit=z", "limit: invalid digit"), ("/x?limt=7", "unknown field `limt`, expected `limit`")]
        {
            let error = read(uri).await.unwrap_err();
            assert_eq!(
                (error.status(), error.detail().code.as_str()),
                (StatusCode::BAD_REQUEST, "malformed_parameter")
            );
            assert!(error.detail().message.contains(part), "{}", error.detail().message);
        }
    }
}
