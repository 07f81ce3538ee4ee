//! Rows of `findings` as the JSON objects that Falco prints.

use crate::fields::time;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use bodkin_schema::findings;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

/// Rows of `findings`, to be written as JSON. A column that is missing, or of a type that is not its own, reads as
/// null.
#[derive(Debug)]
pub struct FindingRows {
    texts: [Option<ArrayRef>; 8],
    lists: [Option<ArrayRef>; 3],
    time: Option<ArrayRef>,
    pid: Option<ArrayRef>,
    rows: usize,
}

const RULE: usize = 0;
const PRIORITY: usize = 1;
const SOURCE: usize = 2;
const OUTPUT: usize = 3;
const OUTPUT_FIELDS: usize = 4;
const EVENT_ID: usize = 5;
const HOST: usize = 6;
const CONTAINER_ID: usize = 7;
const TEXTS: [&str; 8] = [
    findings::RULE,
    findings::PRIORITY,
    findings::SOURCE,
    findings::OUTPUT,
    findings::OUTPUT_FIELDS,
    findings::EVENT_ID,
    findings::HOST,
    findings::CONTAINER_ID,
];
const TAGS: usize = 0;
const TECHNIQUES: usize = 1;
const ANCESTOR_PIDS: usize = 2;
const LISTS: [&str; 3] = [findings::TAGS, findings::TECHNIQUES, findings::ANCESTOR_PIDS];

impl FindingRows {
    /// Reads the columns of a batch.
    pub fn new(batch: &RecordBatch) -> Self {
        let plain = |name: &str| {
            let column = batch.column_by_name(name)?;
            let is_plain = *column.data_type() == DataType::Utf8;
            if is_plain { Some(column.clone()) } else { cast(column, &DataType::Utf8).ok() }
        };
        let list = |name: &str| batch.column_by_name(name).filter(|column| column.as_list_opt::<i32>().is_some());
        let time = batch.column_by_name(findings::TS);
        let pid = batch.column_by_name(findings::PID).and_then(|column| cast(column, &DataType::Int64).ok());
        Self {
            texts: TEXTS.map(plain),
            lists: LISTS.map(|name| list(name).cloned()),
            time: time.filter(|column| column.as_primitive_opt::<TimestampMicrosecondType>().is_some()).cloned(),
            pid,
            rows: batch.num_rows(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The rule that fired.
    pub fn rule(&self, row: usize) -> Option<&str> {
        self.text(RULE, row)
    }

    /// Its priority.
    pub fn priority(&self, row: usize) -> Option<&str> {
        self.text(PRIORITY, row)
    }

    /// The source of its event.
    pub fn source(&self, row: usize) -> Option<&str> {
        self.text(SOURCE, row)
    }

    /// What it prints.
    pub fn output(&self, row: usize) -> Option<&str> {
        self.text(OUTPUT, row)
    }

    /// The identity of its event.
    pub fn event_id(&self, row: usize) -> Option<&str> {
        self.text(EVENT_ID, row)
    }

    /// A finding as Falco prints it, with `event_id`. Falco names the host that it runs on where an event has none;
    /// `hostname` is that one.
    pub fn falco(&self, row: usize, hostname: &str) -> Map<String, Value> {
        let fields = self.text(OUTPUT_FIELDS, row).and_then(|text| serde_json::from_str::<Value>(text).ok());
        // Rows keep microseconds; the fields know the nanoseconds.
        let ns = fields.as_ref().and_then(|fields| fields.get("evt.time")).and_then(Value::as_i64);
        let time_ns = ns.or_else(|| self.time_us(row).map(|us| us.saturating_mul(1000)));
        let time = time_ns.and_then(falco_time);
        let finding = json!({
            "time": time,
            "rule": self.rule(row),
            "priority": self.priority(row),
            "source": self.source(row),
            "hostname": self.text(HOST, row).unwrap_or(hostname),
            "tags": self.list(TAGS, row),
            "output": self.output(row),
            "output_fields": fields,
            "event_id": self.event_id(row),
        });
        match finding {
            Value::Object(finding) => finding,
            _ => Map::new(),
        }
    }

    /// The same as a line of JSON behind `out`: the fields as they stand in the row, which are neither read nor made again.
    pub fn write_falco(&self, row: usize, hostname: &str, out: &mut Vec<u8>) {
        let fields = self.text(OUTPUT_FIELDS, row).filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        let texts: [(&str, Option<&str>); 3] = [
            ("{\"event_id\":", self.event_id(row)),
            (",\"hostname\":", Some(self.text(HOST, row).unwrap_or(hostname))),
            (",\"output\":", self.output(row)),
        ];
        texts.iter().for_each(|(key, text)| write_json(key, text, out));
        out.extend_from_slice(b",\"output_fields\":");
        out.extend_from_slice(fields.unwrap_or("null").as_bytes());
        let texts = [
            (",\"priority\":", self.priority(row)),
            (",\"rule\":", self.rule(row)),
            (",\"source\":", self.source(row)),
        ];
        texts.iter().for_each(|(key, text)| write_json(key, text, out));
        write_json(",\"tags\":", &self.list(TAGS, row), out);
        let ns = fields.and_then(event_time_ns).or_else(|| self.time_us(row).map(|us| us.saturating_mul(1000)));
        write_json(",\"time\":", &ns.and_then(falco_time), out);
        out.extend_from_slice(b"}\n");
    }

    /// A finding with all of its columns.
    pub fn whole(&self, row: usize, hostname: &str) -> Map<String, Value> {
        let mut finding = self.falco(row, hostname);
        let pid =
            self.pid.as_ref().filter(|pid| pid.is_valid(row)).map(|pid| pid.as_primitive::<Int64Type>().value(row));
        finding.insert("techniques".to_owned(), self.list(TECHNIQUES, row));
        finding.insert("container_id".to_owned(), self.text(CONTAINER_ID, row).into());
        finding.insert("pid".to_owned(), pid.into());
        finding.insert("ancestor_pids".to_owned(), self.list(ANCESTOR_PIDS, row));
        finding
    }

    /// Time of the event in microseconds since 1970.
    pub fn time_us(&self, row: usize) -> Option<i64> {
        let time = self.time.as_ref()?.as_primitive_opt::<TimestampMicrosecondType>()?;
        time.is_valid(row).then(|| time.value(row))
    }

    fn text(&self, column: usize, row: usize) -> Option<&str> {
        let column = self.texts[column].as_ref()?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row))
    }

    fn list(&self, column: usize, row: usize) -> Value {
        let list = self.lists[column].as_ref().and_then(|list| list.as_list_opt::<i32>());
        let Some(items) = list.filter(|list| list.is_valid(row)).map(|list| list.value(row)) else {
            return Value::Array(Vec::new());
        };
        if let Some(texts) = items.as_string_opt::<i32>() {
            return texts.iter().collect();
        }
        match items.as_primitive_opt::<Int32Type>() {
            Some(numbers) => numbers.iter().collect(),
            None => Value::Array(Vec::new()),
        }
    }
}

fn falco_time(time_ns: i64) -> Option<String> {
    time::time_iso(time_ns).map(|time| time.replace("+0000", "Z"))
}

fn write_json(key: &str, value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    serde_json::to_writer(out, value).expect("invariant: texts and lists of them always serialize");
}

/// The time among fields, without reading them. Within a text the quotes of the key would be escaped.
fn event_time_ns(fields: &str) -> Option<i64> {
    let (_, behind) = fields.split_once("\"evt.time\":")?;
    behind.split([',', '}']).next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Documents, Matching, Options, RuleFile, RuleSet, Source, audit_rows};
    use bodkin_schema::Stream;

    #[test]
    fn a_finding_prints_as_falco_does() {
        let content = "- rule: r\n  desc: d\n  condition: ka.verb = get\n  output: by %ka.user.name\n  priority: notice\n  \
                       source: k8s_audit\n  tags: [k8s, T1552]\n";
        let file = RuleFile { name: "f".to_owned(), content: content.to_owned() };
        let rules = RuleSet::load(&[file], &Options::default()).0.unwrap();
        let event = br#"{"kind":"Event","auditID":"a","stageTimestamp":"2026-01-02T03:04:05.000000001Z","verb":"get"}"#;
        let documents = Documents::parse(Source::K8sAudit, event).unwrap().documents;
        let rows = audit_rows(Source::K8sAudit, &documents);
        let found = rules.over(Stream::Audit, &rows, Matching::First).unwrap();
        let expected = json!({
            "time": "2026-01-02T03:04:05.000000001Z", "rule": "r", "priority": "Notice", "source": "k8s_audit",
            "hostname": "here", "tags": ["T1552", "k8s"], "output": "03:04:05.000000001: Notice by <NA>",
            "output_fields": {"evt.time": 1_767_323_045_000_000_001_i64, "ka.user.name": null}, "event_id": "a",
        });
        let rows = FindingRows::new(&found);
        assert_eq!(Value::Object(rows.falco(0, "here")), expected);
        let mut line = Vec::new();
        rows.write_falco(0, "here", &mut line);
        assert_eq!(line, format!("{expected}\n").into_bytes());
        let whole = rows.whole(0, "here");
        assert_eq!((&whole["techniques"], &whole["pid"]), (&json!(["T1552"]), &Value::Null));
    }
}
