//! Columns of `audit`: one row per action of a user or an API.

use crate::field::{optional, required, timestamp};
use arrow_schema::DataType::Utf8;
use arrow_schema::{Schema, SchemaRef};
use std::sync::{Arc, LazyLock};

/// Time of the action.
pub const TS: &str = "ts";
/// Which API told of it.
pub const SOURCE: &str = "source";
/// Who acted.
pub const ACTOR: &str = "actor";
/// What was done.
pub const VERB: &str = "verb";
/// To what.
pub const OBJECT: &str = "object";
/// Where that is.
pub const NAMESPACE: &str = "namespace";
/// How it ended.
pub const RESULT: &str = "result";
/// Where the actor came from.
pub const SOURCE_IP: &str = "source_ip";
/// The record's identity.
pub const EVENT_ID: &str = "event_id";
/// The record.
pub const RAW: &str = "raw";

/// The schema of `audit`.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            required(
                TS,
                timestamp(),
                "time of the action, microseconds UTC: stageTimestamp of Kubernetes, eventTime of CloudTrail",
            ),
            required(SOURCE, Utf8, "which API told of it: k8s_audit, aws_cloudtrail, json"),
            required(ACTOR, Utf8, "user, service account or role that acted; empty where unknown"),
            optional(VERB, Utf8, "what was done: get, create, RunInstances, ..."),
            optional(OBJECT, Utf8, "to what: resource/name of Kubernetes, the event source of CloudTrail"),
            optional(NAMESPACE, Utf8, "namespace of Kubernetes, region of AWS"),
            optional(RESULT, Utf8, "how it ended: the HTTP status of Kubernetes, success or the error code of AWS"),
            optional(SOURCE_IP, Utf8, "address that the request came from"),
            optional(EVENT_ID, Utf8, "auditID of Kubernetes, eventID of CloudTrail"),
            required(RAW, Utf8, "the record as JSON text"),
        ]))
    });
    SCHEMA.clone()
}
