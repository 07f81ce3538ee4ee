//! Texts that know where each of their bytes was written.

use super::RuleFile;
use super::limits::FILE_BYTES_MAX;
use super::report::{Place, Report};
use crate::syntax::Span;
use std::ops::Range;

/// Characters of a line that a message shows.
const EXCERPT_CHARS: usize = 120;

/// A byte of a rule file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) file: u32,
    pub(crate) offset: u32,
}

/// The rule files of a load.
#[derive(Debug)]
pub(crate) struct Files {
    files: Vec<RuleFile>,
}

impl Files {
    /// Takes over the files; one that is too large is emptied and reported.
    pub(crate) fn new(files: &[RuleFile], report: &mut Report) -> Self {
        let mut files = files.to_vec();
        for file in files.iter_mut().filter(|file| file.content.len() > FILE_BYTES_MAX) {
            let message = format!("{}: a rule file has at most {} MiB", file.name, FILE_BYTES_MAX >> 20);
            report.error("LOAD_ERR_FILE_READ", message, None, None);
            file.content.clear();
        }
        Self { files }
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn content(&self, file: usize) -> &str {
        self.files.get(file).map_or("", |file| file.content.as_str())
    }

    /// The place of `bytes` bytes at `at`, cut at the end of the line.
    pub(crate) fn place(&self, at: At, bytes: usize) -> Option<Place> {
        let file = self.files.get(at.file as usize)?;
        let content = &file.content;
        let offset = floor_char(content, at.offset as usize);
        let line_start = content[..offset].rfind('\n').map_or(0, |end| end + 1);
        let line_end = content[offset..].find(['\n', '\r']).map_or(content.len(), |end| offset + end);
        let end = floor_char(content, offset.saturating_add(bytes)).clamp(offset, line_end.max(offset));
        let before = content[line_start..offset].chars().count();
        let skipped = before.saturating_sub(EXCERPT_CHARS / 2);
        let excerpt: String = content[line_start..line_end].chars().skip(skipped).take(EXCERPT_CHARS).collect();
        let indent = before - skipped;
        let shown = excerpt.chars().count().saturating_sub(indent);
        Some(Place {
            file: file.name.clone(),
            line: content[..offset].bytes().filter(|b| *b == b'\n').count() + 1,
            column: before + 1,
            excerpt,
            indent,
            width: content[offset..end].chars().count().clamp(1, shown.max(1)),
        })
    }
}

fn floor_char(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

/// A text and where each of its bytes was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    string: String,
    at: Vec<At>,
}

impl Text {
    /// The value of a scalar at `range` of a file. Folding, indentation and escapes make the value differ from what is
    /// written; the two are walked side by side.
    pub(crate) fn scalar(value: &str, source: &str, range: Range<usize>, file: u32) -> Self {
        let mut at = Vec::with_capacity(value.len());
        let end = floor_char(source, range.end);
        let mut here = floor_char(source, range.start).min(end);
        if matches!(source.as_bytes().get(here), Some(b'|' | b'>')) {
            here = source[here..end].find('\n').map_or(here, |line| here + line + 1);
        }
        for c in value.chars() {
            here = align(source, here, end, c);
            at.extend(std::iter::repeat_n(At { file, offset: here as u32 }, c.len_utf8()));
            here += source[here..end].chars().next().map_or(0, char::len_utf8);
        }
        Self { string: value.to_owned(), at }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.string
    }

    pub(crate) fn len(&self) -> usize {
        self.string.len()
    }

    /// Appends what is written nowhere; it counts as written at `at`.
    pub(crate) fn push_str(&mut self, string: &str, at: At) {
        self.string.push_str(string);
        self.at.resize(self.string.len(), at);
    }

    pub(crate) fn push_text(&mut self, text: &Self) {
        self.string.push_str(&text.string);
        self.at.extend_from_slice(&text.at);
    }

    /// The part of the text in `range`, which lies on character boundaries.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        Self { string: self.string[range.clone()].to_owned(), at: self.at[range].to_vec() }
    }

    pub(crate) fn trimmed(&self) -> Self {
        let start = self.string.len() - self.string.trim_start().len();
        self.slice(start..start + self.string.trim().len())
    }

    /// Where the byte at `index` was written; the last one's place for the end of the text.
    pub(crate) fn at(&self, index: usize) -> At {
        self.at.get(index).or(self.at.last()).copied().unwrap_or_default()
    }

    /// The place of a span, as far as it lies in one stretch of one file.
    pub(crate) fn place(&self, span: Span, files: &Files) -> Option<Place> {
        let first = self.at(span.start);
        let mut last = first;
        for at in self.at.get(span.start..span.end).unwrap_or_default() {
            if at.file != first.file || at.offset < last.offset {
                break;
            }
            last = *at;
        }
        files.place(first, (last.offset - first.offset) as usize + 1)
    }
}

/// The next place from `here` on that can stand for `c`.
fn align(source: &str, here: usize, end: usize, c: char) -> usize {
    let rest = &source[here..end];
    if c.is_whitespace() {
        return here;
    }
    let text = rest.find(|next: char| !next.is_whitespace()).map_or(here, |skipped| here + skipped);
    if source[text..end].starts_with(c) {
        return text;
    }
    // An opening quote, an escape, or a fold within quotes lies between.
    let ahead = source[text..end].char_indices().take(8).find(|(_, next)| *next == c);
    ahead.map_or(text, |(skipped, _)| text + skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(content: &str) -> Files {
        Files { files: vec![RuleFile { name: "f".to_owned(), content: content.to_owned() }] }
    }

    #[test]
    fn a_folded_text_points_into_its_file() {
        let source = "condition: >\n  a.b = 1\n  and c.d = \"x\"\n";
        let text = Text::scalar("a.b = 1 and c.d = \"x\"\n", source, 11..source.len(), 0);
        let place = text.place(Span { start: 12, end: 15 }, &files(source)).unwrap();
        assert_eq!((place.line, place.column, place.width), (3, 7, 3));
        assert_eq!(place.excerpt, "  and c.d = \"x\"");
    }

    #[test]
    fn quotes_and_escapes_are_walked_over() {
        let source = "items: ['it''s', \"a\\\"b c\"]";
        let text = Text::scalar("it's", source, 8..15, 0);
        assert_eq!(text.at(3).offset, 13);
        let text = Text::scalar("a\"b c", source, 17..25, 0);
        assert_eq!((text.at(0).offset, text.at(2).offset, text.at(4).offset), (18, 21, 23));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let source = format!("{}bad{}", "x".repeat(500), "y".repeat(500));
        let place = files(&source).place(At { file: 0, offset: 500 }, 3).unwrap();
        assert_eq!((place.column, place.indent, place.width), (501, 60, 3));
        assert_eq!(place.excerpt.chars().count(), EXCERPT_CHARS);
    }

    #[test]
    fn a_place_outside_is_cut_to_the_file() {
        let place = files("ab\u{e9}").place(At { file: 0, offset: 99 }, 5).unwrap();
        assert_eq!((place.line, place.column, place.width), (1, 4, 1));
        assert!(files("").place(At { file: 1, offset: 0 }, 1).is_none());
    }
}
