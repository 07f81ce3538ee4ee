//! Aggregates of many groups at once: rows to states, states to states, states to values.

use crate::functions::floor;
use crate::plan::{AggregatePlan, WindowPlan, micros_utc};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{cast, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{Schema, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use std::sync::Arc;

/// Groups and their aggregates, while they are made.
struct Groups {
    values: Box<dyn GroupValues>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// Group of each row of the batch that was taken last.
    ids: Vec<usize>,
}

impl Groups {
    /// `with_pane`: the pane is part of the group.
    fn new(plan: &WindowPlan, with_pane: bool) -> Result<Self> {
        let count = 1 + plan.groups.len();
        let fields = plan.partial.fields().iter().take(count).skip(usize::from(!with_pane)).cloned();
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let values = new_group_values(schema, &GroupOrdering::None)?;
        let accumulators = plan.aggregates.iter().map(accumulator).collect::<Result<_>>()?;
        Ok(Self { values, accumulators, ids: Vec::new() })
    }

    fn merge(&mut self, plan: &WindowPlan, partial: &RecordBatch, with_pane: bool) -> Result<()> {
        let count = 1 + plan.groups.len();
        let groups = partial.columns().get(usize::from(!with_pane)..count).unwrap_or_default();
        self.values.intern(groups, &mut self.ids)?;
        let total = self.values.len();
        let mut states = partial.columns().get(count..).unwrap_or_default();
        for (accumulator, aggregate) in self.accumulators.iter_mut().zip(&plan.aggregates) {
            let (own, rest) = states.split_at(aggregate.states.min(states.len()));
            accumulator.merge_batch(own, &self.ids, total)?;
            states = rest;
        }
        Ok(())
    }
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
    /// window.
    pub(crate) fn partials(&self, records: &RecordBatch) -> Result<Option<RecordBatch>> {
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
        let panes: TimestampMicrosecondArray =
            times.as_primitive::<TimestampMicrosecondType>().unary(|time| floor(time, self.pane));
        let mut groups: Vec<ArrayRef> = vec![Arc::new(panes.with_timezone("UTC"))];
        for group in &self.groups {
            groups.push(group.evaluate(&records)?.into_array(rows)?);
        }
        let mut made = Groups::new(self, true)?;
        made.values.intern(&groups, &mut made.ids)?;
        let total = made.values.len();
        for (accumulator, aggregate) in made.accumulators.iter_mut().zip(&self.aggregates) {
            let arguments = aggregate.arguments.iter().map(|expr| expr.evaluate(&records)?.into_array(rows));
            let arguments = arguments.collect::<Result<Vec<_>>>()?;
            let filter = match &aggregate.filter {
                Some(filter) => Some(filter.evaluate(&records)?.into_array(rows)?),
                None => None,
            };
            let filter = filter.as_ref().map(|filter| as_boolean_array(filter)).transpose()?;
            accumulator.update_batch(&arguments, &made.ids, filter, total)?;
        }
        self.partial_of(made).map(Some)
    }

    /// Partials with equal groups as one.
    pub(crate) fn folded(&self, partials: &[RecordBatch]) -> Result<RecordBatch> {
        let mut made = Groups::new(self, true)?;
        for partial in partials {
            made.merge(self, partial, true)?;
        }
        self.partial_of(made)
    }

    /// The finished rows of the window that begins at `start`, of the partials of its panes.
    pub(crate) fn window<'a>(
        &self,
        start: i64,
        partials: impl IntoIterator<Item = &'a RecordBatch>,
    ) -> Result<RecordBatch> {
        let mut made = Groups::new(self, false)?;
        for partial in partials {
            made.merge(self, partial, false)?;
        }
        let groups = made.values.emit(EmitTo::All)?;
        let values = made.accumulators.iter_mut().map(|accumulator| accumulator.evaluate(EmitTo::All));
        let values = values.collect::<Result<Vec<_>>>()?;
        self.finish(start, &groups, values)
    }

    fn partial_of(&self, mut made: Groups) -> Result<RecordBatch> {
        let mut columns = made.values.emit(EmitTo::All)?;
        for accumulator in &mut made.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        Ok(RecordBatch::try_new(self.partial.clone(), columns)?)
    }
}

fn without_nulls(holds: &BooleanArray) -> BooleanArray {
    if holds.null_count() == 0 { holds.clone() } else { prep_null_mask_filter(holds) }
}
