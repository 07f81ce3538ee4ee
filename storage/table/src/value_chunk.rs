//! Values of samples in one row group: gathered, then encoded in the way that takes the least room.
//!
//! A row group of samples is one metric's as far as metrics are large, and metrics differ: planes of bytes suit counters
//! and sizes, plain values those that hold the same decimals again and again, a dictionary those that are a few numbers.
//! All of them are encodings that every reader knows.

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use std::sync::Arc;

/// Level of zstd that encodings are compared at.
const TRIAL_LEVEL: i32 = 1;
/// Level of zstd for values that will be merged again.
const MERGED_LEVEL: i32 = 3;
/// Rows of a page of values that stay: as many as a row group has. A page is compressed by itself, and the more it holds,
/// the more there is to find; to read one series of a day then costs about two milliseconds more.
const KEPT_PAGE_ROWS: usize = 256 << 10;
/// Bytes of a dictionary, at most: one of a whole row group's values has no use.
const DICTIONARY_BYTES_MAX: usize = 256 << 10;

/// Which encodings there are, by the place in [`ValueEncoder::trials`].
const CANDIDATES: [Candidate; 3] = [Candidate::Planes, Candidate::Plain, Candidate::Dictionary];

#[derive(Clone, Copy, Debug)]
enum Candidate {
    Planes,
    Plain,
    Dictionary,
}

/// Encodes a required column of doubles. Holds the values of the open row group, eight bytes each.
pub(crate) struct ValueEncoder {
    schema: SchemaRef,
    values: Vec<ArrayRef>,
    trials: Vec<ArrowRowGroupWriterFactory>,
    finals: Vec<ArrowRowGroupWriterFactory>,
}

impl ValueEncoder {
    /// An encoder of the column `name`, whose values stay as they are written or will be merged again.
    pub(crate) fn new(name: &str, is_kept: bool) -> Result<Self, ParquetError> {
        let field = arrow::datatypes::Field::new(name, DataType::Float64, false);
        let schema: SchemaRef = Arc::new(arrow::datatypes::Schema::new(vec![field]));
        let factories = |level: &dyn Fn(Candidate) -> i32, is_kept: bool| {
            CANDIDATES.iter().map(|candidate| candidate.factory(&schema, level(*candidate), is_kept)).collect()
        };
        let trials: Result<_, ParquetError> = factories(&|_| TRIAL_LEVEL, false);
        let level = |candidate: Candidate| if is_kept { candidate.kept_level() } else { MERGED_LEVEL };
        Ok(Self { trials: trials?, finals: factories(&level, is_kept)?, values: Vec::new(), schema })
    }

    pub(crate) fn push(&mut self, values: &ArrayRef) {
        self.values.push(values.clone());
    }

    /// Bytes that the open row group will take, about.
    pub(crate) fn bytes(&self) -> usize {
        self.values.iter().map(|values| values.len() * 2).sum()
    }

    /// The values so far as a column chunk; goes on with an empty row group.
    pub(crate) fn finish(&mut self) -> Result<ArrowColumnChunk, ParquetError> {
        let mut best = (usize::MAX, 0);
        for (place, factory) in self.trials.iter().enumerate() {
            let bytes = self.encode(factory)?.close().bytes_written as usize;
            best = best.min((bytes, place));
        }
        let chunk = self.encode(&self.finals[best.1]);
        self.values.clear();
        chunk
    }

    fn encode(&self, factory: &ArrowRowGroupWriterFactory) -> Result<ArrowColumnChunk, ParquetError> {
        let missing = || ParquetError::General("no writer for a column of values".to_owned());
        let mut writer: ArrowColumnWriter = factory.create_column_writers(0)?.pop().ok_or_else(missing)?;
        for values in &self.values {
            for leaf in compute_leaves(self.schema.field(0), values)? {
                writer.write(&leaf)?;
            }
        }
        writer.close()
    }
}

impl Candidate {
    /// Level of zstd for values that stay. Planes are quick at the highest and lose a tenth; plain values are as small at
    /// 12 as at any level, in a fifth of the time. Together that is 0.6 us a sample.
    fn kept_level(self) -> i32 {
        match self {
            Self::Planes => 19,
            Self::Plain | Self::Dictionary => 12,
        }
    }

    fn factory(
        self,
        schema: &SchemaRef,
        zstd_level: i32,
        is_kept: bool,
    ) -> Result<ArrowRowGroupWriterFactory, ParquetError> {
        let mut builder = WriterProperties::builder();
        if is_kept {
            builder = builder
                .set_data_page_row_count_limit(KEPT_PAGE_ROWS)
                .set_data_page_size_limit(KEPT_PAGE_ROWS * size_of::<f64>());
        }
        let builder = builder
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
            // NaN is in no bounds, so they would prune wrongly.
            .set_statistics_enabled(EnabledStatistics::None)
            .set_dictionary_enabled(matches!(self, Self::Dictionary))
            .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
            .set_encoding(match self {
                Self::Planes => Encoding::BYTE_STREAM_SPLIT,
                Self::Plain | Self::Dictionary => Encoding::PLAIN,
            });
        let parquet = ArrowSchemaConverter::new().convert(schema)?;
        let writer = SerializedFileWriter::new(std::io::sink(), parquet.root_schema_ptr(), Arc::new(builder.build()))?;
        Ok(ArrowRowGroupWriterFactory::new(&writer, schema.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Float64Array;

    fn encoding(values: Vec<f64>) -> Encoding {
        let mut encoder = ValueEncoder::new("value", false).unwrap();
        for values in values.chunks(1000) {
            encoder.push(&(Arc::new(Float64Array::from(values.to_vec())) as ArrayRef));
        }
        let chunk = encoder.finish().unwrap();
        assert_eq!(chunk.close().rows_written as usize, values.len());
        assert_eq!(encoder.bytes(), 0);
        let found: Vec<Encoding> = chunk.close().metadata.encodings().collect();
        let wanted = [Encoding::BYTE_STREAM_SPLIT, Encoding::RLE_DICTIONARY];
        wanted.into_iter().find(|encoding| found.contains(encoding)).unwrap_or(Encoding::PLAIN)
    }

    #[test]
    fn values_that_stay_take_less_room() {
        let counter: Vec<f64> = (0..200_000u64)
            .scan(0.0, |total, n| {
                *total += (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as f64;
                Some(*total)
            })
            .collect();
        let bytes = |is_kept: bool| {
            let mut encoder = ValueEncoder::new("value", is_kept).unwrap();
            encoder.push(&(Arc::new(Float64Array::from(counter.clone())) as ArrayRef));
            encoder.finish().unwrap().close().bytes_written
        };
        assert!(bytes(true) * 10 < bytes(false) * 9, "{} and {}", bytes(true), bytes(false));
    }

    #[test]
    fn each_kind_of_metric_gets_its_own() {
        let mut dice = 1u64;
        let mut roll = move |below: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % below
        };
        let counter = (0..50_000u64).scan(100_000.0, |total, _| {
            *total += roll(80) as f64;
            Some(*total)
        });
        assert_eq!(encoding(counter.collect()), Encoding::BYTE_STREAM_SPLIT);
        assert_eq!(encoding((0..50_000).map(|_| roll(7) as f64 / 3.0).collect()), Encoding::RLE_DICTIONARY);
        // Few decimals that come back irregularly, more of them than a dictionary holds.
        let decimals: Vec<f64> = (0..200_000).map(|_| (0.1 + 0.2) * roll(40_000) as f64).collect();
        assert_eq!(encoding(decimals), Encoding::PLAIN);
    }
}
