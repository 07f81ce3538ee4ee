//! Footers that tell which texts are dictionaries.

use super::groups::FEW_VALUES;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::{ARROW_SCHEMA_META_KEY, encode_arrow_schema, parquet_column, parquet_to_arrow_schema};
use datafusion::parquet::basic::Encoding;
use datafusion::parquet::errors::Result;
use datafusion::parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData};
use std::sync::Arc;

/// `metadata` with the Arrow types that its pages are best read as: a text is a dictionary where every page of it is
/// encoded as one. None where the file brings its own Arrow schema, or was marked before.
///
/// # Errors
/// Where the schema is none that Arrow knows.
pub(crate) fn with_dictionaries(metadata: &ParquetMetaData) -> Result<Option<ParquetMetaData>> {
    let file = metadata.file_metadata();
    let known = file.key_value_metadata();
    if known.is_some_and(|pairs| pairs.iter().any(|pair| pair.key == ARROW_SCHEMA_META_KEY)) {
        return Ok(None);
    }
    let schema = parquet_to_arrow_schema(file.schema_descr(), known)?;
    let fields = schema.fields().iter().map(|field| match is_dictionary(metadata, &schema, field) {
        true => Arc::new(field.as_ref().clone().with_data_type(text_dictionary())),
        false => field.clone(),
    });
    Ok(Some(read_as(metadata, &Schema::new(fields.collect::<Vec<_>>()))))
}

/// `metadata` for who reads a few rows of each row group. A dictionary of many values costs more than those rows then: its
/// values are pointed at where they lie, as views, and only what has few values stays a dictionary.
///
/// # Errors
/// Where the schema is none that Arrow knows.
pub(crate) fn for_few_rows(metadata: &ParquetMetaData) -> Result<ParquetMetaData> {
    let file = metadata.file_metadata();
    let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata())?;
    let fields = schema.fields().iter().map(|field| {
        let is_text = field.data_type() == &DataType::Utf8 || field.data_type() == &text_dictionary();
        match is_text && !FEW_VALUES.contains(&field.name().as_str()) {
            true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
            false => field.clone(),
        }
    });
    Ok(read_as(metadata, &Schema::new(fields.collect::<Vec<_>>())))
}

/// `metadata` of which readers find that the file was written from `schema`.
fn read_as(metadata: &ParquetMetaData, schema: &Schema) -> ParquetMetaData {
    let file = metadata.file_metadata();
    let others = file.key_value_metadata().into_iter().flatten().filter(|pair| pair.key != ARROW_SCHEMA_META_KEY);
    let hint = KeyValue::new(ARROW_SCHEMA_META_KEY.to_owned(), encode_arrow_schema(schema));
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        Some(others.cloned().chain([hint]).collect()),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let marked = ParquetMetaData::new(file, metadata.row_groups().to_vec()).into_builder();
    let marked = marked.set_column_index(metadata.column_index().cloned());
    marked.set_offset_index(metadata.offset_index().cloned()).build()
}

/// How a text that is a dictionary in its file is read.
pub(super) fn text_dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn is_dictionary(metadata: &ParquetMetaData, schema: &Schema, field: &Field) -> bool {
    let schema_descr = metadata.file_metadata().schema_descr();
    let leaf = match field.data_type() {
        DataType::Utf8 => parquet_column(schema_descr, schema, field.name()),
        _ => None,
    };
    leaf.is_some_and(|(leaf, _)| {
        let mut chunks = metadata.row_groups().iter().map(|group| group.column(leaf));
        !metadata.row_groups().is_empty() && chunks.all(has_dictionary_alone)
    })
}

fn has_dictionary_alone(chunk: &ColumnChunkMetaData) -> bool {
    chunk.dictionary_page_offset().is_some()
        && chunk
            .page_encoding_stats_mask()
            .is_some_and(|pages| pages.is_only(Encoding::RLE_DICTIONARY) || pages.is_only(Encoding::PLAIN_DICTIONARY))
}
