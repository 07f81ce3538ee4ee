//! Byte ranges in the text of a query.

/// A byte range of the query: `start..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The range `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The smallest range that holds both.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The text of the range, `""` where the query does not reach so far.
    pub fn text(self, query: &str) -> &str {
        query.get(self.start..self.end).unwrap_or("")
    }
}

/// `line:column` of a byte of the query, both from 1; a column counts bytes.
pub fn line_column(query: &str, byte: usize) -> String {
    if query.is_empty() {
        return "unknown position".to_owned();
    }
    let Some(before) = query.as_bytes().get(..byte) else {
        return "invalid position".to_owned();
    };
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    format!("{line}:{}", byte - line_start + 1)
}
