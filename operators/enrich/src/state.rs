//! What is known of keys, and rows that wait, as bytes: two Arrow streams for each key group, the length of the first
//! before it.

use crate::held::Held;
use crate::history::{History, Values, Version};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::row::{RowConverter, SortField};
use bodkin_engine::{Batch, KeyGroup, RestoreError, key_groups};
use bodkin_schema::{EventTime, Tenant};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Columns behind those of the rows.
const TENANT: &str = "tenant";
const STREAM: &str = "stream";
const INGEST: &str = "ingest_time";

type Parts = BTreeMap<KeyGroup, Vec<RecordBatch>>;

/// The states of all key groups.
pub(crate) fn save(
    key: &[String],
    input: &SchemaRef,
    layout: &SchemaRef,
    known: &BTreeMap<Tenant, History>,
    held: &Held,
) -> Result<Vec<(KeyGroup, Bytes)>, ArrowError> {
    let known_schema = with_columns(layout, &[(TENANT, DataType::Utf8)]);
    let held_schema = held_schema(input);
    let (mut of_known, mut of_held) = (Parts::new(), Parts::new());
    for (tenant, history) in known {
        let records = known_rows(key.len(), layout, history)?;
        for (group, records) in by_group(&records, key)? {
            let tenants: ArrayRef = Arc::new(StringArray::from(vec![tenant.0.as_ref(); records.num_rows()]));
            let columns = records.columns().iter().cloned().chain([tenants]).collect();
            of_known.entry(group).or_default().push(RecordBatch::try_new(known_schema.clone(), columns)?);
        }
    }
    for batch in held.all() {
        for (group, records) in by_group(&batch.records, key)? {
            let rows = records.num_rows();
            let mut columns = input
                .fields()
                .iter()
                .map(|field| match records.column_by_name(field.name()) {
                    Some(column) => cast(column, field.data_type()),
                    None => Err(ArrowError::SchemaError(format!("there is no column {:?}", field.name()))),
                })
                .collect::<Result<Vec<_>, _>>()?;
            columns.push(Arc::new(StringArray::from(vec![batch.tenant.0.as_ref(); rows])));
            columns.push(Arc::new(StringArray::from(vec![batch.stream.as_ref(); rows])));
            columns.push(Arc::new(Int64Array::from(vec![batch.ingest_time.micros(); rows])));
            of_held.entry(group).or_default().push(RecordBatch::try_new(held_schema.clone(), columns)?);
        }
    }
    let groups: std::collections::BTreeSet<KeyGroup> = of_known.keys().chain(of_held.keys()).copied().collect();
    let state = |group: KeyGroup| {
        let first = stream(&known_schema, of_known.get(&group))?;
        let second = stream(&held_schema, of_held.get(&group))?;
        let length = (first.len() as u64).to_le_bytes();
        Ok((group, Bytes::from([&length[..], &first, &second].concat())))
    };
    groups.into_iter().map(state).collect()
}

/// What is known of keys: whose, and the rows of the dimension.
pub(crate) fn load_known(layout: &SchemaRef, bytes: &Bytes) -> Result<Vec<(Tenant, RecordBatch)>, RestoreError> {
    let (known, _) = parts(bytes)?;
    let expected = with_columns(layout, &[(TENANT, DataType::Utf8)]);
    let mut found = Vec::new();
    for batch in read(known, &expected)? {
        let tenant = Tenant(batch.column(layout.fields().len()).as_string::<i32>().value(0).into());
        let columns = batch.columns()[..layout.fields().len()].to_vec();
        found.push((tenant, RecordBatch::try_new(layout.clone(), columns)?));
    }
    Ok(found)
}

/// The rows that wait.
pub(crate) fn load_held(input: &SchemaRef, bytes: &Bytes) -> Result<Vec<Batch>, RestoreError> {
    let (_, held) = parts(bytes)?;
    let count = input.fields().len();
    let mut found = Vec::new();
    for batch in read(held, &held_schema(input))? {
        let text = |column: usize| batch.column(column).as_string::<i32>().value(0).to_owned();
        let records = RecordBatch::try_new(input.clone(), batch.columns()[..count].to_vec())?;
        found.push(Batch {
            tenant: Tenant(text(count).into()),
            ingest_time: EventTime(batch.column(count + 2).as_primitive::<Int64Type>().value(0)),
            ..Batch::made(&text(count + 1), records)
        });
    }
    Ok(found)
}

fn parts(bytes: &Bytes) -> Result<(&[u8], &[u8]), RestoreError> {
    let damaged = "a state of a dimension is damaged";
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or(damaged)?;
    Ok(rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length))?).ok_or(damaged)?)
}

/// The batches that have rows; none where the columns are others now: what is asked for has changed.
fn read(bytes: &[u8], expected: &SchemaRef) -> Result<Vec<RecordBatch>, RestoreError> {
    let reader = StreamReader::try_new(bytes, None)?;
    if reader.schema() != *expected {
        tracing::warn!("the columns of a dimension have changed: what was known of keys is begun anew");
        return Ok(Vec::new());
    }
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(batches.into_iter().filter(|batch| batch.num_rows() > 0).collect())
}

fn held_schema(input: &SchemaRef) -> SchemaRef {
    with_columns(input, &[(TENANT, DataType::Utf8), (STREAM, DataType::Utf8), (INGEST, DataType::Int64)])
}

/// `schema` and further columns; those are found by their place.
fn with_columns(schema: &SchemaRef, more: &[(&str, DataType)]) -> SchemaRef {
    let more = more.iter().map(|(name, data_type)| Arc::new(Field::new(*name, data_type.clone(), false)));
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

fn stream(schema: &SchemaRef, batches: Option<&Vec<RecordBatch>>) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    for batch in batches.into_iter().flatten() {
        writer.write(batch)?;
    }
    writer.into_inner()
}

/// A history as rows of the dimension, the first columns its key.
fn known_rows(keys: usize, layout: &SchemaRef, history: &History) -> Result<RecordBatch, ArrowError> {
    let fields = layout.fields().iter().take(keys).map(|field| SortField::new(field.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let all: Vec<(&[u8], &Version)> = history.all().collect();
    let parser = converter.parser();
    let mut columns = converter.convert_rows(all.iter().map(|(key, _)| parser.parse(key)))?;
    let times = all.iter().map(|(_, version)| version.from_us);
    columns.push(Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")));
    columns.push(Arc::new(all.iter().map(|(_, version)| Some(version.values.is_none())).collect::<BooleanArray>()));
    for at in 0..layout.fields().len().saturating_sub(keys + 2) {
        let value = |values: &Values| values.get(at).cloned().flatten();
        let values = all.iter().map(|(_, version)| version.values.as_ref().and_then(value));
        columns.push(Arc::new(values.collect::<StringArray>()));
    }
    RecordBatch::try_new(layout.clone(), columns)
}

fn by_group(records: &RecordBatch, key: &[String]) -> Result<Vec<(KeyGroup, RecordBatch)>, ArrowError> {
    let mut rows: BTreeMap<KeyGroup, Vec<u32>> = BTreeMap::new();
    for (row, group) in key_groups(records, key)?.into_iter().enumerate() {
        rows.entry(group).or_default().push(row as u32);
    }
    rows.into_iter().map(|(group, rows)| Ok((group, take_record_batch(records, &UInt32Array::from(rows))?))).collect()
}
