//! Rows to write, and what is in a snapshot.

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float64Array, Int64Array, MapBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema};
use bodkin_engine::Batch;
use bodkin_schema::{Clock, EventTime, Stream, drops, events, metrics};
use bodkin_table::{TableFile, TableSnapshot, Tables};
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const NODE: &str = "7f0f5d0e-2f7a-4c7e-9a8e-1d2b3c4d5e6f";
/// 2026-03-01T00:00:00Z.
pub(crate) const INGESTED: EventTime = EventTime(1_772_323_200_000_000);

/// A clock that stands still.
#[derive(Debug)]
pub(crate) struct Still;

impl Clock for Still {
    fn now(&self) -> EventTime {
        INGESTED
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn times(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn batch(stream: Stream, records: RecordBatch) -> Batch {
    Batch { ingest_time: INGESTED, ..Batch::made(stream.name(), records) }
}

/// Samples numbered by `ts`, of a few series out of order.
pub(crate) fn samples(numbers: impl IntoIterator<Item = i64>) -> Batch {
    let numbers: Vec<i64> = numbers.into_iter().collect();
    let series: Int64Array = numbers.iter().map(|n| Some((n.wrapping_mul(7919)) % 13)).collect();
    let metric: Int64Array = numbers.iter().map(|n| Some(-((n.wrapping_mul(7919)) % 3))).collect();
    let values: Float64Array = numbers.iter().map(|n| Some(*n as f64)).collect();
    let columns = vec![Arc::new(series) as _, Arc::new(metric) as _, times(numbers), Arc::new(values) as _];
    batch(Stream::Samples, RecordBatch::try_new(Stream::Samples.schema(), columns).unwrap())
}

/// Series with a label each.
pub(crate) fn series(ids: impl IntoIterator<Item = i64>) -> Batch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let ints: ArrayRef = Arc::new(Int64Array::from(ids.clone()));
    let names: ArrayRef = Arc::new(ids.iter().map(|id| Some(format!("metric_{id}"))).collect::<StringArray>());
    let mut labels = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for id in &ids {
        labels.keys().append_value("id");
        labels.values().append_value(id.to_string());
        labels.append(true).unwrap();
    }
    let schema = Stream::Series.schema();
    let labels = cast(&labels.finish(), schema.field_with_name(metrics::LABELS).unwrap().data_type()).unwrap();
    let seen = times(ids.iter().copied());
    let columns = vec![ints.clone(), ints, names, labels, seen.clone(), seen];
    batch(Stream::Series, RecordBatch::try_new(schema, columns).unwrap())
}

/// Losses numbered by `count`.
pub(crate) fn drops(numbers: impl IntoIterator<Item = i64>, producer: &str) -> Batch {
    let numbers: Vec<i64> = numbers.into_iter().collect();
    let text: ArrayRef = Arc::new(numbers.iter().map(|_| producer).collect::<DictionaryArray<Int32Type>>());
    let counts: ArrayRef = Arc::new(Int64Array::from(numbers.clone()));
    let time = times(numbers.iter().map(|n| n * 1_001));
    let columns = vec![
        (drops::TS, time),
        (drops::PRODUCER, text.clone()),
        (drops::CLASS, text.clone()),
        (drops::REASON, text),
        (drops::COUNT, counts),
    ];
    batch(Stream::Drops, RecordBatch::try_from_iter(columns).unwrap())
}

/// Events numbered by `seq` in the containers of `containers`; text columns are dictionaries, most others null.
pub(crate) fn events(first: i64, containers: &[&str]) -> Batch {
    let rows = containers.len();
    let numbers = || first..first + rows as i64;
    let registered = Stream::Events.schema();
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for field in registered.fields() {
        let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        let column: ArrayRef = match (field.name().as_str(), field.data_type()) {
            (events::CONTAINER_ID, _) => Arc::new(containers.iter().copied().collect::<DictionaryArray<Int32Type>>()),
            (events::TS, _) => times(numbers().map(|n| n % 7 * 1_000_001 + n)),
            (events::SEQ, _) => Arc::new(Int64Array::from_iter_values(numbers())),
            (events::PATH, _) => {
                cast(&numbers().map(|n| Some(format!("/p/{n}"))).collect::<StringArray>(), &text).unwrap()
            }
            (_, DataType::Utf8) => new_text(field.is_nullable(), rows),
            (_, other) if field.is_nullable() => new_null_array(other, rows),
            (_, other) => cast(&Int64Array::from(vec![1; rows]), other).unwrap(),
        };
        fields.push(arrow::datatypes::Field::new(field.name(), column.data_type().clone(), field.is_nullable()));
        columns.push(column);
    }
    batch(Stream::Events, RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap())
}

fn new_text(is_nullable: bool, rows: usize) -> ArrayRef {
    let value = (!is_nullable).then_some("text");
    Arc::new(std::iter::repeat_n(value, rows).collect::<DictionaryArray<Int32Type>>())
}

/// Reads a file as any Parquet reader does.
pub(crate) async fn read(tables: &Tables, file: &TableFile) -> Vec<RecordBatch> {
    let bytes = tables.store().get(&file.location).await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.len() as u64, file.size);
    let batches = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    let batches: Vec<_> = batches.map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() as u64, file.rows);
    batches
}

pub(crate) fn ints(batch: &RecordBatch, column: &str) -> Vec<i64> {
    let column = cast(batch.column_by_name(column).unwrap(), &DataType::Int64).unwrap();
    column.as_primitive::<Int64Type>().values().to_vec()
}

pub(crate) fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = cast(batch.column_by_name(column).unwrap(), &DataType::Utf8).unwrap();
    column.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect()
}

/// The values of `column` in files and tail, in ascending order.
pub(crate) async fn numbers(tables: &Tables, table: &TableSnapshot, column: &str) -> Vec<i64> {
    let mut found: Vec<i64> = table.tail.iter().flat_map(|part| ints(&part.records, column)).collect();
    for file in table.files.iter() {
        found.extend(read(tables, file).await.iter().flat_map(|batch| ints(batch, column)));
    }
    found.sort_unstable();
    found
}
