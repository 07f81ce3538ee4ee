//! The rows of each batch that can be among the first ones of an order.
//!
//! `ORDER BY ts DESC LIMIT 100` keeps the best hundred rows in a heap. Where rows come in the order of their times, each
//! one is better than all before it: the heap takes every row and lets it go again. Of one batch only its own best
//! hundred can stay, and to find the hundredth of a column of numbers is a matter of microseconds. Rows behind it never
//! come to the heap.

use arrow::array::{Array, AsArray, BooleanArray, PrimitiveArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::StreamExt;
use futures::future::ready;
use std::fmt;
use std::sync::Arc;

/// A batch has few rows to spare where it has less than this many times those that are asked for.
const TIMES_MIN: usize = 4;
/// Batches in which nothing was found to leave out, after which no more are searched.
const IDLE_MAX: usize = 4;

/// The rule. Stands behind those that move filters into scans.
#[derive(Debug)]
pub(crate) struct KeepFirstRows;

impl PhysicalOptimizerRule for KeepFirstRows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let first = node.downcast_ref::<SortExec>().map(FirstRowsExec::below).transpose()?.flatten();
            let Some(first) = first else { return Ok(Transformed::no(node)) };
            // The sort stays the same one, with the filter that it shares with a scan.
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
            node.replace_children(vec![Arc::new(first)], options).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &str {
        "keep_first_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Passes rows on that may be among the first ones by a key. Holds one batch.
#[derive(Debug)]
struct FirstRowsExec {
    input: Arc<dyn ExecutionPlan>,
    key: PhysicalSortExpr,
    rows_wanted: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl FirstRowsExec {
    /// What stands below `sort`; none where all rows are asked for, the first key is no number, or rows come in its order
    /// and end by themselves.
    fn below(sort: &SortExec) -> Result<Option<Self>> {
        let Some(rows_wanted) = sort.fetch() else { return Ok(None) };
        let (key, input) = (sort.expr().first().clone(), sort.input().clone());
        let order = LexOrdering::from([key.clone()]);
        let is_in_order = input.equivalence_properties().ordering_satisfy(order)?;
        let is_number = is_number(&key.expr.data_type(&input.schema())?);
        let metrics = ExecutionPlanMetricsSet::new();
        Ok((is_number && !is_in_order && rows_wanted > 0).then_some(Self { input, key, rows_wanted, metrics }))
    }
}

/// Whether values of the type are whole numbers of up to 64 signed bits.
fn is_number(data_type: &DataType) -> bool {
    use DataType::{Date32, Date64, Int8, Int16, Int32, Int64, Timestamp, UInt8, UInt16, UInt32};
    matches!(data_type, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | Timestamp(..) | Date32 | Date64)
}

impl DisplayAs for FirstRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FirstRowsExec: key={}, rows={}", self.key, self.rows_wanted)
    }
}

impl ExecutionPlan for FirstRowsExec {
    fn name(&self) -> &'static str {
        "FirstRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        f(&self.key.expr)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.into_iter().next() else { return internal_err!("the first rows of nothing") };
        let (key, rows_wanted, metrics) = (self.key.clone(), self.rows_wanted, ExecutionPlanMetricsSet::new());
        Ok(Arc::new(Self { input, key, rows_wanted, metrics }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let (key, is_descending) = (self.key.expr.clone(), self.key.options.descending);
        let mut first = FirstRows { rows_wanted: self.rows_wanted, is_descending, bound: None, idle: 0 };
        let batches = input.filter_map(move |batch| {
            let kept = batch.and_then(|batch| {
                let _timer = metrics.elapsed_compute().timer();
                let keys = key.evaluate(&batch)?.into_array(batch.num_rows())?;
                let kept = match first.keep(cast(&keys, &DataType::Int64)?.as_primitive())? {
                    Some(kept) => filter_record_batch(&batch, &kept)?,
                    None => batch,
                };
                metrics.record_output(kept.num_rows());
                Ok(kept)
            });
            ready(Some(kept).filter(|kept| kept.as_ref().map_or(true, |batch| batch.num_rows() > 0)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// What is known of the rows of one partition.
struct FirstRows {
    rows_wanted: usize,
    is_descending: bool,
    /// As many rows as are wanted have been seen up to this rank.
    bound: Option<i64>,
    /// Searches that left nothing out.
    idle: usize,
}

impl FirstRows {
    /// The rows with one of `keys` that may be among the first ones; none where all are passed on. Where a key is null,
    /// its place is up to the sort.
    fn keep(&mut self, keys: &PrimitiveArray<Int64Type>) -> Result<Option<BooleanArray>> {
        if keys.null_count() > 0 || self.idle >= IDLE_MAX {
            return Ok(None);
        }
        let is_descending = self.is_descending;
        // The lowest rank comes first.
        let rank = |key: i64| if is_descending { !key } else { key };
        let up_to = |bound: i64| BooleanArray::from_unary(keys, |key| rank(key) <= bound);
        let kept = self.bound.map(up_to);
        let count = kept.as_ref().map_or(keys.len(), BooleanArray::true_count);
        if count < self.rows_wanted.saturating_mul(TIMES_MIN) {
            return Ok(kept);
        }
        let bound = self.bound.unwrap_or(i64::MAX);
        let mut ranks: Vec<i64> = keys.values().iter().map(|key| rank(*key)).filter(|rank| *rank <= bound).collect();
        let (_, last, _) = ranks.select_nth_unstable(self.rows_wanted - 1);
        let bound = *last;
        self.bound = Some(bound);
        let kept = up_to(bound);
        self.idle = if kept.true_count() < count { 0 } else { self.idle + 1 };
        Ok(Some(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use proptest::prelude::*;

    proptest! {
        /// However rows are cut into batches, the first ones by any further order are among those that are kept.
        #[test]
        fn the_first_rows_are_kept(
            mut keys in prop_oneof![
                prop::collection::vec(0..20_i64, 1..300),
                prop::collection::vec(any::<i64>(), 1..300),
            ],
            is_sorted in any::<bool>(),
            sizes in prop::collection::vec(1..80_usize, 1..20),
            rows_wanted in 1..9_usize,
            is_descending in any::<bool>(),
        ) {
            if is_sorted {
                keys.sort_unstable();
            }
            let mut first = FirstRows { rows_wanted, is_descending, bound: None, idle: 0 };
            let (mut kept, mut rest, mut sizes) = (Vec::new(), keys.as_slice(), sizes.iter().cycle());
            while !rest.is_empty() {
                let (batch, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                rest = after;
                match first.keep(&Int64Array::from(batch.to_vec())).unwrap() {
                    Some(mask) => kept.extend(batch.iter().zip(mask.values()).filter(|(_, kept)| *kept).map(|(key, _)| *key)),
                    None => kept.extend(batch),
                }
            }
            let sort = |keys: &mut Vec<i64>| {
                keys.sort_unstable_by_key(|key| if is_descending { !key } else { *key });
            };
            sort(&mut keys);
            let last = keys[rows_wanted.min(keys.len()) - 1];
            // Rows that are equal by this key may be told apart by the next one.
            let mut expected: Vec<i64> = keys.iter().filter(|key| if is_descending { **key >= last } else { **key <= last }).copied().collect();
            let mut found: Vec<i64> = kept.into_iter().filter(|key| if is_descending { *key >= last } else { *key <= last }).collect();
            sort(&mut expected);
            sort(&mut found);
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn rising_times_leave_little_and_equal_ones_are_not_searched_for_ever() {
        let mut rising = FirstRows { rows_wanted: 10, is_descending: true, bound: None, idle: 0 };
        for batch in 0..3 {
            let kept = rising.keep(&(batch * 1000..(batch + 1) * 1000).collect::<Int64Array>()).unwrap();
            assert_eq!(kept.unwrap().true_count(), 10);
        }
        let falling = rising.keep(&(0..1000).collect::<Int64Array>()).unwrap();
        assert_eq!(falling.unwrap().true_count(), 0);
        let mut equal = FirstRows { rows_wanted: 10, is_descending: false, bound: None, idle: 0 };
        for _ in 0..IDLE_MAX {
            assert_eq!(equal.keep(&Int64Array::from(vec![7; 100])).unwrap().unwrap().true_count(), 100);
        }
        assert!(equal.keep(&Int64Array::from(vec![7; 100])).unwrap().is_none());
        let with_null = Int64Array::from(vec![Some(1), None]);
        assert!(rising.keep(&with_null).unwrap().is_none(), "the sort knows where null belongs");
    }
}
