//! Aggregates of many groups at once: rows to states, states to states, states to values.

use crate::dictionary::{Numbered, is_dictionary};
use crate::functions::floors;
use crate::keys::Keys;
use crate::plan::{AggregatePlan, WindowPlan, micros_utc};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{cast, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{FieldRef, Schema, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use std::fmt;
use std::sync::Arc;

/// Groups and their aggregates, while they are made of partials of one pane or window.
pub(crate) struct Groups {
    keys: Keys,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// Group of each row of the batch that was taken last.
    ids: Vec<usize>,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("len", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Groups {
    /// Of one pane or window, to which about so many rows come.
    pub(crate) fn new(plan: &WindowPlan, rows: usize) -> Result<Self> {
        let fields = plan.partial.fields().iter().take(1 + plan.groups.len()).skip(1).cloned();
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self { keys: Keys::new(schema, rows)?, accumulators: accumulators(plan)?, ids: Vec::new() })
    }

    /// Adds partials.
    pub(crate) fn merge(&mut self, plan: &WindowPlan, partial: &RecordBatch) -> Result<()> {
        let count = 1 + plan.groups.len();
        self.keys.intern(partial.columns().get(1..count).unwrap_or_default(), &mut self.ids)?;
        merge_states(plan, &mut self.accumulators, partial, &self.ids, self.keys.len())
    }

    /// The partials of pane `start`, each group once.
    pub(crate) fn partial(mut self, plan: &WindowPlan, start: i64) -> Result<RecordBatch> {
        let pane = TimestampMicrosecondArray::from(vec![start; self.keys.len()]).with_timezone("UTC");
        let mut columns: Vec<ArrayRef> = vec![Arc::new(pane)];
        columns.extend(self.keys.take()?);
        plan.with_states(columns, &mut self.accumulators)
    }

    /// Bytes of it.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.bytes() + self.accumulators.iter().map(|accumulator| accumulator.size()).sum::<usize>()
    }
}

fn accumulators(plan: &WindowPlan) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
    plan.aggregates.iter().map(accumulator).collect()
}

/// Adds the states of a partial to the groups that its rows are of.
fn merge_states(
    plan: &WindowPlan,
    accumulators: &mut [Box<dyn GroupsAccumulator>],
    partial: &RecordBatch,
    ids: &[usize],
    total: usize,
) -> Result<()> {
    let mut states = partial.columns().get(1 + plan.groups.len()..).unwrap_or_default();
    for (accumulator, aggregate) in accumulators.iter_mut().zip(&plan.aggregates) {
        let (own, rest) = states.split_at(aggregate.states.min(states.len()));
        accumulator.merge_batch(own, ids, total)?;
        states = rest;
    }
    Ok(())
}

fn accumulator(aggregate: &AggregatePlan) -> Result<Box<dyn GroupsAccumulator>> {
    if aggregate.function.groups_accumulator_supported() {
        return aggregate.function.create_groups_accumulator();
    }
    let function = aggregate.function.clone();
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
}

impl WindowPlan {
    /// The partials of rows of the input; none where no row passes the condition. Rows whose time is null are in no
    /// window. Where they are not folded, each row is a partial of its own: there are as many groups as rows.
    pub(crate) fn partials(&self, records: &RecordBatch, is_folded: bool) -> Result<Option<RecordBatch>> {
        let mut records = self.plain(records)?;
        if let Some(filter) = &self.filter {
            let holds = filter.evaluate(&records)?.into_array(records.num_rows())?;
            records = filter_record_batch(&records, &without_nulls(as_boolean_array(&holds)?))?;
        }
        let times = self.time.evaluate(&records)?.into_array(records.num_rows())?;
        let mut times = cast(&times, &micros_utc())?;
        if times.null_count() > 0 {
            let is_there = arrow::compute::is_not_null(&times)?;
            records = filter_record_batch(&records, &is_there)?;
            times = arrow::compute::filter(&times, &is_there)?;
        }
        let rows = records.num_rows();
        if rows == 0 {
            return Ok(None);
        }
        let panes = floors(times.as_primitive::<TimestampMicrosecondType>().values(), self.pane);
        let panes = TimestampMicrosecondArray::from(panes).with_timezone("UTC");
        let mut groups: Vec<ArrayRef> = vec![Arc::new(panes)];
        groups.extend(self.group_columns(&records)?);
        let mut inputs = Vec::with_capacity(self.aggregates.len());
        for aggregate in &self.aggregates {
            let arguments = aggregate.arguments.iter().map(|expr| expr.evaluate(&records)?.into_array(rows));
            let arguments = arguments.collect::<Result<Vec<_>>>()?;
            let filter = aggregate.filter.as_ref().map(|filter| filter.evaluate(&records)?.into_array(rows));
            inputs.push((arguments, filter.transpose()?));
        }
        if is_folded {
            self.folded_rows(&groups, &inputs).map(Some)
        } else {
            self.single_rows(groups, &inputs).map(Some)
        }
    }

    fn folded_rows(&self, groups: &[ArrayRef], inputs: &[Input]) -> Result<RecordBatch> {
        let mut accumulators = accumulators(self)?;
        let fields = self.partial.fields().iter();
        let (ids, keys) = if groups.iter().any(is_dictionary) {
            let made = Numbered::new(groups)?;
            let keys = groups.iter().zip(fields).map(|(group, field)| made.keys(group, field.data_type()));
            let keys = keys.collect::<Result<Vec<_>>>()?;
            (made.ids, keys)
        } else {
            let (mut ids, fields) = (Vec::new(), fields.take(groups.len()).cloned());
            let mut made = Keys::new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), 0)?;
            made.intern(groups, &mut ids)?;
            (ids, made.take()?)
        };
        let total = keys.first().map_or(0, |key| key.len());
        for (accumulator, (arguments, filter)) in accumulators.iter_mut().zip(inputs) {
            let filter = filter.as_ref().map(|filter| as_boolean_array(filter)).transpose()?;
            accumulator.update_batch(arguments, &ids, filter, total)?;
        }
        self.with_states(keys, &mut accumulators)
    }

    fn single_rows(&self, groups: Vec<ArrayRef>, inputs: &[Input]) -> Result<RecordBatch> {
        let plain = |(group, field): (&ArrayRef, &FieldRef)| Ok(cast(group, field.data_type())?);
        let mut columns: Vec<ArrayRef> = groups.iter().zip(self.partial.fields()).map(plain).collect::<Result<_>>()?;
        for (accumulator, (arguments, filter)) in accumulators(self)?.iter().zip(inputs) {
            let filter = filter.as_ref().map(|filter| as_boolean_array(filter)).transpose()?;
            columns.extend(accumulator.convert_to_state(arguments, filter)?);
        }
        Ok(RecordBatch::try_new(self.partial.clone(), columns)?)
    }

    /// Whether rows as partials of their own cost little: every aggregate keeps its states in columns.
    pub(crate) fn has_plain_states(&self) -> bool {
        self.aggregates.iter().all(|aggregate| aggregate.function.groups_accumulator_supported())
    }

    /// Partials of pane `start`, each group once.
    pub(crate) fn folded(&self, start: i64, partials: &[RecordBatch]) -> Result<RecordBatch> {
        let mut made = Groups::new(self, partials.iter().map(RecordBatch::num_rows).sum())?;
        partials.iter().try_for_each(|partial| made.merge(self, partial))?;
        made.partial(self, start)
    }

    /// The finished rows of the window that begins at `start`, of the partials of its panes.
    pub(crate) fn window<'a>(
        &self,
        start: i64,
        partials: impl IntoIterator<Item = &'a RecordBatch>,
    ) -> Result<RecordBatch> {
        let partials: Vec<&RecordBatch> = partials.into_iter().collect();
        let mut made = Groups::new(self, partials.iter().map(|partial| partial.num_rows()).sum())?;
        for partial in partials {
            made.merge(self, partial)?;
        }
        let groups = made.keys.take()?;
        self.finish(start, &groups, evaluated(&mut made.accumulators)?)
    }

    /// The same of one partial that has each group once.
    pub(crate) fn window_of_folded(&self, start: i64, partial: &RecordBatch) -> Result<RecordBatch> {
        let mut accumulators = accumulators(self)?;
        let ids: Vec<usize> = (0..partial.num_rows()).collect();
        merge_states(self, &mut accumulators, partial, &ids, ids.len())?;
        let groups = partial.columns().get(1..1 + self.groups.len()).unwrap_or_default();
        self.finish(start, groups, evaluated(&mut accumulators)?)
    }

    fn with_states(
        &self,
        mut columns: Vec<ArrayRef>,
        accumulators: &mut [Box<dyn GroupsAccumulator>],
    ) -> Result<RecordBatch> {
        for accumulator in accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        Ok(RecordBatch::try_new(self.partial.clone(), columns)?)
    }
}

/// Arguments of an aggregate for some rows, and which of these it counts.
type Input = (Vec<ArrayRef>, Option<ArrayRef>);

fn evaluated(accumulators: &mut [Box<dyn GroupsAccumulator>]) -> Result<Vec<ArrayRef>> {
    accumulators.iter_mut().map(|accumulator| accumulator.evaluate(EmitTo::All)).collect()
}

fn without_nulls(holds: &BooleanArray) -> BooleanArray {
    if holds.null_count() == 0 { holds.clone() } else { prep_null_mask_filter(holds) }
}
