//! An error with the line of the query that it is about.

use super::Console;
use super::text::{prefix, visible, width};
use bodkin_http::SqlError;
use std::io::{self, Write};

const RED: &str = "\u{1b}[1;31m";
const DIM: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";
/// How much of a long line is shown on either side of the place.
const CONTEXT_COLUMNS: usize = 60;

/// Writes message, line of the query with a caret below the place, and hint.
pub(crate) fn write_error(error: &SqlError, query: &str, console: &Console, err: &mut dyn Write) -> io::Result<()> {
    let (red, dim, reset) = if console.is_err_colored { (RED, DIM, RESET) } else { ("", "", "") };
    writeln!(err, "{red}error:{reset} {}", visible(&error.message))?;
    if let Some((line, place)) = place(error, query) {
        let number = error.line.unwrap_or_default();
        writeln!(err, "  {dim}{number} |{reset} {line}")?;
        let margin = number.to_string().len();
        writeln!(err, "  {:margin$} {dim}|{reset} {:place$}{red}^{reset}", "", "")?;
    }
    if let Some(hint) = &error.hint {
        writeln!(err, "  {dim}hint:{reset} {}", visible(hint))?;
    }
    Ok(())
}

/// The line of the error, cut to what is around the place, and the columns before the place. None where the error
/// names no place, or one outside of the query.
fn place(error: &SqlError, query: &str) -> Option<(String, usize)> {
    let line = query.lines().nth(usize::try_from(error.line?.checked_sub(1)?).ok()?)?;
    let before_chars = usize::try_from(error.column?.checked_sub(1)?).ok()?;
    let at = match line.char_indices().nth(before_chars) {
        Some((at, _)) => at,
        // An error at the end of the text stands behind its last character.
        None if line.chars().count() == before_chars => line.len(),
        None => return None,
    };
    let (before, after) = (visible(&line[..at]), visible(&line[at..]));
    let cut_columns = width(&before).saturating_sub(CONTEXT_COLUMNS);
    let shown_before = before[prefix(&before, cut_columns).0.len()..].to_owned();
    let shown_after = prefix(&after, CONTEXT_COLUMNS).0;
    Some((format!("{shown_before}{shown_after}"), width(&shown_before)))
}
