//! The values of versions as dictionaries, kept from batch to batch.

use crate::history::{Values, Version, at};
use arrow::array::{Array, ArrayRef, DictionaryArray, Int32Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Versions that are kept beside twice those of a batch.
const SPARE: usize = 64;

/// The keys of a batch: of each row its number, and of each number what is known.
pub(crate) struct Asked<'a> {
    pub(crate) numbers: Vec<u32>,
    pub(crate) versions: Vec<&'a [Version]>,
}

/// What rows of one tenant are told. Batches that follow each other ask for the same keys, and their texts are put together
/// once. It has at most twice the versions of the batch that added to it last, and a few.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// By the address of the values; `versions` holds them, so that nothing else gets it.
    places: FxHashMap<usize, i32>,
    versions: Vec<Values>,
    /// A column of texts for each of those that are added, a row for each version.
    columns: Vec<ArrayRef>,
}

/// The newest version of a key: from when on it counts, and its place where it has values.
struct Newest {
    from_us: i64,
    place: Option<i32>,
}

impl Told {
    /// Bytes of its texts.
    pub(crate) fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.get_array_memory_size()).sum()
    }

    /// The `count` columns of values for rows with these keys and times.
    pub(crate) fn columns(
        &mut self,
        asked: &Asked<'_>,
        times: &TimestampMicrosecondArray,
        count: usize,
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let before = self.versions.len();
        let mut places = self.places(asked, times);
        let is_added = self.versions.len() > before;
        if is_added && self.versions.len() > 2 * asked.versions.len() + SPARE {
            *self = Self::default();
            places = self.places(asked, times);
        }
        if is_added || self.columns.len() != count {
            let value = |values: &Values, column: usize| values.get(column).cloned().flatten();
            let column = |column: usize| -> ArrayRef {
                Arc::new(self.versions.iter().map(|values| value(values, column)).collect::<StringArray>())
            };
            self.columns = (0..count).map(column).collect();
        }
        let Some(first) = self.columns.first() else { return Ok(Vec::new()) };
        // Places are checked once: all columns have as many values.
        let checked = DictionaryArray::<Int32Type>::try_new(places, first.clone())?;
        let of_values = |values: &ArrayRef| -> Result<ArrayRef, ArrowError> {
            if values.null_count() == 0 {
                return Ok(Arc::new(checked.with_values(values.clone())));
            }
            let is_there = |place: &i32| values.is_valid(*place as usize);
            let places = checked.keys().iter().map(|place| place.filter(is_there)).collect();
            Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(places, values.clone())?))
        };
        self.columns.iter().map(of_values).collect()
    }

    /// The place of the version of each row.
    fn places(&mut self, asked: &Asked<'_>, times: &TimestampMicrosecondArray) -> Int32Array {
        let newest = |versions: &&[Version]| match versions.last() {
            Some(last) => {
                Newest { from_us: last.from_us, place: last.values.as_ref().map(|values| self.place(values)) }
            }
            None => Newest { from_us: i64::MIN, place: None },
        };
        let newest: Vec<Newest> = asked.versions.iter().map(newest).collect();
        let place = |(time, number): (Option<i64>, &u32)| {
            let (time, number) = (time?, *number as usize);
            match newest.get(number)? {
                newest if newest.from_us <= time => newest.place,
                _ => at(asked.versions.get(number)?, time).map(|values| self.place(values)),
            }
        };
        times.iter().zip(&asked.numbers).map(place).collect()
    }

    fn place(&mut self, values: &Values) -> i32 {
        *self.places.entry(values.as_ptr().addr()).or_insert_with(|| {
            self.versions.push(values.clone());
            self.versions.len() as i32 - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;

    fn version(from_us: i64, texts: [Option<&str>; 2]) -> Version {
        Version { from_us, values: Some(texts.into_iter().map(|text| text.map(Arc::from)).collect()) }
    }

    fn told(told: &mut Told, versions: Vec<&[Version]>, rows: &[(u32, i64)]) -> Vec<[Option<String>; 2]> {
        let asked = Asked { numbers: rows.iter().map(|row| row.0).collect(), versions };
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1));
        let columns = told.columns(&asked, &times, 2).unwrap();
        let text = |column: &ArrayRef, row: usize| {
            let column = column.as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap();
            column.into_iter().nth(row).unwrap().map(str::to_owned)
        };
        (0..rows.len()).map(|row| [text(&columns[0], row), text(&columns[1], row)]).collect()
    }

    #[test]
    fn texts_are_put_together_once_and_not_for_ever() {
        let known: Vec<Vec<Version>> =
            (0..500).map(|n| vec![version(0, [Some(&n.to_string()), None]), version(9, [None, Some("new")])]).collect();
        let of =
            |range: std::ops::Range<usize>| -> Vec<&[Version]> { known[range].iter().map(Vec::as_slice).collect() };
        let mut cache = Told::default();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(told(&mut cache, of(3..5), &[(0, 5), (1, 9)]), [[text("3"), None], [None, text("new")]]);
        let columns = cache.columns.clone();
        assert_eq!(told(&mut cache, of(4..5), &[(0, 10)]), [[None, text("new")]]);
        assert!(Arc::ptr_eq(&columns[0], &cache.columns[0]), "nothing was added");
        for n in 0..500 {
            let n = n % 500;
            assert_eq!(
                told(&mut cache, of(n..n + 1), &[(0, 0), (0, -1)]),
                [[text(&n.to_string()), None], [None, None]]
            );
            assert!(cache.versions.len() <= SPARE + 4 && cache.bytes() > 0, "{}", cache.versions.len());
        }
        assert!(told(&mut cache, Vec::new(), &[]).is_empty());
    }
}
