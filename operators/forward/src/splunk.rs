//! Splunk's HTTP Event Collector, with acknowledgements. Contract:
//! <https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector> and
//! <https://docs.splunk.com/Documentation/Splunk/latest/Data/AboutHECIDXAck>: events are JSON objects one behind the
//! other; the answer names an `ackId`, which `/services/collector/ack` says is indexed, or not yet.

use crate::config::{Common, ConfigError, Secret, url};
use crate::http::{Http, dead, retry, send};
use crate::message::{Message, row_key};
use async_trait::async_trait;
use bodkin_engine::{Channel, ChannelError, Delivery};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Deliveries that one run takes.
const RUN_MAX: usize = 16;
/// Between two questions whether events are indexed.
const ACK_INTERVAL: Duration = Duration::from_millis(200);

/// The section `splunk_hec`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplunkSection {
    /// `https://host:8088`
    url: String,
    token: Secret,
    /// Wait until the events are indexed.
    #[serde(default)]
    acks: bool,
    index: Option<String>,
    #[serde(default = "source_type")]
    sourcetype: String,
}

fn source_type() -> String {
    "_json".to_owned()
}

#[derive(Debug)]
pub(crate) struct Splunk {
    common: Common,
    http: Http,
    url: String,
    token: Secret,
    has_acks: bool,
    index: Option<String>,
    source_type: String,
    /// Acknowledgements are counted per channel: a GUID.
    channel: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
}

#[derive(Deserialize)]
struct Acks {
    #[serde(default)]
    acks: std::collections::BTreeMap<String, bool>,
}

impl Splunk {
    pub(crate) fn new(common: Common, section: &SplunkSection, http: Http) -> Result<Self, ConfigError> {
        let hash = xxhash_rust::xxh3::xxh3_128(common.name.as_bytes());
        let hex = format!("{hash:032x}");
        let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
        let channel = [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-");
        Ok(Self {
            common,
            http,
            url: url("url", &section.url)?.as_str().trim_end_matches('/').to_owned(),
            token: Secret::Text(section.token.read("token")?),
            has_acks: section.acks,
            index: section.index.clone(),
            source_type: section.sourcetype.clone(),
            channel,
        })
    }

    /// An event; the indexed field `idempotency_key` is the same where it comes again.
    fn event(&self, row: Map<String, Value>, key: String) -> Value {
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let time = text("ts").and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let mut event = json!({"source": "bodkin", "sourcetype": self.source_type, "fields": {"idempotency_key": key}});
        if let Some(time) = time {
            event["time"] = (time.as_microsecond() as f64 / 1e6).into();
        }
        if let Some(host) = text("host") {
            event["host"] = host.into();
        }
        if let Some(index) = &self.index {
            event["index"] = index.clone().into();
        }
        event["event"] = Value::Object(row);
        event
    }

    fn request(&self, path: &str) -> Result<reqwest::RequestBuilder, ChannelError> {
        let token = self.token.read("token").map_err(dead)?;
        let request = self.http.post(&format!("{}/services/collector{path}", self.url));
        Ok(request.header("authorization", format!("Splunk {token}")).header("x-splunk-request-channel", &self.channel))
    }

    async fn indexed(&self, id: u64) -> Result<(), ChannelError> {
        let asking = async {
            loop {
                let request = self.request(&format!("/ack?channel={}", self.channel))?;
                let answer =
                    send(request.header("content-type", "application/json").body(json!({"acks": [id]}).to_string()))
                        .await?;
                let acks: Acks = serde_json::from_str(&answer).map_err(retry)?;
                if acks.acks.get(&id.to_string()) == Some(&true) {
                    return Ok(());
                }
                tokio::time::sleep(ACK_INTERVAL).await;
            }
        };
        let wait = self.common.timeout * 6;
        tokio::time::timeout(wait, asking).await.unwrap_or_else(|_| Err(retry("events are not indexed in time")))
    }
}

#[async_trait]
impl Channel for Splunk {
    fn name(&self) -> &str {
        &self.common.name
    }

    fn run_max(&self) -> usize {
        RUN_MAX
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        let mut body = String::new();
        for delivery in run {
            let rows = Message::parse(&delivery.body).map_err(dead)?.into_rows();
            for (at, row) in rows.into_iter().enumerate() {
                body.push_str(&self.event(row, row_key(delivery, at)).to_string());
                body.push('\n');
            }
        }
        let answer = send(self.request("/event")?.body(body)).await?;
        if self.has_acks {
            let answer: Answer = serde_json::from_str(&answer).map_err(retry)?;
            let id = answer
                .ack_id
                .ok_or_else(|| retry("the answer has no ackId: are acknowledgements on for the token?"))?;
            self.indexed(id).await?;
        }
        self.common.pace().await;
        Ok(())
    }
}
