//! Columns of what the dataflow makes: `windows`, `evaluations`, `alerts`, `deliveries`.

use crate::field::{optional, required, string_map, timestamp};
use arrow_schema::DataType::{Float64, Int64, Utf8};
use arrow_schema::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// When it happened; of a window, its start.
pub const TS: &str = "ts";
/// Name of the window operator.
pub const OPERATOR: &str = "operator";
/// End of a window, exclusive.
pub const WINDOW_END: &str = "window_end";
/// Values of the group, or the identity of an alert or a delivery.
pub const KEY: &str = "key";
/// Mergeable states of the aggregates.
pub const PARTIAL: &str = "partial";
/// Name of an alert rule.
pub const RULE: &str = "rule";
/// What a row of `evaluations` says.
pub const KIND: &str = "kind";
/// Labels of a series or an alert.
pub const LABELS: &str = "labels";
/// The value that was compared.
pub const VALUE: &str = "value";
/// State of an alert or a delivery.
pub const STATE: &str = "state";
/// Severity of the rule.
pub const SEVERITY: &str = "severity";
/// Texts for people.
pub const ANNOTATIONS: &str = "annotations";
/// Since when the alert's condition holds.
pub const STARTS_AT: &str = "starts_at";
/// Where a delivery goes.
pub const CHANNEL: &str = "channel";
/// Attempts that a delivery took.
pub const ATTEMPTS: &str = "attempts";
/// Why a delivery was given up.
pub const REASON: &str = "reason";

/// The schema of `windows`: results of window operators as partials that are merged by whoever reads them.
pub fn windows_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            required(OPERATOR, Utf8, "window operator in the configuration; SQL sees its merged rows under that name"),
            required(TS, timestamp(), "start of the pane: of the window, or of the slide of a sliding one"),
            required(WINDOW_END, timestamp(), "end of the pane, exclusive"),
            required(KEY, Utf8, "values of the group as a JSON object"),
            required(PARTIAL, Utf8, "states of the aggregates as a JSON object; late rows add further partials"),
        ]))
    });
    SCHEMA.clone()
}

/// The schema of `evaluations`: what scheduled queries of alert rules answered, and the ticks of their clock.
pub fn evaluations_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            required(TS, timestamp(), "time of the evaluation"),
            required(RULE, Utf8, "alert rule; empty for a tick"),
            required(
                KIND,
                Utf8,
                "firing, held or clear: what the conditions say of a series; done: there are no more; tick: time passed; \
                 posted: an alert of somebody else",
            ),
            required(LABELS, Utf8, "labels as a JSON object; of a posted alert, all of it"),
            optional(VALUE, Float64, "value of the series; null where the query gave none"),
        ]))
    });
    SCHEMA.clone()
}

/// The schema of `alerts`.
pub fn alerts_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            required(TS, timestamp(), "when the state changed"),
            required(RULE, Utf8, "alert rule"),
            required(STATE, Utf8, "pending, firing, resolved, or inactive after pending"),
            required(SEVERITY, Utf8, "severity of the rule"),
            string_map(LABELS, "labels of the alert, those of the rule included"),
            optional(VALUE, Float64, "value at the change"),
            required(KEY, Utf8, "identity of the alert: a hash of its rule and labels"),
            string_map(ANNOTATIONS, "texts of the rule with values filled in"),
            required(STARTS_AT, timestamp(), "since when the condition holds"),
        ]))
    });
    SCHEMA.clone()
}

/// The schema of `deliveries`.
pub fn deliveries_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            required(TS, timestamp(), "when the delivery ended"),
            required(CHANNEL, Utf8, "channel in the configuration"),
            required(KEY, Utf8, "idempotency key: equal for every attempt, and after a restart"),
            required(STATE, Utf8, "sent, or dead: it was given up"),
            required(ATTEMPTS, Int64, "attempts since the last start of the server"),
            optional(REASON, Utf8, "why it was given up"),
        ]))
    });
    SCHEMA.clone()
}
