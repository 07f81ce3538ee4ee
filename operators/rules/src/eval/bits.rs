//! Sets of rows as bitmaps.

use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};

/// A set of the rows of a batch: one bit per row, unused bits of the last word are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Vec<u64>,
    rows: usize,
}

impl Bits {
    pub(crate) fn none(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(64)], rows }
    }

    pub(crate) fn all(rows: usize) -> Self {
        let mut words = vec![u64::MAX; rows.div_ceil(64)];
        if let (Some(last), 1..) = (words.last_mut(), rows % 64) {
            *last = (1 << (rows % 64)) - 1;
        }
        Self { words, rows }
    }

    /// The rows that are not null.
    pub(crate) fn from_nulls(nulls: &NullBuffer) -> Self {
        Self::from_buffer(nulls.inner())
    }

    /// The rows whose bit is set.
    pub(crate) fn from_buffer(buffer: &BooleanBuffer) -> Self {
        let rows = buffer.len();
        Self { words: buffer.bit_chunks().iter_padded().take(rows.div_ceil(64)).collect(), rows }
    }

    /// As Arrow has it.
    pub(crate) fn into_buffer(self) -> BooleanBuffer {
        BooleanBuffer::new(Buffer::from_vec(self.words), 0, self.rows)
    }

    /// How many rows there are, in the set or not.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn insert(&mut self, row: usize) {
        self.words[row / 64] |= 1 << (row % 64);
    }

    pub(crate) fn contains(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Takes all rows out.
    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
    }

    pub(crate) fn and(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    /// The rows that are in both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        Self { words: self.words.iter().zip(&other.words).map(|(a, b)| a & b).collect(), rows: self.rows }
    }

    /// Becomes the rows that are in both, and says whether there are any.
    pub(crate) fn set_to_both(&mut self, a: &Self, b: &Self) -> bool {
        let mut any = 0;
        for (word, (a, b)) in self.words.iter_mut().zip(a.words.iter().zip(&b.words)) {
            *word = a & b;
            any |= *word;
        }
        any != 0
    }

    /// The rows that are not in `other`.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        Self { words: self.words.iter().zip(&other.words).map(|(a, b)| a & !b).collect(), rows: self.rows }
    }

    /// Says whether all rows are in `other`.
    pub(crate) fn is_subset(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).all(|(a, b)| a & !b == 0)
    }

    pub(crate) fn or(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    pub(crate) fn minus(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    /// Keeps the rows for which `test` holds; asks only about those that are in. Answers are taken without a branch, as
    /// they are hard to foretell.
    pub(crate) fn retain(&mut self, mut test: impl FnMut(usize) -> bool) {
        for (index, word) in self.words.iter_mut().enumerate() {
            let (mut left, mut kept) = (*word, 0);
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                kept |= u64::from(test(index * 64 + bit)) << bit;
            }
            *word = kept;
        }
    }

    /// The same for a test that answers 0 or 1 for any row, and quickly: many rows at once, whether they are in or not.
    pub(crate) fn retain_dense(&mut self, test: impl Fn(usize) -> u8) {
        const DENSE: u32 = 12;
        for (index, word) in self.words.iter_mut().enumerate() {
            let first = index * 64;
            if word.count_ones() >= DENSE && first + 64 <= self.rows {
                let answers = (0..64).fold(0, |answers, bit| answers | u64::from(test(first + bit)) << bit);
                *word &= answers;
                continue;
            }
            let (mut left, mut kept) = (*word, 0);
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                kept |= u64::from(test(first + bit)) << bit;
            }
            *word = kept;
        }
    }

    /// The rows in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd_of(rows: usize) -> Bits {
        let mut odd = Bits::all(rows);
        odd.retain(|row| row % 2 == 1);
        odd
    }

    #[test]
    fn sets_of_rows() {
        for rows in [0, 1, 63, 64, 65, 200] {
            let all = Bits::all(rows);
            assert_eq!((all.count(), all.iter().count()), (rows, rows));
            let mut even = all.clone();
            even.retain(|row| row % 2 == 0);
            let mut odd = all.clone();
            odd.minus(&even);
            assert!(odd.iter().all(|row| row % 2 == 1));
            odd.or(&even);
            assert_eq!(odd, all);
            let mut dense = all.clone();
            dense.retain_dense(|row| u8::from(row % 2 == 0));
            assert_eq!(dense, even);
            even.retain_dense(|row| u8::from(row % 3 == 0));
            assert!(even.iter().all(|row| row % 6 == 0));
            assert_eq!((all.difference(&dense), all.intersection(&dense)), (odd_of(rows), dense.clone()));
            assert!(dense.is_subset(&all) && (rows < 2 || !all.is_subset(&dense)));
            odd.and(&Bits::none(rows));
            assert!(odd.is_empty());
        }
        let nulls = NullBuffer::from(vec![true, false, true]).slice(1, 2);
        assert_eq!(Bits::from_nulls(&nulls).iter().collect::<Vec<_>>(), [1]);
    }
}
