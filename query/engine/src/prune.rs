//! Which files a filter can be true in, by tenant-independent facts of the log: partition values and column bounds.

use arrow::array::{ArrayRef, BooleanArray, Date32Array, StringArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use bodkin_table::{DATE, TENANT, TableFile, stat_array};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use std::collections::HashSet;
use std::sync::Arc;

/// The files of `files` in which `predicate` may hold; all of them where nothing can be said. `schema` is the table's:
/// stream columns, then partition columns. Costs one vectorized evaluation over all files.
pub(crate) fn prune(
    files: Vec<Arc<TableFile>>,
    predicate: &Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
) -> Vec<Arc<TableFile>> {
    if files.is_empty() {
        return files;
    }
    let builder = PruningPredicateBuilder::new().with_file_schema(schema.clone());
    let Some(pruning) = builder.build(predicate.clone()) else { return files };
    let bounds = FileBounds { files: &files, schema };
    match pruning.prune(&bounds) {
        Ok(keep) => files.into_iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect(),
        Err(error) => {
            tracing::debug!(%error, "files are not pruned");
            files
        }
    }
}

struct FileBounds<'a> {
    files: &'a [Arc<TableFile>],
    schema: &'a SchemaRef,
}

impl FileBounds<'_> {
    /// Values of a partition column, which are both bounds.
    fn partition(&self, name: &str) -> Option<ArrayRef> {
        match name {
            TENANT => Some(Arc::new(StringArray::from_iter_values(self.files.iter().map(|file| &file.tenant.0)))),
            DATE => Some(Arc::new(Date32Array::from_iter_values(self.files.iter().map(|file| file.date)))),
            _ => None,
        }
    }

    fn bounds(&self, column: &Column, is_max: bool) -> Option<ArrayRef> {
        if let Some(values) = self.partition(&column.name) {
            return Some(values);
        }
        let index = self.schema.index_of(&column.name).ok()?;
        let stats = self.files.iter().map(|file| file.stats.column(index));
        let values = stats.map(|stats| if is_max { stats.max } else { stats.min });
        Some(stat_array(self.schema.field(index).data_type(), values))
    }
}

impl PruningStatistics for FileBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, false)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, true)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        if self.partition(&column.name).is_some() {
            return Some(Arc::new(UInt64Array::from(vec![0; self.files.len()])));
        }
        let index = self.schema.index_of(&column.name).ok()?;
        let counts: UInt64Array = self.files.iter().map(|file| file.stats.column(index).null_count).collect();
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.files.iter().map(|file| file.rows))))
    }

    #[allow(clippy::mutable_key_type)] // the trait's own signature
    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
