//! The order of rows by the sort columns of their table, without comparing texts row by row.
//!
//! Each key becomes a number that sorts as the key does: an integer with its sign bit turned over, a text the rank of
//! its value among the distinct values of the column. What is sorted is three numbers and the row's place: 32 bytes
//! a row, with no pointers to follow.

use crate::text_ids::TextIds;
use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;

/// Sort columns of a table, at most.
const KEYS_MAX: usize = 3;

/// A sort column of all rows.
#[derive(Clone, Copy)]
pub(crate) enum Key<'a> {
    /// Integers or times, in pieces that follow each other.
    Numbers(&'a [ArrayRef]),
    /// Texts, which compare by value.
    Texts(&'a TextIds),
}

/// Indices of `rows` rows in ascending order of the keys, none of which is null; rows with equal keys stay in order of
/// arrival.
///
/// # Errors
/// Where there are more keys or rows than can be sorted, or a key has a type that is no key.
pub(crate) fn sorted_order(rows: usize, keys: &[Key<'_>]) -> Result<UInt32Array, ArrowError> {
    let count = u32::try_from(rows).map_err(|_| ArrowError::OffsetOverflowError(rows))?;
    if keys.len() > KEYS_MAX {
        return Err(ArrowError::InvalidArgumentError(format!("{} sort columns", keys.len())));
    }
    let mut order: Vec<([u64; KEYS_MAX], u32)> = (0..count).map(|row| ([0; KEYS_MAX], row)).collect();
    for (place, key) in keys.iter().enumerate() {
        let mut rows = order.iter_mut();
        let put = |number| {
            if let Some((numbers, _)) = rows.next() {
                numbers[place] = number;
            }
        };
        rank(*key, put)?;
    }
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, row)| row).collect::<Vec<_>>().into())
}

/// Calls `put` for each row with the number that its key sorts by.
fn rank(key: Key<'_>, mut put: impl FnMut(u64)) -> Result<(), ArrowError> {
    let signed = |value: &i64| (*value as u64) ^ (1 << 63);
    let pieces = match key {
        Key::Numbers(pieces) => pieces,
        Key::Texts(ids) => {
            let (ranks, mut rows) = (ranks(ids), Vec::new());
            ids.rows(&mut rows);
            rows.into_iter().for_each(|id| put(ranks.get(id as usize).copied().unwrap_or(0)));
            return Ok(());
        }
    };
    for piece in pieces {
        match piece.data_type() {
            DataType::Int64 => piece.as_primitive::<Int64Type>().values().iter().map(signed).for_each(&mut put),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                piece.as_primitive::<TimestampMicrosecondType>().values().iter().map(signed).for_each(&mut put);
            }
            other => return Err(no_key(other)),
        }
    }
    Ok(())
}

fn no_key(data_type: &DataType) -> ArrowError {
    ArrowError::NotYetImplemented(format!("rows sorted by a column of {data_type}"))
}

/// For each distinct text its place among them in ascending order.
fn ranks(ids: &TextIds) -> Vec<u64> {
    let mut by_text: Vec<u32> = (0..ids.len() as u32).collect();
    by_text.sort_unstable_by_key(|id| ids.text(*id));
    let mut ranks = vec![0; by_text.len()];
    for (rank, id) in by_text.into_iter().enumerate() {
        ranks[id as usize] = rank as u64;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::compute::cast;
    use arrow::datatypes::Int32Type;
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        #[test]
        fn as_a_stable_sort(
            rows in prop::collection::vec(("[a-c]{0,3}", -3i64..3, any::<i64>()), 0..80),
            is_dictionary in any::<bool>(),
            skipped in 0usize..5,
        ) {
            let text: ArrayRef = match is_dictionary {
                true => Arc::new(rows.iter().map(|row| row.0.as_str()).collect::<DictionaryArray<Int32Type>>()),
                false => Arc::new(rows.iter().map(|row| Some(row.0.as_str())).collect::<StringArray>()),
            };
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
            let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.2)));
            let skipped = skipped.min(rows.len());
            let keys: Vec<_> = [text, numbers, times].iter().map(|key| key.slice(skipped, rows.len() - skipped)).collect();
            let rows = &rows[skipped..];
            let mut expected: Vec<u32> = (0..rows.len() as u32).collect();
            expected.sort_by_key(|row| &rows[*row as usize]);
            let cut = rows.len() / 3;
            let pieces = |key: &ArrayRef| vec![key.slice(0, cut), key.slice(cut, key.len() - cut)];
            let mut keys = [pieces(&keys[0]), pieces(&keys[1]), pieces(&keys[2])];
            // A text may be a dictionary in one piece and plain in the next.
            keys[0][0] = cast(&keys[0][0], &DataType::Utf8).unwrap();
            let [texts, numbers, times] = keys;
            let texts = TextIds::new(texts).unwrap();
            let keys = [Key::Texts(&texts), Key::Numbers(&numbers), Key::Numbers(&times)];
            prop_assert_eq!(sorted_order(rows.len(), &keys).unwrap().values().to_vec(), expected);
        }
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        let floats: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.0]));
        assert!(sorted_order(1, &[Key::Numbers(&[floats])]).is_err());
        assert!(sorted_order(0, &[]).unwrap().is_empty());
    }
}
