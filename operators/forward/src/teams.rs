//! Microsoft Teams. Contract: a webhook of a workflow,
//! <https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using> and
//! <https://adaptivecards.io/explorer/>: a message with one adaptive card is posted to a secret URL; 202 takes it, 429 wants
//! it again, 28 KB are what a message may have. Texts are runs of a `RichTextBlock`, which has no markup: what an event
//! says is shown as it is, and makes no links.

use crate::chat::{Mood, lines};
use crate::config::{Common, ConfigError, Secret};
use crate::http::{Http, dead, send};
use crate::message::Message;
use crate::template::Template;
use async_trait::async_trait;
use bodkin_engine::{Channel, ChannelError, Delivery};
use serde::Deserialize;
use serde_json::{Value, json};

/// Bytes of one line.
const LINE_BYTES_MAX: usize = 1000;
/// Lines of a text that a template made.
const LINES_MAX: usize = 100;
/// Bytes of a message.
const BYTES_MAX: usize = 28_000;

/// The section `teams`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TeamsSection {
    url: Secret,
    /// The text in place of ours.
    template: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Teams {
    common: Common,
    http: Http,
    url: Secret,
    template: Option<Template>,
}

impl Teams {
    pub(crate) fn new(common: Common, section: &TeamsSection, http: Http) -> Result<Self, ConfigError> {
        let url = crate::config::url("url", &section.url.read("url")?)?;
        let template = section.template.as_ref().map(|text| Template::new("template", text)).transpose()?;
        Ok(Self { common, http, url: Secret::Text(url.into()), template })
    }

    fn body(&self, delivery: &Delivery) -> Result<Value, ChannelError> {
        let message = Message::parse(&delivery.body).map_err(dead)?;
        if let Some(template) = &self.template {
            let text = template.render(&delivery.key, &message)?;
            return Ok(card(text.lines().take(LINES_MAX).map(|line| block(line, "default")).collect()));
        }
        let color = match Mood::of(&message) {
            Mood::Good => "good",
            Mood::Warning => "warning",
            Mood::Bad => "attention",
            Mood::None => "default",
        };
        let mut blocks = vec![block(&message.title(), color)];
        blocks[0]["inlines"][0]["weight"] = "bolder".into();
        blocks.extend(lines(&message).iter().map(|line| block(line, "default")));
        Ok(card(blocks))
    }
}

/// A line of a card.
fn block(text: &str, color: &str) -> Value {
    let text = text.get(..text.floor_char_boundary(LINE_BYTES_MAX)).unwrap_or_default();
    json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, "color": color}]})
}

/// A message with a card of as many lines as it may have.
fn card(mut blocks: Vec<Value>) -> Value {
    let mut made = message(&blocks);
    while made.to_string().len() > BYTES_MAX && blocks.pop().is_some() {
        made = message(&blocks);
    }
    made
}

fn message(blocks: &[Value]) -> Value {
    json!({"type": "message", "attachments": [{
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": null,
        "content": {"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
            "msteams": {"width": "Full"}, "body": blocks},
    }]})
}

#[async_trait]
impl Channel for Teams {
    fn name(&self) -> &str {
        &self.common.name
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        let url = self.url.read("url").map_err(dead)?;
        for delivery in run {
            send(self.http.json(&url, &self.body(delivery)?)).await?;
            self.common.pace().await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_no_larger_than_a_message_may_be() {
        let line = "\u{1}".repeat(LINE_BYTES_MAX);
        let made = card((0..100).map(|_| block(&line, "default")).collect());
        assert!(made.to_string().len() <= BYTES_MAX);
        assert_eq!(made["attachments"][0]["content"]["body"][0]["inlines"][0]["text"], line);
    }
}
