//! PromQL for SQL: results of the evaluator as rows.

use arrow::array::{
    ArrayRef, Float64Array, MapBuilder, MapFieldNames, RecordBatch, StringBuilder, TimestampMicrosecondArray,
};
use arrow::error::ArrowError;
use bodkin_metrics::StoreView;
use bodkin_promql::labels::METRIC_NAME;
use bodkin_promql::{Engine, Labels, QueryOptions, SampleValue, Value};
use bodkin_query::{PromqlRange, PromqlSource, promql_schema};
use bodkin_schema::{Principal, Tenant};
use std::sync::Arc;

/// Rows of one answer: what SQL joins is not a million samples of a mistake.
const ROWS_MAX: usize = 20_000_000;

/// The evaluator over the store of this process.
#[derive(Debug)]
pub(crate) struct PromqlRows {
    pub(crate) engine: Engine,
    pub(crate) view: StoreView,
}

impl PromqlSource for PromqlRows {
    fn evaluate(&self, principal: &Principal, query: &str, range: PromqlRange) -> Result<Vec<RecordBatch>, String> {
        // The store holds the default tenant's samples (ISO-1).
        if principal.tenant != Tenant::default() {
            return Ok(Vec::new());
        }
        let options = QueryOptions::default();
        let PromqlRange { start_ms, end_ms, step_ms } = range;
        let result = match step_ms {
            0 => self.engine.instant(&self.view, query, start_ms, &options),
            _ => self.engine.range(&self.view, query, start_ms, end_ms, step_ms, &options),
        };
        let value = result.map_err(|error| error.to_string())?.value;
        let mut rows = Rows::default();
        match &value {
            Value::Scalar { time_ms, value } => rows.push(&Labels::empty(), *time_ms, *value),
            Value::String { .. } => return Err("a text has no rows".to_owned()),
            Value::Vector { time_ms, samples } => {
                for sample in samples {
                    if let SampleValue::Float(value) = sample.value {
                        rows.push(&sample.labels, *time_ms, value);
                    }
                }
            }
            Value::Matrix(series) => {
                for series in series {
                    for (time_ms, value) in series.timestamps.iter().zip(series.values.iter()) {
                        rows.push(&series.labels, *time_ms, *value);
                    }
                }
            }
        }
        if rows.values.len() > ROWS_MAX {
            return Err(format!("the answer has more than {ROWS_MAX} rows: aggregate, or take a larger step"));
        }
        rows.finish().map(|batch| vec![batch]).map_err(|error| error.to_string())
    }
}

struct Rows {
    times_us: Vec<i64>,
    names: StringBuilder,
    labels: MapBuilder<StringBuilder, StringBuilder>,
    values: Vec<f64>,
}

impl Default for Rows {
    fn default() -> Self {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        Self {
            times_us: Vec::new(),
            names: StringBuilder::new(),
            labels: MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()),
            values: Vec::new(),
        }
    }
}

impl Rows {
    fn push(&mut self, labels: &Labels, time_ms: i64, value: f64) {
        for (name, text) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
            self.labels.keys().append_value(name);
            self.labels.values().append_value(text);
        }
        // It fails where keys and values differ in number.
        let _ = self.labels.append(true);
        self.names.append_value(labels.metric_name());
        self.times_us.push(time_ms.saturating_mul(1000));
        self.values.push(value);
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(self.times_us).with_timezone("UTC")),
            Arc::new(self.names.finish()),
            Arc::new(self.labels.finish()),
            Arc::new(Float64Array::from(self.values)),
        ];
        RecordBatch::try_new(promql_schema(), columns)
    }
}
