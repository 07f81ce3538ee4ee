//! The values of a column in a row group, gathered as numbers into the distinct ones, to the pages of a column chunk.
//!
//! ```text
//! dictionary page   the distinct values, where they repeat; otherwise there is none
//! data pages        whether each row has a value; then its number in the dictionary, or the value itself
//! ```

use crate::hybrid;
use crate::number_chunk::NumberChunk;
use crate::page_sink::{
    ChunkFacts, DataPage, EncodedChunk, PageBounds, PageSink, ROWS_PER_PAGE, null_is_refused, write_levels,
};
use crate::text_ids::NULL;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::errors::Result;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;
use std::ops::Range;

/// Bytes of a page of plain texts, about.
const PAGE_BYTES: usize = 1 << 20;
/// Bits of a number in the dictionary from which on whole bytes may take less room than their bits.
const WHOLE_BYTES_FROM: u32 = 5;
/// Level of zstd for numbers of two whole bytes and more, at least: what repeats in them takes a longer look to find.
const WIDE_ZSTD_LEVEL_MIN: i32 = 3;
/// A dictionary that is larger stays out of the caches of readers.
const DICTIONARY_BYTES_MAX: usize = 4 << 20;
const BLOOM_FALSE_POSITIVES: f64 = 0.01;

/// The rows of a chunk.
#[derive(Debug, Default)]
pub(crate) struct RowCodes {
    /// The number of each row's value; shorter than the rows where the first ones are all null.
    pub(crate) codes: Vec<u32>,
    pub(crate) rows: usize,
    pub(crate) nulls: usize,
}

impl RowCodes {
    /// Counts rows, and those of them that have no value.
    pub(crate) fn count(&mut self, rows: usize, nulls: usize) {
        self.rows += rows;
        self.nulls += nulls;
    }
}

/// Values of one column in one row group: the distinct ones, and for each row the number of its own.
pub(crate) trait Chunk {
    /// How Parquet stores a value.
    fn physical_type(&self) -> Type;

    fn of_rows(&self) -> &RowCodes;

    fn rows(&self) -> usize {
        self.of_rows().rows
    }

    fn nulls(&self) -> usize {
        self.of_rows().nulls
    }

    /// The number of each row's value, [`NULL`] where it has none; none where all are null.
    fn codes(&self) -> Option<&[u32]> {
        let codes = &self.of_rows().codes;
        (!codes.is_empty()).then_some(codes)
    }

    fn distinct(&self) -> usize;

    /// The distinct values in plain encoding.
    fn page(&self) -> &[u8];

    /// A value in plain encoding.
    fn plain(&self, code: u32) -> &[u8];

    /// Bytes of the values of all rows in plain encoding.
    fn plain_bytes(&self) -> usize;

    /// A value by itself, as bloom filters take it.
    fn value(&self, code: u32) -> &[u8];

    /// Whether one value sorts before another.
    fn is_less(&self, one: u32, other: u32) -> bool;

    /// What no value from this one on is less than.
    fn lower_bound(&self, code: u32) -> &[u8];

    /// What no value up to this one is greater than; none where there is no such thing.
    fn upper_bound(&self, code: u32) -> Option<Vec<u8>>;

    /// What the footer says; `bounds` are the numbers of the least and the greatest value.
    fn statistics(&self, bounds: Option<(u32, u32)>) -> Statistics;
}

/// The numbers of the least and the greatest value among `codes`.
pub(crate) fn bounds(chunk: &impl Chunk, mut codes: impl Iterator<Item = u32>) -> Option<(u32, u32)> {
    let first = codes.next()?;
    Some(codes.fold((first, first), |(min, max), code| {
        (if chunk.is_less(code, min) { code } else { min }, if chunk.is_less(max, code) { code } else { max })
    }))
}

/// What is written beside the values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkOptions {
    pub(crate) has_bounds: bool,
    pub(crate) has_bloom_filter: bool,
}

/// Writes column chunks, one after the other.
pub(crate) struct ChunkEncoder {
    zstd: zstd::bulk::Compressor<'static>,
    /// For pages of numbers of two whole bytes and more.
    wide: zstd::bulk::Compressor<'static>,
    level: ZstdLevel,
}

impl ChunkEncoder {
    pub(crate) fn new(zstd_level: i32) -> Result<Self> {
        Ok(Self {
            zstd: zstd::bulk::Compressor::new(zstd_level)?,
            wide: zstd::bulk::Compressor::new(zstd_level.max(WIDE_ZSTD_LEVEL_MIN))?,
            level: ZstdLevel::try_new(zstd_level)?,
        })
    }

    /// Encodes `chunk` as the column `column`.
    pub(crate) fn encode(
        &mut self,
        chunk: &impl Chunk,
        column: &ColumnDescPtr,
        options: ChunkOptions,
    ) -> Result<EncodedChunk> {
        let is_dictionary = repeats(chunk);
        let width = if is_dictionary { self.width(chunk)? } else { 0 };
        let mut pages = Pages {
            encoder: self,
            chunk,
            width,
            is_nullable: column.max_def_level() > 0,
            is_dictionary,
            options,
            sink: PageSink::new(chunk.physical_type()),
            seen: vec![u32::MAX; if options.has_bounds { chunk.distinct() } else { 0 }],
        };
        if is_dictionary {
            pages.write_dictionary()?;
        }
        let mut start = 0;
        while start < chunk.rows() {
            let end = pages.page_end(start);
            pages.write_rows(start..end)?;
            start = end;
        }
        pages.finish(column)
    }

    /// Encodes `chunk` as the column `column`.
    pub(crate) fn encode_numbers(&mut self, chunk: &NumberChunk, column: &ColumnDescPtr) -> Result<EncodedChunk> {
        chunk.encode(column, &mut self.zstd, self.level)
    }

    /// Bits of a number in the data pages: as few as they need, or whole bytes where these compress better. A compressor
    /// sees in bytes what repeats and what is frequent; numbers that begin anywhere in a byte are noise to it. A page from
    /// the middle tells.
    fn width(&mut self, chunk: &impl Chunk) -> Result<u32> {
        let least = least_width(chunk);
        let whole = least.next_multiple_of(u8::BITS);
        if least < WHOLE_BYTES_FROM || whole == least {
            return Ok(least);
        }
        let codes = chunk.codes().unwrap_or_default();
        let start = codes.len().saturating_sub(ROWS_PER_PAGE) / 2;
        let sample = &codes[start..codes.len().min(start + ROWS_PER_PAGE)];
        let present: Vec<u32> = sample.iter().copied().filter(|code| *code != NULL).collect();
        let mut bytes = |width: u32| -> Result<usize> {
            let mut body = Vec::new();
            hybrid::encode(&present, width, &mut body);
            Ok(self.compress_numbers(&body, width)?.len())
        };
        Ok(if bytes(whole)? < bytes(least)? { whole } else { least })
    }

    fn compress(&mut self, bytes: &[u8]) -> Result<Bytes> {
        Ok(self.zstd.compress(bytes)?.into())
    }

    /// Compresses a page of numbers of `width` bits.
    fn compress_numbers(&mut self, bytes: &[u8], width: u32) -> Result<Bytes> {
        let is_wide = width > u8::BITS && width.is_multiple_of(u8::BITS);
        let compressor = if is_wide { &mut self.wide } else { &mut self.zstd };
        Ok(compressor.compress(bytes)?.into())
    }
}

/// Whether a dictionary takes clearly less room than the values.
fn repeats(chunk: &impl Chunk) -> bool {
    let numbers = (chunk.rows() - chunk.nulls()) * least_width(chunk) as usize / 8;
    chunk.page().len() <= DICTIONARY_BYTES_MAX && (chunk.page().len() + numbers) * 10 <= chunk.plain_bytes() * 7
        || chunk.distinct() <= 1
}

/// Bits that a number in the dictionary needs.
fn least_width(chunk: &impl Chunk) -> u32 {
    hybrid::width_of(chunk.distinct().saturating_sub(1) as u32)
}

struct Pages<'a, C> {
    encoder: &'a mut ChunkEncoder,
    chunk: &'a C,
    /// Bits of a number in the dictionary.
    width: u32,
    is_nullable: bool,
    is_dictionary: bool,
    options: ChunkOptions,
    sink: PageSink,
    /// The page in which each value was met last: it is compared once per page.
    seen: Vec<u32>,
}

impl<C: Chunk> Pages<'_, C> {
    fn write_dictionary(&mut self) -> Result<()> {
        let page = self.chunk.page();
        let compressed = self.encoder.compress(page)?;
        self.sink.write_dictionary(compressed, page.len(), self.chunk.distinct())
    }

    fn page_end(&self, start: usize) -> usize {
        let end = self.chunk.rows().min(start + ROWS_PER_PAGE);
        let Some(codes) = self.chunk.codes().filter(|_| !self.is_dictionary) else { return end };
        let mut bytes = 0;
        let is_full = |code: &u32| {
            bytes += if *code == NULL { 0 } else { self.chunk.plain(*code).len() };
            bytes >= PAGE_BYTES
        };
        codes[start..end].iter().position(is_full).map_or(end, |last| start + last + 1)
    }

    fn write_rows(&mut self, rows: Range<usize>) -> Result<()> {
        let count = rows.len();
        let codes = self.chunk.codes().map(|codes| &codes[rows]).unwrap_or_default();
        let present: Vec<u32> = codes.iter().copied().filter(|code| *code != NULL).collect();
        let mut body = Vec::new();
        if self.is_nullable {
            let levels: Vec<u32> = match codes.is_empty() {
                true => vec![0; count],
                false => codes.iter().map(|code| u32::from(*code != NULL)).collect(),
            };
            write_levels(&levels, &mut body);
        } else if present.len() < count {
            return Err(null_is_refused());
        }
        match self.is_dictionary {
            true => {
                body.push(self.width as u8);
                hybrid::encode(&present, self.width, &mut body);
            }
            false => present.iter().for_each(|code| body.extend_from_slice(self.chunk.plain(*code))),
        }
        let bounds = self.bounds_of(&present);
        self.sink.write_data(DataPage {
            bytes: self.encoder.compress_numbers(&body, self.width)?,
            plain_bytes: body.len(),
            encoding: self.encoding(),
            rows: count,
            nulls: count - present.len(),
            bounds,
        })
    }

    fn encoding(&self) -> Encoding {
        if self.is_dictionary { Encoding::RLE_DICTIONARY } else { Encoding::PLAIN }
    }

    /// What the page index says of the next page.
    fn bounds_of(&mut self, present: &[u32]) -> PageBounds {
        if !self.options.has_bounds {
            return PageBounds::Unknown;
        }
        let (seen, page) = (&mut self.seen, self.sink.data_pages());
        let is_new = |code: &u32| std::mem::replace(&mut seen[*code as usize], page) != page;
        match bounds(self.chunk, present.iter().copied().filter(is_new)) {
            None => PageBounds::Null,
            Some((min, max)) => PageBounds::Of(self.chunk.lower_bound(min).to_vec(), self.chunk.upper_bound(max)),
        }
    }

    fn finish(self, column: &ColumnDescPtr) -> Result<EncodedChunk> {
        let statistics = self.options.has_bounds.then(|| {
            let bounds = bounds(self.chunk, 0..self.chunk.distinct() as u32);
            self.chunk.statistics(bounds)
        });
        let facts = ChunkFacts {
            compression: Compression::ZSTD(self.encoder.level),
            encoding: self.encoding(),
            statistics,
            bloom_filter: self.options.has_bloom_filter.then(|| bloom_filter(self.chunk)).transpose()?,
        };
        self.sink.finish(column, facts)
    }
}

fn bloom_filter(chunk: &impl Chunk) -> Result<Sbbf> {
    let mut filter = Sbbf::new_with_ndv_fpp(chunk.distinct().max(1) as u64, BLOOM_FALSE_POSITIVES)?;
    (0..chunk.distinct() as u32).for_each(|code| filter.insert(chunk.value(code)));
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_writer::{Effort, FileWriter};
    use crate::int_chunk::IntChunk;
    use crate::page_sink::tests::assert_written;
    use crate::text_chunk::TextChunk;
    use arrow::array::{
        ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    };
    use bodkin_schema::{Stream, drops};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Texts of 3,000: most of them of a few that come in the same order, as those of busy processes do.
    fn repeated() -> Vec<String> {
        let number = |row: u64| if row.is_multiple_of(10) { row.wrapping_mul(7919) % 3000 } else { row % 50 };
        (0..60_000).map(|row| format!("text {}", number(row))).collect()
    }

    /// Texts of 1,000 in no order.
    fn random() -> Vec<String> {
        let number = |row: u64| xxhash_rust::xxh3::xxh3_64(&row.to_le_bytes()) % 1000;
        (0..60_000).map(|row| format!("text {}", number(row))).collect()
    }

    #[test]
    fn numbers_take_whole_bytes_where_these_compress_better() {
        let mut encoder = ChunkEncoder::new(1).unwrap();
        let mut width = |texts: Vec<Option<String>>| {
            let mut chunk = TextChunk::default();
            chunk.push(&(Arc::new(texts.into_iter().collect::<StringArray>()) as ArrayRef)).unwrap();
            encoder.width(&chunk).unwrap()
        };
        assert_eq!(width(repeated().into_iter().map(Some).collect()), 16);
        assert_eq!(width(random().into_iter().map(Some).collect()), 10);
        assert_eq!(width((0..4).map(|row| Some(row.to_string())).collect()), 2);
        assert_eq!(width(vec![None; 9]), 0);
        assert_eq!(width(Vec::new()), 0);
    }

    #[test]
    fn texts_are_read_as_they_were_written_whatever_the_width() {
        let (repeated, random) = (repeated(), random());
        let schema = Stream::Drops.schema();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                drops::TS => {
                    Arc::new(TimestampMicrosecondArray::from_iter_values(0..60_000).with_timezone("UTC")) as ArrayRef
                }
                drops::COUNT => Arc::new(Int64Array::from_iter_values(0..60_000)),
                drops::PRODUCER => Arc::new(repeated.iter().map(Some).collect::<StringArray>()),
                _ => Arc::new(random.iter().map(Some).collect::<StringArray>()),
            }
        });
        let rows = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
        let mut writer = FileWriter::new(Stream::Drops, schema, Effort::Flush).unwrap();
        writer.write(&rows.into()).unwrap();
        let bytes = Bytes::from(writer.finish().unwrap().bytes);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().with_batch_size(60_000).build().unwrap();
        let read: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
        for (name, texts) in [(drops::PRODUCER, &repeated), (drops::CLASS, &random)] {
            let column = read[0].column_by_name(name).unwrap();
            assert!(column.as_string::<i32>().iter().eq(texts.iter().map(|text| Some(text.as_str()))), "{name}");
        }
    }

    proptest! {
        #[test]
        fn integers_are_read_as_they_were_written(
            narrow in prop::collection::vec(prop::option::weighted(0.8, prop_oneof![-3i32..3, any::<i32>()]), 1..300),
            wide in prop::collection::vec(prop_oneof![Just(7i64), any::<i64>()], 300),
            repeats in 1usize..100,
        ) {
            let narrow: Int32Array = narrow.iter().copied().cycle().take(narrow.len() * repeats).collect();
            let wide: Int64Array = wide.iter().copied().cycle().take(narrow.len()).collect::<Vec<_>>().into();
            let columns: [ArrayRef; 2] = [Arc::new(narrow), Arc::new(wide)];
            let message = "message rows { optional int32 narrow; required int64 wide; }";
            let mut encoder = ChunkEncoder::new(1).unwrap();
            assert_written(message, &columns, |column, leaf| {
                let mut chunk = IntChunk::new(column.data_type()).unwrap();
                chunk.push(column).unwrap();
                encoder.encode(&chunk, leaf, ChunkOptions { has_bounds: true, has_bloom_filter: false }).unwrap()
            });
        }
    }
}
