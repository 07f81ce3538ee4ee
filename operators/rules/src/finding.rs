//! Findings: rules that fired, with what they print and whom they are about.

use crate::compile::{Rule, RuleSet};
use crate::eval::batch::View;
use crate::eval::column::Column;
use crate::eval::{Events, Hit, Matching, render};
use crate::fields::syscall::column as c;
use crate::fields::{audit, document::Document, time};
use crate::load::Source;
use arrow::array::{
    ArrayRef, Int32Array, Int32Builder, ListBuilder, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field};
use arrow::record_batch::RecordBatch;
use bodkin_schema::{Stream, events, findings};
use serde_json::Value;
use std::sync::Arc;

/// One rule that fired for one event.
#[derive(Clone, Debug)]
pub struct Finding<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The event, by its number in the batch.
    pub row: usize,
    /// Time of the event in nanoseconds since 1970.
    pub time_ns: i64,
    /// Time, priority, and the rule's output.
    pub output: String,
    /// The fields in the output.
    pub output_fields: serde_json::Map<String, Value>,
    /// The event's identity.
    pub event_id: Option<String>,
    /// Host name.
    pub host: Option<String>,
    /// Container, `host` outside of any.
    pub container_id: Option<String>,
    /// Process.
    pub pid: Option<i32>,
    /// Its ancestors, the parent first.
    pub ancestor_pids: Vec<i32>,
}

impl RuleSet {
    /// Runs the rules and renders what fired, by row and then in the order of definition.
    pub fn findings<'a>(&'a self, events: Events<'a>, matching: Matching) -> Vec<Finding<'a>> {
        let (hits, mut view) = self.run(events, matching);
        if hits.is_empty() {
            return Vec::new();
        }
        render::prepare(&mut view, self.rules(), &hits);
        let subject = Subject::new(&mut view);
        hits.iter().map(|hit| self.finding(*hit, &view, &subject)).collect()
    }

    fn finding<'a>(&'a self, hit: Hit, view: &View<'_>, subject: &Subject<'_>) -> Finding<'a> {
        let Hit { row, rule } = hit;
        let rule = &self.rules()[rule];
        let time_ns = subject.time_ns(row);
        let time = time::time(time_ns).unwrap_or_default();
        let mut output_fields = render::fields(view, &rule.template, row, time_ns);
        output_fields.insert("evt.time".to_owned(), Value::from(time_ns));
        Finding {
            rule,
            row,
            time_ns,
            output: format!("{time}: {} {}", rule.priority, render::output(view, &rule.template, row)),
            output_fields,
            event_id: subject.event_id(row),
            host: subject.text(Subject::HOST, row),
            container_id: subject.text(Subject::CONTAINER_ID, row),
            pid: subject.number(Subject::PID, row).and_then(|pid| i32::try_from(pid).ok()),
            ancestor_pids: subject.ancestor_pids(row),
        }
    }
}

/// The columns that identify an event.
pub(crate) struct Subject<'a> {
    columns: Vec<Column>,
    documents: &'a [Document],
    source: Source,
}

impl<'a> Subject<'a> {
    pub(crate) const COLUMNS: [&'static str; 9] = [
        events::TS_NS,
        events::TS,
        events::HOST,
        events::CONTAINER_ID,
        events::PID,
        c::ANCESTOR_PIDS,
        events::INCARNATION,
        events::CPU,
        events::SEQ,
    ];
    const HOST: usize = 2;
    const CONTAINER_ID: usize = 3;
    const PID: usize = 4;
    const ANCESTOR_PIDS: usize = 5;
    const INCARNATION: usize = 6;
    const CPU: usize = 7;
    const SEQ: usize = 8;

    fn new(view: &mut View<'a>) -> Self {
        let documents = match view.events {
            Events::Documents(_, documents) => documents,
            Events::Batch(_) => &[],
        };
        let columns = Self::COLUMNS.iter().map(|name| view.base(name)).collect();
        Self { columns, documents, source: view.events.source() }
    }

    fn text(&self, column: usize, row: usize) -> Option<String> {
        self.columns[column].text(row).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    fn number(&self, column: usize, row: usize) -> Option<i64> {
        self.columns[column].number(row)
    }

    fn time_ns(&self, row: usize) -> i64 {
        let of_document = || self.documents.get(row).map(|document| document.time_ns);
        let of_microseconds = || self.number(1, row).map(|us| us.saturating_mul(1000));
        self.number(0, row).or_else(of_microseconds).or_else(of_document).unwrap_or_default()
    }

    fn event_id(&self, row: usize) -> Option<String> {
        let Some(key) = self.source.id_key() else {
            let (host, seq) = (self.text(Self::HOST, row)?, self.number(Self::SEQ, row)?);
            let [incarnation, cpu] = [Self::INCARNATION, Self::CPU].map(|id| self.number(id, row).unwrap_or_default());
            return Some(format!("{host}/{incarnation}/{cpu}/{seq}"));
        };
        self.documents.get(row)?.value.get(key)?.as_str().map(str::to_owned)
    }

    fn ancestor_pids(&self, row: usize) -> Vec<i32> {
        match &self.columns[Self::ANCESTOR_PIDS] {
            Column::Numbers(list) => {
                let pids = list.range(row).filter_map(|item| list.items.get(item));
                pids.filter_map(|pid| i32::try_from(pid).ok()).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl RuleSet {
    /// Runs the rules over rows of a stream, `events` or `audit`, and gives rows of `findings`: none where no rule fired.
    /// Live and over history alike, so that both have the same answer (RULE-1).
    pub fn over(&self, stream: Stream, rows: &RecordBatch, matching: Matching) -> Option<RecordBatch> {
        match stream {
            Stream::Events => some(&self.findings(Events::Batch(rows), matching)),
            Stream::Audit => {
                let sources = Source::ALL.into_iter().filter(|source| *source != Source::Syscall);
                let found = sources.filter(|source| self.has_rules(*source)).filter_map(|source| {
                    let documents = audit::documents(source, rows);
                    some(&self.findings(Events::Documents(source, &documents), matching))
                });
                let found: Vec<RecordBatch> = found.collect();
                let all = || arrow::compute::concat_batches(&findings::schema(), &found).ok();
                if found.len() > 1 { all() } else { found.into_iter().next() }
            }
            _ => None,
        }
    }
}

fn some(findings: &[Finding<'_>]) -> Option<RecordBatch> {
    (!findings.is_empty()).then(|| to_batch(findings))
}

/// Findings as rows of the stream `findings`.
pub fn to_batch(all: &[Finding<'_>]) -> RecordBatch {
    let text = |of: &dyn Fn(&Finding<'_>) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(all.iter().map(of)))
    };
    let optional = |of: &dyn Fn(&Finding<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(all.iter().map(of).collect::<StringArray>())
    };
    let times = all.iter().map(|finding| finding.time_ns.div_euclid(1000));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        text(&|finding| finding.rule.name.clone()),
        text(&|finding| finding.rule.priority.name().to_owned()),
        text(&|finding| finding.rule.source.name().to_owned()),
        texts(all.iter().map(|finding| finding.rule.tags.as_slice())),
        texts(all.iter().map(|finding| finding.rule.techniques.as_slice())),
        text(&|finding| finding.output.clone()),
        text(&|finding| {
            serde_json::to_string(&finding.output_fields).expect("invariant: an object of values always serializes")
        }),
        optional(&|finding| finding.event_id.clone()),
        optional(&|finding| finding.host.clone()),
        optional(&|finding| finding.container_id.clone()),
        Arc::new(all.iter().map(|finding| finding.pid).collect::<Int32Array>()),
        numbers(all.iter().map(|finding| finding.ancestor_pids.as_slice())),
    ];
    RecordBatch::try_new(findings::schema(), columns).expect("invariant: columns are those of the schema")
}

fn texts<'a>(lists: impl Iterator<Item = &'a [String]>) -> ArrayRef {
    let item = Field::new("item", DataType::Utf8, false);
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(item);
    lists.for_each(|list| builder.append_value(list.iter().map(Some)));
    Arc::new(builder.finish())
}

fn numbers<'a>(lists: impl Iterator<Item = &'a [i32]>) -> ArrayRef {
    let item = Field::new("item", DataType::Int32, false);
    let mut builder = ListBuilder::new(Int32Builder::new()).with_field(item);
    lists.for_each(|list| builder.append_value(list.iter().copied().map(Some)));
    Arc::new(builder.finish())
}
