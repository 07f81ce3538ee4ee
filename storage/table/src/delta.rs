//! [`TableLog`] on a Delta log.
//!
//! `deltalake-core` reads and cleans up logs; a commit is one put-if-absent of our own actions on top of the
//! state that we hold: no listing, no rereading, however long the log is. What lies between our version and the next
//! free one is read entry by entry (another node, a compactor).
//!
//! All requests go through the given object store, so that what it promises (fsync, see [`crate::DurableLocal`])
//! holds for the log. `deltalake-core` is told a URL whose path is the path in that store, `bodkin:///tables/<table>/`:
//! it takes only the path from it, and would look for a `file:` URL on the file system. Listings from an offset must
//! be sorted by name, as those of buckets and of `DurableLocal` are.

use crate::actions::{self, Known};
use crate::checkpoint::{self, Plan};
use crate::checkpoint_writer::CheckpointWriter;
use crate::file::table_path;
use crate::log::{CommitRequest, Committed, LogState, TableLog};
use crate::{Error, PreparedFile, Removed, Result, TableFile};
use async_trait::async_trait;
use bodkin_schema::{Clock, Epoch, Stream};
use deltalake_core::DeltaTableError;
use deltalake_core::checkpoints;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::kernel::{Action, EagerSnapshot, Remove};
use deltalake_core::logstore::{CommitOrBytes, LogStoreRef, StorageConfig, default_logstore, get_actions};
use deltalake_core::table::state::DeltaTableState;
use futures::{StreamExt, TryStreamExt};
use object_store::prefix::PrefixStore;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use url::Url;

/// Commits between two checkpoints: an epoch is 10 s, so one in a quarter of an hour.
pub(crate) const CHECKPOINT_INTERVAL: u64 = 100;
/// How long log entries are kept after a checkpoint made them superfluous.
const LOG_RETENTION_MS: i64 = 2 * 24 * 3600 * 1000;
/// Entries that are read at the same time.
const ENTRIES_AT_ONCE: usize = 16;
/// Lost races in a row before a commit gives up; the epoch is tried again as a whole then.
const ATTEMPTS_MAX: u32 = 100;

/// The object `_last_checkpoint`.
#[derive(serde::Deserialize)]
struct LastCheckpoint {
    version: u64,
}

/// The Delta log of one table, as one node sees it.
pub struct DeltaLog {
    stream: Stream,
    node: String,
    clock: Arc<dyn Clock>,
    log_store: LogStoreRef,
    known: Mutex<Known>,
    /// Version that was looked at last for whether a checkpoint is due.
    maintained: AtomicU64,
    writing: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for DeltaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeltaLog").field("stream", &self.stream).field("node", &self.node).finish_non_exhaustive()
    }
}

impl DeltaLog {
    /// Loads the log of `stream`'s table below `tables/` in `store`. Writes nothing: a table is made by its first
    /// commit. Costs one listing where there is none; else the last checkpoint and what follows it are read.
    ///
    /// # Errors
    /// [`Error::Newer`] where another tool has given the table features that are not known here.
    pub async fn open(store: Arc<dyn ObjectStore>, stream: Stream, node: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let path = table_path(stream);
        let url = Url::parse(&format!("bodkin:///{path}/"))
            .map_err(|error| Error::Corrupt { path: path.to_string(), reason: error.to_string() })?;
        let prefixed = Arc::new(PrefixStore::new(store.clone(), path));
        let log_store = default_logstore(prefixed, store, &url, &StorageConfig::default());
        let log = Self {
            stream,
            node: node.to_owned(),
            clock,
            log_store,
            known: Mutex::default(),
            maintained: AtomicU64::new(0),
            writing: tokio::sync::Mutex::new(()),
        };
        // On the heap: all tables are opened at once.
        let known = Box::pin(log.load(None)).await?;
        log.maintained.store(known.state.version.unwrap_or_default(), Ordering::Relaxed);
        log.publish(known);
        Ok(log)
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn failed(&self, source: DeltaTableError) -> Error {
        Error::Log { table: self.stream, source: Box::new(source) }
    }

    /// Reads the whole state from the log.
    async fn load(&self, version: Option<u64>) -> Result<Known> {
        let found = self.objects(version).await?;
        if found.is_empty() && version.is_none() {
            return Ok(Known::default());
        }
        if let Some(plan) = checkpoint::plan(&found, version)
            && let Some(known) = self.read(plan).await?
        {
            return Ok(known);
        }
        tracing::debug!(table = %self.stream, "the log is read as other tools may have left it");
        self.load_with_kernel(version).await
    }

    /// What the log consists of: from its last checkpoint on, where that is not beyond `version`.
    async fn objects(&self, version: Option<u64>) -> Result<Vec<ObjectMeta>> {
        let (store, folder) = (self.log_store.object_store(None), self.log_store.log_path());
        let failed = |source| Error::Store { path: format!("{}/_delta_log", self.stream), source };
        let last = match store.get(&folder.clone().join("_last_checkpoint")).await {
            Ok(found) => serde_json::from_slice(&found.bytes().await.map_err(failed)?).ok(),
            Err(object_store::Error::NotFound { .. }) => None,
            Err(source) => return Err(failed(source)),
        };
        let last: Option<LastCheckpoint> = last;
        let listed = match last.filter(|last| version.is_none_or(|version| last.version <= version)) {
            Some(last) => store.list_with_offset(Some(folder), &folder.clone().join(format!("{:020}", last.version))),
            None => store.list(Some(folder)),
        };
        match listed.try_collect().await {
            Ok(found) => Ok(found),
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(source) => Err(failed(source)),
        }
    }

    /// Reads a checkpoint and entries. None where the checkpoint does not say all that a table keeps.
    async fn read(&self, plan: Plan) -> Result<Option<Known>> {
        let mut known = Known::default();
        if let Some(object) = plan.checkpoint {
            let store = self.log_store.object_store(None);
            let Some(read) = checkpoint::read(store, &object, self.stream, &self.node).await? else { return Ok(None) };
            let version = plan.entries.first().map_or(plan.version, |first| first - 1);
            known = Known::of_checkpoint(self.stream, version, read)?;
        }
        let Some(entries) = self.entries(plan.entries).await? else { return Ok(None) };
        let versions: Vec<_> = entries.iter().map(|(version, actions)| (*version, actions.as_slice())).collect();
        known.apply_all(self.stream, &self.node, &versions)?;
        Ok(Some(known))
    }

    /// What the entries of `versions` say. None where one of them is no longer there.
    async fn entries(&self, versions: Vec<u64>) -> Result<Option<Vec<(u64, Vec<Action>)>>> {
        let entries = futures::stream::iter(versions).map(|version| async move {
            let bytes = self.log_store.read_commit_entry(version).await.map_err(|error| self.failed(error))?;
            let Some(bytes) = bytes else { return Ok(None) };
            Ok::<_, Error>(Some((version, get_actions(version, &bytes).map_err(|error| self.failed(error))?)))
        });
        Ok(entries.buffered(ENTRIES_AT_ONCE).try_collect::<Vec<_>>().await?.into_iter().collect())
    }

    /// The files that the log has removed up to `version`. None where other tools have left more than can be read here.
    async fn read_removed(&self, version: u64) -> Result<Option<Vec<Removed>>> {
        let version = Some(version);
        let Some(plan) = checkpoint::plan(&self.objects(version).await?, version) else { return Ok(None) };
        let mut removed = Vec::new();
        if let Some(object) = plan.checkpoint {
            let store = self.log_store.object_store(None);
            let Some(read) = checkpoint::read_removed(store, &object).await? else { return Ok(None) };
            removed = read;
        }
        let Some(entries) = self.entries(plan.entries).await? else { return Ok(None) };
        for (_, actions) in entries {
            removed.extend(actions.into_iter().filter_map(|action| match action {
                Action::Remove(Remove { path, deletion_timestamp, .. }) => {
                    Some(Removed { path, removed_ms: deletion_timestamp.unwrap_or_default() })
                }
                _ => None,
            }));
        }
        Ok(Some(removed))
    }

    async fn removed_with_kernel(&self, version: u64) -> Result<Vec<Removed>> {
        let log_store = self.log_store.as_ref();
        let snapshot = EagerSnapshot::try_new(log_store, Some(version)).await.map_err(|error| self.failed(error))?;
        let state = DeltaTableState::new(snapshot);
        let tombstones = state.all_tombstones(log_store);
        let removed = tombstones.map_ok(|tombstone| Removed {
            path: tombstone.path().into_owned(),
            removed_ms: tombstone.deletion_timestamp().unwrap_or_default(),
        });
        removed.try_collect().await.map_err(|error| self.failed(error))
    }

    /// Reads the whole state as `deltalake-core` understands it: whatever other tools have made of the log.
    async fn load_with_kernel(&self, version: Option<u64>) -> Result<Known> {
        let log_store = self.log_store.as_ref();
        let snapshot = EagerSnapshot::try_new(log_store, version).await.map_err(|error| self.failed(error))?;
        let transaction = snapshot.transaction_version(log_store, &self.node).await;
        let epoch = transaction.map_err(|error| self.failed(error))?.and_then(|epoch| u64::try_from(epoch).ok());
        let mut files = Vec::new();
        for view in snapshot.log_data().iter() {
            let values = view.partition_values_map();
            let file = PreparedFile {
                path: view.path().into_owned(),
                size: view.size().try_into().unwrap_or_default(),
                rows: 0,
                tenant: actions::partition_value(&values, crate::TENANT),
                date: actions::partition_value(&values, crate::DATE),
                modified_ms: view.modification_time(),
                stats: view.stats().unwrap_or_default(),
                suffixed: Vec::new(),
            };
            files.push(Arc::new(TableFile::new(self.stream, &file)?));
        }
        let mut known = Known::default();
        known.take_protocol(self.stream, snapshot.protocol())?;
        known.take_metadata(self.stream, snapshot.metadata())?;
        known.state.version = Some(snapshot.version());
        known.state.files = Arc::new(files);
        known.state.epoch = epoch.map(Epoch);
        Ok(known)
    }

    /// Reads the entries that follow what is known.
    async fn catch_up(&self, mut known: Known) -> Result<Known> {
        let Some(start) = known.state.version else { return self.load(None).await };
        let mut next = start + 1;
        while let Some(bytes) = self.log_store.read_commit_entry(next).await.map_err(|error| self.failed(error))? {
            let actions = get_actions(next, &bytes).map_err(|error| self.failed(error))?;
            known.apply(self.stream, &self.node, next, &actions)?;
            next += 1;
        }
        Ok(known)
    }

    /// Puts the next entry. False where another writer was faster.
    async fn put(&self, version: u64, bytes: Vec<u8>) -> Result<bool> {
        let entry = CommitOrBytes::LogBytes(bytes.into());
        match self.log_store.write_commit_entry(version, entry, uuid::Uuid::new_v4()).await {
            Ok(()) => Ok(true),
            Err(TransactionError::VersionAlreadyExists(_)) => Ok(false),
            Err(error) => Err(self.failed(error.into())),
        }
    }

    async fn checkpoint(&self, version: u64) -> Result<()> {
        let writer = CheckpointWriter {
            stream: self.stream,
            store: self.log_store.root_object_store(None),
            engine: self.log_store.engine(None),
            root: self.log_store.root_url().clone(),
            version,
        };
        let handle = tokio::runtime::Handle::current();
        let written = tokio::task::spawn_blocking(move || writer.write(&handle)).await;
        written.unwrap_or(Err(Error::Stopped { table: self.stream }))
    }

    fn now_ms(&self) -> i64 {
        self.clock.now().micros().div_euclid(1000)
    }
}

#[async_trait]
impl TableLog for DeltaLog {
    fn state(&self) -> LogState {
        self.known().state
    }

    async fn refresh(&self) -> Result<LogState> {
        let _writing = self.writing.lock().await;
        let known = self.catch_up(self.known()).await?;
        self.publish(known);
        Ok(self.state())
    }

    async fn commit(&self, request: &CommitRequest) -> Result<Committed> {
        let _writing = self.writing.lock().await;
        let mut known = self.known();
        for _ in 0..ATTEMPTS_MAX {
            if request.epoch.is_some() && known.state.epoch >= request.epoch {
                self.publish(known);
                return Ok(Committed::AlreadyThere);
            }
            let version = known.state.version.map_or(0, |version| version + 1);
            let actions = known.actions(self.stream, &self.node, request, self.now_ms())?;
            if self.put(version, actions::to_lines(self.stream, &actions)?).await? {
                known.apply(self.stream, &self.node, version, &actions)?;
                self.publish(known);
                return Ok(Committed::At(version));
            }
            let before = known.state.version;
            known = self.catch_up(known).await?;
            if known.state.version == before {
                // The entry is there and cannot be read one by one: entries in between have expired.
                known = self.load(None).await?;
            }
        }
        let reason = format!("{ATTEMPTS_MAX} commits of others in a row were faster");
        Err(Error::Conflict { table: self.stream, reason })
    }

    async fn files_at(&self, version: u64) -> Result<Vec<Arc<TableFile>>> {
        let known = self.load(Some(version)).await?;
        Ok(known.state.files.as_ref().clone())
    }

    async fn removed(&self) -> Result<Vec<Removed>> {
        let Some(version) = self.state().version else { return Ok(Vec::new()) };
        match self.read_removed(version).await? {
            Some(removed) => Ok(removed),
            None => self.removed_with_kernel(version).await,
        }
    }

    async fn maintain(&self) -> Result<bool> {
        let Some(version) = self.state().version else { return Ok(false) };
        let before = self.maintained.swap(version, Ordering::Relaxed);
        if (version + 1) / CHECKPOINT_INTERVAL <= (before + 1) / CHECKPOINT_INTERVAL {
            return Ok(false);
        }
        self.checkpoint(version).await?;
        let log_store = self.log_store.as_ref();
        checkpoints::cleanup_expired_logs_for(version, log_store, self.now_ms() - LOG_RETENTION_MS, None)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Suffixed;
    use bodkin_schema::SystemClock;
    use object_store::memory::InMemory;
    use proptest::prelude::*;

    fn file(number: usize) -> PreparedFile {
        let (least, most) = (number, 2 * number);
        PreparedFile {
            path: format!("tenant=default/date=2026-03-01/{number}.parquet"),
            size: 10 + number as u64,
            rows: 1,
            tenant: if number.is_multiple_of(3) { "other" } else { "default" }.to_owned(),
            date: "2026-03-01".to_owned(),
            modified_ms: number as i64,
            stats: format!(
                r#"{{"numRecords":{number},"minValues":{{"count":{least},"reason":"r\"{number}"}},"maxValues":{{"count":{most}}},"nullCount":{{"count":0}}}}"#
            ),
            suffixed: if number.is_multiple_of(7) { vec!["count_text".to_owned()] } else { Vec::new() },
        }
    }

    /// What a log says, its files by path.
    fn said(known: Known) -> (Option<u64>, Option<Epoch>, Suffixed, Vec<Arc<TableFile>>) {
        let LogState { version, files, epoch, suffixed } = known.state;
        let mut files = files.as_ref().clone();
        files.sort_by(|left, right| left.path.cmp(&right.path));
        (version, epoch, suffixed, files)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

        #[test]
        fn a_log_says_the_same_however_it_is_read(
            // For each version, how many files it adds and which known one it removes.
            versions in prop::collection::vec((0usize..3, prop::option::of(0usize..40)), 1..20),
            checkpoints_at in prop::collection::hash_set(0usize..20, 0..4),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let store = Arc::new(InMemory::new());
                let open = || DeltaLog::open(store.clone(), Stream::Drops, "node", Arc::new(SystemClock::default()));
                let log = open().await.unwrap();
                let mut made = 0;
                for (version, (adds, removed)) in versions.iter().enumerate() {
                    let files = log.state().files;
                    let removes = removed.and_then(|place| files.get(place)).cloned().into_iter().collect();
                    let epoch = version.is_multiple_of(2).then_some(Epoch(version as u64 + 1));
                    let adds = (made..made + adds).map(file).collect::<Vec<_>>();
                    made += adds.len();
                    log.commit(&CommitRequest { adds, removes, epoch, is_rewrite: false }).await.unwrap();
                    if checkpoints_at.contains(&version) {
                        log.checkpoint(log.state().version.unwrap()).await.unwrap();
                    }
                }
                let newest = log.state().version.unwrap();
                let by_path = |mut removed: Vec<Removed>| {
                    removed.sort_by(|left, right| left.path.cmp(&right.path));
                    removed
                };
                let removed = log.read_removed(newest).await.unwrap().unwrap();
                assert_eq!(by_path(removed), by_path(log.removed_with_kernel(newest).await.unwrap()));
                for version in [None, Some(newest), newest.checked_sub(1)] {
                    let plan = checkpoint::plan(&log.objects(version).await.unwrap(), version).unwrap();
                    let ours = log.read(plan).await.unwrap().unwrap();
                    let theirs = log.load_with_kernel(version).await.unwrap();
                    assert_eq!(said(ours), said(theirs), "{version:?}");
                }
                assert_eq!(said(open().await.unwrap().known()), said(log.known()));
            });
        }
    }
    /// However many files a table has: a reader or writer of its checkpoint holds a row group.
    #[tokio::test]
    async fn a_checkpoint_is_many_small_row_groups() {
        const FILES: usize = 10_000;
        let store = Arc::new(InMemory::new());
        let open = || DeltaLog::open(store.clone(), Stream::Drops, "node", Arc::new(SystemClock::default()));
        let log = open().await.unwrap();
        let request = |epoch, adds: std::ops::Range<usize>| CommitRequest {
            adds: adds.map(file).collect(),
            epoch: Some(Epoch(epoch)),
            ..CommitRequest::default()
        };
        log.commit(&request(1, 0..FILES)).await.unwrap();
        log.checkpoint(0).await.unwrap();
        log.commit(&request(2, FILES..FILES + 1)).await.unwrap();
        log.checkpoint(1).await.unwrap();
        log.checkpoint(1).await.unwrap();
        for (version, files) in [(0, FILES), (1, FILES + 1)] {
            let object = log.log_store.log_path().clone().join(format!("{version:020}.checkpoint.parquet"));
            let bytes = log.log_store.object_store(None).get(&object).await.unwrap().bytes().await.unwrap();
            let reader = parquet::file::reader::SerializedFileReader::new(bytes).unwrap();
            let groups = parquet::file::reader::FileReader::metadata(&reader).row_groups().iter();
            let rows: Vec<i64> = groups.map(|group| group.num_rows()).collect();
            assert!(rows.iter().all(|rows| *rows <= 4096), "{rows:?}");
            // What makes the table, and the node's transaction.
            assert_eq!(rows.iter().sum::<i64>(), files as i64 + 3);
        }
        let last = log.log_store.log_path().clone().join("_last_checkpoint");
        let last = log.log_store.object_store(None).get(&last).await.unwrap().bytes().await.unwrap();
        let last: serde_json::Value = serde_json::from_slice(&last).unwrap();
        assert_eq!((last["version"].as_u64(), last["numOfAddFiles"].as_u64()), (Some(1), Some(FILES as u64 + 1)));
        assert_eq!(said(open().await.unwrap().known()), said(log.known()));
    }
}
