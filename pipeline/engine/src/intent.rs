//! The decision of an epoch: one object per node and epoch, put if absent.
//!
//! `epochs/<node>/<20-digit epoch>.intent` holds JSON. Whoever puts it first has decided; a process that finds it
//! there with other contents has been replaced and stops.

use crate::{Error, Result};
use bodkin_schema::{Epoch, EventTime, Incarnation, Lane, Position, Producer, Seq, Tenant};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Version of the JSON below.
const FORMAT: u32 = 1;

/// The highest number that a lane has stored, and when it last sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    tenant: String,
    producer: String,
    incarnation: u64,
    stream: String,
    seq: u64,
    last_ingest_us: i64,
}

impl Mark {
    /// The mark of a tenant's `lane` at `seq`.
    pub fn new(tenant: &Tenant, lane: &Lane, seq: Seq, last_ingest: EventTime) -> Self {
        Self {
            tenant: tenant.to_string(),
            producer: lane.producer.to_string(),
            incarnation: lane.incarnation.0,
            stream: lane.stream.to_string(),
            seq: seq.0,
            last_ingest_us: last_ingest.0,
        }
    }

    /// Whose lane.
    pub fn tenant(&self) -> Tenant {
        Tenant(self.tenant.as_str().into())
    }

    /// The lane.
    pub fn lane(&self) -> Lane {
        Lane {
            producer: Producer::from(self.producer.as_str()),
            incarnation: Incarnation(self.incarnation),
            stream: self.stream.as_str().into(),
        }
    }

    /// The highest number stored.
    pub fn seq(&self) -> Seq {
        Seq(self.seq)
    }

    /// When the lane last sent.
    pub fn last_ingest(&self) -> EventTime {
        EventTime(self.last_ingest_us)
    }
}

/// What an epoch has decided: how far the log was read, and what that became.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    format: u32,
    node: String,
    epoch: u64,
    generation: u64,
    position: u64,
    marks: Vec<Mark>,
    prepared: BTreeMap<String, serde_json::Value>,
}

impl Intent {
    /// An intent of `node`'s process `generation` for `epoch`, which ends at `position` of the log.
    pub fn new(
        node: &str,
        generation: Incarnation,
        epoch: Epoch,
        position: Position,
        marks: Vec<Mark>,
        prepared: BTreeMap<String, serde_json::Value>,
    ) -> Self {
        Self {
            format: FORMAT,
            node: node.to_owned(),
            epoch: epoch.0,
            generation: generation.0,
            position: position.0,
            marks,
            prepared,
        }
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }

    /// Up to where the log is in the tables.
    pub fn position(&self) -> Position {
        Position(self.position)
    }

    /// Deduplication marks at that position.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// What the sink called `name` needs to commit.
    pub fn prepared(&self, name: &str) -> Option<&serde_json::Value> {
        self.prepared.get(name)
    }
}

/// The intents of one node.
#[derive(Clone, Debug)]
pub struct IntentStore {
    store: Arc<dyn ObjectStore>,
    node: String,
}

impl IntentStore {
    /// Intents of `node` in `store`.
    pub fn new(store: Arc<dyn ObjectStore>, node: &str) -> Self {
        Self { store, node: node.to_owned() }
    }

    /// The node.
    pub fn node(&self) -> &str {
        &self.node
    }

    fn folder(&self) -> Path {
        Path::from_iter(["epochs", &self.node])
    }

    fn path(&self, epoch: Epoch) -> Path {
        self.folder().join(format!("{:020}.intent", epoch.0))
    }

    /// Decides the epoch. An answer that was lost is recognized by the contents: the same intent put twice is fine.
    ///
    /// # Errors
    /// [`Error::Fenced`] where another process has decided it.
    pub async fn decide(&self, intent: &Intent) -> Result<()> {
        let path = self.path(intent.epoch());
        let bytes = serde_json::to_vec(intent).map_err(|source| Error::Corrupt { path: path.to_string(), source })?;
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        match self.store.put_opts(&path, bytes.into(), options).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) if self.read(&path).await? == *intent => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => {
                Err(Error::Fenced { node: self.node.clone(), epoch: intent.epoch() })
            }
            Err(source) => Err(Error::Intent { path: path.to_string(), source }),
        }
    }

    /// The newest intent, if there is one.
    pub async fn newest(&self) -> Result<Option<Intent>> {
        match self.list().await?.pop() {
            Some(path) => self.read(&path).await.map(Some),
            None => Ok(None),
        }
    }

    /// Deletes the intents before `epoch`, whose tables have all they name. Costs one listing.
    pub async fn forget_before(&self, epoch: Epoch) -> Result<()> {
        let keep = self.path(epoch);
        for path in self.list().await?.into_iter().take_while(|path| *path < keep) {
            match self.store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(Error::Intent { path: path.to_string(), source }),
            }
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Path>> {
        let folder = self.folder();
        let found: Vec<_> = self
            .store
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(|source| Error::Intent { path: folder.to_string(), source })?;
        let mut paths: Vec<_> =
            found.into_iter().map(|meta| meta.location).filter(|path| path.as_ref().ends_with(".intent")).collect();
        paths.sort_unstable();
        Ok(paths)
    }

    async fn read(&self, path: &Path) -> Result<Intent> {
        let at = |source| Error::Intent { path: path.to_string(), source };
        let bytes = self.store.get(path).await.map_err(at)?.bytes().await.map_err(at)?;
        let corrupt = |source| Error::Corrupt { path: path.to_string(), source };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(corrupt)?;
        let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default() as u32;
        if found > FORMAT {
            return Err(Error::Newer { path: path.to_string(), found, known: FORMAT });
        }
        serde_json::from_value(value).map_err(corrupt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn intent(epoch: u64, generation: u64) -> Intent {
        let lane = Lane { producer: "a/security".into(), incarnation: Incarnation(7), stream: "events".into() };
        let marks = vec![Mark::new(&Tenant::default(), &lane, Seq(3), EventTime(5))];
        Intent::new("n1", Incarnation(generation), Epoch(epoch), Position(99), marks, BTreeMap::new())
    }

    #[tokio::test]
    async fn the_first_put_decides_and_a_repeated_one_is_recognized() {
        let intents = IntentStore::new(Arc::new(InMemory::new()), "n1");
        assert_eq!(intents.newest().await.unwrap(), None);
        intents.decide(&intent(1, 1)).await.unwrap();
        intents.decide(&intent(1, 1)).await.unwrap();
        assert!(matches!(intents.decide(&intent(1, 2)).await, Err(Error::Fenced { .. })));
        assert_eq!(intents.newest().await.unwrap(), Some(intent(1, 1)));
    }

    #[tokio::test]
    async fn the_newest_stays() {
        let intents = IntentStore::new(Arc::new(InMemory::new()), "n1");
        for epoch in [9, 10, 11] {
            intents.decide(&intent(epoch, 1)).await.unwrap();
        }
        intents.forget_before(Epoch(11)).await.unwrap();
        assert_eq!(intents.list().await.unwrap().len(), 1);
        assert_eq!(intents.newest().await.unwrap().unwrap().epoch(), Epoch(11));
    }

    #[tokio::test]
    async fn a_newer_format_is_refused() {
        let store = Arc::new(InMemory::new());
        let intents = IntentStore::new(store.clone(), "n1");
        store.put(&intents.path(Epoch(1)), r#"{"format":2}"#.into()).await.unwrap();
        let error = intents.newest().await.unwrap_err().to_string();
        assert!(error.contains("format 2") && error.contains("run the newer version"), "{error}");
    }
}
