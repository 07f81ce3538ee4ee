//! Groups whose key is one small number: the number is the group's place, and nothing is looked up.

use super::ids::is_id;
use super::keep::KeepExec;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int32Type, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::sync::Arc;

/// Groups, at most: the numbers of texts that fit the bound of [`super::ids`].
const GROUPS_MAX: usize = 1 << 23;

/// Replaces the first half of an aggregation by one number of a text. Stands behind the planner's rules.
#[derive(Debug)]
pub(crate) struct GroupByPlace;

impl PhysicalOptimizerRule for GroupByPlace {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let dense = node.downcast_ref::<AggregateExec>().and_then(DenseAggregateExec::of);
            Ok(match dense {
                Some(dense) => Transformed::yes(Arc::new(dense) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        "group_by_place"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Groups by one column of numbers of texts, and emits what the accumulators hold.
#[derive(Debug)]
struct DenseAggregateExec {
    /// What it stands for.
    aggregate: AggregateExec,
    key: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl DenseAggregateExec {
    fn of(aggregate: &AggregateExec) -> Option<Self> {
        let [(key, _)] = aggregate.group_expr().expr() else { return None };
        let key = key.downcast_ref::<Column>()?.index();
        let is_plain = aggregate.mode() == &AggregateMode::Partial
            && aggregate.group_expr().is_single()
            && aggregate.limit_options().is_none()
            && aggregate.dynamic_expressions_produced().is_empty()
            && aggregate
                .aggr_expr()
                .iter()
                .all(|expr| expr.groups_accumulator_supported() && (expr.order_bys().is_empty() || is_unordered(expr)));
        (is_plain && comes_from_id(aggregate.input(), key)).then(|| Self {
            aggregate: aggregate.clone(),
            key,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

/// Whether `call` says WITHIN GROUP (ORDER BY ...) and takes its rows in any order.
fn is_unordered(call: &AggregateFunctionExpr) -> bool {
    call.fun().name() == crate::percentile::NAME
}

/// Whether the column at `index` of `plan` holds numbers of texts.
fn comes_from_id(plan: &Arc<dyn ExecutionPlan>, index: usize) -> bool {
    let through = |expr: Option<&Arc<dyn PhysicalExpr>>, below: Option<&Arc<dyn ExecutionPlan>>| {
        expr.is_some_and(|expr| {
            let column = expr.downcast_ref::<Column>();
            is_id(expr) || column.zip(below).is_some_and(|(column, below)| comes_from_id(below, column.index()))
        })
    };
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return through(projection.expr().get(index).map(|expr| &expr.expr), Some(projection.input()));
    }
    if let Some((config, _)) =
        plan.downcast_ref::<DataSourceExec>().and_then(|scan| scan.downcast_to_file_source::<ParquetSource>())
    {
        let projection = config.file_source().projection();
        return through(projection.and_then(|exprs| exprs.as_ref().get(index)).map(|expr| &expr.expr), None);
    }
    if let Some(keep) = plan.downcast_ref::<KeepExec>() {
        return through(keep.projection().as_ref().get(index).map(|expr| &expr.expr), None);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let index = filter.projection().as_ref().map_or(Some(index), |kept| kept.get(index).copied());
        return index.is_some_and(|index| comes_from_id(filter.input(), index));
    }
    let keeps_columns = plan.downcast_ref::<UnionExec>().is_some() || plan.downcast_ref::<RepartitionExec>().is_some();
    keeps_columns && plan.children().into_iter().all(|child| comes_from_id(child, index))
}

impl DisplayAs for DenseAggregateExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dense")?;
        self.aggregate.fmt_as(t, f)
    }
}

impl ExecutionPlan for DenseAggregateExec {
    fn name(&self) -> &'static str {
        "DenseAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.aggregate.input()]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.aggregate.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = Arc::new(self.aggregate.clone()).replace_children(children, options)?;
        match replaced.downcast_ref::<AggregateExec>() {
            Some(aggregate) => {
                let (aggregate, key) = (aggregate.clone(), self.key);
                Ok(Arc::new(Self { aggregate, key, metrics: ExecutionPlanMetricsSet::new() }))
            }
            None => internal_err!("an aggregate is one with other children, too"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut input = self.aggregate.input().execute(partition, context.clone())?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let reservation = MemoryConsumer::new("DenseAggregate").register(context.memory_pool());
        let mut groups = Groups::new(&self.aggregate, self.key, reservation)?;
        let rows_max = context.session_config().batch_size();
        let schema = self.schema();
        let all = async move {
            while let Some(batch) = input.next().await {
                let _timer = metrics.elapsed_compute().timer();
                groups.update(&batch?)?;
            }
            let batch = groups.finish()?;
            metrics.record_output(batch.num_rows());
            let starts = (0..batch.num_rows()).step_by(rows_max.max(1));
            let slices = starts.map(move |start| Ok(batch.slice(start, rows_max.min(batch.num_rows() - start))));
            Ok::<_, DataFusionError>(futures::stream::iter(slices))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(all).try_flatten())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// The groups of one partition. Place 0 is that of null, place n + 1 that of the text with number n.
struct Groups {
    aggregate: AggregateExec,
    key: usize,
    accumulators: Vec<Accumulating>,
    is_seen: Vec<bool>,
    places: Vec<usize>,
    reservation: MemoryReservation,
}

struct Accumulating {
    accumulator: Box<dyn GroupsAccumulator>,
    args: Vec<Arc<dyn PhysicalExpr>>,
    filter: Option<Arc<dyn PhysicalExpr>>,
}

impl Groups {
    fn new(aggregate: &AggregateExec, key: usize, reservation: MemoryReservation) -> Result<Self> {
        let calls = aggregate.aggr_expr().iter().zip(aggregate.filter_expr());
        let accumulators = calls.map(|(call, filter)| {
            let (accumulator, args) = (call.create_groups_accumulator()?, call.expressions());
            Ok(Accumulating { accumulator, args, filter: filter.clone() })
        });
        let accumulators = accumulators.collect::<Result<_>>()?;
        let (is_seen, places) = (Vec::new(), Vec::new());
        Ok(Self { aggregate: aggregate.clone(), key, accumulators, is_seen, places, reservation })
    }

    fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        let Some(numbers) = batch.column(self.key).as_primitive_opt::<Int32Type>() else {
            return internal_err!("the numbers of texts are {}", batch.column(self.key).data_type());
        };
        self.places.clear();
        match numbers.null_count() {
            0 => self.places.extend(numbers.values().iter().map(|number| number.max(&-1).wrapping_add(1) as usize)),
            _ => {
                self.places.extend(numbers.iter().map(|number| number.map_or(0, |number| number.max(-1) as usize + 1)))
            }
        }
        let count = self.places.iter().max().map_or(0, |place| place + 1);
        if count > GROUPS_MAX {
            return internal_err!("a text has number {count}");
        }
        if count > self.is_seen.len() {
            self.is_seen.resize(count, false);
        }
        self.places.iter().for_each(|place| self.is_seen[*place] = true);
        let groups = self.is_seen.len();
        for Accumulating { accumulator, args, filter } in &mut self.accumulators {
            let values = args.iter().map(|arg| arg.evaluate(batch)?.into_array(rows));
            let values = values.collect::<Result<Vec<ArrayRef>>>()?;
            let filter = filter.as_ref().map(|filter| filter.evaluate(batch)?.into_array(rows)).transpose()?;
            let filter = filter.as_ref().map(|filter| filter.as_boolean());
            accumulator.update_batch(&values, &self.places, filter, groups)?;
        }
        let bytes: usize = self.accumulators.iter().map(|one| one.accumulator.size()).sum();
        self.reservation.try_resize(bytes + groups)
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        let groups = self.is_seen.len();
        let numbers = (0..groups).map(|place| place.checked_sub(1).map(|number| number as i32));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(numbers.collect::<Int32Array>())];
        for one in &mut self.accumulators {
            // Every group has had a batch since it came, so the states are as long as the groups.
            if groups > 0 {
                columns.extend(one.accumulator.state(EmitTo::All)?);
            }
        }
        let schema = self.aggregate.schema();
        if groups == 0 {
            return Ok(RecordBatch::new_empty(schema));
        }
        debug_assert_eq!(schema.field(0).data_type(), &DataType::Int32);
        let all = RecordBatch::try_new(with_nulls(&schema, &columns), columns)?;
        let seen = filter_record_batch(&all, &BooleanArray::from(std::mem::take(&mut self.is_seen)))?;
        Ok(RecordBatch::try_new(schema, seen.columns().to_vec())?)
    }
}

/// `schema` with the place of null among the rows, which is left out where no row had it.
fn with_nulls(schema: &SchemaRef, columns: &[ArrayRef]) -> SchemaRef {
    let fields =
        schema.fields().iter().zip(columns).map(|(field, column)| {
            field.as_ref().clone().with_nullable(true).with_data_type(column.data_type().clone())
        });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
