//! Values of one row: for outputs, and for what cannot be decided column by column.

use super::batch::{Slot, View};
use super::bits::Bits;
use super::column::Column;
use super::getopt::getopt;
use crate::compile::{Map, Operand, is_ordered};
use crate::syntax::Op;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Val<'a> {
    Text(Cow<'a, [u8]>),
    Number(i64),
    Flag(bool),
    List(Vec<Val<'a>>),
}

/// Makes sure that the fields of an operand are there for `rows`.
pub(crate) fn ensure(view: &mut View<'_>, operand: &Operand, rows: &Bits) {
    match operand {
        Operand::Field(slot) | Operand::Mapped(slot, _) => view.ensure(*slot, rows),
        Operand::Text(_) => {}
        Operand::List(items) | Operand::Concat(items) => items.iter().for_each(|item| ensure(view, item, rows)),
        Operand::Map(_, arg) | Operand::Len(arg) => ensure(view, arg, rows),
        Operand::Join(a, b) | Operand::GetOpt { args: a, options: b, .. } => {
            ensure(view, a, rows);
            ensure(view, b, rows);
        }
    }
}

/// The value of an operand in a row, after [`ensure`].
pub(crate) fn of<'v>(view: &'v View<'_>, operand: &'v Operand, row: usize) -> Option<Val<'v>> {
    match operand {
        Operand::Field(slot) => field(view, *slot, row),
        Operand::Mapped(slot, maps) => {
            let value = field(view, *slot, row)?;
            maps.iter().try_fold(value, |value, map| map_value(*map, value))
        }
        Operand::Text(text) => Some(Val::Text(Cow::Borrowed(text))),
        Operand::List(items) => items.iter().map(|item| of(view, item, row)).collect::<Option<_>>().map(Val::List),
        Operand::Map(map, arg) => map_value(*map, of(view, arg, row)?),
        Operand::Len(arg) => Some(Val::Number(match of(view, arg, row)? {
            Val::Text(text) => text.len() as i64,
            Val::List(items) => items.len() as i64,
            _ => return None,
        })),
        Operand::Join(separator, list) => {
            let (Val::Text(separator), Val::List(items)) = (of(view, separator, row)?, of(view, list, row)?) else {
                return None;
            };
            let texts: Option<Vec<_>> = items.iter().map(as_text).collect();
            Some(Val::Text(Cow::Owned(texts?.join(&*separator))))
        }
        Operand::Concat(items) => {
            let texts: Option<Vec<_>> =
                items.iter().map(|item| of(view, item, row).as_ref().and_then(as_text)).collect();
            Some(Val::Text(Cow::Owned(texts?.concat())))
        }
        Operand::GetOpt { args, options, selector } => {
            let (Val::List(args), Val::Text(options)) = (of(view, args, row)?, of(view, options, row)?) else {
                return None;
            };
            let args: Option<Vec<Vec<u8>>> = args.iter().map(as_text).collect();
            getopt(&args?, &options, *selector)
        }
    }
}

fn as_text(value: &Val<'_>) -> Option<Vec<u8>> {
    match value {
        Val::Text(text) => Some(text.to_vec()),
        Val::Number(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

fn field<'v>(view: &'v View<'_>, slot: usize, row: usize) -> Option<Val<'v>> {
    let values = view.slot(slot);
    if let Some(text) = values.text(row) {
        return Some(Val::Text(text));
    }
    match values {
        Slot::Column(Column::Number(column)) => column.get(row).map(Val::Number),
        Slot::Column(Column::Flag(column)) => column.get(row).map(Val::Flag),
        Slot::Column(Column::Texts(column)) => {
            let items = column.items.view();
            let all: Vec<_> = column
                .range(row)
                .filter_map(|item| items.get(item))
                .map(|text| Val::Text(Cow::Borrowed(text)))
                .collect();
            (!all.is_empty()).then_some(Val::List(all))
        }
        Slot::Column(Column::Numbers(column)) => {
            let all: Vec<_> = column.range(row).filter_map(|item| column.items.get(item)).map(Val::Number).collect();
            (!all.is_empty()).then_some(Val::List(all))
        }
        _ => None,
    }
}

fn map_value(map: Map, value: Val<'_>) -> Option<Val<'_>> {
    match value {
        Val::Text(text) => apply(map, &text).map(|text| Val::Text(Cow::Owned(text))),
        Val::List(items) => items.into_iter().map(|item| map_value(map, item)).collect::<Option<_>>().map(Val::List),
        _ => None,
    }
}

/// Base64 with or without padding; what is decoded need not use up its last bits.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Applies a function to a text; none where it has no value, as with broken base64.
pub(crate) fn apply(map: Map, text: &[u8]) -> Option<Vec<u8>> {
    match map {
        Map::ToLower => Some(text.to_ascii_lowercase()),
        Map::ToUpper => Some(text.to_ascii_uppercase()),
        Map::Basename => Some(text.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec()),
        Map::B64 => BASE64.decode(text).ok(),
    }
}

/// Compares two fields of the same type.
pub(crate) fn compare(op: Op, left: &Val<'_>, right: &Val<'_>) -> bool {
    match (left, right) {
        (Val::List(left), Val::List(right)) => match op {
            Op::In => left.iter().all(|item| right.contains(item)),
            Op::Intersects => left.iter().any(|item| right.contains(item)),
            _ => false,
        },
        (Val::Number(left), Val::Number(right)) => is_ordered(op, left.cmp(right)),
        (Val::Flag(left), Val::Flag(right)) => (left == right) != (op == Op::Ne),
        (Val::Text(left), Val::Text(right)) => compare_text(op, left, right),
        _ => false,
    }
}

fn compare_text(op: Op, left: &[u8], right: &[u8]) -> bool {
    let contains = |left: &[u8], right: &[u8]| memchr::memmem::find(left, right).is_some();
    match op {
        Op::Contains | Op::Bcontains => contains(left, right),
        Op::Icontains => contains(&left.to_ascii_lowercase(), &right.to_ascii_lowercase()),
        Op::StartsWith | Op::BstartsWith => left.starts_with(right),
        Op::EndsWith => left.ends_with(right),
        Op::Glob => crate::compile::Glob::new(right, false).matches(left),
        Op::Iglob => crate::compile::Glob::new(right, true).matches(left),
        _ => is_ordered(op, left.cmp(right)),
    }
}
