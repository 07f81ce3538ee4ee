//! Messages to rows.

use arrow::array::{ArrayRef, make_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;
use arrow::record_batch::RecordBatch;
use bodkin_schema::Stream;
use std::sync::Arc;

/// What became of some messages.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Their rows, all columns of the stream.
    pub records: RecordBatch,
    /// Which messages are no rows, by their place among those given, and why.
    pub malformed: Vec<(usize, String)>,
}

/// Turns messages into rows of one stream. Messages come from outside: whatever they hold, this neither panics nor
/// takes more memory than a small multiple of their size (SAFE-1).
pub trait Decode: Send + Sync {
    /// Whose rows it makes.
    fn stream(&self) -> Stream;

    /// The rows of `messages`, in their order.
    fn decode(&self, messages: &[&[u8]]) -> Decoded;
}

/// A JSON object per message, with the columns of a stream by their names. Others are left out, a column that may be
/// null and is missing is null. Times are text as RFC 3339, or microseconds.
#[derive(Clone, Copy, Debug)]
pub struct JsonRows(pub Stream);

impl Decode for JsonRows {
    fn stream(&self) -> Stream {
        self.0
    }

    fn decode(&self, messages: &[&[u8]]) -> Decoded {
        let schema = self.0.schema();
        match together(messages, &schema) {
            Some(records) => Decoded { records, malformed: Vec::new() },
            None => one_by_one(messages, &schema),
        }
    }
}

fn decoder(schema: &SchemaRef, rows: usize) -> Result<Decoder, ArrowError> {
    // The decoder knows offsets and no names of zones: `finish` gives them back.
    let offset = |field: &FieldRef| match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            Arc::new(field.as_ref().clone().with_data_type(DataType::Timestamp(*unit, Some("+00:00".into()))))
        }
        _ => field.clone(),
    };
    let schema = Arc::new(Schema::new(schema.fields().iter().map(offset).collect::<Fields>()));
    ReaderBuilder::new(schema).with_batch_size(rows.max(1)).with_coerce_primitive(true).build_decoder()
}

/// The rows that were decoded, as the stream has them.
fn finish(decoder: &mut Decoder, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let Some(records) = decoder.flush()? else { return Ok(RecordBatch::new_empty(schema.clone())) };
    let named = |(column, field): (&ArrayRef, &FieldRef)| match field.data_type() {
        DataType::Timestamp(..) => {
            Ok(make_array(column.to_data().into_builder().data_type(field.data_type().clone()).build()?))
        }
        _ => Ok(column.clone()),
    };
    let columns = records.columns().iter().zip(schema.fields()).map(named).collect::<Result<_, ArrowError>>()?;
    RecordBatch::try_new(schema.clone(), columns)
}

/// All messages at once; none where something is wrong with any of them.
fn together(messages: &[&[u8]], schema: &SchemaRef) -> Option<RecordBatch> {
    let mut decoder = decoder(schema, messages.len()).ok()?;
    for (before, message) in messages.iter().enumerate() {
        take(&mut decoder, message, before).ok()?;
    }
    finish(&mut decoder, schema).ok()
}

/// One message has to be one row: neither half of one nor two.
fn take(decoder: &mut Decoder, message: &[u8], before: usize) -> Result<(), ArrowError> {
    let is_whole = decoder.decode(message)? == message.len() || message.iter().all(u8::is_ascii_whitespace);
    if is_whole && !decoder.has_partial_record() && decoder.len() == before + 1 {
        return Ok(());
    }
    Err(ArrowError::JsonError("a message is one JSON object".to_owned()))
}

fn one_by_one(messages: &[&[u8]], schema: &SchemaRef) -> Decoded {
    let alone = |message: &[u8]| -> Result<RecordBatch, ArrowError> {
        let mut decoder = decoder(schema, 2)?;
        take(&mut decoder, message, 0)?;
        finish(&mut decoder, schema)
    };
    let (mut rows, mut malformed) = (Vec::new(), Vec::new());
    for (place, message) in messages.iter().enumerate() {
        match alone(message) {
            Ok(row) => rows.push(row),
            Err(error) => malformed.push((place, error.to_string())),
        }
    }
    let records = concat_batches(schema, &rows).expect("invariant: all rows have this schema");
    Decoded { records, malformed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

    const ROW: &str =
        r#"{"ts":"2026-01-02T03:04:05Z","producer":"p","class":"security","reason":"r","count":7,"more":[1]}"#;

    fn decode(messages: &[&str]) -> Decoded {
        JsonRows(Stream::Drops).decode(&messages.iter().map(|text| text.as_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn an_object_is_a_row() {
        let by_number = ROW.replace("\"2026-01-02T03:04:05Z\"", "1767323045000000").replace(":7", ":\"8\"");
        let decoded = decode(&[ROW, &by_number]);
        assert_eq!(decoded.malformed, []);
        let times = decoded.records.column(0).as_primitive::<TimestampMicrosecondType>();
        assert_eq!((times.value(0), times.value(1)), (1_767_323_045_000_000, 1_767_323_045_000_000));
        assert_eq!(decoded.records.column(4).as_primitive::<Int64Type>().values(), &[7, 8]);
    }

    #[test]
    fn safe_1_what_is_no_row_is_told_apart_from_what_is() {
        let halves = ROW.split_at(20);
        let two = format!("{ROW}{ROW}");
        let deep = "[".repeat(100_000);
        let no_reason = ROW.replace("\"reason\":\"r\",", "");
        let wrong_type = ROW.replace("\"p\"", "{}");
        let bad =
            [halves.0, halves.1, &two, &deep, &no_reason, &wrong_type, "", "  ", "null", "[]", "1", "{}", "\u{0}"];
        let mut messages = vec![ROW];
        messages.extend(bad);
        messages.push(ROW);
        let decoded = decode(&messages);
        let places: Vec<_> = decoded.malformed.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, (1..=bad.len()).collect::<Vec<_>>(), "{:?}", decoded.malformed);
        assert_eq!(decoded.records.num_rows(), 2);
        assert_eq!(decode(&[]).records.num_rows(), 0);
    }
}
