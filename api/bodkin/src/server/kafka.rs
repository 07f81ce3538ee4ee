//! Topics of Kafka that the configuration names.

use super::storage::Storage;
use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bodkin_kafka::{Decode, Decoded, From, JsonRows, KafkaOptions, KafkaSource};
use bodkin_rules::{Documents, Source, audit_rows};
use bodkin_schema::{Stream, Tenant};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// The section `kafka` of the configuration: sources by name. `Debug` shows no values of properties.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaSection {
    brokers: Vec<String>,
    topics: Vec<String>,
    #[serde(default = "default_group")]
    group: String,
    #[serde(default)]
    from: From,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    /// The table: `audit` by default.
    #[serde(default = "default_table")]
    into: String,
    /// What the records of `into: audit` are.
    source: Option<String>,
}

fn default_group() -> String {
    "bodkin".to_owned()
}

fn default_table() -> String {
    Stream::Audit.name().to_owned()
}

impl fmt::Debug for KafkaSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options().fmt(f)
    }
}

impl KafkaSection {
    fn options(&self) -> KafkaOptions {
        KafkaOptions {
            brokers: self.brokers.clone(),
            topics: self.topics.clone(),
            group: self.group.clone(),
            from: self.from,
            properties: self.properties.clone(),
        }
    }

    /// How its messages are read.
    ///
    /// # Errors
    /// The key that is wrong.
    pub(crate) fn decode(&self) -> anyhow::Result<Box<dyn Decode>> {
        if self.brokers.is_empty() || self.topics.is_empty() {
            bail!("it needs brokers and topics");
        }
        let stream = Stream::from_name(&self.into).filter(|stream| !stream.is_made()).with_context(|| {
            let streams: Vec<_> =
                Stream::ALL.iter().filter(|stream| !stream.is_made()).map(|stream| stream.name()).collect();
            format!("into: no rows from outside go to {:?}; they go to {}", self.into, streams.join(", "))
        })?;
        match &self.source {
            None if stream == Stream::Audit => Ok(Box::new(AuditRecords(Source::Json))),
            None => Ok(Box::new(JsonRows(stream))),
            Some(name) if stream == Stream::Audit => {
                let source = Source::from_name(name).filter(|source| *source != Source::Syscall);
                let source = source.with_context(|| {
                    format!("source: there is no source {name:?}; there are k8s_audit, aws_cloudtrail, json")
                })?;
                Ok(Box::new(AuditRecords(source)))
            }
            Some(_) => bail!("source is for `into: audit` only"),
        }
    }
}

/// Records of an API's audit log, one or several per message.
struct AuditRecords(Source);

impl Decode for AuditRecords {
    fn stream(&self) -> Stream {
        Stream::Audit
    }

    fn decode(&self, messages: &[&[u8]]) -> Decoded {
        let (mut rows, mut malformed) = (Vec::new(), Vec::new());
        for (place, message) in messages.iter().enumerate() {
            match records(self.0, message) {
                Ok(records) => rows.push(records),
                Err(reason) => malformed.push((place, reason)),
            }
        }
        let schema = Stream::Audit.schema();
        Decoded { records: concat_batches(&schema, &rows).expect("invariant: all are rows of audit"), malformed }
    }
}

/// A message is taken as a whole or not at all: it is counted as one.
fn records(source: Source, message: &[u8]) -> Result<RecordBatch, String> {
    let read = Documents::parse(source, message).map_err(|error| error.to_string())?;
    match read.rejected.first() {
        Some(reason) => Err(reason.clone()),
        None if read.documents.is_empty() => Err("it holds no record".to_owned()),
        None => Ok(audit_rows(source, &read.documents)),
    }
}

/// Starts to read.
///
/// # Errors
/// What is wrong with a source, by its name.
pub(crate) fn start(sections: &BTreeMap<String, KafkaSection>, storage: &Storage) -> anyhow::Result<Vec<KafkaSource>> {
    let start = |(name, section): (&String, &KafkaSection)| {
        let decode = section.decode().with_context(|| format!("kafka.{name}"))?;
        let (service, clock) = (storage.ingest().clone(), storage.clock().clone());
        Ok(KafkaSource::start(name, &section.options(), decode, Tenant::default(), service, clock)?)
    };
    sections.iter().map(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> anyhow::Result<Box<dyn Decode>> {
        serde_saphyr::from_str::<KafkaSection>(text)?.decode()
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| format!("{:#}", section(text).err().unwrap());
        assert!(error("{brokers: [a:1], topics: []}").contains("brokers and topics"));
        assert!(error("{brokers: [a:1], topics: [t], into: nowhere}").contains("no table \"nowhere\"; there are"));
        assert!(error("{brokers: [a:1], topics: [t], source: syscall}").contains("k8s_audit"));
        assert!(error("{brokers: [a:1], topics: [t], into: events, source: json}").contains("into: audit"));
        assert!(error("{brokers: [a:1], topics: [t], grup: x}").contains("grup"));
        assert_eq!(section("{brokers: [a:1], topics: [t]}").unwrap().stream(), Stream::Audit);
        assert_eq!(section("{brokers: [a:1], topics: [t], into: events}").unwrap().stream(), Stream::Events);
    }

    #[test]
    fn safe_1_a_message_holds_records_or_is_malformed() {
        let event = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"1","stage":"ResponseComplete","verb":"get","user":{"username":"u"},"requestReceivedTimestamp":"2026-01-02T03:04:05Z","stageTimestamp":"2026-01-02T03:04:05Z"}"#;
        let list = format!(r#"{{"kind":"EventList","items":[{event},{event}]}}"#);
        let messages: Vec<&[u8]> =
            vec![event.as_bytes(), b"", b"{", b"{\"kind\":\"EventList\"}", list.as_bytes(), &[0xff]];
        let decoded = AuditRecords(Source::K8sAudit).decode(&messages);
        assert_eq!(decoded.records.num_rows(), 3);
        assert_eq!(decoded.malformed.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [1, 2, 3, 5]);
    }
}
