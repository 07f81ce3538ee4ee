//! The integers of one column in one row group, gathered as numbers into the distinct ones.

use crate::pages::{Chunk, RowCodes};
use crate::text_ids::NULL;
use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Int32Type, Int64Type};
use arrow::error::ArrowError;
use parquet::basic::Type;
use parquet::file::statistics::{Statistics, ValueStatistics};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;

/// Places of the table of numbers at first; a power of two.
const PLACES_MIN: usize = 64;

/// What integers are multiplied by to find their place. They come from outside: who chooses them must not know which
/// collide.
static FACTOR: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0) | 1);

/// Holds each distinct integer once, and four bytes a row; nothing while all rows are null.
#[derive(Debug)]
pub(crate) struct IntChunk {
    physical: Type,
    factor: u64,
    /// The distinct integers in the order of their first rows.
    values: Vec<i64>,
    /// The same as a page of Parquet's plain encoding.
    page: Vec<u8>,
    /// Numbers by hash, the next free place where two want the same; at most half full.
    places: Vec<u32>,
    of_rows: RowCodes,
}

impl IntChunk {
    /// A chunk of a column of `data_type`; none where that is no integer of 32 or 64 bits.
    pub(crate) fn new(data_type: &DataType) -> Option<Self> {
        let physical = match data_type {
            DataType::Int32 => Type::INT32,
            DataType::Int64 => Type::INT64,
            _ => return None,
        };
        let (values, page, places) = (Vec::new(), Vec::new(), vec![NULL; PLACES_MIN]);
        Some(Self { physical, factor: *FACTOR, values, page, places, of_rows: RowCodes::default() })
    }

    /// Takes the next rows.
    ///
    /// # Errors
    /// Where `column` has another type.
    pub(crate) fn push(&mut self, column: &ArrayRef) -> Result<(), ArrowError> {
        let nulls = column.null_count();
        if nulls == column.len() && self.of_rows.codes.is_empty() {
            self.of_rows.count(nulls, nulls);
            return Ok(());
        }
        self.of_rows.codes.resize(self.of_rows.rows, NULL);
        self.of_rows.count(column.len(), nulls);
        match (self.physical, column.data_type()) {
            (Type::INT32, DataType::Int32) => self.push_all(column.as_primitive::<Int32Type>()),
            (Type::INT64, DataType::Int64) => self.push_all(column.as_primitive::<Int64Type>()),
            (_, other) => return Err(ArrowError::InvalidArgumentError(format!("a column of {other} among integers"))),
        }
        Ok(())
    }

    fn push_all<T: ArrowPrimitiveType<Native: Into<i64>>>(&mut self, column: &PrimitiveArray<T>) {
        // Sorted rows repeat themselves.
        let mut last: Option<(i64, u32)> = None;
        let mut code_of = |chunk: &mut Self, value: i64| match last {
            Some((before, code)) if before == value => code,
            _ => {
                let code = chunk.number(value);
                last = Some((value, code));
                code
            }
        };
        self.of_rows.codes.reserve(column.len());
        match column.nulls() {
            None => column.values().iter().for_each(|value| {
                let code = code_of(self, (*value).into());
                self.of_rows.codes.push(code);
            }),
            Some(nulls) => nulls.iter().zip(column.values()).for_each(|(is_valid, value)| {
                let code = if is_valid { code_of(self, (*value).into()) } else { NULL };
                self.of_rows.codes.push(code);
            }),
        }
    }

    fn number(&mut self, value: i64) -> u32 {
        let mut place = self.place(value);
        while let Some(known) = self.values.get(self.places[place] as usize) {
            if *known == value {
                return self.places[place];
            }
            place = (place + 1) & (self.places.len() - 1);
        }
        let code = self.values.len() as u32;
        self.places[place] = code;
        self.values.push(value);
        match self.physical {
            Type::INT32 => self.page.extend_from_slice(&(value as i32).to_le_bytes()),
            _ => self.page.extend_from_slice(&value.to_le_bytes()),
        }
        if self.values.len() * 2 > self.places.len() {
            self.grow();
        }
        code
    }

    /// Where to look for `value` first.
    fn place(&self, value: i64) -> usize {
        let shift = u64::BITS - self.places.len().trailing_zeros();
        ((value as u64).wrapping_mul(self.factor) >> shift) as usize
    }

    fn grow(&mut self) {
        self.places = vec![NULL; self.places.len() * 2];
        for (code, value) in self.values.iter().enumerate() {
            let mut place = self.place(*value);
            while self.places[place] != NULL {
                place = (place + 1) & (self.places.len() - 1);
            }
            self.places[place] = code as u32;
        }
    }

    /// Bytes that a value takes.
    fn width(&self) -> usize {
        if self.physical == Type::INT32 { size_of::<i32>() } else { size_of::<i64>() }
    }

    /// Bytes that it will take in the file, about.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.page.len() + self.of_rows.codes.len()
    }

    /// Forgets the rows; keeps the room.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.page.clear();
        self.places.fill(NULL);
        self.of_rows.codes.clear();
        (self.of_rows.rows, self.of_rows.nulls) = (0, 0);
    }
}

impl Chunk for IntChunk {
    fn physical_type(&self) -> Type {
        self.physical
    }

    fn of_rows(&self) -> &RowCodes {
        &self.of_rows
    }

    fn distinct(&self) -> usize {
        self.values.len()
    }

    fn page(&self) -> &[u8] {
        &self.page
    }

    fn plain(&self, code: u32) -> &[u8] {
        let width = self.width();
        &self.page[code as usize * width..][..width]
    }

    fn plain_bytes(&self) -> usize {
        (self.of_rows.rows - self.of_rows.nulls) * self.width()
    }

    fn value(&self, code: u32) -> &[u8] {
        self.plain(code)
    }

    fn is_less(&self, one: u32, other: u32) -> bool {
        self.values[one as usize] < self.values[other as usize]
    }

    fn upper_bound(&self, code: u32) -> Option<Vec<u8>> {
        Some(self.plain(code).to_vec())
    }

    fn lower_bound(&self, code: u32) -> &[u8] {
        self.plain(code)
    }

    fn statistics(&self, bounds: Option<(u32, u32)>) -> Statistics {
        let (distinct, nulls) = (Some(self.values.len() as u64), Some(self.of_rows.nulls as u64));
        let bounds = bounds.map(|(min, max)| (self.values[min as usize], self.values[max as usize]));
        let (min, max) = (bounds.map(|(min, _)| min), bounds.map(|(_, max)| max));
        match self.physical {
            Type::INT32 => {
                let narrow = |value: i64| value as i32;
                Statistics::Int32(ValueStatistics::new(min.map(narrow), max.map(narrow), distinct, nulls, false))
            }
            _ => Statistics::Int64(ValueStatistics::new(min, max, distinct, nulls, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, Int64Array};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn values(chunk: &IntChunk) -> Vec<Option<i64>> {
        let codes = chunk.codes().map_or(vec![NULL; chunk.rows()], <[u32]>::to_vec);
        codes.into_iter().map(|code| chunk.values.get(code as usize).copied()).collect()
    }

    proptest! {
        #[test]
        fn rows_are_as_pushed(
            pieces in prop::collection::vec(prop::collection::vec(prop::option::of(prop_oneof![-9i64..9, any::<i64>()]), 0..90), 0..6),
        ) {
            let mut chunk = IntChunk::new(&DataType::Int64).unwrap();
            chunk.push(&(Arc::new(Int64Array::from(vec![Some(1), None])) as _)).unwrap();
            chunk.clear();
            for piece in &pieces {
                chunk.push(&(Arc::new(Int64Array::from(piece.clone())) as _)).unwrap();
            }
            let rows = pieces.concat();
            prop_assert_eq!(values(&chunk), rows.clone());
            prop_assert_eq!(chunk.nulls(), rows.iter().filter(|row| row.is_none()).count());
            for (code, value) in chunk.values.iter().enumerate() {
                prop_assert_eq!(chunk.plain(code as u32), value.to_le_bytes());
            }
        }
    }

    #[test]
    fn narrow_ones_take_four_bytes() {
        let mut chunk = IntChunk::new(&DataType::Int32).unwrap();
        chunk.push(&(Arc::new(Int32Array::new_null(2)) as _)).unwrap();
        assert!(chunk.codes().is_none());
        chunk.push(&(Arc::new(Int32Array::from(vec![Some(-1), Some(i32::MAX), None])) as _)).unwrap();
        assert_eq!(values(&chunk), [None, None, Some(-1), Some(i64::from(i32::MAX)), None]);
        assert_eq!((chunk.plain(0), chunk.plain_bytes()), (&[255; 4][..], 8));
        assert!(chunk.is_less(0, 1) && !chunk.is_less(1, 0));
        assert!(chunk.push(&(Arc::new(Int64Array::from(vec![1])) as _)).is_err());
        assert!(IntChunk::new(&DataType::Utf8).is_none());
    }
}
