//! What is delivered: alerts or rows.

use bodkin_engine::Delivery;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The body of a delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// A group of alerts that changed.
    Notification(Notification),
    /// Rows of a stream, one object each.
    Rows(Vec<Map<String, Value>>),
}

/// Whether an alert, or any alert of a group, fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The condition holds.
    Firing,
    /// It no longer does.
    Resolved,
}

impl Status {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// A group of alerts, in the shape that Alertmanager sends to webhooks (version 4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Always `4`.
    pub version: String,
    /// Identity of the group.
    pub group_key: String,
    /// Firing while any alert of the group is.
    pub status: Status,
    /// The channel.
    pub receiver: String,
    /// What the group has in common by configuration.
    pub group_labels: BTreeMap<String, String>,
    /// Labels that all its alerts have.
    pub common_labels: BTreeMap<String, String>,
    /// Annotations that all its alerts have.
    pub common_annotations: BTreeMap<String, String>,
    /// Where to look.
    #[serde(rename = "externalURL")]
    pub external_url: String,
    /// Alerts that were left out because there are too many.
    #[serde(default)]
    pub truncated_alerts: u64,
    /// The alerts.
    pub alerts: Vec<Alert>,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Whether it fires.
    pub status: Status,
    /// Labels, `alertname` and `severity` among them.
    pub labels: BTreeMap<String, String>,
    /// Texts for people.
    pub annotations: BTreeMap<String, String>,
    /// RFC 3339.
    pub starts_at: String,
    /// RFC 3339; the year 1 while it fires.
    pub ends_at: String,
    /// Where it comes from.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// Identity of the alert.
    pub fingerprint: String,
}

/// Name of the rule among the labels.
pub const ALERTNAME: &str = "alertname";
/// The time that stands for "not yet" in Alertmanager's shapes.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

impl Message {
    /// Reads the body of a delivery.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(body: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(body)
    }

    /// How many alerts or rows it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Notification(notification) => notification.alerts.len(),
            Self::Rows(rows) => rows.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it is about, in a line.
    pub fn title(&self) -> String {
        match self {
            Self::Notification(notification) => notification.title(),
            Self::Rows(rows) => match rows.as_slice() {
                [row] => text_of(row),
                rows => format!("{} rows", rows.len()),
            },
        }
    }

    /// Its alerts as rows: labels, annotations and state of each; or its rows as they are.
    pub fn into_rows(self) -> Vec<Map<String, Value>> {
        match self {
            Self::Rows(rows) => rows,
            Self::Notification(notification) => notification.alerts.into_iter().map(Alert::into_row).collect(),
        }
    }
}

impl Notification {
    /// `[FIRING:2] DiskFull (host="a")`
    pub fn title(&self) -> String {
        let firing = self.alerts.iter().filter(|alert| alert.status == Status::Firing).count();
        let state = match self.status {
            Status::Firing => format!("[FIRING:{firing}]"),
            Status::Resolved => "[RESOLVED]".to_owned(),
        };
        let name = self.common_labels.get(ALERTNAME).map_or("alerts", String::as_str);
        let others = self.common_labels.iter().filter(|(label, _)| *label != ALERTNAME);
        let others: Vec<String> = others.map(|(label, value)| format!("{label}={value:?}")).collect();
        match others.is_empty() {
            true => format!("{state} {name}"),
            false => format!("{state} {name} ({})", others.join(" ")),
        }
    }

    /// The severity that its alerts share, or that of the first.
    pub fn severity(&self) -> &str {
        let of_first = || self.alerts.first().and_then(|alert| alert.labels.get("severity"));
        self.common_labels.get("severity").or_else(of_first).map_or("", String::as_str)
    }
}

impl Alert {
    /// What a person should read first.
    pub fn summary(&self) -> &str {
        let texts = ["summary", "description", "message"].iter().find_map(|name| self.annotations.get(*name));
        texts.or_else(|| self.labels.get(ALERTNAME)).map_or("", String::as_str)
    }

    fn into_row(self) -> Map<String, Value> {
        let mut row = Map::new();
        row.insert("ts".to_owned(), Value::String(self.starts_at));
        row.insert("status".to_owned(), Value::String(self.status.name().to_owned()));
        row.insert("key".to_owned(), Value::String(self.fingerprint));
        for (name, value) in self.annotations.into_iter().chain(self.labels) {
            row.insert(name, Value::String(value));
        }
        row
    }
}

/// The text of a row: its `output` or `message` where it has one, else all of it.
pub(crate) fn text_of(row: &Map<String, Value>) -> String {
    let known = ["output", "message", "summary", "text"].iter().find_map(|name| row.get(*name)?.as_str());
    known.map_or_else(|| Value::Object(row.clone()).to_string(), str::to_owned)
}

/// Identity of a row of a delivery, the same at every attempt: what the receiver can tell a row by that comes again.
pub(crate) fn row_key(delivery: &Delivery, number: usize) -> String {
    format!("{}-{number}", delivery.key)
}

/// A value as plain text: a string without quotes, nothing for null.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A group of one alert that fires.
    pub(crate) fn notification(status: Status) -> Notification {
        let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let labels: BTreeMap<String, String> =
            text(&[("alertname", "DiskFull"), ("host", "a"), ("severity", "critical")]);
        Notification {
            version: "4".to_owned(),
            group_key: "{}:{alertname=\"DiskFull\"}".to_owned(),
            status,
            receiver: "ops".to_owned(),
            group_labels: text(&[("alertname", "DiskFull")]),
            common_labels: labels.clone(),
            common_annotations: BTreeMap::new(),
            external_url: "http://127.0.0.1:9470".to_owned(),
            truncated_alerts: 0,
            alerts: vec![Alert {
                status,
                labels,
                annotations: text(&[("summary", "disk of a is full")]),
                starts_at: "2026-01-01T00:00:00Z".to_owned(),
                ends_at: NEVER.to_owned(),
                generator_url: String::new(),
                fingerprint: "17".to_owned(),
            }],
        }
    }

    #[test]
    fn the_shape_is_alertmanagers() {
        let value = serde_json::to_value(notification(Status::Firing)).unwrap();
        for key in [
            "version",
            "groupKey",
            "status",
            "receiver",
            "groupLabels",
            "commonLabels",
            "commonAnnotations",
            "externalURL",
            "truncatedAlerts",
            "alerts",
        ] {
            assert!(value.get(key).is_some(), "{key}");
        }
        assert_eq!(value["alerts"][0]["startsAt"], "2026-01-01T00:00:00Z");
        assert_eq!(value["alerts"][0]["generatorURL"], "");
        let message = Message::Notification(notification(Status::Firing));
        assert_eq!(message.title(), "[FIRING:1] DiskFull (host=\"a\" severity=\"critical\")");
        assert_eq!(Message::parse(&serde_json::to_string(&message).unwrap()).unwrap(), message);
    }
}
