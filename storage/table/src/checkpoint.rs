//! A checkpoint of a Delta log, read straight into what a table keeps of it: no second copy of every file's statistics as
//! text, and the texts read on all cores. What is not as we write it (parts, the second version of checkpoints, files
//! without statistics) is left to `deltalake-core`.

use crate::actions::from_json;
use crate::file_reader::FileReader;
use crate::{DATE, Error, PreparedFile, Removed, Result, TENANT, TableFile};
use arrow::array::{Array, AsArray, MapArray, RecordBatch, StringArray, StructArray};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use bodkin_schema::Stream;
use deltalake_core::kernel::{Metadata, Protocol};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows that one thread reads at a time: some MiB of statistics.
const ROWS_PER_BATCH: usize = 1024;
const COLUMNS: [&str; 8] =
    ["txn", "protocol", "metaData", "add.path", "add.partitionValues", "add.size", "add.modificationTime", "add.stats"];

/// What a checkpoint says of a table.
#[derive(Debug, Default)]
pub(crate) struct Checkpoint {
    pub(crate) protocol: Option<Protocol>,
    pub(crate) metadata: Option<Metadata>,
    /// The last epoch of the node.
    pub(crate) epoch: Option<u64>,
    pub(crate) files: Vec<Arc<TableFile>>,
}

/// How a version of a log is read: a checkpoint, if there is one, and the entries that follow it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) checkpoint: Option<ObjectMeta>,
    /// The versions of the entries, in order.
    pub(crate) entries: Vec<u64>,
    /// The version that they lead to.
    pub(crate) version: u64,
}

/// How to read `version` of a log, or its newest, that has the objects `found`. None where that is not certain.
pub(crate) fn plan(found: &[ObjectMeta], version: Option<u64>) -> Option<Plan> {
    let mut entries = BTreeSet::new();
    let mut checkpoint: Option<(u64, &ObjectMeta)> = None;
    for object in found {
        let (number, kind) = object.location.filename()?.split_once('.').unwrap_or_default();
        let Ok(number) = number.parse::<u64>() else { continue };
        let is_wanted = version.is_none_or(|version| number <= version);
        match kind {
            "json" => drop(entries.insert(number)),
            "checkpoint.parquet" if is_wanted && checkpoint.is_none_or(|(newest, _)| newest < number) => {
                checkpoint = Some((number, object));
            }
            "checkpoint.parquet" => {}
            // In parts, or of the second version, or entries that another tool has put together.
            _ if is_wanted => return None,
            _ => {}
        }
    }
    let first = checkpoint.map_or(0, |(number, _)| number + 1);
    let newest = entries.last().copied();
    let last = version.or(newest.max(checkpoint.map(|(number, _)| number)))?;
    let wanted: Vec<u64> = (first..=last).collect();
    wanted.iter().all(|number| entries.contains(number)).then(|| Plan {
        checkpoint: checkpoint.map(|(_, object)| object.clone()),
        entries: wanted,
        version: last,
    })
}

/// Reads the checkpoint `object`. None where it does not say all that a table keeps.
pub(crate) async fn read(
    store: Arc<dyn ObjectStore>,
    object: &ObjectMeta,
    stream: Stream,
    node: &str,
) -> Result<Option<Checkpoint>> {
    let batches = batches(store, object, &COLUMNS).await?;
    let node: Arc<str> = node.into();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let parts = batches.map(|batch| {
        let node = node.clone();
        async move {
            let batch = batch?;
            let read = tokio::task::spawn_blocking(move || read_rows(&batch, stream, &node));
            read.await.unwrap_or(Err(Error::Stopped { table: stream }))
        }
    });
    let mut parts = parts.buffered(cores);
    let mut whole = Checkpoint::default();
    while let Some(part) = parts.try_next().await? {
        let Some(part) = part else { return Ok(None) };
        whole.protocol = part.protocol.or(whole.protocol);
        whole.metadata = part.metadata.or(whole.metadata);
        whole.epoch = part.epoch.max(whole.epoch);
        whole.files.extend(part.files);
    }
    Ok((whole.protocol.is_some() && whole.metadata.is_some()).then_some(whole))
}

/// The files that the checkpoint `object` remembers as removed. None where a path is written in code.
pub(crate) async fn read_removed(store: Arc<dyn ObjectStore>, object: &ObjectMeta) -> Result<Option<Vec<Removed>>> {
    let mut batches = batches(store, object, &["remove.path", "remove.deletionTimestamp"]).await?;
    let mut removed = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        let Some(found) = removed_of(&batch) else { return Ok(None) };
        removed.extend(found);
    }
    Ok(Some(removed))
}

fn removed_of(batch: &RecordBatch) -> Option<Vec<Removed>> {
    let all = batch.column_by_name("remove")?.as_struct_opt()?;
    let paths = all.column_by_name("path")?.as_string_opt::<i32>()?;
    let times = all.column_by_name("deletionTimestamp")?.as_primitive_opt::<Int64Type>()?;
    let rows = (0..batch.num_rows()).filter(|row| all.is_valid(*row));
    rows.map(|row| {
        let path = Some(paths.value(row)).filter(|path| !path.contains('%'))?.to_owned();
        let removed_ms = if times.is_valid(row) { times.value(row) } else { 0 };
        Some(Removed { path, removed_ms })
    })
    .collect()
}

/// The rows of the checkpoint `object`, in those `columns` that it has.
async fn batches(
    store: Arc<dyn ObjectStore>,
    object: &ObjectMeta,
    columns: &[&str],
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let path = object.location.to_string();
    let failed = move |source| Error::Parquet { path: path.clone(), source };
    let mut reader = FileReader { store, location: object.location.clone(), size: object.size };
    // Types as the file has them, not as its writer held them.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::load_async(&mut reader, options).await.map_err(&failed)?;
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata);
    let columns = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let batches = builder.with_projection(columns).with_batch_size(ROWS_PER_BATCH).build().map_err(&failed)?;
    Ok(batches.map_err(failed).boxed())
}

fn read_rows(batch: &RecordBatch, stream: Stream, node: &str) -> Result<Option<Checkpoint>> {
    let rows = |source| Error::Rows { table: stream, source };
    let mut checkpoint = Checkpoint {
        protocol: single(batch, "protocol").map_err(rows)?.map(|json| from_json(stream, &json)).transpose()?,
        metadata: single(batch, "metaData").map_err(rows)?.map(|json| from_json(stream, &json)).transpose()?,
        epoch: epoch(batch, node),
        files: Vec::new(),
    };
    let Some(adds) = Adds::of(batch) else { return Ok(None) };
    checkpoint.files.reserve(batch.num_rows());
    for row in (0..batch.num_rows()).filter(|row| adds.all.is_valid(*row)) {
        let Some(file) = adds.file(row) else { return Ok(None) };
        checkpoint.files.push(Arc::new(TableFile::new(stream, &file)?));
    }
    Ok(Some(checkpoint))
}

/// The last row that the column `name` has, as JSON.
fn single(batch: &RecordBatch, name: &str) -> std::result::Result<Option<Vec<u8>>, ArrowError> {
    let Some(column) = batch.column_by_name(name).and_then(|column| column.as_struct_opt()) else { return Ok(None) };
    let Some(row) = (0..column.len()).rev().find(|row| column.is_valid(*row)) else { return Ok(None) };
    let mut json = Vec::new();
    LineDelimitedWriter::new(&mut json).write(&RecordBatch::from(column.slice(row, 1)))?;
    Ok(Some(json))
}

/// The last epoch of `node` that is in.
fn epoch(batch: &RecordBatch, node: &str) -> Option<u64> {
    let transactions = batch.column_by_name("txn")?.as_struct_opt()?;
    let nodes = transactions.column_by_name("appId")?.as_string_opt::<i32>()?;
    let versions = transactions.column_by_name("version")?.as_primitive_opt::<Int64Type>()?;
    let own = (0..batch.num_rows()).filter(|row| transactions.is_valid(*row) && nodes.value(*row) == node);
    own.filter_map(|row| u64::try_from(versions.value(row)).ok()).max()
}

/// The columns of `add`.
struct Adds<'a> {
    all: &'a StructArray,
    paths: &'a StringArray,
    stats: &'a StringArray,
    sizes: &'a [i64],
    modified: &'a [i64],
    partitions: &'a MapArray,
    keys: &'a StringArray,
    values: &'a StringArray,
}

impl<'a> Adds<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let all = batch.column_by_name("add")?.as_struct_opt()?;
        let ints = |name: &str| Some(all.column_by_name(name)?.as_primitive_opt::<Int64Type>()?.values().as_ref());
        let partitions = all.column_by_name("partitionValues")?.as_map_opt()?;
        Some(Self {
            all,
            paths: all.column_by_name("path")?.as_string_opt()?,
            stats: all.column_by_name("stats")?.as_string_opt()?,
            sizes: ints("size")?,
            modified: ints("modificationTime")?,
            partitions,
            keys: partitions.keys().as_string_opt()?,
            values: partitions.values().as_string_opt()?,
        })
    }

    /// The file of a row that has one; none where it lacks statistics, or its path is written in code.
    fn file(&self, row: usize) -> Option<PreparedFile> {
        let path = self.paths.value(row);
        if self.stats.is_null(row) || path.contains('%') {
            return None;
        }
        let entries = self.partitions.value_offsets();
        let entries = entries[row] as usize..entries[row + 1] as usize;
        let partition = |name: &str| {
            let entry = entries.clone().find(|entry| self.keys.value(*entry) == name);
            entry.filter(|entry| self.values.is_valid(*entry)).map_or("", |entry| self.values.value(entry)).to_owned()
        };
        Some(PreparedFile {
            path: path.to_owned(),
            size: self.sizes[row].try_into().unwrap_or_default(),
            rows: 0,
            tenant: partition(TENANT),
            date: partition(DATE),
            modified_ms: self.modified[row],
            stats: self.stats.value(row).to_owned(),
            suffixed: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::path::Path;

    fn object(name: &str) -> ObjectMeta {
        ObjectMeta {
            location: Path::from(format!("tables/drops/_delta_log/{name}")),
            last_modified: Default::default(),
            size: 1,
            e_tag: None,
            version: None,
        }
    }

    fn planned(names: &[&str], version: Option<u64>) -> Option<(Option<String>, Vec<u64>, u64)> {
        let found: Vec<_> = names.iter().map(|name| object(name)).collect();
        let plan = plan(&found, version)?;
        let checkpoint = plan.checkpoint.and_then(|object| object.location.filename().map(str::to_owned));
        Some((checkpoint, plan.entries, plan.version))
    }

    #[test]
    fn the_newest_checkpoint_and_what_follows_it() {
        let log =
            ["0.json", "1.json", "2.json", "1.checkpoint.parquet", "0.checkpoint.parquet", "_last_checkpoint", "2.crc"];
        let newest = Some("1.checkpoint.parquet".to_owned());
        assert_eq!(planned(&log, None), None, "a checksum is of another tool");
        let log = &log[..6];
        assert_eq!(planned(log, None), Some((newest.clone(), vec![2], 2)));
        assert_eq!(planned(log, Some(1)), Some((newest, vec![], 1)));
        assert_eq!(planned(log, Some(0)), Some((Some("0.checkpoint.parquet".to_owned()), vec![], 0)));
        assert_eq!(planned(log, Some(3)), None, "there is no such version");
        assert_eq!(planned(&["0.json", "1.json"], None), Some((None, vec![0, 1], 1)));
        assert_eq!(planned(&["1.json", "2.json"], None), None, "the beginning has expired");
        assert_eq!(
            planned(&["3.checkpoint.parquet"], None),
            Some((Some("3.checkpoint.parquet".to_owned()), vec![], 3))
        );
        assert_eq!(planned(&["3.checkpoint.parquet", "5.json"], None), None, "there is a gap");
        assert_eq!(planned(&["0.json", "1.checkpoint.0000000001.0000000002.parquet"], None), None);
        assert_eq!(planned(&[], None), None);
    }
}
