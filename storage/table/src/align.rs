//! Rows as they came, brought to the columns of their table.

use crate::suffixed::Suffixed;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use bodkin_engine::absent_column;
use bodkin_schema::Stream;
use std::sync::Arc;

/// The registered columns in their order, then those for values of another type that the rows have, by name. A
/// nullable column that did not come is null; a text may stay a dictionary; everything else gets the column's type. Free
/// of copies where the types are right.
///
/// # Errors
/// Where a required column is missing or holds a null, or a type cannot become the registered one.
pub(crate) fn align(stream: Stream, records: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let registered = Suffixed::of_schema(stream, records.schema_ref()).row_schema(stream);
    let mut fields = Vec::with_capacity(registered.fields().len());
    let mut columns = Vec::with_capacity(registered.fields().len());
    for field in registered.fields() {
        let column: ArrayRef = match records.column_by_name(field.name()) {
            Some(column) if is_kept(field.data_type(), column.data_type()) => column.clone(),
            Some(column) => cast(column, field.data_type())?,
            None => absent_column(field.data_type(), records.num_rows()),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), field.is_nullable()));
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// Whether a column of the type `found` may stay as it is where `registered` is the table's.
pub(crate) fn is_kept(registered: &DataType, found: &DataType) -> bool {
    match (registered, found) {
        (DataType::Utf8, found) if is_text_dictionary(found) => true,
        (DataType::List(registered), DataType::List(found)) => is_kept(registered.data_type(), found.data_type()),
        _ => registered == found,
    }
}

pub(crate) fn is_text_dictionary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Dictionary(key, value) if **key == DataType::Int32 && **value == DataType::Utf8)
}

/// The type of a dictionary of texts.
pub(crate) fn text_dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, DictionaryArray, Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::Int32Type;

    fn drops(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn order_types_and_dictionaries() {
        let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1, 2]).with_timezone("UTC"));
        let text: ArrayRef = Arc::new(["a", "b"].into_iter().collect::<DictionaryArray<Int32Type>>());
        let plain: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
        let count: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let foreign = [("count", count), ("reason", plain.clone()), ("class", plain), ("producer", text), ("ts", time)];
        let aligned = align(Stream::Drops, &drops(foreign.to_vec()).slice(1, 1)).unwrap();
        let names: Vec<_> = aligned.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["ts", "producer", "class", "reason", "count"]);
        assert!(is_text_dictionary(aligned.column(1).data_type()));
        assert_eq!(aligned.num_rows(), 1);
        assert!(align(Stream::Drops, &drops(foreign[1..].to_vec())).is_err(), "a required column is missing");
    }

    #[test]
    fn columns_of_another_type_come_behind_by_name() {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["many"]));
        let registered = RecordBatch::new_empty(Stream::Drops.schema());
        let mut columns: Vec<(&str, ArrayRef)> = vec![("ts_text", text.slice(0, 0)), ("theirs", text.slice(0, 0))];
        columns.extend(
            registered
                .schema_ref()
                .fields()
                .iter()
                .zip(registered.columns())
                .map(|(f, c)| (f.name().as_str(), c.clone())),
        );
        columns.push(("count_text", text.slice(0, 0)));
        let aligned = align(Stream::Drops, &drops(columns)).unwrap();
        let names: Vec<_> = aligned.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["ts", "producer", "class", "reason", "count", "count_text", "ts_text"]);
    }

    #[test]
    fn missing_nullable_columns_are_null() {
        let schema = Stream::Events.schema();
        let required: Vec<_> = schema.fields().iter().filter(|field| !field.is_nullable()).cloned().collect();
        let records = RecordBatch::new_empty(Arc::new(Schema::new(required)));
        let aligned = align(Stream::Events, &records).unwrap();
        assert_eq!(aligned.num_columns(), schema.fields().len());
        assert!(aligned.column_by_name("path").unwrap().is_empty());
    }
}
