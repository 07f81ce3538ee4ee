//! Webhooks, signed as Standard Webhooks says.
//!
//! Contract: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>. The header
//! `webhook-id` is the idempotency key, `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over
//! `<id>.<timestamp>.<body>`; a secret `whsec_...` is base64. Without a template the body is, for alerts, what
//! Alertmanager posts to a webhook, and for rows a JSON array.

use crate::config::{Common, ConfigError, Secret, url};
use crate::http::{Http, dead, send};
use crate::message::Message;
use crate::template::Template;
use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bodkin_engine::{Channel, ChannelError, Delivery};
use ring::hmac;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The section `webhook`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookSection {
    url: String,
    /// What requests are signed with.
    secret: Option<Secret>,
    /// A body other than the usual JSON.
    template: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Sent as `Authorization: Bearer`.
    bearer: Option<Secret>,
}

#[derive(Debug)]
pub(crate) struct Webhook {
    common: Common,
    http: Http,
    url: String,
    key: Option<hmac::Key>,
    template: Option<Template>,
    headers: BTreeMap<String, String>,
    bearer: Option<String>,
}

impl Webhook {
    pub(crate) fn new(common: Common, section: &WebhookSection, http: Http) -> Result<Self, ConfigError> {
        let secret = section.secret.as_ref().map(|secret| secret.read("secret")).transpose()?;
        let template = section.template.as_ref().map(|text| Template::new("template", text)).transpose()?;
        Ok(Self {
            common,
            http,
            url: url("url", &section.url)?.into(),
            key: secret.map(|secret| key(&secret)).transpose()?,
            template,
            headers: section.headers.clone(),
            bearer: section.bearer.as_ref().map(|secret| secret.read("bearer")).transpose()?,
        })
    }
}

fn key(secret: &str) -> Result<hmac::Key, ConfigError> {
    let bytes = match secret.strip_prefix("whsec_") {
        Some(encoded) => BASE64_STANDARD.decode(encoded).map_err(|error| ConfigError::new("secret", error))?,
        None => secret.as_bytes().to_vec(),
    };
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn signature(key: &hmac::Key, id: &str, seconds: i64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(tag.as_ref()))
}

#[async_trait]
impl Channel for Webhook {
    fn name(&self) -> &str {
        &self.common.name
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        for delivery in run {
            let message = Message::parse(&delivery.body).map_err(dead)?;
            let (body, content) = match &self.template {
                Some(template) => (template.render(&delivery.key, &message)?, None),
                None => (body(&message)?, Some("application/json")),
            };
            let seconds = self.common.clock.now().micros().div_euclid(1_000_000);
            let mut request = self.http.post(&self.url);
            // A template may be JSON or not: its content type is a header of the configuration.
            if let Some(content) = content.or_else(|| body.starts_with(['{', '[']).then_some("application/json")) {
                request = request.header("content-type", content);
            }
            request = request
                .header("webhook-id", &delivery.key)
                .header("idempotency-key", &delivery.key)
                .header("webhook-timestamp", seconds);
            if let Some(key) = &self.key {
                request = request.header("webhook-signature", signature(key, &delivery.key, seconds, &body));
            }
            if let Some(bearer) = &self.bearer {
                request = request.bearer_auth(bearer);
            }
            for (name, value) in &self.headers {
                request = request.header(name, value);
            }
            send(request.body(body)).await?;
            self.common.pace().await;
        }
        Ok(())
    }
}

fn body(message: &Message) -> Result<String, ChannelError> {
    let made = match message {
        Message::Notification(notification) => serde_json::to_string(notification),
        Message::Rows(rows) => serde_json::to_string(rows),
    };
    made.map_err(dead)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference implementation.
    #[test]
    fn signed_as_the_specification_says() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = r#"{"test": 2432232314}"#;
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
