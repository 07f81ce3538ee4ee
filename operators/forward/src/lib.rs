//! Channels out of the system: alerts to people and their tools, rows to a SIEM.
//!
//! A [`Channel`](bodkin_engine::Channel) of the engine's outbox takes deliveries whose body is a [`Message`]: a
//! notification of alerts, or rows of a stream. [`ForwardOperator`] makes the latter. The outbox sees to order, repeated
//! attempts and dead letters; a channel only sends once and says whether another attempt makes sense. Nothing here
//! keeps state between deliveries but connections.
//!
//! ```
//! use bodkin_forward::{ChannelConfig, Message};
//!
//! let config: ChannelConfig = serde_json::from_str(r#"{"webhook": {"url": "https://example.org/hook"}}"#)?;
//! assert_eq!(config.kind()?, "webhook");
//! let message = Message::parse(r#"{"rows": [{"rule": "Read shadow"}]}"#)?;
//! assert_eq!(message.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | [`ChannelConfig`]: a channel as it stands in the configuration |
//! | [`message`] | [`Message`], [`Notification`]: what is delivered |
//! | `operator` | [`ForwardOperator`]: rows of a stream as deliveries |
//! | `http` | one request: status, Retry-After, timeouts |
//! | `webhook`, `template` | webhooks, signed; texts with values filled in |
//! | `chat`, `teams`, `page`, `mail`, `alertmanager` | Slack, Microsoft Teams, PagerDuty, SMTP, Alertmanager |
//! | `syslog`, `format` | RFC 5424 over UDP, TCP, TLS; text, JSON, CEF, LEEF |
//! | `splunk`, `otlp`, `elasticsearch` | Splunk HEC, OTLP logs, Elasticsearch and OpenSearch |
//! | `files`, `kafka` | files in a bucket, a topic |

mod alertmanager;
mod chat;
pub mod config;
mod elasticsearch;
mod files;
mod format;
mod http;
mod kafka;
mod mail;
pub mod message;
mod operator;
mod otlp;
mod page;
mod splunk;
mod syslog;
mod teams;
mod template;
mod webhook;

pub use config::{ChannelConfig, ConfigError, Secret};
pub use message::{Alert, Message, Notification, Status};
pub use operator::{BODY_SCHEMA, ForwardOperator, deliveries};
