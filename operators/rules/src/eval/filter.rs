//! The loops: rows of a column that pass a test.

use super::bits::Bits;
use super::column::{FlagColumn, ListColumn, NumberColumn, TextColumn, TextView};
use super::value::apply;
use crate::compile::{Map, NumberTest, TextTest};
use std::borrow::Cow;

/// Answers about values, by code: 0 not yet asked, else 1 + the answer. Kept from check to check to spare allocation.
#[derive(Debug, Default)]
pub(super) struct Memo(Vec<u8>);

impl Memo {
    fn reset(&mut self, codes: usize) {
        self.0.clear();
        self.0.resize(codes, 0);
    }

    fn ask(&mut self, code: usize, test: impl FnOnce() -> bool) -> bool {
        let answer = &mut self.0[code];
        if *answer == 0 {
            *answer = 1 + u8::from(test());
        }
        *answer == 2
    }
}

fn passes(test: &TextTest, maps: &[Map], text: &[u8]) -> bool {
    let mut mapped = Cow::Borrowed(text);
    for map in maps {
        match apply(*map, &mapped) {
            Some(next) => mapped = Cow::Owned(next),
            None => return false,
        }
    }
    test.matches(&mapped)
}

/// Keeps the rows whose text passes.
pub(super) fn text(view: TextView<'_>, test: &TextTest, maps: &[Map], rows: &mut Bits, memo: &mut Memo) {
    if let Some(valid) = view.valid {
        rows.and(valid);
    }
    let asked = rows.count();
    match view.keys {
        // Few rows are quicker without a table of all values.
        Some(keys) if asked > view.codes() / 16 => {
            memo.reset(view.codes());
            rows.retain(|row| {
                let code = keys[row] as usize;
                memo.ask(code, || passes(test, maps, view.value(code)))
            });
        }
        _ => rows.retain(|row| passes(test, maps, view.value(view.code(row)))),
    }
}

/// Keeps the rows of which any item passes, or all do.
pub(super) fn texts(column: &ListColumn<TextColumn>, test: &TextTest, all: bool, rows: &mut Bits, memo: &mut Memo) {
    let view = column.items.view();
    memo.reset(if view.keys.is_some() { view.codes() } else { 0 });
    let mut item_passes = |item: usize| {
        if view.valid.is_some_and(|valid| !valid.contains(item)) {
            return false;
        }
        let code = view.code(item);
        if view.keys.is_some() {
            memo.ask(code, || test.matches(view.value(code)))
        } else {
            test.matches(view.value(code))
        }
    };
    rows.retain(|row| {
        let mut items = column.range(row);
        if all { !items.is_empty() && items.all(&mut item_passes) } else { items.any(&mut item_passes) }
    });
}

/// Keeps the rows of which either value passes, or both do where both are there.
pub(super) fn text_pair(a: TextView<'_>, b: TextView<'_>, test: &TextTest, all: bool, rows: &mut Bits) {
    rows.retain(|row| {
        either(a.get(row).map(|text| test.matches(text)), b.get(row).map(|text| test.matches(text)), all)
    });
}

pub(super) fn number(column: &NumberColumn, test: &NumberTest, rows: &mut Bits) {
    if let Some(valid) = &column.valid {
        rows.and(valid);
    }
    rows.retain(|row| test.matches(column.values[row]));
}

pub(super) fn numbers(column: &ListColumn<NumberColumn>, test: &NumberTest, all: bool, rows: &mut Bits) {
    let item_passes = |item: usize| column.items.get(item).is_some_and(|number| test.matches(number));
    rows.retain(|row| {
        let mut items = column.range(row);
        if all { !items.is_empty() && items.all(item_passes) } else { items.any(item_passes) }
    });
}

pub(super) fn number_pair(a: &NumberColumn, b: &NumberColumn, test: &NumberTest, all: bool, rows: &mut Bits) {
    rows.retain(|row| {
        either(a.get(row).map(|number| test.matches(number)), b.get(row).map(|number| test.matches(number)), all)
    });
}

fn either(a: Option<bool>, b: Option<bool>, all: bool) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => {
            if all {
                a && b
            } else {
                a || b
            }
        }
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => false,
    }
}

pub(super) fn flag(column: &FlagColumn, passes_true: bool, passes_false: bool, rows: &mut Bits) {
    if let Some(valid) = &column.valid {
        rows.and(valid);
    }
    match (passes_true, passes_false) {
        (true, true) => {}
        (true, false) => rows.and(&column.is_true),
        (false, true) => rows.minus(&column.is_true),
        (false, false) => *rows = Bits::none(column.is_true.rows()),
    }
}
