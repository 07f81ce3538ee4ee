//! Texts that know where each of their bytes was written.

use super::RuleFile;
use super::limits::FILES_BYTES_MAX;
use super::report::{Place, Report};
use crate::syntax::Span;
use std::ops::Range;

/// Characters of a line that a message shows.
const EXCERPT_CHARS: usize = 120;
/// Bytes of a line before the place that are counted in characters. Beyond, columns are bytes: a line of megabytes is
/// not walked for each message.
const COUNTED_BYTES: usize = 4096;

/// A byte of a rule file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) file: u32,
    pub(crate) offset: u32,
}

/// The rule files of a load.
#[derive(Debug)]
pub(crate) struct Files<'a> {
    files: &'a [RuleFile],
    /// Of each file the offsets at which its lines begin.
    lines: Vec<Vec<u32>>,
}

impl<'a> Files<'a> {
    /// Takes over the files; none where they are too large, which is reported.
    pub(crate) fn new(files: &'a [RuleFile], report: &mut Report) -> Self {
        let mut bytes = 0_usize;
        let too_large = files.iter().find(|file| {
            bytes += file.content.len();
            bytes > FILES_BYTES_MAX
        });
        let files = match too_large {
            Some(file) => {
                let place = Place { file: file.name.clone(), line: 1, column: 1, width: 1, ..Place::default() };
                let message = format!("rule files have at most {} MiB in all", FILES_BYTES_MAX >> 20);
                report.error("LOAD_ERR_FILE_READ", message, Some(place), None);
                &[]
            }
            None => files,
        };
        let starts = |file: &RuleFile| {
            let ends = memchr::memchr_iter(b'\n', file.content.as_bytes());
            std::iter::once(0).chain(ends.map(|end| end as u32 + 1)).collect()
        };
        Self { files, lines: files.iter().map(starts).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn content(&self, file: usize) -> &'a str {
        self.files.get(file).map_or("", |file| file.content.as_str())
    }

    /// The place of `bytes` bytes at `at`, cut at the end of the line.
    pub(crate) fn place(&self, at: At, bytes: usize) -> Option<Place> {
        let file = self.files.get(at.file as usize)?;
        let lines = self.lines.get(at.file as usize)?;
        let content = &file.content;
        let offset = floor_char(content, at.offset as usize);
        let line = lines.partition_point(|start| *start as usize <= offset);
        let line_start = lines[line - 1] as usize;
        let line_end = lines.get(line).map_or(content.len(), |next| *next as usize - 1);
        let line_end = line_start + content[line_start..line_end].trim_end_matches('\r').len();
        let line_end = line_end.max(offset);
        let end = floor_char(content, offset.saturating_add(bytes)).clamp(offset, line_end);
        let counted_from = floor_char(content, offset.saturating_sub(COUNTED_BYTES).max(line_start));
        let before = content[counted_from..offset].chars().count();
        let excerpt_start = match before.checked_sub(EXCERPT_CHARS / 2) {
            Some(skipped) => {
                content[counted_from..].char_indices().nth(skipped).map_or(offset, |(at, _)| counted_from + at)
            }
            None => counted_from,
        };
        let excerpt: String = content[excerpt_start..line_end].chars().take(EXCERPT_CHARS).collect();
        let indent = before.min(EXCERPT_CHARS / 2);
        let shown = excerpt.chars().count().saturating_sub(indent);
        Some(Place {
            file: file.name.clone(),
            line,
            column: counted_from - line_start + before + 1,
            excerpt,
            indent,
            width: content[offset..end].chars().take(shown.max(1)).count().max(1),
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
    stretches: Vec<Stretch>,
}

/// Bytes of a text from `start` on that were written one after the other from `at` on, or all at `at`.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    start: u32,
    at: At,
    is_at_one_place: bool,
}

impl Stretch {
    fn at(self, index: usize) -> At {
        let ahead = if self.is_at_one_place { 0 } else { index as u32 - self.start };
        At { offset: self.at.offset + ahead, ..self.at }
    }
}

impl Text {
    /// The value of a scalar at `range` of a file. Folding, indentation and escapes make the value differ from what is
    /// written; the two are walked side by side.
    pub(crate) fn scalar(value: &str, source: &str, range: Range<usize>, file: u32) -> Self {
        let mut text = Self { string: value.to_owned(), stretches: Vec::new() };
        let end = floor_char(source, range.end);
        let mut here = floor_char(source, range.start).min(end);
        if matches!(source.as_bytes().get(here), Some(b'|' | b'>')) {
            here = source[here..end].find('\n').map_or(here, |line| here + line + 1);
        }
        for (index, c) in value.char_indices() {
            here = align(source, here, end, c);
            text.continue_at(index, At { file, offset: here as u32 });
            here += source[here..end].chars().next().map_or(0, char::len_utf8);
        }
        // Values of lists are many and short.
        text.stretches.shrink_to_fit();
        text
    }

    /// Notes that the byte at `index`, after all noted before, was written at `at`.
    fn continue_at(&mut self, index: usize, at: At) {
        let goes_on = self.stretches.last().is_some_and(|last| !last.is_at_one_place && last.at(index) == at);
        if !goes_on {
            self.stretches.push(Stretch { start: index as u32, at, is_at_one_place: false });
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.string
    }

    pub(crate) fn len(&self) -> usize {
        self.string.len()
    }

    /// Appends what is written nowhere; it counts as written at `at`.
    pub(crate) fn push_str(&mut self, string: &str, at: At) {
        if !string.is_empty() {
            self.stretches.push(Stretch { start: self.string.len() as u32, at, is_at_one_place: true });
            self.string.push_str(string);
        }
    }

    pub(crate) fn push_text(&mut self, text: &Self) {
        self.push_slice(text, 0..text.len());
    }

    /// Appends the part of a text in `range`, which lies on character boundaries.
    pub(crate) fn push_slice(&mut self, text: &Self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let start = self.string.len();
        let first = text.stretch(range.start);
        for stretch in text.stretches[first..].iter().take_while(|stretch| (stretch.start as usize) < range.end) {
            let from = range.start.max(stretch.start as usize);
            let moved = Stretch { start: (start + from - range.start) as u32, at: stretch.at(from), ..*stretch };
            self.stretches.push(moved);
        }
        self.string.push_str(&text.string[range]);
    }

    /// The index of the stretch that the byte at `index` lies in.
    fn stretch(&self, index: usize) -> usize {
        self.stretches.partition_point(|stretch| stretch.start as usize <= index).saturating_sub(1)
    }

    pub(crate) fn trimmed(&self) -> Self {
        let start = self.string.len() - self.string.trim_start().len();
        let mut trimmed = Self::default();
        trimmed.push_slice(self, start..start + self.string.trim().len());
        trimmed
    }

    /// Where the byte at `index` was written; the last one's place for the end of the text.
    pub(crate) fn at(&self, index: usize) -> At {
        let index = index.min(self.string.len().saturating_sub(1));
        self.stretches.get(self.stretch(index)).map(|stretch| stretch.at(index)).unwrap_or_default()
    }

    /// The place of the first line, for what is wrong with the whole.
    pub(crate) fn place_of_first_line(&self, files: &Files<'_>) -> Option<Place> {
        files.place(self.at(0), self.string.len())
    }

    /// The place of a span, as far as it lies in one stretch of one file.
    pub(crate) fn place(&self, span: Span, files: &Files<'_>) -> Option<Place> {
        let first = self.at(span.start);
        let mut last = first;
        let end = span.end.min(self.string.len());
        for index in span.start..end.min(span.start + EXCERPT_CHARS * 4) {
            let at = self.at(index);
            if at.file != first.file || at.offset < last.offset {
                break;
            }
            last = at;
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

    fn file(content: &str) -> [RuleFile; 1] {
        [RuleFile { name: "f".to_owned(), content: content.to_owned() }]
    }

    fn place(content: &str, at: At, bytes: usize) -> Option<Place> {
        Files::new(&file(content), &mut Report::default()).place(at, bytes)
    }

    #[test]
    fn a_folded_text_points_into_its_file() {
        let source = "condition: >\n  a.b = 1\n  and c.d = \"x\"\n";
        let text = Text::scalar("a.b = 1 and c.d = \"x\"\n", source, 11..source.len(), 0);
        let written = file(source);
        let place = text.place(Span { start: 12, end: 15 }, &Files::new(&written, &mut Report::default())).unwrap();
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
        let place = place(&source, At { file: 0, offset: 500 }, 3).unwrap();
        assert_eq!((place.column, place.indent, place.width), (501, 60, 3));
        assert_eq!(place.excerpt.chars().count(), EXCERPT_CHARS);
    }

    #[test]
    fn a_line_of_megabytes_is_not_walked() {
        let source = format!("{}bad", "\u{e9}".repeat(1 << 20));
        let place = place(&source, At { file: 0, offset: 2 << 20 }, 3).unwrap();
        assert_eq!((place.line, place.indent, place.width), (1, 60, 3));
        assert!(place.excerpt.ends_with("\u{e9}bad"));
    }

    #[test]
    fn parts_of_texts_keep_their_places() {
        let text = Text::scalar("abc", "x: abc", 3..6, 0);
        let mut all = Text::default();
        all.push_str("(", At { file: 0, offset: 1 });
        all.push_slice(&text, 1..3);
        all.push_slice(&text, 2..2);
        all.push_text(&text);
        let offsets: Vec<u32> = (0..7).map(|index| all.at(index).offset).collect();
        assert_eq!((all.as_str(), offsets.as_slice()), ("(bcabc", &[1, 4, 5, 3, 4, 5, 5][..]));
    }

    #[test]
    fn a_place_outside_is_cut_to_the_file() {
        let last = place("ab\u{e9}", At { file: 0, offset: 99 }, 5).unwrap();
        assert_eq!((last.line, last.column, last.width), (1, 4, 1));
        assert!(place("", At { file: 1, offset: 0 }, 1).is_none());
    }
}
