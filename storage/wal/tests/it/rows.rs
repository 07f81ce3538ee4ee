//! Batches of the built-in streams and frames of them.

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, MapBuilder, MapFieldNames,
    RecordBatch, StringArray, StringBuilder, StringDictionaryBuilder, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use bodkin_schema::{EventTime, Incarnation, Lane, Seq, Stream, Tenant};
use bodkin_wal::ipc::encode;
use bodkin_wal::{BatchFrame, Compression, SchemaDef};
use std::sync::Arc;

/// `count` rows of `stream`, every third value of a nullable column null; texts as dictionaries if `by_dictionary`.
pub(crate) fn rows(stream: Stream, count: usize, by_dictionary: bool) -> RecordBatch {
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = stream
        .schema()
        .fields()
        .iter()
        .map(|field| {
            let values = column(field, count, by_dictionary);
            (field.as_ref().clone().with_data_type(values.data_type().clone()), values)
        })
        .unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn column(field: &Field, count: usize, by_dictionary: bool) -> ArrayRef {
    let value = |row: usize| (!field.is_nullable() || row % 3 != 1).then_some(row);
    let text = |row: usize| value(row).map(|row| format!("{} {}", field.name(), row % 17));
    let indices = 0..count;
    match field.data_type() {
        DataType::Boolean => Arc::new(BooleanArray::from_iter(indices.map(|row| value(row).map(|row| row % 2 == 0)))),
        DataType::Int32 => Arc::new(Int32Array::from_iter(indices.map(|row| value(row).map(|row| row as i32)))),
        DataType::Int64 => Arc::new(Int64Array::from_iter(indices.map(|row| value(row).map(|row| row as i64)))),
        DataType::Float64 => Arc::new(Float64Array::from_iter(indices.map(|row| value(row).map(|row| row as f64)))),
        DataType::Timestamp(..) => Arc::new(
            TimestampMicrosecondArray::from_iter(indices.map(|row| value(row).map(|row| row as i64)))
                .with_timezone("UTC"),
        ),
        DataType::Utf8 if by_dictionary => {
            let mut builder = StringDictionaryBuilder::<Int32Type>::new();
            indices.for_each(|row| builder.append_option(text(row)));
            Arc::new(builder.finish())
        }
        DataType::Utf8 => Arc::new(StringArray::from_iter(indices.map(text))),
        DataType::Binary => Arc::new(indices.map(|row| text(row).map(String::into_bytes)).collect::<BinaryArray>()),
        DataType::Map(..) => {
            let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
            let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
            for row in indices {
                for label in 0..row % 4 {
                    builder.keys().append_value(format!("label{label}"));
                    builder.values().append_value(format!("value{row}"));
                }
                builder.append(true).unwrap();
            }
            Arc::new(builder.finish())
        }
        DataType::List(item) => {
            let lengths: Vec<usize> = (0..count).map(|row| row % 4).collect();
            let values = column(item, lengths.iter().sum(), false);
            Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths), values, None))
        }
        other => panic!("no rows of {other}"),
    }
}

/// A frame of `count` rows.
pub(crate) fn frame(seq: u64, count: usize) -> BatchFrame {
    let ipc = encode(&rows(Stream::Samples, count, false), Compression::None).unwrap();
    BatchFrame {
        tenant: Tenant::default(),
        lane: Lane { producer: "host/metrics".into(), incarnation: Incarnation(1), stream: "samples".into() },
        seq: Seq(seq),
        ingest_time: EventTime(seq as i64),
        rows: count as u64,
        schema: SchemaDef::new(ipc.schema).unwrap(),
        dictionaries: ipc.dictionaries,
        batch: ipc.batch,
    }
}
