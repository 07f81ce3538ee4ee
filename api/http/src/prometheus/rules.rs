//! Rules and alerts as Prometheus shows them.

use super::answer::{ApiFailure, data};
use super::api;
use super::params::Params;
use crate::state::AppState;
use axum::extract::State;
use axum::response::Response;
use bodkin_promql::text::quote;
use bodkin_promql::{Labels, Matcher, parse_selector};
use bodkin_promrules::{AlertView, GroupView, RuleKind, RuleView};
use serde_json::{Map, Value, json};

/// What Go prints of a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) async fn rules(State(state): State<AppState>, params: Params) -> Result<Response, ApiFailure> {
    let filter = Filter::new(&params)?;
    let groups = api(&state)?.rules.as_ref().map(|rules| rules.groups()).unwrap_or_default();
    let groups: Vec<Value> = groups.iter().filter_map(|group| filter.group(group)).collect();
    data(&json!({"groups": groups}))
}

pub(super) async fn alerts(State(state): State<AppState>) -> Result<Response, ApiFailure> {
    let groups = api(&state)?.rules.as_ref().map(|rules| rules.groups()).unwrap_or_default();
    let of_rules = groups.iter().flat_map(|group| &group.rules).flat_map(|rule| &rule.alerts);
    data(&json!({"alerts": of_rules.map(alert).collect::<Vec<_>>()}))
}

pub(super) async fn alertmanagers(State(state): State<AppState>) -> Result<Response, ApiFailure> {
    let targets = api(&state)?.rules.as_ref().map(|rules| rules.notifier().targets()).unwrap_or_default();
    let active: Vec<Value> = targets.iter().map(|target| json!({"url": target.url})).collect();
    data(&json!({"activeAlertmanagers": active, "droppedAlertmanagers": []}))
}

/// Which rules are asked for.
struct Filter {
    with_alerts: bool,
    with_recording: bool,
    excludes_alerts: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    matchers: Vec<Vec<Matcher>>,
}

impl Filter {
    fn new(params: &Params) -> Result<Self, ApiFailure> {
        let (with_alerts, with_recording) = match params.get("type").to_lowercase().as_str() {
            "" => (true, true),
            "alert" => (true, false),
            "record" => (false, true),
            other => return Err(ApiFailure::bad_data(format!("not supported value {}", quote(other)))),
        };
        let excludes_alerts = match params.get("exclude_alerts").to_lowercase().as_str() {
            "" | "false" | "0" | "f" => false,
            "true" | "1" | "t" => true,
            other => {
                let message = format!(
                    "error converting exclude_alerts: strconv.ParseBool: parsing {}: invalid syntax",
                    quote(other)
                );
                return Err(ApiFailure::bad_data(message));
            }
        };
        let all = |name: &str| params.all(name).map(str::to_owned).collect::<Vec<_>>();
        let matchers = params.all("match[]").map(|text| parse_selector(text).map_err(ApiFailure::from));
        Ok(Self {
            with_alerts,
            with_recording,
            excludes_alerts,
            names: all("rule_name[]"),
            groups: all("rule_group[]"),
            files: all("file[]"),
            matchers: matchers.collect::<Result<_, _>>()?,
        })
    }

    fn group(&self, group: &GroupView) -> Option<Value> {
        let is_named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
        if !is_named(&self.groups, &group.name) || !is_named(&self.files, &group.file) {
            return None;
        }
        let wanted = group.rules.iter().filter(|view| {
            let is_recording = matches!(view.rule.kind, RuleKind::Recording);
            let is_kind = if is_recording { self.with_recording } else { self.with_alerts };
            is_kind && is_named(&self.names, &view.rule.name) && self.matches(view)
        });
        let rules: Vec<Value> = wanted.map(|view| self.rule(view)).collect();
        let is_filtered = !self.names.is_empty() || !self.matchers.is_empty();
        if rules.is_empty() && is_filtered {
            return None;
        }
        Some(json!({
            "name": group.name,
            "file": group.file,
            "rules": rules,
            "interval": group.interval.as_secs_f64(),
            "limit": group.limit,
            "evaluationTime": group.seconds,
            "lastEvaluation": group.evaluated_at_ms.map_or_else(|| NEVER.to_owned(), time),
        }))
    }

    fn matches(&self, view: &RuleView) -> bool {
        let value = |name: &str| view.rule.labels.get(name).map_or("", String::as_str);
        let accepts = |set: &Vec<Matcher>| set.iter().all(|matcher| matcher.matches(value(&matcher.name)));
        self.matchers.is_empty() || self.matchers.iter().any(accepts)
    }

    fn rule(&self, view: &RuleView) -> Value {
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
        let query =
            bodkin_promql::parse(&view.rule.expr).map_or_else(|_| view.rule.expr.clone(), |expr| expr.to_string());
        match &view.rule.kind {
            RuleKind::Recording => {
                put("name", json!(view.rule.name));
                put("query", json!(query));
                if !view.rule.labels.is_empty() {
                    put("labels", json!(view.rule.labels));
                }
                put("type", json!("recording"));
            }
            RuleKind::Alerting { hold, keep_firing, annotations, .. } => {
                put("state", json!(view.state.as_str()));
                put("name", json!(view.rule.name));
                put("query", json!(query));
                put("duration", json!(hold.as_secs_f64()));
                put("keepFiringFor", json!(keep_firing.as_secs_f64()));
                put("labels", json!(view.rule.labels));
                put("annotations", json!(annotations));
                let alerts: Vec<Value> = view.alerts.iter().filter(|_| !self.excludes_alerts).map(alert).collect();
                put("alerts", json!(alerts));
                put("type", json!("alerting"));
            }
        }
        put("health", json!(view.health.as_str()));
        if let Some(error) = &view.error {
            put("lastError", json!(error));
        }
        put("evaluationTime", json!(view.seconds));
        put("lastEvaluation", json!(view.evaluated_at_ms.map_or_else(|| NEVER.to_owned(), time)));
        Value::Object(out)
    }
}

fn map(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

fn alert(view: &AlertView) -> Value {
    let mut out = json!({
        "labels": map(&view.labels),
        "annotations": view.annotations,
        "state": view.state.as_str(),
        "activeAt": time(view.active_at_ms),
        "value": exponent(view.value),
    });
    if let (Some(since), Some(out)) = (view.keep_firing_since_ms, out.as_object_mut()) {
        out.insert("keepFiringSince".to_owned(), json!(time(since)));
    }
    out
}

/// RFC 3339 with as many digits as there are.
pub(super) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| NEVER.to_owned(), |time| time.to_string())
}

/// A number as Go writes it with an exponent: `1e+00`.
fn exponent(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_as_go_writes_them() {
        for (value, text) in
            [(1.0, "1e+00"), (0.0, "0e+00"), (-12.5, "-1.25e+01"), (1e-7, "1e-07"), (f64::INFINITY, "+Inf")]
        {
            assert_eq!(exponent(value), text);
        }
        assert_eq!(time(1_500), "1970-01-01T00:00:01.5Z");
    }
}
