//! Kernel events that are written as JSON: one object per row, whose keys are columns of `events`.

use super::syscall::column;
use crate::syntax::suggest::did_you_mean;
use arrow::array::{
    ArrayRef, BooleanBuilder, Int64Builder, ListBuilder, MapBuilder, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::DataType;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bodkin_schema::events;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was read from JSON records: events, and why other records are none.
#[derive(Clone, Debug)]
pub struct EventRows {
    /// The events: a column for each key that is one, whole numbers 64 bits wide.
    pub records: RecordBatch,
    /// One message for each record that is no event.
    pub rejected: Vec<String>,
    /// One message for each key that is no column.
    pub left_out: Vec<String>,
}

/// A record that is no event, or a value that does not fit its column.
type Rejection = String;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Time,
    Flag,
    Texts,
    Numbers,
    Pairs,
}

enum Builder {
    Text(StringBuilder),
    Number(Int64Builder),
    Time(Int64Builder),
    Flag(BooleanBuilder),
    Texts(ListBuilder<StringBuilder>),
    Numbers(ListBuilder<Int64Builder>),
    Pairs(MapBuilder<StringBuilder, StringBuilder>),
}

impl EventRows {
    /// Makes rows of records; numbers in messages go on from `before`. A key that is no column of `events` is left
    /// out; where only one of `ts` and `ts_ns` is given, the other follows from it.
    pub fn from_records(records: &[Value], before: usize) -> Self {
        let mut rejected = Vec::new();
        let mut valid: Vec<&Map<String, Value>> = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            match check(record) {
                Ok(record) => valid.push(record),
                Err(why) => rejected.push(format!("record {}: {why}", before + index + 1)),
            }
        }
        Self { records: batch(&valid), rejected, left_out: left_out(&valid) }
    }
}

fn left_out(rows: &[&Map<String, Value>]) -> Vec<String> {
    let keys: BTreeSet<&str> = rows.iter().flat_map(|row| row.keys()).map(String::as_str).collect();
    let unknown = keys.into_iter().filter(|key| kind(key).is_none());
    let schema = events::schema();
    let known = || schema.fields().iter().map(|field| field.name().as_str());
    let message = |key: &str| match did_you_mean(key, known()) {
        Some(hint) => format!("{key} is no column of events: {hint}"),
        None => format!("{key} is no column of events"),
    };
    unknown.map(message).collect()
}

/// The kind of a column by its name; none where there is no such column.
fn kind(name: &str) -> Option<Kind> {
    if let Ok(field) = events::schema().field_with_name(name) {
        return match field.data_type() {
            DataType::Timestamp(..) => Some(Kind::Time),
            DataType::Boolean => Some(Kind::Flag),
            DataType::List(item) if item.data_type().is_integer() => Some(Kind::Numbers),
            DataType::List(_) => Some(Kind::Texts),
            DataType::Map(..) => Some(Kind::Pairs),
            integer if integer.is_integer() => Some(Kind::Number),
            _ => Some(Kind::Text),
        };
    }
    let (_, written) = column::ALL.iter().find(|(known, _)| *known == name)?;
    match written.split([',', ' ']).next().unwrap_or_default() {
        "Int32" | "Int64" => Some(Kind::Number),
        "Boolean" => Some(Kind::Flag),
        "List<Int32>" => Some(Kind::Numbers),
        "List<Utf8>" => Some(Kind::Texts),
        "Map<Utf8" => Some(Kind::Pairs),
        _ => Some(Kind::Text),
    }
}

fn check(record: &Value) -> Result<&Map<String, Value>, Rejection> {
    let record = record.as_object().ok_or("it is no object")?;
    match record.get(events::EVT_TYPE) {
        Some(Value::String(name)) if !name.is_empty() => {}
        Some(_) => return Err(format!("its {} is no text", events::EVT_TYPE)),
        None => return Err(format!("it has no {}", events::EVT_TYPE)),
    }
    for (name, value) in record.iter().filter(|(_, value)| !value.is_null()) {
        let Some(kind) = kind(name) else { continue };
        let fits = match kind {
            Kind::Text => value.is_string(),
            Kind::Number => value.is_i64(),
            Kind::Time => time_us(value).is_some(),
            Kind::Flag => value.is_boolean(),
            Kind::Texts => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
            Kind::Numbers => value.as_array().is_some_and(|items| items.iter().all(Value::is_i64)),
            Kind::Pairs => value.as_object().is_some_and(|pairs| pairs.values().all(Value::is_string)),
        };
        if !fits {
            return Err(format!("{name} is no {}", kind.name()));
        }
    }
    Ok(record)
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "whole number of 64 bits",
            Self::Time => "time: RFC 3339, or microseconds since 1970",
            Self::Flag => "truth value",
            Self::Texts => "list of texts",
            Self::Numbers => "list of whole numbers",
            Self::Pairs => "object of texts",
        }
    }
}

/// A time in nanoseconds since 1970.
fn time_ns(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => {
            let time: jiff::Timestamp = text.parse().ok()?;
            i64::try_from(time.as_nanosecond()).ok()
        }
        other => other.as_i64()?.checked_mul(1000),
    }
}

fn time_us(value: &Value) -> Option<i64> {
    time_ns(value).map(|ns| ns.div_euclid(1000))
}

fn batch(rows: &[&Map<String, Value>]) -> RecordBatch {
    let mut columns: BTreeMap<&str, Builder> = BTreeMap::new();
    for name in rows.iter().flat_map(|row| row.keys()) {
        if !columns.contains_key(name.as_str())
            && let Some(kind) = kind(name)
        {
            columns.insert(name, Builder::new(kind));
        }
    }
    for row in rows {
        columns.iter_mut().for_each(|(name, builder)| builder.push(row.get(*name).unwrap_or(&Value::Null)));
    }
    let mut columns: Vec<(String, ArrayRef)> =
        columns.into_iter().map(|(name, builder)| (name.to_owned(), builder.finish())).collect();
    if let Some(derived) = other_time(rows, &columns) {
        columns.push(derived);
    }
    let fields =
        columns.iter().map(|(name, column)| arrow::datatypes::Field::new(name, column.data_type().clone(), true));
    let schema = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new_with_options(schema, columns, &options).expect("invariant: one value per row in each column")
}

/// `ts_ns` from `ts`, or the other way round.
fn other_time(rows: &[&Map<String, Value>], columns: &[(String, ArrayRef)]) -> Option<(String, ArrayRef)> {
    let has = |name: &str| columns.iter().any(|(known, _)| known == name);
    if has(events::TS) && !has(events::TS_NS) {
        let mut numbers = Int64Builder::new();
        rows.iter().for_each(|row| numbers.append_option(row.get(events::TS).and_then(time_ns)));
        return Some((events::TS_NS.to_owned(), Arc::new(numbers.finish())));
    }
    if has(events::TS_NS) && !has(events::TS) {
        let times = rows.iter().map(|row| Some(row.get(events::TS_NS)?.as_i64()?.div_euclid(1000)));
        let times = times.collect::<TimestampMicrosecondArray>().with_timezone("UTC");
        return Some((events::TS.to_owned(), Arc::new(times)));
    }
    None
}

impl Builder {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Number => Self::Number(Int64Builder::new()),
            Kind::Time => Self::Time(Int64Builder::new()),
            Kind::Flag => Self::Flag(BooleanBuilder::new()),
            Kind::Texts => Self::Texts(ListBuilder::new(StringBuilder::new())),
            Kind::Numbers => Self::Numbers(ListBuilder::new(Int64Builder::new())),
            Kind::Pairs => Self::Pairs(MapBuilder::new(None, StringBuilder::new(), StringBuilder::new())),
        }
    }

    /// Appends a value that was checked.
    fn push(&mut self, value: &Value) {
        match self {
            Self::Text(builder) => builder.append_option(value.as_str()),
            Self::Number(builder) => builder.append_option(value.as_i64()),
            Self::Time(builder) => builder.append_option(time_us(value)),
            Self::Flag(builder) => builder.append_option(value.as_bool()),
            Self::Texts(builder) => {
                builder.append_option(value.as_array().map(|items| items.iter().map(Value::as_str)));
            }
            Self::Numbers(builder) => {
                builder.append_option(value.as_array().map(|items| items.iter().map(Value::as_i64)));
            }
            Self::Pairs(builder) => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    builder.keys().append_value(key);
                    builder.values().append_option(value.as_str());
                }
                builder.append(!value.is_null()).expect("invariant: as many keys as values");
            }
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Number(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => {
                let times = TimestampMicrosecondArray::from_iter(builder.finish().iter());
                Arc::new(times.with_timezone("UTC"))
            }
            Self::Flag(mut builder) => Arc::new(builder.finish()),
            Self::Texts(mut builder) => Arc::new(builder.finish()),
            Self::Numbers(mut builder) => Arc::new(builder.finish()),
            Self::Pairs(mut builder) => Arc::new(builder.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use serde_json::json;

    #[test]
    fn records_become_rows_and_others_are_said() {
        let records = [
            json!({"evt_type": "openat", "ts": "2026-01-02T03:04:05.000000007Z", "pid": 7, "path": null, "odd": [1]}),
            json!({"pid": 1}),
            json!([]),
            json!({"evt_type": "openat", "pid": "7"}),
            json!({"evt_type": "openat", "com": "cat"}),
            json!({"evt_type": "setuid", "ts": 5, "ancestor_pids": [3, 1], "evt_args": {"uid": "root"}}),
            json!({"evt_type": "setuid", "ts": "yesterday"}),
        ];
        let rows = EventRows::from_records(&records, 10);
        assert_eq!(
            rows.rejected,
            [
                "record 12: it has no evt_type",
                "record 13: it is no object",
                "record 14: pid is no whole number of 64 bits",
                "record 17: ts is no time: RFC 3339, or microseconds since 1970",
            ]
        );
        assert_eq!(rows.records.num_rows(), 3);
        assert_eq!(rows.left_out, ["com is no column of events: did you mean comm?", "odd is no column of events"]);
        assert!(rows.records.column_by_name("odd").is_none());
        let times = rows.records.column_by_name("ts_ns").unwrap().as_primitive::<Int64Type>();
        assert_eq!(times.values(), &[1_767_323_045_000_000_007, 0, 5000]);
        assert!(rows.records.column_by_name("ts").unwrap().as_primitive_opt::<TimestampMicrosecondType>().is_some());
        assert_eq!(rows.records.column_by_name("ancestor_pids").unwrap().as_list::<i32>().value(2).len(), 2);
    }

    #[test]
    fn no_records_are_no_rows() {
        let rows = EventRows::from_records(&[], 0);
        assert_eq!((rows.records.num_rows(), rows.rejected.len()), (0, 0));
        assert_eq!(EventRows::from_records(&[json!({"evt_type": "x"})], 0).records.num_rows(), 1);
    }
}
