//! An expression over one dictionary, evaluated once for each of its values.

use super::answers::Answers;
use super::search::Search;
use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, RecordBatchOptions, StringArray, new_null_array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// Values of a dictionary for each row that asked: with more of them, the rows' own values are looked at.
const VALUES_PER_ROW: usize = 4;

/// Evaluates an expression over the values of a dictionary column, then looks up each row's value. What a dictionary
/// gave is kept until the next one comes: all batches of a row group share theirs. Holds as much as that result.
#[derive(Debug)]
pub(super) struct PerValue {
    /// The dictionary. Its place in the input may change.
    column: Arc<dyn PhysicalExpr>,
    /// Over one column: the values.
    inner: Arc<dyn PhysicalExpr>,
    /// The same, as it is evaluated.
    evaluated: Arc<dyn PhysicalExpr>,
    values: SchemaRef,
    known: Mutex<Known>,
}

/// What is known of the dictionary that came last.
#[derive(Debug, Default)]
struct Known {
    /// Kept alive, so that no other dictionary can have its address.
    values: Option<ArrayRef>,
    results: Option<Results>,
    /// Rows that came before the results were made.
    rows: usize,
    /// One of the values makes the expression fail.
    is_refused: bool,
}

/// The result for each value, and for null.
#[derive(Clone, Debug)]
enum Results {
    /// True or false.
    Answers(Arc<Answers>),
    /// Anything, that of null behind the others.
    Values(ArrayRef),
}

impl PerValue {
    /// `expr`, whose only column is `column` of `schema`, a dictionary.
    pub(super) fn new(expr: Arc<dyn PhysicalExpr>, column: Column, schema: &Schema) -> Result<Self> {
        let only: Arc<dyn PhysicalExpr> = Arc::new(Column::new(column.name(), 0));
        let to_values = |node: Arc<dyn PhysicalExpr>| match node.downcast_ref::<Column>() {
            Some(_) => Ok(Transformed::yes(only.clone())),
            None => Ok(Transformed::no(node)),
        };
        let inner = expr.transform_up(to_values).data()?;
        let field = schema.field(column.index());
        let DataType::Dictionary(_, value) = field.data_type() else {
            return internal_err!("column {} is no dictionary", column.name());
        };
        let values = Schema::new(vec![Field::new(field.name(), value.as_ref().clone(), true)]);
        let evaluated = Search::in_place_of_like(inner.clone(), &values)?;
        Ok(Self { column: Arc::new(column), inner, evaluated, values: Arc::new(values), known: Mutex::default() })
    }

    fn over(&self, column: ArrayRef) -> Result<ArrayRef> {
        let rows = column.len();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.values.clone(), vec![column], &options)?;
        self.evaluated.evaluate(&batch)?.into_array(rows)
    }

    /// The results of all values of `dictionary`; none while so few rows asked that their own values are fewer, and
    /// where one fails.
    fn results(&self, dictionary: &DictionaryArray<Int32Type>) -> Result<Option<Results>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let values = dictionary.values();
        if !known.values.as_ref().is_some_and(|before| is_same(before, values)) {
            *known = Known { values: Some(values.clone()), ..Known::default() };
        }
        known.rows += dictionary.len();
        if known.results.is_none() && !known.is_refused && values.len() <= VALUES_PER_ROW * known.rows {
            // It may fail for a value that no row has that other conditions leave: each row then speaks for itself.
            match self.over(values.clone()).and_then(|of_values| Ok((of_values, self.over(null(values))?))) {
                Ok((of_values, of_null)) => known.results = Some(Results::new(concat(&[&of_values, &of_null])?)),
                Err(_) => known.is_refused = true,
            }
        }
        Ok(known.results.clone())
    }
}

/// One null among values like `values`.
fn null(values: &ArrayRef) -> ArrayRef {
    new_null_array(values.data_type(), 1)
}

/// Whether two arrays are the same memory.
pub(super) fn is_same(left: &ArrayRef, right: &ArrayRef) -> bool {
    match (left.as_string_opt::<i32>(), right.as_string_opt::<i32>()) {
        (Some(left), Some(right)) => address(left) == address(right),
        _ => false,
    }
}

fn address(texts: &StringArray) -> (*const u8, *const i32, usize) {
    (texts.value_data().as_ptr(), texts.value_offsets().as_ptr(), texts.len())
}

impl Results {
    /// `results` of values, and of null behind them.
    fn new(results: ArrayRef) -> Self {
        match results.as_boolean_opt().and_then(Answers::of) {
            Some(answers) => Self::Answers(Arc::new(answers)),
            None => Self::Values(results),
        }
    }

    /// The result of each key.
    fn of_keys(&self, keys: &Int32Array) -> Result<ArrayRef> {
        let results = match self {
            Self::Answers(answers) => return Ok(Arc::new(answers.of_keys(keys)?)),
            Self::Values(results) => results,
        };
        let of_null = results.len() - 1;
        // Null for null is what looking up a null key gives.
        if keys.null_count() == 0 || results.is_null(of_null) {
            return Ok(take(results, keys, None)?);
        }
        let places: Int32Array = keys.iter().map(|key| Some(key.unwrap_or(of_null as i32))).collect();
        Ok(take(results, &places, None)?)
    }
}

impl PhysicalExpr for PerValue {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let column = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() else {
            return internal_err!("{} is no dictionary of texts", self.column);
        };
        let keys = dictionary.keys();
        let Some(results) = self.results(dictionary)? else {
            return Ok(ColumnarValue::Array(self.over(take(dictionary.values(), keys, None)?)?));
        };
        Ok(ColumnarValue::Array(results.of_keys(keys)?))
    }

    fn return_field(&self, _: &Schema) -> Result<FieldRef> {
        self.inner.return_field(&self.values)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let column = children.into_iter().next().unwrap_or_else(|| self.column.clone());
        let (inner, evaluated, values) = (self.inner.clone(), self.evaluated.clone(), self.values.clone());
        Ok(Arc::new(Self { column, inner, evaluated, values, known: Mutex::default() }))
    }

    /// The expression over the column itself: bounds and bloom filters are asked in its words.
    fn snapshot(&self) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let to_column = |node: Arc<dyn PhysicalExpr>| match node.downcast_ref::<Column>() {
            Some(_) => Ok(Transformed::yes(self.column.clone())),
            None => Ok(Transformed::no(node)),
        };
        self.inner.clone().transform_up(to_column).data().map(Some)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

impl fmt::Display for PerValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "per_value({})", self.inner)
    }
}

impl PartialEq for PerValue {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column) && self.inner.eq(&other.inner)
    }
}

impl Eq for PerValue {}

impl Hash for PerValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.inner.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::BooleanArray;

    #[test]
    fn a_null_key_has_the_answer_of_null() {
        let keys: Int32Array = [Some(0), None, Some(1)].into_iter().collect();
        for of_null in [None, Some(true), Some(false)] {
            for answers in [vec![Some(true), Some(false), of_null], vec![None, Some(false), of_null]] {
                let expected = [answers[0], of_null, answers[1]];
                let found = Results::new(Arc::new(BooleanArray::from(answers))).of_keys(&keys).unwrap();
                assert_eq!(found.as_boolean().iter().collect::<Vec<_>>(), expected);
            }
            let numbers = Int32Array::from(vec![Some(7), Some(8), of_null.map(i32::from)]);
            let found = Results::new(Arc::new(numbers)).of_keys(&keys).unwrap();
            let found = found.as_primitive::<Int32Type>();
            assert_eq!(found.iter().collect::<Vec<_>>(), [Some(7), of_null.map(i32::from), Some(8)]);
        }
    }
}
