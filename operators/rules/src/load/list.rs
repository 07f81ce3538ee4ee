//! Lists: splicing of lists in lists, and substitution in the text of a condition.

use super::collect::{Collection, ListDef};
use super::limits::{CONDITION_BYTES_MAX, LIST_ITEMS_MAX};
use super::text::{At, Text};

/// A list with the lists in it spliced.
pub(super) struct List {
    pub(super) name: String,
    items: Vec<Text>,
    pub(super) is_used: bool,
}

/// Splices lists into lists. An item that names a list counts as that list if it was defined before this one was last
/// changed.
pub(super) fn splice_all(collection: &Collection) -> Result<Vec<List>, (At, String)> {
    let definitions = collection.lists.items();
    let mut lists: Vec<List> = Vec::with_capacity(definitions.len());
    let mut used = Vec::new();
    for definition in definitions {
        let mut items = Vec::new();
        splice(collection, definition, &mut vec![&definition.name], &mut items, &mut used)?;
        lists.push(List { name: definition.name.clone(), items, is_used: false });
    }
    for list in &mut lists {
        list.is_used = used.contains(&list.name);
    }
    Ok(lists)
}

fn splice<'a>(
    collection: &'a Collection,
    list: &'a ListDef,
    path: &mut Vec<&'a str>,
    items: &mut Vec<Text>,
    used: &mut Vec<String>,
) -> Result<(), (At, String)> {
    for item in &list.items {
        let inner = collection.lists.get(item.as_str()).filter(|inner| inner.order.index < list.order.visibility);
        match inner.filter(|inner| !path.contains(&inner.name.as_str())) {
            Some(inner) => {
                used.push(inner.name.clone());
                path.push(&inner.name);
                splice(collection, inner, path, items, used)?;
                path.pop();
            }
            None => items.push(item.clone()),
        }
        if items.len() > LIST_ITEMS_MAX {
            return Err((item.at(0), format!("list '{}' has more than {LIST_ITEMS_MAX} values", list.name)));
        }
    }
    Ok(())
}

/// Replaces the names of lists in a condition by their values, list by list in the order of definition.
pub(super) fn substitute_all(text: &Text, lists: &mut [List]) -> Result<Text, String> {
    let mut text = text.clone();
    for list in lists {
        if let Some(substituted) = substitute(&text, list) {
            text = substituted;
            list.is_used = true;
        }
        if text.len() > CONDITION_BYTES_MAX {
            return Err(format!("with list '{}' substituted the condition is longer than 4 MiB", list.name));
        }
    }
    Ok(text)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_delimiter(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'(' | b')' | b',' | b'=')
}

/// None where the list's name does not occur.
fn substitute(text: &Text, list: &List) -> Option<Text> {
    let string = text.as_str();
    let bytes = string.as_bytes();
    let mut out = Text::default();
    let mut done = 0;
    for start in memchr::memmem::find_iter(bytes, list.name.as_bytes()) {
        let end = start + list.name.len();
        let is_name = start >= done
            && (start == 0 || is_delimiter(bytes[start - 1]))
            && bytes.get(end).is_none_or(|b| is_delimiter(*b));
        if !is_name {
            continue;
        }
        let mut before = start - bytes[done..start].iter().rev().take_while(|b| is_blank(**b)).count();
        let mut after = end + bytes[end..].iter().take_while(|b| is_blank(**b)).count();
        if list.items.is_empty() {
            // The comma of an item that is not there goes with it.
            if before > done && bytes[before - 1] == b',' {
                before -= 1;
            } else if bytes.get(after) == Some(&b',') {
                after += 1;
            }
        }
        let here = text.at(start);
        out.push_text(&text.slice(done..before));
        out.push_str(" ", here);
        for (index, item) in list.items.iter().enumerate() {
            out.push_str(if index == 0 { "" } else { ", " }, here);
            push_quoted(&mut out, item);
        }
        out.push_str(" ", here);
        done = after;
    }
    if done == 0 {
        return None;
    }
    out.push_text(&text.slice(done.min(text.len())..text.len()));
    Some(out)
}

/// Appends a value, in quotes if it holds a blank and has none.
pub(super) fn push_quoted(out: &mut Text, value: &Text) {
    let needs_quotes = value.as_str().contains(' ') && !value.as_str().starts_with(['"', '\'']);
    let quote = if needs_quotes { "\"" } else { "" };
    out.push_str(quote, value.at(0));
    out.push_text(value);
    out.push_str(quote, value.at(value.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(string: &str) -> Text {
        let mut text = Text::default();
        text.push_str(string, At::default());
        text
    }

    fn list(name: &str, items: &[&str]) -> List {
        List { name: name.to_owned(), items: items.iter().map(|item| text(item)).collect(), is_used: false }
    }

    #[test]
    fn names_are_substituted_as_text() {
        let mut lists = [list("bins", &["a", "b c", "\"d\""]), list("none", &[]), list("unused", &["x"])];
        for (before, after) in [
            ("p.n in (bins)", "p.n in ( a, \"b c\", \"d\" )"),
            ("p.n in (x, bins , y)", "p.n in (x, a, \"b c\", \"d\" , y)"),
            ("p.n in (bins,bins)", "p.n in ( a, \"b c\", \"d\" , a, \"b c\", \"d\" )"),
            ("p.n in (mybins, bins_2)", "p.n in (mybins, bins_2)"),
            ("p.n in (none)", "p.n in (  )"),
            ("p.n in (x, none)", "p.n in (x  )"),
            ("p.n in (none, x)", "p.n in (   x)"),
            ("p.n=bins", "p.n= a, \"b c\", \"d\" "),
        ] {
            let out = substitute_all(&text(before), &mut lists).unwrap();
            let squeeze = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(squeeze(out.as_str()), squeeze(after), "{before}");
        }
        assert_eq!(lists.map(|l| l.is_used), [true, true, false]);
    }

    #[test]
    fn growth_is_bounded() {
        let mut lists: Vec<List> =
            (0..30).map(|i| list(&format!("l{i}"), &vec![format!("l{}", i + 1).as_str(); 16])).collect();
        assert!(substitute_all(&text("a in (l0)"), &mut lists).unwrap_err().contains("longer than"));
    }
}
