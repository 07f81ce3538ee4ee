//! Columns of `queries`: one row per query that was asked.

use crate::field::{optional, required, timestamp};
use arrow_schema::DataType::{Float64, Int64, Utf8};
use arrow_schema::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// When the query was asked.
pub const TS: &str = "ts";
/// Who asked.
pub const PRINCIPAL: &str = "principal";
/// What was asked.
pub const TEXT: &str = "text";
/// Rows of the answer.
pub const ROWS: &str = "rows";
/// Bytes read from files.
pub const BYTES_SCANNED: &str = "bytes_scanned";
/// How long it took.
pub const DURATION_MS: &str = "duration_ms";
/// Why it failed.
pub const ERROR: &str = "error";

/// The schema of `queries`.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            required(TS, timestamp(), "when the query was asked"),
            required(PRINCIPAL, Utf8, "who asked: the tenant"),
            required(TEXT, Utf8, "what was asked; cut after 8192 bytes"),
            required(ROWS, Int64, "rows of the answer, as far as it came"),
            required(BYTES_SCANNED, Int64, "bytes read from files"),
            required(DURATION_MS, Float64, "milliseconds from the question to the last row"),
            optional(ERROR, Utf8, "why it failed, or that nobody waited for the answer; null where it was answered"),
        ]))
    });
    SCHEMA.clone()
}
