//! What the API is told of alerts, and what it may change: silences.

use super::Flow;
use crate::server::feed::Notes;
use crate::server::storage::Storage;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bodkin_alert::observe::evaluations;
use bodkin_alert::{ActiveAlert, AlertsConfig, Board, PostedAlert, RuleKind, SILENCES_INPUT, Silence};
use bodkin_engine::{Delivery, Outbox};
use bodkin_forward::{Alert, Message, Notification, Status};
use bodkin_http::Alerting;
use bodkin_ingest::LocalProducer;
use bodkin_schema::{Clock, Principal, Stream, Tenant};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long an ended silence is kept: five days, as Alertmanager does.
const ENDED_KEPT_US: i64 = 5 * 86_400_000_000;
/// Silences at one time.
const SILENCES_MAX: usize = 10_000;

/// Alerts of a running server.
pub(crate) struct FlowAlerts {
    alerts: Arc<ArcSwap<AlertsConfig>>,
    board: Arc<Board>,
    outbox: Arc<Outbox>,
    notes: Notes,
    /// Logs alerts of others.
    producer: LocalProducer,
    clock: Arc<dyn Clock>,
    started: Duration,
    /// One change at a time: each is made of the one before.
    changing: tokio::sync::Mutex<()>,
}

impl FlowAlerts {
    /// # Errors
    /// Where nothing can be logged.
    pub(crate) fn new(flow: &Flow, storage: &Storage) -> anyhow::Result<Self> {
        let clock = storage.clock().clone();
        let producer = LocalProducer::new(storage.ingest().clone(), &format!("{}/posted", storage.node_id()))?;
        Ok(Self {
            producer,
            alerts: flow.in_force.clone(),
            board: flow.board.clone(),
            outbox: storage.outbox().clone(),
            notes: storage.notes().clone(),
            started: clock.monotonic(),
            clock,
            changing: tokio::sync::Mutex::default(),
        })
    }
}

#[async_trait]
impl Alerting for FlowAlerts {
    fn rules(&self) -> Value {
        let rule = |rule: &bodkin_alert::Rule| {
            let kind = match rule.kind() {
                Ok(RuleKind::Rows) => "rows",
                Ok(RuleKind::Count { .. }) => "count",
                Ok(RuleKind::Absent { .. }) => "absent",
                Ok(RuleKind::Query) if rule.anomaly.is_some() => "anomaly",
                Ok(RuleKind::Query) => "query",
                Err(_) => "none",
            };
            json!({
                "alert": rule.name, "kind": kind, "severity": rule.severity, "from": rule.from, "sql": rule.sql,
                "promql": rule.promql, "own": rule.own, "when": rule.when, "until": rule.until, "by": rule.by, "labels": rule.labels,
                "annotations": rule.annotations, "for_seconds": rule.hold.as_secs_f64(), "every_seconds": rule.every.as_secs_f64(),
            })
        };
        self.alerts.load().rules.iter().map(rule).collect()
    }

    fn alerts(&self, principal: &Principal) -> Vec<ActiveAlert> {
        // Rules look at the default tenant's rows (ISO-1).
        if principal.tenant == Tenant::default() { self.board.alerts() } else { Vec::new() }
    }

    async fn post_alerts(&self, principal: &Principal, alerts: Vec<PostedAlert>) -> Result<(), String> {
        if self.alerts.load().route.is_none() {
            return Err("no alert goes anywhere here: configure alerts.route".to_owned());
        }
        if principal.tenant != Tenant::default() {
            return Err("alerts are the default tenant's".to_owned());
        }
        if alerts.is_empty() {
            return Ok(());
        }
        let now = self.producer.now().micros();
        let rows: Vec<_> = alerts.iter().map(|alert| alert.observation(now)).collect();
        let put = self.producer.put(&principal.tenant, vec![(Stream::Evaluations, evaluations(&rows))]).await;
        for ticket in put.map_err(|error| error.to_string())? {
            ticket.await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn silences(&self) -> Vec<Silence> {
        let known = self.notes.inlet.side_input(SILENCES_INPUT);
        known.and_then(|input| Silence::parse(&input.value).ok()).unwrap_or_default()
    }

    async fn put_silence(&self, silence: Silence) -> Result<(), String> {
        let _changing = self.changing.lock().await;
        let now = self.now();
        let mut silences = self.silences();
        silences.retain(|other| other.id != silence.id && other.ends_at.saturating_add(ENDED_KEPT_US) > now);
        if silences.len() >= SILENCES_MAX {
            return Err(format!("there are {SILENCES_MAX} silences already"));
        }
        silences.push(silence);
        let value = serde_json::to_value(silences).map_err(|error| error.to_string())?;
        self.notes.put_side_input(SILENCES_INPUT, value).await.map_err(|error| format!("{error:#}"))
    }

    fn now(&self) -> i64 {
        self.clock.now().micros()
    }

    fn new_id(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }

    fn routes(&self) -> Option<Value> {
        self.alerts.load().as_alertmanager()
    }

    fn channels(&self) -> Vec<String> {
        self.outbox.channels().into_iter().filter(|name| self.outbox.channel(name).is_some()).collect()
    }

    fn uptime(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }

    async fn test(&self, channel: &str) -> Result<(), String> {
        let found = self.outbox.channel(channel).ok_or_else(|| format!("there is no channel {channel:?}"))?;
        let body = serde_json::to_string(&test_message(channel, self.now())).map_err(|error| error.to_string())?;
        let delivery = Delivery::new(channel, &format!("test-{}", self.new_id()), &body);
        found.send(&[delivery]).await.map_err(|error| error.to_string())
    }
}

/// What `bodkin forward test` sends.
fn test_message(channel: &str, now: i64) -> Message {
    let text = |pairs: [(&str, &str); 2]| -> BTreeMap<String, String> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let labels = text([("alertname", "BodkinTest"), ("severity", "info")]);
    let annotations = text([("summary", "a test of this channel"), ("description", "nothing has happened")]);
    Message::Notification(Notification {
        version: "4".to_owned(),
        group_key: "{}:{\"alertname\":\"BodkinTest\"}".to_owned(),
        status: Status::Firing,
        receiver: channel.to_owned(),
        group_labels: labels.clone(),
        common_labels: labels.clone(),
        common_annotations: annotations.clone(),
        external_url: String::new(),
        truncated_alerts: 0,
        alerts: vec![Alert {
            status: Status::Firing,
            labels,
            annotations,
            starts_at: jiff::Timestamp::from_microsecond(now).unwrap_or_default().to_string(),
            ends_at: bodkin_forward::message::NEVER.to_owned(),
            generator_url: String::new(),
            fingerprint: "0".to_owned(),
        }],
    })
}
