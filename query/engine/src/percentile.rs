//! `percentile_cont`, exact to the last digit.
//!
//! The planner's own rounds the weight between two neighbors to six digits. Everything but the groups and the sum of
//! a whole query is still its: signature, windows, distinct values, narrow floats.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature,
};
use datafusion::physical_expr::expressions::Literal;
use rustc_hash::FxHashMap;
use std::mem::size_of;
use std::sync::Arc;

/// Its name in SQL.
pub(crate) const NAME: &str = "percentile_cont";

/// Puts the exact function in the place of the planner's.
pub(crate) fn exact_percentiles(registry: &mut dyn FunctionRegistry) -> Result<()> {
    let inner = registry.udaf(NAME)?;
    registry.register_udaf(Arc::new(AggregateUDF::new_from_impl(Percentile { inner })))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    inner: Arc<AggregateUDF>,
}

/// The share that is asked for, where this module knows the answer; none where the planner's function has to.
fn share(args: &AccumulatorArgs<'_>) -> Option<f64> {
    if !is_ours(args.is_distinct, args.expr_fields) {
        return None;
    }
    let ScalarValue::Float64(Some(share)) = args.exprs.get(1)?.downcast_ref::<Literal>()?.value() else { return None };
    let is_descending = args.order_bys.first().is_some_and(|order| order.options.descending);
    (0.0..=1.0).contains(share).then_some(if is_descending { 1.0 - share } else { *share })
}

/// Whether this module keeps the values: of wide floats, all of them.
fn is_ours(is_distinct: bool, fields: &[FieldRef]) -> bool {
    !is_distinct && fields.first().is_some_and(|field| field.data_type() == &DataType::Float64)
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        NAME
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if !is_ours(args.is_distinct, args.input_fields) {
            return self.inner.state_fields(args);
        }
        let list = |of: &str, item: DataType| -> FieldRef {
            let field = Arc::new(Field::new_list_field(item, true));
            Arc::new(Field::new(format_state_name(args.name, of), DataType::List(field), true))
        };
        Ok(vec![list("values", DataType::Float64), list("counts", DataType::Int64)])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match share(&args) {
            Some(share) => Ok(Box::new(Whole(Groups::new(share)))),
            None => self.inner.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match share(&args) {
            Some(share) => Ok(Box::new(Groups::new(share))),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.inner.simplify()
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Values as whole numbers that sort as the floats do: a selection then compares without branches.
#[derive(Debug, Default)]
struct Values(Vec<i64>);

fn to_order(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

fn from_order(order: i64) -> f64 {
    f64::from_bits((order ^ ((order >> 63) as u64 >> 1) as i64) as u64)
}

impl Values {
    /// The value below which `share` of the values lie, between two of them in proportion.
    fn percentile(&mut self, share: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        let place = share * last as f64;
        let index = (place.floor() as usize).min(last);
        let (_, lower, above) = self.0.select_nth_unstable(index);
        let (lower, weight) = (from_order(*lower), place - index as f64);
        match above.iter().min() {
            Some(upper) if weight > 0.0 => Some(lower + (from_order(*upper) - lower) * weight),
            _ => Some(lower),
        }
    }
}

/// Values that few others equal are kept one by one; where they repeat, how often each came is enough.
#[derive(Debug)]
enum Kept {
    Each(Vec<Values>),
    Counted { counts: FxHashMap<(usize, i64), u64>, small: Small, groups: usize },
}

/// How often small whole numbers came, in a place for each of them: durations, sizes and results are such.
#[derive(Debug, Default)]
struct Small {
    /// [`SMALL`] places for each group; none where there are too many groups.
    counts: Vec<u64>,
}

/// Whole numbers from 0 on that have a place.
const SMALL: usize = 1 << 12;
/// Places, at most: 2 MiB.
const PLACES_MAX: usize = 1 << 18;

impl Small {
    /// Makes room for `groups`; gives back what no longer has a place.
    fn resize(&mut self, groups: usize) -> Vec<(usize, i64, u64)> {
        if groups * SMALL <= PLACES_MAX {
            self.counts.resize((groups * SMALL).max(self.counts.len()), 0);
            return Vec::new();
        }
        self.take()
    }

    fn place(&mut self, group: usize, order: i64) -> Option<&mut u64> {
        let value = from_order(order);
        let number = value as usize;
        // Zero has two signs, and one of them has a place.
        if order < 0 || number >= SMALL || number as f64 != value {
            return None;
        }
        self.counts.get_mut(group * SMALL + number)
    }

    /// All that was counted.
    fn take(&mut self) -> Vec<(usize, i64, u64)> {
        let counted = std::mem::take(&mut self.counts).into_iter().enumerate().filter(|(_, count)| *count > 0);
        counted.map(|(place, count)| (place / SMALL, to_order((place % SMALL) as f64), count)).collect()
    }
}

fn add_all(counts: &mut FxHashMap<(usize, i64), u64>, more: Vec<(usize, i64, u64)>) {
    more.into_iter().for_each(|(group, order, times)| *counts.entry((group, order)).or_default() += times);
}

/// Distinct values of a group from which on counting has to pay.
const COUNTED_MIN: usize = 1 << 14;
/// Rows that a distinct value must stand for.
const REPEATS_MIN: usize = 4;

impl Kept {
    fn new() -> Self {
        Self::Counted { counts: FxHashMap::default(), small: Small::default(), groups: 0 }
    }

    fn resize(&mut self, count: usize) {
        match self {
            Self::Each(groups) => groups.resize_with(count.max(groups.len()), Values::default),
            Self::Counted { counts, small, groups } => {
                *groups = count.max(*groups);
                add_all(counts, small.resize(*groups));
            }
        }
    }

    fn add(&mut self, group: usize, order: i64, count: u64) {
        match self {
            Self::Each(groups) => groups[group].0.extend(std::iter::repeat_n(order, count as usize)),
            Self::Counted { counts, small, .. } => match small.place(group, order) {
                Some(place) => *place += count,
                None => *counts.entry((group, order)).or_default() += count,
            },
        }
    }

    /// Stops counting where values hardly repeat. `rows` came so far.
    fn settle(&mut self, rows: usize) {
        let Self::Counted { counts, small, groups } = self else { return };
        if counts.len() > COUNTED_MIN && counts.len() * REPEATS_MIN > rows {
            let mut each: Vec<Values> = Vec::new();
            each.resize_with(*groups, Values::default);
            let small = small.take().into_iter().map(|(group, order, count)| ((group, order), count));
            for ((group, order), count) in counts.drain().chain(small) {
                each[group].0.extend(std::iter::repeat_n(order, count as usize));
            }
            *self = Self::Each(each);
        }
    }

    /// The first `count` groups, each value with how often it came; the others move up.
    fn take(&mut self, emit_to: EmitTo) -> Vec<Vec<(i64, u64)>> {
        match self {
            Self::Each(groups) => {
                let taken = emit_to.take_needed(groups);
                taken.into_iter().map(|values| values.0.into_iter().map(|order| (order, 1)).collect()).collect()
            }
            Self::Counted { counts, small, groups } => {
                add_all(counts, small.take());
                let count = match emit_to {
                    EmitTo::All => *groups,
                    EmitTo::First(count) => count.min(*groups),
                };
                let mut taken = vec![Vec::new(); count];
                let mut rest = FxHashMap::default();
                for ((group, order), times) in counts.drain() {
                    match taken.get_mut(group) {
                        Some(values) => values.push((order, times)),
                        None => drop(rest.insert((group - count, order), times)),
                    }
                }
                (*counts, *groups) = (rest, *groups - count);
                taken
            }
        }
    }

    fn bytes(&self, rows: usize) -> usize {
        match self {
            // A vector that grows by doubling is less than twice as large as what is in it.
            Self::Each(groups) => rows * 2 * size_of::<i64>() + groups.capacity() * size_of::<Values>(),
            Self::Counted { counts, small, .. } => {
                counts.capacity() * (size_of::<(usize, i64, u64)>() + 1) + small.counts.capacity() * size_of::<u64>()
            }
        }
    }
}

/// The percentile of values with how often each came.
fn of_counts(mut counts: Vec<(i64, u64)>, share: f64) -> Option<f64> {
    if counts.iter().all(|(_, count)| *count == 1) {
        return Values(counts.into_iter().map(|(order, _)| order).collect()).percentile(share);
    }
    counts.sort_unstable();
    let rows: u64 = counts.iter().map(|(_, count)| count).sum();
    let place = share * rows.checked_sub(1)? as f64;
    let index = (place.floor() as u64).min(rows - 1);
    let mut passed = 0;
    let mut sorted = counts.into_iter();
    let lower = sorted.by_ref().find(|(_, count)| {
        passed += count;
        passed > index
    });
    let (lower, weight) = (from_order(lower?.0), place - index as f64);
    // The next one is equal where there are more of the same.
    let upper = if index + 1 < passed { None } else { sorted.next() };
    match upper {
        Some((upper, _)) if weight > 0.0 => Some(lower + (from_order(upper) - lower) * weight),
        _ => Some(lower),
    }
}

/// Two lists for each group: values, and how often each came.
fn lists(groups: &[Vec<(i64, u64)>]) -> Result<[ListArray; 2]> {
    let count: usize = groups.iter().map(Vec::len).sum();
    let too_many = || DataFusionError::ResourcesExhausted(format!("{NAME} over {count} distinct values at once"));
    i32::try_from(count).map_err(|_| too_many())?;
    let offsets = OffsetBuffer::from_lengths(groups.iter().map(Vec::len));
    let values: Vec<f64> = groups.iter().flatten().map(|(order, _)| from_order(*order)).collect();
    let counts: Vec<i64> = groups.iter().flatten().map(|(_, count)| *count as i64).collect();
    let list = |items: ArrayRef| {
        let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
        ListArray::new(field, offsets.clone(), items, None)
    };
    Ok([list(Arc::new(Float64Array::from(values))), list(Arc::new(Int64Array::from(counts)))])
}

/// Over the rows of each group.
#[derive(Debug)]
struct Groups {
    kept: Kept,
    rows: usize,
    share: f64,
}

impl Groups {
    fn new(share: f64) -> Self {
        Self { kept: Kept::new(), rows: 0, share }
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Vec<(i64, u64)>> {
        let taken = self.kept.take(emit_to);
        let rows: u64 = taken.iter().flatten().map(|(_, count)| count).sum();
        self.rows -= rows as usize;
        taken
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        self.kept.resize(groups);
        let Some(values) = values.first() else { return Ok(()) };
        let values = values.as_primitive::<Float64Type>();
        let is_wanted =
            |row: usize| values.is_valid(row) && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let has_gaps = values.null_count() > 0 || filter.is_some();
        for (row, (group, value)) in group_indices.iter().zip(values.values()).enumerate() {
            if !has_gaps || is_wanted(row) {
                self.kept.add(*group, to_order(*value), 1);
                self.rows += 1;
            }
        }
        self.kept.settle(self.rows);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], groups: usize) -> Result<()> {
        self.kept.resize(groups);
        let [values, counts] = states else { return Ok(()) };
        let lists = values.as_list::<i32>().iter().zip(counts.as_list::<i32>().iter());
        for (group, (values, counts)) in group_indices.iter().zip(lists) {
            let (Some(values), Some(counts)) = (values, counts) else { continue };
            let values = values.as_primitive::<Float64Type>().values();
            for (value, count) in values.iter().zip(counts.as_primitive::<Int64Type>().values()) {
                self.kept.add(*group, to_order(*value), count.unsigned_abs());
                self.rows += count.unsigned_abs() as usize;
            }
        }
        self.kept.settle(self.rows);
        Ok(())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(lists(&self.take(emit_to))?.map(|list| Arc::new(list) as ArrayRef).to_vec())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let share = self.share;
        let percentiles = self.take(emit_to).into_iter().map(|counts| of_counts(counts, share));
        Ok(Arc::new(percentiles.collect::<Float64Array>()))
    }

    /// Each row as a group of its own: what is left out is null.
    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let Some(values) = values.first() else { return Ok(Vec::new()) };
        let values = values.as_primitive::<Float64Type>();
        let passed = filter.map(|filter| match filter.nulls() {
            Some(known) => NullBuffer::new(filter.values() & known.inner()),
            None => NullBuffer::new(filter.values().clone()),
        });
        let nulls = NullBuffer::union(values.nulls(), passed.as_ref());
        let list = |items: ArrayRef| -> ArrayRef {
            let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
            let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, items.len()));
            Arc::new(ListArray::new(field, offsets, items, nulls.clone()))
        };
        let ones = Int64Array::from_value(1, values.len());
        Ok(vec![list(Arc::new(Float64Array::new(values.values().clone(), None))), list(Arc::new(ones))])
    }

    fn size(&self) -> usize {
        self.kept.bytes(self.rows)
    }
}

/// Over all rows: one group.
#[derive(Debug)]
struct Whole(Groups);

impl Accumulator for Whole {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |values| values.len());
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |states| states.len());
        self.0.merge_batch(states, &vec![0; rows], 1)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.kept.resize(1);
        let lists = lists(&self.0.take(EmitTo::All))?;
        Ok(lists.map(|list| ScalarValue::List(Arc::new(list))).to_vec())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let counts = self.0.take(EmitTo::All).into_iter().next();
        Ok(ScalarValue::Float64(counts.and_then(|counts| of_counts(counts, self.0.share))))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn percentile(values: &[f64], share: f64) -> Option<f64> {
        let each = Values(values.iter().map(|value| to_order(*value)).collect()).percentile(share);
        let mut counted = Kept::new();
        counted.resize(1);
        values.iter().for_each(|value| counted.add(0, to_order(*value), 1));
        let counted = counted.take(EmitTo::All).remove(0);
        assert_eq!(of_counts(counted, share), each);
        // Among so many groups that none has places for small numbers.
        let mut many = Kept::new();
        many.resize(1);
        let (first, rest) = values.split_at(values.len() / 2);
        first.iter().for_each(|value| many.add(0, to_order(*value), 1));
        many.resize(PLACES_MAX / SMALL + 1);
        rest.iter().for_each(|value| many.add(0, to_order(*value), 1));
        // What stays when others are emitted is counted on.
        let mut late = Kept::new();
        late.resize(2);
        first.iter().for_each(|value| late.add(1, to_order(*value), 1));
        assert_eq!(late.take(EmitTo::First(1)), [[]]);
        late.resize(1);
        rest.iter().for_each(|value| late.add(0, to_order(*value), 1));
        assert_eq!(of_counts(late.take(EmitTo::All).remove(0), share), each);
        assert_eq!(of_counts(many.take(EmitTo::All).remove(0), share), each);
        each
    }

    #[test]
    fn between_two_values_in_proportion() {
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
        assert_eq!(percentile(&[4.0, 1.0, 3.0, 2.0], 0.5), Some(2.5));
        assert_eq!(percentile(&[-1.0, -3.0], 0.25), Some(-2.5));
        assert_eq!(percentile(&[2.0, 1.0], 1.0), Some(2.0));
        let thirds: Vec<f64> = (0..=30_000_000 / 1000).map(f64::from).collect();
        assert_eq!(percentile(&thirds, 1.0 / 7.0), Some(30_000.0 / 7.0));
    }

    proptest! {
        /// Counting and keeping each value are the same.
        #[test]
        fn counts_change_nothing(values in prop::collection::vec(-4i32..4, 1..60), share in 0.0f64..=1.0) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            percentile(&values, share);
        }

        #[test]
        fn the_order_of_whole_numbers_is_that_of_floats(left: f64, right: f64) {
            prop_assert_eq!(to_order(left).cmp(&to_order(right)), left.total_cmp(&right));
            prop_assert_eq!(from_order(to_order(left)).to_bits(), left.to_bits());
        }
    }
}
