//! A model of a table's log, for simulations: the contract of [`TableLog`] with the smallest mechanism that keeps it.
//!
//! One object per version, put if absent, that says what was added, removed, and of which epoch it is. No checkpoints,
//! no statistics of files, no other tool reads it. A conformance test proves that [`crate::DeltaLog`] behaves alike.

use crate::file::table_path;
use crate::log::{CommitRequest, Committed, LogState, TableLog};
use crate::{Error, PreparedFile, Result, Suffixed, TableFile};
use async_trait::async_trait;
use bodkin_schema::{Epoch, Stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};

/// Lost races in a row before a commit gives up.
const ATTEMPTS_MAX: u32 = 100;

/// What one version says.
#[derive(Debug, Serialize, Deserialize)]
struct Version {
    adds: Vec<PreparedFile>,
    removes: Vec<String>,
    /// Node and epoch.
    transaction: Option<(String, u64)>,
}

/// A log in objects of its own.
#[derive(Debug)]
pub struct ModelLog {
    stream: Stream,
    node: String,
    store: Arc<dyn ObjectStore>,
    known: Mutex<LogState>,
    writing: tokio::sync::Mutex<()>,
}

impl ModelLog {
    /// Loads the log of `stream`'s table in `store`, as `node` sees it.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn open(store: Arc<dyn ObjectStore>, stream: Stream, node: &str) -> Result<Self> {
        let log = Self { stream, node: node.to_owned(), store, known: Mutex::default(), writing: Default::default() };
        log.publish(log.catch_up(LogState::default(), None).await?);
        Ok(log)
    }

    fn path(&self, version: u64) -> Path {
        table_path(self.stream).join("_model_log").join(format!("{version:020}.json"))
    }

    fn publish(&self, state: LogState) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    async fn read(&self, version: u64) -> Result<Option<Version>> {
        let path = self.path(version);
        let at = |source| Error::Store { path: path.to_string(), source };
        let bytes = match self.store.get(&path).await {
            Ok(found) => found.bytes().await.map_err(at)?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(at(source)),
        };
        let corrupt = |error: serde_json::Error| Error::Corrupt { path: path.to_string(), reason: error.to_string() };
        serde_json::from_slice(&bytes).map(Some).map_err(corrupt)
    }

    async fn catch_up(&self, mut state: LogState, until: Option<u64>) -> Result<LogState> {
        loop {
            let next = state.version.map_or(0, |version| version + 1);
            if until.is_some_and(|until| next > until) {
                return Ok(state);
            }
            let Some(version) = self.read(next).await? else { return Ok(state) };
            self.apply(&mut state, next, &version)?;
        }
    }

    fn apply(&self, state: &mut LogState, number: u64, version: &Version) -> Result<()> {
        let suffixed = version.adds.iter().flat_map(|file| &file.suffixed).map(String::as_str);
        state.suffixed = state.suffixed.with(&Suffixed::of_names(self.stream, suffixed));
        let adds = version.adds.iter().map(|file| TableFile::new(self.stream, file).map(Arc::new));
        let adds = adds.collect::<Result<Vec<_>>>()?;
        let stays = |file: &&Arc<TableFile>| {
            !version.removes.contains(&file.path) && !adds.iter().any(|added| added.path == file.path)
        };
        let kept: Vec<_> = state.files.iter().filter(stays).cloned().collect();
        state.files = Arc::new(kept.into_iter().chain(adds).collect());
        state.version = Some(number);
        if let Some((_, epoch)) = version.transaction.as_ref().filter(|(node, _)| *node == self.node) {
            state.epoch = state.epoch.max(Some(Epoch(*epoch)));
        }
        Ok(())
    }

    fn version(&self, state: &LogState, request: &CommitRequest) -> Result<Version> {
        for removed in &request.removes {
            if !state.files.iter().any(|file| file.path == removed.path) {
                let reason = format!("{} is not in the table any more", removed.path);
                return Err(Error::Conflict { table: self.stream, reason });
            }
        }
        Ok(Version {
            adds: request.adds.clone(),
            removes: request.removes.iter().map(|file| file.path.clone()).collect(),
            transaction: request.epoch.map(|epoch| (self.node.clone(), epoch.0)),
        })
    }
}

#[async_trait]
impl TableLog for ModelLog {
    fn state(&self) -> LogState {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn refresh(&self) -> Result<LogState> {
        let _writing = self.writing.lock().await;
        self.publish(self.catch_up(self.state(), None).await?);
        Ok(self.state())
    }

    async fn commit(&self, request: &CommitRequest) -> Result<Committed> {
        let _writing = self.writing.lock().await;
        let mut state = self.state();
        for _ in 0..ATTEMPTS_MAX {
            if request.epoch.is_some() && state.epoch >= request.epoch {
                self.publish(state);
                return Ok(Committed::AlreadyThere);
            }
            let number = state.version.map_or(0, |version| version + 1);
            let version = self.version(&state, request)?;
            let path = self.path(number);
            let json = serde_json::to_vec(&version)
                .map_err(|error| Error::Corrupt { path: path.to_string(), reason: error.to_string() })?;
            let options = PutOptions { mode: PutMode::Create, ..Default::default() };
            match self.store.put_opts(&path, json.into(), options).await {
                Ok(_) => {
                    self.apply(&mut state, number, &version)?;
                    self.publish(state);
                    return Ok(Committed::At(number));
                }
                Err(object_store::Error::AlreadyExists { .. }) => state = self.catch_up(state, None).await?,
                Err(source) => return Err(Error::Store { path: path.to_string(), source }),
            }
        }
        let reason = format!("{ATTEMPTS_MAX} commits of others in a row were faster");
        Err(Error::Conflict { table: self.stream, reason })
    }

    async fn files_at(&self, version: u64) -> Result<Vec<Arc<TableFile>>> {
        Ok(self.catch_up(LogState::default(), Some(version)).await?.files.as_ref().clone())
    }

    async fn maintain(&self) -> Result<bool> {
        Ok(false)
    }
}
