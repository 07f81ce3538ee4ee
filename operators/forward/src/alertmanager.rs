//! Alertmanager. Contract: its API v2, <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>:
//! `POST /api/v2/alerts` takes a list of alerts; those with equal labels are one.

use crate::config::{Common, ConfigError, url};
use crate::http::{Http, dead, send};
use crate::message::{ALERTNAME, Alert, Message, NEVER, Status, plain, text_of};
use async_trait::async_trait;
use bodkin_engine::{Channel, ChannelError, Delivery};
use serde::Deserialize;
use serde_json::{Map, Value, json};

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

fn alerts(message: Message) -> Vec<Value> {
    match message {
        Message::Notification(notification) => notification.alerts.iter().map(alert).collect(),
        Message::Rows(rows) => rows.iter().map(row).collect(),
    }
}

fn alert(alert: &Alert) -> Value {
    let mut made = json!({"labels": alert.labels, "annotations": alert.annotations, "startsAt": alert.starts_at});
    if alert.status == Status::Resolved && alert.ends_at != NEVER {
        made["endsAt"] = alert.ends_at.clone().into();
    }
    if url::Url::parse(&alert.generator_url).is_ok() {
        made["generatorURL"] = alert.generator_url.clone().into();
    }
    made
}

/// A row as an alert: short texts are its labels.
fn row(row: &Map<String, Value>) -> Value {
    let name = ["rule", ALERTNAME, "evt_type"].iter().find_map(|name| row.get(*name)?.as_str()).unwrap_or("row");
    let mut labels = Map::new();
    for (column, value) in row {
        let is_label = column.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let value = plain(value);
        if is_label
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
        let mut all = Vec::new();
        for delivery in run {
            all.extend(alerts(Message::parse(&delivery.body).map_err(dead)?));
        }
        send(self.http.json(&self.url, &all)).await?;
        self.common.pace().await;
        Ok(())
    }
}
