//! Slack. Contract: <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>: a JSON object with
//! `text` and `attachments` is posted to a secret URL; 200 is `ok`, 429 names its Retry-After.

use crate::config::{Common, ConfigError, Secret};
use crate::http::{Http, dead, send};
use crate::message::{Message, Status, text_of};
use crate::template::Template;
use async_trait::async_trait;
use bodkin_engine::{Channel, ChannelError, Delivery};
use serde::Deserialize;
use serde_json::{Value, json};

/// Rows or alerts of one message; a chat is no archive.
const LINES_MAX: usize = 20;
/// Characters of one message that Slack takes.
const TEXT_BYTES_MAX: usize = 3000;

/// The section `slack`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlackSection {
    url: Secret,
    /// The text in place of ours.
    template: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Slack {
    common: Common,
    http: Http,
    url: String,
    template: Option<Template>,
}

impl Slack {
    pub(crate) fn new(common: Common, section: &SlackSection, http: Http) -> Result<Self, ConfigError> {
        let url = crate::config::url("url", &section.url.read("url")?)?.into();
        let template = section.template.as_ref().map(|text| Template::new("template", text)).transpose()?;
        Ok(Self { common, http, url, template })
    }

    fn body(&self, delivery: &Delivery) -> Result<Value, ChannelError> {
        let message = Message::parse(&delivery.body).map_err(dead)?;
        if let Some(template) = &self.template {
            return Ok(json!({"text": cut(&template.render(&delivery.key, &message)?)}));
        }
        let (color, lines) = match &message {
            Message::Notification(notification) => {
                let color = match (notification.status, notification.severity()) {
                    (Status::Resolved, _) => "good",
                    (_, "warning" | "info") => "warning",
                    _ => "danger",
                };
                let line = |alert: &crate::Alert| format!("{} {}", alert.status.name(), alert.summary());
                (color, notification.alerts.iter().map(line).collect::<Vec<_>>())
            }
            Message::Rows(rows) => ("#808080", rows.iter().map(text_of).collect()),
        };
        let more = lines.len().saturating_sub(LINES_MAX);
        let mut text = lines.iter().take(LINES_MAX).map(|line| escaped(line)).collect::<Vec<_>>().join("\n");
        if more > 0 {
            text.push_str(&format!("\n... and {more} more"));
        }
        let title = escaped(&message.title());
        Ok(json!({"text": cut(&title), "attachments": [{"color": color, "text": cut(&text), "fallback": cut(&title)}]}))
    }
}

/// The three characters that Slack reads as its own.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default()
}

#[async_trait]
impl Channel for Slack {
    fn name(&self) -> &str {
        &self.common.name
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        for delivery in run {
            send(self.http.json(&self.url, &self.body(delivery)?)).await?;
            self.common.pace().await;
        }
        Ok(())
    }
}
