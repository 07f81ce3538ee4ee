//! Alertmanager. Contract: its API v2, <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>:
//! `POST /api/v2/alerts` takes a list of alerts; those with equal labels are one.

use crate::config::{Common, ConfigError, url};
use crate::http::{Http, dead, send};
use crate::message::{ALERTNAME, Alert, Message, NEVER, Status, plain, text_of};
use async_trait::async_trait;
use bodkin_engine::{Channel, ChannelError, Delivery};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// How long after it was sent an alert that fires goes on there. An Alertmanager ends what names no end after five minutes,
/// and expects to be told again and again; we tell when something changes, and every `repeat` of the route.
const FIRING_KEPT_US: i64 = 24 * 3600 * 1_000_000;

/// The section `alertmanager`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertmanagerSection {
    url: String,
}

#[derive(Debug)]
pub(crate) struct Alertmanager {
    common: Common,
    http: Http,
    url: String,
}

impl Alertmanager {
    pub(crate) fn new(common: Common, section: &AlertmanagerSection, http: Http) -> Result<Self, ConfigError> {
        let url = url("url", &section.url)?;
        let url = format!("{}/api/v2/alerts", url.as_str().trim_end_matches('/'));
        Ok(Self { common, http, url })
    }
}

/// Alerts of a message that is sent at `now_us`.
fn alerts(message: Message, now_us: i64) -> Vec<Value> {
    match message {
        Message::Notification(notification) => notification.alerts.iter().map(|one| alert(one, now_us)).collect(),
        Message::Rows(rows) => rows.iter().map(row).collect(),
    }
}

fn alert(alert: &Alert, now_us: i64) -> Value {
    let mut made = json!({"labels": alert.labels, "annotations": alert.annotations, "startsAt": alert.starts_at});
    if alert.status == Status::Firing {
        made["endsAt"] = time(now_us.saturating_add(FIRING_KEPT_US)).into();
    } else if alert.ends_at != NEVER {
        made["endsAt"] = alert.ends_at.clone().into();
    }
    if url::Url::parse(&alert.generator_url).is_ok() {
        made["generatorURL"] = alert.generator_url.clone().into();
    }
    made
}

fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).unwrap_or_default().to_string()
}

fn is_label(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A row as an alert: short texts are its labels.
fn row(row: &Map<String, Value>) -> Value {
    let name = ["rule", ALERTNAME, "evt_type"].iter().find_map(|name| row.get(*name)?.as_str()).unwrap_or("row");
    let mut labels = Map::new();
    for (column, value) in row {
        let value = plain(value);
        if is_label(column)
            && !value.is_empty()
            && value.len() <= 128
            && !["ts", "output", "output_fields"].contains(&column.as_str())
        {
            labels.insert(column.clone(), value.into());
        }
    }
    labels.insert(ALERTNAME.to_owned(), name.into());
    json!({"labels": labels, "annotations": {"summary": text_of(row)}})
}

#[async_trait]
impl Channel for Alertmanager {
    fn name(&self) -> &str {
        &self.common.name
    }

    fn run_max(&self) -> usize {
        16
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        let (mut all, now_us) = (Vec::new(), self.common.clock.now().micros());
        for delivery in run {
            all.extend(alerts(Message::parse(&delivery.body).map_err(dead)?, now_us));
        }
        send(self.http.json(&self.url, &all)).await?;
        self.common.pace().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::notification;

    #[test]
    fn what_fires_goes_on_until_it_is_resolved() {
        let of = |status| alerts(Message::Notification(notification(status)), 1_767_225_600_000_000).remove(0);
        assert_eq!(of(Status::Firing)["endsAt"], "2026-01-02T00:00:00Z");
        let mut ended = notification(Status::Resolved);
        ended.alerts[0].ends_at = "2026-01-01T00:05:00Z".to_owned();
        assert_eq!(alerts(Message::Notification(ended), 0)[0]["endsAt"], "2026-01-01T00:05:00Z");
    }

    #[test]
    fn a_row_is_an_alert_whose_labels_an_alertmanager_takes() {
        let row = json!({"rule": "r", "2xx": "a", "a b": "c", "n": 7, "none": null, "output": "text"});
        let made = alerts(Message::Rows(vec![row.as_object().cloned().unwrap_or_default()]), 0).remove(0);
        assert_eq!(
            made,
            json!({"labels": {"alertname": "r", "rule": "r", "n": "7"}, "annotations": {"summary": "text"}})
        );
    }
}
