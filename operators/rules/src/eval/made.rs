//! Text that is computed for the rows that are asked about, and kept.

use super::bits::Bits;
use super::column::{Column, ListColumn, MapItems};
use super::text::{TextColumn, TextView, Values};
use crate::fields::argument::map_value;
use crate::fields::derive::Derived;
use crate::fields::document::{Document, Extracted};
use crate::fields::{FieldArg, FieldInfo};
use rustc_hash::FxHashMap;

/// How a value is made.
#[derive(Debug)]
pub(crate) enum Maker<'a> {
    Derived {
        derived: Derived,
        inputs: Vec<Column>,
        arg: FieldArg,
    },
    /// The n-th item of a list.
    Nth {
        list: ListColumn<TextColumn>,
        index: usize,
    },
    /// The value of a key of a map.
    Key {
        map: ListColumn<MapItems>,
        key: String,
    },
    Document {
        documents: &'a [Document],
        info: &'static FieldInfo,
        arg: FieldArg,
    },
    /// The same for every row.
    Constant(&'static str),
}

/// A column of computed text. Rows that are not yet computed count as null.
#[derive(Debug)]
pub(crate) struct Made<'a> {
    maker: Maker<'a>,
    /// Made with the first value: most fields are asked about no row at all.
    codes: Vec<i32>,
    offsets: Vec<i32>,
    data: Vec<u8>,
    done: Bits,
    valid: Bits,
    /// Codes by the inputs that decide the value; -1 where they give none.
    known: FxHashMap<u64, i32>,
}

impl<'a> Made<'a> {
    pub(crate) fn new(maker: Maker<'a>, rows: usize) -> Self {
        Self {
            maker,
            codes: Vec::new(),
            offsets: vec![0],
            data: Vec::new(),
            done: Bits::none(rows),
            valid: Bits::none(rows),
            known: FxHashMap::default(),
        }
    }

    /// Computes the rows that are not yet.
    pub(crate) fn ensure(&mut self, rows: &Bits) {
        let mut open = rows.clone();
        open.minus(&self.done);
        if open.is_empty() {
            return;
        }
        self.codes.resize(self.done.rows(), 0);
        for row in open.iter() {
            let key = self.maker.key(row);
            let code = match key.and_then(|key| self.known.get(&key)) {
                Some(code) => *code,
                None => self.make(row, key),
            };
            if code >= 0 {
                self.codes[row] = code;
                self.valid.insert(row);
            }
        }
        self.done.or(&open);
    }

    fn make(&mut self, row: usize, key: Option<u64>) -> i32 {
        let before = self.data.len();
        let code = match self.maker.make(row, &mut self.data) {
            // Codes and offsets are 32 bits wide; a batch with more text than that has no value from there on.
            true if i32::try_from(self.data.len()).is_ok() => {
                self.offsets.push(self.data.len() as i32);
                self.offsets.len() as i32 - 2
            }
            _ => {
                self.data.truncate(before);
                -1
            }
        };
        self.known.extend(key.map(|key| (key, code)));
        code
    }

    pub(crate) fn view(&self) -> TextView<'_> {
        TextView::coded(&self.codes, Values { offsets: &self.offsets, data: &self.data }, &self.valid)
    }
}

impl Maker<'_> {
    /// A number that is equal for rows whose values are equal; none where it is not known beforehand.
    fn key(&self, row: usize) -> Option<u64> {
        match self {
            Self::Constant(_) => Some(0),
            Self::Derived { derived, inputs, .. } => key(*derived, inputs, row),
            Self::Nth { list, index } => list.items.view().code(list.nth(row, *index)?).map(|code| code as u64),
            _ => None,
        }
    }

    fn make(&self, row: usize, out: &mut Vec<u8>) -> bool {
        let found = match self {
            Self::Derived { derived, inputs, arg } => return derived.text(inputs, row, arg, out),
            Self::Nth { list, index } => list.nth(row, *index).and_then(|item| list.items.view().get(item)),
            Self::Key { map, key } => map_value(map, row, key),
            Self::Constant(text) => Some(text.as_bytes()),
            Self::Document { documents, info, arg } => {
                let found = documents.get(row).and_then(|document| document.extract(info, arg));
                if let Some(Extracted::Text(text)) = &found {
                    out.extend_from_slice(text.as_bytes());
                }
                return matches!(found, Some(Extracted::Text(_)));
            }
        };
        found.inspect(|text| out.extend_from_slice(text)).is_some()
    }
}

/// A number that is equal for rows whose deciding inputs are equal; none where those are not dictionaries.
fn key(derived: Derived, inputs: &[Column], row: usize) -> Option<u64> {
    if derived == Derived::ResultName {
        return inputs.first()?.number(row).map(|result| result as u64);
    }
    let deciding = inputs.get(..derived.deciding_inputs()).filter(|inputs| !inputs.is_empty())?;
    deciding.iter().try_fold(0, |key, input| Some(key << 21 | code(input, row)?))
}

/// The code of a row of a dictionary column plus one, 0 for null; none where codes are not shared by rows.
fn code(column: &Column, row: usize) -> Option<u64> {
    match column {
        Column::Absent => Some(0),
        Column::Text(column) if column.is_coded() => {
            let view = column.view();
            let code = if view.has(row) { view.code(row)? as u64 + 1 } else { 0 };
            (code < 1 << 21).then_some(code)
        }
        _ => None,
    }
}
