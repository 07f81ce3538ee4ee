//! `POST /api/v1/detect`: rules over history.

use crate::accept::negotiate;
use crate::engine::DetectSearch;
use crate::error::{ApiError, ErrorBody};
use crate::read::read_json;
use crate::sql::{SqlResponse, respond};
use crate::state::AppState;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bodkin_rules::{Matching, Options, RuleFile, RuleSet};
use bodkin_schema::{Clock, EventTime, Principal, SystemClock};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Largest body of a search: rule files are larger than queries.
const BODY_BYTES_MAX: usize = 16 << 20;

/// A search of rules over what is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DetectRequest {
    /// Rule files; those of the server where there are none.
    #[schema(value_type = Vec<Object>, example = json!([{"name": "r.yaml", "content": "- rule: ..."}]))]
    pub files: Vec<RuleFile>,
    /// Only the rule of that name.
    pub rule: Option<String>,
    /// Events from then on: `30d`, `12h`, or a time as RFC 3339.
    #[schema(example = "30d")]
    pub since: Option<String>,
    /// Events before then.
    pub until: Option<String>,
    /// How many rules may fire for one event, `first` or `all`; as the server has it where it is missing.
    pub matching: Option<String>,
}

impl DetectRequest {
    /// The request for a search that was prepared elsewhere.
    pub fn new(search: &DetectSearch) -> Self {
        let time = |time: EventTime| format!("{}us", time.micros());
        Self {
            files: search.files.clone(),
            rule: None,
            since: search.since.map(time),
            until: search.until.map(time),
            matching: Some(if search.matching == Matching::All { "all" } else { "first" }.to_owned()),
        }
    }

    fn search(self, state: &AppState, now: EventTime) -> Result<DetectSearch, ApiError> {
        let running = state.detection.rules();
        let matching = match self.matching.as_deref() {
            None => running.matching,
            Some("first") => Matching::First,
            Some("all") => Matching::All,
            Some(other) => return Err(wrong(format!("matching {other:?} is neither first nor all"))),
        };
        let files: Vec<RuleFile> = match self.files.is_empty() {
            true => running.files.to_vec(),
            false => self.files,
        };
        let options = self.rule.as_deref().map(Options::only).unwrap_or_default();
        let (rules, report) = RuleSet::load(&files, &options);
        let rules = rules.ok_or_else(|| refused(&report))?;
        if let Some(rule) = self.rule.as_deref().filter(|name| rules.rule(name).is_none()) {
            return Err(wrong(format!("there is no rule {rule:?}")));
        }
        let time = |text: Option<String>, key: &str| {
            text.map(|text| time(&text, now).map_err(|message| wrong(format!("{key}: {message}")))).transpose()
        };
        let (since, until) = (time(self.since, "since")?, time(self.until, "until")?);
        Ok(DetectSearch { rules: Arc::new(rules), files, matching, since, until })
    }
}

/// Also microseconds since 1970, as programs of ours send them.
fn time(text: &str, now: EventTime) -> Result<EventTime, String> {
    match text.strip_suffix("us").and_then(|digits| digits.parse().ok()) {
        Some(micros) => Ok(EventTime(micros)),
        None => bodkin_query::detect::time(text, now),
    }
}

fn wrong(message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "malformed_body", message)
}

/// The first error of rule files, as compilers show it.
fn refused(report: &bodkin_rules::Report) -> ApiError {
    let Some(error) = report.errors.first() else { return ApiError::internal("the rules cannot be used") };
    let answer = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "rules", error.to_string());
    match &error.place {
        Some(place) => answer.at(place.line as u64, place.column as u64),
        None => answer,
    }
}

/// Runs rules over stored events, with the answer that they had when the events came.
///
/// The answer has the columns of `findings` and is streamed, as that of `/api/v1/sql`.
#[utoipa::path(post, path = "/api/v1/detect", tag = "detection", request_body = DetectRequest, responses(
    (status = 200, description = "The findings, in the format of `Accept`", content(
        (SqlResponse = "application/json"),
        (String = "text/csv"),
        (Vec<u8> = "application/vnd.apache.arrow.stream"),
        (Vec<u8> = "application/vnd.apache.parquet"),
    )),
    (status = 400, description = "The body is no search", body = ErrorBody),
    (status = 422, description = "The rules have errors", body = ErrorBody),
))]
pub(crate) async fn detect(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let format = negotiate(&headers)?;
    const EXAMPLE: &str = "{\"files\": [{\"name\": \"r.yaml\", \"content\": \"...\"}], \"since\": \"30d\"}";
    let request: DetectRequest = read_json(body, &state.limits, BODY_BYTES_MAX, "search", EXAMPLE).await?;
    let prepare = {
        let state = state.clone();
        move || request.search(&state, SystemClock::default().now())
    };
    // Compiling rules from outside may take a while.
    let search = tokio::task::spawn_blocking(prepare).await.map_err(|_| ApiError::internal("rules met a bug"))??;
    respond(&state, &headers, format, state.sql.detect(&principal, search)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_programs_and_people() {
        let now = EventTime(10_000_000);
        assert_eq!(time("-5us", now), Ok(EventTime(-5)));
        assert_eq!(time("3s", now), Ok(EventTime(7_000_000)));
        assert!(time("xus", now).is_err());
    }
}
