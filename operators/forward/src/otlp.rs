//! OTLP logs over HTTP as JSON. Contract: <https://opentelemetry.io/docs/specs/otlp/> (OTLP/HTTP, JSON encoding) and
//! `opentelemetry/proto/logs/v1/logs.proto`: 64-bit numbers are texts, keys are lowerCamelCase; 429, 502, 503 and 504
//! want the request again.

use crate::config::{Common, ConfigError, url};
use crate::http::{Http, dead, send};
use crate::message::{Message, row_key, text_of};
use async_trait::async_trait;
use bodkin_engine::{Channel, ChannelError, Delivery};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Deliveries that one run takes.
const RUN_MAX: usize = 16;

/// The section `otlp`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OtlpSection {
    /// `http://host:4318`; `/v1/logs` is added.
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(crate) struct Otlp {
    common: Common,
    http: Http,
    url: String,
    headers: BTreeMap<String, String>,
}

impl Otlp {
    pub(crate) fn new(common: Common, section: &OtlpSection, http: Http) -> Result<Self, ConfigError> {
        let url = format!("{}/v1/logs", url("url", &section.url)?.as_str().trim_end_matches('/'));
        Ok(Self { common, http, url, headers: section.headers.clone() })
    }
}

/// The attribute that says which record it is: those with the same one are duplicates. Contract:
/// <https://opentelemetry.io/docs/specs/semconv/general/logs/>
const UID: &str = "log.record.uid";

/// A request of one resource and scope.
fn request(records: Vec<Value>) -> Value {
    json!({"resourceLogs": [{
        "resource": {"attributes": [attribute("service.name", &"bodkin".into())]},
        "scopeLogs": [{"scope": {"name": "bodkin", "version": env!("CARGO_PKG_VERSION")}, "logRecords": records}],
    }]})
}

fn record(row: &Map<String, Value>, key: String) -> Value {
    let time = row.get("ts").and_then(Value::as_str).and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let severity = ["severity", "priority"].iter().find_map(|name| row.get(*name)?.as_str()).unwrap_or_default();
    let number = match severity.to_ascii_lowercase().as_str() {
        "emergency" => 24,
        "alert" => 22,
        "critical" | "page" => 21,
        "error" | "high" => 17,
        "warning" | "medium" => 13,
        "notice" => 10,
        "debug" => 5,
        _ => 9,
    };
    let columns = row.iter().filter(|(name, value)| !value.is_null() && *name != UID);
    let mut attributes: Vec<Value> = columns.map(|(name, value)| attribute(name, value)).collect();
    attributes.push(attribute(UID, &key.into()));
    let mut record = json!({"severityNumber": number, "body": {"stringValue": text_of(row)}, "attributes": attributes});
    if !severity.is_empty() {
        record["severityText"] = severity.into();
    }
    if let Some(time) = time {
        record["timeUnixNano"] = time.as_nanosecond().to_string().into();
    }
    record
}

fn attribute(name: &str, value: &Value) -> Value {
    json!({"key": name, "value": any(value)})
}

fn any(value: &Value) -> Value {
    match value {
        Value::String(text) => json!({"stringValue": text}),
        Value::Bool(is) => json!({"boolValue": is}),
        Value::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::Array(items) => json!({"arrayValue": {"values": items.iter().map(any).collect::<Vec<_>>()}}),
        Value::Object(map) => {
            let values: Vec<Value> = map.iter().map(|(name, value)| attribute(name, value)).collect();
            json!({"kvlistValue": {"values": values}})
        }
        Value::Null => json!({}),
    }
}

#[async_trait]
impl Channel for Otlp {
    fn name(&self) -> &str {
        &self.common.name
    }

    fn run_max(&self) -> usize {
        RUN_MAX
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        let mut records = Vec::new();
        for delivery in run {
            let rows = Message::parse(&delivery.body).map_err(dead)?.into_rows();
            records.extend(rows.iter().enumerate().map(|(at, row)| record(row, row_key(delivery, at))));
        }
        let mut sending = self.http.json(&self.url, &request(records));
        for (name, value) in &self.headers {
            sending = sending.header(name, value);
        }
        send(sending).await?;
        self.common.pace().await;
        Ok(())
    }
}
