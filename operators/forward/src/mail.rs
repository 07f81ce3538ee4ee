//! Mail over SMTP: plain, STARTTLS, or TLS from the first byte.

use crate::config::{Common, ConfigError, Secret};
use crate::http::{dead, retry};
use crate::message::{Message, text_of};
use crate::template::Template;
use async_trait::async_trait;
use bodkin_engine::{Channel, ChannelError, Delivery};
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{SmtpTransport, Transport};
use serde::Deserialize;

/// Rows that a mail quotes.
const ROWS_MAX: usize = 200;

/// The section `email`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmailSection {
    /// `smtp://host:25`, `smtp://host:587?tls=required` (STARTTLS), `smtps://host`.
    smtp: String,
    from: String,
    to: Vec<String>,
    user: Option<String>,
    password: Option<Secret>,
    /// The subject in place of ours.
    subject: Option<String>,
    /// The text in place of ours.
    template: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Email {
    common: Common,
    transport: SmtpTransport,
    from: Mailbox,
    to: Vec<Mailbox>,
    subject: Option<Template>,
    template: Option<Template>,
}

impl Email {
    pub(crate) fn new(common: Common, section: &EmailSection) -> Result<Self, ConfigError> {
        let transport = SmtpTransport::from_url(&section.smtp);
        let mut transport = transport.map_err(|error| ConfigError::new("smtp", error))?.timeout(Some(common.timeout));
        if let (Some(user), Some(password)) = (&section.user, &section.password) {
            transport = transport.credentials(Credentials::new(user.clone(), password.read("password")?));
        }
        let mailbox = |key: &'static str, text: &str| {
            text.parse::<Mailbox>().map_err(|error| ConfigError::new(key, format!("{text:?}: {error}")))
        };
        let to = section.to.iter().map(|text| mailbox("to", text)).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(ConfigError::new("to", "names nobody"));
        }
        let template =
            |key: &'static str, text: &Option<String>| text.as_ref().map(|text| Template::new(key, text)).transpose();
        Ok(Self {
            common,
            transport: transport.build(),
            from: mailbox("from", &section.from)?,
            to,
            subject: template("subject", &section.subject)?,
            template: template("template", &section.template)?,
        })
    }

    fn mail(&self, delivery: &Delivery) -> Result<lettre::Message, ChannelError> {
        let message = Message::parse(&delivery.body).map_err(dead)?;
        let subject = match &self.subject {
            Some(template) => template.render(&delivery.key, &message)?,
            None => message.title(),
        };
        let text = match &self.template {
            Some(template) => template.render(&delivery.key, &message)?,
            None => text(&message),
        };
        // The same for every attempt: a mail that comes twice can be told.
        let atom = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let id = format!("<{}@{}.bodkin>", atom(&delivery.key), atom(&self.common.name));
        let mut builder = lettre::Message::builder().from(self.from.clone()).message_id(Some(id));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        // A header is one line.
        let subject = subject.replace(['\r', '\n'], " ");
        builder.subject(subject).header(ContentType::TEXT_PLAIN).body(text).map_err(dead)
    }
}

fn text(message: &Message) -> String {
    match message {
        Message::Notification(notification) => {
            let mut text = format!("{}\n", notification.title());
            for alert in &notification.alerts {
                text.push_str(&format!("\n{} since {}: {}\n", alert.status.name(), alert.starts_at, alert.summary()));
                for (name, value) in &alert.labels {
                    text.push_str(&format!("  {name} = {value}\n"));
                }
            }
            if !notification.external_url.is_empty() {
                text.push_str(&format!("\n{}\n", notification.external_url));
            }
            text
        }
        Message::Rows(rows) => {
            let mut lines: Vec<String> = rows.iter().take(ROWS_MAX).map(text_of).collect();
            if rows.len() > ROWS_MAX {
                lines.push(format!("... and {} more", rows.len() - ROWS_MAX));
            }
            lines.join("\n")
        }
    }
}

#[async_trait]
impl Channel for Email {
    fn name(&self) -> &str {
        &self.common.name
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        for delivery in run {
            let (mail, transport) = (self.mail(delivery)?, self.transport.clone());
            let sent = tokio::task::spawn_blocking(move || transport.send(&mail)).await.map_err(retry)?;
            sent.map_err(|error| if error.is_permanent() { dead(&error) } else { retry(cause(&error)) })?;
            self.common.pace().await;
        }
        Ok(())
    }
}

fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
