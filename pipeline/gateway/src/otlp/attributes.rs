//! Attributes: keys with values of any kind, as labels.

use super::names;
use crate::wire::{Reader, WireError};

/// Depth of lists and maps in a value; what is deeper is left out.
const DEPTH_MAX: usize = 8;

/// Appends the attribute in `message` as a label.
pub(super) fn read(mut message: Reader<'_>, into: &mut Vec<(String, String)>) -> Result<(), WireError> {
    let (mut key, mut value) = ("", None);
    while let Some(field) = message.field()? {
        match field.number {
            1 => key = field.text()?,
            2 => value = Some(field.message()?),
            _ => {}
        }
    }
    let mut text = String::new();
    if let Some(value) = value {
        any_value(value, &mut text, false, 0)?;
    }
    into.push((key.to_owned(), text));
    Ok(())
}

/// A value as text: texts as they are, lists and maps as JSON.
fn any_value(mut message: Reader<'_>, out: &mut String, is_inner: bool, depth: usize) -> Result<(), WireError> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    while let Some(field) = message.field()? {
        match field.number {
            1 if is_inner => out.push_str(&quote(field.text()?)),
            1 => out.push_str(field.text()?),
            2 => out.push_str(if field.varint()? != 0 { "true" } else { "false" }),
            3 => out.push_str(&field.int64()?.to_string()),
            4 => out.push_str(&field.double()?.to_string()),
            5 => list(field.message()?, out, depth)?,
            6 => map(field.message()?, out, depth)?,
            7 => field.bytes()?.iter().for_each(|byte| out.push_str(&format!("{byte:02x}"))),
            _ => {}
        }
    }
    Ok(())
}

fn list(mut message: Reader<'_>, out: &mut String, depth: usize) -> Result<(), WireError> {
    out.push('[');
    let mut is_first = true;
    while let Some(field) = message.field()? {
        if field.number == 1 {
            if !std::mem::take(&mut is_first) {
                out.push(',');
            }
            any_value(field.message()?, out, true, depth + 1)?;
        }
    }
    out.push(']');
    Ok(())
}

fn map(mut message: Reader<'_>, out: &mut String, depth: usize) -> Result<(), WireError> {
    out.push('{');
    let mut is_first = true;
    while let Some(field) = message.field()? {
        if field.number != 1 {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(',');
        }
        let mut pair = field.message()?;
        while let Some(part) = pair.field()? {
            match part.number {
                1 => {
                    out.push_str(&quote(part.text()?));
                    out.push(':');
                }
                2 => any_value(part.message()?, out, true, depth + 1)?,
                _ => {}
            }
        }
    }
    out.push('}');
    Ok(())
}

fn quote(text: &str) -> String {
    format!("{text:?}")
}

/// Attributes as labels: names made valid, equal names joined by `;` in the order of the original ones.
pub(super) fn labels(mut attributes: Vec<(String, String)>) -> Vec<(String, String)> {
    attributes.sort();
    let mut labels: Vec<(String, String)> = Vec::with_capacity(attributes.len());
    for (key, value) in attributes {
        let name = names::label(&key);
        match labels.iter_mut().find(|(known, _)| *known == name) {
            Some((_, joined)) => {
                joined.push(';');
                joined.push_str(&value);
            }
            None => labels.push((name, value)),
        }
    }
    labels
}
