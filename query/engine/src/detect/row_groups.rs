//! Which row groups of a file are read, and which columns of them.

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    BloomFilterStatistics, ParquetAccessPlan, ParquetFileMetrics, RowGroupAccessPlanFilter,
};
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask, parquet_column};
use datafusion::parquet::bloom_filter::Sbbf;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use std::sync::{Arc, OnceLock};

type Reader = Box<dyn AsyncFileReader>;

/// What a row must be for a rule to fire, as far as footers and bloom filters know.
pub(super) struct Leave {
    /// Over rows of `schema`.
    pub(super) predicate: Option<Arc<dyn PhysicalExpr>>,
    pruning: Option<Arc<PruningPredicate>>,
    schema: SchemaRef,
}

/// A file whose footer was read.
pub(super) struct Opened {
    /// With the places of pages.
    footer: ArrowReaderMetadata,
    /// Without; made where it is asked for.
    unpaged: OnceLock<ArrowReaderMetadata>,
    /// The row groups that may hold what is searched for.
    pub(super) groups: Vec<usize>,
}

impl Leave {
    /// Leaves out what `predicate`, over rows of `schema`, can hold for no row of.
    pub(super) fn new(predicate: Option<Arc<dyn PhysicalExpr>>, schema: SchemaRef) -> Self {
        let builder = PruningPredicateBuilder::new().with_file_schema(schema.clone());
        let pruning = predicate.clone().and_then(|predicate| builder.build(predicate));
        Self { predicate, pruning, schema }
    }

    /// Reads the footer of `file`, or of the part of it that `file` is.
    pub(super) async fn open(
        &self,
        mut reader: Reader,
        file: &PartitionedFile,
        partition: usize,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Opened> {
        let footer = ArrowReaderMetadata::try_new(reader.get_metadata(None).await?, ArrowReaderOptions::new())?;
        let groups = footer.metadata().row_groups();
        let mut left = RowGroupAccessPlanFilter::new(ParquetAccessPlan::new_all(groups.len()));
        if let Some(range) = &file.range {
            left.prune_by_range(groups, range);
        }
        if let Some(pruning) = &self.pruning {
            let metrics = ParquetFileMetrics::new(partition, file.object_meta.location.as_ref(), metrics);
            left.prune_by_statistics(&self.schema, footer.parquet_schema(), groups, pruning, &metrics);
            let mut blooms = vec![BloomFilterStatistics::new(); groups.len()];
            let mut reader = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, footer.clone());
            for group in left.row_group_indexes() {
                blooms[group] = self.blooms(&mut reader, pruning, group).await;
            }
            left.prune_by_bloom_filters(pruning, &metrics, &blooms);
        }
        let groups = left.row_group_indexes().collect();
        Ok(Opened { footer, unpaged: OnceLock::new(), groups })
    }

    /// The bloom filters of a row group that say something about values that are searched for. One that cannot be read
    /// says nothing.
    async fn blooms(
        &self,
        reader: &mut ParquetRecordBatchStreamBuilder<Reader>,
        pruning: &PruningPredicate,
        group: usize,
    ) -> BloomFilterStatistics {
        let mut found = BloomFilterStatistics::new();
        for name in pruning.literal_columns() {
            let Some((leaf, _)) = parquet_column(reader.parquet_schema(), reader.schema(), &name) else { continue };
            let column = reader.parquet_schema().column(leaf);
            let bloom: Option<Sbbf> =
                reader.get_row_group_column_bloom_filter(group, leaf).await.unwrap_or_else(|error| {
                    tracing::debug!(%error, "a bloom filter is not asked");
                    None
                });
            if let Some(bloom) = bloom {
                found.insert(name, bloom, column.physical_type(), column.type_length());
            }
        }
        found
    }
}

/// Stretches of rows from which on it is not worth looking which pages hold none of them: for each column all of the
/// stretches are walked.
const STRETCHES_MAX: usize = 1 << 12;

fn unpaged(footer: &ArrowReaderMetadata) -> ArrowReaderMetadata {
    let (file, groups) = (footer.metadata().file_metadata(), footer.metadata().row_groups());
    let metadata = Arc::new(ParquetMetaData::new(file.clone(), groups.to_vec()));
    ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new()).unwrap_or_else(|_| footer.clone())
}

impl Opened {
    /// The footer to read `rows` of a row group by.
    pub(super) fn footer(&self, rows: Option<&RowSelection>) -> ArrowReaderMetadata {
        match rows.is_some_and(|rows| rows.iter().take(STRETCHES_MAX).count() == STRETCHES_MAX) {
            true => self.unpaged.get_or_init(|| unpaged(&self.footer)).clone(),
            false => self.footer.clone(),
        }
    }

    /// Whether every row of a row group has a value in a column.
    pub(super) fn is_whole(&self, group: usize, name: &str) -> bool {
        let schema = self.footer.parquet_schema();
        let Some((leaf, _)) = parquet_column(schema, self.footer.schema(), name) else { return false };
        let statistics = self.footer.metadata().row_group(group).column(leaf).statistics();
        let nulls = || statistics.and_then(|statistics| statistics.null_count_opt());
        schema.column(leaf).max_def_level() == 0 || nulls() == Some(0)
    }

    /// Those of the columns called `names` that have a value in a row group, as far as is known.
    pub(super) fn columns(&self, group: usize, names: &[&str]) -> ProjectionMask {
        let fields = self.footer.schema().fields().iter().enumerate();
        let read =
            fields.filter(|(_, field)| names.contains(&field.name().as_str()) && self.has_value(group, field.name()));
        ProjectionMask::roots(self.footer.parquet_schema(), read.map(|(root, _)| root).collect::<Vec<_>>())
    }

    /// Lists and maps count as having one: whether they hold nothing or nulls is not known.
    fn has_value(&self, group: usize, name: &str) -> bool {
        let Some((leaf, _)) = parquet_column(self.footer.parquet_schema(), self.footer.schema(), name) else {
            return true;
        };
        let column = self.footer.metadata().row_group(group).column(leaf);
        let nulls = column.statistics().and_then(|statistics| statistics.null_count_opt());
        nulls != Some(column.num_values() as u64)
    }
}
