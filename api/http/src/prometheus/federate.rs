//! `/federate`: the newest samples of selected series as text, for another Prometheus to scrape.

use super::answer::plain;
use super::labels::{blocking, match_sets};
use super::params::Params;
use super::{answer::ApiFailure, api};
use crate::state::AppState;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bodkin_promql::text::{format_sample, is_legacy_label_name, is_legacy_metric_name};
use bodkin_promql::{Labels, QueryOptions, SampleValue, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A label that scrapes expect; empty where a series has none.
const INSTANCE: &str = "instance";

pub(super) async fn federate(State(state): State<AppState>, params: Params) -> Result<Response, ApiFailure> {
    let api = api(&state)?;
    // Errors here are plain texts, as everywhere outside of `/api`.
    let sets = match match_sets(&params) {
        Ok(sets) => sets,
        Err(error) => return Ok(plain(StatusCode::BAD_REQUEST, error.message())),
    };
    let selectors: Vec<String> = sets
        .iter()
        .map(|set| format!("{{{}}}", set.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")))
        .collect();
    let now_ms = api.clock.now().micros().div_euclid(1000);
    let text = blocking(move || {
        let mut found: BTreeMap<(String, Labels), (f64, i64)> = BTreeMap::new();
        for selector in &selectors {
            // The range keeps each sample's own time, which an instant selector replaces.
            let query = format!("{selector}[5m]");
            let result = api.engine.instant(&api.view, &query, now_ms, &QueryOptions::default())?;
            if let Value::Matrix(series) = result.value {
                for series in series {
                    if let (Some(time), Some(value)) = (series.timestamps.last(), series.values.last()) {
                        found.insert((series.labels.metric_name().to_owned(), series.labels), (*value, *time));
                    }
                }
            } else if let Value::Vector { samples, time_ms } = result.value {
                for sample in samples {
                    if let SampleValue::Float(value) = sample.value {
                        found.insert((sample.labels.metric_name().to_owned(), sample.labels), (value, time_ms));
                    }
                }
            }
        }
        Ok::<_, bodkin_promql::Error>(render(&found))
    })
    .await??;
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))];
    Ok((StatusCode::OK, headers, text).into_response())
}

fn render(found: &BTreeMap<(String, Labels), (f64, i64)>) -> String {
    let mut out = String::new();
    let mut family = "";
    for ((name, labels), (value, time_ms)) in found {
        let is_stale = value.to_bits() == bodkin_promql::storage::STALE_NAN;
        if is_stale || !is_legacy_metric_name(name) {
            continue;
        }
        if family != name {
            family = name;
            let _ = writeln!(out, "# TYPE {name} untyped");
        }
        let mut pairs: Vec<(&str, &str)> = labels.iter().filter(|(label, _)| *label != "__name__").collect();
        pairs.retain(|(label, _)| is_legacy_label_name(label));
        if !labels.has(INSTANCE) {
            pairs.push((INSTANCE, ""));
        }
        pairs.sort_unstable();
        let pairs: Vec<String> =
            pairs.into_iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
        let _ = writeln!(out, "{name}{{{}}} {} {time_ms}", pairs.join(","), format_sample(*value));
    }
    out
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}
