//! Files of a run one after the other: what is a partition each below becomes one sorted partition per run.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Chains partitions of its input. The input's order holds for the chain, because the files were written in it.
#[derive(Debug)]
pub(crate) struct RunChainExec {
    input: Arc<dyn ExecutionPlan>,
    /// The partitions of the input that each partition reads.
    runs: Vec<Range<usize>>,
    properties: Arc<PlanProperties>,
}

impl RunChainExec {
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, runs: Vec<Range<usize>>) -> Self {
        let below = input.properties();
        let properties = PlanProperties::new(
            below.eq_properties.clone(),
            Partitioning::UnknownPartitioning(runs.len()),
            below.emission_type,
            below.boundedness,
        );
        Self { input, runs, properties: Arc::new(properties) }
    }
}

impl DisplayAs for RunChainExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunChainExec: runs={}", self.runs.len())
    }
}

impl ExecutionPlan for RunChainExec {
    fn name(&self) -> &'static str {
        "RunChainExec"
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

    /// More partitions below would be other files than the runs name.
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
        let input = children.into_iter().next().unwrap_or_else(|| self.input.clone());
        Ok(Arc::new(Self::new(input, self.runs.clone())))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    /// A file is opened when the one before it has ended.
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let run = self.runs.get(partition).cloned().unwrap_or_default();
        let input = self.input.clone();
        let files = futures::stream::iter(run.map(move |file| input.execute(file, context.clone())));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), files.try_flatten().boxed())))
    }

    /// What one run holds is asked for by nobody who could not do with all of them.
    fn child_stats_requests(&self, _: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(None)]
    }

    fn statistics_from_inputs(&self, below: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let all = below.first().cloned().unwrap_or_else(|| Arc::new(Statistics::new_unknown(&self.schema())));
        Ok(match args.partition() {
            None => all,
            Some(_) => Arc::new(Statistics::new_unknown(&self.schema())),
        })
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        below: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(below))
    }
}
