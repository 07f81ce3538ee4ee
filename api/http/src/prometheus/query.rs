//! Queries: evaluated on a thread that may block, canceled when the client leaves.

use super::answer::{ApiFailure, begin, end};
use super::labels::blocking;
use super::params::{Params, invalid};
use super::{Prometheus, api, json};
use crate::state::AppState;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bodkin_promql::ast::{Expr, ExprKind};
use bodkin_promql::{CancelToken, Matcher, QueryOptions, QueryResult};
use std::sync::Arc;

/// Points of a range query per series: enough for a screen, and an error for a step that was meant otherwise.
const POINTS_MAX: i64 = 11_000;
/// Warnings, and infos, of one answer.
const ANNOTATIONS_MAX: usize = 10;

pub(super) async fn instant(
    State(state): State<AppState>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let limit = params.limit()?;
    let time_ms = match params.time("time")? {
        Some(time_ms) => time_ms,
        None => api.clock.now().micros().div_euclid(1000),
    };
    let (query, options, guard) = query_of(&params)?;
    let run = move |api: &Prometheus| api.engine.instant(&api.view, &query, time_ms, &options);
    let result = evaluate(api, run, guard).await?;
    respond(result, &headers, &params, limit).await
}

pub(super) async fn range(
    State(state): State<AppState>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let limit = params.limit()?;
    let (start_ms, end_ms) = (params.required_time("start")?, params.required_time("end")?);
    if end_ms < start_ms {
        return Err(invalid("end", "end timestamp must not be before start time"));
    }
    let step_ms = params.duration_ms("step")?;
    if step_ms <= 0 {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(invalid("step", why));
    }
    if end_ms.saturating_sub(start_ms) / step_ms > POINTS_MAX {
        let why = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
        return Err(ApiFailure::bad_data(why));
    }
    let (query, options, guard) = query_of(&params)?;
    let run = move |api: &Prometheus| api.engine.range(&api.view, &query, start_ms, end_ms, step_ms, &options);
    let result = evaluate(api, run, guard).await?;
    respond(result, &headers, &params, limit).await
}

pub(super) async fn exemplars(State(state): State<AppState>, params: Params) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    let start_ms = params.time("start")?.unwrap_or(i64::MIN);
    let end_ms = params.time("end")?.unwrap_or(i64::MAX);
    if end_ms < start_ms {
        return Err(ApiFailure::bad_data("end timestamp must not be before start timestamp"));
    }
    let expr = api.engine.parse(params.get("query")).map_err(ApiFailure::from)?;
    let mut sets = Vec::new();
    selectors(&expr, &mut sets);
    let store = api.store().clone();
    let found = blocking(move || store.exemplars_of(&sets, start_ms, end_ms)).await?;
    let mut out = begin();
    json::list(&mut out, &found, |out, (series, exemplars)| {
        out.extend_from_slice(b"{\"seriesLabels\":");
        json::labels(out, series);
        out.extend_from_slice(b",\"exemplars\":");
        json::list(out, exemplars, |out, exemplar| {
            out.extend_from_slice(b"{\"labels\":");
            json::labels(out, &bodkin_promql::Labels::from_pairs(exemplar.labels.iter().map(|(n, v)| (n, v))));
            out.extend_from_slice(b",\"value\":");
            json::number(out, exemplar.value);
            out.extend_from_slice(b",\"timestamp\":");
            json::seconds(out, exemplar.ts_ms);
            out.push(b'}');
        });
        out.push(b'}');
    });
    Ok(end(out, &[], &[]))
}

pub(super) async fn format(State(state): State<AppState>, params: Params) -> Result<Response, ApiFailure> {
    let release = api(&state)?.engine.options().release;
    let pretty = bodkin_promql::format_query(params.get("query"), release).map_err(query_error)?;
    let mut out = begin();
    json::text(&mut out, &pretty);
    Ok(end(out, &[], &[]))
}

pub(super) async fn parse(State(state): State<AppState>, params: Params) -> Result<Response, ApiFailure> {
    let release = api(&state)?.engine.options().release;
    super::answer::data(&bodkin_promql::parse_query(params.get("query"), release).map_err(query_error)?)
}

/// The matchers of every selector in an expression.
fn selectors(expr: &Expr, into: &mut Vec<Vec<Matcher>>) {
    match &expr.kind {
        ExprKind::Aggregate(aggregate) => {
            selectors(&aggregate.expr, into);
            aggregate.param.iter().for_each(|param| selectors(param, into));
        }
        ExprKind::Binary(binary) => [&binary.lhs, &binary.rhs].into_iter().for_each(|side| selectors(side, into)),
        ExprKind::Call(call) => call.args.iter().for_each(|arg| selectors(arg, into)),
        ExprKind::Matrix(matrix) => into.push(matrix.selector.matchers.clone()),
        ExprKind::Subquery(subquery) => selectors(&subquery.expr, into),
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => selectors(inner, into),
        ExprKind::Vector(vector) => into.push(vector.matchers.clone()),
        ExprKind::Number(_) | ExprKind::String(_) => {}
    }
}

/// An error of the query's text names the parameter, as others do.
fn query_error(error: bodkin_promql::Error) -> ApiFailure {
    match error {
        bodkin_promql::Error::Parse(_) | bodkin_promql::Error::BadData(_) => invalid("query", &error.to_string()),
        other => other.into(),
    }
}

/// Cancels a query when nobody waits for it any more.
struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

fn query_of(params: &Params) -> Result<(String, QueryOptions, CancelOnDrop), ApiFailure> {
    let cancel = CancelToken::default();
    let options = QueryOptions {
        lookback: params.optional_duration("lookback_delta")?,
        timeout: params.optional_duration("timeout")?,
        cancel: cancel.clone(),
        per_step_stats: params.get("stats") == "all",
        is_exact: params.get("exact") == "true",
        annotations_max: ANNOTATIONS_MAX,
    };
    Ok((params.get("query").to_owned(), options, CancelOnDrop(cancel)))
}

async fn evaluate(
    api: Arc<Prometheus>,
    run: impl FnOnce(&Prometheus) -> Result<QueryResult, bodkin_promql::Error> + Send + 'static,
    guard: CancelOnDrop,
) -> Result<QueryResult, ApiFailure> {
    let result = blocking(move || run(&api)).await?;
    drop(guard);
    result.map_err(query_error)
}

async fn respond(
    mut result: QueryResult,
    headers: &HeaderMap,
    params: &Params,
    limit: usize,
) -> Result<Response, ApiFailure> {
    if super::labels::truncate_value(&mut result.value, limit) {
        result.warnings.push(super::labels::TRUNCATED.to_owned());
    }
    if super::arrow::is_wanted(headers) {
        return blocking(move || super::arrow::answer(result)).await?;
    }
    let (has_stats, has_samples) = (!params.get("stats").is_empty(), params.get("stats") == "all");
    // A large answer takes a while to write.
    blocking(move || {
        let mut out = begin();
        json::query(&mut out, &result.value, has_stats.then_some((&result.stats, has_samples)));
        end(out, &result.warnings, &result.infos)
    })
    .await
}
