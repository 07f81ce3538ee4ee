//! CSV as RFC 4180 has it, with `\n` between lines and a header.
//!
//! Null is an empty field, an empty text is `""`; lists, maps and structs are JSON.

use super::{Column, Encoder};
use crate::engine::SqlStats;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

/// Writes CSV.
pub(super) struct CsvEncoder {
    schema: SchemaRef,
    field: Vec<u8>,
}

impl CsvEncoder {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, field: Vec::new() }
    }
}

impl Encoder for CsvEncoder {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        for (i, field) in self.schema.fields().iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_field(field.name().as_bytes(), out);
        }
        out.push(b'\n');
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let columns = Column::all(batch)?;
        for row in 0..batch.num_rows() {
            for (i, column) in columns.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                if !column.is_null(row) {
                    self.field.clear();
                    column.write_text(row, &mut self.field);
                    write_field(&self.field, out);
                }
            }
            out.push(b'\n');
        }
        Ok(())
    }

    fn finish(&mut self, _stats: &SqlStats, _out: &mut Vec<u8>) -> Result<(), ArrowError> {
        Ok(())
    }
}

fn write_field(text: &[u8], out: &mut Vec<u8>) {
    let is_plain = !text.is_empty() && !text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r'));
    if is_plain {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}
