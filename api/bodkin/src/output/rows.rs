//! JSON as a list of objects: what a script wants.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use bodkin_http::SqlStats;
use bodkin_http::encode::{Column, Encoder, write_string};
use std::collections::HashSet;

/// Writes `[`, one object per line, `]`. Of columns with the same name the later ones are numbered: `ts`, `ts_2`.
pub(super) struct RowsEncoder {
    /// Each column's name as JSON, with the colon.
    keys: Vec<Vec<u8>>,
    has_rows: bool,
}

impl RowsEncoder {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let mut taken: HashSet<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let mut seen = HashSet::new();
        let mut keys = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let mut name = field.name().clone();
            if !seen.insert(field.name()) {
                let numbered = (2_usize..).map(|number| format!("{}_{number}", field.name()));
                name = { numbered }.find(|name| taken.insert(name.clone())).unwrap_or(name);
            }
            let mut key = Vec::new();
            write_string(&name, &mut key);
            key.push(b':');
            keys.push(key);
        }
        Self { keys, has_rows: false }
    }
}

impl Encoder for RowsEncoder {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        out.push(b'[');
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let columns = Column::all(batch)?;
        for row in 0..batch.num_rows() {
            out.extend_from_slice(if self.has_rows { b",\n{" } else { b"\n{" });
            self.has_rows = true;
            for (i, (key, column)) in self.keys.iter().zip(&columns).enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(key);
                column.write_json(row, out);
            }
            out.push(b'}');
        }
        Ok(())
    }

    fn finish(&mut self, _stats: &SqlStats, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        out.extend_from_slice(if self.has_rows { b"\n]\n" } else { b"]\n" });
        Ok(())
    }
}
