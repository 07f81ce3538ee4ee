//! `{"columns": [{"name", "type"}], "rows": [[...], ...], "stats": {...}}`, one row per line.
//!
//! | Arrow | JSON |
//! |---|---|
//! | integers, floats | numbers, all 64 bits; `"NaN"`, `"Infinity"`, `"-Infinity"` as texts, since JSON has no such numbers |
//! | text, boolean, null | the same |
//! | timestamp | RFC 3339 in UTC with the digits of its unit: `2026-11-22T00:00:00.000001Z`; without a zone it is UTC |
//! | date | `2026-11-22` |
//! | decimal | text, which keeps every digit |
//! | binary | text, lower-case hexadecimal |
//! | list | array |
//! | map, struct | object |
//! | time of day, duration, interval | text as Arrow displays it |

use super::{Column, Encoder};
use crate::engine::SqlStats;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use serde::Serialize;

/// Writes the JSON document.
pub(super) struct JsonEncoder {
    schema: SchemaRef,
    has_rows: bool,
}

impl JsonEncoder {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, has_rows: false }
    }
}

impl Encoder for JsonEncoder {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        out.extend_from_slice(b"{\"columns\":[");
        for (i, field) in self.schema.fields().iter().enumerate() {
            out.extend_from_slice(if i == 0 { b"{\"name\":" } else { b",{\"name\":" });
            write_string(field.name(), out);
            out.extend_from_slice(b",\"type\":");
            write_string(&type_name(field.data_type()), out);
            out.push(b'}');
        }
        out.extend_from_slice(b"],\"rows\":[");
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let columns = Column::all(batch)?;
        for row in 0..batch.num_rows() {
            out.extend_from_slice(if self.has_rows { b",\n[" } else { b"\n[" });
            self.has_rows = true;
            for (i, column) in columns.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                column.write_json(row, out);
            }
            out.push(b']');
        }
        Ok(())
    }

    fn finish(&mut self, stats: &SqlStats, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        out.extend_from_slice(b"\n],\"stats\":");
        write_value(stats, out);
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

/// Appends `text` as a JSON string.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    write_value(text, out);
}

/// Appends a value that always serializes: into a Vec, without maps whose keys are no texts.
pub(super) fn write_value<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("invariant: plain values serialize into memory");
}

/// Name of a type in `columns`: Arrow's own, without what is mere encoding (views, dictionaries, offsets' width).
pub fn type_name(data_type: &DataType) -> String {
    let field_type = |field: &Field| type_name(field.data_type());
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => "Utf8".to_owned(),
        DataType::BinaryView | DataType::LargeBinary => "Binary".to_owned(),
        DataType::Dictionary(_, values) => type_name(values),
        DataType::RunEndEncoded(_, values) => field_type(values),
        DataType::Timestamp(unit, Some(_)) => format!("Timestamp({}, UTC)", unit_name(*unit)),
        DataType::Timestamp(unit, None) => format!("Timestamp({})", unit_name(*unit)),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("Time({})", unit_name(*unit)),
        DataType::Duration(unit) => format!("Duration({})", unit_name(*unit)),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _) => format!("List({})", field_type(field)),
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("{} {}", field.name(), field_type(field))).collect();
            format!("Struct({})", fields.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                let types: Vec<String> = fields.iter().map(|field| field_type(field)).collect();
                format!("Map({})", types.join(", "))
            }
            other => format!("Map({other})"),
        },
        other => other.to_string(),
    }
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}
