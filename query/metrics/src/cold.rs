//! Samples that are in tables alone: files and tail of one snapshot, read in the columns and for the series asked for.

use crate::columns::{HistogramColumns, SampleColumns};
use crate::file::StoreFile;
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use async_trait::async_trait;
use bodkin_promql::FloatHistogram;
use bodkin_rollup::Ladder;
use bodkin_schema::{Stream, Tenant, metrics};
use bodkin_table::{Snapshot, StatValue, TableFile};
use futures::TryStreamExt;
use object_store::ObjectStore;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicate, ArrowPredicateFn, RowFilter};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use rustc_hash::{FxHashMap, FxHashSet};
use std::fmt;
use std::sync::Arc;

/// Rows of a batch of a tier: little memory, used again and again.
const BATCH_ROWS: usize = 8192;

/// Why the tables cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ColdError {
    /// A file or its store.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What went wrong.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// Rows that are not what their table has.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// More samples than may be held at once.
    #[error("these are too many samples: ask for less time, or for windows that a tier has")]
    TooLarge,
    /// No snapshot.
    #[error("the tables are not available: {0}")]
    Unavailable(String),
}

/// Gives snapshots of the tables.
#[async_trait]
pub trait Tables: Send + Sync + fmt::Debug {
    /// The newest snapshot that holds every row that was acknowledged before the call.
    async fn snapshot(&self) -> Result<Arc<Snapshot>, ColdError>;

    /// The store that holds the files.
    fn store(&self) -> Arc<dyn ObjectStore>;

    /// The rollup ladder of the tables; none where nobody makes one.
    fn ladder(&self) -> Option<Arc<Ladder>> {
        None
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct ColdRange {
    /// Series and their places in the answer.
    pub(crate) series: Arc<FxHashMap<i64, u32>>,
    /// Their metrics.
    pub(crate) metrics: Arc<FxHashSet<i64>>,
    /// From and to in microseconds, both inclusive.
    pub(crate) from_us: i64,
    pub(crate) to_us: i64,
}

/// Old samples of one series; no time twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct ColdSeries {
    pub(crate) times_ms: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

/// Whether `file` is of the default tenant and its bounds allow rows that are asked for.
pub(crate) fn is_wanted(stream: Stream, file: &TableFile, range: &ColdRange) -> bool {
    is_ours(&file.tenant) && may_hold(stream, file, range)
}

/// Reads what `range` asks for from some tables of samples. Of two values of one time the one that was stored first counts. `charge` is told of
/// the bytes as they are held.
pub(crate) async fn read<E: From<ColdError>>(
    snapshot: &Snapshot,
    store: &Arc<dyn ObjectStore>,
    streams: &[Stream],
    range: &ColdRange,
    mut charge: impl FnMut(usize) -> Result<(), E>,
) -> Result<FxHashMap<u32, ColdSeries>, E> {
    let mut found: FxHashMap<u32, ColdSeries> = FxHashMap::default();
    for stream in streams.iter().copied() {
        let table = snapshot.table(stream);
        for file in table.files.iter().filter(|file| is_wanted(stream, file, range)) {
            for records in read_file(stream, store, file, range).await? {
                charge(records.get_array_memory_size())?;
                collect(stream, &records, range, &mut found).map_err(ColdError::from)?;
            }
        }
        for part in table.tail.iter().filter(|part| is_ours(&part.tenant)) {
            let in_time = part.event_time.is_none_or(|time| time.min.0 <= range.to_us && time.max.0 >= range.from_us);
            if in_time {
                collect(stream, &part.records, range, &mut found).map_err(ColdError::from)?;
            }
        }
    }
    found.values_mut().for_each(ColdSeries::order);
    Ok(found)
}

fn is_ours(tenant: &Tenant) -> bool {
    *tenant == Tenant::default()
}

impl ColdSeries {
    /// Sorts by time; of equal times the first that was read stays, a float before a histogram.
    fn order(&mut self) {
        if !self.times_ms.is_sorted_by(|left, right| left < right) {
            let mut rows: Vec<usize> = (0..self.times_ms.len()).collect();
            rows.sort_by_key(|row| self.times_ms[*row]);
            rows.dedup_by_key(|row| self.times_ms[*row]);
            self.times_ms = rows.iter().map(|row| self.times_ms[*row]).collect::<Vec<_>>();
            let values = std::mem::take(&mut self.values);
            // Times were replaced above; the rows still name places in the old values.
            self.values = rows.iter().map(|row| values[*row]).collect();
        }
        self.histograms.sort_by_key(|(ts_ms, _)| *ts_ms);
        self.histograms.dedup_by_key(|(ts_ms, _)| *ts_ms);
        let times_ms = &self.times_ms;
        self.histograms.retain(|(ts_ms, _)| times_ms.binary_search(ts_ms).is_err());
    }
}

/// Whether the file's bounds allow rows that are asked for.
fn may_hold(stream: Stream, file: &TableFile, range: &ColdRange) -> bool {
    let schema = stream.schema();
    let bounds = |name: &str| {
        let stats = schema.index_of(name).ok().map(|index| file.stats.column(index));
        let int = |value: Option<&StatValue>| match value {
            Some(StatValue::Int(value)) => Some(*value),
            _ => None,
        };
        stats.map_or((None, None), |stats| (int(stats.min), int(stats.max)))
    };
    let (min_ts, max_ts) = bounds(metrics::TS);
    let (min_metric, max_metric) = bounds(metrics::METRIC_ID);
    overlaps(min_ts, max_ts, range.from_us, range.to_us)
        && range.metrics.iter().any(|metric| overlaps(min_metric, max_metric, *metric, *metric))
}

fn overlaps(min: Option<i64>, max: Option<i64>, from: i64, to: i64) -> bool {
    min.is_none_or(|min| min <= to) && max.is_none_or(|max| max >= from)
}

pub(crate) async fn read_file(
    stream: Stream,
    store: &Arc<dyn ObjectStore>,
    file: &TableFile,
    range: &ColdRange,
) -> Result<Vec<RecordBatch>, ColdError> {
    let failed = |source| ColdError::File { path: file.location.to_string(), source };
    let builder = ParquetRecordBatchStreamBuilder::new(StoreFile::new(store, file)).await.map_err(failed)?;
    let schema = builder.parquet_schema();
    let leaf = |name: &str| (0..schema.num_columns()).find(|index| schema.column(*index).path().parts()[0] == name);
    let (Some(metric), Some(series), Some(ts)) =
        (leaf(metrics::METRIC_ID), leaf(metrics::SERIES_ID), leaf(metrics::TS))
    else {
        return Err(ArrowError::SchemaError(format!("{}: a column is missing", file.location)).into());
    };
    let groups: Vec<usize> = (0..builder.metadata().num_row_groups())
        .filter(|index| group_may_hold(builder.metadata().row_group(*index), metric, ts, range))
        .collect();
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let only = |leaf| ProjectionMask::leaves(schema, [leaf]);
    let filters = filters(only(series), only(ts), range);
    let rows = builder.with_row_groups(groups).with_row_filter(RowFilter::new(filters)).build().map_err(failed)?;
    let batches: Vec<RecordBatch> = rows.try_collect().await.map_err(failed)?;
    batches.iter().map(|batch| in_types(stream, batch)).collect()
}

/// Gives the rows of a file of a tier in `columns`, batch by batch; also some that `range` does not ask for, where most
/// are asked for. Windows are `window_us` long.
pub(crate) async fn each_tier_batch<E: From<ColdError>>(
    (stream, window_us): (Stream, i64),
    store: &Arc<dyn ObjectStore>,
    file: &TableFile,
    range: &ColdRange,
    columns: &[&str],
    mut take: impl FnMut(&RecordBatch) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source| ColdError::File { path: file.location.to_string(), source };
    let builder = ParquetRecordBatchStreamBuilder::new(StoreFile::new(store, file)).await.map_err(failed)?;
    let (wanted, filters) = {
        let schema = builder.parquet_schema();
        let leaf = |name: &str| (0..schema.num_columns()).find(|index| schema.column(*index).path().parts()[0] == name);
        let missing = || ArrowError::SchemaError(format!("{}: a column is missing", file.location));
        let leaves = |name: &&str| leaf(name).ok_or_else(missing);
        let wanted = columns.iter().map(leaves).collect::<Result<Vec<_>, _>>().map_err(ColdError::from)?;
        let (metric, ts) =
            leaf(metrics::METRIC_ID).zip(leaf(metrics::TS)).ok_or_else(missing).map_err(ColdError::from)?;
        let series = leaf(metrics::SERIES_ID).ok_or_else(missing).map_err(ColdError::from)?;
        let groups: Vec<usize> = (0..builder.metadata().num_row_groups())
            .filter(|index| group_may_hold(builder.metadata().row_group(*index), metric, ts, range))
            .collect();
        let rows: i64 = groups.iter().map(|group| builder.metadata().row_group(*group).num_rows()).sum();
        let windows = (range.to_us.saturating_sub(range.from_us) / window_us).saturating_add(1);
        let asked = windows.saturating_mul(range.series.len() as i64);
        // A filter reads two columns twice; it is worth that where it leaves much out.
        let only = |leaf| ProjectionMask::leaves(schema, [leaf]);
        let filters = (asked < rows / 2).then(|| RowFilter::new(filters(only(series), only(ts), range)));
        (ProjectionMask::leaves(schema, wanted), (groups, filters))
    };
    let (groups, filters) = filters;
    if groups.is_empty() {
        return Ok(());
    }
    let mut builder = builder.with_row_groups(groups).with_projection(wanted).with_batch_size(BATCH_ROWS);
    if let Some(filters) = filters {
        builder = builder.with_row_filter(filters);
    }
    let mut batches = builder.build().map_err(failed)?;
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        take(&in_types_of_own(stream, &batch)?)?;
    }
    Ok(())
}

/// Conditions on the columns `series` and `ts`.
fn filters(series: ProjectionMask, ts: ProjectionMask, range: &ColdRange) -> Vec<Box<dyn ArrowPredicate>> {
    let (ids, times) = (range.series.clone(), (range.from_us, range.to_us));
    let of_series = ArrowPredicateFn::new(series, move |batch| {
        let column = batch.column(0).as_primitive::<Int64Type>();
        Ok(BooleanArray::from_unary(column, |id| ids.contains_key(&id)))
    });
    let in_time = ArrowPredicateFn::new(ts, move |batch| {
        let column = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Int64)?;
        let column = column.as_primitive::<Int64Type>().clone();
        Ok(BooleanArray::from_unary(&column, |ts| times.0 <= ts && ts <= times.1))
    });
    vec![Box::new(of_series), Box::new(in_time)]
}

/// The columns that are there, in the types of the stream.
fn in_types_of_own(stream: Stream, records: &RecordBatch) -> Result<RecordBatch, ColdError> {
    let (schema, own) = (stream.schema(), records.schema());
    let columns = own.fields().iter().zip(records.columns()).map(|(field, column)| {
        let field = schema.field_with_name(field.name())?;
        let column = match column.data_type() == field.data_type() {
            true => column.clone(),
            false => arrow::compute::cast(column, field.data_type())?,
        };
        Ok((field.name().clone(), column))
    });
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// Files hold no Arrow schema: their columns are brought to the stream's types.
fn in_types(stream: Stream, records: &RecordBatch) -> Result<RecordBatch, ColdError> {
    let schema = stream.schema();
    let columns = schema.fields().iter().map(|field| {
        let column = records.column_by_name(field.name());
        let column = column.ok_or_else(|| ArrowError::SchemaError(format!("column {} is missing", field.name())))?;
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        arrow::compute::cast(column, field.data_type())
    });
    Ok(RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, ArrowError>>()?)?)
}

fn group_may_hold(group: &RowGroupMetaData, metric: usize, ts: usize, range: &ColdRange) -> bool {
    let bounds = |leaf: usize| match group.column(leaf).statistics() {
        Some(Statistics::Int64(stats)) => (stats.min_opt().copied(), stats.max_opt().copied()),
        _ => (None, None),
    };
    let ((min_ts, max_ts), (min_metric, max_metric)) = (bounds(ts), bounds(metric));
    overlaps(min_ts, max_ts, range.from_us, range.to_us)
        && range.metrics.iter().any(|metric| overlaps(min_metric, max_metric, *metric, *metric))
}

fn collect(
    stream: Stream,
    records: &RecordBatch,
    range: &ColdRange,
    found: &mut FxHashMap<u32, ColdSeries>,
) -> Result<(), ArrowError> {
    let in_range = |ts_us: i64| range.from_us <= ts_us && ts_us <= range.to_us;
    if stream == Stream::Samples {
        let columns = SampleColumns::new(records)?;
        for ((id, ts_us), value) in columns.series_id.iter().zip(columns.ts_us).zip(columns.value) {
            if let (true, Some(place)) = (in_range(*ts_us), range.series.get(id)) {
                let series = found.entry(*place).or_default();
                series.times_ms.push(ts_us.div_euclid(1000));
                series.values.push(*value);
            }
        }
        return Ok(());
    }
    let columns = HistogramColumns::new(records)?;
    for (row, (id, ts_us)) in columns.series_id.iter().zip(columns.ts_us).enumerate() {
        if let (true, Some(place)) = (in_range(*ts_us), range.series.get(id)) {
            let value = Arc::new(columns.value(row));
            found.entry(*place).or_default().histograms.push((ts_us.div_euclid(1000), value));
        }
    }
    Ok(())
}

/// Rows of a file that lie at or after `from_us`.
pub(crate) async fn read_since(
    stream: Stream,
    store: &Arc<dyn ObjectStore>,
    file: &TableFile,
    from_us: Option<i64>,
) -> Result<Vec<RecordBatch>, ColdError> {
    let failed = |source| ColdError::File { path: file.location.to_string(), source };
    let builder = ParquetRecordBatchStreamBuilder::new(StoreFile::new(store, file)).await.map_err(failed)?;
    let batches: Vec<RecordBatch> = builder.build().map_err(failed)?.try_collect().await.map_err(failed)?;
    let mut rows = Vec::with_capacity(batches.len());
    for batch in &batches {
        // Maps are read by their own columns; the names inside of them differ between writers.
        let batch = if stream == Stream::Series { batch.clone() } else { in_types(stream, batch)? };
        let times = batch.column_by_name(metrics::TS).and_then(|ts| ts.as_primitive_opt::<TimestampMicrosecondType>());
        match (from_us, times) {
            (Some(from_us), Some(times)) => {
                let keep = BooleanArray::from_unary(times, |ts| ts >= from_us);
                rows.push(filter_record_batch(&batch, &keep)?);
            }
            _ => rows.push(batch),
        }
    }
    rows.retain(|batch| batch.num_rows() > 0);
    Ok(rows)
}
