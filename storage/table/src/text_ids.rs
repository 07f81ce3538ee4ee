//! The texts of one column of many parts, numbered once for all row groups that are made of them.
//!
//! Rows jump between parts when they are put in order, and memory that is met for the first time is slow. So each part
//! is read from its first row to its last: its texts are looked up once, and what jumps afterwards are small numbers.

use crate::align::is_text_dictionary;
use crate::text_numbers::TextNumbers;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;

/// Where a row has no text.
pub(crate) const NULL: u32 = u32::MAX;
/// A key that no row had yet.
const UNSEEN: u32 = u32::MAX - 1;

/// Numbers of distinct texts, in the order of their first rows as they came. Holds four bytes for each key of the
/// dictionaries and for each row of what is none, and eight for each distinct text.
pub(crate) struct TextIds {
    pieces: Vec<Piece>,
    /// The number of each key of a dictionary, or of each row of plain texts.
    tables: Vec<Vec<u32>>,
    /// Where each distinct text is: its piece, and its key or row.
    found: Vec<(u32, u32)>,
}

struct Piece {
    texts: ArrayRef,
    /// Its place in `tables`: dictionaries that follow each other are often the same.
    table: usize,
}

/// Distinct texts while pieces are read.
#[derive(Default)]
struct Distinct<'a> {
    numbers: TextNumbers,
    texts: Vec<&'a str>,
    found: Vec<(u32, u32)>,
}

impl<'a> Distinct<'a> {
    fn number(&mut self, text: &'a str, piece: usize, at: usize) -> u32 {
        let Self { numbers, texts, found } = self;
        numbers.number(text, |number| texts[number as usize].as_bytes()).unwrap_or_else(|number| {
            texts.push(text);
            found.push((piece as u32, at as u32));
            number
        })
    }
}

impl TextIds {
    /// Numbers the texts of `columns`: each is plain, or a dictionary.
    ///
    /// # Errors
    /// Where a column is neither.
    pub(crate) fn new(columns: Vec<ArrayRef>) -> Result<Self, ArrowError> {
        let mut distinct = Distinct::default();
        let (mut tables, mut places) = (Vec::<Vec<u32>>::new(), Vec::with_capacity(columns.len()));
        let mut before: Option<&ArrayRef> = None;
        for (piece, column) in columns.iter().enumerate() {
            let Some(dictionary) = dictionary_of(column) else {
                tables.push(of_rows(column, piece, &mut distinct)?);
                places.push(tables.len() - 1);
                before = None;
                continue;
            };
            let is_same = before.is_some_and(|before| before.to_data().ptr_eq(&dictionary.to_data()));
            if !is_same {
                tables.push(vec![UNSEEN; dictionary.len()]);
            }
            if let Some(table) = tables.last_mut() {
                of_keys(column, table, piece, &mut distinct);
            }
            places.push(tables.len() - 1);
            before = Some(dictionary);
        }
        let found = distinct.found;
        let pieces = columns.into_iter().zip(places).map(|(texts, table)| Piece { texts, table }).collect();
        Ok(Self { pieces, tables, found })
    }

    /// How many distinct texts there are.
    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    /// The text with a number.
    pub(crate) fn text(&self, number: u32) -> &str {
        let (piece, at) = self.found[number as usize];
        let column = &self.pieces[piece as usize].texts;
        let texts: &StringArray = dictionary_of(column).unwrap_or(column).as_string();
        texts.value(at as usize)
    }

    /// Puts the number of each row's text into `rows`, in the order in which rows came.
    pub(crate) fn rows(&self, rows: &mut Vec<u32>) {
        rows.clear();
        rows.reserve(self.pieces.iter().map(|piece| piece.texts.len()).sum());
        for Piece { texts, table } in &self.pieces {
            let table = &self.tables[*table];
            let Some(keys) = texts.as_dictionary_opt::<Int32Type>().map(|dictionary| dictionary.keys()) else {
                rows.extend_from_slice(table);
                continue;
            };
            let start = rows.len();
            rows.extend(keys.values().iter().map(|key| table.get(*key as usize).copied().unwrap_or(NULL)));
            if let Some(nulls) = keys.nulls().filter(|nulls| nulls.null_count() > 0) {
                hide(nulls, &mut rows[start..]);
            }
        }
    }
}

/// Makes `NULL` of those that are null.
fn hide(nulls: &NullBuffer, rows: &mut [u32]) {
    let chunks = nulls.inner().bit_chunks();
    for (valid, rows) in chunks.iter_padded().zip(rows.chunks_mut(u64::BITS as usize)) {
        for (bit, row) in rows.iter_mut().enumerate() {
            // All bits where it is not valid, none where it is: no row waits for a decision.
            *row |= ((valid >> bit & 1) as u32).wrapping_sub(1);
        }
    }
}

/// The texts of a dictionary.
fn dictionary_of(column: &ArrayRef) -> Option<&ArrayRef> {
    is_text_dictionary(column.data_type()).then(|| column.as_dictionary::<Int32Type>().values())
}

fn of_keys<'a>(column: &'a ArrayRef, table: &mut [u32], piece: usize, distinct: &mut Distinct<'a>) {
    let dictionary = column.as_dictionary::<Int32Type>();
    let texts: &StringArray = dictionary.values().as_string();
    let keys = dictionary.keys().values();
    let mut see = |key: i32| {
        let key = key as usize;
        if table[key] == UNSEEN {
            table[key] = if texts.is_null(key) { NULL } else { distinct.number(texts.value(key), piece, key) };
        }
    };
    match dictionary.keys().nulls().filter(|nulls| nulls.null_count() > 0) {
        None => keys.iter().copied().for_each(see),
        Some(nulls) => nulls.valid_indices().for_each(|row| see(keys[row])),
    }
}

fn of_rows<'a>(column: &'a ArrayRef, piece: usize, distinct: &mut Distinct<'a>) -> Result<Vec<u32>, ArrowError> {
    let Some(texts) = column.as_string_opt::<i32>() else {
        return Err(ArrowError::InvalidArgumentError(format!("a column of {} is no text", column.data_type())));
    };
    // Rows that were sent together repeat themselves.
    let mut last: Option<(&str, u32)> = None;
    let number = |(row, text): (usize, Option<&'a str>)| match (text, last) {
        (None, _) => NULL,
        (Some(text), Some((before, number))) if text == before => number,
        (Some(text), _) => {
            let number = distinct.number(text, piece, row);
            last = Some((text, number));
            number
        }
    };
    Ok(texts.iter().enumerate().map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{DictionaryArray, Int32Array, Int64Array};
    use std::sync::Arc;

    #[test]
    fn rows_of_all_pieces_by_number() {
        let rows = [None, Some("b"), Some("a"), Some("a"), None, Some("c"), Some("")];
        let plain: ArrayRef = Arc::new(StringArray::from(rows.to_vec()));
        let keys = Int32Array::from(vec![Some(1), Some(0), None, Some(2), Some(2)]);
        let hidden = Arc::new(StringArray::from(vec![Some("b"), None, Some("d"), Some("no row has it")]));
        let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, hidden));
        let pieces =
            [dictionary.slice(1, 4), dictionary.slice(0, 2), plain.slice(1, 6), plain.slice(0, 0), dictionary.clone()];
        let ids = TextIds::new(pieces.to_vec()).unwrap();
        assert_eq!(ids.tables.len(), 4, "two slices of one dictionary");
        let text = |number: &u32| (*number != NULL).then(|| ids.text(*number));
        let expected = [Some("b"), None, Some("d"), Some("d"), None, Some("b")];
        let expected = expected.iter().chain(&rows[1..]).chain(&[None, Some("b"), None, Some("d"), Some("d")]);
        let mut numbers = vec![9];
        ids.rows(&mut numbers);
        assert_eq!(numbers.iter().map(text).collect::<Vec<_>>(), expected.copied().collect::<Vec<_>>());
        assert_eq!((0..ids.len() as u32).map(|id| ids.text(id)).collect::<Vec<_>>(), ["b", "d", "a", "c", ""]);
        let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert!(TextIds::new(vec![number]).is_err());
    }
}
