//! `GET /api/v1/findings/live`: findings as they are made, as server-sent events.

use super::LiveFindings;
use super::findings::FindingsParameters;
use crate::error::ApiError;
use crate::parameters::Parameters;
use crate::state::AppState;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use bodkin_rules::{FindingRows, Priority};
use bodkin_schema::{Principal, Tenant};
use futures::stream::{self, Stream};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Findings from now on, one event each; `rule`, `priority`, `source`, `host`, `container_id` leave out others.
///
/// A client that reads too slowly misses findings and is told how many batches of them by an event `missed`; what it
/// missed is in `/api/v1/findings`.
#[utoipa::path(get, path = "/api/v1/findings/live", tag = "detection", params(FindingsParameters), responses(
    (status = 200, description = "Events named `finding`, each a JSON object", content_type = "text/event-stream",
     body = String),
))]
pub(crate) async fn live(
    State(state): State<AppState>,
    Extension(principal): Extension<Principal>,
    Parameters(parameters): Parameters<FindingsParameters>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let refused = |message: &str| Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed_parameter", message));
    if parameters.cursor.is_some() || parameters.since.is_some() || parameters.until.is_some() {
        return refused("a live stream begins now: it takes no cursor and no time");
    }
    let priorities = parameters.priority.as_deref().map(|names| names.split(',').map(Priority::from_name).collect());
    let priorities: Option<Vec<Option<Priority>>> = priorities;
    if priorities.as_ref().is_some_and(|known| known.contains(&None)) {
        return refused("a priority that does not exist");
    }
    let filter = Filter { parameters, priorities };
    let hostname = state.detection.hostname().to_owned();
    let feed =
        Feed { receiver: state.detection.live(), tenant: principal.tenant, filter, hostname, waiting: VecDeque::new() };
    let events = stream::unfold(feed, |mut feed| async move { feed.next().await.map(|event| (Ok(event), feed)) });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))))
}

struct Filter {
    parameters: FindingsParameters,
    priorities: Option<Vec<Option<Priority>>>,
}

impl Filter {
    fn passes(&self, finding: &serde_json::Map<String, Value>) -> bool {
        let text = |key: &str| finding.get(key).and_then(Value::as_str);
        let is = |wanted: &Option<String>, key: &str| {
            wanted.as_ref().is_none_or(|wanted| text(key) == Some(wanted.as_str()))
        };
        let priority = text("priority").and_then(Priority::from_name);
        let has_tag = |tag: &String| finding["tags"].as_array().is_some_and(|tags| tags.iter().any(|t| t == tag));
        is(&self.parameters.rule, "rule")
            && is(&self.parameters.source, "source")
            && is(&self.parameters.host, "hostname")
            && is(&self.parameters.container_id, "container_id")
            && is(&self.parameters.event_id, "event_id")
            && self.parameters.pid.is_none_or(|pid| finding["pid"] == pid)
            && self.parameters.tag.as_ref().is_none_or(has_tag)
            && self.priorities.as_ref().is_none_or(|wanted| wanted.contains(&priority))
    }
}

struct Feed {
    receiver: Receiver<Arc<LiveFindings>>,
    tenant: Tenant,
    filter: Filter,
    hostname: String,
    waiting: VecDeque<Event>,
}

impl Feed {
    /// None where the process goes down.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            match self.receiver.recv().await {
                Ok(found) if found.tenant != self.tenant => {}
                Ok(found) => {
                    let rows = FindingRows::new(&found.rows);
                    let findings = (0..rows.len()).map(|row| rows.whole(row, &self.hostname));
                    let passing = findings.filter(|finding| self.filter.passes(finding));
                    let events = passing
                        .map(|finding| Event::default().event("finding").data(Value::Object(finding).to_string()));
                    self.waiting.extend(events);
                }
                Err(RecvError::Lagged(batches)) => {
                    return Some(Event::default().event("missed").data(json!({"batches": batches}).to_string()));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
