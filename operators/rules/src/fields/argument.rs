//! Arguments of events: `evt.arg` and `evt.args`.

use super::FieldArg;
use super::errno::result_name;
use crate::eval::column::{Column, ListColumn, MapItems};

/// The value of a key in a row's map.
pub(crate) fn map_value<'a>(map: &'a ListColumn<MapItems>, row: usize, key: &str) -> Option<&'a [u8]> {
    let keys = map.items.keys.view();
    let item = map.range(row).find(|item| keys.get(*item) == Some(key.as_bytes()))?;
    map.items.values.view().get(item)
}

/// An argument of an event: as the agent recorded it, else from a column of its own.
pub(super) fn argument(i: &[Column], row: usize, arg: &FieldArg) -> Option<Vec<u8>> {
    let FieldArg::Key(name) = arg else { return None };
    if let Some(Column::Map(map)) = i.get(7)
        && let Some(recorded) = map_value(map, row, name)
    {
        return Some(recorded.to_vec());
    }
    let text = |index: usize| i.get(index).and_then(|column| column.text(row)).map(<[u8]>::to_vec);
    let number = |index: usize| i.get(index).and_then(|column| column.number(row));
    match name.as_str() {
        "flags" => text(1),
        "mode" => number(2).map(|mode| super::fd::mode(mode).into_bytes()),
        "name" | "path" | "filename" | "pathname" | "oldpath" => text(3),
        "newpath" | "linkpath" => text(4),
        "fd" => number(5).map(|fd| fd.to_string().into_bytes()),
        "res" => number(6).map(|result| match result < 0 {
            true => format!("{result}({})", result_name(result)).into_bytes(),
            false => result.to_string().into_bytes(),
        }),
        _ => None,
    }
}

/// What is known of the arguments of a row, as `name=value`.
pub(super) fn arguments(i: &[Column], row: usize) -> Vec<u8> {
    let mut all = Vec::new();
    if let Some(Column::Map(map)) =
        i.get(7).filter(|column| matches!(column, Column::Map(map) if !map.range(row).is_empty()))
    {
        let (keys, values) = (map.items.keys.view(), map.items.values.view());
        for item in map.range(row) {
            all.extend_from_slice(if all.is_empty() { b"" } else { b" " });
            all.extend_from_slice(keys.get(item).unwrap_or_default());
            all.push(b'=');
            all.extend_from_slice(values.get(item).unwrap_or_default());
        }
        return all;
    }
    for name in ["res", "fd", "path", "newpath", "flags", "mode"] {
        if let Some(value) = argument(i, row, &FieldArg::Key(name.to_owned())) {
            all.extend_from_slice(if all.is_empty() { b"" } else { b" " });
            all.extend_from_slice(name.as_bytes());
            all.push(b'=');
            all.extend(value);
        }
    }
    all
}
