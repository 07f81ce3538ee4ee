//! Columns of `series` and `samples`.

use crate::field::{required, string_map, timestamp};
use arrow_schema::DataType::{Float64, Int64, Utf8};
use arrow_schema::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// Identity of the series: xxh3-64 of its canonical labels.
pub const SERIES_ID: &str = "series_id";
/// Identity of the metric: xxh3-64 of its name.
pub const METRIC_ID: &str = "metric_id";
/// Metric name.
pub const NAME: &str = "name";
/// Labels without the name.
pub const LABELS: &str = "labels";
/// First time the series was sent.
pub const FIRST_SEEN: &str = "first_seen";
/// Last time the series was sent.
pub const LAST_SEEN: &str = "last_seen";
/// Time of a sample.
pub const TS: &str = "ts";
/// Value of a sample.
pub const VALUE: &str = "value";

/// The schema of `series`.
pub fn series_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            required(SERIES_ID, Int64, "xxh3-64 of the canonical labels"),
            required(METRIC_ID, Int64, "xxh3-64 of the metric name"),
            required(NAME, Utf8, "metric name"),
            string_map(LABELS, "labels without the name"),
            required(FIRST_SEEN, timestamp(), "first time the producer sent the series"),
            required(LAST_SEEN, timestamp(), "last time the producer announced the series"),
        ]))
    });
    SCHEMA.clone()
}

/// The schema of `samples`.
pub fn samples_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            required(SERIES_ID, Int64, "the series, as in table series"),
            required(METRIC_ID, Int64, "xxh3-64 of the metric name"),
            required(TS, timestamp(), "time of the sample, whole milliseconds"),
            required(VALUE, Float64, "value; NaN payloads are kept (stale markers)"),
        ]))
    });
    SCHEMA.clone()
}
