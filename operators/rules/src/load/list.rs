//! Lists: splicing of lists in lists, and substitution in the text of a condition.

use super::collect::{Collection, ListDef};
use super::limits::{CONDITIONS_BYTES_MAX, LIST_ITEMS_MAX};
use super::text::{At, Text};
use crate::syntax::MAX_DEPTH;
use std::collections::HashMap;

/// The lists of all files in the order of definition.
#[derive(Default)]
pub(super) struct Lists {
    lists: Vec<List>,
    by_name: HashMap<String, usize>,
}

/// A list as it is written in place of its name.
struct List {
    values: Text,
    is_used: bool,
}

impl Lists {
    /// Splices lists into lists. An item that names a list counts as that list if it was defined before this one was
    /// last changed.
    pub(super) fn spliced(collection: &Collection) -> Result<Self, (At, String)> {
        let definitions = collection.lists.items();
        let mut splicing = Splicing {
            collection,
            done: definitions.iter().map(|_| None).collect(),
            is_used: vec![false; definitions.len()],
            path: Vec::new(),
            items: 0,
        };
        for index in 0..definitions.len() {
            splicing.splice(index)?;
        }
        let Splicing { done, is_used, .. } = splicing;
        let mut all = Self::default();
        for ((definition, items), is_used) in definitions.iter().zip(done).zip(is_used) {
            all.add(&definition.name, &items.unwrap_or_default(), is_used);
        }
        Ok(all)
    }

    fn add(&mut self, name: &str, items: &[Text], is_used: bool) {
        let mut values = Text::default();
        for (index, item) in items.iter().enumerate() {
            values.push_str(if index == 0 { "" } else { ", " }, item.at(0));
            push_quoted(&mut values, item);
        }
        self.by_name.insert(name.to_owned(), self.lists.len());
        self.lists.push(List { values, is_used });
    }

    /// Whether something uses each list, in the order of definition.
    pub(super) fn are_used(&self) -> impl Iterator<Item = bool> {
        self.lists.iter().map(|list| list.is_used)
    }

    /// Replaces the names of lists in a condition by their values. Where values name lists that were defined after
    /// theirs, those are replaced too, as if this went list by list in the order of definition.
    pub(super) fn substitute(&mut self, text: &Text) -> Result<Text, String> {
        let mut out = Text::default();
        self.write(text, 0, 0, &mut out)?;
        Ok(out)
    }

    /// Appends `text` with the names of the lists from `first` on replaced.
    fn write(&mut self, text: &Text, first: usize, depth: usize, out: &mut Text) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("lists are nested deeper than {MAX_DEPTH} levels"));
        }
        let bytes = text.as_str().as_bytes();
        let mut done = 0;
        for (start, end) in words(bytes) {
            let Some(index) = self.by_name.get(&text.as_str()[start..end]).copied().filter(|index| *index >= first)
            else {
                continue;
            };
            self.lists[index].is_used = true;
            let mut before = start - bytes[done..start].iter().rev().take_while(|b| is_blank(**b)).count();
            let mut after = end + bytes[end..].iter().take_while(|b| is_blank(**b)).count();
            let values = std::mem::take(&mut self.lists[index].values);
            if values.len() == 0 {
                // The comma of an item that is not there goes with it.
                if before > done && bytes[before - 1] == b',' {
                    before -= 1;
                } else if bytes.get(after) == Some(&b',') {
                    after += 1;
                }
            }
            out.push_slice(text, done..before);
            out.push_str(" ", text.at(start));
            let written = self.write(&values, index + 1, depth + 1, out);
            self.lists[index].values = values;
            written?;
            out.push_str(" ", text.at(start));
            done = after;
            check_length(out)?;
        }
        out.push_slice(text, done.min(text.len())..text.len());
        check_length(out)
    }
}

fn check_length(out: &Text) -> Result<(), String> {
    match out.len() > CONDITIONS_BYTES_MAX {
        true => {
            Err(format!("with its lists substituted the condition is longer than {} MiB", CONDITIONS_BYTES_MAX >> 20))
        }
        false => Ok(()),
    }
}

/// Lists being spliced, each once.
struct Splicing<'a> {
    collection: &'a Collection,
    done: Vec<Option<Vec<Text>>>,
    is_used: Vec<bool>,
    /// The lists that wait for one in them.
    path: Vec<usize>,
    /// Values of all lists so far.
    items: usize,
}

impl Splicing<'_> {
    fn splice(&mut self, index: usize) -> Result<(), (At, String)> {
        let collection = self.collection;
        let Some(list) = collection.lists.items().get(index).filter(|_| self.done[index].is_none()) else {
            return Ok(());
        };
        if self.path.len() > MAX_DEPTH {
            return Err((list.at, format!("lists are nested deeper than {MAX_DEPTH} levels")));
        }
        self.path.push(index);
        let mut items = Vec::new();
        for item in &list.items {
            // A list that is in itself stands for its name there.
            let Some(inner) = self.named(item, list).filter(|inner| !self.path.contains(inner)) else {
                items.push(item.clone());
                self.charge(1, item, list)?;
                continue;
            };
            self.splice(inner)?;
            self.is_used[inner] = true;
            let count = self.done[inner].as_ref().map_or(0, Vec::len);
            self.charge(count, item, list)?;
            items.extend(self.done[inner].iter().flatten().cloned());
        }
        self.path.pop();
        self.done[index] = Some(items);
        Ok(())
    }

    fn named(&self, item: &Text, list: &ListDef) -> Option<usize> {
        let inner = self.collection.lists.index(item.as_str())?;
        (self.collection.lists.items()[inner].order.index < list.order.visibility).then_some(inner)
    }

    fn charge(&mut self, items: usize, item: &Text, list: &ListDef) -> Result<(), (At, String)> {
        self.items += items;
        match self.items > LIST_ITEMS_MAX {
            true => {
                Err((item.at(0), format!("with list '{}' all lists have more than {LIST_ITEMS_MAX} values", list.name)))
            }
            false => Ok(()),
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_delimiter(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'(' | b')' | b',' | b'=')
}

/// The stretches between blanks, parentheses, commas and `=`.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + bytes.get(at..)?.iter().position(|byte| !is_delimiter(*byte))?;
        let length = bytes[start..].iter().position(|byte| is_delimiter(*byte));
        at = length.map_or(bytes.len(), |length| start + length);
        Some((start, at))
    })
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

    fn lists(all: &[(&str, &[&str])]) -> Lists {
        let mut lists = Lists::default();
        for (name, items) in all {
            lists.add(name, &items.iter().map(|item| text(item)).collect::<Vec<_>>(), false);
        }
        lists
    }

    #[test]
    fn names_are_substituted_as_text() {
        let mut lists = lists(&[
            ("bins", &["a", "b c", "\"d\""]),
            ("none", &[]),
            ("unused", &["x"]),
            ("outer", &["p", "later", "nothing", "bins", "q"]),
            ("later", &["r"]),
            ("nothing", &[]),
        ]);
        for (before, after) in [
            ("p.n in (bins)", "p.n in ( a, \"b c\", \"d\" )"),
            ("p.n in (x, bins , y)", "p.n in (x, a, \"b c\", \"d\" , y)"),
            ("p.n in (bins,bins)", "p.n in ( a, \"b c\", \"d\" , a, \"b c\", \"d\" )"),
            ("p.n in (mybins, bins_2)", "p.n in (mybins, bins_2)"),
            ("p.n in (none)", "p.n in (  )"),
            ("p.n in (x, none)", "p.n in (x  )"),
            ("p.n in (none, x)", "p.n in (   x)"),
            ("p.n in (outer)", "p.n in ( p, r , bins, q )"),
            ("p.n=bins", "p.n= a, \"b c\", \"d\" "),
        ] {
            let out = lists.substitute(&text(before)).unwrap();
            let squeeze = |s: &str| s.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(squeeze(out.as_str()), squeeze(after), "{before}");
        }
        assert_eq!(lists.are_used().collect::<Vec<_>>(), [true, true, false, true, true, true]);
    }

    /// SAFE-1: neither what grows nor what only takes time ends in more than a message.
    #[test]
    fn growth_is_bounded() {
        for last in ["x", ""] {
            let names: Vec<String> = (0..31).map(|i| format!("l{i}")).collect();
            let items: Vec<Vec<&str>> = (1..31).map(|i| vec![names[i].as_str(); 16]).collect();
            let mut all: Vec<(&str, &[&str])> =
                names.iter().map(String::as_str).zip(items.iter().map(Vec::as_slice)).collect();
            let last = [last];
            all.push(("l30", if last == [""] { &[] } else { &last }));
            assert!(lists(&all).substitute(&text("a in (l0)")).unwrap_err().contains("longer than"));
        }
    }
}
