//! The texts of one column in one row group, gathered as numbers into the distinct ones.
//!
//! Most texts of telemetry repeat. Looking one up for each row is most of what encoding costs, so a dictionary's keys
//! are looked up once each, and bounds and bloom filters are made of the distinct texts.

use crate::align::is_text_dictionary;
use crate::gather::Place;
use crate::text_numbers::TextNumbers;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;

/// Where a row has no text.
pub(crate) const NULL: u32 = u32::MAX;
/// A key that no row had yet.
const UNSEEN: u32 = u32::MAX - 1;
/// Rows whose keys are picked before they are looked up: a processor waits for many of them at once, while there is
/// nothing to decide between them.
const PLACES_PER_BLOCK: usize = 1024;
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
    /// A number for each row; shorter than the rows where the first ones are all null.
    codes: Vec<u32>,
    rows: usize,
    nulls: usize,
    /// Bytes of all texts in plain encoding.
    plain_bytes: usize,
    /// The dictionary that came last, and the numbers of its keys.
    translated: Option<(ArrayRef, Vec<u32>)>,
}

impl TextChunk {
    /// Takes the next rows: texts, or a dictionary of them.
    ///
    /// # Errors
    /// Where `column` is neither.
    pub(crate) fn push(&mut self, column: &ArrayRef) -> Result<(), ArrowError> {
        let nulls = column.logical_null_count();
        if nulls == column.len() && self.codes.is_empty() {
            (self.rows, self.nulls) = (self.rows + nulls, self.nulls + nulls);
            return Ok(());
        }
        self.codes.resize(self.rows, NULL);
        (self.rows, self.nulls) = (self.rows + column.len(), self.nulls + nulls);
        match column.data_type() {
            DataType::Utf8 => self.push_texts(column.as_string()),
            other if is_text_dictionary(other) => self.push_dictionary(column),
            other => return Err(ArrowError::InvalidArgumentError(format!("a column of {other} is no text"))),
        }
        Ok(())
    }

    fn push_texts(&mut self, texts: &StringArray) {
        // Sorted rows repeat themselves.
        let mut last: Option<(&str, u32)> = None;
        for text in texts {
            let code = match (text, last) {
                (None, _) => NULL,
                (Some(text), Some((before, code))) if text == before => code,
                (Some(text), _) => {
                    let code = self.number(text);
                    last = Some((text, code));
                    code
                }
            };
            self.plain_bytes += text.map_or(0, |text| text.len() + LENGTH_BYTES);
            self.codes.push(code);
        }
    }

    fn push_dictionary(&mut self, column: &ArrayRef) {
        let dictionary = column.as_dictionary::<Int32Type>();
        let values = dictionary.values();
        let texts: &StringArray = values.as_string();
        let is_same = |before: &ArrayRef| before.len() == values.len() && before.to_data().ptr_eq(&values.to_data());
        let mut codes = match self.translated.take() {
            Some((before, codes)) if is_same(&before) => codes,
            _ => vec![NULL; texts.len()],
        };
        for key in dictionary.keys() {
            let text = key.map(|key| key as usize).filter(|key| texts.is_valid(*key));
            let Some(key) = text else {
                self.codes.push(NULL);
                continue;
            };
            if codes[key] == NULL {
                codes[key] = self.number(texts.value(key));
            }
            self.plain_bytes += self.lengths[codes[key] as usize] as usize + LENGTH_BYTES;
            self.codes.push(codes[key]);
        }
        self.translated = Some((values.clone(), codes));
    }

    /// Takes the rows at `places` of `pieces`: texts, or dictionaries of them. Returns how many are null.
    ///
    /// # Errors
    /// Where a piece is neither.
    pub(crate) fn push_places(&mut self, pieces: &[ArrayRef], places: &[Place]) -> Result<usize, ArrowError> {
        if self.codes.is_empty() && pieces.iter().all(|piece| piece.null_count() == piece.len()) {
            (self.rows, self.nulls) = (self.rows + places.len(), self.nulls + places.len());
            return Ok(places.len());
        }
        let keys: Vec<&[i32]> = pieces.iter().map(keys_of).collect();
        let mut pieces = pieces.iter().map(Piece::new).collect::<Result<Vec<_>, _>>()?;
        self.codes.resize(self.rows, NULL);
        self.codes.reserve(places.len());
        let before = self.codes.len();
        let mut keys_of_block = Vec::with_capacity(PLACES_PER_BLOCK);
        for block in places.chunks(PLACES_PER_BLOCK) {
            keys_of_block.clear();
            keys_of_block.extend(block.iter().map(|place| match keys[place.piece as usize] {
                [] => 0,
                keys => keys[place.row as usize],
            }));
            for (place, key) in block.iter().zip(&keys_of_block) {
                let code = self.code_of(&mut pieces[place.piece as usize], place.row as usize, *key as usize);
                self.codes.push(code);
            }
        }
        let mut nulls = 0;
        for code in &self.codes[before..] {
            match self.lengths.get(*code as usize) {
                Some(length) => self.plain_bytes += *length as usize + LENGTH_BYTES,
                None => nulls += 1,
            }
        }
        (self.rows, self.nulls) = (self.rows + places.len(), self.nulls + nulls);
        Ok(nulls)
    }

    /// The number of the text in `row` of `piece`, where a dictionary has `key`.
    fn code_of(&mut self, piece: &mut Piece<'_>, row: usize, key: usize) -> u32 {
        match piece {
            Piece::Texts(texts) => match texts.is_null(row) {
                true => NULL,
                false => self.number(texts.value(row)),
            },
            Piece::Dictionary { nulls, .. } if nulls.is_some_and(|nulls| nulls.is_null(row)) => NULL,
            Piece::Dictionary { texts, codes, .. } => {
                if codes[key] == UNSEEN {
                    codes[key] = if texts.is_null(key) { NULL } else { self.number(texts.value(key)) };
                }
                codes[key]
            }
        }
    }

    fn number(&mut self, text: &str) -> u32 {
        let Self { page, spans, lengths, numbers, .. } = self;
        numbers
            .number(text, |number| {
                let (start, end) = spans[number as usize];
                &page[start..end]
            })
            .unwrap_or_else(|number| {
                page.extend_from_slice(&(text.len() as u32).to_le_bytes());
                let start = page.len();
                page.extend_from_slice(text.as_bytes());
                spans.push((start, page.len()));
                lengths.push(text.len() as u32);
                number
            })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn nulls(&self) -> usize {
        self.nulls
    }

    /// The number of each row's text; none where all are null.
    pub(crate) fn codes(&self) -> Option<&[u32]> {
        (!self.codes.is_empty()).then_some(&self.codes)
    }

    pub(crate) fn distinct(&self) -> usize {
        self.spans.len()
    }

    /// The distinct texts in plain encoding.
    pub(crate) fn page(&self) -> &[u8] {
        &self.page
    }

    /// A text in plain encoding.
    pub(crate) fn plain(&self, code: u32) -> &[u8] {
        let (start, end) = self.spans[code as usize];
        &self.page[start - LENGTH_BYTES..end]
    }

    pub(crate) fn text(&self, code: u32) -> &[u8] {
        &self.plain(code)[LENGTH_BYTES..]
    }

    pub(crate) fn plain_bytes(&self) -> usize {
        self.plain_bytes
    }

    /// The least and the greatest text; none where all are null.
    pub(crate) fn bounds(&self) -> Option<(&[u8], &[u8])> {
        let mut texts = (0..self.spans.len() as u32).map(|code| self.text(code));
        let first = texts.next()?;
        Some(texts.fold((first, first), |(min, max), text| (min.min(text), max.max(text))))
    }

    /// Forgets the rows; keeps the room.
    pub(crate) fn clear(&mut self) {
        self.page.clear();
        self.spans.clear();
        self.lengths.clear();
        self.numbers.clear();
        self.codes.clear();
        (self.rows, self.nulls, self.plain_bytes, self.translated) = (0, 0, 0, None);
    }
}

/// The keys of a dictionary; nothing of any other column.
fn keys_of(column: &ArrayRef) -> &[i32] {
    column.as_dictionary_opt::<Int32Type>().map_or(&[], |dictionary| dictionary.keys().values())
}

/// One of the columns that rows are picked from.
enum Piece<'a> {
    Texts(&'a StringArray),
    Dictionary { nulls: Option<&'a NullBuffer>, texts: &'a StringArray, codes: Vec<u32> },
}

impl<'a> Piece<'a> {
    fn new(column: &'a ArrayRef) -> Result<Self, ArrowError> {
        match column.data_type() {
            DataType::Utf8 => Ok(Self::Texts(column.as_string())),
            other if is_text_dictionary(other) => {
                let dictionary = column.as_dictionary::<Int32Type>();
                let texts: &StringArray = dictionary.values().as_string();
                Ok(Self::Dictionary {
                    nulls: dictionary.keys().nulls().filter(|nulls| nulls.null_count() > 0),
                    codes: vec![UNSEEN; texts.len()],
                    texts,
                })
            }
            other => Err(ArrowError::InvalidArgumentError(format!("a column of {other} is no text"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::DictionaryArray;
    use std::sync::Arc;

    fn texts(chunk: &TextChunk) -> Vec<Option<String>> {
        let codes = chunk.codes().map_or(vec![NULL; chunk.rows()], <[u32]>::to_vec);
        let text = |code| String::from_utf8(chunk.text(code).to_vec()).unwrap();
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
