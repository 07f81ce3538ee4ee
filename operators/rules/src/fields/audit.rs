//! JSON documents as rows of `audit`, and back.

use super::document::{Document, as_text, walk};
use crate::eval::column::Column;
use crate::load::Source;
use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use bodkin_schema::audit;
use serde_json::Value;
use std::sync::Arc;

/// Rows of the stream `audit` for documents of a source, in their order.
pub fn audit_rows(source: Source, documents: &[Document]) -> RecordBatch {
    let required = |of: fn(Source, &Value) -> Option<String>| -> ArrayRef {
        let texts = documents.iter().map(|document| of(source, &document.value).unwrap_or_default());
        Arc::new(StringArray::from_iter_values(texts))
    };
    let optional = |of: fn(Source, &Value) -> Option<String>| -> ArrayRef {
        Arc::new(documents.iter().map(|document| of(source, &document.value)).collect::<StringArray>())
    };
    let times = documents.iter().map(|document| document.time_ns.div_euclid(1000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        Arc::new(StringArray::from(vec![source.name(); documents.len()])),
        required(actor),
        optional(verb),
        optional(object),
        optional(namespace),
        optional(result),
        optional(source_ip),
        optional(event_id),
        Arc::new(StringArray::from_iter_values(documents.iter().map(|document| document.value.to_string()))),
    ];
    RecordBatch::try_new(audit::schema(), columns).expect("invariant: columns are those of the schema")
}

/// What tells an event from all others, however often it is sent; none where it says nothing of that. Kubernetes writes
/// an event for each stage of a request.
pub fn audit_identity(source: Source, value: &Value) -> Option<String> {
    let id = text(value, &[source.id_key()?])?;
    match source {
        Source::K8sAudit => Some(format!("{id}/{}", text(value, &["stage"]).unwrap_or_default())),
        Source::AwsCloudtrail => Some(id),
        Source::Syscall | Source::Json => None,
    }
}

/// The documents of one source in rows of `audit`, each numbered by its row. A row that holds no JSON has none: it did
/// not come from [`audit_rows`].
pub(crate) fn documents(source: Source, rows: &RecordBatch) -> Vec<Document> {
    let [sources, raw] = [audit::SOURCE, audit::RAW].map(|name| rows.column_by_name(name).map(Column::new));
    let (Some(sources), Some(raw)) = (sources, raw) else { return Vec::new() };
    let of_source = (0..rows.num_rows()).filter(|row| sources.text(*row) == Some(source.name().as_bytes()));
    let documents = of_source.filter_map(|row| {
        let value: Value = serde_json::from_slice(raw.text(row)?).ok()?;
        Some(Document { time_ns: super::document::time_ns(source, &value).ok()?, value, number: row as i64 + 1 })
    });
    documents.collect()
}

fn text(value: &Value, path: &[&str]) -> Option<String> {
    walk(value, path).filter(|found| !found.is_null()).map(as_text)
}

fn actor(source: Source, value: &Value) -> Option<String> {
    match source {
        Source::K8sAudit => text(value, &["user", "username"]),
        Source::AwsCloudtrail => text(value, &["userIdentity", "userName"])
            .or_else(|| text(value, &["userIdentity", "sessionContext", "sessionIssuer", "userName"]))
            .or_else(|| text(value, &["userIdentity", "arn"]))
            .or_else(|| text(value, &["userIdentity", "invokedBy"]))
            .or_else(|| text(value, &["userIdentity", "principalId"])),
        Source::Syscall | Source::Json => text(value, &["user"]),
    }
}

fn verb(source: Source, value: &Value) -> Option<String> {
    match source {
        Source::AwsCloudtrail => text(value, &["eventName"]),
        _ => text(value, &["verb"]),
    }
}

fn object(source: Source, value: &Value) -> Option<String> {
    match source {
        Source::K8sAudit => {
            let parts = ["resource", "subresource", "name"].map(|key| text(value, &["objectRef", key]));
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            if parts.is_empty() { text(value, &["requestURI"]) } else { Some(parts.join("/")) }
        }
        Source::AwsCloudtrail => text(value, &["eventSource"]),
        Source::Syscall | Source::Json => text(value, &["object"]),
    }
}

fn namespace(source: Source, value: &Value) -> Option<String> {
    match source {
        Source::K8sAudit => text(value, &["objectRef", "namespace"]),
        Source::AwsCloudtrail => text(value, &["awsRegion"]),
        Source::Syscall | Source::Json => text(value, &["namespace"]),
    }
}

fn result(source: Source, value: &Value) -> Option<String> {
    match source {
        Source::K8sAudit => text(value, &["responseStatus", "code"]),
        Source::AwsCloudtrail => Some(text(value, &["errorCode"]).unwrap_or_else(|| "success".to_owned())),
        Source::Syscall | Source::Json => text(value, &["result"]),
    }
}

fn source_ip(source: Source, value: &Value) -> Option<String> {
    match source {
        Source::K8sAudit => text(value, &["sourceIPs", "0"]),
        Source::AwsCloudtrail => text(value, &["sourceIPAddress"]),
        Source::Syscall | Source::Json => text(value, &["source_ip"]),
    }
}

fn event_id(source: Source, value: &Value) -> Option<String> {
    value.get(source.id_key()?)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::document::Documents;
    use arrow::array::AsArray;

    #[test]
    fn documents_become_rows_and_come_back() {
        let k8s = br#"{"kind":"Event","auditID":"i","stageTimestamp":"2026-01-02T03:04:05.5Z","verb":"create",
            "user":{"username":"eve"},"objectRef":{"resource":"pods","name":"p","namespace":"n"},
            "responseStatus":{"code":201},"sourceIPs":["10.0.0.1"]}"#;
        let parsed = Documents::parse(Source::K8sAudit, k8s).unwrap().documents;
        let rows = audit_rows(Source::K8sAudit, &parsed);
        let value = |name: &str| rows.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
        let found = ["source", "actor", "verb", "object", "namespace", "result", "source_ip", "event_id"].map(value);
        assert_eq!(found, ["k8s_audit", "eve", "create", "pods/p", "n", "201", "10.0.0.1", "i"]);
        let back = documents(Source::K8sAudit, &rows);
        assert_eq!((back[0].value == parsed[0].value, back[0].time_ns), (true, parsed[0].time_ns));
        assert!(documents(Source::AwsCloudtrail, &rows).is_empty());
    }

    #[test]
    fn records_of_cloudtrail() {
        let record = br#"{"eventTime":"2026-01-02T03:04:05Z","eventID":"e","eventName":"StopLogging","awsRegion":"r",
            "eventSource":"cloudtrail.amazonaws.com","errorCode":null,
            "userIdentity":{"type":"AssumedRole","arn":"arn:x"},"sourceIPAddress":"1.2.3.4"}"#;
        let parsed = Documents::parse(Source::AwsCloudtrail, record).unwrap().documents;
        let rows = audit_rows(Source::AwsCloudtrail, &parsed);
        let value = |name: &str| rows.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
        assert_eq!(["actor", "verb", "result"].map(value), ["arn:x", "StopLogging", "success"]);
    }
}
