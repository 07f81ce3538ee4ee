//! Asks the scheduled queries of alert rules, and lets time pass: answers and ticks are rows of `evaluations`, so that a
//! replay has them again.

use arc_swap::ArcSwap;
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use bodkin_alert::observe::{Kind, Observation, evaluations, labels_text};
use bodkin_alert::{AlertsConfig, Rule};
use bodkin_http::{Family, MetricsSource};
use bodkin_ingest::LocalProducer;
use bodkin_query::QueryEngine;
use bodkin_schema::{Principal, Stream, Tenant};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

/// Between two ticks.
const TICK: Duration = Duration::from_secs(1);
/// Queries that run at the same time.
const PARALLEL: usize = 2;
/// Series of one answer.
const SERIES_MAX: usize = 100_000;

/// The clock of the alerts.
pub(crate) struct Scheduler {
    /// The rules that run.
    pub(crate) alerts: Arc<ArcSwap<AlertsConfig>>,
    pub(crate) engine: Arc<QueryEngine>,
    pub(crate) producer: LocalProducer,
    /// Our own metrics.
    pub(crate) own: Arc<dyn MetricsSource>,
}

impl Scheduler {
    /// Runs until the server stops. Does nothing while there are no alerts.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let this = Arc::new(self);
        let slots = Arc::new(Semaphore::new(PARALLEL));
        let asked = Arc::new(Mutex::new(HashSet::new()));
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for second in 0_u64.. {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stopping.cancelled() => return,
            }
            let alerts = this.alerts.load_full();
            if !alerts.is_used() {
                continue;
            }
            let tick = Observation {
                ts: this.producer.now().micros(),
                rule: String::new(),
                kind: Kind::Tick,
                labels: "{}".to_owned(),
                value: None,
            };
            this.put(&[tick]).await;
            let mut left_out = 0;
            for rule in alerts.rules.iter().filter(|rule| is_due(rule, second)) {
                // Where answers take longer than the interval, questions would gather without end.
                let Some(asked) = Asked::new(&asked, &rule.name) else {
                    left_out += 1;
                    continue;
                };
                let (this, slots, rule) = (this.clone(), slots.clone(), rule.clone());
                tokio::spawn(async move {
                    let _asked = asked;
                    // The semaphore is never closed.
                    let _slot = slots.acquire().await;
                    this.evaluate(&rule).await;
                });
            }
            if left_out > 0 {
                tracing::warn!(rules = left_out, "queries of rules take longer than their interval and were left out");
            }
        }
    }

    async fn evaluate(&self, rule: &Rule) {
        let ts = self.producer.now().micros();
        let inner = match &rule.own {
            // Without samples there is nothing to ask; all that fired is over.
            Some(family) => match rows_of(&self.own.families(), family) {
                Some(rows) => Some(rows),
                None => return self.put(&[done(rule, ts)]).await,
            },
            None => statement(rule),
        };
        let Some(text) = inner.map(|inner| query(rule, &inner)) else { return };
        let answer = match self.engine.sql(&Principal::default(), &text).await {
            Ok(answer) => answer.collect().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(batches) => {
                let mut seen: Vec<_> =
                    batches.iter().flat_map(|batch| series(rule, batch, ts)).take(SERIES_MAX).collect();
                seen.push(done(rule, ts));
                self.put(&seen).await;
            }
            // What is not known resolves nothing.
            Err(error) => tracing::warn!(rule = rule.name, %error, "the query of a rule failed"),
        }
    }

    async fn put(&self, observations: &[Observation]) {
        let rows = vec![(Stream::Evaluations, evaluations(observations))];
        if let Err(error) = self.producer.put(&Tenant::default(), rows).await {
            tracing::warn!(%error, "an evaluation is lost");
        }
    }
}

/// The names of rules whose queries have no answer yet; this one's is among them until it is dropped.
struct Asked(Arc<Mutex<HashSet<String>>>, String);

impl Asked {
    /// None where the rule is being asked already.
    fn new(names: &Arc<Mutex<HashSet<String>>>, rule: &str) -> Option<Self> {
        let is_new = names.lock().unwrap_or_else(PoisonError::into_inner).insert(rule.to_owned());
        is_new.then(|| Self(names.clone(), rule.to_owned()))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Whether a rule's query is asked in this second; rules are spread over their interval.
fn is_due(rule: &Rule, second: u64) -> bool {
    let every = rule.every.as_secs().max(1);
    rule.from.is_none() && second % every == xxh3_64(rule.name.as_bytes()) % every
}

/// All series of an answer were given.
fn done(rule: &Rule, ts: i64) -> Observation {
    Observation { ts, rule: rule.name.clone(), kind: Kind::Done, labels: "{}".to_owned(), value: None }
}

/// The rule's query.
fn statement(rule: &Rule) -> Option<String> {
    match (&rule.sql, &rule.promql) {
        (Some(sql), _) => Some(sql.trim().trim_end_matches(';').to_owned()),
        (None, Some(promql)) => {
            Some(format!("SELECT labels, value FROM promql('{}', now())", promql.replace('\'', "''")))
        }
        (None, None) => None,
    }
}

/// The samples of a family of our own metrics as rows: labels as columns, and `value`.
fn rows_of(families: &[Family], name: &str) -> Option<String> {
    let samples = || families.iter().filter(|family| family.name == name).flat_map(|family| &family.samples);
    let names: BTreeSet<&str> = samples()
        .flat_map(|sample| &sample.labels)
        .map(|(name, _)| name.as_ref())
        .filter(|name| *name != "value")
        .collect();
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let row = |sample: &bodkin_http::Sample| {
        let label = |name: &str| {
            sample.labels.iter().find(|(other, _)| other.as_ref() == name).map_or("", |(_, value)| value.as_str())
        };
        let mut cells: Vec<String> = names.iter().map(|name| text(label(name))).collect();
        cells.push(format!("CAST({} AS DOUBLE)", text(&sample.value.to_string())));
        format!("({})", cells.join(", "))
    };
    let rows: Vec<String> = samples().map(row).collect();
    let columns: Vec<String> =
        names.iter().chain([&"value"]).map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    (!rows.is_empty()).then(|| format!("SELECT * FROM (VALUES {}) AS own({})", rows.join(", "), columns.join(", ")))
}

/// A rule's query with its conditions as columns.
fn query(rule: &Rule, inner: &str) -> String {
    let value = rule.value.as_deref().unwrap_or("value");
    let condition =
        |text: &Option<String>, otherwise: &str| text.as_ref().map_or(otherwise.to_owned(), |text| format!("({text})"));
    let firing = condition(&rule.when, "true");
    let clear = condition(&rule.until, "false");
    format!(
        "SELECT *, CAST({value} AS DOUBLE) AS \"__value\", {firing} AS \"__firing\", {clear} AS \"__clear\" FROM ({inner})"
    )
}

/// The series of a batch of an answer.
fn series(rule: &Rule, batch: &RecordBatch, ts: i64) -> Vec<Observation> {
    let flag = |name: &str| batch.column_by_name(name).and_then(|column| column.as_boolean_opt()).cloned();
    let (Some(firing), Some(clear)) = (flag("__firing"), flag("__clear")) else { return Vec::new() };
    let holds = |flag: &BooleanArray, row: usize| flag.is_valid(row) && flag.value(row);
    let values = batch.column_by_name("__value").and_then(|column| column.as_primitive_opt::<Float64Type>());
    let has_until = rule.until.is_some();
    let row = |row: usize| Observation {
        ts,
        rule: rule.name.clone(),
        kind: match (holds(&firing, row), has_until, holds(&clear, row)) {
            (true, ..) => Kind::Firing,
            (false, true, false) => Kind::Held,
            _ => Kind::Clear,
        },
        labels: labels_text(&labels(rule, batch, row)),
        value: values.filter(|values| values.is_valid(row)).map(|values| values.value(row)),
    };
    (0..batch.num_rows()).map(row).collect()
}

/// Labels of a row: a column of labels, and columns of text; those in `by` alone where it says so.
fn labels(rule: &Rule, batch: &RecordBatch, row: usize) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if field.name().starts_with("__") || column.is_null(row) {
            continue;
        }
        match column.data_type() {
            DataType::Map(..) => {
                let entries = column.as_map().value(row);
                let text = |at: usize| cast(entries.column(at), &DataType::Utf8).ok();
                if let (Some(names), Some(values)) = (text(0), text(1)) {
                    let (names, values): (&StringArray, &StringArray) = (names.as_string(), values.as_string());
                    let pairs = names.iter().zip(values.iter());
                    labels.extend(pairs.filter_map(|(name, value)| Some((name?.to_owned(), value?.to_owned()))));
                }
            }
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
                if let Ok(text) = cast(&column.slice(row, 1), &DataType::Utf8) {
                    labels.insert(field.name().clone(), text.as_string::<i32>().value(0).to_owned());
                }
            }
            _ if rule.by.contains(field.name()) => {
                if let Ok(text) = cast(&column.slice(row, 1), &DataType::Utf8) {
                    labels.insert(field.name().clone(), text.as_string::<i32>().value(0).to_owned());
                }
            }
            _ => {}
        }
    }
    if !rule.by.is_empty() {
        labels.retain(|name, _| rule.by.contains(name));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_http::{MetricKind, Sample};

    #[test]
    fn a_rule_is_asked_once_at_a_time() {
        let names = Arc::default();
        let (one, other) = (Asked::new(&names, "one"), Asked::new(&names, "other"));
        assert!(other.is_some() && Asked::new(&names, "one").is_none());
        drop(one);
        assert!(Asked::new(&names, "one").is_some());
    }

    #[test]
    fn own_metrics_become_rows() {
        let sample = |node: &str, value: f64| Sample {
            labels: vec![("node".into(), node.to_owned()), ("kind".into(), "stream".to_owned())],
            value,
            ..Sample::default()
        };
        let samples = vec![sample("it's", 2.5), sample("b", f64::NAN)];
        let family = Family { name: "lag".into(), help: "".into(), kind: MetricKind::Gauge, samples };
        let rows = rows_of(std::slice::from_ref(&family), "lag").unwrap();
        assert_eq!(
            rows,
            "SELECT * FROM (VALUES ('stream', 'it''s', CAST('2.5' AS DOUBLE)), ('stream', 'b', CAST('NaN' AS DOUBLE))) \
             AS own(\"kind\", \"node\", \"value\")"
        );
        assert_eq!(rows_of(&[family], "other"), None);
    }
}
