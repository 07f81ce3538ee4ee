//! A channel as it stands in the configuration.

use crate::alertmanager::{Alertmanager, AlertmanagerSection};
use crate::chat::{Slack, SlackSection};
use crate::elasticsearch::{Elasticsearch, ElasticsearchSection};
use crate::files::{S3Files, S3Section};
use crate::http::Http;
use crate::kafka::{self, KafkaSection};
use crate::mail::{Email, EmailSection};
use crate::otlp::{Otlp, OtlpSection};
use crate::page::{PagerDuty, PagerDutySection};
use crate::splunk::{Splunk, SplunkSection};
use crate::syslog::{Syslog, SyslogSection};
use crate::teams::{Teams, TeamsSection};
use crate::webhook::{Webhook, WebhookSection};
use bodkin_engine::Channel;
use bodkin_schema::Clock;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is wrong with a channel's configuration.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct ConfigError {
    /// The key in the channel's section.
    pub key: &'static str,
    /// Why.
    pub reason: String,
}

impl ConfigError {
    pub(crate) fn new(key: &'static str, reason: impl fmt::Display) -> Self {
        Self { key, reason: reason.to_string() }
    }
}

/// A text that must not be shown: itself, or the file that holds it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Secret {
    /// The text.
    Text(String),
    /// A file whose first line it is.
    File {
        /// The file.
        file: PathBuf,
    },
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Secret"),
            Self::File { file } => write!(f, "Secret({})", file.display()),
        }
    }
}

impl Secret {
    /// The text.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read(&self, key: &'static str) -> Result<String, ConfigError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File { file } => match std::fs::read_to_string(file) {
                Ok(text) => Ok(text.lines().next().unwrap_or_default().trim().to_owned()),
                Err(error) => Err(ConfigError::new(key, format!("{}: {error}", file.display()))),
            },
        }
    }
}

/// A channel: one of its kinds, and what all kinds have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelConfig {
    webhook: Option<WebhookSection>,
    slack: Option<SlackSection>,
    teams: Option<TeamsSection>,
    pagerduty: Option<PagerDutySection>,
    email: Option<EmailSection>,
    alertmanager: Option<AlertmanagerSection>,
    syslog: Option<SyslogSection>,
    splunk_hec: Option<SplunkSection>,
    otlp: Option<OtlpSection>,
    elasticsearch: Option<ElasticsearchSection>,
    s3: Option<S3Section>,
    kafka: Option<KafkaSection>,
    /// Deliveries per second, at most.
    rate: Option<f64>,
    /// Seconds that one attempt may take.
    timeout_s: Option<u64>,
}

/// Seconds that an attempt may take unless told otherwise.
const TIMEOUT_S: u64 = 10;

impl ChannelConfig {
    /// Which kind it is.
    ///
    /// # Errors
    /// Where it is none or several.
    pub fn kind(&self) -> Result<&'static str, ConfigError> {
        let kinds = [
            ("webhook", self.webhook.is_some()),
            ("slack", self.slack.is_some()),
            ("teams", self.teams.is_some()),
            ("pagerduty", self.pagerduty.is_some()),
            ("email", self.email.is_some()),
            ("alertmanager", self.alertmanager.is_some()),
            ("syslog", self.syslog.is_some()),
            ("splunk_hec", self.splunk_hec.is_some()),
            ("otlp", self.otlp.is_some()),
            ("elasticsearch", self.elasticsearch.is_some()),
            ("s3", self.s3.is_some()),
            ("kafka", self.kafka.is_some()),
        ];
        let mut given = kinds.iter().filter(|(_, is_given)| *is_given);
        match (given.next(), given.next()) {
            (Some((kind, _)), None) => Ok(kind),
            _ => {
                Err(ConfigError::new("channel", format!("has exactly one of {}", kinds.map(|kind| kind.0).join(", "))))
            }
        }
    }

    /// The channel called `name`.
    ///
    /// # Errors
    /// What is wrong, with its key.
    pub fn channel(&self, name: &str, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Channel>, ConfigError> {
        self.kind()?;
        let timeout = Duration::from_secs(self.timeout_s.unwrap_or(TIMEOUT_S).max(1));
        let pause = match self.rate {
            Some(rate) if rate > 0.0 => Some(Duration::from_secs_f64(1.0 / rate)),
            Some(_) => return Err(ConfigError::new("rate", "is deliveries per second, more than none")),
            None => None,
        };
        let common = Common { name: name.to_owned(), timeout, pause, clock: clock.clone() };
        let http = || Http::new(timeout);
        let channel: Arc<dyn Channel> = match self {
            Self { webhook: Some(section), .. } => Arc::new(Webhook::new(common, section, http()?)?),
            Self { slack: Some(section), .. } => Arc::new(Slack::new(common, section, http()?)?),
            Self { teams: Some(section), .. } => Arc::new(Teams::new(common, section, http()?)?),
            Self { pagerduty: Some(section), .. } => Arc::new(PagerDuty::new(common, section, http()?)?),
            Self { email: Some(section), .. } => Arc::new(Email::new(common, section)?),
            Self { alertmanager: Some(section), .. } => Arc::new(Alertmanager::new(common, section, http()?)?),
            Self { syslog: Some(section), .. } => Arc::new(Syslog::new(common, section)?),
            Self { splunk_hec: Some(section), .. } => Arc::new(Splunk::new(common, section, http()?)?),
            Self { otlp: Some(section), .. } => Arc::new(Otlp::new(common, section, http()?)?),
            Self { elasticsearch: Some(section), .. } => Arc::new(Elasticsearch::new(common, section, http()?)?),
            Self { s3: Some(section), .. } => Arc::new(S3Files::new(common, section)?),
            Self { kafka: Some(section), .. } => kafka::channel(common, section)?,
            _ => return Err(ConfigError::new("channel", "has no kind")),
        };
        Ok(channel)
    }
}

/// What all channels have.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) name: String,
    pub(crate) timeout: Duration,
    /// Between two deliveries.
    pub(crate) pause: Option<Duration>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Common {
    /// Waits as long as the configured rate asks for.
    pub(crate) async fn pace(&self) {
        if let Some(pause) = self.pause {
            tokio::time::sleep(pause).await;
        }
    }
}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Common").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A URL of the configuration.
pub(crate) fn url(key: &'static str, text: &str) -> Result<url::Url, ConfigError> {
    let url = url::Url::parse(text).map_err(|error| ConfigError::new(key, format!("{text:?}: {error}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(ConfigError::new(key, format!("{text:?}: {other} is neither http nor https"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bodkin_schema::SystemClock;

    fn config(text: &str) -> Result<Arc<dyn Channel>, String> {
        let config: ChannelConfig = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        config.channel("c", &clock).map_err(|error| error.to_string())
    }

    #[test]
    fn errors_name_the_key() {
        for (text, what) in [
            ("{}", "exactly one of"),
            (r#"{"webhook": {"url": "http://a"}, "slack": {"url": "http://a"}}"#, "exactly one of"),
            (r#"{"webhook": {"url": "ftp://a"}}"#, "url: "),
            (r#"{"webhook": {"url": "http://a", "secret": {"file": "/none"}}}"#, "secret: /none"),
            (r#"{"webhook": {"url": "http://a", "template": "{{ nothing"}}"#, "template: "),
            (r#"{"webhook": {"url": "http://a"}, "rate": 0}"#, "rate: "),
            (r#"{"webhook": {"uri": "http://a"}}"#, "uri"),
            (r#"{"elasticsearch": {"url": "http://a", "index": "i", "user": "u"}}"#, "api_key: "),
            (r#"{"syslog": {"address": "host:514"}}"#, "address: "),
            (r#"{"syslog": {"address": "tcp://h:1", "format": "xml"}}"#, "xml"),
        ] {
            let error = config(text).err().unwrap();
            assert!(error.contains(what), "{text}: {error}");
        }
        assert_eq!(config(r#"{"slack": {"url": "http://a"}}"#).ok().unwrap().name(), "c");
    }

    #[test]
    fn secrets_are_not_shown() {
        let config: ChannelConfig = serde_json::from_str(r#"{"pagerduty": {"routing_key": "very secret"}}"#).unwrap();
        assert!(!format!("{config:?}").contains("very"));
    }
}
