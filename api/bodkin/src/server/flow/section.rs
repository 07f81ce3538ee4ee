//! The sections `channels`, `forward` and `alerts`.

use anyhow::{Context, anyhow, bail};
use bodkin_alert::AlertsConfig;
use bodkin_engine::Channel;
use bodkin_forward::ChannelConfig;
use bodkin_schema::Clock;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What of a configuration is about alerts and what leaves the system.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlowConfig {
    pub(crate) channels: BTreeMap<String, ChannelConfig>,
    pub(crate) forward: BTreeMap<String, ForwardSection>,
    pub(crate) alerts: AlertsConfig,
}

/// Rows of a node to a channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardSection {
    /// Streams and operators.
    pub(crate) inputs: Vec<String>,
    /// A condition.
    #[serde(default)]
    pub(crate) filter: Option<String>,
    /// SELECT ... FROM input: the columns that are sent.
    #[serde(default)]
    pub(crate) sql: Option<String>,
    /// The channel.
    pub(crate) to: String,
}

impl FlowConfig {
    /// Checks everything that needs no columns.
    ///
    /// # Errors
    /// What is wrong, with its key.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (name, channel) in &self.channels {
            is_name(name).with_context(|| format!("channels.{name}"))?;
            channel.kind().with_context(|| format!("channels.{name}"))?;
        }
        let channels: Vec<&str> = self.channels.keys().map(String::as_str).collect();
        for (name, forward) in &self.forward {
            if !self.channels.contains_key(&forward.to) {
                bail!("forward.{name}.to: there is no channel {:?}; there are: {}", forward.to, channels.join(", "));
            }
            is_name(name).with_context(|| format!("forward.{name}"))?;
        }
        self.alerts.check(&channels).map_err(|error| anyhow!(error))
    }

    pub(super) fn channels(&self, clock: &Arc<dyn Clock>) -> anyhow::Result<Vec<Arc<dyn Channel>>> {
        let channel = |(name, config): (&String, &ChannelConfig)| {
            config.channel(name, clock).with_context(|| format!("channels.{name}"))
        };
        self.channels.iter().map(channel).collect()
    }
}

fn is_name(name: &str) -> anyhow::Result<()> {
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) {
        bail!("a name has letters, digits, _ and - only");
    }
    Ok(())
}
