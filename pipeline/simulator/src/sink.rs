//! Tables of the simulation: rows in memory, then in objects, committed to models of table logs.
//!
//! It keeps the contract of [`Sink`] as `bodkin_table::Tables` does, without Parquet: a file is a list of rows as JSON.

use crate::executor::lock;
use crate::mutation::Mutation;
use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use bodkin_engine::{Batch, Sink, SinkError};
use bodkin_schema::{Epoch, Stream};
use bodkin_table::{CommitRequest, ModelLog, PreparedFile, TableLog};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// One row, as far as invariants are about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Which row it is, or of which row it was made.
    pub(crate) id: i64,
    pub(crate) key: String,
    /// What an operator made of it.
    pub(crate) made: i64,
}

/// Tables that hold rows as they came; the others hold what operators made.
pub(crate) const RAW: [Stream; 2] = [Stream::Drops, Stream::Samples];
/// The table of [`crate::operators::Number`].
pub(crate) const NUMBERED: Stream = Stream::Series;
/// The table of [`crate::operators::Tag`] and [`crate::operators::Windows`].
pub(crate) const TAGGED: Stream = Stream::Events;

pub(crate) const TABLES: [Stream; 4] = [Stream::Drops, Stream::Samples, NUMBERED, TAGGED];

type Rows = BTreeMap<Stream, Vec<Row>>;

/// The tables of one life of a node.
pub(crate) struct SimTables {
    node: String,
    /// What tells the files of this life from those of others.
    life: u64,
    store: Arc<dyn ObjectStore>,
    logs: BTreeMap<Stream, ModelLog>,
    state: Mutex<State>,
    mutation: Option<Mutation>,
    is_recovering: AtomicBool,
}

#[derive(Default)]
struct State {
    tails: BTreeMap<Epoch, Rows>,
    /// Rows of committed files.
    files: Rows,
    bytes: usize,
}

impl SimTables {
    /// Opens the tables and reads what they hold.
    pub(crate) async fn open(
        store: Arc<dyn ObjectStore>,
        node: &str,
        life: u64,
        mutation: Option<Mutation>,
    ) -> Result<Arc<Self>, SinkError> {
        let mut logs = BTreeMap::new();
        let mut files = Rows::new();
        for stream in TABLES {
            let log = ModelLog::open(store.clone(), stream, node).await?;
            files.insert(stream, read_all(&store, &log).await?);
            logs.insert(stream, log);
        }
        let state = Mutex::new(State { files, ..State::default() });
        let (node, is_recovering) = (node.to_owned(), AtomicBool::new(true));
        Ok(Arc::new(Self { node, life, store, logs, state, mutation, is_recovering }))
    }

    /// Recovery is over.
    pub(crate) fn recovered(&self) {
        self.is_recovering.store(false, Ordering::Relaxed);
    }

    /// What a query sees.
    pub(crate) fn snapshot(&self) -> Rows {
        let state = lock(&self.state);
        let mut rows = state.files.clone();
        for (stream, tail) in state.tails.values().flatten() {
            rows.entry(*stream).or_default().extend(tail.iter().cloned());
        }
        rows
    }

    pub(crate) fn is_recovering(&self) -> bool {
        self.is_recovering.load(Ordering::Relaxed)
    }

    /// Name of the epoch's file in a table.
    fn path(&self, epoch: Epoch) -> String {
        let life = if self.mutation == Some(Mutation::FileNamesAreShared) { 0 } else { self.life };
        format!("{}-{:020}-{life}-0.parquet", self.node, epoch.0)
    }

    /// Merges the files of a table, as compaction does.
    pub(crate) async fn compact(&self, table: usize, now: std::time::Duration) -> Result<(), SinkError> {
        let (stream, log) = self.logs.iter().nth(table).ok_or("no such table")?;
        let removes: Vec<_> = log.state().files.iter().cloned().collect();
        if removes.len() < 2 {
            return Ok(());
        }
        let mut rows = Vec::new();
        for file in &removes {
            let content = self.store.get(&file.location).await?.bytes().await?;
            rows.extend(serde_json::from_slice::<Vec<Row>>(&content)?);
        }
        let path = format!("compacted-{}-{}.parquet", self.life, now.as_micros());
        let adds = vec![self.upload(*stream, path, &rows).await?];
        log.commit(&CommitRequest { adds, removes, epoch: None, is_rewrite: true }).await?;
        Ok(())
    }

    async fn prepare_table(&self, stream: Stream, epoch: Epoch, rows: Vec<Row>) -> Result<PreparedFile, SinkError> {
        let path = self.path(epoch);
        self.upload(stream, path, &rows).await
    }

    async fn upload(&self, stream: Stream, path: String, rows: &[Row]) -> Result<PreparedFile, SinkError> {
        let content = serde_json::to_vec(rows)?;
        let size = content.len() as u64;
        self.store.put(&location(stream, &path), content.into()).await?;
        let count = rows.len() as u64;
        Ok(PreparedFile {
            path,
            size,
            rows: count,
            tenant: "default".into(),
            date: "2026-03-01".into(),
            modified_ms: 0,
            stats: format!("{{\"numRecords\":{count}}}"),
            suffixed: Vec::new(),
        })
    }
}

fn location(stream: Stream, path: &str) -> Path {
    Path::from(format!("tables/{stream}/{path}"))
}

/// The rows of every file that a log names.
pub(crate) async fn read_all(store: &Arc<dyn ObjectStore>, log: &ModelLog) -> Result<Vec<Row>, SinkError> {
    let mut rows = Vec::new();
    for file in log.state().files.iter() {
        let content = store.get(&file.location).await?.bytes().await?;
        let found: Vec<Row> = serde_json::from_slice(&content)?;
        rows.extend(found);
    }
    Ok(rows)
}

fn rows_of(batch: &Batch) -> Vec<Row> {
    let numbers =
        |name: &str| batch.records.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let (ids, made) = (numbers("id").or(numbers("count")).or(numbers("series_id")), numbers("made"));
    let keys = batch.records.column_by_name("key").or(batch.records.column_by_name("reason"));
    let keys = keys.and_then(|keys| keys.as_string_opt::<i32>());
    (0..batch.records.num_rows())
        .map(|row| Row {
            id: ids.map_or(0, |ids| ids.value(row)),
            key: keys.filter(|keys| keys.is_valid(row)).map(|keys| keys.value(row).to_owned()).unwrap_or_default(),
            made: made.map_or(0, |made| made.value(row)),
        })
        .collect()
}

#[async_trait]
impl Sink for SimTables {
    fn name(&self) -> &str {
        "tables"
    }

    fn write(&self, batch: Batch) {
        let Some(stream) = Stream::from_name(&batch.stream) else { return };
        let mut state = lock(&self.state);
        let epoch = if self.mutation == Some(Mutation::EpochByArrival) { Epoch(0) } else { batch.epoch };
        state.bytes += batch.bytes;
        state.tails.entry(epoch).or_default().entry(stream).or_default().extend(rows_of(&batch));
    }

    fn seal(&self, epoch: Epoch) {
        let mut state = lock(&self.state);
        for (stream, rows) in state.tails.remove(&Epoch(0)).unwrap_or_default() {
            state.tails.entry(epoch).or_default().entry(stream).or_default().extend(rows);
        }
    }

    fn pending_bytes(&self) -> usize {
        lock(&self.state).bytes
    }

    async fn prepare(&self, epoch: Epoch) -> Result<serde_json::Value, SinkError> {
        let tables = lock(&self.state).tails.get(&epoch).cloned().unwrap_or_default();
        let mut prepared = BTreeMap::new();
        for (stream, rows) in tables {
            prepared.insert(stream.name(), vec![self.prepare_table(stream, epoch, rows).await?]);
        }
        Ok(serde_json::to_value(prepared)?)
    }

    async fn commit(&self, epoch: Epoch, prepared: &serde_json::Value) -> Result<(), SinkError> {
        if self.mutation == Some(Mutation::NoRollForward) && self.is_recovering.load(Ordering::Relaxed) {
            return Ok(());
        }
        let tables: BTreeMap<String, Vec<PreparedFile>> = serde_json::from_value(prepared.clone())?;
        for (name, adds) in &tables {
            let stream = Stream::from_name(name).ok_or("no such table")?;
            let log = self.logs.get(&stream).ok_or("no such table")?;
            let epoch = Some(epoch).filter(|_| self.mutation != Some(Mutation::CommitWithoutTransaction));
            log.commit(&CommitRequest { adds: adds.clone(), epoch, ..Default::default() }).await?;
        }
        if self.is_recovering.load(Ordering::Relaxed) {
            for (stream, log) in &self.logs {
                let rows = read_all(&self.store, log).await?;
                lock(&self.state).files.insert(*stream, rows);
            }
            return Ok(());
        }
        let mut state = lock(&self.state);
        for (stream, rows) in state.tails.remove(&epoch).unwrap_or_default() {
            state.files.entry(stream).or_default().extend(rows);
        }
        state.bytes = 0;
        Ok(())
    }

    async fn committed(&self) -> Result<Option<Epoch>, SinkError> {
        let mut newest = None;
        for log in self.logs.values() {
            newest = newest.max(log.refresh().await?.epoch);
        }
        Ok(newest.filter(|_| self.mutation != Some(Mutation::SleeperIsNotStopped)))
    }
}
