//! Columns of `series`, `samples` and `histograms`.

use crate::field::{required, string_map, timestamp};
use arrow_schema::DataType::{Float64, Int32, Int64, Utf8};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
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

/// Number of observations of a native histogram.
pub const COUNT: &str = "count";
/// Sum of the observations.
pub const SUM: &str = "sum";
/// Resolution of the exponential buckets, or -53 for custom bounds.
pub const BUCKET_SCHEMA: &str = "bucket_schema";
/// Width of the zero bucket.
pub const ZERO_THRESHOLD: &str = "zero_threshold";
/// Observations in the zero bucket.
pub const ZERO_COUNT: &str = "zero_count";
/// Gaps before the spans of positive buckets.
pub const POSITIVE_OFFSETS: &str = "positive_offsets";
/// Lengths of the spans of positive buckets.
pub const POSITIVE_LENGTHS: &str = "positive_lengths";
/// Observations of the positive buckets.
pub const POSITIVE_COUNTS: &str = "positive_counts";
/// Gaps before the spans of negative buckets.
pub const NEGATIVE_OFFSETS: &str = "negative_offsets";
/// Lengths of the spans of negative buckets.
pub const NEGATIVE_LENGTHS: &str = "negative_lengths";
/// Observations of the negative buckets.
pub const NEGATIVE_COUNTS: &str = "negative_counts";
/// Upper bounds of custom buckets.
pub const CUSTOM_BOUNDS: &str = "custom_bounds";
/// What the sender knows of a counter reset.
pub const RESET_HINT: &str = "reset_hint";

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

/// A list whose items are never null.
fn list(name: &str, item: DataType, comment: &str) -> Field {
    required(name, DataType::List(Arc::new(Field::new("item", item, false))), comment)
}

/// The schema of `histograms`. Counts of integer histograms are exact up to 2^53.
pub fn histograms_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            required(SERIES_ID, Int64, "the series, as in table series"),
            required(METRIC_ID, Int64, "xxh3-64 of the metric name"),
            required(TS, timestamp(), "time of the sample, whole milliseconds"),
            required(COUNT, Float64, "number of observations"),
            required(SUM, Float64, "sum of the observations; NaN payloads are kept (stale markers)"),
            required(BUCKET_SCHEMA, Int32, "resolution: bounds are powers of 2^(2^-schema); -53 for custom bounds"),
            required(ZERO_THRESHOLD, Float64, "observations up to this size are in the zero bucket"),
            required(ZERO_COUNT, Float64, "observations in the zero bucket"),
            list(POSITIVE_OFFSETS, Int32, "gap before each span of positive buckets; the first is an index"),
            list(POSITIVE_LENGTHS, Int32, "number of buckets of each span"),
            list(POSITIVE_COUNTS, Float64, "observations of each positive bucket, absolute"),
            list(NEGATIVE_OFFSETS, Int32, "gap before each span of negative buckets; the first is an index"),
            list(NEGATIVE_LENGTHS, Int32, "number of buckets of each span"),
            list(NEGATIVE_COUNTS, Float64, "observations of each negative bucket, absolute"),
            list(CUSTOM_BOUNDS, Float64, "upper bounds of custom buckets, the infinite one left out"),
            required(RESET_HINT, Int32, "counter reset: 0 unknown, 1 yes, 2 no, 3 gauge"),
        ]))
    });
    SCHEMA.clone()
}
