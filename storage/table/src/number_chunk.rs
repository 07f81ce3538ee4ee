//! The integers or times of one column in one row group, which hardly repeat: as they are, or as deltas.

use crate::delta_packed;
use crate::page_sink::{
    ChunkFacts, DataPage, EncodedChunk, PageBounds, PageSink, ROWS_PER_PAGE, null_is_refused, write_levels,
};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::errors::Result;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescPtr;

/// What a page has to lose by compression, in a hundredth of its bytes, to be compressed: deltas of times rarely do, and
/// then it costs writers and readers for nothing.
const GAIN_MIN: usize = 3;

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Each in as many bytes as its type has.
    Plain,
    /// The difference from the one before, in few bits.
    Delta,
}

/// Holds eight bytes for each value, and four for each row where some are null.
#[derive(Debug)]
pub(crate) struct NumberChunk {
    physical: Type,
    packing: Packing,
    /// Those that are there.
    values: Vec<i64>,
    /// One for each row that has a value; empty while all have.
    levels: Vec<u32>,
    rows: usize,
}

impl NumberChunk {
    /// A chunk of a column of `data_type`; none where that is no integer or time, or too narrow for deltas.
    pub(crate) fn new(data_type: &DataType, packing: Packing) -> Option<Self> {
        let physical = match (data_type, packing) {
            (DataType::Int32, Packing::Plain) => Type::INT32,
            (DataType::Int64 | DataType::Timestamp(TimeUnit::Microsecond, _), _) => Type::INT64,
            _ => return None,
        };
        Some(Self { physical, packing, values: Vec::new(), levels: Vec::new(), rows: 0 })
    }

    /// Takes the next rows.
    ///
    /// # Errors
    /// Where `column` has another type.
    pub(crate) fn push(&mut self, column: &ArrayRef) -> std::result::Result<(), ArrowError> {
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        match (self.physical, column.data_type()) {
            (Type::INT32, DataType::Int32) => {
                self.push_all(column.as_primitive::<Int32Type>().values(), nulls, |value| i64::from(*value));
            }
            (Type::INT64, DataType::Int64) => {
                self.push_all(column.as_primitive::<Int64Type>().values(), nulls, |value| *value);
            }
            (Type::INT64, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                self.push_all(column.as_primitive::<TimestampMicrosecondType>().values(), nulls, |value| *value);
            }
            (_, other) => return Err(ArrowError::InvalidArgumentError(format!("a column of {other} among numbers"))),
        }
        Ok(())
    }

    fn push_all<T>(&mut self, values: &[T], nulls: Option<&NullBuffer>, wide: impl Fn(&T) -> i64) {
        match nulls {
            None => self.values.extend(values.iter().map(wide)),
            Some(nulls) => {
                self.levels.resize(self.rows, 1);
                self.levels.extend(nulls.iter().map(u32::from));
                self.values.extend(nulls.valid_indices().map(|row| wide(&values[row])));
            }
        }
        self.rows += values.len();
        if !self.levels.is_empty() {
            self.levels.resize(self.rows, 1);
        }
    }

    /// Bytes that it will take in the file, about.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.values.len() * size_of::<u32>()
    }

    /// Forgets the rows; keeps the room.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.levels.clear();
        self.rows = 0;
    }

    /// Encodes it as the column `column`, whose pages `zstd` compresses at `level` where that helps.
    pub(crate) fn encode(
        &self,
        column: &ColumnDescPtr,
        zstd: &mut zstd::bulk::Compressor<'static>,
        level: ZstdLevel,
    ) -> Result<EncodedChunk> {
        let is_nullable = column.max_def_level() > 0;
        if !is_nullable && self.values.len() < self.rows {
            return Err(null_is_refused());
        }
        let mut sink = PageSink::new(self.physical);
        let (mut body, mut rest) = (Vec::new(), self.values.as_slice());
        let mut is_compressed = true;
        for start in (0..self.rows).step_by(ROWS_PER_PAGE) {
            let rows = ROWS_PER_PAGE.min(self.rows - start);
            let levels = self.levels.get(start..start + rows);
            let present = levels.map_or(rows, |levels| levels.iter().sum::<u32>() as usize);
            let (values, after) = rest.split_at(present);
            rest = after;
            body.clear();
            if is_nullable {
                match levels {
                    Some(levels) => write_levels(levels, &mut body),
                    None => write_levels(&vec![1; rows], &mut body),
                }
            }
            self.write_values(values, &mut body);
            let compressed = if is_compressed { Some(zstd.compress(&body)?) } else { None };
            // A chunk is compressed as a whole or not at all: its first page tells.
            let is_worth = |bytes: &Vec<u8>| start > 0 || bytes.len() * 100 <= body.len() * (100 - GAIN_MIN);
            let compressed = compressed.filter(is_worth);
            is_compressed = compressed.is_some();
            sink.write_data(DataPage {
                plain_bytes: body.len(),
                bytes: compressed.unwrap_or_else(|| body.clone()).into(),
                encoding: self.encoding(),
                rows,
                nulls: rows - present,
                bounds: bounds(values)
                    .map_or(PageBounds::Null, |(min, max)| PageBounds::Of(self.plain(min), Some(self.plain(max)))),
            })?;
        }
        let compression = match is_compressed {
            true => Compression::ZSTD(level),
            false => Compression::UNCOMPRESSED,
        };
        let facts = ChunkFacts {
            compression,
            encoding: self.encoding(),
            statistics: Some(self.statistics()),
            bloom_filter: None,
        };
        sink.finish(column, facts)
    }

    fn encoding(&self) -> Encoding {
        match self.packing {
            Packing::Plain => Encoding::PLAIN,
            Packing::Delta => Encoding::DELTA_BINARY_PACKED,
        }
    }

    fn write_values(&self, values: &[i64], body: &mut Vec<u8>) {
        match (self.packing, self.physical) {
            (Packing::Delta, _) => delta_packed::encode(values, body),
            (Packing::Plain, Type::INT32) => {
                body.extend(values.iter().flat_map(|value| (*value as i32).to_le_bytes()));
            }
            (Packing::Plain, _) => body.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        }
    }

    /// A value in plain encoding.
    fn plain(&self, value: i64) -> Vec<u8> {
        match self.physical {
            Type::INT32 => (value as i32).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        }
    }

    fn statistics(&self) -> Statistics {
        let (min, max) = bounds(&self.values).unzip();
        let nulls = Some((self.rows - self.values.len()) as u64);
        let narrow = |value: i64| value as i32;
        match self.physical {
            Type::INT32 => {
                Statistics::Int32(ValueStatistics::new(min.map(narrow), max.map(narrow), None, nulls, false))
            }
            _ => Statistics::Int64(ValueStatistics::new(min, max, None, nulls, false)),
        }
    }
}

fn bounds(values: &[i64]) -> Option<(i64, i64)> {
    let first = *values.first()?;
    Some(values.iter().fold((first, first), |(min, max), value| (min.min(*value), max.max(*value))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page_sink::tests::assert_written;
    use crate::pages::ChunkEncoder;
    use arrow::array::{Int32Array, Int64Array, TimestampMicrosecondArray};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Numbers that repeat, that grow by little, and that jump as far as they can.
    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![3 => Just(7i64), 3 => -300i64..300, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
    }

    proptest! {
        #[test]
        fn read_as_written(
            pieces in prop::collection::vec(prop::collection::vec((number(), any::<i32>()), 0..300), 1..5),
            null_in in prop::sample::select(vec![2usize, 3, 1000]),
            repeats in 1usize..80,
        ) {
            let is_null = |row: usize| row % null_in == 1;
            let mut chunks: Option<[NumberChunk; 4]> = None;
            let mut all: [Vec<ArrayRef>; 4] = Default::default();
            for numbers in pieces {
                let rows = (0..numbers.len() * repeats).map(|row| (row, numbers[row % numbers.len()]));
                let wide = rows.clone().map(|(row, number)| number.0.wrapping_add(row as i64 * 1000));
                let columns: [ArrayRef; 4] = [
                    Arc::new(rows.map(|(row, number)| (!is_null(row)).then_some(number.1)).collect::<Int32Array>()),
                    Arc::new(Int64Array::from_iter_values(wide.clone())),
                    Arc::new(wide.clone().enumerate().map(|(row, number)| (!is_null(row)).then_some(number)).collect::<Int64Array>()),
                    Arc::new(TimestampMicrosecondArray::from_iter_values(wide).with_timezone("UTC")),
                ];
                let packing = [Packing::Plain, Packing::Delta, Packing::Delta, Packing::Delta];
                let made = || [0, 1, 2, 3].map(|at| NumberChunk::new(columns[at].data_type(), packing[at]).unwrap());
                for ((chunk, column), all) in chunks.get_or_insert_with(made).iter_mut().zip(&columns).zip(&mut all) {
                    chunk.push(column).unwrap();
                    all.push(column.clone());
                }
            }
            let mut chunks = chunks.unwrap().into_iter();
            let all = all.map(|pieces| arrow::compute::concat(&pieces.iter().map(|piece| piece.as_ref()).collect::<Vec<_>>()).unwrap());
            prop_assume!(!all[0].is_empty());
            let message = "message rows { optional int32 pid; required int64 seq; optional int64 near; required int64 ts; }";
            let mut encoder = ChunkEncoder::new(1).unwrap();
            assert_written(message, &all, |_, leaf| encoder.encode_numbers(&chunks.next().unwrap(), leaf).unwrap());
        }
    }

    #[test]
    fn what_does_not_shrink_is_not_compressed() {
        let message = "message rows { required int64 number; }";
        let mut encoder = ChunkEncoder::new(1).unwrap();
        let random = (0..50_000_u64).map(|row| xxhash_rust::xxh3::xxh3_64(&row.to_le_bytes()) as i64 >> 24);
        let repeated = (0..50_000).map(|row| row / 100 % 7);
        let columns: [ArrayRef; 2] =
            [Arc::new(Int64Array::from_iter_values(random)), Arc::new(Int64Array::from_iter_values(repeated))];
        let zstd = Compression::ZSTD(ZstdLevel::try_new(1).unwrap());
        for (column, expected) in columns.into_iter().zip([Compression::UNCOMPRESSED, zstd]) {
            assert_written(message, std::slice::from_ref(&column), |column, leaf| {
                let mut chunk = NumberChunk::new(&DataType::Int64, Packing::Delta).unwrap();
                chunk.push(column).unwrap();
                let encoded = encoder.encode_numbers(&chunk, leaf).unwrap();
                assert_eq!(encoded.close.metadata.compression(), expected);
                encoded
            });
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert!(NumberChunk::new(&DataType::Utf8, Packing::Plain).is_none());
        assert!(NumberChunk::new(&DataType::Int32, Packing::Delta).is_none());
        let mut chunk = NumberChunk::new(&DataType::Int64, Packing::Delta).unwrap();
        assert!(chunk.push(&(Arc::new(Int32Array::from(vec![1])) as ArrayRef)).is_err());
    }
}
