//! The step of a plan that runs rules.

use super::Search;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bodkin_rules::{Matching, RuleSet};
use bodkin_schema::Stream;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::sync::Arc;

/// Rows of `events` or `audit` in, rows of `findings` out. Holds one batch of each per partition.
pub(super) struct DetectExec {
    input: Arc<dyn ExecutionPlan>,
    stream: Stream,
    rules: Arc<RuleSet>,
    matching: Matching,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl fmt::Debug for DetectExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetectExec").field("stream", &self.stream).field("input", &self.input).finish_non_exhaustive()
    }
}

impl DetectExec {
    pub(super) fn new(
        input: Arc<dyn ExecutionPlan>,
        stream: Stream,
        search: &Search,
        schema: &SchemaRef,
        projection: Option<&Vec<usize>>,
    ) -> Result<Self> {
        let schema = match projection {
            Some(projection) => Arc::new(schema.project(projection)?),
            None => schema.clone(),
        };
        let properties = properties(&input, schema);
        let (rules, matching, projection) = (search.rules.clone(), search.matching, projection.cloned());
        Ok(Self { input, stream, rules, matching, projection, properties, metrics: ExecutionPlanMetricsSet::new() })
    }
}

impl DetectExec {
    /// The same over another input.
    fn over(&self, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("DetectExec has one input");
        };
        Ok(Arc::new(Self {
            properties: properties(&input, self.properties.eq_properties.schema().clone()),
            input,
            stream: self.stream,
            rules: self.rules.clone(),
            matching: self.matching,
            projection: self.projection.clone(),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

fn properties(input: &Arc<dyn ExecutionPlan>, schema: SchemaRef) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(input.properties().output_partitioning().partition_count()),
        EmissionType::Incremental,
        input.properties().boundedness,
    ))
}

impl DisplayAs for DetectExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let enabled = self.rules.rules().iter().filter(|rule| rule.is_enabled).count();
        write!(f, "DetectExec: stream={}, rules={enabled}", self.stream)
    }
}

impl ExecutionPlan for DetectExec {
    fn name(&self) -> &'static str {
        "DetectExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        self.over(children)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.over(children)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let (rules, matching, stream, projection) =
            (self.rules.clone(), self.matching, self.stream, self.projection.clone());
        let schema = self.schema();
        let plain = schema.clone();
        let found = rows.map(move |rows| -> Result<Option<RecordBatch>> {
            let _timer = metrics.elapsed_compute().timer();
            let Some(found) = rules.over(stream, &rows?, matching) else { return Ok(None) };
            metrics.record_output(found.num_rows());
            let columns = match &projection {
                Some(projection) => projection.iter().map(|index| found.column(*index).clone()).collect(),
                None => found.columns().to_vec(),
            };
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(found.num_rows()));
            Ok(Some(RecordBatch::try_new_with_options(plain.clone(), columns, &options)?))
        });
        let found = found.try_filter_map(|found| std::future::ready(Ok(found)));
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(schema, found.boxed()))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
