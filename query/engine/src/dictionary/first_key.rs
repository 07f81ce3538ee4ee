//! The filter of `ORDER BY a, b LIMIT n` by its first key.
//!
//! Once n rows are known, a row can only matter where it sorts before the last of them, and the scan is told so: `a > 7 OR
//! (a = 7 AND b < 3)`. To evaluate that, every sort column of every row would have to be read. `a >= 7` leaves hardly
//! more, and needs one.

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::kernels::cmp;
use arrow::compute::{is_null, or, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, DynamicFilterPhysicalExpr, IsNullExpr, Literal};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A dynamic filter over several sort keys, weakened to the first.
#[derive(Debug)]
pub(super) struct FirstKey {
    filter: Arc<dyn PhysicalExpr>,
    /// The first key. Its place in the input may change.
    key: Arc<dyn PhysicalExpr>,
}

impl FirstKey {
    /// `expr` weakened, where it is the filter of a sort by several keys, the first of which is a number or a time.
    pub(super) fn of(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Option<Self>> {
        let Some(filter) = expr.downcast_ref::<DynamicFilterPhysicalExpr>() else { return Ok(None) };
        let children = expr.children();
        let Some(key) = children.first().filter(|_| children.len() > 1) else { return Ok(None) };
        let Some(column) = key.downcast_ref::<Column>() else { return Ok(None) };
        let is_primitive = schema.fields().get(column.index()).is_some_and(|field| field.data_type().is_primitive());
        // The filter of a join is known when its scan begins, and is none of these.
        let current = filter.current()?;
        let is_sort = current.downcast_ref::<Literal>().is_some() || bound(&current, column.name()).is_some();
        Ok((is_primitive && is_sort).then(|| Self { filter: expr.clone(), key: (*key).clone() }))
    }
}

/// The comparison of `a` in `a > 7 OR (a = 7 AND ...)`, such that it holds for 7. Where nulls come first, `a IS NULL OR`
/// stands before it.
fn bound(filter: &Arc<dyn PhysicalExpr>, name: &str) -> Option<(Operator, Literal)> {
    let mut expr = filter.downcast_ref::<BinaryExpr>()?;
    while *expr.op() == Operator::Or {
        let is_null = expr.left().downcast_ref::<IsNullExpr>().is_some();
        expr = if is_null { expr.right() } else { expr.left() }.downcast_ref::<BinaryExpr>()?;
    }
    let op = match expr.op() {
        Operator::Gt | Operator::GtEq => Operator::GtEq,
        Operator::Lt | Operator::LtEq => Operator::LtEq,
        _ => return None,
    };
    let is_key = expr.left().downcast_ref::<Column>().is_some_and(|column| column.name() == name);
    let literal = expr.right().downcast_ref::<Literal>()?;
    (is_key && !literal.value().is_null()).then(|| (op, literal.clone()))
}

impl PhysicalExpr for FirstKey {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let everything = || ColumnarValue::Array(Arc::new(BooleanArray::from(vec![true; batch.num_rows()])));
        let filter = self.filter.downcast_ref::<DynamicFilterPhysicalExpr>();
        let (Some(filter), Some(key)) = (filter, self.key.downcast_ref::<Column>()) else { return Ok(everything()) };
        let Some((op, literal)) = bound(&filter.current()?, key.name()) else { return Ok(everything()) };
        let values = self.key.evaluate(batch)?.into_array(batch.num_rows())?;
        let literal = literal.value().to_scalar()?;
        let found = match op {
            Operator::GtEq => cmp::gt_eq(&values, &literal)?,
            _ => cmp::lt_eq(&values, &literal)?,
        };
        // A null may come first.
        Ok(ColumnarValue::Array(Arc::new(match values.null_count() {
            0 => found,
            _ => or(&prep_null_mask_filter(&found), &is_null(&values)?)?,
        })))
    }

    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        Ok(Arc::new(Field::new("first_key", DataType::Boolean, true)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.key]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let key = children.into_iter().next().unwrap_or_else(|| self.key.clone());
        Ok(Arc::new(Self { filter: self.filter.clone(), key }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FirstKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "first_key({})", self.key)
    }
}

impl PartialEq for FirstKey {
    fn eq(&self, other: &Self) -> bool {
        self.filter.eq(&other.filter) && self.key.eq(&other.key)
    }
}

impl Eq for FirstKey {}

impl Hash for FirstKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.filter.hash(state);
        self.key.hash(state);
    }
}
