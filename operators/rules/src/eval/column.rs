//! Columns as the evaluator reads them: slices and bitmaps instead of Arrow arrays.

use super::bits::Bits;
use super::text::TextColumn;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use std::sync::Arc;

/// Rows that have a value; none where all have.
pub(crate) type Valid = Option<Arc<Bits>>;

/// A column of one number per row.
#[derive(Clone, Debug)]
pub(crate) struct NumberColumn {
    pub(crate) values: ScalarBuffer<i64>,
    pub(crate) valid: Valid,
}

impl NumberColumn {
    fn new(array: &ArrayRef) -> Option<Self> {
        let array = cast(array, &DataType::Int64).ok()?;
        let (_, values, nulls) = array.as_primitive::<Int64Type>().clone().into_parts();
        Some(Self { values, valid: nulls.map(|nulls| Arc::new(Bits::from_nulls(&nulls))) })
    }

    pub(crate) fn from_fn(rows: usize, value: impl Fn(usize) -> Option<i64>) -> Self {
        let mut valid = Bits::none(rows);
        let mut values = vec![0; rows];
        for (row, slot) in values.iter_mut().enumerate() {
            if let Some(value) = value(row) {
                *slot = value;
                valid.insert(row);
            }
        }
        Self { values: values.into(), valid: Some(Arc::new(valid)) }
    }

    pub(crate) fn get(&self, row: usize) -> Option<i64> {
        self.valid.as_ref().is_none_or(|valid| valid.contains(row)).then(|| self.values[row])
    }
}

/// A column of one truth value per row.
#[derive(Clone, Debug)]
pub(crate) struct FlagColumn {
    pub(crate) is_true: Arc<Bits>,
    pub(crate) valid: Valid,
}

impl FlagColumn {
    fn new(array: &ArrayRef) -> Option<Self> {
        let array = array.as_boolean_opt()?;
        let is_true = Bits::from_buffer(array.values());
        Some(Self { is_true: Arc::new(is_true), valid: array.nulls().map(|nulls| Arc::new(Bits::from_nulls(nulls))) })
    }

    pub(crate) fn from_fn(rows: usize, mut value: impl FnMut(usize) -> Option<bool>) -> Self {
        let (mut is_true, mut valid) = (Bits::none(rows), Bits::none(rows));
        for row in 0..rows {
            let Some(value) = value(row) else { continue };
            valid.insert(row);
            if value {
                is_true.insert(row);
            }
        }
        Self { is_true: Arc::new(is_true), valid: Some(Arc::new(valid)) }
    }

    pub(crate) fn get(&self, row: usize) -> Option<bool> {
        self.valid.as_ref().is_none_or(|valid| valid.contains(row)).then(|| self.is_true.contains(row))
    }
}

/// A column of several values per row: `items` of row `r` lie at `offsets[r]..offsets[r + 1]`. A row without items
/// has no value.
#[derive(Clone, Debug)]
pub(crate) struct ListColumn<T> {
    pub(crate) offsets: OffsetBuffer<i32>,
    pub(crate) items: T,
    pub(crate) valid: Valid,
}

impl<T> ListColumn<T> {
    fn new(array: &ArrayRef, items: impl Fn(&ArrayRef) -> Option<T>) -> Option<Self> {
        let list = array.as_list_opt::<i32>()?;
        let valid = list.nulls().map(|nulls| Arc::new(Bits::from_nulls(nulls)));
        Some(Self { offsets: list.offsets().clone(), items: items(list.values())?, valid })
    }

    /// The items of a row; empty where it has no value.
    pub(crate) fn range(&self, row: usize) -> std::ops::Range<usize> {
        if self.valid.as_ref().is_some_and(|valid| !valid.contains(row)) {
            return 0..0;
        }
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }

    /// The item at `index` of a row.
    pub(crate) fn nth(&self, row: usize, index: usize) -> Option<usize> {
        let range = self.range(row);
        (index < range.len()).then(|| range.start + index)
    }
}

/// The entries of a map column.
#[derive(Clone, Debug)]
pub(crate) struct MapItems {
    pub(crate) keys: TextColumn,
    pub(crate) values: TextColumn,
}

impl ListColumn<MapItems> {
    fn of_map(array: &ArrayRef) -> Option<Self> {
        let map = array.as_map_opt()?;
        let valid = map.nulls().map(|nulls| Arc::new(Bits::from_nulls(nulls)));
        let items = MapItems { keys: TextColumn::new(map.keys())?, values: TextColumn::new(map.values())? };
        Some(Self { offsets: map.offsets().clone(), items, valid })
    }
}

/// Any column of a batch that rules read.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    /// No row has a value.
    Absent,
    Text(TextColumn),
    Number(NumberColumn),
    Flag(FlagColumn),
    Texts(ListColumn<TextColumn>),
    Numbers(ListColumn<NumberColumn>),
    Map(ListColumn<MapItems>),
    /// Two columns of which either may match: both ends of a connection.
    TextPair(TextColumn, TextColumn),
    NumberPair(NumberColumn, NumberColumn),
}

impl Column {
    /// Reads an Arrow column; a type that no field has counts as absent.
    pub(crate) fn new(array: &ArrayRef) -> Self {
        let column = match array.data_type() {
            DataType::Boolean => FlagColumn::new(array).map(Self::Flag),
            DataType::List(item) if item.data_type().is_integer() => {
                ListColumn::new(array, NumberColumn::new).map(Self::Numbers)
            }
            DataType::List(_) => ListColumn::new(array, TextColumn::new).map(Self::Texts),
            DataType::Map(..) => ListColumn::of_map(array).map(Self::Map),
            DataType::Timestamp(..) => NumberColumn::new(array).map(Self::Number),
            integer if integer.is_integer() => NumberColumn::new(array).map(Self::Number),
            _ => TextColumn::new(array).map(Self::Text),
        };
        column.unwrap_or(Self::Absent)
    }

    /// The text of a row of a text column.
    pub(crate) fn text(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Text(column) => column.view().get(row),
            _ => None,
        }
    }

    /// The number of a row of a number column.
    pub(crate) fn number(&self, row: usize) -> Option<i64> {
        match self {
            Self::Number(column) => column.get(row),
            _ => None,
        }
    }

    /// The truth value of a row of a flag column.
    pub(crate) fn flag(&self, row: usize) -> Option<bool> {
        match self {
            Self::Flag(column) => column.get(row),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BooleanArray, DictionaryArray, Int32Array, ListArray, StringArray, StringViewArray};
    use arrow::datatypes::Int32Type;

    fn texts(array: ArrayRef) -> Vec<Option<String>> {
        let column = Column::new(&array);
        (0..array.len()).map(|row| column.text(row).map(|text| String::from_utf8_lossy(text).into_owned())).collect()
    }

    #[test]
    fn every_text_form_reads_alike() {
        let rows = vec![Some("a"), None, Some("b"), Some("a"), Some("")];
        let expected: Vec<Option<String>> = rows.iter().map(|row| row.map(str::to_owned)).collect();
        let plain: ArrayRef = Arc::new(StringArray::from(rows.clone()));
        let dictionary: ArrayRef = Arc::new(rows.clone().into_iter().collect::<DictionaryArray<Int32Type>>());
        let view: ArrayRef = Arc::new(StringViewArray::from(rows));
        let bytes = cast(&plain, &DataType::BinaryView).unwrap();
        for array in [plain, dictionary, view, bytes] {
            assert_eq!(texts(array.clone()), expected);
            assert_eq!(texts(array.slice(1, 3)), expected[1..4]);
            assert_eq!(texts(array.slice(0, 0)), expected[..0]);
        }
    }

    #[test]
    fn a_null_among_dictionary_values_is_null() {
        let values = Arc::new(StringArray::from(vec![None, Some("x")]));
        let array = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![Some(0), Some(1), None]), values);
        assert_eq!(texts(Arc::new(array)), [None, Some("x".to_owned()), None]);
    }

    #[test]
    fn numbers_flags_and_lists() {
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(-1), None, Some(7)]));
        let column = Column::new(&numbers.slice(1, 2));
        assert_eq!([column.number(0), column.number(1)], [None, Some(7)]);
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
        let column = Column::new(&flags.slice(1, 2));
        assert_eq!([column.flag(0), column.flag(1)], [None, Some(false)]);
        let lists =
            ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(2)]), None, Some(vec![])]);
        let Column::Numbers(column) = Column::new(&(Arc::new(lists) as ArrayRef)) else { panic!("no list") };
        assert_eq!([column.range(0), column.range(1), column.range(2)], [0..2, 0..0, 2..2]);
        assert_eq!(column.nth(0, 1).map(|item| column.items.values[item]), Some(2));
        let float: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.5]));
        assert_eq!(Column::new(&float).text(0), Some(&b"1.5"[..]));
    }
}
