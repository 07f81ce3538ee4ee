//! What a source of Kafka is told.

use rdkafka::ClientConfig;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// Where a partition starts that nobody has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// With the oldest message.
    #[default]
    Earliest,
    /// With what comes next.
    Latest,
}

/// Brokers, topics, group. `Debug` shows no values of properties: passwords are among them.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaOptions {
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// Topics to read.
    pub topics: Vec<String>,
    /// Consumer group: its members share the partitions.
    #[serde(default = "default_group")]
    pub group: String,
    /// Where a partition starts that nobody has read.
    #[serde(default)]
    pub from: From,
    /// Properties of librdkafka, such as `security.protocol`.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

fn default_group() -> String {
    "bodkin".to_owned()
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("group", &self.group)
            .field("from", &self.from)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

impl KafkaOptions {
    /// The client's configuration. Offsets are ours to keep and memory ours to bound, so a property cannot change that.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "bodkin").set("partition.assignment.strategy", "cooperative-sticky");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        let reset = match self.from {
            From::Earliest => "earliest",
            From::Latest => "latest",
        };
        config
            .set("bootstrap.servers", self.brokers.join(","))
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", reset)
            .set("queued.max.messages.kbytes", "32768");
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown_and_offsets_stay_ours() {
        let properties = [("sasl.password", "hunter2"), ("enable.auto.commit", "true")];
        let options = KafkaOptions {
            brokers: vec!["a:1".into(), "b:2".into()],
            topics: vec!["t".into()],
            group: "g".into(),
            from: From::Latest,
            properties: properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        assert!(!format!("{options:?}").contains("hunter2"));
        let client = options.client();
        assert_eq!(client.get("enable.auto.commit"), Some("false"));
        assert_eq!(client.get("sasl.password"), Some("hunter2"));
        assert_eq!(client.get("bootstrap.servers"), Some("a:1,b:2"));
    }
}
