//! Conditions that are one step of the reader.

use super::per_value::PerValue;
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::and_kleene;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::{collect_columns, conjunction};
use std::fmt;
use std::sync::Arc;

/// Conditions of which the later ones look at the rows that the earlier ones left, where those are few. True, false and
/// null as AND has them.
///
/// The reader evaluates a chain of AND link by link, and carries the rows that are left as a list of stretches from one
/// link to the next. That pays where a link leaves few rows; after one that leaves most of them, the list costs more
/// than evaluating the next condition over all rows.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct AllOf {
    parts: Vec<Arc<dyn PhysicalExpr>>,
    /// Every part looks at all rows: it costs less than cutting the others out of all columns.
    are_cheap: bool,
}

/// Rows left of which one in this many are few.
const FEW: usize = 8;

impl AllOf {
    /// `parts` as one condition, numbers before texts; none where there are no parts.
    pub(super) fn of(mut parts: Vec<Arc<dyn PhysicalExpr>>, schema: &SchemaRef) -> Option<Arc<dyn PhysicalExpr>> {
        if parts.len() < 2 {
            return parts.pop();
        }
        let cost = |part: &Arc<dyn PhysicalExpr>| {
            let columns = collect_columns(part);
            let is_number = columns.iter().all(|column| {
                schema.fields().get(column.index()).is_some_and(|field| field.data_type().is_primitive())
            });
            (!is_number, part.downcast_ref::<PerValue>().is_none())
        };
        parts.sort_by_key(cost);
        Some(Arc::new(Self { parts, are_cheap: false }))
    }
}

impl AllOf {
    /// `parts` as one condition, each of which costs little for a row.
    pub(super) fn of_cheap(parts: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        Self { parts, are_cheap: true }
    }

    pub(super) fn parts(&self) -> &[Arc<dyn PhysicalExpr>] {
        &self.parts
    }
}

impl PhysicalExpr for AllOf {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        let mut left: Option<BooleanArray> = None;
        for part in &self.parts {
            let before = left.take();
            // A row whose conditions so far are null may still become false.
            let few = before
                .as_ref()
                .filter(|before| !self.are_cheap && before.null_count() == 0 && before.true_count() * FEW < rows);
            let found = match few {
                Some(few) if few.true_count() == 0 => return Ok(ColumnarValue::Array(Arc::new(few.clone()))),
                Some(few) => part.evaluate_selection(batch, few)?,
                None => part.evaluate(batch)?,
            };
            let found = found.into_array(rows)?;
            left = Some(match before {
                Some(before) => and_kleene(&before, found.as_boolean())?,
                None => found.as_boolean().clone(),
            });
        }
        let left = left.unwrap_or_else(|| BooleanArray::from(vec![true; rows]));
        Ok(ColumnarValue::Array(Arc::new(left)))
    }

    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(Arc::new(Field::new("all_of", DataType::Boolean, true)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.parts.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, parts: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self { parts, are_cheap: self.are_cheap }))
    }

    /// Bounds are asked for each condition by itself.
    fn snapshot(&self) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        Ok(Some(conjunction(self.parts.iter().cloned())))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for AllOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all_of(")?;
        for (index, part) in self.parts.iter().enumerate() {
            write!(f, "{}{part}", if index == 0 { "" } else { ", " })?;
        }
        write!(f, ")")
    }
}
