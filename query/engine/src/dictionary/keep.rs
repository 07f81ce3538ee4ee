//! Rows of a scan that a mark keeps, and what is asked of them.

use super::adapter::ReadPerValue;
use super::per_value::is_same;
use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{BatchCoalescer, concat_batches, filter_record_batch};
use arrow::datatypes::{Int32Type, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr_adapter::PhysicalExprAdapterFactory;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;
use std::fmt;
use std::sync::Arc;

/// Rows of an answer that are passed on as they are, not copied together with others, are at least one in this many of
/// a batch.
const WHOLE: usize = 8;

/// Keeps the rows where the last column of its input is true, and evaluates expressions over them: of texts in
/// dictionaries once for each value. Rows of several batches that share their dictionaries are evaluated at once: of a
/// batch a few hundred are left, and views of their texts point into the one dictionary. Holds two batches.
#[derive(Debug)]
pub(super) struct KeepExec {
    /// Columns as they are stored, then the mark.
    input: Arc<dyn ExecutionPlan>,
    /// What is asked, over the columns of the table.
    projection: ProjectionExprs,
    table: SchemaRef,
    /// As the scan whose place it takes.
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl KeepExec {
    /// `projection` of the columns of `table` in `input`. `properties` are those of a scan of the same rows.
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        projection: ProjectionExprs,
        table: SchemaRef,
        properties: Arc<PlanProperties>,
    ) -> Self {
        Self { input, projection, table, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    pub(super) fn projection(&self) -> &ProjectionExprs {
        &self.projection
    }
}

impl DisplayAs for KeepExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exprs: Vec<String> = self.projection.iter().map(ToString::to_string).collect();
        write!(f, "KeepExec: projection=[{}]", exprs.join(", "))
    }
}

impl ExecutionPlan for KeepExec {
    fn name(&self) -> &'static str {
        "KeepExec"
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

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for expr in self.projection.iter() {
            if f(&expr.expr)? == TreeNodeRecursion::Stop {
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
        let Some(input) = children.into_iter().next() else { return internal_err!("rows of no scan are kept") };
        let (projection, table) = (self.projection.clone(), self.table.clone());
        Ok(Arc::new(Self::new(input, projection, table, self.properties.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context.clone())?;
        // Each partition has its own expressions: they remember the dictionary that they saw last.
        let adapter = ReadPerValue.create(self.table.clone(), input.schema())?;
        let exprs = self.projection.iter().map(|expr| adapter.rewrite(expr.expr.clone())).collect::<Result<_>>()?;
        let rows_max = context.session_config().batch_size();
        let kept = Kept {
            input,
            exprs,
            schema: self.schema(),
            rows_max,
            held: Vec::new(),
            rows_held: 0,
            batches: BatchCoalescer::new(self.schema(), rows_max)
                .with_biggest_coalesce_batch_size(Some(rows_max / WHOLE)),
            has_ended: false,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let batches = futures::stream::try_unfold(kept, |mut kept| async move {
            let next = kept.next().await?;
            Ok(next.map(|batch| (batch, kept)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches.boxed())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The rows of one partition.
struct Kept {
    input: SendableRecordBatchStream,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    rows_max: usize,
    /// Rows as they are stored, of the same dictionaries.
    held: Vec<RecordBatch>,
    rows_held: usize,
    batches: BatchCoalescer,
    has_ended: bool,
    metrics: BaselineMetrics,
}

impl Kept {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.batches.next_completed_batch() {
                self.metrics.record_output(batch.num_rows());
                return Ok(Some(batch));
            }
            if self.has_ended {
                return Ok(None);
            }
            let next = self.input.next().await;
            let elapsed = self.metrics.elapsed_compute().clone();
            let _timer = elapsed.timer();
            match next {
                Some(batch) => self.keep(&batch?)?,
                None => {
                    self.evaluate()?;
                    self.batches.finish_buffered_batch()?;
                    self.has_ended = true;
                }
            }
        }
    }

    fn keep(&mut self, batch: &RecordBatch) -> Result<()> {
        let Some((mark, columns)) = batch.columns().split_last() else { return internal_err!("rows without a mark") };
        let mark = mark.as_boolean();
        let count = mark.true_count();
        if count == 0 {
            return Ok(());
        }
        let all = batch.project(&(0..columns.len()).collect::<Vec<_>>())?;
        let kept = if count == batch.num_rows() { all } else { filter_record_batch(&all, mark)? };
        let are_others = self.held.last().is_some_and(|held| !have_same_dictionaries(held, &kept));
        if are_others || self.rows_held + count > self.rows_max {
            self.evaluate()?;
        }
        self.rows_held += count;
        self.held.push(kept);
        Ok(())
    }

    /// Makes of the rows that are held what is asked of them.
    fn evaluate(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        let (Some(first), rows) = (held.first(), std::mem::take(&mut self.rows_held)) else { return Ok(()) };
        let kept = if held.len() == 1 { first.clone() } else { concat_batches(first.schema_ref(), &held)? };
        let values = self.exprs.iter().map(|expr| expr.evaluate(&kept)?.into_array(rows));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let values = values.collect::<Result<Vec<_>>>()?;
        let asked = RecordBatch::try_new_with_options(self.schema.clone(), values, &options)?;
        Ok(self.batches.push_batch(asked)?)
    }
}

/// Whether all texts of two batches are numbers into the same dictionaries.
fn have_same_dictionaries(left: &RecordBatch, right: &RecordBatch) -> bool {
    let values = |column: &ArrayRef| column.as_dictionary_opt::<Int32Type>().map(|texts| texts.values().clone());
    left.columns().iter().zip(right.columns()).all(|(left, right)| match (values(left), values(right)) {
        (None, None) => true,
        (Some(left), Some(right)) => is_same(&left, &right),
        _ => false,
    })
}
