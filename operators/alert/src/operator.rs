//! The operator: observations in, changes of states and deliveries out.

use crate::anomaly::outliers;
use crate::board::{ActiveAlert, Board};
use crate::config::{AlertsConfig, Rule, RuleKind};
use crate::instance::{Change, Instance, State};
use crate::kept::Kept;
use crate::matcher::Silence;
use crate::notify::{Firing, inhibited_by};
use crate::observe::{Kind, MEET_COLUMN, Observation, from_rows, to_rows};
use crate::posted::{POSTED_MAX, PostedAlert, RESOLVE_AFTER_US};
use arrow::array::{
    ArrayRef, Float64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use bodkin_engine::{Batch, KeyGroup, Operator, Output, RestoreError, SideInput, key_groups};
use bodkin_forward::deliveries;
use bodkin_schema::{Epoch, EventTime, Stream};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// The side input with the silences.
pub const SILENCES_INPUT: &str = "silences";
/// Label sets of one rule; further ones are counted and not looked at.
const INSTANCES_MAX: usize = 100_000;
/// Label sets of a rule that learns what is usual for each: 35 KiB each.
const LEARNED_MAX: usize = 5_000;

/// The states of all rules.
pub struct AlertOperator {
    config: Arc<AlertsConfig>,
    rules: BTreeMap<String, (usize, RuleKind)>,
    state: Kept,
    board: Arc<Board>,
    silences: Vec<Silence>,
    /// Observations of label sets beyond the bound.
    refused: u64,
    /// It looks at what is stored, and ticks as it likes.
    is_history: bool,
}

impl std::fmt::Debug for AlertOperator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlertOperator").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

/// A change of an alert's state, as a row of `alerts`.
struct Row {
    rule: String,
    severity: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    change: Change,
    value: Option<f64>,
    key: String,
    starts_at: i64,
    generator_url: String,
    ts: i64,
}

impl AlertOperator {
    /// The operator of the rules of a configuration that was checked. What it finds is also shown on `board`.
    pub fn new(config: Arc<AlertsConfig>, board: Arc<Board>) -> Self {
        let kinds = config.rules.iter().enumerate();
        let rules = kinds.filter_map(|(at, rule)| Some((rule.name.clone(), (at, rule.kind().ok()?)))).collect();
        Self { config, rules, state: Kept::default(), board, silences: Vec::new(), refused: 0, is_history: false }
    }

    /// For what is stored: time passes as it is told, in steps of any size.
    pub fn over_history(self) -> Self {
        Self { is_history: true, ..self }
    }

    /// The columns by which observations meet.
    pub fn key() -> [&'static str; 1] {
        [MEET_COLUMN]
    }

    fn group() -> KeyGroup {
        let tick = Observation { ts: 0, rule: String::new(), kind: Kind::Tick, labels: String::new(), value: None };
        let groups = key_groups(&to_rows(&[tick]), &Self::key().map(str::to_owned));
        groups.ok().and_then(|groups| groups.first().copied()).unwrap_or_default()
    }

    fn take(&mut self, observations: &[Observation]) -> Vec<Row> {
        let mut rows = self.bury();
        for observation in observations {
            match observation.kind {
                Kind::Tick => self.step(&mut rows),
                Kind::Posted => self.post(observation, &mut rows),
                Kind::Done => self.answered(&observation.rule, &mut rows),
                _ => self.observe(observation, &mut rows),
            }
        }
        rows
    }

    /// Alerts without a rule are over.
    fn bury(&mut self) -> Vec<Row> {
        let now = self.state.now;
        let row = |(rule, labels): (String, String)| {
            let key = key(&rule, &labels);
            let firing = self.state.notifier.alerts.get(&key)?.clone();
            let severity = firing.labels.get("severity").cloned().unwrap_or_default();
            let Firing { labels, annotations, starts_at, generator_url, .. } = firing;
            let change = Change::Resolved;
            Some(Row {
                rule,
                severity,
                labels,
                annotations,
                change,
                value: None,
                key,
                starts_at,
                generator_url,
                ts: now,
            })
        };
        std::mem::take(&mut self.state.orphans).into_iter().filter_map(row).collect()
    }

    fn observe(&mut self, seen: &Observation, rows: &mut Vec<Row>) {
        let Some((at, kind)) = self.rules.get(&seen.rule).copied() else { return };
        let Some(rule) = self.config.rules.get(at) else { return };
        let instances = self.state.instances.entry(seen.rule.clone()).or_default();
        let learns = rule.anomaly.as_ref().is_some_and(|config| !config.outlier);
        let instances_max = if learns { LEARNED_MAX } else { INSTANCES_MAX };
        if !instances.contains_key(&seen.labels) && instances.len() >= instances_max {
            self.refused += 1;
            if self.refused.is_power_of_two() {
                tracing::warn!(rule = rule.name, refused = self.refused, "the rule has too many different labels");
            }
            return;
        }
        let instance = instances.entry(seen.labels.clone()).or_default();
        let changes = instance.observe(rule, kind, seen, self.state.now);
        rows.extend(changes.into_iter().map(|change| row(rule, &seen.labels, instance, change, self.state.now)));
    }

    /// Somebody else posts an alert. One that is known goes on; one that has ended ends it.
    fn post(&mut self, seen: &Observation, rows: &mut Vec<Row>) {
        let Some(alert) = PostedAlert::of(seen) else { return };
        let (key, now) = (alert.key(), self.state.now);
        let known = self.state.posted.get(&key).map(|known| known.starts_at);
        if alert.ends_at <= now {
            if self.state.posted.remove(&key).is_some() {
                rows.push(Row::posted(key, alert, Change::Resolved, now));
            }
            return;
        }
        if known.is_none() && self.state.posted.len() >= POSTED_MAX {
            self.refused += 1;
            if self.refused.is_power_of_two() {
                tracing::warn!(refused = self.refused, "too many alerts are posted");
            }
            return;
        }
        let alert = PostedAlert { starts_at: known.unwrap_or(alert.starts_at), ..alert };
        if known.is_none() {
            rows.push(Row::posted(key.clone(), alert.clone(), Change::Firing, now));
        }
        self.state.posted.insert(key, alert);
    }

    /// A query has given all its series.
    fn answered(&mut self, name: &str, rows: &mut Vec<Row>) {
        let Some((at, kind)) = self.rules.get(name).copied() else { return };
        let (Some(rule), Some(instances)) = (self.config.rules.get(at), self.state.instances.get_mut(name)) else {
            return;
        };
        let now = self.state.now;
        if let Some(config) = rule.anomaly.as_ref().filter(|config| config.outlier) {
            let answered: Vec<String> =
                instances.iter().filter(|(_, i)| i.is_in_answer()).map(|(labels, _)| labels.clone()).collect();
            let values: Vec<f64> = answered.iter().map(|labels| instances[labels].value.unwrap_or(f64::NAN)).collect();
            for (labels, is_outlier) in answered.iter().zip(outliers(config, &values)) {
                if let Some(instance) = instances.get_mut(labels) {
                    let changes = instance.judged(rule, is_outlier, now);
                    rows.extend(changes.into_iter().map(|change| row(rule, labels, instance, change, now)));
                }
            }
        }
        for (labels, instance) in instances.iter_mut() {
            let changes = instance.answered(rule, now);
            rows.extend(changes.into_iter().map(|change| row(rule, labels, instance, change, now)));
        }
        instances.retain(|_, instance| !instance.is_idle(kind, now));
    }

    /// Time has passed.
    fn step(&mut self, rows: &mut Vec<Row>) {
        let now = self.state.now;
        for (name, instances) in &mut self.state.instances {
            let Some((at, kind)) = self.rules.get(name).copied() else { continue };
            let Some(rule) = self.config.rules.get(at) else { continue };
            for (labels, instance) in instances.iter_mut() {
                let changes = instance.step(rule, kind, now);
                rows.extend(changes.into_iter().map(|change| row(rule, labels, instance, change, now)));
            }
            instances.retain(|_, instance| !instance.is_idle(kind, now));
        }
        self.state.instances.retain(|_, instances| !instances.is_empty());
        let ended = |(key, alert): (&String, &PostedAlert)| (alert.ends_at <= now).then(|| key.clone());
        let ended: Vec<String> = self.state.posted.iter().filter_map(ended).collect();
        for key in ended {
            if let Some(alert) = self.state.posted.remove(&key) {
                rows.push(Row::posted(key, alert, Change::Resolved, now));
            }
        }
    }

    /// Tells the notifier, writes the changes, delivers what is due.
    fn finish(&mut self, rows: Vec<Row>, ingest: EventTime, out: &mut Output<'_>) {
        let now = self.state.now;
        for row in &rows {
            match row.change {
                Change::Firing => {
                    let (labels, annotations) = (row.labels.clone(), row.annotations.clone());
                    let generator_url = row.generator_url.clone();
                    let firing = Firing { labels, annotations, starts_at: row.starts_at, generator_url, ends_at: None };
                    self.state.notifier.fires(&self.config, &row.key, firing, now);
                }
                Change::Resolved => self.state.notifier.resolves(&row.key, now),
                Change::Pending | Change::Dropped => {}
            }
        }
        if !rows.is_empty() {
            let made = Batch::made(Stream::Alerts.name(), alerts(&rows));
            out.emit(Batch { ingest_time: ingest, ..made });
        }
        let mut by_channel: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for notice in self.state.notifier.flush(&self.config, &self.silences, now) {
            by_channel.entry(notice.channel).or_default().push((notice.key, notice.body));
        }
        for (channel, pairs) in by_channel {
            out.emit(Batch { ingest_time: ingest, ..deliveries(&channel, &pairs) });
        }
        self.show();
    }

    fn show(&self) {
        let mut shown = Vec::new();
        for (name, instances) in &self.state.instances {
            let Some((at, _)) = self.rules.get(name) else { continue };
            let Some(rule) = self.config.rules.get(*at) else { continue };
            for (labels, instance) in instances.iter().filter(|(_, instance)| instance.state != State::Inactive) {
                let key = key(name, labels);
                let labels = all_labels(rule, labels);
                shown.push(self.shown(ActiveAlert {
                    rule: name.clone(),
                    annotations: annotations(rule, &labels, instance.value),
                    is_firing: instance.state == State::Firing,
                    value: instance.value,
                    starts_at: instance.starts_at,
                    updated_at: instance.seen.max(instance.starts_at),
                    labels,
                    key,
                    ..ActiveAlert::default()
                }));
            }
        }
        for (key, alert) in &self.state.posted {
            // Where whoever posts it names an end, when that was is not known.
            let updated_at = alert.ends_at.saturating_sub(RESOLVE_AFTER_US).min(self.state.now);
            shown.push(self.shown(ActiveAlert {
                rule: alert.rule().to_owned(),
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                is_firing: true,
                starts_at: alert.starts_at,
                updated_at: updated_at.max(alert.starts_at),
                generator_url: alert.generator_url.clone(),
                key: key.clone(),
                ..ActiveAlert::default()
            }));
        }
        self.board.show(shown, self.state.now);
    }

    /// An alert with what mutes it and where it goes.
    fn shown(&self, alert: ActiveAlert) -> ActiveAlert {
        let is_silenced = |silence: &&Silence| silence.mutes(&alert.labels, self.state.now);
        let notifier = &self.state.notifier;
        let inhibited_by = |firing| inhibited_by(&self.config, &notifier.alerts, &alert.key, firing);
        let receivers = self.config.route.iter().flat_map(|route| route.takers(&alert.labels));
        ActiveAlert {
            silenced_by: self.silences.iter().filter(is_silenced).map(|silence| silence.id.clone()).collect(),
            inhibited_by: notifier.alerts.get(&alert.key).map(inhibited_by).unwrap_or_default(),
            receivers: receivers.map(|(_, route)| route.channel.clone()).collect(),
            ..alert
        }
    }
}

/// Identity of an alert.
fn key(rule: &str, labels: &str) -> String {
    format!("{:016x}", xxh3_64(format!("{rule}\n{labels}").as_bytes()))
}

fn all_labels(rule: &Rule, labels: &str) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = serde_json::from_str(labels).unwrap_or_default();
    all.extend(rule.labels.clone());
    all.insert("alertname".to_owned(), rule.name.clone());
    all.insert("severity".to_owned(), rule.severity.clone());
    all
}

/// Annotations with values filled in; one that fails stays as it is written.
fn annotations(rule: &Rule, labels: &BTreeMap<String, String>, value: Option<f64>) -> BTreeMap<String, String> {
    let mut environment = minijinja::Environment::new();
    environment.set_fuel(Some(100_000));
    let fill = |(name, text): (&String, &String)| {
        let filled = match text.contains("{{") || text.contains("{%") {
            true => {
                environment.render_str(text, minijinja::context! { labels, value }).unwrap_or_else(|_| text.clone())
            }
            false => text.clone(),
        };
        (name.clone(), filled)
    };
    rule.annotations.iter().map(fill).collect()
}

fn row(rule: &Rule, labels: &str, instance: &Instance, change: Change, now: i64) -> Row {
    let key = key(&rule.name, labels);
    let labels = all_labels(rule, labels);
    Row {
        rule: rule.name.clone(),
        severity: rule.severity.clone(),
        annotations: annotations(rule, &labels, instance.value),
        labels,
        change,
        value: instance.value,
        key,
        starts_at: instance.starts_at,
        generator_url: String::new(),
        ts: now,
    }
}

impl Row {
    fn posted(key: String, alert: PostedAlert, change: Change, now: i64) -> Self {
        Self {
            rule: alert.rule().to_owned(),
            severity: alert.labels.get("severity").cloned().unwrap_or_default(),
            labels: alert.labels,
            annotations: alert.annotations,
            change,
            value: None,
            key,
            starts_at: alert.starts_at,
            generator_url: alert.generator_url,
            ts: now,
        }
    }
}

/// Changes as rows of `alerts`.
fn alerts(rows: &[Row]) -> RecordBatch {
    let text =
        |pick: &dyn Fn(&Row) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(pick))) };
    let time = |pick: fn(&Row) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(pick)).with_timezone("UTC"))
    };
    let map = |pick: fn(&Row) -> &BTreeMap<String, String>| -> ArrayRef {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
        for row in rows {
            for (name, value) in pick(row) {
                builder.keys().append_value(name);
                builder.values().append_value(value);
            }
            builder.append(true).expect("invariant: as many values as keys");
        }
        Arc::new(builder.finish())
    };
    let columns = vec![
        time(|row| row.ts),
        text(&|row| row.rule.clone()),
        text(&|row| row.change.name().to_owned()),
        text(&|row| row.severity.clone()),
        map(|row| &row.labels),
        Arc::new(rows.iter().map(|row| row.value).collect::<Float64Array>()),
        text(&|row| row.key.clone()),
        map(|row| &row.annotations),
        time(|row| row.starts_at),
    ];
    RecordBatch::try_new(Stream::Alerts.schema(), columns).expect("invariant: the columns of table alerts")
}

impl Operator for AlertOperator {
    fn name(&self) -> &str {
        "alerts"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        let observations = from_rows(&batch.records);
        let is_tick = !self.is_history && observations.iter().any(|observation| observation.kind == Kind::Tick);
        self.state.pass(batch.ingest_time.micros(), is_tick);
        let rows = self.take(&observations);
        self.finish(rows, batch.ingest_time, out);
    }

    fn on_side_input(&mut self, input: &SideInput, _: &mut Output<'_>) {
        if &*input.name == SILENCES_INPUT {
            match Silence::parse(&input.value) {
                Ok(silences) => self.silences = silences,
                Err(error) => tracing::error!(error, "silences stay as they were"),
            }
            // Only the shard where observations meet has something to show.
            if self.state.now > 0 {
                self.show();
            }
        }
    }

    fn on_barrier(&mut self, _: Epoch) -> Vec<(KeyGroup, Bytes)> {
        if self.state.now == 0 && self.state.instances.is_empty() {
            return Vec::new();
        }
        match serde_json::to_vec(&self.state) {
            Ok(bytes) => vec![(Self::group(), bytes.into())],
            Err(error) => {
                tracing::error!(%error, "the state of the alerts is not kept");
                Vec::new()
            }
        }
    }

    fn restore(&mut self, _: KeyGroup, state: Bytes) -> Result<(), RestoreError> {
        self.state = serde_json::from_slice(&state)?;
        let (rules, orphans) = (&self.rules, &mut self.state.orphans);
        self.state.instances.retain(|rule, instances| {
            let is_known = rules.contains_key(rule);
            if !is_known {
                let fired = instances.iter().filter(|(_, instance)| instance.state == State::Firing);
                orphans.extend(fired.map(|(labels, _)| (rule.clone(), labels.clone())));
            }
            is_known
        });
        self.state.notifier.rerouted(&self.config, self.state.now);
        self.show();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.state
            .instances
            .values()
            .map(|all| all.iter().map(|(labels, instance)| labels.len() + instance.bytes()).sum::<usize>())
            .sum()
    }
}
