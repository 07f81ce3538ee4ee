//! Filters that a join hands to a scan, for as long as they pay.
//!
//! A hash join knows which keys can match and tells the scan of its other side, so that rows without a partner are not
//! even read. Where most rows have one, the scan would look each of them up to no end: the join does so again.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows after which it is decided.
const ROWS_SEEN: u64 = 16 << 10;

/// A filter that need not be applied, evaluated until it is seen to leave more than half of the rows.
#[derive(Debug)]
pub(super) struct WhileSelective {
    filter: Arc<dyn PhysicalExpr>,
    seen: AtomicU64,
    left: AtomicU64,
}

impl WhileSelective {
    pub(super) fn new(filter: Arc<dyn PhysicalExpr>) -> Self {
        Self { filter, seen: AtomicU64::new(0), left: AtomicU64::new(0) }
    }

    fn pays(&self) -> bool {
        let (seen, left) = (self.seen.load(Ordering::Relaxed), self.left.load(Ordering::Relaxed));
        seen < ROWS_SEEN || left * 2 < seen
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
