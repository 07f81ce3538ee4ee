//! The Parquet side of a scan.

use crate::dictionary::ReadPerValue;
use crate::metered::MeteredReaders;
use crate::stream_table::QueryView;
use arrow::datatypes::{DataType, SchemaRef};
use bodkin_table::{StatValue, TableFile};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, ScalarValue, Statistics};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileGroupPartitioner, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectMeta;
use std::sync::Arc;

/// Files whose bounds the planner is told of: they take 10 KiB each there, and of more files they say little.
const STATISTICS_FILES_MAX: usize = 512;
/// Partition columns at the end of every table: tenant, date.
const PARTITION_COLUMNS: usize = 2;

/// Plans the scan of `files` as `projection` of `schema`. Filters reach it later: the optimizer pushes them into the
/// Parquet reader. `are_rows_few` where these leave a few rows of each row group.
pub(crate) fn scan(
    session: &dyn Session,
    view: &QueryView,
    schema: &SchemaRef,
    files: &[Arc<TableFile>],
    projection: Option<&Vec<usize>>,
    limit: Option<usize>,
    are_rows_few: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let (stored, partition) = schema.fields().split_at(schema.fields().len() - PARTITION_COLUMNS);
    // Most queries ask for no partition column: then no file carries its values through every step of planning.
    let is_partition = |column: &usize| *column >= stored.len();
    let has_partition = projection.is_none_or(|columns| columns.iter().any(is_partition));
    let partition = if has_partition { partition.to_vec() } else { Vec::new() };
    let stored: SchemaRef = Arc::new(arrow::datatypes::Schema::new(stored.to_vec()));
    let table = TableSchema::builder(stored.clone()).with_table_partition_cols(partition).build();
    let schema = table.table_schema().clone();
    let partitioned = |file: &TableFile| partitioned(file, has_partition);

    let source = ParquetSource::new(table)
        .with_table_parquet_options(session.default_table_options().parquet)
        .with_parquet_file_reader_factory(readers(session, view, are_rows_few)?);

    let cores = session.config().target_partitions();
    let mut splitting = FileCompressionType::UNCOMPRESSED;
    let (groups, statistics) = match files.len() <= STATISTICS_FILES_MAX {
        true => with_statistics(files, partitioned, &stored, &schema, cores)?,
        false => {
            let rows = files.iter().map(|file| file.rows as usize).sum();
            let statistics = Statistics::new_unknown(&schema).with_num_rows(Precision::Exact(rows));
            if is_even(files, cores) {
                // The planner copies every file to cut them by bytes, and leaves alone what it takes for compressed.
                splitting = FileCompressionType::ZSTD;
            }
            let groups = even_groups(files, cores).map(|group| group.iter().map(|file| partitioned(file)).collect());
            (groups.collect(), statistics)
        }
    };
    let config = FileScanConfigBuilder::new(view.store.clone(), Arc::new(source))
        .with_file_compression_type(splitting)
        .with_file_groups(groups)
        .with_statistics(statistics)
        .with_projection_indices(projection.cloned())?
        .with_limit(limit)
        .with_expr_adapter(Some(Arc::new(ReadPerValue)))
        .build();
    Ok(DataSourceExec::from_data_source(config))
}

/// What reads files of the view, and counts it.
pub(crate) fn readers(session: &dyn Session, view: &QueryView, are_rows_few: bool) -> Result<Arc<MeteredReaders>> {
    let runtime = session.runtime_env();
    let footers = runtime.cache_manager.get_file_metadata_cache();
    let inner = Arc::new(CachedParquetFileReaderFactory::new(runtime.object_store(&view.store)?, footers.clone()));
    let (folder, counters) = (view.folder.clone(), view.counters.clone());
    Ok(Arc::new(MeteredReaders { inner, folder, footers, counters, are_rows_few }))
}

/// The files, without partition columns, in a group of about the same size for each core; a file may be cut into ranges
/// of bytes.
pub(crate) fn groups(files: &[Arc<TableFile>], cores: usize) -> Vec<FileGroup> {
    let whole = vec![files.iter().map(|file| partitioned(file, false)).collect::<FileGroup>()];
    let even = FileGroupPartitioner::new().with_target_partitions(cores).with_repartition_file_min_size(0);
    even.repartition_file_groups(&whole).unwrap_or(whole)
}

/// The files in groups, one for each core, with what is known of each file, each group and all.
fn with_statistics(
    files: &[Arc<TableFile>],
    partitioned: impl Fn(&TableFile) -> PartitionedFile,
    stored: &SchemaRef,
    schema: &SchemaRef,
    cores: usize,
) -> Result<(Vec<FileGroup>, Statistics)> {
    let known = files.iter().map(|file| partitioned(file).with_statistics(Arc::new(statistics(file, stored))));
    let groups = known.collect::<FileGroup>().split_files(cores);
    let group_statistics = |group: FileGroup| -> Result<FileGroup> {
        let of_files = group.iter().filter_map(|file| file.statistics.as_deref());
        let statistics = Statistics::try_merge_iter(of_files, schema)?;
        Ok(group.with_statistics(Arc::new(statistics)))
    };
    let groups = groups.into_iter().map(group_statistics).collect::<Result<Vec<_>>>()?;
    let of_groups = groups.iter().filter_map(|group| group.file_statistics(None));
    let statistics = Statistics::try_merge_iter(of_groups, schema)?;
    Ok((groups, statistics))
}

/// Whether no file alone keeps a core busy for long.
fn is_even(files: &[Arc<TableFile>], cores: usize) -> bool {
    let largest = files.iter().map(|file| file.size).max().unwrap_or_default();
    let all: u64 = files.iter().map(|file| file.size).sum();
    largest.saturating_mul(16 * cores as u64) <= all
}

/// The files in their order, cut where each group has as many bytes as the others.
fn even_groups(files: &[Arc<TableFile>], groups: usize) -> impl Iterator<Item = &[Arc<TableFile>]> {
    let all: u64 = files.iter().map(|file| file.size.max(1)).sum();
    let bytes_per_group = all.div_ceil(groups.max(1) as u64).max(1);
    let mut before = 0;
    let group_of = move |file: &Arc<TableFile>| {
        let group = before / bytes_per_group;
        before += file.size.max(1);
        group
    };
    let groups: Vec<u64> = files.iter().map(group_of).collect();
    let mut rest = files;
    let mut next = 0;
    std::iter::from_fn(move || {
        let group = groups.get(next)?;
        let count = groups[next..].iter().take_while(|other| *other == group).count();
        let (first, others) = rest.split_at(count);
        (rest, next) = (others, next + count);
        Some(first)
    })
}

/// What the store would say of `file`. Objects never change, so that no time is needed to know one again.
pub(crate) fn object(file: &TableFile) -> ObjectMeta {
    ObjectMeta {
        location: file.location.clone(),
        last_modified: Default::default(),
        size: file.size,
        e_tag: None,
        version: None,
    }
}

fn partitioned(file: &TableFile, has_partition: bool) -> PartitionedFile {
    let found = PartitionedFile::new_from_meta(object(file));
    if !has_partition {
        return found;
    }
    found.with_partition_values(vec![
        ScalarValue::Utf8(Some(file.tenant.to_string())),
        ScalarValue::Date32(Some(file.date)),
    ])
}

/// The number of rows is exact, so that COUNT(*) reads no file; the log's bounds are wider than the values and only
/// good for planning.
fn statistics(file: &TableFile, stored: &SchemaRef) -> Statistics {
    let columns = stored.fields().iter().enumerate().map(|(index, field)| {
        let stats = file.stats.column(index);
        let bound = |value: Option<&StatValue>| {
            let scalar = value.and_then(|value| scalar(value, field.data_type()));
            scalar.map_or(Precision::Absent, Precision::Inexact)
        };
        ColumnStatistics {
            null_count: stats.null_count.map_or(Precision::Absent, |count| Precision::Exact(count as usize)),
            min_value: bound(stats.min),
            max_value: bound(stats.max),
            ..Default::default()
        }
    });
    Statistics {
        num_rows: Precision::Exact(file.rows as usize),
        total_byte_size: Precision::Inexact(file.size as usize),
        column_statistics: columns.collect(),
    }
}

fn scalar(value: &StatValue, data_type: &DataType) -> Option<ScalarValue> {
    match (value, data_type) {
        (StatValue::Int(value), DataType::Int64) => Some(ScalarValue::Int64(Some(*value))),
        (StatValue::Int(value), DataType::Int32) => {
            i32::try_from(*value).ok().map(|value| ScalarValue::Int32(Some(value)))
        }
        (StatValue::Int(value), DataType::Timestamp(_, zone)) => {
            Some(ScalarValue::TimestampMicrosecond(Some(*value), zone.clone()))
        }
        (StatValue::Text(value), DataType::Utf8) => Some(ScalarValue::Utf8(Some(value.to_string()))),
        (StatValue::Text(value), DataType::Utf8View) => Some(ScalarValue::Utf8View(Some(value.to_string()))),
        _ => None,
    }
}
