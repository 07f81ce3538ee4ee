//! Groups of a batch whose keys are dictionaries: each value is looked at once, and rows are told apart by codes.

use crate::keys::Keys;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use datafusion::common::Result;
use std::sync::Arc;

/// Pairs of codes that are looked up in an array and not by hash.
const PAIRS_MAX: usize = 1 << 16;

/// Whether texts come as a dictionary whose values are fewer than its rows.
pub(crate) fn is_dictionary(column: &ArrayRef) -> bool {
    let dictionary = column.as_dictionary_opt::<Int32Type>();
    dictionary.is_some_and(|dictionary| {
        dictionary.values().data_type() == &DataType::Utf8 && dictionary.values().len() <= dictionary.len()
    })
}

/// The groups of rows with these keys.
pub(crate) struct Numbered {
    /// Of each row; in the order in which groups come.
    pub(crate) ids: Vec<usize>,
    /// The first row of each group.
    firsts: UInt32Array,
}

impl Numbered {
    /// Tells rows apart by `columns`: values are the same where they are equal, null is one of them.
    pub(crate) fn new(columns: &[ArrayRef]) -> Result<Self> {
        let mut all: Option<(Vec<usize>, usize)> = None;
        for column in columns {
            let (codes, count) = codes(column)?;
            all = Some(match all {
                None => (codes, count),
                Some((before, known)) => paired(&before, known, &codes, count)?,
            });
        }
        // A single column is paired with nothing: codes come in the order of values, groups in that of rows.
        let (ids, count) = all.unwrap_or_default();
        let (ids, count) = if columns.len() == 1 { paired(&vec![0; ids.len()], 1, &ids, count)? } else { (ids, count) };
        let mut firsts = Vec::with_capacity(count);
        for (row, id) in ids.iter().enumerate() {
            if *id == firsts.len() {
                firsts.push(row as u32);
            }
        }
        Ok(Self { ids, firsts: firsts.into() })
    }

    /// The keys of the groups in one of the columns, as values of a plain type.
    pub(crate) fn keys(&self, column: &ArrayRef, plain: &DataType) -> Result<ArrayRef> {
        Ok(cast(&take(column, &self.firsts, None)?, plain)?)
    }
}

/// A number for each row that is equal where values are, and how many numbers there may be.
fn codes(column: &ArrayRef) -> Result<(Vec<usize>, usize)> {
    let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() else {
        let field = Field::new("key", column.data_type().clone(), true);
        let mut keys = Keys::new(Arc::new(Schema::new(vec![field])), 0)?;
        let mut ids = Vec::new();
        keys.intern(std::slice::from_ref(column), &mut ids)?;
        return Ok((ids, keys.len()));
    };
    let values = dictionary.values();
    let (of_values, count) = codes(values)?;
    let of_value = |key: i32| of_values.get(key as usize).copied().unwrap_or_default();
    let keys = dictionary.keys();
    if keys.null_count() == 0 {
        return Ok((keys.values().iter().map(|key| of_value(*key)).collect(), count));
    }
    // A key that is null is the same as a value that is.
    let null = (0..values.len()).find(|at| values.is_null(*at)).map_or(count, |at| of_value(at as i32));
    Ok((keys.iter().map(|key| key.map_or(null, of_value)).collect(), count + 1))
}

/// Numbers for pairs, in the order in which they come.
fn paired(first: &[usize], first_count: usize, second: &[usize], count: usize) -> Result<(Vec<usize>, usize)> {
    let pairs = first.iter().zip(second).map(|(first, second)| first * count + second);
    if first_count.saturating_mul(count) > PAIRS_MAX {
        let pairs: ArrayRef = Arc::new(pairs.map(|pair| pair as i64).collect::<Int64Array>());
        return codes(&pairs);
    }
    let (mut numbers, mut total) = (vec![usize::MAX; first_count * count], 0);
    let number = |pair: usize| {
        let Some(number) = numbers.get_mut(pair) else { return 0 };
        if *number == usize::MAX {
            *number = total;
            total += 1;
        }
        *number
    };
    let ids = pairs.map(number).collect();
    Ok((ids, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, StringArray};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Dictionaries with values that are double, null or of no row, and slices of them.
        #[test]
        fn groups_are_those_of_plain_values(
            rows in prop::collection::vec((prop::option::of(0i32..6), prop::option::of(0i64..4), prop::option::of(0i32..200)), 6..300),
            from in 0usize..6,
        ) {
            let values: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("a"), None, Some(""), Some("c")]));
            let texts = DictionaryArray::<Int32Type>::new(rows.iter().map(|row| row.0).collect(), values);
            let many: ArrayRef = Arc::new((0..200).map(|n| Some(format!("{}", n % 150))).collect::<StringArray>());
            let many = DictionaryArray::<Int32Type>::new(rows.iter().map(|row| row.2).collect(), many);
            let numbers: Int64Array = rows.iter().map(|row| row.1).collect();
            let columns: Vec<ArrayRef> = vec![Arc::new(texts), Arc::new(numbers), Arc::new(many)];
            let columns: Vec<ArrayRef> = columns.iter().map(|column| column.slice(from, rows.len() - from)).collect();
            for used in [&columns[..], &columns[..1], &columns[1..]] {
                let plain = |column: &ArrayRef| match column.as_dictionary_opt::<Int32Type>() {
                    Some(dictionary) => cast(column, dictionary.values().data_type()).unwrap(),
                    None => column.clone(),
                };
                let plain: Vec<ArrayRef> = used.iter().map(plain).collect();
                let fields = plain.iter().enumerate().map(|(at, column)| Field::new(format!("{at}"), column.data_type().clone(), true));
                let mut keys = Keys::new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), 0).unwrap();
                let mut expected = Vec::new();
                keys.intern(&plain, &mut expected).unwrap();
                let found = Numbered::new(used).unwrap();
                prop_assert_eq!(&found.ids, &expected);
                prop_assert_eq!(found.firsts.len(), keys.len());
                for ((column, plain), key) in used.iter().zip(&plain).zip(keys.take().unwrap()) {
                    let made = found.keys(column, plain.data_type()).unwrap();
                    prop_assert_eq!(&made, &key);
                }
            }
        }
    }
}
