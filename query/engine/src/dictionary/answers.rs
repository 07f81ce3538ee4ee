//! What a condition says of each value of a dictionary, looked up by row.

use arrow::array::{Array, BooleanArray, Int32Array};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::kernels::cmp;
use datafusion::common::Result;

/// Values of which one number has a bit each.
const BITS: usize = u64::BITS as usize;

/// True or false for each value, and what null is.
#[derive(Debug)]
pub(super) struct Answers {
    of_values: OfValues,
    of_null: Option<bool>,
}

/// From a key to an answer, in the cheapest way: this is done for every row of a table.
#[derive(Debug)]
enum OfValues {
    /// Every value has the same one.
    Same(bool),
    /// It is true of this key alone.
    One(i32),
    /// A bit for each key.
    Bits(u64),
    /// A place for each key. A power of two of them, so that any key has one.
    Table(Vec<bool>),
}

impl Answers {
    /// The answers of values, and that of null behind them; none where one of a value is null.
    pub(super) fn of(answers: &BooleanArray) -> Option<Self> {
        let count = answers.len().checked_sub(1)?;
        if answers.slice(0, count).null_count() > 0 {
            return None;
        }
        let of_null = answers.is_valid(count).then(|| answers.value(count));
        let bits = answers.values().slice(0, count);
        let of_values = match (bits.count_set_bits(), bits.set_indices().next()) {
            (0, _) => OfValues::Same(false),
            (set, _) if set == count => OfValues::Same(true),
            (1, Some(key)) => OfValues::One(i32::try_from(key).ok()?),
            _ if count <= BITS => OfValues::Bits(bits.set_indices().fold(0, |bits, key| bits | 1 << key)),
            _ => {
                let mut table: Vec<bool> = bits.iter().collect();
                table.resize(count.next_power_of_two(), false);
                OfValues::Table(table)
            }
        };
        Some(Self { of_values, of_null })
    }

    /// The answer for each key; for a null key that of null.
    pub(super) fn of_keys(&self, keys: &Int32Array) -> Result<BooleanArray> {
        // What stands in the place of a null key is any number.
        let found = match &self.of_values {
            OfValues::Same(true) => BooleanBuffer::new_set(keys.len()),
            OfValues::Same(false) => BooleanBuffer::new_unset(keys.len()),
            OfValues::One(key) => cmp::eq(keys, &Int32Array::new_scalar(*key))?.values().clone(),
            OfValues::Bits(bits) => packed(keys.values(), |key| bits >> (key as u32 % u64::BITS) & 1 == 1),
            OfValues::Table(table) => {
                let mask = table.len() - 1;
                packed(keys.values(), |key| table[key as usize & mask])
            }
        };
        Ok(match (keys.nulls(), self.of_null) {
            (None, _) => BooleanArray::new(found, None),
            (Some(nulls), None) => BooleanArray::new(found, Some(nulls.clone())),
            (Some(nulls), Some(true)) => BooleanArray::new(&found | &!nulls.inner(), None),
            (Some(nulls), Some(false)) => BooleanArray::new(&found & nulls.inner(), None),
        })
    }
}

/// A bit for each key.
fn packed(keys: &[i32], answer: impl Fn(i32) -> bool) -> BooleanBuffer {
    let word = |keys: &[i32]| {
        let bits = keys.iter().enumerate().map(|(bit, key)| u64::from(answer(*key)) << bit);
        bits.fold(0, |word, bit| word | bit).to_le()
    };
    let words: Vec<u64> = keys.chunks(BITS).map(word).collect();
    BooleanBuffer::new(Buffer::from_vec(words), 0, keys.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the dictionary is, and wherever its rows are cut: as looked up one by one.
        #[test]
        fn as_one_by_one(
            answers in prop_oneof![
                prop::collection::vec(any::<bool>(), 1..200),
                prop::collection::vec(prop::bool::weighted(0.02), 1..200),
                prop::collection::vec(prop::bool::weighted(0.98), 1..200),
            ],
            of_null in any::<Option<bool>>(),
            keys in prop::collection::vec(prop::option::weighted(0.9, any::<prop::sample::Index>()), 0..300),
            start in any::<prop::sample::Index>(),
        ) {
            let keys: Vec<_> = keys.into_iter().map(|key| key.map(|key| key.index(answers.len()))).collect();
            let start = start.index(keys.len() + 1);
            let expected: Vec<_> = keys[start..].iter().map(|key| key.map_or(of_null, |key| Some(answers[key]))).collect();
            let array: Int32Array = keys.iter().map(|key| key.map(|key| key as i32)).collect();
            let array = array.slice(start, keys.len() - start);
            let known: BooleanArray = answers.into_iter().map(Some).chain([of_null]).collect();
            let found = Answers::of(&known).unwrap().of_keys(&array).unwrap();
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_stands_under_a_null_key_is_not_looked_at() {
        let keys = Int32Array::new(vec![0, -7, i32::MAX, 1].into(), Some(vec![true, false, false, true].into()));
        for count in [2, 3, 70] {
            let known: BooleanArray = (0..count).map(|key| Some(key % 2 == 1)).chain([None]).collect();
            let found = Answers::of(&known).unwrap().of_keys(&keys).unwrap();
            assert_eq!(found.iter().collect::<Vec<_>>(), [Some(false), None, None, Some(true)]);
        }
        let unknown = BooleanArray::from(vec![Some(true), None, Some(false)]);
        assert!(Answers::of(&unknown).is_none(), "a value may have no answer");
    }
}
