//! The step of a plan that finds what came before.

use super::is_marked;
use arrow::array::{Array, ArrayRef, BooleanBufferBuilder, RecordBatch, UInt32Array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{concat, partition, take};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::window::{StandardWindowExpr, WindowExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties};
use futures::future::ready;
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Rows that are looked back over, at most: values of as many are held.
const ROWS_MAX: usize = 1 << 13;

/// The rule. Stands behind those that put rows in order.
#[derive(Debug)]
pub(crate) struct LagByBatch;

impl PhysicalOptimizerRule for LagByBatch {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let lag = node.downcast_ref::<BoundedWindowAggExec>().map(LagExec::of).transpose()?.flatten();
            Ok(lag.map_or_else(|| Transformed::no(node), |lag| Transformed::yes(Arc::new(lag) as _)))
        })
        .data()
    }

    fn name(&self) -> &str {
        "lag_by_batch"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A column of what came before.
#[derive(Clone, Debug)]
struct Lag {
    value: Arc<dyn PhysicalExpr>,
    /// How many rows before, at least one.
    rows: usize,
}

impl Lag {
    /// None where `expr` is anything else.
    fn of(expr: &Arc<dyn WindowExpr>) -> Option<Self> {
        let expr = expr.as_any().downcast_ref::<StandardWindowExpr>()?;
        let call = expr.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>()?;
        let rows = match call.args() {
            [_] => 1,
            [_, rows] => match rows.downcast_ref::<Literal>()?.value() {
                ScalarValue::Int64(Some(rows)) => usize::try_from(*rows).ok()?,
                _ => return None,
            },
            _ => return None,
        };
        let value = call.args().first()?.clone();
        (is_marked(call.fun()) && (1..=ROWS_MAX).contains(&rows)).then_some(Self { value, rows })
    }
}

/// Adds columns of what came before in the partition to rows that are sorted by partition and order. Holds a batch, and
/// the values of the rows that the next one looks back at.
#[derive(Debug)]
struct LagExec {
    input: Arc<dyn ExecutionPlan>,
    partition_by: Vec<Arc<dyn PhysicalExpr>>,
    lags: Vec<Lag>,
    /// As those of the windows whose place it takes.
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl LagExec {
    /// What `windows` gives; none where they are more than `lag`, or the rows come in another order.
    fn of(windows: &BoundedWindowAggExec) -> Result<Option<Self>> {
        let exprs = windows.window_expr();
        let (Some(first), Some(lags)) = (exprs.first(), exprs.iter().map(Lag::of).collect()) else { return Ok(None) };
        let partition_by = first.partition_by().to_vec();
        let input = windows.input().clone();
        for key in &partition_by {
            if key.data_type(&input.schema())?.is_nested() {
                return Ok(None);
            }
        }
        let is_sorted = windows.input_order_mode == InputOrderMode::Sorted && windows.state_observer().is_none();
        let (properties, metrics) = (windows.properties().clone(), ExecutionPlanMetricsSet::new());
        Ok(is_sorted.then_some(Self { input, partition_by, lags, properties, metrics }))
    }
}

impl DisplayAs for LagExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lags: Vec<String> = self.lags.iter().map(|lag| format!("{}, {}", lag.value, lag.rows)).collect();
        let keys: Vec<String> = self.partition_by.iter().map(ToString::to_string).collect();
        write!(f, "LagExec: lag=[{}], partition_by=[{}]", lags.join("; "), keys.join(", "))
    }
}

impl ExecutionPlan for LagExec {
    fn name(&self) -> &'static str {
        "LagExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    /// Other partitions would be other rows before.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for expr in self.lags.iter().map(|lag| &lag.value).chain(&self.partition_by) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.into_iter().next() else { return internal_err!("lag of no rows") };
        Ok(Arc::new(Self {
            input,
            partition_by: self.partition_by.clone(),
            lags: self.lags.clone(),
            properties: self.properties.clone(),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let mut before = Before {
            partition_by: self.partition_by.clone(),
            lags: self.lags.clone(),
            schema: self.schema(),
            held: vec![None; self.lags.len()],
            last: None,
        };
        let batches = input.try_filter(|batch| ready(batch.num_rows() > 0)).map(move |batch| {
            let _timer = metrics.elapsed_compute().timer();
            let batch = before.add(&batch?)?;
            metrics.record_output(batch.num_rows());
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// What the next rows look back at.
struct Before {
    partition_by: Vec<Arc<dyn PhysicalExpr>>,
    lags: Vec<Lag>,
    schema: SchemaRef,
    /// For each lag the last values of the partition so far, at most as many as it looks back over.
    held: Vec<Option<ArrayRef>>,
    /// The keys of the last row, one row each; none before the first one.
    last: Option<Vec<ArrayRef>>,
}

impl Before {
    /// `batch`, which has rows, and the columns of what came before them.
    fn add(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let keys = self.partition_by.iter().map(|key| key.evaluate(batch)?.into_array(rows));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let partitions = match keys.is_empty() {
            true => std::iter::once(0..rows).collect(),
            false => partition(&keys)?.ranges(),
        };
        if !self.goes_on(&keys)? {
            self.held.fill(None);
        }
        let mut columns = batch.columns().to_vec();
        for (lag, held) in self.lags.iter().zip(&mut self.held) {
            let values = lag.value.evaluate(batch)?.into_array(rows)?;
            columns.push(lagged(lag.rows, values, held, &partitions)?);
        }
        self.last = Some(keys.iter().map(|key| key.slice(rows - 1, 1)).collect());
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    /// Whether the first row of `keys` is of the partition of the last row so far.
    fn goes_on(&self, keys: &[ArrayRef]) -> Result<bool> {
        let Some(last) = &self.last else { return Ok(false) };
        for (last, key) in last.iter().zip(keys) {
            if !not_distinct(last, &key.slice(0, 1))?.value(0) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The value of `count` rows before for each row of `values`, whose first partition goes on where something is `held`.
/// What the next rows look back at is held then.
fn lagged(
    count: usize,
    values: ArrayRef,
    held: &mut Option<ArrayRef>,
    partitions: &[Range<usize>],
) -> Result<ArrayRef> {
    let rows = values.len();
    let before = held.as_ref().map_or(0, |held| held.len());
    let all = match held {
        Some(held) => concat(&[held.as_ref(), values.as_ref()])?,
        None => values,
    };
    let mut is_there = BooleanBufferBuilder::new(rows);
    for (number, range) in partitions.iter().enumerate() {
        let known = if number == 0 { before } else { 0 };
        let missing = (count - known.min(count)).min(range.len());
        is_there.append_n(missing, false);
        is_there.append_n(range.len() - missing, true);
    }
    let from: ScalarBuffer<u32> = (before..before + rows).map(|row| row.saturating_sub(count) as u32).collect();
    let from = UInt32Array::try_new(from, Some(NullBuffer::new(is_there.finish())))?;
    let found = take(&all, &from, None)?;
    let of_last = match partitions {
        [_] => before + rows,
        [.., last] => last.len(),
        [] => 0,
    };
    let kept = of_last.min(count);
    *held = (kept > 0).then(|| all.slice(all.len() - kept, kept));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the batches are, as looked up row by row.
        #[test]
        fn as_row_by_row(
            rows in prop::collection::vec((0..4_i64, prop::option::of(0..100_i64)), 1..60),
            sizes in prop::collection::vec(1..9_usize, 1..60),
            count in 1..6_usize,
        ) {
            let mut rows = rows;
            rows.sort_by_key(|(key, _)| *key);
            let expected: Vec<Option<i64>> = (0..rows.len()).map(|row| {
                let before = row.checked_sub(count).filter(|before| rows[*before].0 == rows[row].0)?;
                rows[before].1
            }).collect();
            let (mut found, mut at, mut held, mut last) = (Vec::new(), 0, None, None);
            for size in sizes.iter().cycle() {
                let batch = &rows[at..(at + size).min(rows.len())];
                if batch.is_empty() {
                    break;
                }
                at += batch.len();
                let keys: ArrayRef = Arc::new(batch.iter().map(|(key, _)| *key).collect::<Int64Array>());
                if last != Some(batch[0].0) {
                    held = None;
                }
                last = batch.last().map(|(key, _)| *key);
                let values: ArrayRef = Arc::new(batch.iter().map(|(_, value)| *value).collect::<Int64Array>());
                let ranges = partition(&[keys]).unwrap().ranges();
                let column = lagged(count, values, &mut held, &ranges).unwrap();
                found.extend(column.as_primitive::<Int64Type>().iter());
                prop_assert!(held.as_ref().is_none_or(|held| held.len() <= count));
            }
            prop_assert_eq!(found, expected);
        }
    }
}
