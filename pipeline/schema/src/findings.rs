//! Columns of `findings`: one row per rule that fired.

use crate::field::{optional, required, timestamp};
use arrow_schema::DataType::{Int32, List, Utf8};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// Time of the event.
pub const TS: &str = "ts";
/// Name of the rule.
pub const RULE: &str = "rule";
/// Priority of the rule.
pub const PRIORITY: &str = "priority";
/// Source of the event.
pub const SOURCE: &str = "source";
/// Tags of the rule.
pub const TAGS: &str = "tags";
/// MITRE ATT&CK techniques and tactics among the tags.
pub const TECHNIQUES: &str = "techniques";
/// The rule's output.
pub const OUTPUT: &str = "output";
/// The fields in the output.
pub const OUTPUT_FIELDS: &str = "output_fields";
/// The event's identity.
pub const EVENT_ID: &str = "event_id";
/// Host name.
pub const HOST: &str = "host";
/// Container.
pub const CONTAINER_ID: &str = "container_id";
/// Process.
pub const PID: &str = "pid";
/// The process's ancestors.
pub const ANCESTOR_PIDS: &str = "ancestor_pids";

/// A list whose items are never null.
fn list(item: DataType) -> DataType {
    List(Arc::new(Field::new("item", item, false)))
}

/// The schema of `findings`.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            required(TS, timestamp(), "time of the event, microseconds UTC"),
            required(RULE, Utf8, "name of the rule"),
            required(PRIORITY, Utf8, "Emergency, Alert, Critical, Error, Warning, Notice, Informational or Debug"),
            required(SOURCE, Utf8, "source of the event: syscall, k8s_audit, aws_cloudtrail, json"),
            required(TAGS, list(Utf8), "tags of the rule, sorted"),
            required(TECHNIQUES, list(Utf8), "MITRE ATT&CK techniques and tactics among the tags: T1059.004, TA0003"),
            required(OUTPUT, Utf8, "what the rule prints: time, priority, and its output with values filled in"),
            required(OUTPUT_FIELDS, Utf8, "the fields in the output as a JSON object; null where there is no value"),
            optional(
                EVENT_ID,
                Utf8,
                "auditID of Kubernetes, eventID of CloudTrail, host/incarnation/cpu/seq of a kernel event",
            ),
            optional(HOST, Utf8, "host name; null for events that happen on no host"),
            optional(CONTAINER_ID, Utf8, "first 12 hex digits of the container's id; host outside containers"),
            optional(PID, Int32, "process id in the initial pid namespace"),
            required(ANCESTOR_PIDS, list(Int32), "process ids of the ancestors, the parent first; empty where unknown"),
        ]))
    });
    SCHEMA.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_comment_and_the_sort_columns_are_never_null() {
        assert!(schema().fields().iter().all(|field| field.metadata().contains_key(crate::COMMENT)));
        assert!([RULE, TS].iter().all(|name| !schema().field_with_name(name).unwrap().is_nullable()));
    }
}
