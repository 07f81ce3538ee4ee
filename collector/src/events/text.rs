//! Text columns of a batch in the making: each distinct text once, rows as keys.

use arrow::array::{Array, ArrayRef, DictionaryArray, Int32Builder, ListArray, StringBuilder};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Int32Type};
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Key of a text in its column; negative for null.
pub(crate) type Key = i32;

/// The key of a row without the text.
pub(crate) const NULL: Key = -1;

/// A dictionary column (Int32 keys, Utf8 values). Memory: the distinct texts of one batch twice, and 4 bytes a row.
#[derive(Debug, Default)]
pub(crate) struct TextColumn {
    index: FxHashMap<Arc<str>, Key>,
    values: StringBuilder,
    keys: Int32Builder,
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

    /// The key of a text that may be missing.
    pub(crate) fn key_opt(&mut self, text: Option<&Arc<str>>) -> Key {
        text.map_or(NULL, |text| self.key(text))
    }

    /// The key of a text that is copied where it is new.
    pub(crate) fn key_of_str(&mut self, text: &str) -> Key {
        match self.index.get(text) {
            Some(key) => *key,
            None => self.add(text.into()),
        }
    }

    /// Appends a row.
    pub(crate) fn push(&mut self, key: Key) {
        if key >= 0 {
            self.keys.append_value(key);
        } else {
            self.keys.append_null();
        }
    }

    /// Bytes of the distinct texts.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The column; the builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.index.clear();
        self.bytes = 0;
        let values = Arc::new(self.values.finish());
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(self.keys.finish(), values)?))
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
    open: usize,
}

impl TextLists {
    /// Adds a shared text to the row that is open.
    pub(crate) fn push(&mut self, text: &Arc<str>) {
        let key = self.items.key(text);
        self.items.push(key);
        self.open += 1;
    }

    /// Adds a text that is copied where it is new.
    pub(crate) fn push_str(&mut self, text: &str) {
        let key = self.items.key_of_str(text);
        self.items.push(key);
        self.open += 1;
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
        let items = self.items.finish()?;
        let offsets = OffsetBuffer::from_lengths(self.lengths.drain(..));
        let item = Arc::new(Field::new("item", items.data_type().clone(), false));
        Ok(Arc::new(ListArray::try_new(item, offsets, items, None)?))
    }
}

/// A [`TextColumn`] of few constant texts, found by address before they are hashed.
#[derive(Debug, Default)]
pub(crate) struct ConstColumn {
    column: TextColumn,
    known: Vec<(&'static str, Key)>,
}

impl ConstColumn {
    pub(crate) fn push(&mut self, text: Option<&'static str>) {
        let key = match text {
            None => NULL,
            Some(text) => match self.known.iter().find(|(known, _)| std::ptr::eq(*known, text)) {
                Some((_, key)) => *key,
                None => {
                    let key = self.column.key_of_str(text);
                    self.known.push((text, key));
                    key
                }
            },
        };
        self.column.push(key);
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.known.clear();
        self.column.finish()
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
        for key in [column.key(&shared), column.key_of_str("bash"), column.key_opt(None), column.key_of_str("")] {
            column.push(key);
        }
        assert_eq!(column.bytes(), 4);
        let array = column.finish().unwrap();
        assert_eq!(array.as_dictionary::<Int32Type>().values().len(), 2);
        assert_eq!(texts(&array), [Some("bash".into()), Some("bash".into()), None, Some("".into())]);
        assert_eq!(column.finish().unwrap().len(), 0, "nothing is left over");
    }

    #[test]
    fn constants_are_found_by_address_and_by_text() {
        let mut column = ConstColumn::default();
        let copy: &'static str = String::from("openat").leak();
        for text in [Some("openat"), Some(copy), None, Some("openat")] {
            column.push(text);
        }
        let array = column.finish().unwrap();
        assert_eq!(array.as_dictionary::<Int32Type>().values().len(), 1);
        assert_eq!(texts(&array), [Some("openat".into()), Some("openat".into()), None, Some("openat".into())]);
        assert_eq!(texts(&constant("h", 2).unwrap()), [Some("h".into()), Some("h".into())]);
    }
}
