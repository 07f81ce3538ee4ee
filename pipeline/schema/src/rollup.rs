//! Columns of `rollup_1m`, `rollup_10m`, `rollup_1h`, `rollup_1d`: one row per series and window of a tier.
//!
//! A window holds its start and not its end. PromQL counts the other way round, so a row whose first sample lies on
//! the very start of its window also says what the window is without it (`inner_*`).

use crate::field::{optional, required, timestamp};
use crate::metrics::{METRIC_ID, SERIES_ID};
use arrow_schema::DataType::{Float64, Int64, Utf8};
use arrow_schema::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// Start of the window.
pub const TS: &str = "ts";
/// The smallest value.
pub const MIN: &str = "min";
/// The largest value.
pub const MAX: &str = "max";
/// The sum of the values.
pub const SUM: &str = "sum";
/// The number of samples.
pub const COUNT: &str = "count";
/// Time of the first sample.
pub const FIRST_TS: &str = "first_ts";
/// The first value.
pub const FIRST: &str = "first";
/// Time of the last sample.
pub const LAST_TS: &str = "last_ts";
/// The last value.
pub const LAST: &str = "last";
/// What a counter grew by.
pub const INCREASE: &str = "increase";
/// How often a counter began again.
pub const RESETS: &str = "resets";
/// Which making of the window the row is.
pub const VERSION: &str = "version";
/// Time of the second sample, where the first lies on the start of the window.
pub const INNER_FIRST_TS: &str = "inner_first_ts";
/// Value of the second sample.
pub const INNER_FIRST: &str = "inner_first";
/// The smallest value but the first.
pub const INNER_MIN: &str = "inner_min";
/// The largest value but the first.
pub const INNER_MAX: &str = "inner_max";
/// The sum of the values but the first.
pub const INNER_SUM: &str = "inner_sum";
/// The values by size.
pub const SKETCH: &str = "sketch";

/// The schema of every tier. Stale markers are no samples.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let inner = |name: &str, comment: &str| {
            let data_type = if name == INNER_FIRST_TS { timestamp() } else { Float64 };
            optional(name, data_type, &format!("{comment}; null unless first_ts = ts and count > 1"))
        };
        Arc::new(Schema::new(vec![
            required(SERIES_ID, Int64, "the series, as in table series"),
            required(METRIC_ID, Int64, "xxh3-64 of the metric name"),
            required(TS, timestamp(), "start of the window, which holds its start and not its end"),
            required(MIN, Float64, "smallest value; NaN where all values are"),
            required(MAX, Float64, "largest value; NaN where all values are"),
            required(SUM, Float64, "sum of the values"),
            required(COUNT, Int64, "number of samples, at least 1"),
            required(FIRST_TS, timestamp(), "time of the first sample"),
            required(FIRST, Float64, "value of the first sample"),
            required(LAST_TS, timestamp(), "time of the last sample"),
            required(LAST, Float64, "value of the last sample"),
            required(INCREASE, Float64, "growth from the first to the last sample of a counter, resets counted in"),
            required(RESETS, Int64, "how often a value was less than the one before it in the window"),
            required(VERSION, Int64, "which making of the window it is; a window is in the table once"),
            inner(INNER_FIRST_TS, "time of the second sample"),
            inner(INNER_FIRST, "value of the second sample"),
            inner(INNER_MIN, "smallest value but the first"),
            inner(INNER_MAX, "largest value but the first"),
            inner(INNER_SUM, "sum of the values but the first"),
            optional(SKETCH, Utf8, "values by size, for sketch_quantile; null where none is asked for of the metric"),
        ]))
    });
    SCHEMA.clone()
}
