//! Values of one type as values of another.

use arrow::array::{Array, ArrayRef, BooleanArray, StringBuilder, make_array, new_null_array};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{CastOptions, can_cast_types, cast, cast_with_options};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, make_encoder};
use bodkin_schema::Kind;
use std::sync::Arc;

/// The values of `column` in the type that holds each of them. Fails where a time does not fit into 64 bits of
/// microseconds.
pub(crate) fn widened(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(column, data_type, &CastOptions { safe: false, ..CastOptions::default() })
}

/// The values of `column` as its kind is kept: what has no kind of its own as text.
pub(crate) fn kept(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let kind = Kind::of(column.data_type());
    match column.data_type() {
        nested if kind == Kind::Text && nested.is_nested() => json(column),
        // An interval, which no cast makes a text.
        other if !can_cast_types(other, &kind.data_type()) => json(column),
        _ => widened(column, &kind.data_type()),
    }
}

fn json(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let field = Arc::new(Field::new("value", column.data_type().clone(), true));
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(&field, column, &options)?;
    let mut texts = StringBuilder::with_capacity(column.len(), 0);
    let mut bytes = Vec::new();
    for row in 0..column.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        bytes.clear();
        encoder.encode(row, &mut bytes);
        texts.append_value(String::from_utf8_lossy(&bytes));
    }
    Ok(Arc::new(texts.finish()))
}

/// For a column that may not be null: each value as near as `data_type` comes to it, and what cannot be one at all as
/// zero, or as nothing in it. A null stays null.
pub(crate) fn nearest(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let near = match (can_cast_types(column.data_type(), data_type), data_type) {
        (_, DataType::Utf8) if column.data_type().is_nested() => kept(column)?,
        (true, _) => cast(column, data_type)?,
        (false, _) => new_null_array(data_type, column.len()),
    };
    let was_null = column.logical_nulls();
    let is_null = near.logical_nulls();
    let is_lost = |row: usize| {
        is_null.as_ref().is_some_and(|nulls| nulls.is_null(row))
            && was_null.as_ref().is_none_or(|nulls| nulls.is_valid(row))
    };
    let lost: BooleanArray = (0..column.len()).map(|row| Some(is_lost(row))).collect();
    if lost.true_count() == 0 {
        return Ok(near);
    }
    // The buffers of nulls are zeros, which are values once nobody says that they are nulls.
    let zeros = new_null_array(data_type, column.len()).to_data().into_builder().nulls(None).build()?;
    zip(&lost, &make_array(zeros), &near)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        AsArray, Int32Array, Int64Array, IntervalYearMonthArray, StringArray, StructArray, UInt64Array,
    };
    use arrow::datatypes::TimeUnit;
    use bodkin_schema::{Stream, metrics};

    fn texts(column: &ArrayRef) -> Vec<Option<String>> {
        let column = kept(column).unwrap();
        column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn what_has_no_kind_of_its_own_is_text() {
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]));
        assert_eq!(texts(&large), [some("18446744073709551615"), None]);
        let member: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let structure: ArrayRef =
            Arc::new(StructArray::from(vec![(Arc::new(Field::new("a", DataType::Int32, false)), member)]));
        assert_eq!(texts(&structure), [some(r#"{"a":1}"#), some(r#"{"a":2}"#)]);
        assert_eq!(&nearest(&structure, &DataType::Utf8).unwrap(), &kept(&structure).unwrap());
        let months: ArrayRef = Arc::new(IntervalYearMonthArray::from(vec![Some(14), None]));
        assert!(texts(&months)[0].is_some() && texts(&months)[1].is_none());
    }

    #[test]
    fn a_required_column_gets_the_nearest_value_and_never_a_null() {
        let numbers: ArrayRef = Arc::new(StringArray::from(vec![Some("7"), Some("seven"), None]));
        let found = nearest(&numbers, &DataType::Int64).unwrap();
        assert_eq!(
            found.as_primitive::<arrow::datatypes::Int64Type>(),
            &Int64Array::from(vec![Some(7), Some(0), None])
        );
        let schema = Stream::Series.schema();
        let labels = schema.field_with_name(metrics::LABELS).unwrap().data_type();
        let found = nearest(&numbers.slice(0, 2), labels).unwrap();
        assert_eq!((found.data_type(), found.null_count()), (labels, 0));
        assert_eq!(found.as_map().value(0).len(), 0);
    }

    #[test]
    fn a_time_that_does_not_fit_is_no_other_time() {
        let seconds: ArrayRef = Arc::new(arrow::array::TimestampSecondArray::from(vec![i64::MAX]));
        assert!(widened(&seconds, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))).is_err());
    }
}
