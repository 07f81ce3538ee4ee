//! `array_agg`, with all that it holds counted (MEM-1).
//!
//! The planner's own counts of texts that are views the sixteen bytes of each view alone, so that what a query may hold is
//! exceeded by as much as its texts are long. Here their bytes are added; the rest is the planner's.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};
use std::sync::Arc;

const NAME: &str = "array_agg";

/// Puts the function that counts in the place of the planner's.
pub(crate) fn count_gathered(registry: &mut dyn FunctionRegistry) -> Result<()> {
    let inner = registry.udaf(NAME)?;
    registry.register_udaf(Arc::new(AggregateUDF::new_from_impl(Gathered { inner })))?;
    Ok(())
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Gathered {
    inner: Arc<AggregateUDF>,
}

/// Whether whole arrays are kept, and of views: otherwise each value is counted.
fn keeps_views(args: &AccumulatorArgs<'_>) -> bool {
    let is_view = |field: &FieldRef| matches!(field.data_type(), DataType::Utf8View | DataType::BinaryView);
    !args.is_distinct && args.order_bys.is_empty() && args.expr_fields.first().is_some_and(is_view)
}

impl AggregateUDFImpl for Gathered {
    fn name(&self) -> &str {
        NAME
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.inner.return_type(kinds)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let keeps_views = keeps_views(&args);
        let inner = self.inner.accumulator(args)?;
        Ok(if keeps_views { Box::new(Counted { inner, texts: 0 }) } else { inner })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let keeps_views = keeps_views(&args);
        let inner = self.inner.create_groups_accumulator(args)?;
        Ok(if keeps_views { Box::new(CountedGroups { inner, texts: 0, groups: 0 }) } else { inner })
    }

    fn with_beneficial_ordering(self: Arc<Self>, is_ordered: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let inner = self.inner.as_ref().clone().with_beneficial_ordering(is_ordered)?;
        Ok(inner.map(|inner| Arc::new(Self { inner: Arc::new(inner) }) as Arc<dyn AggregateUDFImpl>))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    /// The planner's says that it can be reversed, which turns the order of distinct values around.
    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }

    fn default_value(&self, kind: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(kind)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Bytes of the texts of arrays of views, or of lists of them.
fn texts_of(arrays: &[ArrayRef]) -> usize {
    let texts = |array: &dyn Array| match array.data_type() {
        DataType::Utf8View => array.as_string_view().lengths().map(|length| length as usize).sum(),
        DataType::BinaryView => array.as_binary_view().lengths().map(|length| length as usize).sum(),
        _ => 0,
    };
    let of = |array: &ArrayRef| match array.as_list_opt::<i32>() {
        Some(lists) => texts(lists.values()),
        None => texts(array),
    };
    arrays.iter().map(of).sum()
}

#[derive(Debug)]
struct Counted {
    inner: Box<dyn Accumulator>,
    texts: usize,
}

impl Accumulator for Counted {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.texts += texts_of(values);
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.texts += texts_of(states);
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.texts = self.texts.saturating_sub(texts_of(values));
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn size(&self) -> usize {
        self.inner.size() + self.texts
    }
}

struct CountedGroups {
    inner: Box<dyn GroupsAccumulator>,
    texts: usize,
    groups: usize,
}

impl CountedGroups {
    /// Groups that go take their share along.
    fn emit(&mut self, emit_to: EmitTo) {
        match emit_to {
            EmitTo::All => (self.texts, self.groups) = (0, 0),
            EmitTo::First(groups) => {
                let left = self.groups.saturating_sub(groups);
                self.texts = (self.texts as u128 * left as u128 / self.groups.max(1) as u128) as usize;
                self.groups = left;
            }
        }
    }
}

impl GroupsAccumulator for CountedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        (self.texts, self.groups) = (self.texts + texts_of(values), count);
        self.inner.update_batch(values, groups, filter, count)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        (self.texts, self.groups) = (self.texts + texts_of(states), count);
        self.inner.merge_batch(states, groups, count)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.emit(emit_to);
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.emit(emit_to);
        self.inner.state(emit_to)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size() + self.texts
    }
}
