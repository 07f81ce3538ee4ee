//! Answers as bytes: one [`Encoder`] per [`Format`], fed batch by batch, so that no answer is ever whole in memory.

mod arrow;
mod cell;
mod csv;
mod json;
mod parquet;
#[cfg(test)]
mod tests;
mod time;

pub use cell::Column;
pub use json::{type_name, write_string};

use crate::engine::SqlStats;
use ::arrow::array::{Array, RecordBatch};
use ::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use ::arrow::error::ArrowError;
use std::sync::Arc;

/// About how many bytes of text are made before they are handed on.
pub const CHUNK_BYTES_TARGET: usize = 256 << 10;

/// Writes an answer. Calls come in this order: `begin`, any number of `batch`, `finish`; each appends to `out`.
pub trait Encoder: Send {
    /// Writes what comes before the rows.
    ///
    /// # Errors
    /// The schema cannot be written in this format.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError>;

    /// Writes the rows of `batch`, which has the schema of the encoder. Costs one downcast per column, then one pass.
    ///
    /// # Errors
    /// A value cannot be written in this format.
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError>;

    /// Writes what comes after the rows.
    ///
    /// # Errors
    /// What was held back cannot be written.
    fn finish(&mut self, stats: &SqlStats, out: &mut Vec<u8>) -> Result<(), ArrowError>;
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"columns", "rows", "stats"}`.
    Json,
    /// A header, then one line per row.
    Csv,
    /// The Arrow IPC stream.
    ArrowStream,
    /// One Parquet file.
    Parquet,
}

impl Format {
    /// All formats, the preferred one first.
    pub const ALL: [Self; 4] = [Self::Json, Self::Csv, Self::ArrowStream, Self::Parquet];

    /// Media type without parameters.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::ArrowStream => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// Value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            other => other.media_type(),
        }
    }

    /// An encoder of answers with `schema`.
    ///
    /// # Errors
    /// The schema cannot be written in this format.
    pub fn encoder(self, schema: &SchemaRef) -> Result<Box<dyn Encoder>, ArrowError> {
        Ok(match self {
            Self::Json => Box::new(json::JsonEncoder::new(schema.clone())),
            Self::Csv => Box::new(csv::CsvEncoder::new(schema.clone())),
            Self::ArrowStream => Box::new(arrow::ArrowEncoder::try_new(schema)?),
            Self::Parquet => Box::new(parquet::ParquetEncoder::try_new(schema)?),
        })
    }

    /// How many rows of `batch` to encode in one go: all for the binary formats, which want them together; for text
    /// about [`CHUNK_BYTES_TARGET`], so that neither the buffer nor the time on the runtime's thread grows with the
    /// engine's batches.
    pub fn rows_at_once(self, batch: &RecordBatch) -> usize {
        if matches!(self, Self::ArrowStream | Self::Parquet) || batch.num_rows() == 0 {
            return batch.num_rows().max(1);
        }
        let bytes_of = |column: &Arc<dyn Array>| column.to_data().get_slice_memory_size().unwrap_or(CHUNK_BYTES_TARGET);
        let bytes: usize = batch.columns().iter().map(bytes_of).fold(0, usize::saturating_add);
        // Text of numbers and times is about twice as long as their binary form.
        let bytes_per_row = (bytes / batch.num_rows()).saturating_mul(2).max(1);
        (CHUNK_BYTES_TARGET / bytes_per_row).clamp(1, 8192)
    }
}

/// The schema without views and dictionaries, which many readers of Arrow and Parquet do not know.
fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(plain_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn plain_field(field: &Arc<Field>) -> Arc<Field> {
    match plain_type(field.data_type()) {
        Some(data_type) => Arc::new(field.as_ref().clone().with_data_type(data_type)),
        None => field.clone(),
    }
}

/// The type that stands for `data_type` in a plain schema; none where it is plain already.
fn plain_type(data_type: &DataType) -> Option<DataType> {
    let plain = match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values).unwrap_or_else(|| values.as_ref().clone()),
        DataType::List(field) | DataType::ListView(field) => DataType::List(plain_field(field)),
        DataType::LargeList(field) | DataType::LargeListView(field) => DataType::LargeList(plain_field(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(plain_field(field), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Map(field, is_sorted) => DataType::Map(plain_field(field), *is_sorted),
        _ => return None,
    };
    (plain != *data_type).then_some(plain)
}

/// The batch with `schema`, a plain form of its own. Free where nothing has to be cast.
fn plain_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let cast = |(column, field): (&Arc<dyn Array>, &Arc<Field>)| match column.data_type() == field.data_type() {
        true => Ok(column.clone()),
        false => ::arrow::compute::cast(column, field.data_type()),
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(cast).collect::<Result<Vec<_>, _>>()?;
    let options = ::arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}
