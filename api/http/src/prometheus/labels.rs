//! Series, labels and metadata: answered from the index and by when samples in memory are, never by a look at files.

use super::answer::{ApiFailure, begin, end};
use super::params::{Params, invalid, quoted};
use super::{api, json};
use crate::state::AppState;
use axum::extract::{Path, State};
use axum::response::Response;
use bodkin_metrics::Times;
use bodkin_promql::{Matcher, Value};

/// The warning of an answer that `limit` cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

pub(super) async fn series(State(state): State<AppState>, params: Params) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let limit = params.limit()?;
    let sets = match_sets(&params)?;
    if sets.is_empty() {
        return Err(ApiFailure::bad_data("no match[] parameter provided"));
    }
    let times = times(&params)?;
    let store = api.store().clone();
    let mut found = blocking(move || store.series(&sets, times, limit.saturating_add(1))).await?;
    let warnings = truncate(&mut found, limit);
    let mut out = begin();
    json::list(&mut out, &found, json::labels);
    Ok(end(out, &warnings, &[]))
}

pub(super) async fn names(State(state): State<AppState>, params: Params) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let limit = params.limit()?;
    let times = times(&params)?;
    let sets = match_sets(&params)?;
    let store = api.store().clone();
    let found = blocking(move || store.label_names(&sets, times, limit.saturating_add(1))).await?;
    Ok(texts(found, limit))
}

pub(super) async fn values(
    State(state): State<AppState>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let name = unescape(&name);
    if name.is_empty() {
        return Err(ApiFailure::bad_data(format!("invalid label name: {}", quoted(&name))));
    }
    let limit = params.limit()?;
    let times = times(&params)?;
    let sets = match_sets(&params)?;
    let store = api.store().clone();
    let found = blocking(move || store.label_values(&name, &sets, times, limit.saturating_add(1))).await?;
    Ok(texts(found, limit))
}

pub(super) async fn metadata(State(state): State<AppState>, params: Params) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let number = |name: &str| match params.get(name) {
        "" => Ok(usize::MAX),
        text => match text.parse::<i64>() {
            Ok(number) if number >= 0 => Ok(number as usize),
            Ok(_) => Ok(usize::MAX),
            Err(_) if name == "limit" => Err(ApiFailure::bad_data("limit must be a number")),
            Err(_) => Err(ApiFailure::bad_data("limit_per_metric must be a number")),
        },
    };
    let (limit, per_metric) = (number("limit")?, number("limit_per_metric")?);
    let per_metric = if per_metric == 0 { usize::MAX } else { per_metric };
    let metric = Some(params.get("metric")).filter(|metric| !metric.is_empty());
    let mut out = begin();
    out.push(b'{');
    for (index, (name, said)) in api.store().metadata_of(metric, limit, per_metric).iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::text(&mut out, name);
        out.push(b':');
        json::list(&mut out, said, |out, said| {
            for (key, value) in [("{\"type\":", said.kind), (",\"help\":", &said.help), (",\"unit\":", &said.unit)] {
                out.extend_from_slice(key.as_bytes());
                json::text(out, value);
            }
            out.push(b'}');
        });
    }
    out.push(b'}');
    Ok(end(out, &[], &[]))
}

/// The matchers of each `match[]`.
pub(super) fn match_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiFailure> {
    let mut sets = Vec::new();
    for text in params.all("match[]") {
        let matchers = bodkin_promql::parse_selector(text).map_err(|e| invalid("match[]", &e.to_string()))?;
        if matchers.iter().all(|matcher| matcher.matches("")) {
            return Err(invalid("match[]", "match[] must contain at least one non-empty matcher"));
        }
        sets.push(matchers);
    }
    Ok(sets)
}

/// `start` and `end`; all times where they are not given.
fn times(params: &Params) -> Result<Times, ApiFailure> {
    let (from_ms, to_ms) = (params.time("start")?, params.time("end")?);
    Ok(Times { from_ms: from_ms.unwrap_or(i64::MIN), to_ms: to_ms.unwrap_or(i64::MAX) })
}

fn texts(mut found: Vec<String>, limit: usize) -> Response {
    let warnings = truncate(&mut found, limit);
    let mut out = begin();
    json::texts(&mut out, &found);
    end(out, &warnings, &[])
}

fn truncate<T>(found: &mut Vec<T>, limit: usize) -> Vec<String> {
    if found.len() <= limit {
        return Vec::new();
    }
    found.truncate(limit);
    vec![TRUNCATED.to_owned()]
}

/// Cuts a result to `limit` series; says whether it did.
pub(super) fn truncate_value(value: &mut Value, limit: usize) -> bool {
    let cut = |length: usize| length > limit;
    match value {
        Value::Vector { samples, .. } if cut(samples.len()) => samples.truncate(limit),
        Value::Matrix(series) if cut(series.len()) => series.truncate(limit),
        _ => return false,
    }
    true
}

/// Runs what walks the index beside the runtime's own threads.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiFailure> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiFailure::internal("the request hit a fault of ours"))
}

/// A label name as clients write it in a path: `U__` and `_xx_` for what is no letter, digit or underscore.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(start) = rest.find('_') {
        out.push_str(&rest[..start]);
        let after = &rest[start + 1..];
        if let Some(next) = after.strip_prefix('_') {
            out.push('_');
            rest = next;
            continue;
        }
        let Some((code, next)) = after.split_once('_') else { return name.to_owned() };
        match u32::from_str_radix(code, 16).ok().and_then(char::from_u32) {
            Some(c) => out.push(c),
            None => return name.to_owned(),
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names() {
        assert_eq!(unescape("job"), "job");
        assert_eq!(unescape("U__http_2e_status__code"), "http.status_code");
        assert_eq!(unescape("U__m_fc_nchen"), "m\u{fc}nchen");
        assert_eq!(unescape("U__a_zz_b"), "U__a_zz_b");
    }
}
