//! `GET /api/v1/findings`: pages of what rules found.

use super::cursor::Cursor;
use crate::error::{ApiError, ErrorBody};
use crate::parameters::Parameters;
use crate::sql::too_slow;
use crate::state::AppState;
use arrow::array::RecordBatch;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use bodkin_rules::FindingRows;
use bodkin_schema::{Clock, EventTime, Principal, SystemClock, findings as columns};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 10_000;

/// Which findings, and how many of them.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FindingsParameters {
    /// Of this rule.
    pub(super) rule: Option<String>,
    /// Of this priority; several are separated by commas.
    pub(super) priority: Option<String>,
    /// Of this source.
    pub(super) source: Option<String>,
    /// With this tag.
    pub(super) tag: Option<String>,
    /// On this host.
    pub(super) host: Option<String>,
    /// In this container.
    pub(super) container_id: Option<String>,
    /// Of this process.
    pub(super) pid: Option<i32>,
    /// Of this event.
    pub(super) event_id: Option<String>,
    /// Of events from then on: `15m`, or a time as RFC 3339.
    pub(super) since: Option<String>,
    /// Of events before then.
    pub(super) until: Option<String>,
    /// `desc`: the newest first, as by default; `asc`: the oldest first.
    pub(super) order: Option<String>,
    /// At most so many, 100 by default.
    pub(super) limit: Option<usize>,
    /// What the page before said under `next`.
    pub(super) cursor: Option<String>,
}

/// A page of findings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FindingsResponse {
    /// As Falco prints them, with `event_id`, `container_id`, `pid`, `ancestor_pids` and `techniques`.
    pub findings: Vec<Value>,
    /// The cursor of the next page; null where this one is the last.
    pub next: Option<String>,
}

/// Lists findings by time.
#[utoipa::path(get, path = "/api/v1/findings", tag = "detection", params(FindingsParameters), responses(
    (status = 200, description = "A page of findings", body = FindingsResponse),
    (status = 400, description = "A parameter is wrong", body = ErrorBody),
))]
pub(crate) async fn findings(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    Parameters(parameters): Parameters<FindingsParameters>,
) -> Result<Json<FindingsResponse>, ApiError> {
    let limit = parameters.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let query = parameters.sql(limit, SystemClock::default().now())?;
    let rows = async {
        let answer = state.sql.sql(&principal, &query).await?;
        answer.batches.try_collect::<Vec<RecordBatch>>().await
    };
    let rows = match timeout(state.limits.query_timeout, rows).await {
        Ok(rows) => rows?,
        Err(_) => return Err(too_slow(&state.limits).into()),
    };
    let mut page = FindingsResponse { findings: Vec::new(), next: None };
    let mut last = None;
    'rows: for batch in &rows {
        let rows = FindingRows::new(batch);
        for row in 0..rows.len() {
            if page.findings.len() == limit {
                page.next = last.as_ref().map(Cursor::encode);
                break 'rows;
            }
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            last = Some(Cursor(rows.time_us(row).unwrap_or_default(), text(rows.rule(row)), text(rows.event_id(row))));
            page.findings.push(Value::Object(rows.whole(row, state.detection.hostname())));
        }
    }
    Ok(Json(page))
}

impl FindingsParameters {
    /// One row more than fits tells that there is a next page.
    fn sql(&self, limit: usize, now: EventTime) -> Result<String, ApiError> {
        let is_ascending = match self.order.as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(other) => return Err(wrong(format!("order {other:?} is neither asc nor desc"))),
        };
        let mut conditions = Vec::new();
        let texts = [
            (columns::RULE, &self.rule),
            (columns::SOURCE, &self.source),
            (columns::HOST, &self.host),
            (columns::CONTAINER_ID, &self.container_id),
            (columns::EVENT_ID, &self.event_id),
        ];
        for (column, value) in texts {
            conditions.extend(value.as_ref().map(|value| format!("{column} = {}", literal(value))));
        }
        if let Some(priorities) = &self.priority {
            conditions.push(format!("{} IN ({})", columns::PRIORITY, priority_list(priorities)?));
        }
        conditions.extend(self.tag.as_ref().map(|tag| format!("array_has({}, {})", columns::TAGS, literal(tag))));
        conditions.extend(self.pid.map(|pid| format!("{} = {pid}", columns::PID)));
        for (key, text, comparison) in [("since", &self.since, ">="), ("until", &self.until, "<")] {
            if let Some(text) = text {
                let time =
                    bodkin_query::detect::time(text, now).map_err(|message| wrong(format!("{key}: {message}")))?;
                conditions.push(format!("ts {comparison} {}", time_literal(time)));
            }
        }
        if let Some(text) = &self.cursor {
            let cursor = Cursor::decode(text).ok_or_else(|| wrong("cursor is none of ours".to_owned()))?;
            conditions.push(after(&cursor, if is_ascending { ">" } else { "<" }));
        }
        let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let direction = if is_ascending { "ASC" } else { "DESC" };
        Ok(format!(
            "SELECT ts, rule, priority, source, tags, techniques, output, output_fields, event_id, host, container_id, pid, \
             ancestor_pids FROM findings{filter} ORDER BY ts {direction}, rule {direction}, \
             coalesce(event_id, '') {direction} LIMIT {}",
            limit + 1
        ))
    }
}

fn wrong(message: String) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "malformed_parameter", message)
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn time_literal(time: EventTime) -> String {
    format!("arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')", time.micros())
}

fn priority_list(text: &str) -> Result<String, ApiError> {
    let known = |name: &str| match bodkin_rules::Priority::from_name(name.trim()) {
        Some(priority) => Ok(literal(priority.name())),
        None => {
            let known = bodkin_rules::Priority::ALL.map(|(_, name)| name).join(", ");
            Err(wrong(format!("there is no priority {name:?}")).hint(format!("priorities are {known}")))
        }
    };
    Ok(text.split(',').map(known).collect::<Result<Vec<_>, _>>()?.join(", "))
}

/// What lies behind a finding in the order of time, rule, event.
fn after(Cursor(time, rule, event): &Cursor, comparison: &str) -> String {
    let (time, rule, event) = (time_literal(EventTime(*time)), literal(rule), literal(event));
    format!(
        "(ts {comparison} {time} OR ts = {time} AND (rule {comparison} {rule} OR rule = {rule} AND \
         coalesce(event_id, '') {comparison} {event}))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_conditions() {
        let parameters = FindingsParameters {
            rule: Some("it's".to_owned()),
            priority: Some("critical,info".to_owned()),
            since: Some("5s".to_owned()),
            cursor: Some(Cursor(7, "r".to_owned(), "e".to_owned()).encode()),
            ..FindingsParameters::default()
        };
        let sql = parameters.sql(10, EventTime(6_000_000)).unwrap();
        for part in [
            "rule = 'it''s'",
            "priority IN ('Critical', 'Informational')",
            "ts >= arrow_cast(1000000, 'Timestamp(Microsecond, Some(\"UTC\"))')",
            "coalesce(event_id, '') < 'e'",
            "LIMIT 11",
        ] {
            assert!(sql.contains(part), "{part} in {sql}");
        }
        for wrong in [
            FindingsParameters { order: Some("x".to_owned()), ..Default::default() },
            FindingsParameters { priority: Some("urgent".to_owned()), ..Default::default() },
            FindingsParameters { cursor: Some("x".to_owned()), ..Default::default() },
            FindingsParameters { until: Some("x".to_owned()), ..Default::default() },
        ] {
            assert!(wrong.sql(1, EventTime(0)).is_err());
        }
    }
}
