//! A batch as rules see it: a column per field that they use, made when it is first asked for.

use super::Events;
use super::bits::Bits;
use super::column::{Column, FlagColumn, ListColumn, NumberColumn, TextView};
use super::made::{Made, Maker, key};
use crate::fields::derive::{Derived, Form};
use crate::fields::document::{Document, Extracted};
use crate::fields::{FieldArg, FieldUse, Get, Kind};
use arrow::array::{ArrayRef, Int64Array, ListBuilder, StringBuilder};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A field of a batch.
#[derive(Debug)]
pub(crate) enum Slot<'a> {
    Column(Column),
    Made(Made<'a>),
}

/// The fields of a batch.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) events: Events<'a>,
    fields: &'a [FieldUse],
    slots: Vec<Option<Slot<'a>>>,
    base: FxHashMap<&'static str, Column>,
}

impl<'a> View<'a> {
    pub(crate) fn new(events: Events<'a>, fields: &'a [FieldUse]) -> Self {
        Self { events, fields, slots: fields.iter().map(|_| None).collect(), base: FxHashMap::default() }
    }

    pub(crate) fn rows(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn field(&self, slot: usize) -> &'a FieldUse {
        &self.fields[slot]
    }

    /// Makes sure that the values of `rows` are there.
    pub(crate) fn ensure(&mut self, slot: usize, rows: &Bits) {
        if self.slots[slot].is_none() {
            self.slots[slot] = Some(self.make(slot));
        }
        if let Some(Slot::Made(made)) = &mut self.slots[slot] {
            made.ensure(rows);
        }
    }

    /// The field after [`View::ensure`].
    pub(crate) fn slot(&self, slot: usize) -> &Slot<'a> {
        self.slots[slot].as_ref().expect("invariant: a field is made before it is read")
    }

    /// A column of the batch by its name; absent where there is none.
    pub(crate) fn base(&mut self, name: &'static str) -> Column {
        let Events::Batch(records) = self.events else { return Column::Absent };
        let read = || records.column_by_name(name).map_or(Column::Absent, Column::new);
        self.base.entry(name).or_insert_with(read).clone()
    }

    fn make(&mut self, slot: usize) -> Slot<'a> {
        let FieldUse { info, arg } = &self.fields[slot];
        let rows = self.rows();
        match info.get {
            Get::Nothing => Slot::Column(Column::Absent),
            Get::Column(name) => Slot::Column(fitting(self.base(name), info.kind)),
            Get::Derived(Derived::SourceName) => {
                Slot::Made(Made::new(Maker::Constant(self.events.source().name()), rows))
            }
            Get::Derived(derived) => self.derived(derived, arg),
            Get::Ancestors { list, own } => match (arg, self.base(list)) {
                (FieldArg::Index(0), _) => Slot::Column(self.base(own)),
                (FieldArg::Index(index), Column::Texts(list)) => {
                    Slot::Made(Made::new(Maker::Nth { list, index: index - 1 }, rows))
                }
                (FieldArg::Index(index), Column::Numbers(list)) => {
                    let nth = |row| list.nth(row, index - 1).and_then(|item| list.items.get(item));
                    Slot::Column(Column::Number(NumberColumn::from_fn(rows, nth)))
                }
                (_, list @ (Column::Texts(_) | Column::Numbers(_))) => Slot::Column(list),
                _ => Slot::Column(Column::Absent),
            },
            Get::MapColumn(name) => match (self.base(name), arg) {
                (Column::Map(map), FieldArg::Key(key)) => {
                    Slot::Made(Made::new(Maker::Key { map, key: key.clone() }, rows))
                }
                _ => Slot::Column(Column::Absent),
            },
            Get::Document(_) => self.document(slot),
        }
    }

    fn derived(&mut self, derived: Derived, arg: &FieldArg) -> Slot<'a> {
        let rows = self.rows();
        let inputs: Vec<Column> = derived.inputs().iter().map(|name| self.base(name)).collect();
        match derived.form() {
            Form::Text => Slot::Made(Made::new(Maker::Derived { derived, inputs, arg: arg.clone() }, rows)),
            Form::Number => {
                Slot::Column(Column::Number(NumberColumn::from_fn(rows, |row| derived.number(&inputs, row, arg))))
            }
            Form::Flag => Slot::Column(Column::Flag(flags(derived, &inputs, rows))),
            Form::TextPair => match <[Column; 2]>::try_from(inputs) {
                Ok([Column::Text(a), Column::Text(b)]) => Slot::Column(Column::TextPair(a, b)),
                Ok([Column::Text(one), _] | [_, Column::Text(one)]) => Slot::Column(Column::Text(one)),
                _ => Slot::Column(Column::Absent),
            },
            Form::NumberPair => match <[Column; 2]>::try_from(inputs) {
                Ok([Column::Number(a), Column::Number(b)]) => Slot::Column(Column::NumberPair(a, b)),
                Ok([Column::Number(one), _] | [_, Column::Number(one)]) => Slot::Column(Column::Number(one)),
                _ => Slot::Column(Column::Absent),
            },
        }
    }

    fn document(&self, slot: usize) -> Slot<'a> {
        let FieldUse { info, arg } = &self.fields[slot];
        let Events::Documents(_, documents) = self.events else { return Slot::Column(Column::Absent) };
        if !info.is_list && info.kind != Kind::Number {
            return Slot::Made(Made::new(Maker::Document { documents, info, arg: arg.clone() }, documents.len()));
        }
        let array = if info.is_list { lists(documents, info, arg) } else { numbers(documents, info, arg) };
        Slot::Column(Column::new(&array))
    }
}

/// A computed truth value, found once for rows whose deciding inputs are equal.
fn flags(derived: Derived, inputs: &[Column], rows: usize) -> FlagColumn {
    let mut known: FxHashMap<u64, Option<bool>> = FxHashMap::default();
    FlagColumn::from_fn(rows, |row| match key(derived, inputs, row) {
        Some(key) => *known.entry(key).or_insert_with(|| derived.flag(inputs, row)),
        None => derived.flag(inputs, row),
    })
}

/// A column of the type that the field needs; any other counts as absent.
fn fitting(column: Column, kind: Kind) -> Column {
    let fits = match &column {
        Column::Text(_) | Column::Texts(_) => matches!(kind, Kind::Text | Kind::Bytes | Kind::Address | Kind::Network),
        Column::Number(_) | Column::Numbers(_) => matches!(kind, Kind::Number | Kind::Port),
        Column::Flag(_) => kind == Kind::Flag,
        _ => false,
    };
    if fits { column } else { Column::Absent }
}

/// A list without values counts as no value.
fn lists(documents: &[Document], info: &'static crate::fields::FieldInfo, arg: &FieldArg) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for document in documents {
        match document.extract(info, arg) {
            Some(Extracted::Texts(texts)) if !texts.is_empty() => lists.append_value(texts.into_iter().map(Some)),
            _ => lists.append_null(),
        }
    }
    Arc::new(lists.finish())
}

fn numbers(documents: &[Document], info: &'static crate::fields::FieldInfo, arg: &FieldArg) -> ArrayRef {
    let number = |document: &Document| match document.extract(info, arg) {
        Some(Extracted::Number(number)) => Some(number),
        _ => None,
    };
    Arc::new(documents.iter().map(number).collect::<Int64Array>())
}

impl Slot<'_> {
    /// The one text per row, where the field has that.
    pub(crate) fn text(&self) -> Option<TextView<'_>> {
        match self {
            Self::Made(made) => Some(made.view()),
            Self::Column(Column::Text(column)) => Some(column.view()),
            Self::Column(_) => None,
        }
    }

    /// The rows of `rows` that have a value.
    pub(crate) fn existing(&self, rows: &Bits) -> Bits {
        let mut found = rows.clone();
        let mut keep = |valid: Option<&Bits>| {
            if let Some(valid) = valid {
                found.and(valid);
            }
        };
        match self {
            Self::Made(made) => keep(made.view().valid),
            Self::Column(Column::Text(column)) => keep(column.view().valid),
            Self::Column(Column::Number(column)) => keep(column.valid.as_deref()),
            Self::Column(Column::Flag(column)) => keep(column.valid.as_deref()),
            Self::Column(Column::Texts(column)) => found.retain(|row| is_there(column, row)),
            Self::Column(Column::Numbers(column)) => found.retain(|row| is_there(column, row)),
            Self::Column(Column::TextPair(a, b)) => {
                found.retain(|row| a.view().get(row).or(b.view().get(row)).is_some())
            }
            Self::Column(Column::NumberPair(a, b)) => found.retain(|row| a.get(row).or(b.get(row)).is_some()),
            Self::Column(Column::Map(_) | Column::Absent) => found.minus(rows),
        }
        found
    }
}

fn is_there<T>(column: &ListColumn<T>, row: usize) -> bool {
    !column.range(row).is_empty()
}
