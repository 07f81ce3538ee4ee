//! JSON events: a document, several in a row, or one per line.
//!
//! A text whose first line is a whole JSON value is read line by line: a line that is no JSON is then a bad record.
//! Any other text is read value by value, and what is no JSON ends the reading.

use super::{Chunk, Each};
use anyhow::{Context, bail};
use bodkin_rules::{Documents, EventRows, Source};
use serde_json::{Map, Value};
use std::io::{BufRead, Read};

/// Events that are handed over at once.
const CHUNK_EVENTS: usize = 8192;

/// Bytes of one line.
const LINE_BYTES_MAX: u64 = 512 << 20;

/// Reads to the end.
pub(super) fn read(mut input: impl BufRead, source: Source, each: Each<'_>) -> anyhow::Result<()> {
    let mut events = Events::new(source);
    let mut first = Vec::new();
    while first.trim_ascii().is_empty() {
        first.clear();
        if !line(&mut input, &mut first)? {
            return events.flush(each);
        }
        let after_mark = first.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec);
        first = after_mark.unwrap_or(first);
    }
    match serde_json::from_slice::<Value>(&first) {
        Ok(value) => {
            events.push(value, each)?;
            lines(input, &mut events, each)?;
        }
        Err(_) => {
            let values = serde_json::Deserializer::from_reader(first.as_slice().chain(input)).into_iter::<Value>();
            for value in values {
                events.push(value.context("it is not JSON")?, each)?;
            }
        }
    }
    events.flush(each)
}

fn lines(mut input: impl BufRead, events: &mut Events, each: Each<'_>) -> anyhow::Result<()> {
    let mut text = Vec::new();
    loop {
        text.clear();
        if !line(&mut input, &mut text)? {
            return Ok(());
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(&text) {
            Ok(value) => events.push(value, each)?,
            Err(error) => events.reject(&format!("its line is not JSON: {error}"), each)?,
        }
    }
}

/// Reads the next line; false at the end.
fn line(input: &mut impl BufRead, text: &mut Vec<u8>) -> anyhow::Result<bool> {
    let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', text)?;
    if read as u64 == LINE_BYTES_MAX {
        bail!("a line is longer than {} MiB", LINE_BYTES_MAX >> 20);
    }
    Ok(read > 0)
}

/// Events that were read and not yet handed over.
struct Events {
    source: Source,
    documents: Documents,
    rows: Vec<Value>,
    /// Rows that were handed over.
    before: usize,
}

impl Events {
    fn new(source: Source) -> Self {
        Self { source, documents: Documents::default(), rows: Vec::new(), before: 0 }
    }

    fn push(&mut self, value: Value, each: Each<'_>) -> anyhow::Result<()> {
        if self.source == Source::Syscall {
            self.push_rows(value, each)?;
        } else {
            self.documents.push(self.source, value);
        }
        if self.documents.documents.len() >= CHUNK_EVENTS || self.rows.len() >= CHUNK_EVENTS {
            self.flush(each)?;
        }
        Ok(())
    }

    /// A row, a list of rows, or an answer of SQL as JSON.
    fn push_rows(&mut self, value: Value, each: Each<'_>) -> anyhow::Result<()> {
        match value {
            Value::Array(items) => {
                for item in items {
                    self.rows.push(item);
                    if self.rows.len() >= CHUNK_EVENTS {
                        self.flush(each)?;
                    }
                }
            }
            Value::Object(map) => match answer_rows(&map) {
                Some(rows) => return self.push_rows(Value::Array(rows), each),
                None => self.rows.push(Value::Object(map)),
            },
            other => self.rows.push(other),
        }
        Ok(())
    }

    fn reject(&mut self, why: &str, each: Each<'_>) -> anyhow::Result<()> {
        // Its number is that of a record that was not pushed.
        if self.source == Source::Syscall {
            self.flush(each)?;
            self.before += 1;
            return each(Chunk::Rejected(vec![format!("record {}: {why}", self.before)]));
        }
        self.documents.reject(why);
        Ok(())
    }

    fn flush(&mut self, each: Each<'_>) -> anyhow::Result<()> {
        let read = self.documents.take();
        if !read.rejected.is_empty() {
            each(Chunk::Rejected(read.rejected))?;
        }
        if !read.documents.is_empty() {
            each(Chunk::Documents(read.documents))?;
        }
        if !self.rows.is_empty() {
            let rows = EventRows::from_records(&self.rows, self.before);
            self.before += self.rows.len();
            self.rows.clear();
            if !rows.rejected.is_empty() {
                each(Chunk::Rejected(rows.rejected))?;
            }
            if rows.records.num_rows() > 0 {
                each(Chunk::Rows(rows.records))?;
            }
        }
        Ok(())
    }
}

/// The rows of an answer of SQL: `{"columns": [{"name": ...}], "rows": [[...]]}`.
fn answer_rows(map: &Map<String, Value>) -> Option<Vec<Value>> {
    let names: Option<Vec<&str>> =
        map.get("columns")?.as_array()?.iter().map(|column| column.get("name")?.as_str()).collect();
    let names = names?;
    let row = |row: &Value| match row.as_array() {
        Some(values) => names.iter().map(|name| (*name).to_owned()).zip(values.iter().cloned()).collect(),
        None => Value::Null,
    };
    Some(map.get("rows")?.as_array()?.iter().map(row).collect())
}
