//! Which files a filter can be true in, by tenant-independent facts of the log: partition values and column bounds.

use arrow::array::{ArrayRef, BooleanArray, Date32Array, StringArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use bodkin_table::{DATE, TENANT, TableFile, stat_array};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
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
    let bounds = FileBounds { files: &files, schema, known: RefCell::default() };
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
    /// Columns that were asked for.
    known: RefCell<HashMap<String, ColumnBounds>>,
}

/// What is known of one column, a value for each file.
#[derive(Clone)]
struct ColumnBounds {
    min: ArrayRef,
    max: ArrayRef,
    null_counts: ArrayRef,
}

impl FileBounds<'_> {
    /// Made once: each file's statistics lie somewhere else in memory, and getting there is what costs.
    fn column(&self, column: &Column) -> Option<ColumnBounds> {
        if let Some(known) = self.known.borrow().get(&column.name) {
            return Some(known.clone());
        }
        let made = self.partition(&column.name).or_else(|| self.logged(&column.name))?;
        self.known.borrow_mut().insert(column.name.clone(), made.clone());
        Some(made)
    }

    /// A partition column: its values are both bounds.
    fn partition(&self, name: &str) -> Option<ColumnBounds> {
        let values: ArrayRef = match name {
            TENANT => Arc::new(StringArray::from_iter_values(self.files.iter().map(|file| &file.tenant.0))),
            DATE => Arc::new(Date32Array::from_iter_values(self.files.iter().map(|file| file.date))),
            _ => return None,
        };
        let null_counts = Arc::new(UInt64Array::from(vec![0; self.files.len()]));
        Some(ColumnBounds { min: values.clone(), max: values, null_counts })
    }

    fn logged(&self, name: &str) -> Option<ColumnBounds> {
        let index = self.schema.index_of(name).ok()?;
        let data_type = self.schema.field(index).data_type();
        let stats: Vec<_> = self.files.iter().map(|file| file.stats.column(index)).collect();
        Some(ColumnBounds {
            min: stat_array(data_type, stats.iter().map(|stats| stats.min)),
            max: stat_array(data_type, stats.iter().map(|stats| stats.max)),
            null_counts: Arc::new(stats.iter().map(|stats| stats.null_count).collect::<UInt64Array>()),
        })
    }
}

impl PruningStatistics for FileBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        Some(self.column(column)?.min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        Some(self.column(column)?.max)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        Some(self.column(column)?.null_counts)
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.files.iter().map(|file| file.rows))))
    }

    #[allow(clippy::mutable_key_type)] // the trait's own signature
    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
