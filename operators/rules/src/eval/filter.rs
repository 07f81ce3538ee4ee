//! The loops: rows of a column that pass a test.

use super::bits::Bits;
use super::column::{FlagColumn, ListColumn, NumberColumn};
use super::text::{Memo, TextColumn, TextView};
use super::value::apply;
use crate::compile::{Map, NumberTest, TextTest};
use std::borrow::Cow;

/// Whether what some functions make of a text passes.
pub(super) fn passes(test: &TextTest, maps: &[Map], text: &[u8]) -> bool {
    let mut mapped = Cow::Borrowed(text);
    for map in maps {
        match apply(*map, &mapped) {
            Some(next) => mapped = Cow::Owned(next),
            None => return false,
        }
    }
    test.matches(&mapped)
}

/// Keeps the rows of which any item passes, or all do.
pub(super) fn texts(column: &ListColumn<TextColumn>, test: &TextTest, all: bool, rows: &mut Bits, memo: &mut Memo) {
    let mut item_passes = column.items.view().asker(memo, |text| test.matches(text));
    rows.retain(|row| {
        let mut items = column.range(row);
        if all { !items.is_empty() && items.all(&mut item_passes) } else { items.any(&mut item_passes) }
    });
}

/// Keeps the rows of which either value passes, or both do where both are there.
pub(super) fn text_pair([a, b]: [TextView<'_>; 2], test: &TextTest, all: bool, rows: &mut Bits, memo: &mut Memo) {
    let mut passing = |view: TextView<'_>| {
        let mut found = rows.clone();
        view.retain(&mut found, memo, |text| test.matches(text));
        found
    };
    let (of_a, of_b) = (passing(a), passing(b));
    if all {
        // A side that is there and does not pass spoils the row; one side must be there, and then passes.
        for (view, found) in [(a, &of_a), (b, &of_b)] {
            let mut spoiled = rows.clone();
            spoiled.minus(found);
            if let Some(valid) = view.valid {
                spoiled.and(valid);
            }
            rows.minus(&spoiled);
        }
    }
    let mut either = of_a;
    either.or(&of_b);
    rows.and(&either);
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
        (false, false) => rows.clear(),
    }
}
