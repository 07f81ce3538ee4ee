//! The pages of one column chunk as they come, and what the footer and the page index say of them.

use crate::hybrid;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, EncodingMask, PageType, Type};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

/// Rows of a page, at most.
pub(crate) const ROWS_PER_PAGE: usize = 20_000;

/// A chunk's bytes, and what the footer says of them.
pub(crate) struct EncodedChunk {
    pub(crate) bytes: Bytes,
    pub(crate) close: ColumnCloseResult,
}

/// Takes the pages of a column chunk.
pub(crate) struct PageSink {
    sink: TrackedWrite<Vec<u8>>,
    uncompressed: usize,
    has_dictionary: bool,
    data_offset: Option<usize>,
    data_pages: u32,
    rows: u64,
    column_index: ColumnIndexBuilder,
    offset_index: OffsetIndexBuilder,
}

/// The values of some rows.
pub(crate) struct DataPage {
    /// Compressed.
    pub(crate) bytes: Bytes,
    /// How long that was before.
    pub(crate) plain_bytes: usize,
    pub(crate) encoding: Encoding,
    pub(crate) rows: usize,
    pub(crate) nulls: usize,
    pub(crate) bounds: PageBounds,
}

/// What the page index says of a page's values.
pub(crate) enum PageBounds {
    /// It has no bounds of this column.
    Unknown,
    /// All rows are null.
    Null,
    /// No value is less, none is greater; where there is no such upper bound, the column has no index.
    Of(Vec<u8>, Option<Vec<u8>>),
}

/// What is known of a chunk when its last page is written.
pub(crate) struct ChunkFacts {
    pub(crate) compression: Compression,
    /// Of the data pages.
    pub(crate) encoding: Encoding,
    pub(crate) statistics: Option<Statistics>,
    pub(crate) bloom_filter: Option<Sbbf>,
}

impl PageSink {
    pub(crate) fn new(physical_type: Type) -> Self {
        Self {
            sink: TrackedWrite::new(Vec::new()),
            uncompressed: 0,
            has_dictionary: false,
            data_offset: None,
            data_pages: 0,
            rows: 0,
            column_index: ColumnIndexBuilder::new(physical_type),
            offset_index: OffsetIndexBuilder::new(),
        }
    }

    /// Data pages so far.
    pub(crate) fn data_pages(&self) -> u32 {
        self.data_pages
    }

    /// Takes the page of `distinct` values in plain encoding that later pages refer to.
    pub(crate) fn write_dictionary(&mut self, bytes: Bytes, plain_bytes: usize, distinct: usize) -> Result<()> {
        self.has_dictionary = true;
        let (num_values, encoding) = (distinct as u32, Encoding::PLAIN);
        let page = Page::DictionaryPage { buf: bytes, num_values, encoding, is_sorted: false };
        self.write(CompressedPage::new(page, plain_bytes)).map(drop)
    }

    pub(crate) fn write_data(&mut self, data: DataPage) -> Result<()> {
        let page = Page::DataPage {
            buf: data.bytes,
            num_values: data.rows as u32,
            encoding: data.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let (offset, bytes) = self.write(CompressedPage::new(page, data.plain_bytes))?;
        self.data_offset.get_or_insert(offset as usize);
        self.offset_index.append_offset_and_size(offset as i64, bytes as i32);
        self.offset_index.append_row_count(data.rows as i64);
        let nulls = data.nulls as i64;
        match data.bounds {
            PageBounds::Null => self.column_index.append(true, Vec::new(), Vec::new(), nulls),
            PageBounds::Of(min, Some(max)) => self.column_index.append(false, min, max, nulls),
            PageBounds::Unknown | PageBounds::Of(_, None) => self.column_index.to_invalid(),
        }
        self.data_pages += 1;
        self.rows += data.rows as u64;
        Ok(())
    }

    /// Returns the page's place and its bytes in the file.
    fn write(&mut self, page: CompressedPage) -> Result<(u64, usize)> {
        let spec = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed += spec.uncompressed_size;
        Ok((spec.offset, spec.compressed_size))
    }

    /// The chunk as the column `column`.
    pub(crate) fn finish(self, column: &ColumnDescPtr, facts: ChunkFacts) -> Result<EncodedChunk> {
        let bytes = Bytes::from(self.sink.into_inner()?);
        let stats = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut pages = Vec::new();
        if self.has_dictionary {
            pages.push(stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
        }
        pages.push(stats(PageType::DATA_PAGE, facts.encoding, self.data_pages as i32));
        let encodings = [Encoding::PLAIN, Encoding::RLE, facts.encoding];
        let mut metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(facts.compression)
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(pages)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(self.rows as i64)
            .set_data_page_offset(self.data_offset.unwrap_or_default() as i64)
            .set_dictionary_page_offset(self.has_dictionary.then_some(0));
        if let Some(statistics) = facts.statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let has_index = self.data_pages > 0 && self.column_index.valid();
        Ok(EncodedChunk {
            close: ColumnCloseResult {
                bytes_written: bytes.len() as u64,
                rows_written: self.rows,
                metadata: metadata.build()?,
                bloom_filter: facts.bloom_filter,
                column_index: if has_index { Some(self.column_index.build()?) } else { None },
                offset_index: Some(self.offset_index.build()),
            },
            bytes,
        })
    }
}

/// The levels of a page's rows, one where a value is present, as they stand in front of its values.
pub(crate) fn write_levels(levels: &[u32], body: &mut Vec<u8>) {
    let start = body.len();
    body.extend_from_slice(&[0; 4]);
    hybrid::encode(levels, 1, body);
    let length = (body.len() - start - 4) as u32;
    body[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// The error of a page of a required column that has a null.
pub(crate) fn null_is_refused() -> ParquetError {
    ParquetError::General("a required value is null".to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
    use arrow::compute::{cast, max, min, sum};
    use arrow::datatypes::{DataType, Int64Type};
    use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
    use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
    use parquet::file::metadata::PageIndexPolicy;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use std::sync::Arc;

    /// Writes integers or times as a file of the columns of `message`, each encoded by `encode`; a reader must find the
    /// same values, and bounds and nulls that are true of the row group and of its pages together.
    pub(crate) fn assert_written(
        message: &str,
        columns: &[ArrayRef],
        mut encode: impl FnMut(&ArrayRef, &ColumnDescPtr) -> EncodedChunk,
    ) {
        let schema = Arc::new(parse_message_type(message).unwrap());
        let mut file = SerializedFileWriter::new(Vec::new(), schema, Default::default()).unwrap();
        let leaves = file.schema_descr().columns().to_vec();
        let mut group = file.next_row_group().unwrap();
        for (column, leaf) in columns.iter().zip(&leaves) {
            let encoded = encode(column, leaf);
            group.append_column(&encoded.bytes, encoded.close).unwrap();
        }
        group.close().unwrap();
        let bytes = Bytes::from(file.into_inner().unwrap());
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).unwrap();
        let schema = reader.schema().clone();
        let metadata = reader.metadata().clone();
        let rows: Vec<RecordBatch> =
            reader.with_batch_size(usize::MAX >> 8).build().unwrap().map(|batch| batch.unwrap()).collect();
        let integers = |values: &ArrayRef| cast(values, &DataType::Int64).unwrap();
        for ((field, column), read) in schema.fields().iter().zip(columns).zip(rows[0].columns()) {
            assert_eq!(&integers(read), &integers(column), "{}", field.name());
            let columns = metadata.file_metadata().schema_descr();
            let converter = StatisticsConverter::try_new(field.name(), &schema, columns).unwrap();
            let (groups, all) = (metadata.row_groups(), [0]);
            let (index, offsets) = (metadata.column_index().unwrap(), metadata.offset_index().unwrap());
            let (mins, maxes) = (converter.row_group_mins(groups).unwrap(), converter.row_group_maxes(groups).unwrap());
            let nulls = converter.row_group_null_counts(groups).unwrap();
            assert_eq!(nulls.value(0), column.null_count() as u64);
            let page_nulls = converter.data_page_null_counts(index, offsets, &all).unwrap();
            assert_eq!(sum(&page_nulls), Some(column.null_count() as u64));
            let page_mins = converter.data_page_mins(index, offsets, &all).unwrap();
            let page_maxes = converter.data_page_maxes(index, offsets, &all).unwrap();
            let least = |values: &ArrayRef| min(integers(values).as_primitive::<Int64Type>());
            let greatest = |values: &ArrayRef| max(integers(values).as_primitive::<Int64Type>());
            assert_eq!([least(&mins), least(&page_mins)], [least(column); 2]);
            assert_eq!([greatest(&maxes), greatest(&page_maxes)], [greatest(column); 2]);
        }
    }
}
