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
/// comes in pieces, one after the other; a text may be a dictionary in one and plain in the next. Dictionaries compare
/// by value.
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
        let mut rows = order.iter_mut();
        let put = |number| {
            if let Some((numbers, _)) = rows.next() {
                numbers[place] = number;
            }
        };
        rank(pieces, put)?;
    }
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, row)| row).collect::<Vec<_>>().into())
}

/// Calls `put` for each row with the number that its key sorts by.
fn rank(pieces: &[ArrayRef], mut put: impl FnMut(u64)) -> Result<(), ArrowError> {
    let signed = |value: &i64| (*value as u64) ^ (1 << 63);
    if pieces.iter().any(|piece| is_text(piece.data_type())) {
        return rank_texts(pieces, put);
    }
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

fn rank_texts(pieces: &[ArrayRef], mut put: impl FnMut(u64)) -> Result<(), ArrowError> {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut texts: Vec<&str> = Vec::new();
    // For each piece the places of its rows' texts; of a dictionary the place of its first value.
    let mut places = Vec::with_capacity(pieces.len());
    for piece in pieces {
        places.push(match piece.data_type() {
            DataType::Utf8 => {
                let mut number = |text| {
                    *numbers.entry(text).or_insert_with(|| {
                        texts.push(text);
                        texts.len() as u32 - 1
                    })
                };
                let column: &StringArray = piece.as_string();
                (0..column.len()).map(|row| number(column.value(row))).collect()
            }
            other if is_text_dictionary(other) => {
                let values: &StringArray = piece.as_dictionary::<Int32Type>().values().as_string();
                let first = texts.len() as u32;
                texts.extend((0..values.len()).map(|index| values.value(index)));
                vec![first]
            }
            other => return Err(no_key(other)),
        });
    }
    let ranks = ranks(&texts);
    let rank = |place: usize| ranks.get(place).copied().unwrap_or(0);
    for (piece, places) in pieces.iter().zip(places) {
        match piece.as_dictionary_opt::<Int32Type>() {
            Some(dictionary) => {
                let first = places[0] as usize;
                dictionary.keys().values().iter().for_each(|key| put(rank(first + *key as usize)));
            }
            None => places.into_iter().for_each(|place| put(rank(place as usize))),
        }
    }
    Ok(())
}

fn is_text(data_type: &DataType) -> bool {
    data_type == &DataType::Utf8 || is_text_dictionary(data_type)
}

fn no_key(data_type: &DataType) -> ArrowError {
    ArrowError::NotYetImplemented(format!("rows sorted by a column of {data_type}"))
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
    use arrow::compute::cast;
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
