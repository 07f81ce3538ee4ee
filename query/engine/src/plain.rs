//! Plain types: what leaves the engine has neither views nor dictionaries, so that every client can read it.

use crate::same_names::Renamed;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::sync::Arc;

/// The plain type that holds the same values.
pub(crate) fn plain_type(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(plain_type(field.data_type())));
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::List(item) | DataType::ListView(item) | DataType::LargeList(item) | DataType::LargeListView(item) => {
            DataType::List(field(item))
        }
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}

/// `schema` with plain types, the names of the answer, and without metadata. Every column may be null: plans are not
/// exact about that, and a batch that contradicts its schema is refused by readers.
pub(crate) fn plain_schema(schema: &Schema, renamed: &Renamed) -> SchemaRef {
    let name = |field: &FieldRef| renamed.get(field.name()).unwrap_or(field.name()).clone();
    let plain = |field: &FieldRef| Field::new(name(field), plain_type(field.data_type()), true);
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

/// `batch` as rows of `schema`, column by column; a column that has its type already is not copied.
pub(crate) fn plain_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| plain_array(column, field.data_type())).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

/// `array` as `data_type`. Nulls stay nulls.
pub(crate) fn plain_array(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == data_type { Ok(array.clone()) } else { cast(array, data_type) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, DictionaryArray, Int32Array, StringArray, StringViewArray};
    use arrow::datatypes::Int32Type;

    fn plain(column: ArrayRef) -> ArrayRef {
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let schema = plain_schema(&batch.schema(), &Renamed::new());
        plain_batch(&batch, &schema).unwrap().column(0).clone()
    }

    #[test]
    fn views_and_dictionaries_become_text() {
        let expected = StringArray::from(vec![Some("sh"), None, Some("a text longer than a view holds inline")]);
        let view: StringViewArray = expected.iter().collect();
        let dictionary: DictionaryArray<Int32Type> = expected.iter().collect();
        let null: DictionaryArray<Int32Type> = std::iter::repeat_n(None, 2).collect();
        assert_eq!(plain(Arc::new(view)).as_string::<i32>(), &expected);
        assert_eq!(plain(Arc::new(dictionary.clone())).as_string::<i32>(), &expected);
        assert_eq!(plain(Arc::new(dictionary.slice(1, 2))).as_string::<i32>(), &expected.slice(1, 2));
        assert_eq!(plain(Arc::new(dictionary.slice(0, 0))).len(), 0);
        assert_eq!(plain(Arc::new(null)).null_count(), 2);
    }

    #[test]
    fn nested_types_are_plain_too() {
        let item = |data_type| Arc::new(Field::new("item", data_type, true));
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8View));
        assert_eq!(plain_type(&DataType::List(item(dictionary))), DataType::List(item(DataType::Utf8)));
        assert_eq!(plain_type(&DataType::ListView(item(DataType::Int8))), DataType::List(item(DataType::Int8)));
    }

    #[test]
    fn rows_without_columns_keep_their_number() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        assert_eq!(plain_batch(&batch, &plain_schema(&batch.schema(), &Renamed::new())).unwrap().num_rows(), 3);
        let same: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        assert!(Arc::ptr_eq(&plain_array(&same, &DataType::Int32).unwrap(), &same));
    }
}
