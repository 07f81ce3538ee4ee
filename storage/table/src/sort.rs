//! The order of rows by the sort columns of their table, without comparing texts row by row.
//!
//! Each key becomes a number that sorts as the key does: an integer with its sign bit turned over, a text the rank of
//! its value among the distinct values of the column. Where keys span little, as those of an epoch's events do, all of
//! them and the row's place fit one number, and plain numbers are what is sorted; otherwise three numbers and the place:
//! 32 bytes a row, with no pointers to follow.

use crate::text_ids::TextIds;
use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use std::ops::{BitOrAssign, Shl};

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
    let spans = keys.iter().map(|key| span(*key)).collect::<Result<Vec<_>, _>>()?;
    let bits = bits_of(u64::from(count)) + spans.iter().map(|span| bits_of(span.1 - span.0)).sum::<u32>();
    let order: Vec<u32> = match bits {
        0..=64 => packed::<u64>(count, keys, &spans)?.into_iter().map(|number| number as u32).collect(),
        65..=128 => packed::<u128>(count, keys, &spans)?.into_iter().map(|number| number as u32).collect(),
        _ => apart(count, keys)?,
    };
    // The place is in the lowest bits, below those of the keys.
    let mask = (1_u64 << bits_of(u64::from(count))).wrapping_sub(1) as u32;
    Ok(order.into_iter().map(|row| row & mask).collect::<Vec<_>>().into())
}

/// Bits that numbers up to `max` take.
fn bits_of(max: u64) -> u32 {
    u64::BITS - max.leading_zeros()
}

/// All keys of each row in one number, the first in the highest bits, above the row's place; ascending.
fn packed<T>(count: u32, keys: &[Key<'_>], spans: &[(u64, u64)]) -> Result<Vec<T>, ArrowError>
where
    T: Copy + Ord + From<u64> + Shl<u32, Output = T> + BitOrAssign,
{
    let mut order: Vec<T> = (0..count).map(|row| T::from(u64::from(row))).collect();
    let mut shift = bits_of(u64::from(count));
    for (key, (min, max)) in keys.iter().zip(spans).rev() {
        let bits = bits_of(max - min);
        let mut rows = order.iter_mut();
        if bits > 0 {
            rank(*key, |number| {
                if let Some(all) = rows.next() {
                    *all |= T::from(number - min) << shift;
                }
            })?;
        }
        shift += bits;
    }
    order.sort_unstable();
    Ok(order)
}

/// The places of rows by keys that span too much for one number.
fn apart(count: u32, keys: &[Key<'_>]) -> Result<Vec<u32>, ArrowError> {
    let mut order: Vec<([u64; KEYS_MAX], u32)> = (0..count).map(|row| ([0; KEYS_MAX], row)).collect();
    for (place, key) in keys.iter().enumerate() {
        let mut rows = order.iter_mut();
        rank(*key, |number| {
            if let Some((numbers, _)) = rows.next() {
                numbers[place] = number;
            }
        })?;
    }
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, row)| row).collect())
}

/// The least and the greatest number that a key sorts by; both zero where there is no row.
fn span(key: Key<'_>) -> Result<(u64, u64), ArrowError> {
    if let Key::Texts(ids) = key {
        return Ok((0, (ids.len() as u64).saturating_sub(1)));
    }
    let (mut min, mut max) = (u64::MAX, u64::MIN);
    rank(key, |number| (min, max) = (min.min(number), max.max(number)))?;
    Ok(if min <= max { (min, max) } else { (0, 0) })
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
            // What fits 64 bits together, what fits 128, and what does not.
            (numbers_within, times_within) in prop::sample::select(vec![(3, 9), (3, i64::MAX), (i64::MAX, i64::MAX)]),
            rows in prop::collection::vec(("[a-c]{0,3}", any::<i64>(), any::<i64>()), 0..80),
            is_dictionary in any::<bool>(),
            skipped in 0usize..5,
        ) {
            let within = |(text, number, time): (String, i64, i64)| (text, number % numbers_within, time % times_within);
            let rows: Vec<_> = rows.into_iter().map(within).collect();
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
        assert_eq!(sorted_order(3, &[]).unwrap().values(), &[0, 1, 2]);
    }
}
