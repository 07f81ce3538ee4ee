//! Columns of `drops`: every row that was wanted and is not stored (DROP-1).

use crate::field::{required, timestamp};
use arrow_schema::DataType::{Int64, Utf8};
use arrow_schema::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// When the loss was noticed.
pub const TS: &str = "ts";
/// Who lost the rows.
pub const PRODUCER: &str = "producer";
/// Class of the rows.
pub const CLASS: &str = "class";
/// Why they were lost.
pub const REASON: &str = "reason";
/// How many.
pub const COUNT: &str = "count";

/// The schema of `drops`.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            required(TS, timestamp(), "when the loss was noticed"),
            required(PRODUCER, Utf8, "who lost the rows: <host_id>/<class>, or the server's node"),
            required(CLASS, Utf8, "class of the rows: security, audit, metrics, debug"),
            required(REASON, Utf8, "why: ring_full, spool_full, quarantined, ..."),
            required(COUNT, Int64, "number of rows"),
        ]))
    });
    SCHEMA.clone()
}
