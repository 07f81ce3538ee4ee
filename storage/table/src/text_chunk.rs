//! The texts of one column in one row group, gathered as numbers into the distinct ones.
//!
//! Most texts of telemetry repeat. Looking one up for each row is most of what encoding costs, so a dictionary's keys
//! are looked up once each, and bounds and bloom filters are made of the distinct texts.

use crate::align::is_text_dictionary;
use crate::gather::Place;
use crate::pages::{Chunk, RowCodes, bounds};
use crate::text_bounds::{cut_down, cut_up};
use crate::text_ids::{NULL, TextIds};
use crate::text_numbers::TextNumbers;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;
use parquet::basic::Type;
use parquet::data_type::ByteArray;
use parquet::file::statistics::{Statistics, ValueStatistics};
use std::collections::HashMap;

/// A key that no row had yet.
const UNSEEN: u32 = u32::MAX - 1;
/// Bytes that a length takes in front of a text.
const LENGTH_BYTES: usize = 4;

/// Holds each distinct text once, and four bytes a row; nothing while all rows are null.
#[derive(Debug, Default)]
pub(crate) struct TextChunk {
    /// The distinct texts in order of their first row, each behind its length: a page of Parquet's plain encoding.
    page: Vec<u8>,
    /// Where each of them starts in the page, behind its length, and ends.
    spans: Vec<(usize, usize)>,
    /// How long each of them is: asked for every row, so kept close together.
    lengths: Vec<u32>,
    numbers: TextNumbers,
    of_rows: RowCodes,
    /// Bytes of all texts in plain encoding.
    plain_bytes: usize,
    /// Dictionaries that rows were picked from.
    tables: Vec<Table>,
    /// Where each is in `tables`, by where its lengths and texts are in memory, and how many there are.
    places: HashMap<(usize, usize, usize), usize>,
    /// The number here of each of [`TextIds`].
    of_ids: Vec<u32>,
}

impl TextChunk {
    /// Takes the next rows: texts, or a dictionary of them.
    ///
    /// # Errors
    /// Where `column` is neither.
    pub(crate) fn push(&mut self, column: &ArrayRef) -> Result<(), ArrowError> {
        if self.of_rows.codes.is_empty() && column.logical_null_count() == column.len() {
            self.of_rows.count(column.len(), column.len());
            return Ok(());
        }
        let places: Vec<Place> = (0..column.len() as u32).map(|row| Place { piece: 0, row }).collect();
        self.push_places(std::slice::from_ref(column), &places).map(drop)
    }

    /// Takes the rows at `places` of `pieces`: texts, or dictionaries of them. Returns how many are null.
    ///
    /// # Errors
    /// Where a piece is neither.
    pub(crate) fn push_places(&mut self, pieces: &[ArrayRef], places: &[Place]) -> Result<usize, ArrowError> {
        if self.of_rows.codes.is_empty() && pieces.iter().all(|piece| piece.null_count() == piece.len()) {
            self.of_rows.count(places.len(), places.len());
            return Ok(places.len());
        }
        let pieces = pieces.iter().map(|piece| self.piece(piece)).collect::<Result<Vec<_>, _>>()?;
        self.of_rows.codes.resize(self.of_rows.rows, NULL);
        self.of_rows.codes.reserve(places.len());
        let (mut nulls, mut plain_bytes) = (0, 0);
        for Place { piece, row } in places {
            let code = self.code_of(&pieces[*piece as usize], *row as usize);
            match self.lengths.get(code as usize) {
                Some(length) => plain_bytes += *length as usize + LENGTH_BYTES,
                None => nulls += 1,
            }
            self.of_rows.codes.push(code);
        }
        self.plain_bytes += plain_bytes;
        self.of_rows.count(places.len(), nulls);
        Ok(nulls)
    }

    fn piece<'a>(&mut self, column: &'a ArrayRef) -> Result<Piece<'a>, ArrowError> {
        match column.data_type() {
            DataType::Utf8 => Ok(Piece::Texts(column.as_string())),
            other if is_text_dictionary(other) => {
                let dictionary = column.as_dictionary::<Int32Type>();
                let texts: &StringArray = dictionary.values().as_string();
                // Nothing else is there while it is held.
                let place =
                    (texts.value_offsets().as_ptr() as usize, texts.value_data().as_ptr() as usize, texts.len());
                let table = *self.places.entry(place).or_insert_with(|| {
                    let codes = vec![UNSEEN; texts.len()];
                    self.tables.push(Table { _dictionary: dictionary.values().clone(), codes });
                    self.tables.len() - 1
                });
                let keys = dictionary.keys();
                let nulls = keys.nulls().filter(|nulls| nulls.null_count() > 0);
                Ok(Piece::Dictionary { keys: keys.values(), nulls, texts, table })
            }
            other => Err(ArrowError::InvalidArgumentError(format!("a column of {other} is no text"))),
        }
    }

    /// The number of the text in `row` of `piece`.
    fn code_of(&mut self, piece: &Piece<'_>, row: usize) -> u32 {
        match piece {
            Piece::Texts(texts) => match texts.is_null(row) {
                true => NULL,
                false => self.number(texts.value(row)),
            },
            Piece::Dictionary { nulls, .. } if nulls.is_some_and(|nulls| nulls.is_null(row)) => NULL,
            Piece::Dictionary { keys, texts, table, .. } => {
                let key = keys[row] as usize;
                let code = self.tables[*table].codes[key];
                if code != UNSEEN {
                    return code;
                }
                let code = if texts.is_null(key) { NULL } else { self.number(texts.value(key)) };
                self.tables[*table].codes[key] = code;
                code
            }
        }
    }

    /// Takes the next rows by the numbers that their texts have in `ids`. All rows of a chunk come from the same ones.
    /// Returns how many are null.
    pub(crate) fn push_ids(&mut self, ids: &TextIds, rows: &[u32]) -> usize {
        if rows.iter().all(|id| *id == NULL) && self.of_rows.codes.is_empty() {
            self.of_rows.count(rows.len(), rows.len());
            return rows.len();
        }
        self.of_ids.resize(ids.len(), UNSEEN);
        self.of_rows.codes.resize(self.of_rows.rows, NULL);
        self.of_rows.codes.reserve(rows.len());
        let (mut nulls, mut plain_bytes) = (0, 0);
        for id in rows {
            let Some(code) = self.of_ids.get(*id as usize).copied() else {
                nulls += 1;
                self.of_rows.codes.push(NULL);
                continue;
            };
            let code = if code == UNSEEN { self.append_id(ids, *id) } else { code };
            plain_bytes += self.lengths[code as usize] as usize + LENGTH_BYTES;
            self.of_rows.codes.push(code);
        }
        self.plain_bytes += plain_bytes;
        self.of_rows.count(rows.len(), nulls);
        nulls
    }

    fn append_id(&mut self, ids: &TextIds, id: u32) -> u32 {
        let code = self.spans.len() as u32;
        self.append(ids.text(id));
        self.of_ids[id as usize] = code;
        code
    }

    fn number(&mut self, text: &str) -> u32 {
        let Self { page, spans, numbers, .. } = self;
        let text_of = |number: u32| {
            let (start, end) = spans[number as usize];
            &page[start..end]
        };
        numbers.number(text, text_of).unwrap_or_else(|number| {
            self.append(text);
            number
        })
    }

    /// Takes a text that is not there yet.
    fn append(&mut self, text: &str) {
        self.page.extend_from_slice(&(text.len() as u32).to_le_bytes());
        let start = self.page.len();
        self.page.extend_from_slice(text.as_bytes());
        self.spans.push((start, self.page.len()));
        self.lengths.push(text.len() as u32);
    }

    /// The least and the greatest text; none where all are null.
    pub(crate) fn bounds(&self) -> Option<(&[u8], &[u8])> {
        bounds(self, 0..self.distinct() as u32).map(|(min, max)| (self.value(min), self.value(max)))
    }

    /// Forgets the rows; keeps the room.
    pub(crate) fn clear(&mut self) {
        self.page.clear();
        self.spans.clear();
        self.lengths.clear();
        self.numbers.clear();
        self.of_rows.codes.clear();
        self.of_ids.clear();
        self.tables.clear();
        self.places.clear();
        (self.of_rows.rows, self.of_rows.nulls, self.plain_bytes) = (0, 0, 0);
    }
}

impl Chunk for TextChunk {
    fn physical_type(&self) -> Type {
        Type::BYTE_ARRAY
    }

    fn of_rows(&self) -> &RowCodes {
        &self.of_rows
    }

    fn distinct(&self) -> usize {
        self.spans.len()
    }

    fn page(&self) -> &[u8] {
        &self.page
    }

    fn plain(&self, code: u32) -> &[u8] {
        let (start, end) = self.spans[code as usize];
        &self.page[start - LENGTH_BYTES..end]
    }

    fn plain_bytes(&self) -> usize {
        self.plain_bytes
    }

    fn value(&self, code: u32) -> &[u8] {
        &self.plain(code)[LENGTH_BYTES..]
    }

    fn is_less(&self, one: u32, other: u32) -> bool {
        self.value(one) < self.value(other)
    }

    fn lower_bound(&self, code: u32) -> &[u8] {
        cut_down(self.value(code))
    }

    fn upper_bound(&self, code: u32) -> Option<Vec<u8>> {
        cut_up(self.value(code))
    }

    fn statistics(&self, bounds: Option<(u32, u32)>) -> Statistics {
        let least = bounds.map(|(min, _)| (self.value(min), self.lower_bound(min)));
        let greatest = bounds.and_then(|(_, max)| Some((self.value(max), self.upper_bound(max)?)));
        let min_is_exact = least.is_some_and(|(text, bound)| text == bound);
        let max_is_exact = greatest.as_ref().is_some_and(|(text, bound)| text == bound);
        let statistics = ValueStatistics::new(
            least.map(|(_, bound)| ByteArray::from(bound.to_vec())),
            greatest.map(|(_, bound)| ByteArray::from(bound)),
            Some(self.distinct() as u64),
            Some(self.of_rows.nulls as u64),
            false,
        );
        Statistics::ByteArray(statistics.with_min_is_exact(min_is_exact).with_max_is_exact(max_is_exact))
    }
}

/// One of the columns that rows are picked from.
enum Piece<'a> {
    Texts(&'a StringArray),
    Dictionary { keys: &'a [i32], nulls: Option<&'a NullBuffer>, texts: &'a StringArray, table: usize },
}

/// A dictionary, and the numbers of its keys.
#[derive(Debug)]
struct Table {
    _dictionary: ArrayRef,
    codes: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::DictionaryArray;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn texts(chunk: &TextChunk) -> Vec<Option<String>> {
        let codes = chunk.codes().map_or(vec![NULL; chunk.rows()], <[u32]>::to_vec);
        let text = |code| String::from_utf8(chunk.value(code).to_vec()).unwrap();
        codes.into_iter().map(|code| (code != NULL).then(|| text(code))).collect()
    }

    #[test]
    fn texts_and_dictionaries_are_one_column() {
        let rows = [None, Some("b"), Some("a"), Some("a"), None, Some("b"), Some("")];
        let plain: ArrayRef = Arc::new(StringArray::from(rows.to_vec()));
        let dictionary: ArrayRef = Arc::new(rows.into_iter().collect::<DictionaryArray<Int32Type>>());
        let mut chunk = TextChunk::default();
        for column in [&plain, &dictionary, &dictionary.slice(2, 3), &plain.slice(4, 0)] {
            chunk.push(column).unwrap();
        }
        let expected: Vec<_> =
            rows.iter().chain(&rows).chain(&rows[2..5]).map(|text| text.map(str::to_owned)).collect();
        assert_eq!(texts(&chunk), expected);
        assert_eq!((chunk.distinct(), chunk.rows(), chunk.nulls()), (3, 17, 5));
        assert_eq!(chunk.bounds(), Some((&b""[..], &b"b"[..])));
        let plain_bytes: usize = expected.iter().flatten().map(|text| text.len() + 4).sum();
        assert_eq!(chunk.plain_bytes(), plain_bytes);
        chunk.clear();
        assert_eq!(chunk.bounds(), None);
    }

    #[test]
    fn picked_rows_are_as_pushed_ones() {
        let rows = [None, Some("b"), Some("a"), Some("a"), None, Some("c"), Some("")];
        let plain: ArrayRef = Arc::new(StringArray::from(rows.to_vec()));
        let keys = arrow::array::Int32Array::from(vec![Some(1), Some(0), None, Some(2), Some(2)]);
        let hidden = Arc::new(StringArray::from(vec![Some("b"), None, Some("d")]));
        let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, hidden));
        let pieces = [plain.slice(1, 6), dictionary.slice(1, 4), plain.slice(0, 0)];
        let places = [(1, 0), (0, 4), (0, 5), (1, 1), (0, 3), (1, 3), (0, 0), (1, 2)];
        let places = places.map(|(piece, row)| Place { piece, row });
        let mut chunk = TextChunk::default();
        chunk.push(&(Arc::new(StringArray::new_null(2)) as ArrayRef)).unwrap();
        assert_eq!(chunk.push_places(&pieces, &places).unwrap(), 2);
        let expected = [None, None, Some("b"), Some("c"), Some(""), None, None, Some("d"), Some("b"), Some("d")];
        assert_eq!(texts(&chunk), expected.map(|text| text.map(str::to_owned)));
        assert_eq!((chunk.distinct(), chunk.rows(), chunk.nulls(), chunk.plain_bytes()), (4, 10, 4, 6 * 4 + 5));

        let mut chunk = TextChunk::default();
        let none: ArrayRef = Arc::new(StringArray::new_null(5));
        assert_eq!(chunk.push_places(&[none], &[Place { piece: 0, row: 4 }]).unwrap(), 1);
        assert!(chunk.codes().is_none());
        let number: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
        assert!(chunk.push_places(&[number], &[Place { piece: 0, row: 0 }]).is_err());
    }

    proptest! {
        #[test]
        fn numbers_of_all_parts_say_the_same(
            pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(prop::option::of("[a-c]{0,2}"), 1..70)), 1..5),
            picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let pieces: Vec<ArrayRef> = pieces.iter().map(|(is_dictionary, rows)| -> ArrayRef {
                let rows = rows.iter().map(Option::as_deref);
                match is_dictionary {
                    true => Arc::new(rows.collect::<DictionaryArray<Int32Type>>()),
                    false => Arc::new(rows.collect::<StringArray>()),
                }
            }).collect();
            let starts: Vec<usize> = pieces.iter().scan(0, |next, piece| {
                *next += piece.len();
                Some(*next - piece.len())
            }).collect();
            let picks: Vec<(usize, usize)> = picks.iter().map(|(piece, row)| {
                let piece = piece.index(pieces.len());
                (piece, row.index(pieces[piece].len()))
            }).collect();
            let places: Vec<Place> =
                picks.iter().map(|(piece, row)| Place { piece: *piece as u32, row: *row as u32 }).collect();
            let ids = TextIds::new(pieces.clone()).unwrap();
            let mut all = Vec::new();
            ids.rows(&mut all);
            let numbers: Vec<u32> = picks.iter().map(|(piece, row)| all[starts[*piece] + row]).collect();
            let (mut by_place, mut by_number) = (TextChunk::default(), TextChunk::default());
            let cut = cut.index(picks.len());
            // Rows of the row group before are forgotten.
            by_place.push_places(&pieces, &places[..cut]).unwrap();
            by_number.push_ids(&ids, &numbers[..cut]);
            by_place.clear();
            by_number.clear();
            for range in [0..cut, cut..picks.len()] {
                let nulls = by_place.push_places(&pieces, &places[range.clone()]).unwrap();
                prop_assert_eq!(by_number.push_ids(&ids, &numbers[range]), nulls);
            }
            prop_assert_eq!(texts(&by_number), texts(&by_place));
            prop_assert_eq!(by_number.page(), by_place.page());
            let counts = |chunk: &TextChunk| (chunk.rows(), chunk.nulls(), chunk.distinct(), chunk.plain_bytes());
            prop_assert_eq!(counts(&by_number), counts(&by_place));
        }
    }

    #[test]
    fn nulls_in_front_take_no_room() {
        let none: ArrayRef = Arc::new(StringArray::new_null(5));
        let mut chunk = TextChunk::default();
        chunk.push(&none).unwrap();
        assert!(chunk.codes().is_none());
        chunk.push(&(Arc::new(StringArray::from(vec!["x"])) as _)).unwrap();
        assert_eq!(chunk.codes(), Some(&[NULL, NULL, NULL, NULL, NULL, 0][..]));
    }
}
