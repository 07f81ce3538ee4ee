//! JSON documents as events, and the fields that any of them has.

use super::ArgRule::NeedsKey;
use super::{FieldArg, FieldInfo, Get, Kind};
use crate::load::Source;
use serde_json::Value;

/// A JSON document that is an event.
#[derive(Clone, Debug)]
pub struct Document {
    /// The document.
    pub value: Value,
    /// Its time in nanoseconds since 1970; 0 where it has none.
    pub time_ns: i64,
    /// Its number among the documents that were read with it, from 1.
    pub number: i64,
}

/// How a value is found in a document.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extract {
    /// The text at a path of keys.
    Path(&'static [&'static str]),
    /// Any other way.
    With(fn(&Document, &FieldArg) -> Option<Extracted>),
}

/// A value from a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Extracted {
    Text(String),
    Texts(Vec<String>),
    Number(i64),
}

/// What was read from a text: events, and why other records are none.
#[derive(Debug, Default)]
pub struct Documents {
    /// The events, in order.
    pub documents: Vec<Document>,
    /// One message for each record that is no event of the source.
    pub rejected: Vec<String>,
    /// Records that were taken away before these.
    taken: usize,
}

impl Documents {
    /// Reads a JSON text: one event, a list of events, a Kubernetes `EventList`, CloudTrail's `{"Records": [...]}`, or
    /// several of them in a row, as JSON lines are.
    ///
    /// # Errors
    /// Where the text is not JSON.
    pub fn parse(source: Source, text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut documents = Self::default();
        for value in serde_json::Deserializer::from_slice(text).into_iter() {
            documents.push(source, value?);
        }
        Ok(documents)
    }

    /// Takes away what was read so far; what is pushed from here on is numbered after it.
    pub fn take(&mut self) -> Self {
        let taken = self.taken + self.documents.len() + self.rejected.len();
        std::mem::replace(self, Self { taken, ..Self::default() })
    }

    /// Adds the events of one JSON value.
    pub fn push(&mut self, source: Source, value: Value) {
        match (source, value) {
            (_, Value::Array(items)) => items.into_iter().for_each(|item| self.push(source, item)),
            (Source::K8sAudit, Value::Object(mut map)) if map.get("kind").is_some_and(|kind| kind == "EventList") => {
                match map.remove("items") {
                    Some(Value::Array(items)) => items.into_iter().for_each(|item| self.push_event(source, item)),
                    _ => self.reject("it is an EventList without items"),
                }
            }
            (Source::AwsCloudtrail, Value::Object(mut map)) if map.contains_key("Records") => {
                match map.remove("Records") {
                    Some(Value::Array(items)) => items.into_iter().for_each(|item| self.push_event(source, item)),
                    _ => self.reject("its Records are no list"),
                }
            }
            (_, value) => self.push_event(source, value),
        }
    }

    fn push_event(&mut self, source: Source, value: Value) {
        let kind = value.get("kind").and_then(Value::as_str);
        if let (Source::K8sAudit, Some(kind)) = (source, kind.filter(|kind| *kind != "Event")) {
            return self.reject(&format!("kind {:?} is not Event", kind.chars().take(64).collect::<String>()));
        }
        match time_ns(source, &value) {
            _ if !value.is_object() => self.reject("it is no object"),
            Err(message) => self.reject(&message),
            Ok(time_ns) => {
                let number = self.number() as i64;
                self.documents.push(Document { value, time_ns, number });
            }
        }
    }

    /// Counts a record that is no event, and says why.
    pub fn reject(&mut self, message: &str) {
        self.rejected.push(format!("record {}: {message}", self.number()));
    }

    /// The number of the next record.
    fn number(&self) -> usize {
        self.taken + self.documents.len() + self.rejected.len() + 1
    }
}

/// The time of an event in nanoseconds since 1970; why it is no event where it must have one and has none.
pub(super) fn time_ns(source: Source, value: &Value) -> Result<i64, String> {
    match source {
        Source::K8sAudit => time_at(value, "stageTimestamp"),
        Source::AwsCloudtrail => time_at(value, "eventTime"),
        Source::Syscall | Source::Json => Ok(time_at(value, "time").unwrap_or_default()),
    }
}

/// The time under `key` in nanoseconds since 1970.
fn time_at(value: &Value, key: &str) -> Result<i64, String> {
    let text =
        value.get(key).ok_or_else(|| format!("no {key}"))?.as_str().ok_or_else(|| format!("{key} is no text"))?;
    let time: jiff::Timestamp = text.parse().map_err(|_| format!("{key} is no time as RFC 3339 has it"))?;
    i64::try_from(time.as_nanosecond()).map_err(|_| format!("{key} is out of range"))
}

impl Document {
    /// The value of a field.
    pub(crate) fn extract(&self, info: &FieldInfo, arg: &FieldArg) -> Option<Extracted> {
        match info.get {
            Get::Document(Extract::Path(path)) => walk(&self.value, path).map(|value| Extracted::Text(as_text(value))),
            Get::Document(Extract::With(extract)) => extract(self, arg),
            _ => None,
        }
    }
}

/// A step into an object by key, or into a list by number.
pub(super) fn step<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    }
}

pub(super) fn walk<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| step(value, key))
}

/// A text as it is, anything else as JSON.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

const fn common(name: &'static str, kind: Kind, extract: fn(&Document, &FieldArg) -> Option<Extracted>) -> FieldInfo {
    FieldInfo::new(name, kind, Get::Document(Extract::With(extract)))
}

const fn text(name: &'static str, extract: fn(&Document, &FieldArg) -> Option<Extracted>) -> FieldInfo {
    common(name, Kind::Text, extract)
}

/// Fields that events of every source have.
pub(super) static COMMON: &[FieldInfo] = &[
    common("evt.num", Kind::Number, |document, _| Some(Extracted::Number(document.number))),
    common("evt.rawtime", Kind::Number, |document, _| Some(Extracted::Number(document.time_ns))),
    common("evt.rawtime.s", Kind::Number, |document, _| Some(Extracted::Number(document.time_ns / 1_000_000_000))),
    common("evt.rawtime.ns", Kind::Number, |document, _| Some(Extracted::Number(document.time_ns % 1_000_000_000))),
    text("evt.time", |document, _| super::time::time(document.time_ns).map(Extracted::Text)),
    text("evt.time.s", |document, _| super::time::time_seconds(document.time_ns).map(Extracted::Text)),
    text("evt.time.iso8601", |document, _| super::time::time_iso(document.time_ns).map(Extracted::Text)),
    text("evt.datetime", |document, _| super::time::date_time(document.time_ns).map(Extracted::Text)),
    text("evt.datetime.s", |document, _| super::time::date_time_seconds(document.time_ns).map(Extracted::Text)),
    text("evt.plugininfo", |document, _| Some(Extracted::Text(document.value.to_string()))),
    FieldInfo::new("evt.source", Kind::Text, Get::Derived(super::derive::Derived::SourceName)),
    FieldInfo::new("evt.pluginname", Kind::Text, Get::Derived(super::derive::Derived::SourceName)),
    FieldInfo::new("evt.hostname", Kind::Text, Get::Nothing),
    FieldInfo::new("evt.is_async", Kind::Flag, Get::Nothing),
    FieldInfo::new("evt.asynctype", Kind::Text, Get::Nothing),
];

/// Fields that reach into any document.
pub(super) static FIELDS: &[FieldInfo] = &[
    text("json.value", pointer).arg(NeedsKey),
    text("json.obj", object),
    text("json.rawtime", raw_time),
    text("jevt.value", pointer).arg(NeedsKey),
    text("jevt.obj", object),
    text("jevt.rawtime", raw_time),
];

/// The value at a JSON pointer (RFC 6901); the first slash may be missing.
fn pointer(document: &Document, arg: &FieldArg) -> Option<Extracted> {
    let FieldArg::Key(pointer) = arg else { return None };
    let pointer = pointer.strip_prefix('/').unwrap_or(pointer);
    let found = pointer.split('/').try_fold(&document.value, |value, key| {
        if key.contains('~') { step(value, &key.replace("~1", "/").replace("~0", "~")) } else { step(value, key) }
    });
    found.map(|value| Extracted::Text(as_text(value)))
}

fn object(document: &Document, _: &FieldArg) -> Option<Extracted> {
    serde_json::to_string_pretty(&document.value).ok().map(Extracted::Text)
}

fn raw_time(document: &Document, _: &FieldArg) -> Option<Extracted> {
    Some(Extracted::Text(document.time_ns.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::find;

    #[test]
    fn pointers() {
        let text = br#"{"a":{"b/c":[1,{"d":"x"}],"n":null,"t":true}}"#;
        let document = Documents::parse(Source::Json, text).unwrap().documents.remove(0);
        let value = |key: &str| {
            let field = find(Source::Json, "json.value", Some(key)).unwrap();
            document.extract(field.info, &field.arg).map(|found| match found {
                Extracted::Text(text) => text,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(value("/a/b~1c/1/d").as_deref(), Some("x"));
        assert_eq!(value("a/b~1c/0").as_deref(), Some("1"));
        assert_eq!(value("/a/n").as_deref(), Some("null"));
        assert_eq!(value("/a/t").as_deref(), Some("true"));
        assert_eq!(value("/a/b~1c").as_deref(), Some(r#"[1,{"d":"x"}]"#));
        assert_eq!(value("/a/x"), None);
        assert_eq!(value("/a/b~1c/7"), None);
    }

    #[test]
    fn containers_of_events() {
        let event = r#"{"kind":"Event","auditID":"1","stageTimestamp":"2018-10-25T17:55:18.926631Z"}"#;
        for text in [
            event.to_owned(),
            format!("[{event}]"),
            format!(r#"{{"kind":"EventList","items":[{event}]}}"#),
            format!("\n{event}\n"),
        ] {
            let documents = Documents::parse(Source::K8sAudit, text.as_bytes()).unwrap();
            assert_eq!((documents.documents.len(), documents.rejected.len()), (1, 0), "{text}");
            assert_eq!(documents.documents[0].time_ns, 1_540_490_118_926_631_000);
        }
        let two = Documents::parse(Source::K8sAudit, format!("{event}\n{{}}\n5\n{event}").as_bytes()).unwrap();
        assert_eq!((two.documents.len(), two.documents[1].number), (2, 4));
        assert_eq!(two.rejected, ["record 2: no stageTimestamp", "record 3: it is no object"]);
        let pod = br#"{"kind":"Pod","stageTimestamp":"2018-10-25T17:55:18.926631Z"}"#;
        assert_eq!(Documents::parse(Source::K8sAudit, pod).unwrap().rejected, ["record 1: kind \"Pod\" is not Event"]);
        let trail = br#"{"Records":[{"eventTime":"2026-01-02T03:28:23Z"},{"eventTime":"x"}]}"#;
        let trail = Documents::parse(Source::AwsCloudtrail, trail).unwrap();
        assert_eq!((trail.documents.len(), trail.rejected.len()), (1, 1));
    }

    /// SAFE-1: what is not JSON is an error, however it is broken.
    #[test]
    fn broken_json_is_refused() {
        for text in ["{", "[1,", "nul", "\"\\u12", &"[".repeat(100_000), "\u{0}"] {
            assert!(Documents::parse(Source::Json, text.as_bytes()).is_err(), "{text:.20}");
        }
        assert!(Documents::parse(Source::Json, &[0xff, 0xfe]).is_err());
    }
}
