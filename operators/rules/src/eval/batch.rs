//! A batch as rules see it: a column per field that they use, made when it is first asked for.

use super::Events;
use super::bits::Bits;
use super::column::{Column, FlagColumn, ListColumn, NumberColumn};
use super::made::{Made, Maker};
use super::pieces::Pieces;
use super::text::Memo;
use super::types::Types;
use crate::fields::derive::{Derived, Form};
use crate::fields::document::{Document, Extracted};
use crate::fields::{FieldArg, FieldUse, Get, Kind};
use crate::load::Source;
use arrow::array::{ArrayRef, Int64Array, ListBuilder, StringBuilder};
use bodkin_schema::events::EVT_TYPE;
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::sync::Arc;

/// A field of a batch.
#[derive(Debug)]
pub(crate) enum Slot<'a> {
    Column(Column),
    Made(Made<'a>),
    Pieces(Pieces<'a>),
}

/// The fields of a batch.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) events: Events<'a>,
    fields: &'a [FieldUse],
    slots: Vec<Option<Slot<'a>>>,
    base: FxHashMap<&'static str, Column>,
    types: Option<Types>,
}

impl<'a> View<'a> {
    pub(crate) fn new(events: Events<'a>, fields: &'a [FieldUse]) -> Self {
        let slots = fields.iter().map(|_| None).collect();
        let mut view = Self { events, fields, slots, base: FxHashMap::default(), types: None };
        if events.source() == Source::Syscall {
            view.types = Some(Types::new(&view.base(EVT_TYPE), events.len()));
        }
        view
    }

    /// The rows by event type; none for sources without types.
    pub(crate) fn types(&self) -> Option<&Types> {
        self.types.as_ref()
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
        match &mut self.slots[slot] {
            Some(Slot::Made(made)) => made.ensure(rows),
            Some(Slot::Pieces(pieces)) => pieces.ensure(rows),
            _ => {}
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
            Form::Text => {
                let pieces = self.types().and_then(|types| derived.pieces(&inputs, arg, types));
                let make = |inputs| Made::new(Maker::Derived { derived, inputs, arg: arg.clone() }, rows);
                match pieces {
                    Some((pieces, true)) => Slot::Pieces(Pieces::new(pieces, None)),
                    Some((pieces, false)) => Slot::Pieces(Pieces::new(pieces, Some(make(inputs)))),
                    None => Slot::Made(make(inputs)),
                }
            }
            Form::Number => {
                let of_columns = self.types().and_then(|types| derived.numbers(&inputs, types));
                Slot::Column(Column::Number(
                    of_columns.unwrap_or_else(|| NumberColumn::from_fn(rows, |row| derived.number(&inputs, row, arg))),
                ))
            }
            Form::Flag => {
                let of_types = self.types().and_then(|types| derived.flags(&inputs, types));
                Slot::Column(Column::Flag(
                    of_types.unwrap_or_else(|| FlagColumn::from_fn(rows, |row| derived.flag(&inputs, row))),
                ))
            }
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
    /// The text of a row, where the field has one text per row.
    pub(crate) fn text(&self, row: usize) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Made(made) => made.view().get(row).map(Cow::Borrowed),
            Self::Pieces(pieces) => pieces.get(row),
            Self::Column(Column::Text(column)) => column.view().get(row).map(Cow::Borrowed),
            Self::Column(_) => None,
        }
    }

    /// Keeps the rows that have one text, and one that passes.
    pub(crate) fn retain(&self, rows: &mut Bits, memo: &mut Memo, passes: impl Fn(&[u8]) -> bool) {
        match self {
            Self::Made(made) => made.view().retain(rows, memo, passes),
            Self::Pieces(pieces) => pieces.retain(rows, memo, passes),
            Self::Column(Column::Text(column)) => column.view().retain(rows, memo, passes),
            Self::Column(_) => rows.clear(),
        }
    }

    /// Keeps the rows that have a value.
    pub(crate) fn keep_existing(&self, rows: &mut Bits, memo: &mut Memo) {
        let mut keep = |valid: Option<&Bits>| {
            if let Some(valid) = valid {
                rows.and(valid);
            }
        };
        match self {
            Self::Made(made) => keep(made.view().valid),
            Self::Pieces(pieces) => pieces.retain(rows, memo, |_| true),
            Self::Column(Column::Text(column)) => keep(column.view().valid),
            Self::Column(Column::Number(column)) => keep(column.valid.as_deref()),
            Self::Column(Column::Flag(column)) => keep(column.valid.as_deref()),
            Self::Column(Column::Texts(column)) => rows.retain(|row| is_there(column, row)),
            Self::Column(Column::Numbers(column)) => rows.retain(|row| is_there(column, row)),
            Self::Column(Column::TextPair(a, b)) => rows.retain(|row| a.view().has(row) || b.view().has(row)),
            Self::Column(Column::NumberPair(a, b)) => rows.retain(|row| a.get(row).or(b.get(row)).is_some()),
            Self::Column(Column::Map(_) | Column::Absent) => rows.clear(),
        }
    }
}

fn is_there<T>(column: &ListColumn<T>, row: usize) -> bool {
    !column.range(row).is_empty()
}
