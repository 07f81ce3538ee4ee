//! A step of a plan that makes rows of other columns out of the rows of its input.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use futures::stream::BoxStream;
use std::fmt;
use std::sync::Arc;

/// Rows that are made, as they come.
pub(crate) type Made = BoxStream<'static, Result<RecordBatch>>;

/// How a step makes them.
pub(crate) trait Make: Send + Sync + 'static {
    /// Its name in EXPLAIN.
    const NAME: &'static str;
    /// Whether it sees all rows at once, and answers after the last one; else the rows of each partition by themselves.
    const IS_WHOLE: bool;

    /// What EXPLAIN says beside the name.
    fn about(&self) -> String;

    /// The rows, of the schema that the step has, made of `rows`. Time that is measured counts as the step's.
    fn make(&self, rows: SendableRecordBatchStream, context: &TaskContext, metrics: BaselineMetrics) -> Made;
}

/// The step.
pub(crate) struct MappedExec<M> {
    input: Arc<dyn ExecutionPlan>,
    make: Arc<M>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl<M: Make> MappedExec<M> {
    /// Rows of `schema` out of those of `input`.
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, schema: SchemaRef, make: M) -> Self {
        Self::over(input, schema, Arc::new(make))
    }

    fn over(input: Arc<dyn ExecutionPlan>, schema: SchemaRef, make: Arc<M>) -> Self {
        let below = input.properties();
        let (partitions, emission) = match M::IS_WHOLE {
            true => (1, EmissionType::Final),
            false => (below.output_partitioning().partition_count(), EmissionType::Incremental),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            emission,
            below.boundedness,
        );
        Self { input, make, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }

    fn over_children(&self, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("{} has one input", M::NAME);
        };
        Ok(Arc::new(Self::over(input, self.schema(), self.make.clone())))
    }
}

impl<M: Make> fmt::Debug for MappedExec<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(M::NAME).field("about", &self.make.about()).field("input", &self.input).finish_non_exhaustive()
    }
}

impl<M: Make> DisplayAs for MappedExec<M> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", M::NAME, self.make.about())
    }
}

impl<M: Make> ExecutionPlan for MappedExec<M> {
    fn name(&self) -> &'static str {
        M::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![match M::IS_WHOLE {
            true => Distribution::SinglePartition,
            false => Distribution::UnspecifiedDistribution,
        }])
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
        self.over_children(children)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.over_children(children)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context.clone())?;
        let made = self.make.make(rows, &context, BaselineMetrics::new(&self.metrics, partition));
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(self.schema(), made))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
