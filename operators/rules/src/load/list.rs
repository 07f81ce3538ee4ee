//! Lists: splicing of lists in lists, and substitution in the text of a condition.

use super::collect::{Collection, ListDef};
use super::limits::{CONDITIONS_BYTES_MAX, LISTS_BYTES_MAX, VALUE_BYTES};
use super::text::{At, Text};
use crate::syntax::MAX_DEPTH;
use std::collections::HashMap;
use std::ops::Range;

/// The lists of all files in the order of definition.
#[derive(Default)]
pub(super) struct Lists {
    lists: Vec<List>,
    by_name: HashMap<String, usize>,
}

/// A list as it is written in place of its name.
struct List {
    values: Text,
    size: Size,
    is_used: bool,
}

/// What a text is with the names of lists in it replaced, known without replacing them: small texts may mean large ones.
#[derive(Clone, Copy, Default)]
struct Size {
    /// Its bytes, and [`VALUE_BYTES`] for each of its words; a little more than that where there were names.
    bytes: usize,
    /// How deep lists are nested in it.
    depth: usize,
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
            bytes: 0,
        };
        for index in 0..definitions.len() {
            splicing.splice(index)?;
        }
        let Splicing { done, is_used, .. } = splicing;
        let mut all = Self::default();
        for ((definition, spliced), is_used) in definitions.iter().zip(done).zip(is_used) {
            all.add(&definition.name, &spliced.unwrap_or_default().items, is_used);
        }
        all.measure();
        Ok(all)
    }

    fn add(&mut self, name: &str, items: &[Text], is_used: bool) {
        let mut values = Text::default();
        for (index, item) in items.iter().enumerate() {
            values.push_str(if index == 0 { "" } else { ", " }, item.at(0));
            push_quoted(&mut values, item);
        }
        self.by_name.insert(name.to_owned(), self.lists.len());
        self.lists.push(List { values, size: Size::default(), is_used });
    }

    /// Notes the sizes of all lists. Values name only lists that were defined after theirs.
    fn measure(&mut self) {
        for index in (0..self.lists.len()).rev() {
            self.lists[index].size = self.size(&self.lists[index].values, index + 1);
        }
    }

    /// The size of `text` with the names of the lists from `first` on replaced.
    fn size(&self, text: &Text, first: usize) -> Size {
        let mut size = Size { bytes: text.len(), depth: 0 };
        for (start, end) in words(text.as_str().as_bytes()) {
            let more = match self.named(text, start..end, first) {
                Some(index) => {
                    let inner = self.lists[index].size;
                    size.depth = size.depth.max(1 + inner.depth);
                    inner.bytes.saturating_add(BLANKS)
                }
                None => VALUE_BYTES,
            };
            size.bytes = size.bytes.saturating_add(more);
        }
        size
    }

    /// The list from `first` on whose name is written at `range`.
    fn named(&self, text: &Text, range: Range<usize>, first: usize) -> Option<usize> {
        self.by_name.get(&text.as_str()[range]).copied().filter(|index| *index >= first)
    }

    /// Whether something uses each list, in the order of definition.
    pub(super) fn are_used(&self) -> impl Iterator<Item = bool> {
        self.lists.iter().map(|list| list.is_used)
    }

    /// What a condition takes with its lists replaced: at least its bytes, and [`VALUE_BYTES`] for each of its words.
    ///
    /// # Errors
    /// Where it is too large or nested too deeply to be made.
    pub(super) fn bytes_of(&self, condition: &Text) -> Result<usize, String> {
        let Size { bytes, depth } = self.size(condition, 0);
        if depth > MAX_DEPTH {
            return Err(format!("lists are nested deeper than {MAX_DEPTH} levels"));
        }
        if bytes > CONDITIONS_BYTES_MAX {
            let limit = CONDITIONS_BYTES_MAX >> 20;
            return Err(format!("with its lists substituted the condition takes more than {limit} MiB"));
        }
        Ok(bytes)
    }

    /// Replaces the names of lists in a condition by their values. Where values name lists that were defined after
    /// theirs, those are replaced too, as if this went list by list in the order of definition. The condition is one
    /// that [`Lists::bytes_of`] takes.
    pub(super) fn substitute(&mut self, condition: &Text) -> Text {
        let mut out = Text::default();
        self.write(condition, 0, &mut out);
        out
    }

    /// Appends `text` with the names of the lists from `first` on replaced.
    fn write(&mut self, text: &Text, first: usize, out: &mut Text) {
        let bytes = text.as_str().as_bytes();
        let mut done = 0;
        for (start, end) in words(bytes) {
            let Some(index) = self.named(text, start..end, first) else { continue };
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
            self.write(&values, index + 1, out);
            self.lists[index].values = values;
            out.push_str(" ", text.at(start));
            done = after;
        }
        out.push_slice(text, done.min(text.len())..text.len());
    }
}

/// What is written around the values of a list.
const BLANKS: usize = 2;

/// Lists being spliced, each once.
struct Splicing<'a> {
    collection: &'a Collection,
    done: Vec<Option<Spliced>>,
    is_used: Vec<bool>,
    /// The lists that wait for one in them.
    path: Vec<usize>,
    /// What the values of all lists take so far.
    bytes: usize,
}

/// The values of a list with those of lists in it.
#[derive(Default)]
struct Spliced {
    items: Vec<Text>,
    /// Their bytes, and [`VALUE_BYTES`] for each.
    bytes: usize,
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
        let mut spliced = Spliced::default();
        for item in &list.items {
            // A list that is in itself stands for its name there.
            let Some(inner) = self.named(item, list).filter(|inner| !self.path.contains(inner)) else {
                let bytes = item.len() + VALUE_BYTES;
                self.charge(bytes, item, list)?;
                spliced.bytes += bytes;
                spliced.items.push(item.clone());
                continue;
            };
            self.splice(inner)?;
            self.is_used[inner] = true;
            let bytes = self.done[inner].as_ref().map_or(0, |inner| inner.bytes);
            self.charge(bytes, item, list)?;
            spliced.bytes += bytes;
            spliced.items.extend(self.done[inner].iter().flat_map(|inner| &inner.items).cloned());
        }
        self.path.pop();
        self.done[index] = Some(spliced);
        Ok(())
    }

    fn named(&self, item: &Text, list: &ListDef) -> Option<usize> {
        let inner = self.collection.lists.index(item.as_str())?;
        (self.collection.lists.items()[inner].order.index < list.order.visibility).then_some(inner)
    }

    fn charge(&mut self, bytes: usize, item: &Text, list: &ListDef) -> Result<(), (At, String)> {
        self.bytes = self.bytes.saturating_add(bytes);
        match self.bytes > LISTS_BYTES_MAX {
            true => {
                let limit = LISTS_BYTES_MAX >> 20;
                Err((item.at(0), format!("with list '{}' all lists take more than {limit} MiB", list.name)))
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
        lists.measure();
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
            let size = lists.bytes_of(&text(before)).unwrap();
            let out = lists.substitute(&text(before));
            let least = out.len() + VALUE_BYTES * words(out.as_str().as_bytes()).count();
            assert!((least..=least + before.len() + "outer, later, nothing".len()).contains(&size), "{before}");
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
            assert!(lists(&all).bytes_of(&text("a in (l0)")).unwrap_err().contains("more than"));
        }
    }
}
