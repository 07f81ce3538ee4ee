//! The tail side of a scan: rows in memory, made plain as they are read and only in the columns that are asked for.

use crate::plain::plain_array;
use arrow::array::{ArrayRef, Date32Array, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::datatypes::{FieldRef, SchemaRef};
use bodkin_schema::Stream;
use bodkin_table::{DATE, TENANT, TailPart};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::StreamExt;
use std::fmt;
use std::sync::Arc;

/// Reads parts of the tail. Holds no more than one plain batch per partition beyond the parts themselves.
#[derive(Debug)]
pub(crate) struct TailExec {
    stream: Stream,
    /// What each partition reads.
    partitions: Vec<Vec<Arc<TailPart>>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl TailExec {
    /// Reads `parts` as rows of `schema` in at most `cores` partitions.
    pub(crate) fn new(stream: Stream, parts: Vec<Arc<TailPart>>, schema: SchemaRef, cores: usize) -> Self {
        let mut partitions = vec![Vec::new(); parts.len().min(cores).max(1)];
        let count = partitions.len();
        for (index, part) in parts.into_iter().enumerate() {
            partitions[index % count].push(part);
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(count),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { stream, partitions, properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }

    /// The stream whose rows they are.
    pub(crate) fn stream(&self) -> Stream {
        self.stream
    }
}

impl DisplayAs for TailExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: usize = self.partitions.iter().map(Vec::len).sum();
        write!(f, "TailExec: partitions={}, parts={parts}", self.partitions.len())
    }
}

impl ExecutionPlan for TailExec {
    fn name(&self) -> &'static str {
        "TailExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let parts = self.partitions.get(partition).cloned().unwrap_or_default();
        let rows_max = context.session_config().batch_size();
        let schema = self.schema();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let slices = parts.into_iter().flat_map(move |part| {
            let starts = (0..part.records.num_rows()).step_by(rows_max);
            starts.map(move |start| (part.clone(), start))
        });
        let batches = slices.map({
            let schema = schema.clone();
            move |(part, start)| {
                let _timer = metrics.elapsed_compute().timer();
                let rows = rows_max.min(part.records.num_rows() - start);
                let batch = plain_rows(&part, start, rows, &schema)?;
                metrics.record_output(batch.num_rows());
                Ok(batch)
            }
        });
        let stream = RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches).boxed());
        Ok(Box::pin(cooperative(stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let partitions = match args.partition() {
            Some(partition) => self.partitions.get(partition..=partition).unwrap_or_default(),
            None => &self.partitions,
        };
        let rows = partitions.iter().flatten().map(|part| part.records.num_rows()).sum();
        let statistics = Statistics::new_unknown(&self.schema()).with_num_rows(Precision::Exact(rows));
        Ok(Arc::new(statistics))
    }
}

/// `rows` rows of `part` from `start` on, as rows of `schema`: dictionaries become text, partition columns are
/// repeated, columns that the part lacks are null.
fn plain_rows(part: &TailPart, start: usize, rows: usize, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &FieldRef| -> Result<ArrayRef> {
        match (part.records.column_by_name(field.name()), field.name().as_str()) {
            (Some(column), _) => Ok(plain_array(&column.slice(start, rows), field.data_type())?),
            (None, TENANT) => Ok(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&part.tenant.0, rows)))),
            (None, DATE) => Ok(Arc::new(Date32Array::from_value(part.date, rows))),
            (None, _) => Ok(new_null_array(field.data_type(), rows)),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}
