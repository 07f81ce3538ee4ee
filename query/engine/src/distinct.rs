//! Distinct values of each group, counted.
//!
//! The planner's own `count(DISTINCT ...)` keeps a set for each group of texts. Here each value has a small number, and
//! all groups share one table of bits: a bit for each pair of group and number, or a set of pairs where bits would take
//! more.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListArray, StringViewBuilder};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_err, not_impl_err};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, Expr, GroupsAccumulator, Signature, Volatility,
};
use rustc_hash::FxHashSet;
use std::collections::HashMap;
use std::mem::size_of;
use std::sync::{Arc, LazyLock};

/// Words of 64 bits that the table of bits may take: 16 MiB.
const WORDS_MAX: usize = 1 << 21;

/// `call`, a `count(DISTINCT value)`, as a count of this module over `value`: numbers of texts, or texts as views.
pub(crate) fn distinct_count(call: &AggregateFunction, value: Expr) -> Expr {
    static FUNCTION: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| {
        let types = vec![DataType::Int32, DataType::Utf8View];
        let signature = Signature::uniform(1, types, Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(DistinctCount { signature }))
    });
    let filter = call.params.filter.clone();
    Expr::AggregateFunction(AggregateFunction::new_udf(FUNCTION.clone(), vec![value], false, filter, vec![], None))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DistinctCount {
    signature: Signature,
}

impl AggregateUDFImpl for DistinctCount {
    fn name(&self) -> &str {
        "distinct_count"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let Some(field) = args.input_fields.first() else { return exec_err!("{} of nothing", self.name()) };
        let item = Field::new_list_field(field.data_type().clone(), true);
        Ok(vec![Arc::new(Field::new_list(format_state_name(args.name, "values"), item, false))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Whole(Groups::of(&args)?)))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::of(&args)?))
    }
}

/// The numbers of values.
#[derive(Debug)]
enum Numbers {
    /// The values are numbers, from 0 on.
    Given,
    /// Texts, numbered as they came.
    Texts { numbers: HashMap<Arc<str>, u32>, texts: Vec<Arc<str>>, bytes: usize },
}

impl Numbers {
    /// The numbers of `values`; none for null.
    fn of(&mut self, values: &ArrayRef) -> Result<Vec<Option<u32>>> {
        match self {
            Self::Given => Ok(values.as_primitive::<Int32Type>().iter().map(|value| value.map(|v| v as u32)).collect()),
            Self::Texts { numbers, texts, bytes } => {
                let number = |text: &str| match numbers.get(text) {
                    Some(number) => Ok(*number),
                    None => {
                        let too_many = |_| DataFusionError::ResourcesExhausted("too many distinct texts".to_owned());
                        let number = u32::try_from(texts.len()).map_err(too_many)?;
                        let text: Arc<str> = text.into();
                        *bytes += text.len() + 2 * size_of::<usize>();
                        texts.push(text.clone());
                        numbers.insert(text, number);
                        Ok(number)
                    }
                };
                let mut number = number;
                values.as_string_view().iter().map(|text| text.map(&mut number).transpose()).collect()
            }
        }
    }

    /// The values with these numbers.
    fn values(&self, numbers: &[u32]) -> ArrayRef {
        match self {
            Self::Given => Arc::new(numbers.iter().map(|number| *number as i32).collect::<Int32Array>()),
            Self::Texts { texts, .. } => {
                let mut values = StringViewBuilder::with_capacity(numbers.len());
                numbers.iter().for_each(|number| values.append_value(&texts[*number as usize]));
                Arc::new(values.finish())
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Given => 0,
            Self::Texts { numbers, texts, bytes } => {
                bytes
                    + numbers.capacity() * (size_of::<(Arc<str>, u32)>() + 1)
                    + texts.capacity() * size_of::<Arc<str>>()
            }
        }
    }
}

/// Which group has seen which number.
#[derive(Debug)]
enum Pairs {
    /// `width` words for each group.
    Bits {
        words: Vec<u64>,
        width: usize,
    },
    Set(FxHashSet<(u32, u32)>),
}

impl Pairs {
    /// Makes room for `groups` groups and numbers up to `number`.
    fn reserve(&mut self, groups: usize, number: u32) {
        let Self::Bits { words, width } = self else { return };
        let needed = (number as usize / 64 + 1).max(*width);
        if needed.saturating_mul(groups) > WORDS_MAX {
            *self = Self::Set(self.iter().collect());
            return;
        }
        if needed > *width {
            // Twice as wide as asked for, where that is allowed: numbers grow one by one.
            let wide = if needed * 2 * groups <= WORDS_MAX && *width > 0 { needed * 2 } else { needed };
            let mut wider = vec![0; wide * groups];
            if *width > 0 {
                for (to, from) in wider.chunks_exact_mut(wide).zip(words.chunks_exact(*width)) {
                    to[..*width].copy_from_slice(from);
                }
            }
            (*words, *width) = (wider, wide);
        }
        words.resize(groups * *width, 0);
    }

    /// Whether the pair is new. There is room for it.
    fn insert(&mut self, group: usize, number: u32) -> bool {
        match self {
            Self::Bits { words, width } => {
                let word = &mut words[group * *width + number as usize / 64];
                let bit = 1 << (number % 64);
                let is_new = *word & bit == 0;
                *word |= bit;
                is_new
            }
            Self::Set(pairs) => pairs.insert((group as u32, number)),
        }
    }

    /// All pairs; those of bits come group by group.
    fn iter(&self) -> Box<dyn Iterator<Item = (u32, u32)> + '_> {
        match self {
            Self::Bits { words, width } => Box::new(words.iter().enumerate().flat_map(move |(index, word)| {
                let (group, first) = (index / width, index % width * 64);
                (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| (group as u32, (first + bit) as u32))
            })),
            Self::Set(pairs) => Box::new(pairs.iter().copied()),
        }
    }

    /// Forgets the first `groups`; the others move up.
    fn drop_first(&mut self, groups: usize) {
        match self {
            Self::Bits { words, width } => drop(words.drain(..(groups * *width).min(words.len()))),
            Self::Set(pairs) => {
                let moved =
                    pairs.iter().filter_map(|(group, number)| Some((group.checked_sub(groups as u32)?, *number)));
                *pairs = moved.collect();
            }
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Bits { words, .. } => words.capacity() * size_of::<u64>(),
            Self::Set(pairs) => pairs.capacity() * (size_of::<(u32, u32)>() + 1),
        }
    }
}

#[derive(Debug)]
struct Groups {
    numbers: Numbers,
    pairs: Pairs,
    counts: Vec<i64>,
}

impl Groups {
    fn of(args: &AccumulatorArgs<'_>) -> Result<Self> {
        Self::over(args.expr_fields.first().map_or(&DataType::Null, |field| field.data_type()))
    }

    fn over(data_type: &DataType) -> Result<Self> {
        let numbers = match data_type {
            DataType::Int32 => Numbers::Given,
            DataType::Utf8View => Numbers::Texts { numbers: HashMap::new(), texts: Vec::new(), bytes: 0 },
            other => return not_impl_err!("distinct values of {other} are not counted here"),
        };
        Ok(Self { numbers, pairs: Pairs::Bits { words: Vec::new(), width: 0 }, counts: Vec::new() })
    }

    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups.max(self.counts.len()), 0);
    }

    /// Adds `numbers[i]` to `groups(i)`, where it is wanted.
    fn add(&mut self, numbers: &[Option<u32>], group: impl Fn(usize) -> Option<usize>) {
        self.pairs.reserve(self.counts.len(), numbers.iter().flatten().max().copied().unwrap_or_default());
        for (row, number) in numbers.iter().enumerate() {
            if let (Some(number), Some(group)) = (number, group(row)) {
                self.counts[group] += i64::from(self.pairs.insert(group, *number));
            }
        }
    }

    /// The values of the first `groups` groups.
    fn lists(&self, groups: usize) -> Result<ListArray> {
        let mut pairs: Vec<(u32, u32)> = self.pairs.iter().filter(|(group, _)| (*group as usize) < groups).collect();
        i32::try_from(pairs.len()).map_err(|_| {
            DataFusionError::ResourcesExhausted(format!("{} distinct values at once are too many", pairs.len()))
        })?;
        pairs.sort_unstable();
        let numbers: Vec<u32> = pairs.into_iter().map(|(_, number)| number).collect();
        let values = self.numbers.values(&numbers);
        let offsets = OffsetBuffer::from_lengths(self.counts.iter().take(groups).map(|count| *count as usize));
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        Ok(ListArray::try_new(field, offsets, values, None)?)
    }

    /// Lets the groups go that are emitted, and says how often each was counted.
    fn take(&mut self, emit_to: EmitTo) -> Vec<i64> {
        let taken = emit_to.take_needed(&mut self.counts);
        self.pairs.drop_first(taken.len());
        taken
    }

    fn emitted(&self, emit_to: EmitTo) -> usize {
        match emit_to {
            EmitTo::All => self.counts.len(),
            EmitTo::First(count) => count.min(self.counts.len()),
        }
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
        self.resize(groups);
        let Some(values) = values.first() else { return Ok(()) };
        let numbers = self.numbers.of(values)?;
        let is_wanted = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        self.add(&numbers, |row| is_wanted(row).then(|| group_indices[row]));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], groups: usize) -> Result<()> {
        self.resize(groups);
        let Some(lists) = states.first().map(|lists| lists.as_list::<i32>()) else { return Ok(()) };
        let offsets = lists.value_offsets();
        let start = offsets.first().map_or(0, |start| *start as usize);
        let end = offsets.last().map_or(0, |end| *end as usize);
        let numbers = self.numbers.of(&lists.values().slice(start, end - start))?;
        let mut group_of = Vec::with_capacity(numbers.len());
        for (bounds, group) in offsets.windows(2).zip(group_indices) {
            group_of.extend(std::iter::repeat_n(*group, (bounds[1] - bounds[0]) as usize));
        }
        self.add(&numbers, |row| Some(group_of[row]));
        Ok(())
    }

    /// Each row as a group of its own; what is left out or null is an empty list.
    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let Some(values) = values.first() else { return Ok(Vec::new()) };
        let is_wanted = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let wanted: BooleanArray = (0..values.len()).map(|row| Some(values.is_valid(row) && is_wanted(row))).collect();
        let offsets = OffsetBuffer::from_lengths(wanted.values().iter().map(usize::from));
        let values = arrow::compute::filter(values, &wanted)?;
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        Ok(vec![Arc::new(ListArray::try_new(field, offsets, values, None)?)])
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let lists = self.lists(self.emitted(emit_to))?;
        self.take(emit_to);
        Ok(vec![Arc::new(lists)])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(self.take(emit_to))))
    }

    fn size(&self) -> usize {
        self.numbers.size() + self.pairs.size() + self.counts.capacity() * size_of::<i64>()
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
        self.0.resize(1);
        Ok(vec![ScalarValue::List(Arc::new(self.0.lists(1)?))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.0.counts.first().copied().unwrap_or_default())))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::StringViewArray;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// What is counted, in two halves that are merged, the first groups emitted early.
    fn counted(rows: &[(usize, Option<u32>)], are_texts: bool, early: usize) -> Vec<i64> {
        let data_type = if are_texts { DataType::Utf8View } else { DataType::Int32 };
        let groups = rows.iter().map(|(group, _)| group + 1).max().unwrap_or_default();
        let values = |rows: &[(usize, Option<u32>)]| -> ArrayRef {
            let values = rows.iter().map(|(_, value)| *value);
            match are_texts {
                true => Arc::new(values.map(|v| v.map(|v| format!("the text {v}"))).collect::<StringViewArray>()),
                false => Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
            }
        };
        let mut whole = Groups::over(&data_type).unwrap();
        for half in rows.chunks(rows.len() / 2 + 1) {
            let mut part = Groups::over(&data_type).unwrap();
            let (half, alone) = half.split_at(half.len() / 2);
            let indices: Vec<usize> = alone.iter().map(|(group, _)| *group).collect();
            let states = part.convert_to_state(&[values(alone)], None).unwrap();
            whole.merge_batch(&states, &indices, groups).unwrap();
            part.update_batch(&[values(&[])], &[], None, groups).unwrap();
            for rows in half.chunks(3) {
                let indices: Vec<usize> = rows.iter().map(|(group, _)| *group).collect();
                part.update_batch(&[values(rows)], &indices, None, groups).unwrap();
            }
            let early = early.min(groups);
            let first = part.state(EmitTo::First(early)).unwrap();
            whole.merge_batch(&first, &(0..early).collect::<Vec<_>>(), groups).unwrap();
            let rest = part.state(EmitTo::All).unwrap();
            whole.merge_batch(&rest, &(early..groups).collect::<Vec<_>>(), groups).unwrap();
        }
        let counts = whole.evaluate(EmitTo::All).unwrap();
        counts.as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
    }

    proptest! {
        #[test]
        fn as_a_set_for_each_group(
            rows in prop::collection::vec((0usize..5, prop::option::of(0u32..200)), 1..80),
            are_texts: bool, has_far: bool, early in 0usize..5,
        ) {
            let mut rows = rows;
            // A number for which bits would take too much.
            rows.extend((has_far && !are_texts).then_some((1, Some(i32::MAX as u32))));
            let mut sets: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
            let groups = rows.iter().map(|(group, _)| group + 1).max().unwrap_or_default();
            (0..groups).for_each(|group| drop(sets.insert(group, BTreeSet::new())));
            rows.iter().for_each(|(group, value)| sets.get_mut(group).unwrap().extend(*value));
            let expected: Vec<i64> = sets.values().map(|set| set.len() as i64).collect();
            prop_assert_eq!(counted(&rows, are_texts, early), expected);
        }
    }
}
