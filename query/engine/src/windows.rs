//! Window operators as tables: their partials in table `windows`, merged.
//!
//! `SELECT * FROM per_host`, where `per_host` is a window operator of the configuration, has the columns of its
//! statement and the bounds of the window. Every partial counts, late ones too, so that the answer is that of the
//! statement over the raw rows (LATE-1).

use crate::mapped::{Made, Make, MappedExec};
use crate::plain::{plain_batch, plain_schema};
use crate::same_names::Renamed;
use crate::stream_table::{QueryView, StreamTable};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bodkin_schema::{Stream, dataflow};
use bodkin_window::{WindowPlan, merged};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::metrics::BaselineMetrics;
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
        let merge = Merge { plan: self.plan.clone(), projection: projection.cloned() };
        Ok(Arc::new(MappedExec::new(rows, schema, merge)))
    }
}

/// Rows of `windows` in, finished windows out. Holds all rows of the operator, charged to the pool.
struct Merge {
    plan: Arc<WindowPlan>,
    projection: Option<Vec<usize>>,
}

impl Make for Merge {
    const NAME: &'static str = "MergeExec";
    /// All partials of a window meet.
    const IS_WHOLE: bool = true;

    fn about(&self) -> String {
        format!("window={}", self.plan.text())
    }

    fn make(&self, mut rows: SendableRecordBatchStream, context: &TaskContext, metrics: BaselineMetrics) -> Made {
        let reservation = MemoryConsumer::new("windows").register(context.memory_pool());
        let (plan, projection) = (self.plan.clone(), self.projection.clone());
        let read = plain_schema(&rows.schema(), &Renamed::new());
        let made = async move {
            let mut all = Vec::new();
            while let Some(batch) = rows.next().await {
                let batch = plain_batch(&batch?, &read)?;
                // Texts, and about as much again for the states that they become.
                reservation.try_grow(2 * batch.get_array_memory_size())?;
                all.push(batch);
            }
            let timer = metrics.elapsed_compute().timer();
            let mut windows = merged(plan, &all)?;
            drop((all, timer));
            let projected = std::iter::from_fn(move || {
                // What windows are made of is held until the last one.
                let _held = &reservation;
                let _timer = metrics.elapsed_compute().timer();
                let window = windows.next()?;
                Some(window.and_then(|window| {
                    metrics.record_output(window.num_rows());
                    match &projection {
                        Some(projection) => Ok(window.project(projection)?),
                        None => Ok(window),
                    }
                }))
            });
            Ok::<_, DataFusionError>(futures::stream::iter(projected))
        };
        futures::stream::once(made).try_flatten().boxed()
    }
}
