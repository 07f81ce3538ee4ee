//! Text columns in the three forms in which they arrive: plain, as a dictionary, as views.
//!
//! What is slow to decide about a text is decided once per value of a dictionary, and once for equal views in a row; a
//! plain text is asked about row by row.

use super::bits::Bits;
use super::column::Valid;
use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use std::sync::Arc;

/// A column of one text per row.
#[derive(Clone, Debug)]
pub(crate) struct TextColumn {
    texts: Texts,
    valid: Valid,
}

#[derive(Clone, Debug)]
enum Texts {
    Plain { offsets: OffsetBuffer<i32>, data: Buffer },
    Coded { keys: ScalarBuffer<i32>, offsets: OffsetBuffer<i32>, data: Buffer },
    Views(BinaryViewArray),
}

/// Texts one behind the other: text `i` lies at `offsets[i]..offsets[i + 1]` of `data`.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) offsets: &'a [i32],
    pub(crate) data: &'a [u8],
}

impl<'a> Values<'a> {
    fn get(&self, index: usize) -> &'a [u8] {
        &self.data[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }
}

#[derive(Clone, Copy)]
enum Form<'a> {
    Plain(Values<'a>),
    Coded { keys: &'a [i32], values: Values<'a> },
    Views(&'a BinaryViewArray),
}

/// A text column as slices; the one form in which all of them are compared.
#[derive(Clone, Copy)]
pub(crate) struct TextView<'a> {
    form: Form<'a>,
    pub(crate) valid: Option<&'a Bits>,
}

/// Answers about values, by code: 0 not yet asked, else 1 + the answer. Kept from check to check to spare allocation.
#[derive(Debug, Default)]
pub(crate) struct Memo(Vec<u8>);

impl Memo {
    fn reset(&mut self, codes: usize) {
        self.0.clear();
        self.0.resize(codes, 0);
    }

    /// Answers about all of so many values.
    fn all(&mut self, codes: usize, test: impl Fn(usize) -> bool) -> &[u8] {
        self.0.clear();
        self.0.extend((0..codes).map(|code| u8::from(test(code))));
        &self.0
    }

    fn ask(&mut self, code: usize, test: impl FnOnce() -> bool) -> bool {
        let answer = &mut self.0[code];
        if *answer == 0 {
            *answer = 1 + u8::from(test());
        }
        *answer == 2
    }
}

impl<'a> TextView<'a> {
    /// Rows with codes into `values`.
    pub(crate) fn coded(keys: &'a [i32], values: Values<'a>, valid: &'a Bits) -> Self {
        Self { form: Form::Coded { keys, values }, valid: Some(valid) }
    }

    /// The text of a row, whether it has a value or not.
    fn at(&self, row: usize) -> &'a [u8] {
        match self.form {
            Form::Plain(values) => values.get(row),
            Form::Coded { keys, values } => values.get(keys[row] as usize),
            Form::Views(views) => views.value(row),
        }
    }

    /// The text of a row.
    pub(crate) fn get(&self, row: usize) -> Option<&'a [u8]> {
        self.has(row).then(|| self.at(row))
    }

    /// Says whether a row has a value.
    pub(crate) fn has(&self, row: usize) -> bool {
        self.valid.is_none_or(|valid| valid.contains(row))
    }

    /// A number that rows with the same value share; none where values are not told apart beforehand.
    pub(crate) fn code(&self, row: usize) -> Option<usize> {
        match self.form {
            Form::Coded { keys, .. } => Some(keys[row] as usize),
            Form::Plain(_) | Form::Views(_) => None,
        }
    }

    /// How many codes there are.
    pub(crate) fn codes(&self) -> usize {
        match self.form {
            Form::Coded { values, .. } => values.len(),
            Form::Plain(_) | Form::Views(_) => 0,
        }
    }

    /// Keeps the rows that have a text which passes.
    pub(crate) fn retain(&self, rows: &mut Bits, memo: &mut Memo, passes: impl Fn(&'a [u8]) -> bool) {
        if let Some(valid) = self.valid {
            rows.and(valid);
        }
        let asked = rows.count();
        match self.form {
            // Many rows: every value is asked about, in order, and rows look up what came of it.
            Form::Coded { keys, values } if asked >= values.len() && values.len() > 0 => {
                let answers = memo.all(values.len(), |code| passes(values.get(code)));
                rows.retain_dense(|row| answers[keys[row] as usize]);
            }
            // Few rows are quicker without a table of all values.
            Form::Coded { keys, values } if asked > values.len() / 16 => {
                memo.reset(values.len());
                rows.retain(|row| {
                    let code = keys[row] as usize;
                    memo.ask(code, || passes(values.get(code)))
                });
            }
            Form::Coded { keys, values } => rows.retain(|row| passes(values.get(keys[row] as usize))),
            Form::Plain(values) => rows.retain(|row| passes(values.get(row))),
            Form::Views(array) => {
                let views = array.views();
                let mut last = None;
                rows.retain(|row| match last {
                    Some((view, answer)) if view == views[row] => answer,
                    _ => {
                        let answer = passes(array.value(row));
                        last = Some((views[row], answer));
                        answer
                    }
                });
            }
        }
    }

    /// A question about single items, answered once per code where there are codes.
    pub(crate) fn asker<'m>(
        self,
        memo: &'m mut Memo,
        passes: impl Fn(&[u8]) -> bool + 'm,
    ) -> impl FnMut(usize) -> bool + 'm
    where
        'a: 'm,
    {
        memo.reset(self.codes());
        move |item| match self.code(item) {
            _ if !self.has(item) => false,
            Some(code) => memo.ask(code, || passes(self.at(item))),
            None => passes(self.at(item)),
        }
    }
}

impl TextColumn {
    pub(crate) fn new(array: &ArrayRef) -> Option<Self> {
        let valid = |array: &dyn Array| array.logical_nulls().map(|nulls| Arc::new(Bits::from_nulls(&nulls)));
        match array.data_type() {
            DataType::Utf8 | DataType::Binary => {
                let (offsets, data) = parts(array)?;
                Some(Self { texts: Texts::Plain { offsets, data }, valid: valid(array) })
            }
            DataType::Dictionary(key, value) if **key == DataType::Int32 && is_plain(value) => {
                let dictionary = array.as_dictionary::<Int32Type>();
                let (offsets, data) = parts(dictionary.values())?;
                let keys = dictionary.keys().values().clone();
                // A null may stand in the keys or among the values.
                Some(Self { texts: Texts::Coded { keys, offsets, data }, valid: valid(array) })
            }
            DataType::Dictionary(..) => {
                let as_keys = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
                Self::new(&cast(array, &as_keys).ok()?)
            }
            DataType::Utf8View => {
                let views = array.as_string_view().clone().to_binary_view();
                Some(Self { texts: Texts::Views(views), valid: valid(array) })
            }
            DataType::BinaryView => {
                Some(Self { texts: Texts::Views(array.as_binary_view().clone()), valid: valid(array) })
            }
            DataType::LargeBinary => Self::new(&cast(array, &DataType::Binary).ok()?),
            _ => Self::new(&cast(array, &DataType::Utf8).ok()?),
        }
    }

    pub(crate) fn view(&self) -> TextView<'_> {
        let form = match &self.texts {
            Texts::Plain { offsets, data } => Form::Plain(Values { offsets, data }),
            Texts::Coded { keys, offsets, data } => Form::Coded { keys, values: Values { offsets, data } },
            Texts::Views(views) => Form::Views(views),
        };
        TextView { form, valid: self.valid.as_deref() }
    }

    /// Says whether rows share codes.
    pub(crate) fn is_coded(&self) -> bool {
        matches!(self.texts, Texts::Coded { .. })
    }
}

fn is_plain(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Binary)
}

/// Offsets and bytes of a plain array.
fn parts(array: &ArrayRef) -> Option<(OffsetBuffer<i32>, Buffer)> {
    match array.data_type() {
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            Some((array.offsets().clone(), array.values().clone()))
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            Some((array.offsets().clone(), array.values().clone()))
        }
        _ => None,
    }
}
