//! Observations: what a rule sees of a row or of an answer, as rows that all meet on one shard.

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int8Array, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use bodkin_engine::{Batch, Operator, Output};
use bodkin_schema::{Stream, dataflow};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The column that is the same in all observations: their key, so that they meet.
pub const MEET_COLUMN: &str = "meet";
/// The column of a rule's rows with the time.
pub const TIME_COLUMN: &str = "__ts";
/// The column of a rule's rows with the value.
pub const VALUE_COLUMN: &str = "__value";
/// Bytes of one label's value.
const LABEL_BYTES_MAX: usize = 1024;

/// What an observation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A row for which the condition holds; of a query, a series for which it does.
    Firing,
    /// Neither the condition nor the one that ends it holds.
    Held,
    /// The condition does not hold.
    Clear,
    /// A query has given all its series.
    Done,
    /// Time has passed.
    Tick,
    /// Somebody else posted an alert, which `labels` holds as JSON.
    Posted,
}

impl Kind {
    /// As `evaluations.kind` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Held => "held",
            Self::Clear => "clear",
            Self::Done => "done",
            Self::Tick => "tick",
            Self::Posted => "posted",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Firing, Self::Held, Self::Clear, Self::Done, Self::Tick, Self::Posted];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

/// One observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Event time in microseconds.
    pub ts: i64,
    /// The rule.
    pub rule: String,
    /// What it says.
    pub kind: Kind,
    /// Labels as a JSON object, sorted by name.
    pub labels: String,
    /// The value.
    pub value: Option<f64>,
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new(MEET_COLUMN, DataType::Int8, false),
        Field::new(dataflow::TS, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new(dataflow::RULE, DataType::Utf8, false),
        Field::new(dataflow::KIND, DataType::Utf8, false),
        Field::new(dataflow::LABELS, DataType::Utf8, false),
        Field::new(dataflow::VALUE, DataType::Float64, true),
    ]))
});

/// Labels as observations have them.
pub fn labels_text(labels: &BTreeMap<String, String>) -> String {
    serde_json::to_string(labels).expect("invariant: a map of texts always serializes")
}

/// Observations as rows of table `evaluations`.
pub fn evaluations(observations: &[Observation]) -> RecordBatch {
    RecordBatch::try_new(Stream::Evaluations.schema(), columns(observations)).expect("invariant: columns of one length")
}

/// Observations as rows that the operator of alerts reads.
pub fn to_rows(observations: &[Observation]) -> RecordBatch {
    let mut all: Vec<ArrayRef> = vec![Arc::new(Int8Array::from(vec![0; observations.len()]))];
    all.extend(columns(observations));
    RecordBatch::try_new(SCHEMA.clone(), all).expect("invariant: columns of one length")
}

fn columns(observations: &[Observation]) -> Vec<ArrayRef> {
    let text = |pick: &dyn Fn(&Observation) -> String| -> ArrayRef {
        let mut builder = StringBuilder::new();
        observations.iter().for_each(|observation| builder.append_value(pick(observation)));
        Arc::new(builder.finish())
    };
    let times = TimestampMicrosecondArray::from_iter_values(observations.iter().map(|observation| observation.ts));
    vec![
        Arc::new(times.with_timezone("UTC")),
        text(&|observation| observation.rule.clone()),
        text(&|observation| observation.kind.name().to_owned()),
        text(&|observation| observation.labels.clone()),
        Arc::new(observations.iter().map(|observation| observation.value).collect::<Float64Array>()),
    ]
}

/// The observations of a batch; rows that are none are left out.
pub(crate) fn from_rows(records: &RecordBatch) -> Vec<Observation> {
    let text = |name: &str| Some(cast(records.column_by_name(name)?, &DataType::Utf8).ok()?.as_string::<i32>().clone());
    let (Some(rules), Some(kinds), Some(labels)) = (text(dataflow::RULE), text(dataflow::KIND), text(dataflow::LABELS))
    else {
        return Vec::new();
    };
    let times =
        records.column_by_name(dataflow::TS).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let values = records.column_by_name(dataflow::VALUE).and_then(|column| column.as_primitive_opt::<Float64Type>());
    let (Some(times), Some(values)) = (times, values) else { return Vec::new() };
    let row = |row: usize| {
        Some(Observation {
            ts: times.value(row),
            rule: rules.value(row).to_owned(),
            kind: Kind::from_name(kinds.value(row))?,
            labels: labels.value(row).to_owned(),
            value: values.is_valid(row).then(|| values.value(row)),
        })
    };
    (0..records.num_rows()).filter_map(row).collect()
}

/// Rows of a node for which the condition of a rule holds, as observations.
#[derive(Clone, Debug)]
pub struct Observe {
    rule: String,
    /// Rows of a batch with equal labels that are handed on, the newest.
    per_labels: usize,
}

impl Observe {
    /// For rule `rule`; it hands on at most the newest `per_labels` rows with equal labels of each batch.
    pub fn new(rule: &str, per_labels: usize) -> Self {
        Self { rule: rule.to_owned(), per_labels: per_labels.max(1) }
    }

    fn observations(&self, batch: &Batch) -> Vec<Observation> {
        let records = &batch.records;
        let schema = records.schema();
        let mut names: Vec<(&str, StringArray)> = Vec::new();
        for (field, column) in schema.fields().iter().zip(records.columns()) {
            if ![TIME_COLUMN, VALUE_COLUMN].contains(&field.name().as_str())
                && let Ok(column) = cast(column, &DataType::Utf8)
            {
                names.push((field.name(), column.as_string::<i32>().clone()));
            }
        }
        let times = records.column_by_name(TIME_COLUMN);
        let times = times.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let values = records.column_by_name(VALUE_COLUMN).and_then(|column| column.as_primitive_opt::<Float64Type>());
        let mut by_labels: BTreeMap<String, Vec<(i64, Option<f64>)>> = BTreeMap::new();
        for row in 0..records.num_rows() {
            let mut labels = BTreeMap::new();
            for (name, column) in &names {
                if column.is_valid(row) {
                    let value = column.value(row);
                    let value = value.get(..value.floor_char_boundary(LABEL_BYTES_MAX)).unwrap_or_default();
                    labels.insert((*name).to_owned(), value.to_owned());
                }
            }
            let ts =
                times.filter(|times| times.is_valid(row)).map_or(batch.ingest_time.micros(), |times| times.value(row));
            let value = values.filter(|values| values.is_valid(row)).map(|values| values.value(row));
            by_labels.entry(labels_text(&labels)).or_default().push((ts, value));
        }
        let mut made = Vec::new();
        for (labels, mut rows) in by_labels {
            rows.sort_by_key(|row| row.0);
            let newest = rows.len().saturating_sub(self.per_labels);
            made.extend(rows.drain(newest..).map(|(ts, value)| Observation {
                ts,
                rule: self.rule.clone(),
                kind: Kind::Firing,
                labels: labels.clone(),
                value,
            }));
        }
        made
    }
}

impl Operator for Observe {
    fn name(&self) -> &str {
        "observe"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        let observations = self.observations(&batch);
        if !observations.is_empty() {
            out.emit(batch.derived("observations", to_rows(&observations)));
        }
    }
}

/// Rows of `evaluations` as observations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers;

impl Operator for Answers {
    fn name(&self) -> &str {
        "answers"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        let observations = from_rows(&batch.records);
        if !observations.is_empty() {
            out.emit(batch.derived("observations", to_rows(&observations)));
        }
    }
}
