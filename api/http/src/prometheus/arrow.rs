//! Results as an Arrow stream: one row per series, its samples as lists that are the evaluator's own buffers.

use super::answer::ApiFailure;
use arrow::array::{
    ArrayRef, Float64Array, ListArray, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    TimestampMillisecondArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bodkin_promql::{FloatHistogram, Labels, MatrixSeries, QueryResult, SampleValue, Value};
use std::collections::HashMap;
use std::sync::Arc;

const MEDIA_TYPE: &str = "application/vnd.apache.arrow.stream";

/// Whether the client asks for Arrow by name.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepts.flat_map(|value| value.split(',')).filter_map(|part| part.split(';').next());
    types.any(|name| name.trim().eq_ignore_ascii_case(MEDIA_TYPE))
}

/// The answer. The kind of the result, warnings and infos stand in the metadata of the schema.
pub(super) fn answer(result: &QueryResult) -> Result<Response, ApiFailure> {
    let body = encode(result).map_err(|error| ApiFailure::internal(error.to_string()))?;
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))];
    Ok((StatusCode::OK, headers, body).into_response())
}

fn encode(result: &QueryResult) -> Result<Vec<u8>, ArrowError> {
    let batch = batch(result)?;
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write(&batch)?;
    writer.into_inner()
}

fn batch(result: &QueryResult) -> Result<RecordBatch, ArrowError> {
    let mut rows = Rows::default();
    match &result.value {
        Value::Scalar { time_ms, value } => rows.push(&Labels::empty(), &[*time_ms], &[*value], &[]),
        Value::String { time_ms, value } => {
            let labels = Labels::from_pairs([("__value__", value)]);
            rows.push(&labels, &[*time_ms], &[f64::NAN], &[]);
        }
        Value::Vector { time_ms, samples } => {
            for sample in samples {
                match &sample.value {
                    SampleValue::Float(value) => rows.push(&sample.labels, &[*time_ms], &[*value], &[]),
                    SampleValue::Histogram(value) => rows.push(&sample.labels, &[], &[], &[(*time_ms, value.clone())]),
                }
            }
        }
        Value::Matrix(series) => {
            for MatrixSeries { labels, timestamps, values, histograms } in series {
                rows.push(labels, timestamps, values, histograms);
            }
        }
    }
    rows.finish(result)
}

/// Columns in the making.
struct Rows {
    labels: MapBuilder<StringBuilder, StringBuilder>,
    lengths: Vec<usize>,
    times: Vec<i64>,
    values: Vec<f64>,
    histogram_lengths: Vec<usize>,
    histogram_times: Vec<i64>,
    histograms: Vec<String>,
}

impl Default for Rows {
    fn default() -> Self {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        Self {
            labels: MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()),
            lengths: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            histogram_lengths: Vec::new(),
            histogram_times: Vec::new(),
            histograms: Vec::new(),
        }
    }
}

impl Rows {
    fn push(&mut self, labels: &Labels, times: &[i64], values: &[f64], histograms: &[(i64, Arc<FloatHistogram>)]) {
        for (name, value) in labels.iter() {
            self.labels.keys().append_value(name);
            self.labels.values().append_value(value);
        }
        // It fails where keys and values differ in number.
        let _ = self.labels.append(true);
        self.lengths.push(times.len());
        self.times.extend_from_slice(times);
        self.values.extend_from_slice(values);
        self.histogram_lengths.push(histograms.len());
        for (time_ms, value) in histograms {
            let mut text = Vec::new();
            super::json::histogram(&mut text, value);
            self.histogram_times.push(*time_ms);
            self.histograms.push(String::from_utf8_lossy(&text).into_owned());
        }
    }

    fn finish(mut self, result: &QueryResult) -> Result<RecordBatch, ArrowError> {
        let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let times = |times: Vec<i64>| Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC"));
        let values = Arc::new(Float64Array::new(ScalarBuffer::from(self.values), None));
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("labels", Arc::new(self.labels.finish())),
            ("timestamps", list(&self.lengths, time.clone(), times(self.times))),
            ("values", list(&self.lengths, DataType::Float64, values)),
        ];
        if !self.histograms.is_empty() {
            let texts = Arc::new(StringArray::from(self.histograms));
            columns.push(("histogram_timestamps", list(&self.histogram_lengths, time, times(self.histogram_times))));
            columns.push(("histograms", list(&self.histogram_lengths, DataType::Utf8, texts)));
        }
        let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), false));
        let mut metadata = HashMap::from([("resultType".to_owned(), result.value.type_name().to_owned())]);
        for (name, texts) in [("warnings", &result.warnings), ("infos", &result.infos)] {
            if !texts.is_empty() {
                metadata.insert(name.to_owned(), texts.join("\n"));
            }
        }
        let schema = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), metadata));
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, column)| column).collect())
    }
}

fn list(lengths: &[usize], item: DataType, values: ArrayRef) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(ListArray::new(Arc::new(Field::new("item", item, false)), offsets, values, None))
}
