//! Key groups: the unit in which work and state move between shards.
//!
//! There are 64 of them for ever, so that state which 3 shards have written can be read by 8. A shard owns a run of
//! neighbouring groups.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// How many key groups there are.
pub const KEY_GROUPS: usize = 64;

/// One of [`KEY_GROUPS`] parts of all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyGroup(u8);

impl KeyGroup {
    /// The group of a key with this hash.
    pub fn of_hash(hash: u64) -> Self {
        Self((hash >> 58) as u8)
    }

    /// The group of a key with these bytes.
    pub fn of_bytes(key: &[u8]) -> Self {
        Self::of_hash(xxh3_64(key))
    }

    /// The group with this number; none beyond the last.
    pub fn new(number: u8) -> Option<Self> {
        (usize::from(number) < KEY_GROUPS).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The shard that owns it, of `shards` in all.
    pub fn shard(self, shards: usize) -> usize {
        usize::from(self.0) * shards.clamp(1, KEY_GROUPS) / KEY_GROUPS
    }
}

/// The key group of each row by the columns `key`. Equal values have equal groups, whether a column is a dictionary or
/// not; null is a value of its own.
///
/// # Errors
/// Where a column is missing or has a type that cannot be a key.
pub fn key_groups(records: &RecordBatch, key: &[String]) -> Result<Vec<KeyGroup>, ArrowError> {
    let columns: Vec<_> = key
        .iter()
        .map(|name| records.column_by_name(name).cloned().ok_or_else(|| ArrowError::SchemaError(missing(name))))
        .collect::<Result<_, _>>()?;
    match columns.as_slice() {
        [only] => of_one(only),
        _ => of_rows(&columns),
    }
}

/// By the bytes of arrow's row format.
fn of_rows(columns: &[ArrayRef]) -> Result<Vec<KeyGroup>, ArrowError> {
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(columns)?;
    Ok(rows.iter().map(|row| KeyGroup::of_bytes(row.as_ref())).collect())
}

/// The same for a single column: numbers without a copy of their rows, and each value of a dictionary once.
fn of_one(column: &ArrayRef) -> Result<Vec<KeyGroup>, ArrowError> {
    if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        return Ok(numbers.iter().map(of_number).collect());
    }
    let dictionary = column.as_dictionary_opt::<Int32Type>();
    let Some(dictionary) = dictionary.filter(|dictionary| dictionary.values().len() <= dictionary.len()) else {
        return of_rows(std::slice::from_ref(column));
    };
    let values = of_one(dictionary.values())?;
    let null = of_rows(&[new_null_array(dictionary.values().data_type(), 1)])?;
    let null = null.first().copied().unwrap_or_default();
    let of_value = |at: usize| values.get(at).copied().unwrap_or(null);
    Ok(dictionary.keys().iter().map(|at| at.map_or(null, |at| of_value(at as usize))).collect())
}

/// A number's row is a byte that says whether it is there, and its bytes in an order that can be compared.
fn of_number(number: Option<i64>) -> KeyGroup {
    let mut row = [0; 9];
    if let Some(number) = number {
        let [is_there, bytes @ ..] = &mut row;
        *is_there = 1;
        *bytes = ((number as u64) ^ (1 << 63)).to_be_bytes();
    }
    KeyGroup::of_bytes(&row)
}

fn missing(name: &str) -> String {
    format!("there is no column {name:?} to be a key")
}

/// The rows of each shard, in their order; none where a shard gets none.
///
/// # Errors
/// As [`key_groups`].
pub(crate) fn split(
    records: &RecordBatch,
    key: &[String],
    shards: usize,
) -> Result<Vec<Option<RecordBatch>>, ArrowError> {
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); shards];
    for (row, group) in key_groups(records, key)?.into_iter().enumerate() {
        if let Some(rows) = rows.get_mut(group.shard(shards)) {
            rows.push(row as u32);
        }
    }
    let part = |rows: Vec<u32>| match rows.len() {
        0 => Ok(None),
        all if all == records.num_rows() => Ok(Some(records.clone())),
        _ => take_record_batch(records, &UInt32Array::from(rows)).map(Some),
    };
    rows.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn shards_own_runs_of_groups() {
        for shards in 1..=KEY_GROUPS {
            let owners: Vec<_> = (0..KEY_GROUPS as u8).map(|n| KeyGroup(n).shard(shards)).collect();
            assert!(owners.is_sorted() && owners[0] == 0 && owners[KEY_GROUPS - 1] == shards - 1, "{shards}");
        }
    }

    #[test]
    fn equal_values_meet_whatever_their_encoding() {
        let plain: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b"), Some("a")]));
        let dictionary: ArrayRef =
            Arc::new([Some("a"), None, Some("b"), Some("a")].into_iter().collect::<DictionaryArray<Int32Type>>());
        let groups = |column: &ArrayRef| {
            let records = RecordBatch::try_from_iter([("k", column.clone())]).unwrap();
            key_groups(&records, &["k".into()]).unwrap()
        };
        assert_eq!(groups(&plain), groups(&dictionary));
        assert_eq!(groups(&plain)[0], groups(&plain)[3]);
        assert_eq!(groups(&plain.slice(2, 2)), groups(&plain)[2..]);
    }

    #[test]
    fn one_column_has_the_groups_of_its_rows() {
        let numbers = [Some(0), Some(-1), None, Some(i64::MIN), Some(i64::MAX), Some(77)];
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter((0..500).map(Some).chain(numbers)));
        let texts = ["a", "", "b", "a"].map(Some).into_iter().chain([None]);
        let texts: ArrayRef = Arc::new(texts.collect::<DictionaryArray<Int32Type>>());
        // Values that are null or double, and more values than rows.
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("a"), Some("c")]));
        let keys = [Some(0), Some(1), Some(2), None, Some(3)].into_iter().collect();
        let odd: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, values));
        for column in [numbers.slice(100, 405), numbers, texts, odd.slice(1, 2), odd] {
            assert_eq!(of_one(&column).unwrap(), of_rows(&[column]).unwrap());
        }
    }

    #[test]
    fn a_split_keeps_every_row_once() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let records = RecordBatch::try_from_iter([("k", numbers)]).unwrap();
        let parts = split(&records, &["k".into()], 3).unwrap();
        assert_eq!(parts.iter().flatten().map(RecordBatch::num_rows).sum::<usize>(), 1000);
        assert!(parts.iter().all(|part| part.as_ref().is_some_and(|part| part.num_rows() > 200)));
        assert!(split(&records, &["none".into()], 3).unwrap_err().to_string().contains("\"none\""));
    }
}
