//! A file of events, whatever its form: it is told by the first bytes and not by the name.

mod columns;
mod json;

use anyhow::Context;
use arrow::array::RecordBatch;
use bodkin_rules::{Document, RuleSet, Source};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes that a form is told by.
const HEAD: usize = 8;

/// A part of a file.
pub(crate) enum Chunk {
    /// Rows with columns of `events`.
    Rows(RecordBatch),
    /// JSON documents of the source.
    Documents(Vec<Document>),
    /// Records that are no events, and why.
    Rejected(Vec<String>),
}

/// Takes the parts of a file.
pub(super) type Each<'a> = &'a mut dyn FnMut(Chunk) -> anyhow::Result<()>;

/// Reads one file of events.
pub(crate) struct Reader {
    path: PathBuf,
    source: Source,
    /// Columns that are needed of rows.
    columns: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Parquet,
    ArrowFile,
    ArrowStream,
    Gzip,
    Json,
}

fn form(head: &[u8]) -> Form {
    match head {
        [b'P', b'A', b'R', b'1', ..] => Form::Parquet,
        [b'A', b'R', b'R', b'O', b'W', b'1', ..] => Form::ArrowFile,
        [0xff, 0xff, 0xff, 0xff, ..] => Form::ArrowStream,
        [0x1f, 0x8b, ..] => Form::Gzip,
        _ => Form::Json,
    }
}

impl Reader {
    /// A reader of `path` for rules that are to run over it.
    pub(crate) fn new(path: &Path, source: Source, rules: &RuleSet) -> Self {
        Self { path: path.to_owned(), source, columns: rules.columns() }
    }

    /// Hands over the events of the file in their order.
    ///
    /// # Errors
    /// Where the file cannot be read or is of no known form, and what `each` fails with.
    pub(crate) fn read(&mut self, each: Each<'_>) -> anyhow::Result<()> {
        let context = || format!("input {}", self.path.display());
        if self.path.as_os_str() == "-" {
            return json::read(std::io::stdin().lock(), self.source, each).context("standard input");
        }
        let mut file = File::open(&self.path).with_context(context)?;
        let head = head(&mut file).with_context(context)?;
        match form(&head) {
            Form::Parquet => columns::parquet(file, self.source, &self.columns, each),
            Form::ArrowFile | Form::ArrowStream => columns::arrow(file, self.source, each),
            Form::Gzip => json::read(BufReader::new(MultiGzDecoder::new(BufReader::new(file))), self.source, each),
            Form::Json => json::read(BufReader::with_capacity(1 << 20, file), self.source, each),
        }
        .with_context(context)
    }
}

fn head(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    file.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(head)
}

#[cfg(test)]
mod tests;
