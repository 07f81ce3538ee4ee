//! Rows as they were sent to rows as the stream has them: columns in order, missing ones null.

use crate::Refusal;
use arrow::array::{Array, ArrayRef, AsArray, MapArray, RecordBatch, StructArray, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use bodkin_schema::{Stream, check_compatible};
use std::sync::Arc;

/// How the columns of one foreign schema become those of a stream. Text columns stay dictionaries where they are.
#[derive(Debug)]
pub(crate) struct Conform {
    stream: Stream,
    schema: SchemaRef,
    /// For each column of the stream its place in the foreign schema.
    sources: Vec<Option<usize>>,
}

impl Conform {
    pub(crate) fn new(stream: Stream, foreign: &Schema) -> Result<Self, Refusal> {
        let registered = stream.schema();
        check_compatible(&registered, foreign).map_err(|mismatch| Refusal::Schema { stream, mismatch })?;
        let sources: Vec<_> = registered.fields().iter().map(|field| foreign.index_of(field.name()).ok()).collect();
        let fields = registered.fields().iter().zip(&sources).map(|(field, source)| {
            match source.map(|index| foreign.field(index).data_type()) {
                Some(text @ (DataType::Dictionary(..) | DataType::List(_))) => {
                    Arc::new(field.as_ref().clone().with_data_type(text.clone()))
                }
                _ => field.clone(),
            }
        });
        let schema = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), registered.metadata().clone()));
        Ok(Self { stream, schema, sources })
    }

    /// Nulls in a column that has none are refused, also where they hide in a dictionary.
    pub(crate) fn conform(&self, records: &RecordBatch) -> Result<RecordBatch, Refusal> {
        let mut columns = Vec::with_capacity(self.sources.len());
        for (field, source) in self.schema.fields().iter().zip(&self.sources) {
            let refuse = |why: String| Refusal::Rows { stream: self.stream, column: field.name().clone(), why };
            let column = match source.and_then(|index| records.columns().get(index)) {
                Some(column) => with_type(column, field.data_type()).map_err(|error| refuse(error.to_string()))?,
                None => new_null_array(field.data_type(), records.num_rows()),
            };
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

/// Renames the inside of a map, which implementations name differently; every other type is equal already.
fn with_type(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, arrow::error::ArrowError> {
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
}
