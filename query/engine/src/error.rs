//! Why a query has no answer, in words for the one who asked.

use std::fmt::{self, Write};

/// What the asker can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text is not SQL.
    Syntax,
    /// The text is SQL that makes no sense here.
    Plan,
    /// A table, column, function or version does not exist.
    NotFound,
    /// The statement does more than read.
    Denied,
    /// The query is larger than it may be.
    Limit,
    /// The query took longer than it may.
    Timeout,
    /// The query failed on its data: a division by zero, a text that is no number.
    Execution,
    /// The server is at fault: storage, or a bug.
    Internal,
}

impl ErrorKind {
    /// The name in answers of the API.
    pub fn code(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Plan => "plan",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::Timeout => "timeout",
            Self::Execution => "execution",
            Self::Internal => "internal",
        }
    }
}

/// Why a query has no answer. `Display` is the message alone, one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    /// What the asker can do about it.
    pub kind: ErrorKind,
    /// What is wrong, in one line.
    pub message: String,
    /// Line of the text, from 1.
    pub line: Option<u64>,
    /// Column of the line in characters, from 1.
    pub column: Option<u64>,
    /// What would be right.
    pub hint: Option<String>,
}

impl QueryError {
    /// An error without a place in the text.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), line: None, column: None, hint: None }
    }

    /// The same with a hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn panicked() -> Self {
        Self::new(ErrorKind::Internal, "the query met a bug in the server")
            .with_hint("the server's log has the details; a simpler query may pass")
    }

    /// The error as text for a terminal: message, the line of `text` that it is about with a caret, hint.
    ///
    /// ```text
    /// error: column comn does not exist
    ///   |
    /// 1 | SELECT comn FROM events
    ///   |        ^
    /// hint: did you mean `comm`?
    /// ```
    pub fn render(&self, text: &str) -> String {
        let mut out = format!("error: {}", self.message);
        if let (Some(number), Some(column)) = (self.line, self.column)
            && let Some(line) = text.lines().nth(number.saturating_sub(1) as usize)
        {
            let before = line.chars().take(column.saturating_sub(1) as usize);
            let padding: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let width = number.to_string().len();
            let _ = write!(out, "\n{:width$} |\n{number} | {line}\n{:width$} | {padding}^", "", "");
        }
        if let Some(hint) = &self.hint {
            let _ = write!(out, "\nhint: {hint}");
        }
        out
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for QueryError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_column() {
        let mut error =
            QueryError::new(ErrorKind::NotFound, "column comn does not exist").with_hint("did you mean `comm`?");
        error.line = Some(2);
        error.column = Some(9);
        let expected = "error: column comn does not exist\n  |\n2 | \t\tWHERE comn = 'a'\n  | \t\t      ^\nhint: did you mean `comm`?";
        assert_eq!(error.render("SELECT 1\n\t\tWHERE comn = 'a'\n"), expected);
        error.line = Some(9);
        assert_eq!(error.render("SELECT 1"), "error: column comn does not exist\nhint: did you mean `comm`?");
    }
}
