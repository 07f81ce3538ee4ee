//! Errors and warnings of a load, and how they look on a terminal.

use super::limits::MESSAGES_MAX;
use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The rule set cannot be used.
    Error,
    /// The rule set can be used, perhaps not as meant.
    Warning,
}

/// A place in a rule file, with what is needed to show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line's text, or the part of a long one around the column.
    pub excerpt: String,
    /// Characters of `excerpt` before what is meant.
    pub indent: usize,
    /// Characters that are meant, at least 1.
    pub width: usize,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// Falco's code for this kind of message.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub(super) fn error(code: &'static str, message: String, place: Option<Place>, hint: Option<String>) -> Box<Self> {
        Box::new(Self { severity: Severity::Error, code, message, place, hint })
    }
}

/// The messages of a load.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In order of appearance, the first 200.
    pub errors: Vec<Diagnostic>,
    /// In order of appearance, the first 200.
    pub warnings: Vec<Diagnostic>,
    /// Messages that were dropped because there were too many.
    pub omitted: usize,
}

impl Report {
    /// Nothing is wrong enough to refuse the rules.
    pub fn is_ok(&self) -> bool {
        self.errors.is_empty()
    }

    /// There are so many errors that the load stops.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= MESSAGES_MAX
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let messages = match diagnostic.severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if messages.len() >= MESSAGES_MAX {
            self.omitted += 1;
        } else if !messages.contains(&diagnostic) {
            messages.push(diagnostic);
        }
    }

    pub(crate) fn error(&mut self, code: &'static str, message: String, place: Option<Place>, hint: Option<String>) {
        self.push(*Diagnostic::error(code, message, place, hint));
    }

    pub(crate) fn warn(&mut self, code: &'static str, message: String, place: Option<Place>, hint: Option<String>) {
        self.push(Diagnostic { severity: Severity::Warning, code, message, place, hint });
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Writes the message as compilers do, with what is meant underlined.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity, self.code, self.message)?;
        let gutter = self.place.as_ref().map_or(1, |place| place.line.to_string().len());
        if let Some(place) = &self.place {
            write!(f, "\n{:gutter$}--> {}:{}:{}", "", place.file, place.line, place.column)?;
            write!(f, "\n{:gutter$} |\n{} | {}", "", place.line, place.excerpt)?;
            write!(f, "\n{:gutter$} | {:indent$}{}", "", "", "^".repeat(place.width), indent = place.indent)?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n{:gutter$} = help: {hint}", ""),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in self.errors.iter().chain(&self.warnings) {
            writeln!(f, "{diagnostic}\n")?;
        }
        let counted = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        write!(f, "{}, {}", counted(self.errors.len(), "error"), counted(self.warnings.len(), "warning"))?;
        if self.omitted > 0 {
            write!(f, ", {} more messages not shown", self.omitted)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_underlines_what_it_means() {
        let place = Place {
            file: "rules.yaml".to_owned(),
            line: 12,
            column: 16,
            excerpt: "  condition: proc.pnam = sh".to_owned(),
            indent: 13,
            width: 9,
        };
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            code: "LOAD_ERR_COMPILE_CONDITION",
            message: "there is no field proc.pnam".to_owned(),
            place: Some(place),
            hint: Some("did you mean proc.pname?".to_owned()),
        };
        let expected = [
            "error[LOAD_ERR_COMPILE_CONDITION]: there is no field proc.pnam",
            "  --> rules.yaml:12:16",
            "   |",
            "12 |   condition: proc.pnam = sh",
            "   |              ^^^^^^^^^",
            "   = help: did you mean proc.pname?",
        ];
        assert_eq!(diagnostic.to_string(), expected.join("\n"));
    }

    #[test]
    fn messages_are_bounded_and_not_repeated() {
        let mut report = Report::default();
        for index in 0..1000 {
            report.error("X", format!("message {index}"), None, None);
            report.error("X", "the same".to_owned(), None, None);
        }
        assert_eq!((report.errors.len(), report.is_ok()), (MESSAGES_MAX, false));
        assert!(report.omitted > 700);
    }
}
