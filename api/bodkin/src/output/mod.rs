//! Answers and errors as a person or a pipe wants them.

mod error;
mod rows;
mod table;
mod text;

pub(crate) use error::write_error;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bodkin_http::encode::{Encoder, Format};
use std::io::IsTerminal;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// Aligned columns
    Table,
    /// A list of objects, one per row
    Json,
    /// A header, then one line per row
    Csv,
    /// The Arrow IPC stream
    Arrow,
    /// One Parquet file
    Parquet,
}

impl OutputFormat {
    /// The word of the command line, which is also what a file's name ends with.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    /// A terminal cannot show it.
    pub(crate) fn is_binary(self) -> bool {
        matches!(self, Self::Arrow | Self::Parquet)
    }

    /// An encoder of answers with `schema`.
    ///
    /// # Errors
    /// The schema cannot be written in this format.
    pub(crate) fn encoder(self, schema: &SchemaRef, console: &Console) -> Result<Box<dyn Encoder>, ArrowError> {
        match self {
            Self::Table => Ok(Box::new(table::TableEncoder::new(schema, console))),
            Self::Json => Ok(Box::new(rows::RowsEncoder::new(schema))),
            Self::Csv => Format::Csv.encoder(schema),
            Self::Arrow => Format::ArrowStream.encoder(schema),
            Self::Parquet => Format::Parquet.encoder(schema),
        }
    }
}

/// What the standard streams lead to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Console {
    /// Columns of the terminal that standard output is; none where it is no terminal.
    pub(crate) out_width: Option<usize>,
    /// Standard output takes colors.
    pub(crate) is_out_colored: bool,
    /// Standard error is a terminal.
    pub(crate) is_err_terminal: bool,
    /// Standard error takes colors.
    pub(crate) is_err_colored: bool,
}

impl Console {
    /// Columns of a terminal that does not say how many it has.
    const WIDTH_DEFAULT: usize = 80;

    /// The console of this process. Colors only on a terminal, and not with `NO_COLOR` (no-color.org).
    pub(crate) fn of_process() -> Self {
        let is_colored = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let is_out_terminal = std::io::stdout().is_terminal();
        let is_err_terminal = std::io::stderr().is_terminal();
        let width = || terminal_size::terminal_size().map_or(Self::WIDTH_DEFAULT, |(width, _)| usize::from(width.0));
        Self {
            out_width: is_out_terminal.then(width),
            is_out_colored: is_out_terminal && is_colored,
            is_err_terminal,
            is_err_colored: is_err_terminal && is_colored,
        }
    }
}

#[cfg(test)]
mod tests;
