//! Rows as they were sent to rows as the stream has them: columns in order, missing ones null.

use crate::Refusal;
use crate::retype::{kept, nearest, widened};
use arrow::array::{Array, ArrayRef, AsArray, MapArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use bodkin_engine::absent_column;
use bodkin_schema::{Fit, Stream, check_columns, fit};
use std::sync::Arc;

/// How the columns of one foreign schema become those of a stream. Text columns stay dictionaries where they are.
/// Behind the stream's columns come those for values of another type (see [`bodkin_schema::suffix`]).
#[derive(Debug)]
pub(crate) struct Conform {
    stream: Stream,
    schema: SchemaRef,
    /// For each column of `schema` where its values come from.
    sources: Vec<Values>,
}

/// Where the values of a column come from: the place of a foreign column, and what is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    /// There are none: they are null.
    Absent,
    Same(usize),
    Widened(usize),
    /// As near as the type of the column comes to them.
    Nearest(usize),
    /// As their own kind is kept.
    Kept(usize),
}

impl Conform {
    pub(crate) fn new(stream: Stream, foreign: &Schema) -> Result<Self, Refusal> {
        let registered = stream.schema();
        check_columns(&registered, foreign).map_err(|mismatch| Refusal::Schema { stream, mismatch })?;
        let mut columns = Vec::with_capacity(registered.fields().len());
        let mut suffixed = Vec::new();
        for field in registered.fields() {
            let Some((index, found)) = foreign.column_with_name(field.name()) else {
                columns.push((field.clone(), Values::Absent));
                continue;
            };
            let found = found.data_type();
            columns.push(match fit(field.data_type(), found) {
                Fit::Same if matches!(found, DataType::Dictionary(..) | DataType::List(_)) => {
                    (Arc::new(field.as_ref().clone().with_data_type(found.clone())), Values::Same(index))
                }
                Fit::Same => (field.clone(), Values::Same(index)),
                Fit::Widened => (field.clone(), Values::Widened(index)),
                Fit::Suffixed(kind) => {
                    suffixed.push((Arc::new(kind.column(field)), Values::Kept(index)));
                    (field.clone(), if field.is_nullable() { Values::Absent } else { Values::Nearest(index) })
                }
            });
        }
        columns.append(&mut suffixed);
        let (fields, sources): (Vec<_>, _) = columns.into_iter().unzip();
        let schema = Arc::new(Schema::new_with_metadata(fields, registered.metadata().clone()));
        Ok(Self { stream, schema, sources })
    }

    /// The columns for values of another type than the registered one.
    pub(crate) fn suffixed(&self) -> &[FieldRef] {
        self.schema.fields().get(self.stream.schema().fields().len()..).unwrap_or_default()
    }

    /// Nulls in a column that has none are refused, also where they hide in a dictionary.
    pub(crate) fn conform(&self, records: &RecordBatch) -> Result<RecordBatch, Refusal> {
        let mut columns = Vec::with_capacity(self.sources.len());
        for (field, source) in self.schema.fields().iter().zip(&self.sources) {
            let refuse = |why: String| Refusal::Rows { stream: self.stream, column: field.name().clone(), why };
            let column = source.column(records, field.data_type()).map_err(|error| refuse(error.to_string()))?;
            if !field.is_nullable() && column.logical_null_count() > 0 {
                return Err(refuse(format!("{} nulls in a column that has none", column.logical_null_count())));
            }
            columns.push(column);
        }
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| Refusal::Rows {
            stream: self.stream,
            column: String::new(),
            why: error.to_string(),
        })
    }
}

impl Values {
    fn column(self, records: &RecordBatch, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Absent => Ok(absent_column(data_type, records.num_rows())),
            Self::Same(index) => with_type(records.column(index), data_type),
            Self::Widened(index) => widened(records.column(index), data_type),
            Self::Nearest(index) => nearest(records.column(index), data_type),
            Self::Kept(index) => kept(records.column(index)),
        }
    }
}

/// Renames the inside of a map, which implementations name differently; every other type is equal already.
fn with_type(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let (DataType::Map(entries_field, is_sorted), Some(map)) = (data_type, column.as_map_opt()) else {
        return Ok(column.clone());
    };
    let DataType::Struct(pair) = entries_field.data_type() else { return Ok(column.clone()) };
    let entries = map.entries();
    let entries = StructArray::try_new(pair.clone(), entries.columns().to_vec(), entries.nulls().cloned())?;
    let offsets = map.offsets().clone();
    Ok(Arc::new(MapArray::try_new(entries_field.clone(), offsets, entries, map.nulls().cloned(), *is_sorted)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        DictionaryArray, Int64Array, MapBuilder, StringArray, StringBuilder, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Int32Type};
    use bodkin_schema::metrics;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))
            .unwrap()
    }

    fn times(count: usize) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![5; count]).with_timezone("UTC"))
    }

    fn drops(producer: ArrayRef) -> RecordBatch {
        let text = |value| Arc::new(StringArray::from(vec![value; 2])) as ArrayRef;
        batch(vec![
            ("count", Arc::new(Int64Array::from(vec![1, 2]))),
            ("reason", text("r")),
            ("class", text("c")),
            ("producer", producer),
            ("ts", times(2)),
        ])
    }

    fn conform(stream: Stream, records: &RecordBatch) -> Result<RecordBatch, Refusal> {
        Conform::new(stream, &records.schema())?.conform(records)
    }

    #[test]
    fn columns_come_in_order_and_dictionaries_stay() {
        let producer: DictionaryArray<Int32Type> = vec!["a", "b"].into_iter().collect();
        let rows = conform(Stream::Drops, &drops(Arc::new(producer))).unwrap();
        let names: Vec<_> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["ts", "producer", "class", "reason", "count"]);
        assert!(matches!(rows.column(1).data_type(), DataType::Dictionary(..)));
        assert!(!rows.schema().field(1).is_nullable());
    }

    #[test]
    fn nulls_are_refused_by_name_also_inside_a_dictionary() {
        let plain: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let keys = arrow::array::Int32Array::from(vec![0, 1]);
        let hidden: ArrayRef = Arc::new(DictionaryArray::new(keys, plain.clone()));
        for producer in [plain, hidden] {
            let error = conform(Stream::Drops, &drops(producer)).unwrap_err().to_string();
            assert_eq!(error, "stream drops, column \"producer\": 1 nulls in a column that has none");
        }
    }

    #[test]
    fn maps_are_renamed_and_missing_columns_are_null() {
        let mut labels = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        labels.keys().append_value("k");
        labels.values().append_value("v");
        labels.append(true).unwrap();
        let ids = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
        let rows = batch(vec![
            (metrics::SERIES_ID, ids()),
            (metrics::METRIC_ID, ids()),
            (metrics::NAME, Arc::new(StringArray::from(vec!["up"]))),
            (metrics::LABELS, Arc::new(labels.finish())),
            (metrics::FIRST_SEEN, times(1)),
            (metrics::LAST_SEEN, times(1)),
        ]);
        assert_eq!(conform(Stream::Series, &rows).unwrap().schema(), Stream::Series.schema());

        let required = Stream::Events.schema();
        let required: Vec<Field> =
            required.fields().iter().filter(|field| !field.is_nullable()).map(|field| field.as_ref().clone()).collect();
        let rows = RecordBatch::new_empty(Arc::new(Schema::new(required)));
        assert_eq!(conform(Stream::Events, &rows).unwrap().schema(), Stream::Events.schema());
    }

    #[test]
    fn values_of_another_type_are_kept_beside() {
        let text = || Arc::new(StringArray::from(vec!["7", "many"])) as ArrayRef;
        let rows = batch(vec![
            ("ts", times(2)),
            ("producer", Arc::new(Int64Array::from(vec![1, 2]))),
            ("class", Arc::new(arrow::array::LargeStringArray::from(vec!["c", "d"]))),
            ("reason", text()),
            ("count", text()),
        ]);
        let rows = conform(Stream::Drops, &rows).unwrap();
        let schema = rows.schema();
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["ts", "producer", "class", "reason", "count", "producer_int", "count_text"]);
        assert_eq!(rows["producer"].as_ref(), &StringArray::from(vec!["1", "2"]), "no row is without a producer");
        assert_eq!(rows["class"].as_ref(), &StringArray::from(vec!["c", "d"]));
        assert_eq!(rows["count"].as_ref(), &Int64Array::from(vec![7, 0]));
        assert_eq!(rows["producer_int"].as_ref(), &Int64Array::from(vec![1, 2]));
        assert_eq!(&rows["count_text"], &text());

        let required = Stream::Events.schema();
        let mut fields: Vec<Field> =
            required.fields().iter().filter(|field| !field.is_nullable()).map(|field| field.as_ref().clone()).collect();
        fields.push(Field::new("uid", DataType::Boolean, true));
        let columns = fields.iter().map(|field| match field.data_type() {
            DataType::Utf8 => Arc::new(StringArray::from(vec!["x"])) as ArrayRef,
            DataType::Boolean => Arc::new(arrow::array::BooleanArray::from(vec![true])),
            other => arrow::compute::cast(&Int64Array::from(vec![1]), other).unwrap(),
        });
        let columns = columns.collect();
        let rows = conform(Stream::Events, &RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap());
        let rows = rows.unwrap();
        assert_eq!(rows["uid"].null_count(), 1, "a column that may be null is");
        assert_eq!(rows["uid_bool"].as_ref(), &arrow::array::BooleanArray::from(vec![true]));
    }
}
