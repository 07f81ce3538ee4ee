//! Sorted rows, compacted before they are merged.
//!
//! Texts are views of buffers, and a sort hands out batches whose views point into the buffers of all the rows that it has
//! sorted. A merge counts each batch with all the memory that it keeps alive: the whole of what is sorted below it, once
//! for each batch that it holds, so that a sort of 40 MiB would be refused with 64 MiB at hand. Here the texts of a batch
//! are copied to a buffer of their own where they are the smaller part of what it holds.

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray, RecordBatch};
use arrow::datatypes::{ByteViewType, DataType, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;
use std::fmt;
use std::sync::Arc;

/// Bytes of texts that a batch may hold for nothing: to copy less is not worth it.
const WASTED_BYTES_MAX: usize = 64 << 10;

/// The rule: compacts what is sorted for a merge. Stands behind those that put rows in order.
#[derive(Debug)]
pub(crate) struct CompactForMerges;

impl PhysicalOptimizerRule for CompactForMerges {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() else { return Ok(Transformed::no(node)) };
            match compacted(merge.input())? {
                Some(input) => replaced(node, input).map(Transformed::yes),
                None => Ok(Transformed::no(node)),
            }
        })
        .data()
    }

    fn name(&self) -> &str {
        "compact_for_merges"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `plan` with its sort compacted; none where it is no sort of texts, nor passes one on.
fn compacted(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if plan.downcast_ref::<SortExec>().is_some() {
        let is_needed = has_views(&plan.schema());
        return Ok(is_needed.then(|| Arc::new(CompactExec::new(plan.clone())) as _));
    }
    match (plan.children().as_slice(), plan.maintains_input_order().as_slice()) {
        ([input], [true]) if plan.downcast_ref::<SortPreservingMergeExec>().is_none() => match compacted(input)? {
            Some(input) => replaced(plan.clone(), input).map(Some),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

fn replaced(plan: Arc<dyn ExecutionPlan>, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.replace_children(vec![input], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

fn has_views(schema: &Schema) -> bool {
    schema.fields().iter().any(|field| matches!(field.data_type(), DataType::Utf8View | DataType::BinaryView))
}

/// Gives the batches of its input, with texts and bytes in buffers that hold little else.
#[derive(Debug)]
struct CompactExec {
    input: Arc<dyn ExecutionPlan>,
    metrics: ExecutionPlanMetricsSet,
}

impl CompactExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for CompactExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompactExec")
    }
}

impl ExecutionPlan for CompactExec {
    fn name(&self) -> &'static str {
        "CompactExec"
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

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.into_iter().next() else { return internal_err!("nothing to compact") };
        Ok(Arc::new(Self::new(input)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let batches = input.map(move |batch| {
            let _timer = metrics.elapsed_compute().timer();
            let batch = compact(&batch?)?;
            metrics.record_output(batch.num_rows());
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The same rows, whose texts hold little beside themselves.
fn compact(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => compact_views(column.as_string_view(), column),
        DataType::BinaryView => compact_views(column.as_binary_view(), column),
        _ => column.clone(),
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
}

fn compact_views<T: ByteViewType + ?Sized>(views: &GenericByteViewArray<T>, column: &ArrayRef) -> ArrayRef {
    let held: usize = views.data_buffers().iter().map(|buffer| buffer.capacity()).sum();
    match held > WASTED_BYTES_MAX && held > 2 * views.total_buffer_bytes_used() + WASTED_BYTES_MAX {
        true => Arc::new(views.gc()),
        false => column.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BinaryViewArray, Int64Array, StringViewArray};

    #[test]
    fn a_slice_holds_its_own_texts_alone() {
        let text = |row: usize| (!row.is_multiple_of(5)).then(|| format!("{row} {}", "x".repeat(row % 200)));
        let texts: StringViewArray = (0..20_000).map(text).collect();
        let bytes: BinaryViewArray = (0..20_000).map(|row| text(row).map(String::into_bytes)).collect();
        let short: StringViewArray = (0..20_000).map(|row| Some(format!("{}", row % 7))).collect();
        let numbers = Int64Array::from_iter_values(0..20_000);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("texts", Arc::new(texts)),
            ("bytes", Arc::new(bytes)),
            ("short", Arc::new(short)),
            ("numbers", Arc::new(numbers)),
        ];
        let whole =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, of)| (name, of, true))).unwrap();
        let held = |batch: &RecordBatch| -> usize {
            let texts = batch.column(0).as_string_view().data_buffers().iter();
            let bytes = batch.column(1).as_binary_view().data_buffers().iter();
            texts.chain(bytes).map(|buffer| buffer.capacity()).sum()
        };
        for (start, rows) in [(0, 20_000), (7, 1_000), (19_000, 1_000), (3, 0)] {
            let slice = whole.slice(start, rows);
            let compacted = compact(&slice).unwrap();
            assert_eq!(compacted, slice);
            let most = if rows == 20_000 { held(&whole) } else { 2 * rows * 210 };
            assert!(held(&compacted) <= most, "{} bytes for {rows} rows", held(&compacted));
        }
        assert_eq!(
            compact(&whole).unwrap().column(0).to_data().buffers()[1].as_ptr(),
            whole.column(0).to_data().buffers()[1].as_ptr()
        );
    }
}
