//! What is known of a table's log, and the Delta actions that change it. No input or output.

use crate::checkpoint::Checkpoint;
use crate::file::{partition_values, table_schema};
use crate::log::{CommitRequest, LogState};
use crate::suffixed::Suffixed;
use crate::{DATE, Error, PreparedFile, Result, TENANT, TableFile};
use bodkin_schema::{Epoch, Stream};
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::{Action, Add, CommitInfo, Metadata, Protocol, Remove, StructType, Transaction};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const READER_VERSION: i64 = 1;
const WRITER_VERSION: i64 = 2;

/// The state of a log, and what is needed to change it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) state: LogState,
    /// The table's metadata as its JSON; none before the first commit.
    metadata: Option<Arc<Value>>,
    /// Columns of ours that the table's schema does not have yet.
    missing_columns: usize,
}

impl Known {
    /// Refuses tables that another tool has given features to which we would do harm.
    pub(crate) fn take_protocol(&mut self, stream: Stream, protocol: &Protocol) -> Result<()> {
        let value = to_value(stream, protocol)?;
        let version = |name: &str| value.get(name).and_then(Value::as_i64).unwrap_or_default();
        let (reader, writer) = (version("minReaderVersion"), version("minWriterVersion"));
        if reader > READER_VERSION || writer > WRITER_VERSION {
            return Err(Error::Newer {
                path: stream.to_string(),
                found: format!("reader {reader}, writer {writer}"),
                known: format!("reader {READER_VERSION}, writer {WRITER_VERSION}"),
            });
        }
        Ok(())
    }

    pub(crate) fn take_metadata(&mut self, stream: Stream, metadata: &Metadata) -> Result<()> {
        let value = to_value(stream, metadata)?;
        let fields = schema_fields(stream, &value)?;
        let present: HashSet<&str> = fields.iter().filter_map(|field| field.get("name")?.as_str()).collect();
        self.state.suffixed = Suffixed::of_names(stream, present.iter().copied());
        let ours = table_schema(stream, &self.state.suffixed);
        self.missing_columns = ours.fields().iter().filter(|field| !present.contains(field.name().as_str())).count();
        self.metadata = Some(Arc::new(value));
        Ok(())
    }

    /// What a checkpoint of version `version` says.
    pub(crate) fn of_checkpoint(stream: Stream, version: u64, checkpoint: Checkpoint) -> Result<Self> {
        let mut known = Self::default();
        if let Some(protocol) = &checkpoint.protocol {
            known.take_protocol(stream, protocol)?;
        }
        if let Some(metadata) = &checkpoint.metadata {
            known.take_metadata(stream, metadata)?;
        }
        known.state.version = Some(version);
        known.state.epoch = checkpoint.epoch.map(Epoch);
        known.state.files = Arc::new(checkpoint.files);
        Ok(known)
    }

    /// Takes what version `version` of the log says.
    pub(crate) fn apply(&mut self, stream: Stream, node: &str, version: u64, actions: &[Action]) -> Result<()> {
        self.apply_all(stream, node, &[(version, actions)])
    }

    /// Takes what versions of the log say, one after the other. Costs one pass over the files of the table for all.
    pub(crate) fn apply_all(&mut self, stream: Stream, node: &str, versions: &[(u64, &[Action])]) -> Result<()> {
        let mut gone = HashSet::new();
        // In order of their addition; none where a later version took it back or replaced it.
        let mut added: Vec<Option<Arc<TableFile>>> = Vec::new();
        let mut places = HashMap::new();
        for (version, actions) in versions {
            let mut adds = Vec::new();
            for action in *actions {
                match action {
                    Action::Add(add) => adds.push(add),
                    Action::Remove(remove) => {
                        gone.insert(remove.path.as_str());
                        if let Some(place) = places.remove(remove.path.as_str()) {
                            added[place] = None;
                        }
                    }
                    Action::Txn(txn) if txn.app_id == node => {
                        self.state.epoch = self.state.epoch.max(u64::try_from(txn.version).ok().map(Epoch));
                    }
                    Action::Protocol(protocol) => self.take_protocol(stream, protocol)?,
                    Action::Metadata(metadata) => self.take_metadata(stream, metadata)?,
                    _ => {}
                }
            }
            for add in adds {
                // A file that is added again replaces what was known of it.
                gone.insert(add.path.as_str());
                if let Some(place) = places.insert(add.path.as_str(), added.len()) {
                    added[place] = None;
                }
                added.push(Some(Arc::new(TableFile::new(stream, &from_add(add))?)));
            }
            self.state.version = Some(*version);
        }
        if !gone.is_empty() {
            let kept = self.state.files.iter().filter(|file| !gone.contains(file.path.as_str()));
            self.state.files = Arc::new(kept.cloned().chain(added.into_iter().flatten()).collect());
        }
        Ok(())
    }

    /// The actions of the next version. The first version makes the table, too.
    pub(crate) fn actions(
        &self,
        stream: Stream,
        node: &str,
        request: &CommitRequest,
        now_ms: i64,
    ) -> Result<Vec<Action>> {
        self.refuse_missing(stream, request)?;
        let added = request.adds.iter().flat_map(|file| &file.suffixed).map(String::as_str);
        let suffixed = self.state.suffixed.with(&Suffixed::of_names(stream, added));
        let mut actions = vec![Action::CommitInfo(commit_info(request, now_ms))];
        match &self.metadata {
            None => {
                actions.push(Action::Protocol(from_value(
                    stream,
                    json!({"minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION}),
                )?));
                actions.push(Action::Metadata(new_metadata(stream, &suffixed, now_ms)?));
            }
            Some(metadata) if self.missing_columns > 0 || suffixed != self.state.suffixed => {
                actions.push(Action::Metadata(with_missing_columns(stream, &suffixed, metadata)?));
            }
            Some(_) => {}
        }
        let data_change = !request.is_rewrite;
        actions.extend(request.adds.iter().map(|file| Action::Add(to_add(file, data_change))));
        actions.extend(request.removes.iter().map(|file| Action::Remove(to_remove(file, data_change, now_ms))));
        if let Some(Epoch(epoch)) = request.epoch {
            let version = i64::try_from(epoch).unwrap_or(i64::MAX);
            actions.push(Action::Txn(Transaction::new_with_last_update(node, version, Some(now_ms))));
        }
        Ok(actions)
    }

    fn refuse_missing(&self, stream: Stream, request: &CommitRequest) -> Result<()> {
        if request.removes.is_empty() {
            return Ok(());
        }
        let present: HashSet<&str> = self.state.files.iter().map(|file| file.path.as_str()).collect();
        match request.removes.iter().find(|file| !present.contains(file.path.as_str())) {
            Some(file) => Err(Error::Conflict { table: stream, reason: format!("{} is no longer there", file.path) }),
            None => Ok(()),
        }
    }
}

/// The bytes of a log entry: one action per line.
pub(crate) fn to_lines(stream: Stream, actions: &[Action]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for action in actions {
        serde_json::to_writer(&mut bytes, action).map_err(|error| malformed(stream, &error))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

pub(crate) fn partition_value(values: &HashMap<String, Option<String>>, name: &str) -> String {
    values.get(name).cloned().flatten().unwrap_or_default()
}

fn commit_info(request: &CommitRequest, now_ms: i64) -> CommitInfo {
    let operation = match (request.is_rewrite, request.removes.is_empty()) {
        (true, _) => "OPTIMIZE",
        (false, true) => "WRITE",
        (false, false) if request.adds.is_empty() => "DELETE",
        (false, false) => "MERGE",
    };
    CommitInfo {
        timestamp: Some(now_ms),
        operation: Some(operation.to_owned()),
        operation_parameters: Some(HashMap::from([("mode".to_owned(), json!("Append"))])),
        is_blind_append: Some(request.removes.is_empty()),
        engine_info: Some(concat!("bodkin/", env!("CARGO_PKG_VERSION")).to_owned()),
        ..Default::default()
    }
}

fn new_metadata(stream: Stream, suffixed: &Suffixed, now_ms: i64) -> Result<Metadata> {
    let schema = delta_schema(stream, suffixed)?;
    let value = json!({
        "id": uuid::Uuid::new_v4().to_string(),
        "name": stream.name(),
        "description": stream.comment(),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema.to_string(),
        "partitionColumns": [TENANT, DATE],
        "createdTime": now_ms,
        "configuration": {
            "delta.logRetentionDuration": "interval 2 days",
            "delta.checkpointInterval": crate::delta::CHECKPOINT_INTERVAL.to_string(),
        },
    });
    from_value(stream, value)
}

/// The table's metadata with our columns that it lacks. Columns of others stay; a column that is new to the table is
/// nullable, since the files it has do not hold it.
fn with_missing_columns(stream: Stream, suffixed: &Suffixed, metadata: &Value) -> Result<Metadata> {
    let mut fields = schema_fields(stream, metadata)?;
    let present: HashSet<String> =
        fields.iter().filter_map(|field| Some(field.get("name")?.as_str()?.to_owned())).collect();
    let ours = delta_schema(stream, suffixed)?;
    for field in ours.get("fields").and_then(Value::as_array).into_iter().flatten() {
        let mut field = field.clone();
        if field.get("name").and_then(Value::as_str).is_some_and(|name| !present.contains(name)) {
            field["nullable"] = true.into();
            fields.push(field);
        }
    }
    let mut metadata = metadata.clone();
    metadata["schemaString"] = json!({"type": "struct", "fields": fields}).to_string().into();
    from_value(stream, metadata)
}

fn delta_schema(stream: Stream, suffixed: &Suffixed) -> Result<Value> {
    let schema: std::result::Result<StructType, _> = table_schema(stream, suffixed).as_ref().try_into_kernel();
    to_value(stream, &schema.map_err(|source| Error::Rows { table: stream, source })?)
}

fn schema_fields(stream: Stream, metadata: &Value) -> Result<Vec<Value>> {
    let text = metadata.get("schemaString").and_then(Value::as_str).unwrap_or_default();
    let mut schema: Value = serde_json::from_str(text).map_err(|error| malformed(stream, &error))?;
    match schema.get_mut("fields").map(Value::take) {
        Some(Value::Array(fields)) => Ok(fields),
        _ => Err(malformed(stream, &"a schema without fields")),
    }
}

fn from_add(add: &Add) -> PreparedFile {
    PreparedFile {
        path: add.path.clone(),
        size: add.size.try_into().unwrap_or_default(),
        rows: 0,
        tenant: partition_value(&add.partition_values, TENANT),
        date: partition_value(&add.partition_values, DATE),
        modified_ms: add.modification_time,
        stats: add.stats.clone().unwrap_or_default(),
        suffixed: Vec::new(),
    }
}

fn to_add(file: &PreparedFile, data_change: bool) -> Add {
    Add {
        path: file.path.clone(),
        partition_values: partition_values(&file.tenant, &file.date),
        size: i64::try_from(file.size).unwrap_or(i64::MAX),
        modification_time: file.modified_ms,
        data_change,
        stats: Some(file.stats.clone()),
        ..Default::default()
    }
}

fn to_remove(file: &TableFile, data_change: bool, now_ms: i64) -> Remove {
    Remove {
        path: file.path.clone(),
        data_change,
        deletion_timestamp: Some(now_ms),
        extended_file_metadata: Some(true),
        partition_values: Some(file.partition_values()),
        size: Some(i64::try_from(file.size).unwrap_or(i64::MAX)),
        ..Default::default()
    }
}

fn malformed(stream: Stream, reason: &dyn std::fmt::Display) -> Error {
    Error::Corrupt { path: format!("{stream}/_delta_log"), reason: reason.to_string() }
}

fn to_value(stream: Stream, value: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| malformed(stream, &error))
}

/// An action's part of a checkpoint, as JSON.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(stream: Stream, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| malformed(stream, &error))
}

fn from_value<T: serde::de::DeserializeOwned>(stream: Stream, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| malformed(stream, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(actions: &[Action]) -> Option<Value> {
        actions.iter().find_map(|action| match action {
            Action::Metadata(metadata) => Some(serde_json::to_value(metadata).unwrap()),
            _ => None,
        })
    }

    fn epoch(number: u64) -> CommitRequest {
        CommitRequest { epoch: Some(Epoch(number)), ..Default::default() }
    }

    #[test]
    fn the_first_version_makes_the_table() {
        let mut known = Known::default();
        let first = known.actions(Stream::Series, "n", &epoch(1), 5).unwrap();
        assert!(matches!(first[0], Action::CommitInfo(_)));
        let schema: Value = serde_json::from_str(metadata(&first).unwrap()["schemaString"].as_str().unwrap()).unwrap();
        let field = |name: &str| {
            let fields = schema["fields"].as_array().unwrap();
            fields.iter().find(|field| field["name"] == name).unwrap().clone()
        };
        assert_eq!(field("labels")["type"]["type"], "map");
        assert_eq!(field("first_seen")["type"], "timestamp");
        assert_eq!(field("date")["type"], "date");
        assert_eq!(field("name")["metadata"]["comment"], "metric name");
        known.apply(Stream::Series, "n", 0, &first).unwrap();
        assert_eq!((known.state.version, known.state.epoch), (Some(0), Some(Epoch(1))));
        let second = known.actions(Stream::Series, "n", &epoch(2), 6).unwrap();
        assert_eq!(metadata(&second), None);
        assert_eq!(second.len(), 2, "commit info and transaction");
    }

    #[test]
    fn columns_for_values_of_another_type_are_added_with_the_files_that_have_them() {
        let mut known = Known::default();
        let with = |number: u64, suffixed: &[&str]| {
            let file = PreparedFile {
                path: format!("tenant=a/date=2026-03-01/{number}.parquet"),
                size: 1,
                rows: 1,
                tenant: "a".to_owned(),
                date: "2026-03-01".to_owned(),
                modified_ms: 0,
                stats: r#"{"numRecords":1}"#.to_owned(),
                suffixed: suffixed.iter().map(|name| (*name).to_owned()).collect(),
            };
            CommitRequest { adds: vec![file], ..epoch(number) }
        };
        let mut evolutions = Vec::new();
        for (version, suffixed) in
            [&["ts_text"][..], &[], &["ts_text", "count_text"], &["count_text"]].iter().enumerate()
        {
            let request = with(version as u64 + 1, suffixed);
            let actions = known.actions(Stream::Drops, "n", &request, 5).unwrap();
            known.apply(Stream::Drops, "n", version as u64, &actions).unwrap();
            evolutions.push(metadata(&actions).is_some());
        }
        assert_eq!(evolutions, [true, false, true, false]);
        assert_eq!(known.state.suffixed.names(), ["count_text", "ts_text"]);
        let fields = schema_fields(Stream::Drops, known.metadata.as_ref().unwrap()).unwrap();
        assert_eq!(fields.last().unwrap()["name"], "count_text");
        assert_eq!(
            (&fields.last().unwrap()["type"], &fields.last().unwrap()["nullable"]),
            (&json!("string"), &json!(true))
        );
    }

    #[test]
    fn columns_that_a_table_lacks_are_added_nullable() {
        let mut known = Known::default();
        let first = known.actions(Stream::Drops, "n", &epoch(1), 5).unwrap();
        let mut older = metadata(&first).unwrap();
        let mut fields = schema_fields(Stream::Drops, &older).unwrap();
        fields.retain(|field| field["name"] != "reason");
        fields.push(json!({"name": "theirs", "type": "long", "nullable": true, "metadata": {}}));
        older["schemaString"] = json!({"type": "struct", "fields": fields}).to_string().into();
        known.take_metadata(Stream::Drops, &serde_json::from_value(older).unwrap()).unwrap();
        let actions = known.actions(Stream::Drops, "n", &epoch(2), 6).unwrap();
        let evolved = metadata(&actions).unwrap();
        let names = |metadata: &Value| -> Vec<String> {
            let fields = schema_fields(Stream::Drops, metadata).unwrap();
            fields.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&evolved), ["ts", "producer", "class", "count", "tenant", "date", "theirs", "reason"]);
        let reason = schema_fields(Stream::Drops, &evolved).unwrap().pop().unwrap();
        assert_eq!(reason["nullable"], true);
        known.apply(Stream::Drops, "n", 1, &actions).unwrap();
        assert_eq!(metadata(&known.actions(Stream::Drops, "n", &epoch(3), 7).unwrap()), None);
    }
}
