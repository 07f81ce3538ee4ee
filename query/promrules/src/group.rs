//! One evaluation of a group: its rules in order, each seeing what the ones before it gave.

use crate::alert::{Alert, AlertState, Alerts, Result1, Timing, expand};
use crate::file::{Group, Rule, RuleKind};
use crate::manager::Shared;
use crate::notify::Notification;
use crate::template::{Context, QueriedSample};
use bodkin_promql::labels::METRIC_NAME;
use bodkin_promql::storage::STALE_NAN;
use bodkin_promql::{Labels, QueryOptions, SampleValue, Value, VectorSample};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const ALERTS: &str = "ALERTS";
const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
const ALERT_NAME: &str = "alertname";
const ALERT_STATE: &str = "alertstate";
/// How far back a start looks for what alerts have waited.
const OUTAGE_TOLERANCE_MS: i64 = 3_600_000;
/// What an alert waits at least after a start before it fires again.
const FOR_GRACE_MS: i64 = 600_000;

/// What a rule has come to.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    pub(crate) alerts: Alerts,
    /// The series that it gave last: those that it gives no more are marked stale.
    pub(crate) series: BTreeSet<Labels>,
    pub(crate) error: Option<String>,
    pub(crate) is_evaluated: bool,
    pub(crate) is_restored: bool,
    pub(crate) evaluated_at_ms: Option<i64>,
    pub(crate) seconds: f64,
}

/// What one rule gave.
pub(crate) struct RuleResult {
    pub(crate) samples: Vec<VectorSample>,
    pub(crate) notifications: Vec<Notification>,
}

/// Evaluates a rule at a time. Blocks.
pub(crate) fn evaluate(
    shared: &Shared,
    group: &Group,
    rule: &Rule,
    state: &mut RuleState,
    at_ms: i64,
    interval_ms: i64,
) -> Result<RuleResult, String> {
    let vector = instant(shared, &rule.expr, at_ms)?;
    let (samples, notifications) = match &rule.kind {
        RuleKind::Recording => (record(rule, vector)?, Vec::new()),
        RuleKind::Alerting { hold, keep_firing, .. } => {
            let timing = Timing { hold_ms: millis(*hold), keep_firing_ms: millis(*keep_firing) };
            let results = results(shared, rule, vector, at_ms)?;
            check_limit(group, results.len())?;
            state.alerts.step(results, at_ms, timing);
            if !std::mem::replace(&mut state.is_restored, true) && timing.hold_ms >= FOR_GRACE_MS {
                restore(shared, rule, &mut state.alerts, at_ms, timing);
            }
            let valid_ms = 4 * interval_ms.max(crate::alert::RESEND_MS);
            let due = state.alerts.due(at_ms);
            let notifications =
                due.into_iter().map(|alert| notification(shared, rule, alert, at_ms + valid_ms)).collect();
            (alert_samples(rule, &state.alerts), notifications)
        }
    };
    check_limit(group, samples.len())?;
    let now: BTreeSet<Labels> = samples.iter().map(|sample| sample.labels.clone()).collect();
    let gone = std::mem::replace(&mut state.series, now);
    let stale = gone.into_iter().filter(|labels| !state.series.contains(labels));
    let stale = stale.map(|labels| VectorSample { labels, value: SampleValue::Float(f64::from_bits(STALE_NAN)) });
    let samples = samples.into_iter().chain(stale.collect::<Vec<_>>()).collect();
    Ok(RuleResult { samples, notifications })
}

fn check_limit(group: &Group, count: usize) -> Result<(), String> {
    if group.limit > 0 && count > group.limit {
        return Err(format!("exceeded limit of {} with {count} series", group.limit));
    }
    Ok(())
}

pub(crate) fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// The samples of an instant query; a number is a sample without labels.
fn instant(shared: &Shared, query: &str, at_ms: i64) -> Result<Vec<VectorSample>, String> {
    let result = shared.engine.instant(shared.storage.as_ref(), query, at_ms, &QueryOptions::default());
    match result.map_err(|error| error.to_string())?.value {
        Value::Vector { samples, .. } => Ok(samples),
        Value::Scalar { value, .. } => {
            Ok(vec![VectorSample { labels: Labels::empty(), value: SampleValue::Float(value) }])
        }
        other => Err(format!("rule result is a {}, not a vector or a scalar", other.type_name())),
    }
}

/// Labels with others in place of theirs; an empty value takes a label away.
fn with(labels: &Labels, name: &str, others: &BTreeMap<String, String>) -> Labels {
    let mut pairs: BTreeMap<&str, &str> = labels.iter().filter(|(label, _)| *label != METRIC_NAME).collect();
    pairs.extend(others.iter().map(|(label, value)| (label.as_str(), value.as_str())));
    if !name.is_empty() {
        pairs.insert(METRIC_NAME, name);
    }
    Labels::from_pairs(pairs)
}

fn record(rule: &Rule, vector: Vec<VectorSample>) -> Result<Vec<VectorSample>, String> {
    let mut seen = BTreeSet::new();
    let named = vector.into_iter().map(|sample| {
        let labels = with(&sample.labels, &rule.name, &rule.labels);
        if !seen.insert(labels.clone()) {
            return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
        }
        Ok(VectorSample { labels, value: sample.value })
    });
    named.collect()
}

/// The results of an alerting rule with the labels and texts of the alerts that they make.
fn results(shared: &Shared, rule: &Rule, vector: Vec<VectorSample>, at_ms: i64) -> Result<Vec<Result1>, String> {
    let RuleKind::Alerting { label_templates, annotation_templates, .. } = &rule.kind else { return Ok(Vec::new()) };
    let query = |text: &str| queried(shared, text, at_ms);
    let mut seen = BTreeSet::new();
    let alert = |sample: VectorSample| {
        let value = match &sample.value {
            SampleValue::Float(value) => *value,
            SampleValue::Histogram(histogram) => histogram.count,
        };
        let context = Context {
            labels: sample.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            value,
            external_labels: &shared.external_labels,
            external_url: &shared.external_url,
            query: &query,
        };
        let mut own = expand(label_templates, &context);
        own.insert(ALERT_NAME.to_owned(), rule.name.clone());
        let labels = with(&sample.labels, "", &own);
        if !seen.insert(labels.clone()) {
            return Err("vector contains metrics with the same labelset after applying alert labels".to_owned());
        }
        Ok(Result1 { labels, annotations: expand(annotation_templates, &context), value })
    };
    vector.into_iter().map(alert).collect()
}

fn queried(shared: &Shared, query: &str, at_ms: i64) -> Result<Vec<QueriedSample>, String> {
    let samples = instant(shared, query, at_ms)?;
    let sample = |sample: VectorSample| QueriedSample {
        labels: sample.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        value: match sample.value {
            SampleValue::Float(value) => value,
            SampleValue::Histogram(histogram) => histogram.count,
        },
    };
    Ok(samples.into_iter().map(sample).collect())
}

/// `ALERTS` and `ALERTS_FOR_STATE` of what is pending or fires.
fn alert_samples(rule: &Rule, alerts: &Alerts) -> Vec<VectorSample> {
    let mut samples = Vec::new();
    for alert in alerts.active.values().filter(|alert| alert.state != AlertState::Inactive) {
        let mut own = BTreeMap::from([(ALERT_NAME.to_owned(), rule.name.clone())]);
        let for_state = with(&alert.labels, ALERTS_FOR_STATE, &own);
        own.insert(ALERT_STATE.to_owned(), alert.state.as_str().to_owned());
        let active_at = SampleValue::Float(alert.active_at_ms.div_euclid(1000) as f64);
        samples.push(VectorSample { labels: with(&alert.labels, ALERTS, &own), value: SampleValue::Float(1.0) });
        samples.push(VectorSample { labels: for_state, value: active_at });
    }
    samples
}

fn notification(shared: &Shared, rule: &Rule, alert: Alert, valid_until_ms: i64) -> Notification {
    let mut labels: BTreeMap<String, String> = shared.external_labels.clone();
    labels.extend(alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    let link = crate::template::graph_link(&shared.external_url, &rule.expr);
    Notification {
        labels,
        annotations: alert.annotations,
        starts_at_ms: alert.fired_at_ms,
        ends_at_ms: alert.resolved_at_ms.unwrap_or(valid_until_ms),
        generator_url: link,
    }
}

/// Gives pending alerts the time back that they had waited before the process was started.
fn restore(shared: &Shared, rule: &Rule, alerts: &mut Alerts, at_ms: i64, timing: Timing) {
    let name = bodkin_promql::text::quote(&rule.name);
    let range = OUTAGE_TOLERANCE_MS / 60_000;
    let query = format!("{ALERTS_FOR_STATE}{{{ALERT_NAME}={name}}}[{range}m]");
    let result = shared.engine.instant(shared.storage.as_ref(), &query, at_ms, &QueryOptions::default());
    let series = match result.map(|result| result.value) {
        Ok(Value::Matrix(series)) => series,
        Ok(_) => return,
        Err(error) => {
            tracing::warn!(rule = rule.name, %error, "what its alerts had waited is not known; they wait anew");
            return;
        }
    };
    for series in series {
        let labels = series.labels.without(|name| name == METRIC_NAME);
        let last = series.timestamps.last().zip(series.values.last());
        let (Some(alert), Some((down_at_ms, active_at))) = (alerts.active.get_mut(&labels), last) else { continue };
        if active_at.is_nan() || alert.state != AlertState::Pending {
            continue;
        }
        let active_at_ms = (active_at * 1000.0) as i64;
        alert.active_at_ms = restored(active_at_ms, *down_at_ms, at_ms, timing.hold_ms);
    }
}

/// Since when an alert counts as active after a start, as Prometheus reckons.
fn restored(active_at_ms: i64, down_at_ms: i64, at_ms: i64, hold_ms: i64) -> i64 {
    let left_ms = hold_ms - (down_at_ms - active_at_ms);
    if left_ms <= 0 {
        // It fired when the process went: it fires again at the next evaluation.
        active_at_ms
    } else if left_ms < FOR_GRACE_MS {
        at_ms + FOR_GRACE_MS - hold_ms
    } else {
        active_at_ms + (at_ms - down_at_ms)
    }
}

/// Marks everything that a rule gave as stale: it is gone.
pub(crate) fn farewell(state: &RuleState) -> Vec<VectorSample> {
    let stale =
        |labels: &Labels| VectorSample { labels: labels.clone(), value: SampleValue::Float(f64::from_bits(STALE_NAN)) };
    state.series.iter().map(stale).collect()
}

/// When a group is evaluated: at the same place of every interval, another one for each group.
pub(crate) fn slot_ms(group: &Group, at_ms: i64, interval_ms: i64) -> i64 {
    let key = format!("{};{}", group.file, group.name);
    let offset = (xxhash_rust::xxh3::xxh3_64(key.as_bytes()) % interval_ms.unsigned_abs().max(1)) as i64;
    (at_ms - offset).div_euclid(interval_ms) * interval_ms + offset
}

/// One of the states that `Arc` readers see.
pub(crate) type States = Arc<Vec<std::sync::Mutex<RuleState>>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_waited_counts() {
        let hold = 1_800_000;
        assert_eq!(restored(0, 1_800_000, 2_000_000, hold), 0, "it had fired");
        assert_eq!(restored(0, 1_500_000, 2_000_000, hold), 2_000_000 + 600_000 - hold, "ten minutes at least");
        assert_eq!(restored(0, 600_000, 2_000_000, hold), 1_400_000, "the outage does not count");
    }

    #[test]
    fn slots_repeat_by_the_interval() {
        let group =
            Group { name: "g".into(), file: "f".into(), interval: None, query_offset: None, limit: 0, rules: vec![] };
        let first = slot_ms(&group, 1_000_000, 60_000);
        assert!(first <= 1_000_000 && first > 940_000);
        assert_eq!(slot_ms(&group, first + 59_999, 60_000), first);
        assert_eq!(slot_ms(&group, first + 60_000, 60_000), first + 60_000);
    }
}
