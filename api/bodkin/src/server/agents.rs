//! What agents are to watch, as the configuration says: pushed over Flight, and what came of it kept in `audit`.

use anyhow::Context;
use arrow::array::{RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::DataType;
use arrow_flight::{Action, Result as ActionResult};
use bodkin_collector::client::remote_config::{Asker, CONFIG_ACTION, REPORT_ACTION, Report};
use bodkin_collector::config::AgentSection;
use bodkin_ingest::LocalProducer;
use bodkin_schema::{Clock, Stream as Rows, Tenant};
use futures::stream::{self, BoxStream, StreamExt};
use serde::Deserialize;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Largest question and report.
const BODY_BYTES_MAX: usize = 64 << 10;

/// An entry of the section `agents`: the first that fits a host counts for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentsEntry {
    /// Host names; one that ends with `*` fits all that begin so. Every host where it is missing.
    hosts: Option<Vec<String>>,
    /// In place of the section `agent` of the host's own file.
    agent: AgentSection,
}

impl AgentsEntry {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// What is wrong, with the key.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.agent.check().map_err(|why| anyhow::anyhow!("agents: {why}"))
    }

    fn fits(&self, host: &str) -> bool {
        let fits = |name: &String| match name.strip_suffix('*') {
            Some(start) => host.starts_with(start),
            None => host == name,
        };
        self.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(fits))
    }
}

/// Configurations of agents, and who tells what came of them.
pub(crate) struct AgentConfigs {
    entries: watch::Sender<Arc<Vec<AgentsEntry>>>,
    producer: LocalProducer,
    clock: Arc<dyn Clock>,
    stopping: CancellationToken,
}

/// Answers of an action.
pub(super) type Answers = BoxStream<'static, Result<ActionResult, Status>>;

impl AgentConfigs {
    pub(super) fn new(
        entries: Vec<AgentsEntry>,
        producer: LocalProducer,
        clock: Arc<dyn Clock>,
        stopping: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { entries: watch::Sender::new(Arc::new(entries)), producer, clock, stopping })
    }

    /// Pushes other configurations.
    pub(super) fn set(&self, entries: Vec<AgentsEntry>) {
        self.entries.send_replace(Arc::new(entries));
    }

    /// Answers an action of an agent; None if it is none.
    pub(super) async fn answer(&self, action: &Action) -> Option<Result<Answers, Status>> {
        match action.r#type.as_str() {
            CONFIG_ACTION => Some(read(action).map(|asker| self.follow(asker))),
            REPORT_ACTION => Some(match read::<Report>(action) {
                Ok(report) => self.keep(&report).await.map(|()| stream::empty().boxed()),
                Err(status) => Err(status),
            }),
            _ => None,
        }
    }

    /// What the host is to watch, now and whenever that changes.
    fn follow(&self, asker: Asker) -> Answers {
        let state = (self.entries.subscribe(), asker, None::<String>);
        let answers = stream::unfold(state, |(mut entries, asker, sent)| async move {
            loop {
                let (version, body) = configuration(&entries.borrow_and_update(), &asker.host);
                if sent.as_deref() != Some(&*version) {
                    let answer = Ok(ActionResult { body: body.into() });
                    return Some((answer, (entries, asker, Some(version))));
                }
                entries.changed().await.ok()?;
            }
        });
        answers.take_until(self.stopping.clone().cancelled_owned()).boxed()
    }

    async fn keep(&self, report: &Report) -> Result<(), Status> {
        let outcome = async {
            let rows = self.row(report).context("rows of audit")?;
            for ticket in self.producer.put(&Tenant::default(), vec![(Rows::Audit, rows)]).await? {
                ticket.await?;
            }
            anyhow::Ok(())
        };
        outcome.await.map_err(|error| {
            tracing::warn!(host = report.asker.host, error = format!("{error:#}"), "an agent's report is not kept");
            Status::unavailable("the report is not kept")
        })
    }

    fn row(&self, report: &Report) -> anyhow::Result<RecordBatch> {
        let text = |text: &str| Arc::new(StringArray::from(vec![text.to_owned()]));
        let none = || new_null_array(&DataType::Utf8, 1);
        let ts = TimestampMicrosecondArray::from(vec![self.clock.now().micros()]).with_timezone("UTC");
        Ok(RecordBatch::try_new(
            Rows::Audit.schema(),
            vec![
                Arc::new(ts),
                text("bodkin_agent"),
                text(&report.asker.host),
                text("configure"),
                text(&report.version),
                none(),
                text(report.error.as_deref().unwrap_or("success")),
                none(),
                none(),
                text(&serde_json::to_string(report)?),
            ],
        )?)
    }
}

fn read<T: serde::de::DeserializeOwned>(action: &Action) -> Result<T, Status> {
    if action.body.len() > BODY_BYTES_MAX {
        return Err(Status::invalid_argument(format!("{}: body is larger than {BODY_BYTES_MAX} bytes", action.r#type)));
    }
    serde_json::from_slice(&action.body)
        .map_err(|error| Status::invalid_argument(format!("{}: {error}", action.r#type)))
}

/// The version of what a host is to watch, and the answer that says it.
fn configuration(entries: &[AgentsEntry], host: &str) -> (String, Vec<u8>) {
    let section = entries.iter().find(|entry| entry.fits(host)).map(|entry| &entry.agent);
    let agent = serde_json::json!(section);
    let version = match section {
        None => "none".to_owned(),
        Some(_) => {
            let mut hasher = DefaultHasher::new();
            agent.to_string().hash(&mut hasher);
            format!("{:016x}", hasher.finish())
        }
    };
    let body = serde_json::json!({ "version": version, "agent": agent }).to_string().into_bytes();
    (version, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(hosts: Option<&[&str]>, events: &[&str]) -> AgentsEntry {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let agent = AgentSection { events: Some(list(events)), ..AgentSection::default() };
        AgentsEntry { hosts: hosts.map(list), agent }
    }

    #[test]
    fn the_first_entry_that_fits_counts() {
        let entries = [entry(Some(&["web-*", "db"]), &["connect"]), entry(None, &["openat"])];
        let events = |entries: &[AgentsEntry], host: &str| {
            let (version, body) = configuration(entries, host);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["version"], version);
            body["agent"]["events"][0].as_str().map(str::to_owned)
        };
        assert_eq!(events(&entries, "web-1").as_deref(), Some("connect"));
        assert_eq!(events(&entries, "db").as_deref(), Some("connect"));
        assert_eq!(events(&entries, "db2").as_deref(), Some("openat"));
        assert_eq!(events(&entries[..1], "db2"), None);
        assert_eq!(configuration(&[], "x").0, "none");
        assert_ne!(configuration(&entries, "db").0, configuration(&entries, "db2").0);
        assert!(entry(None, &["nonsense"]).check().unwrap_err().to_string().contains("nonsense"));
    }
}
