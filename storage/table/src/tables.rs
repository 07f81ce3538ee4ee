//! All tables of a node: a [`Sink`] that turns epochs into commits, and the [`Snapshot`] that queries read.

use crate::delta::DeltaLog;
use crate::file::table_path;
use crate::log::{CommitRequest, LogState, TableLog};
use crate::snapshot::{Snapshot, TableSnapshot, slot};
use crate::tail::{Tail, TailPart};
use crate::writer::TableWriter;
use crate::{Error, Hold, PreparedFile, Result, Suffixed, TableFile, align::align};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bodkin_engine::{Batch, Sink, SinkError};
use bodkin_schema::{Clock, Epoch, Stream};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use url::Url;

/// Tables that are prepared or committed at the same time.
const PARALLEL: usize = 2;

/// What an intent says of the tables.
type Prepared = BTreeMap<String, Vec<PreparedFile>>;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct TableStats {
    /// Rows taken into the tail.
    pub rows_written: AtomicU64,
    /// Rows that did not fit their table and are not stored.
    pub rows_rejected: AtomicU64,
    /// Rows with values of another type than the registered one, which are kept in columns of their own.
    pub rows_suffixed: AtomicU64,
    /// Files uploaded.
    pub files_written: AtomicU64,
    /// Bytes of those files.
    pub file_bytes_written: AtomicU64,
    /// Commits to table logs.
    pub commits: AtomicU64,
    /// Checkpoints of table logs.
    pub checkpoints: AtomicU64,
    /// Files that compaction replaced.
    pub files_compacted: AtomicU64,
    /// Bytes of the files that it made.
    pub compacted_bytes_written: AtomicU64,
    /// Objects that vacuum deleted.
    pub objects_deleted: AtomicU64,
}

/// The tables of one node.
///
/// Memory: rows of epochs that are not committed (see [`Sink::pending_bytes`]); while an epoch is written, a copy of
/// two tables' rows and two files of 128 MiB; per file of a table about 2 KiB.
#[derive(Debug)]
pub struct Tables {
    pub(crate) store: Arc<dyn ObjectStore>,
    root_url: Url,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) writers: Vec<TableWriter>,
    logs: Vec<Arc<dyn TableLog>>,
    /// Guards the order in which snapshots are published, too.
    tails: Mutex<Vec<Tail>>,
    published: ArcSwap<Snapshot>,
    /// From the first log entry of an epoch until its snapshot is published.
    pub(crate) committing: tokio::sync::Mutex<()>,
    /// An epoch is in some logs and in no snapshot: the next attempt at it shows all of it.
    pub(crate) is_epoch_open: AtomicBool,
    /// One compaction, expiry or vacuum at a time.
    pub(crate) upkeep: tokio::sync::Mutex<()>,
    /// Lists of files that were handed out, per table: vacuum spares what is alive of them.
    handed_out: Mutex<Vec<Vec<Weak<FileList>>>>,
    /// What compaction has to leave as it is.
    pub(crate) holds: RwLock<Vec<Arc<dyn Hold>>>,
    pub(crate) stats: TableStats,
}

type FileList = Vec<Arc<TableFile>>;

impl Tables {
    /// Loads the logs of all tables below `tables/` in `store`. Writes nothing. `root_url` is what others call the
    /// store's root; `node` is the application id of this writer's transactions.
    ///
    /// # Errors
    /// Where a log cannot be read.
    pub async fn open(store: Arc<dyn ObjectStore>, root_url: Url, node: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let open = |stream| DeltaLog::open(store.clone(), stream, node, clock.clone());
        let logs: Vec<DeltaLog> =
            futures::stream::iter(Stream::ALL.map(open)).buffered(Stream::ALL.len()).try_collect().await?;
        let logs: Vec<Arc<dyn TableLog>> = logs.into_iter().map(|log| Arc::new(log) as _).collect();
        let tables = Stream::ALL.into_iter().zip(&logs);
        let tables = tables.map(|(stream, log)| with_log(TableSnapshot::empty(stream), log.state())).collect();
        let node: Arc<str> = node.into();
        // A put that a killed process had under way may arrive after its successor's: each life has names of its own.
        let life = uuid::Uuid::new_v4().simple().to_string();
        let prefix: Arc<str> = format!("{node}-{}", life.get(..8).unwrap_or(&life)).into();
        let writer = |stream| TableWriter {
            store: store.clone(),
            stream,
            node: node.clone(),
            prefix: prefix.clone(),
            clock: clock.clone(),
        };
        let handed_out = logs.iter().map(|log| vec![Arc::downgrade(&log.state().files)]).collect();
        Ok(Self {
            writers: Stream::ALL.map(writer).into(),
            logs,
            tails: Mutex::new(Stream::ALL.map(|_| Tail::default()).into()),
            published: ArcSwap::from_pointee(Snapshot::new(tables)),
            committing: tokio::sync::Mutex::new(()),
            is_epoch_open: AtomicBool::new(false),
            upkeep: tokio::sync::Mutex::new(()),
            handed_out: Mutex::new(handed_out),
            holds: RwLock::default(),
            clock,
            stats: TableStats::default(),
            store,
            root_url,
        })
    }

    /// The newest state of all tables. One atomic load.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// An older version of a table, without a tail. Reads the log. Vacuum spares its files as long as its list of
    /// them is held.
    ///
    /// # Errors
    /// Where the version does not exist, or is no longer kept.
    pub async fn snapshot_at(&self, stream: Stream, version: u64) -> Result<TableSnapshot> {
        let files = Arc::new(self.log(stream).files_at(version).await?);
        self.hand_out(stream, &files);
        Ok(TableSnapshot { version: Some(version), files, ..TableSnapshot::empty(stream) })
    }

    /// The store that holds the tables.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// What others call the store's root.
    pub fn root_url(&self) -> &Url {
        &self.root_url
    }

    /// What others call the table of `stream`; ends with a slash.
    pub fn table_root(&self, stream: Stream) -> Url {
        let mut url = self.root_url.clone();
        url.set_path(&format!("{}/{}/", url.path().trim_end_matches('/'), table_path(stream)));
        url
    }

    /// Its counters.
    pub fn stats(&self) -> &TableStats {
        &self.stats
    }

    /// Shows the tables as committing `prepared` would make them, and writes nothing: for readers of a folder in
    /// which an epoch was decided and not finished.
    ///
    /// # Errors
    /// Where `prepared` cannot be read.
    pub fn overlay(&self, epoch: Epoch, prepared: &serde_json::Value) -> Result<()> {
        let mut changed = Vec::new();
        for (stream, prepared) in parse(epoch, prepared)? {
            let state = self.log(stream).state();
            if state.epoch < Some(epoch) {
                let names = prepared.iter().flat_map(|file| &file.suffixed).map(String::as_str);
                let suffixed = state.suffixed.with(&Suffixed::of_names(stream, names));
                let adds = prepared.iter().map(|file| TableFile::new(stream, file).map(Arc::new));
                let files = state.files.iter().cloned().map(Ok).chain(adds).collect::<Result<Vec<_>>>()?;
                changed.push((stream, LogState { files: Arc::new(files), epoch: Some(epoch), suffixed, ..state }));
            }
        }
        let _tails = self.tails();
        let mut snapshot = self.published.load().as_ref().clone();
        for (stream, state) in changed {
            snapshot = snapshot.with(with_log(snapshot.table(stream).as_ref().clone(), state));
        }
        self.published.store(Arc::new(snapshot));
        Ok(())
    }

    pub(crate) fn log(&self, stream: Stream) -> &Arc<dyn TableLog> {
        &self.logs[slot(stream)]
    }

    /// Remembers that somebody may read `files`. The list of lists is as long as what is alive, and at most doubles.
    fn hand_out(&self, stream: Stream, files: &Arc<FileList>) {
        let mut handed_out = self.handed_out.lock().unwrap_or_else(PoisonError::into_inner);
        let lists = &mut handed_out[slot(stream)];
        if lists.len() == lists.capacity() {
            lists.retain(|list| list.strong_count() > 0);
        }
        lists.push(Arc::downgrade(files));
    }

    /// Paths of the files that a snapshot of this process still holds.
    pub(crate) fn paths_in_use(&self, stream: Stream) -> Vec<String> {
        let mut handed_out = self.handed_out.lock().unwrap_or_else(PoisonError::into_inner);
        let lists = &mut handed_out[slot(stream)];
        lists.retain(|list| list.strong_count() > 0);
        let alive: Vec<_> = lists.iter().filter_map(Weak::upgrade).collect();
        drop(handed_out);
        alive.iter().flat_map(|list| list.iter().map(|file| file.path.clone())).collect()
    }

    /// Shows the files of a table as its log has them. The tail stays: no epoch has been committed.
    pub(crate) fn publish_log(&self, stream: Stream) {
        let _tails = self.tails();
        let snapshot = self.published.load();
        let table = with_log(snapshot.table(stream).as_ref().clone(), self.log(stream).state());
        self.hand_out(stream, &table.files);
        self.published.store(Arc::new(snapshot.with(table)));
    }

    fn tails(&self) -> MutexGuard<'_, Vec<Tail>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, stream: Stream, epoch: Epoch, part: TailPart) {
        let suffixed = Suffixed::of_schema(stream, part.records.schema_ref());
        let mut tails = self.tails();
        let tail = &mut tails[slot(stream)];
        tail.push(epoch, part);
        let snapshot = self.published.load();
        let table = TableSnapshot { tail: Arc::new(tail.parts()), ..snapshot.table(stream).as_ref().clone() };
        self.published.store(Arc::new(snapshot.with(table.with_columns(&suffixed))));
    }

    /// In one step, for every table: files as the logs have them, and no tail that they hold (ONCE-2, TAIL-1).
    fn publish_committed(&self, epoch: Epoch) {
        let mut tails = self.tails();
        let snapshot = self.published.load();
        let tables = snapshot.tables().zip(tails.iter_mut()).zip(&self.logs).map(|((table, tail), log)| {
            tail.forget_through(epoch);
            let table = with_log(table.as_ref().clone(), log.state());
            self.hand_out(table.stream, &table.files);
            TableSnapshot { tail: Arc::new(tail.parts()), ..table }
        });
        self.published.store(Arc::new(Snapshot::new(tables.collect())));
    }

    async fn prepare_table(&self, stream: Stream, epoch: Epoch) -> Result<Option<(String, Vec<PreparedFile>)>> {
        let parts = self.tails()[slot(stream)].sealed(epoch);
        if parts.is_empty() {
            return Ok(None);
        }
        let files = self.writers[slot(stream)].write(epoch, parts).await?;
        let bytes = files.iter().map(|file| file.size).sum();
        self.stats.files_written.fetch_add(files.len() as u64, Ordering::Relaxed);
        self.stats.file_bytes_written.fetch_add(bytes, Ordering::Relaxed);
        Ok(Some((stream.name().to_owned(), files)))
    }

    async fn commit_table(&self, stream: Stream, epoch: Epoch, adds: Vec<PreparedFile>) -> Result<()> {
        let request = CommitRequest { adds, epoch: Some(epoch), ..Default::default() };
        if let crate::Committed::At(version) = self.log(stream).commit(&request).await? {
            self.stats.commits.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(table = %stream, epoch = epoch.0, version, files = request.adds.len(), "committed");
        }
        Ok(())
    }

    /// A log that cannot be shortened now is shortened later; the epoch is complete all the same.
    async fn maintain(&self) {
        for (stream, log) in Stream::ALL.into_iter().zip(&self.logs) {
            match log.maintain().await {
                Ok(true) => drop(self.stats.checkpoints.fetch_add(1, Ordering::Relaxed)),
                Ok(false) => {}
                Err(error) => tracing::warn!(table = %stream, %error, "no checkpoint"),
            }
        }
    }
}

#[async_trait]
impl Sink for Tables {
    fn name(&self) -> &str {
        "tables"
    }

    fn takes(&self, stream: &str) -> bool {
        Stream::from_name(stream).is_some()
    }

    fn write(&self, batch: Batch) {
        let rows = batch.records.num_rows();
        if rows == 0 {
            return;
        }
        let reject = |reason: &dyn std::fmt::Display| {
            self.stats.rows_rejected.fetch_add(rows as u64, Ordering::Relaxed);
            tracing::error!(stream = %batch.stream, rows, %reason, "rows do not fit their table");
        };
        let Some(stream) = Stream::from_name(&batch.stream) else { return reject(&"no such stream") };
        let records = match align(stream, &batch.records) {
            Ok(records) => records,
            Err(error) => return reject(&error),
        };
        self.stats.rows_written.fetch_add(rows as u64, Ordering::Relaxed);
        if records.num_columns() > stream.schema().fields().len() {
            self.stats.rows_suffixed.fetch_add(rows as u64, Ordering::Relaxed);
        }
        self.append(
            stream,
            batch.epoch,
            TailPart {
                records,
                tenant: batch.tenant,
                date: batch.ingest_time.day(),
                event_time: batch.event_time,
                bytes: batch.bytes,
            },
        );
    }

    fn seal(&self, epoch: Epoch) {
        self.tails().iter_mut().for_each(|tail| tail.seal(epoch));
    }

    fn pending_bytes(&self) -> usize {
        self.tails().iter().map(Tail::bytes).sum()
    }

    async fn prepare(&self, epoch: Epoch) -> std::result::Result<serde_json::Value, SinkError> {
        let tables = Stream::ALL.map(|stream| self.prepare_table(stream, epoch));
        let prepared: Vec<_> = futures::stream::iter(tables).buffered(PARALLEL).try_collect().await?;
        let prepared: Prepared = prepared.into_iter().flatten().collect();
        Ok(serde_json::to_value(prepared)?)
    }

    async fn commit(&self, epoch: Epoch, prepared: &serde_json::Value) -> std::result::Result<(), SinkError> {
        let tables = parse(epoch, prepared)?;
        let _committing = self.committing.lock().await;
        self.is_epoch_open.store(true, Ordering::Relaxed);
        let commits = tables.into_iter().map(|(stream, files)| self.commit_table(stream, epoch, files));
        futures::stream::iter(commits).buffered(PARALLEL).try_collect::<()>().await?;
        self.publish_committed(epoch);
        self.is_epoch_open.store(false, Ordering::Relaxed);
        self.maintain().await;
        Ok(())
    }

    async fn committed(&self) -> std::result::Result<Option<Epoch>, SinkError> {
        let mut newest = None;
        for log in &self.logs {
            newest = newest.max(log.refresh().await?.epoch);
        }
        Ok(newest)
    }
}

fn with_log(table: TableSnapshot, state: LogState) -> TableSnapshot {
    TableSnapshot { version: state.version, files: state.files, ..table }.with_columns(&state.suffixed)
}

pub(crate) fn parse(epoch: Epoch, prepared: &serde_json::Value) -> Result<Vec<(Stream, Vec<PreparedFile>)>> {
    let prepared: Prepared =
        serde::Deserialize::deserialize(prepared).map_err(|source| Error::Prepared { epoch, source })?;
    prepared
        .into_iter()
        .map(|(name, files)| match Stream::from_name(&name) {
            Some(stream) => Ok((stream, files)),
            None => Err(Error::Corrupt { path: format!("intent {}", epoch.0), reason: format!("no table {name:?}") }),
        })
        .collect()
}
