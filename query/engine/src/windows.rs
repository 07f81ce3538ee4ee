//! Window operators as tables: their partials in table `windows`, merged.
//!
//! `SELECT * FROM per_host`, where `per_host` is a window operator of the configuration, has the columns of its
//! statement and the bounds of the window. Every partial counts, late ones too, so that the answer is that of the
//! statement over the raw rows (LATE-1).

use crate::plain::{plain_batch, plain_schema};
use crate::same_names::Renamed;
use crate::stream_table::{QueryView, StreamTable};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bodkin_schema::{Stream, dataflow};
use bodkin_window::{WindowPlan, merged};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType, col, lit};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::sync::Arc;

/// The window operators that SQL may name.
pub trait WindowCatalog: Send + Sync + fmt::Debug + 'static {
    /// The statement of the window operator of that name.
    fn window(&self, name: &str) -> Option<Arc<WindowPlan>>;

    /// All names.
    fn names(&self) -> Vec<String>;
}

/// The merged rows of one operator.
#[derive(Debug)]
pub(crate) struct WindowTable {
    pub(crate) name: String,
    pub(crate) plan: Arc<WindowPlan>,
    pub(crate) view: QueryView,
}

#[async_trait]
impl TableProvider for WindowTable {
    fn schema(&self) -> SchemaRef {
        self.plan.output_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = StreamTable::new(self.view.clone(), self.view.snapshot.table(Stream::Windows).clone());
        let own = col(dataflow::OPERATOR).eq(lit(self.name.clone()));
        let rows = table.scan(session, None, std::slice::from_ref(&own), None).await?;
        let schema = DFSchema::try_from(rows.schema().as_ref().clone())?;
        let own = session.create_physical_expr(own, &schema)?;
        let rows = Arc::new(CoalescePartitionsExec::new(Arc::new(FilterExec::try_new(own, rows)?)));
        let schema = match projection {
            Some(projection) => Arc::new(self.plan.output_schema().project(projection)?),
            None => self.plan.output_schema().clone(),
        };
        Ok(Arc::new(MergeExec {
            properties: properties(schema),
            input: rows,
            plan: self.plan.clone(),
            projection: projection.cloned(),
        }))
    }
}

fn properties(schema: SchemaRef) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Final,
        datafusion::physical_plan::execution_plan::Boundedness::Bounded,
    ))
}

/// Rows of `windows` in, finished windows out. Holds all rows of the operator, charged to the pool.
#[derive(Debug)]
struct MergeExec {
    input: Arc<dyn ExecutionPlan>,
    plan: Arc<WindowPlan>,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl MergeExec {
    fn over(&self, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("MergeExec has one input");
        };
        let (plan, projection, properties) = (self.plan.clone(), self.projection.clone(), self.properties.clone());
        Ok(Arc::new(Self { input, plan, projection, properties }))
    }
}

impl DisplayAs for MergeExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MergeExec: window={}", self.plan.text())
    }
}

impl ExecutionPlan for MergeExec {
    fn name(&self) -> &'static str {
        "MergeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// All partials of a window meet.
    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
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

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut rows = self.input.execute(0, context.clone())?;
        let reservation = MemoryConsumer::new("windows").register(context.memory_pool());
        let (plan, projection, read) =
            (self.plan.clone(), self.projection.clone(), plain_schema(&self.input.schema(), &Renamed::new()));
        let schema = self.schema();
        let made = async move {
            let mut all = Vec::new();
            while let Some(batch) = rows.next().await {
                let batch = plain_batch(&batch?, &read)?;
                // Texts, and about as much again for the states that they become.
                reservation.try_grow(2 * batch.get_array_memory_size())?;
                all.push(batch);
            }
            let windows = merged(&plan, &all)?;
            drop((all, reservation));
            let projected = windows.into_iter().map(move |window| match &projection {
                Some(projection) => Ok(window.project(projection)?),
                None => Ok(window),
            });
            Ok::<_, datafusion::common::DataFusionError>(futures::stream::iter(projected))
        };
        let stream = futures::stream::once(made).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream.boxed())))
    }
}
