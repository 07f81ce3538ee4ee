//! Text columns of a batch in the making: each distinct text once, rows as keys.

use super::sparse::Sparse;
use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Builder, ListArray, StringBuilder};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Int32Type};
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;
use std::hash::Hash;
use std::sync::Arc;

/// Key of a text in its column.
pub(crate) type Key = i32;

/// A dictionary column (Int32 keys, Utf8 values). Memory: the distinct texts of one batch twice, and 4 bytes a row.
#[derive(Debug, Default)]
pub(crate) struct TextColumn {
    index: FxHashMap<Arc<str>, Key>,
    values: StringBuilder,
    keys: Sparse<Int32Builder>,
    bytes: usize,
}

impl TextColumn {
    /// The key of a shared text.
    pub(crate) fn key(&mut self, text: &Arc<str>) -> Key {
        match self.index.get(text) {
            Some(key) => *key,
            None => self.add(text.clone()),
        }
    }

    /// The key of a text that is copied where it is new.
    pub(crate) fn key_of_str(&mut self, text: &str) -> Key {
        match self.index.get(text) {
            Some(key) => *key,
            None => self.add(text.into()),
        }
    }

    /// Says the text of `key` in a row; rows that are left out are null.
    pub(crate) fn put(&mut self, row: usize, key: Key) {
        self.keys.at(row).append_value(key);
    }

    /// Says a shared text in a row.
    pub(crate) fn put_text(&mut self, row: usize, text: &Arc<str>) {
        let key = self.key(text);
        self.put(row, key);
    }

    /// Bytes of the distinct texts.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The column of `rows` rows; the builder is empty afterwards.
    pub(crate) fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.index.clear();
        self.bytes = 0;
        let values = Arc::new(self.values.finish());
        let keys = self.keys.finish(rows);
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys.as_primitive().clone(), values)?))
    }

    fn add(&mut self, text: Arc<str>) -> Key {
        let key = self.index.len() as Key;
        self.values.append_value(&text);
        self.bytes += text.len();
        self.index.insert(text, key);
        key
    }
}

/// A column of lists of texts, the texts being a dictionary.
#[derive(Debug, Default)]
pub(crate) struct TextLists {
    items: TextColumn,
    lengths: Vec<usize>,
    count: usize,
    open: usize,
}

impl TextLists {
    /// Adds a shared text to the row that is open.
    pub(crate) fn push(&mut self, text: &Arc<str>) {
        let key = self.items.key(text);
        self.push_key(key);
    }

    /// Adds a text that is copied where it is new.
    pub(crate) fn push_str(&mut self, text: &str) {
        let key = self.items.key_of_str(text);
        self.push_key(key);
    }

    /// Ends the row.
    pub(crate) fn end_row(&mut self) {
        self.lengths.push(std::mem::take(&mut self.open));
    }

    /// Bytes of the distinct texts.
    pub(crate) fn bytes(&self) -> usize {
        self.items.bytes()
    }

    /// The column; the builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let items = self.items.finish(std::mem::take(&mut self.count))?;
        let offsets = OffsetBuffer::from_lengths(self.lengths.drain(..));
        let item = Arc::new(Field::new("item", items.data_type().clone(), false));
        Ok(Arc::new(ListArray::try_new(item, offsets, items, None)?))
    }

    fn push_key(&mut self, key: Key) {
        self.items.put(self.count, key);
        self.count += 1;
        self.open += 1;
    }
}

/// A [`TextColumn`] of few constant texts, found by address before they are hashed.
#[derive(Debug, Default)]
pub(crate) struct ConstColumn {
    column: TextColumn,
    known: Vec<(&'static str, Key)>,
    last: Option<(&'static str, Key)>,
}

impl ConstColumn {
    /// Says a text in a row; rows that are left out are null.
    pub(crate) fn put(&mut self, row: usize, text: &'static str) {
        let key = match self.last {
            Some((last, key)) if std::ptr::eq(last, text) => key,
            _ => self.find(text),
        };
        self.column.put(row, key);
    }

    pub(crate) fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.known.clear();
        self.last = None;
        self.column.finish(rows)
    }

    fn find(&mut self, text: &'static str) -> Key {
        let key = match self.known.iter().find(|(known, _)| std::ptr::eq(*known, text)) {
            Some((_, key)) => *key,
            None => {
                let key = self.column.key_of_str(text);
                self.known.push((text, key));
                key
            }
        };
        self.last = Some((text, key));
        key
    }
}

/// A [`TextColumn`] of texts made from values, each value's once. Bounded by the rows of the batch.
#[derive(Debug)]
pub(crate) struct MadeColumn<V> {
    column: TextColumn,
    keys: FxHashMap<V, Option<Key>>,
    scratch: String,
}

impl<V> Default for MadeColumn<V> {
    fn default() -> Self {
        Self { column: TextColumn::default(), keys: FxHashMap::default(), scratch: String::new() }
    }
}

impl<V: Copy + Eq + Hash> MadeColumn<V> {
    /// Says in a row what `write` makes of `value`; null where it says that there is no text.
    pub(crate) fn put(&mut self, row: usize, value: V, write: impl FnOnce(&mut String) -> bool) {
        let key = match self.keys.get(&value) {
            Some(key) => *key,
            None => {
                self.scratch.clear();
                let key = write(&mut self.scratch).then(|| self.column.key_of_str(&self.scratch));
                self.keys.insert(value, key);
                key
            }
        };
        if let Some(key) = key {
            self.column.put(row, key);
        }
    }

    /// Bytes of the distinct texts.
    pub(crate) fn bytes(&self) -> usize {
        self.column.bytes()
    }

    pub(crate) fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.keys.clear();
        self.column.finish(rows)
    }
}

/// A dictionary column that says `text` in every one of `rows`.
pub(crate) fn constant(text: &str, rows: usize) -> Result<ArrayRef, ArrowError> {
    let values = Arc::new(arrow::array::StringArray::from_iter_values([text]));
    let keys = arrow::array::Int32Array::from(vec![0; rows]);
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::compute::cast;
    use arrow::datatypes::DataType;

    fn texts(column: &ArrayRef) -> Vec<Option<String>> {
        let plain = cast(column, &DataType::Utf8).unwrap();
        plain.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    #[test]
    fn each_text_is_held_once() {
        let mut column = TextColumn::default();
        let shared: Arc<str> = "bash".into();
        column.put_text(0, &shared);
        for (row, text) in [(1, "bash"), (3, "")] {
            let key = column.key_of_str(text);
            column.put(row, key);
        }
        assert_eq!(column.bytes(), 4);
        let array = column.finish(4).unwrap();
        assert_eq!(array.as_dictionary::<Int32Type>().values().len(), 2);
        assert_eq!(texts(&array), [Some("bash".into()), Some("bash".into()), None, Some("".into())]);
        assert_eq!(column.finish(0).unwrap().len(), 0, "nothing is left over");
    }

    #[test]
    fn constants_are_found_by_address_and_by_text() {
        let mut column = ConstColumn::default();
        let copy: &'static str = String::from("openat").leak();
        for (row, text) in [(0, "openat"), (1, copy), (3, "openat")] {
            column.put(row, text);
        }
        let array = column.finish(4).unwrap();
        assert_eq!(array.as_dictionary::<Int32Type>().values().len(), 1);
        assert_eq!(texts(&array), [Some("openat".into()), Some("openat".into()), None, Some("openat".into())]);
        assert_eq!(texts(&constant("h", 2).unwrap()), [Some("h".into()), Some("h".into())]);
    }

    #[test]
    fn a_text_is_made_once_of_each_value() {
        let mut column = MadeColumn::<u64>::default();
        let mut made = 0;
        for (row, value) in [7, 0, 7, 8].into_iter().enumerate() {
            column.put(row, value, |text| {
                made += 1;
                *text = format!("#{value}");
                value > 0
            });
        }
        assert_eq!((made, column.bytes()), (3, 4));
        assert_eq!(
            texts(&column.finish(5).unwrap()),
            [Some("#7".into()), None, Some("#7".into()), Some("#8".into()), None]
        );
    }
}
