//! PagerDuty. Contract: Events API v2, <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>: an event has
//! `routing_key`, `event_action` and `dedup_key`; 202 takes it, 400 refuses it, 429 and 5xx want it again.

use crate::config::{Common, ConfigError, Secret, url};
use crate::http::{Http, dead, send};
use crate::message::{Message, Status, row_key, text_of};
use async_trait::async_trait;
use bodkin_engine::{Channel, ChannelError, Delivery};
use serde::Deserialize;
use serde_json::{Value, json};

const URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Characters of `summary` that are taken.
const SUMMARY_BYTES_MAX: usize = 1024;
/// Alerts of a group that an event quotes: it may have 512 KB.
const ALERTS_MAX: usize = 50;
/// Characters of `dedup_key` that are taken.
const KEY_BYTES_MAX: usize = 255;

/// The section `pagerduty`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PagerDutySection {
    routing_key: Secret,
    /// Another address of the API.
    url: Option<String>,
}

#[derive(Debug)]
pub(crate) struct PagerDuty {
    common: Common,
    http: Http,
    url: String,
    routing_key: Secret,
}

impl PagerDuty {
    pub(crate) fn new(common: Common, section: &PagerDutySection, http: Http) -> Result<Self, ConfigError> {
        let routing_key = Secret::Text(section.routing_key.read("routing_key")?);
        Ok(Self { common, http, url: url("url", section.url.as_deref().unwrap_or(URL))?.into(), routing_key })
    }

    /// One event for a group of alerts, one for each row.
    fn events(&self, delivery: &Delivery) -> Result<Vec<Value>, ChannelError> {
        let routing_key = self.routing_key.read("routing_key").map_err(dead)?;
        let event = |action: &str, key: &str, payload: Value| {
            let key = key.get(..key.floor_char_boundary(KEY_BYTES_MAX)).unwrap_or_default();
            json!({"routing_key": routing_key, "event_action": action, "dedup_key": key, "payload": payload})
        };
        let message = Message::parse(&delivery.body).map_err(dead)?;
        let title = message.title();
        Ok(match message {
            Message::Notification(notification) => {
                let action = if notification.status == Status::Firing { "trigger" } else { "resolve" };
                let source = notification.common_labels.get("host").or(notification.common_labels.get("instance"));
                let alerts = notification.alerts.len();
                let shown = notification.alerts.get(..alerts.min(ALERTS_MAX)).unwrap_or_default();
                let payload = json!({
                    "summary": cut(&title),
                    "source": source.map_or("bodkin", String::as_str),
                    "severity": severity(notification.severity()),
                    "timestamp": notification.alerts.first().map(|alert| alert.starts_at.clone()),
                    "custom_details": {"alerts": shown, "alerts_left_out": alerts - shown.len()},
                });
                vec![event(action, &notification.group_key, payload)]
            }
            Message::Rows(rows) => {
                let payload = |row: &serde_json::Map<String, Value>| {
                    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
                    json!({
                        "summary": cut(&text_of(row)),
                        "source": if text("host").is_empty() { "bodkin" } else { text("host") },
                        "severity": severity(if text("severity").is_empty() { text("priority") } else { text("severity") }),
                        "custom_details": row,
                    })
                };
                let rows = rows.iter().enumerate();
                rows.map(|(at, row)| event("trigger", &row_key(delivery, at), payload(row))).collect()
            }
        })
    }
}

/// PagerDuty's four severities for ours and for Falco's priorities.
fn severity(severity: &str) -> &'static str {
    match severity.to_ascii_lowercase().as_str() {
        "info" | "informational" | "notice" | "debug" | "low" => "info",
        "warning" | "medium" => "warning",
        "error" | "high" => "error",
        _ => "critical",
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(SUMMARY_BYTES_MAX)).unwrap_or_default()
}

#[async_trait]
impl Channel for PagerDuty {
    fn name(&self) -> &str {
        &self.common.name
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        for delivery in run {
            for event in self.events(delivery)? {
                send(self.http.json(&self.url, &event)).await?;
                self.common.pace().await;
            }
        }
        Ok(())
    }
}
