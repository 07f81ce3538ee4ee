//! Filters that a join, or the search for the first rows of an order, hands to a scan, for as long as they pay.
//!
//! A hash join knows which keys can match and tells the scan of its other side, so that rows without a partner are not
//! even read. Where most rows have one, the scan would look each of them up to no end: the join does so again. ORDER BY
//! with LIMIT says what the last row so far is: nothing at first, and more with each row that it takes.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::{snapshot_generation, snapshot_physical_expr};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows after which it is decided.
const ROWS_SEEN: u64 = 16 << 10;

/// A filter that need not be applied, evaluated until it is seen to leave more than half of the rows, and again when it
/// says something else.
#[derive(Debug)]
pub(super) struct WhileSelective {
    filter: Arc<dyn PhysicalExpr>,
    /// What of the filter's states the rows were seen with.
    generation: AtomicU64,
    seen: AtomicU64,
    left: AtomicU64,
}

impl WhileSelective {
    pub(super) fn new(filter: Arc<dyn PhysicalExpr>) -> Self {
        let (generation, seen, left) = Default::default();
        Self { filter, generation, seen, left }
    }

    fn pays(&self) -> bool {
        let (seen, left) = (self.seen.load(Ordering::Relaxed), self.left.load(Ordering::Relaxed));
        if seen < ROWS_SEEN || left * 2 < seen {
            return true;
        }
        let generation = snapshot_generation(&self.filter);
        let is_other = self.generation.swap(generation, Ordering::Relaxed) != generation;
        if is_other {
            self.seen.store(0, Ordering::Relaxed);
            self.left.store(0, Ordering::Relaxed);
        }
        is_other
    }
}

impl PhysicalExpr for WhileSelective {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if !self.pays() {
            return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))));
        }
        let found = self.filter.evaluate(batch)?.into_array(batch.num_rows())?;
        self.left.fetch_add(found.as_boolean().true_count() as u64, Ordering::Relaxed);
        self.seen.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        Ok(ColumnarValue::Array(found))
    }

    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(Arc::new(Field::new("while_selective", DataType::Boolean, true)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.filter]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self::new(children.into_iter().next().unwrap_or_else(|| self.filter.clone()))))
    }

    /// Row groups are left out by what the filter is now.
    fn snapshot(&self) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        snapshot_physical_expr(self.filter.clone()).map(Some)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.filter.fmt_sql(f)
    }
}

impl fmt::Display for WhileSelective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "while_selective({})", self.filter)
    }
}

impl PartialEq for WhileSelective {
    fn eq(&self, other: &Self) -> bool {
        self.filter.eq(&other.filter)
    }
}

impl Eq for WhileSelective {}

impl Hash for WhileSelective {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.filter.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{BinaryExpr, Column, DynamicFilterPhysicalExpr, lit};

    #[test]
    fn a_filter_that_says_more_is_asked_again() {
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new("n", 0));
        let filter = Arc::new(DynamicFilterPhysicalExpr::new(vec![column.clone()], lit(true)));
        let selective = WhileSelective::new(filter.clone());
        let numbers = Int64Array::from_iter_values(0..ROWS_SEEN as i64);
        let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).unwrap();
        let left =
            || selective.evaluate(&batch).unwrap().into_array(batch.num_rows()).unwrap().as_boolean().true_count();
        assert_eq!((left(), selective.seen.load(Ordering::Relaxed)), (batch.num_rows(), ROWS_SEEN));
        // The first decision only notes what the filter says.
        selective.pays();
        assert_eq!((left(), selective.pays()), (batch.num_rows(), false), "it leaves all rows");
        filter.update(Arc::new(BinaryExpr::new(column, Operator::Lt, lit(5i64)))).unwrap();
        assert_eq!(left(), 5);
        assert!(selective.pays());
    }
}
