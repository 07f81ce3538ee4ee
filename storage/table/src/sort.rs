//! The order of rows by the sort columns of their table, without comparing texts row by row.
//!
//! Each key becomes a number that sorts as the key does: an integer with its sign bit turned over, a text the rank of
//! its value among the distinct values of the column. What is sorted is three numbers and the row's place: 32 bytes
//! a row, with no pointers to follow.

use crate::align::is_text_dictionary;
use arrow::array::{Array, ArrayRef, AsArray, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use std::collections::HashMap;

/// Sort columns of a table, at most.
const KEYS_MAX: usize = 3;

/// Indices in ascending order of the keys, none of which is null; rows with equal keys stay in order of arrival. A key
/// comes in pieces, one after the other; texts, whose rank is among all of a column, in one piece. Dictionaries compare by
/// value.
///
/// # Errors
/// Where there are more keys or rows than can be sorted, or a key has a type that is no key.
pub(crate) fn sorted_order(keys: &[&[ArrayRef]]) -> Result<UInt32Array, ArrowError> {
    let rows = keys.first().map_or(0, |pieces| pieces.iter().map(|piece| piece.len()).sum());
    let count = u32::try_from(rows).map_err(|_| ArrowError::OffsetOverflowError(rows))?;
    if keys.len() > KEYS_MAX {
        return Err(ArrowError::InvalidArgumentError(format!("{} sort columns", keys.len())));
    }
    let mut order: Vec<([u64; KEYS_MAX], u32)> = (0..count).map(|row| ([0; KEYS_MAX], row)).collect();
    for (place, pieces) in keys.iter().enumerate() {
        let mut start = 0;
        for piece in *pieces {
            rank(piece, |row, number| order[start + row].0[place] = number)?;
            start += piece.len();
        }
    }
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, row)| row).collect::<Vec<_>>().into())
}

/// Gives each row the number that its key sorts by.
fn rank(key: &ArrayRef, mut put: impl FnMut(usize, u64)) -> Result<(), ArrowError> {
    let signed = |value: i64| (value as u64) ^ (1 << 63);
    match key.data_type() {
        DataType::Int64 => {
            let values = key.as_primitive::<Int64Type>().values();
            values.iter().enumerate().for_each(|(row, value)| put(row, signed(*value)));
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = key.as_primitive::<TimestampMicrosecondType>().values();
            values.iter().enumerate().for_each(|(row, value)| put(row, signed(*value)));
        }
        DataType::Utf8 => {
            let texts = key.as_string::<i32>();
            let mut codes: HashMap<&str, u32> = HashMap::new();
            let mut distinct = Vec::new();
            let coded: Vec<u32> = (0..texts.len())
                .map(|row| {
                    let text = texts.value(row);
                    *codes.entry(text).or_insert_with(|| {
                        distinct.push(text);
                        distinct.len() as u32 - 1
                    })
                })
                .collect();
            let ranks = ranks(&distinct);
            coded.into_iter().enumerate().for_each(|(row, code)| put(row, ranks[code as usize]));
        }
        other if is_text_dictionary(other) => {
            let dictionary = key.as_dictionary::<Int32Type>();
            let values: &StringArray = dictionary.values().as_string();
            let texts: Vec<&str> = (0..values.len()).map(|index| values.value(index)).collect();
            let ranks = ranks(&texts);
            let codes = dictionary.keys().values();
            codes.iter().enumerate().for_each(|(row, code)| put(row, ranks.get(*code as usize).copied().unwrap_or(0)));
        }
        other => return Err(ArrowError::NotYetImplemented(format!("rows sorted by a column of {other}"))),
    }
    Ok(())
}

/// For each text its place among the distinct ones in ascending order: equal for equal texts.
fn ranks(texts: &[&str]) -> Vec<u64> {
    let mut by_text: Vec<usize> = (0..texts.len()).collect();
    by_text.sort_unstable_by_key(|index| texts[*index]);
    let mut ranks = vec![0; texts.len()];
    let (mut rank, mut before) = (0, None);
    for index in by_text {
        if before.replace(texts[index]).is_some_and(|before| before != texts[index]) {
            rank += 1;
        }
        ranks[index] = rank;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int64Array, TimestampMicrosecondArray};
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
            // Numbers may come in pieces.
            let cut = rows.len() / 3;
            let pieces = |key: &ArrayRef| vec![key.slice(0, cut), key.slice(cut, key.len() - cut)];
            let keys = [vec![keys[0].clone()], pieces(&keys[1]), pieces(&keys[2])];
            let keys: Vec<&[ArrayRef]> = keys.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(sorted_order(&keys).unwrap().values().to_vec(), expected);
        }
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        let floats: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.0]));
        assert!(sorted_order(&[&[floats]]).is_err());
        assert!(sorted_order(&[]).unwrap().is_empty());
    }
}
