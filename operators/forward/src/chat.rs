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
        let color = match Mood::of(&message) {
            Mood::Good => "good",
            Mood::Warning => "warning",
            Mood::Bad => "danger",
            Mood::None => "#808080",
        };
        let text = lines(&message).iter().map(|line| escaped(line)).collect::<Vec<_>>().join("\n");
        let title = escaped(&message.title());
        Ok(json!({"text": cut(&title), "attachments": [{"color": color, "text": cut(&text), "fallback": cut(&title)}]}))
    }
}

/// What a message is to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Warning,
    Bad,
    None,
}

impl Mood {
    pub(crate) fn of(message: &Message) -> Self {
        let Message::Notification(notification) = message else { return Self::None };
        match (notification.status, notification.severity()) {
            (Status::Resolved, _) => Self::Good,
            (_, "warning" | "info") => Self::Warning,
            _ => Self::Bad,
        }
    }
}

/// A line for each alert or row, as far as a chat wants them.
pub(crate) fn lines(message: &Message) -> Vec<String> {
    let alert = |alert: &crate::Alert| format!("{} {}", alert.status.name(), alert.summary());
    let mut lines: Vec<String> = match message {
        Message::Notification(notification) => notification.alerts.iter().take(LINES_MAX).map(alert).collect(),
        Message::Rows(rows) => rows.iter().take(LINES_MAX).map(text_of).collect(),
    };
    let more = message.len().saturating_sub(lines.len());
    if more > 0 {
        lines.push(format!("... and {more} more"));
    }
    lines
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
