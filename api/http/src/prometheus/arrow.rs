//! Results as an Arrow stream: one row per series, its samples as lists.

use super::answer::ApiFailure;
use arrow::array::{
    Array, ArrayRef, Float64Array, ListArray, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    TimestampMillisecondArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bodkin_promql::{FloatHistogram, Labels, MatrixSeries, QueryResult, SampleValue, Value};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

const MEDIA_TYPE: &str = "application/vnd.apache.arrow.stream";
/// Samples of a batch, about: a megabyte, which stays in a core's cache on its way to the socket.
const SAMPLES_MAX: usize = 64 << 10;
/// Series of a batch.
const ROWS_MAX: usize = 8 << 10;

/// Whether the client asks for Arrow by name.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepts.flat_map(|value| value.split(',')).filter_map(|part| part.split(';').next());
    types.any(|name| name.trim().eq_ignore_ascii_case(MEDIA_TYPE))
}

/// The answer: a stream of batches. The kind of the result, warnings and infos stand in the metadata of the schema.
///
/// A batch is made when the client has room for it, in memory that is still warm: a large answer is never there as a whole.
pub(super) fn answer(result: QueryResult) -> Result<Response, ApiFailure> {
    let failed = |error: ArrowError| ApiFailure::internal(error.to_string());
    let mut batches = Batches::new(result).map_err(failed)?;
    let body = match batches.pieces.len() {
        0 | 1 => Body::from(batches.by_ref().collect::<Result<Vec<_>, _>>().map_err(failed)?.concat()),
        _ => Body::from_stream(futures::stream::iter(batches)),
    };
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))];
    Ok((StatusCode::OK, headers, body).into_response())
}

/// The bytes of a stream, batch by batch.
struct Batches {
    result: QueryResult,
    schema: SchemaRef,
    has_histograms: bool,
    /// Rows of the batches that are still to come.
    pieces: VecDeque<Range<usize>>,
    /// None once the end is written.
    writer: Option<StreamWriter<Vec<u8>>>,
}

impl Batches {
    fn new(result: QueryResult) -> Result<Self, ArrowError> {
        let has_histograms = match &result.value {
            Value::Vector { samples, .. } => samples.iter().any(|one| matches!(one.value, SampleValue::Histogram(_))),
            Value::Matrix(series) => series.iter().any(|one| !one.histograms.is_empty()),
            Value::Scalar { .. } | Value::String { .. } => false,
        };
        let schema = schema(&result, has_histograms);
        let writer = StreamWriter::try_new(Vec::new(), &schema)?;
        Ok(Self { pieces: pieces(&result.value), schema, has_histograms, writer: Some(writer), result })
    }

    fn batch(&self, rows: Range<usize>) -> Result<RecordBatch, ArrowError> {
        let mut columns = Rows::default();
        match &self.result.value {
            Value::Scalar { time_ms, value } => columns.push(&Labels::empty(), &[*time_ms], &[*value], &[]),
            Value::String { time_ms, value } => {
                let labels = Labels::from_pairs([("__value__", value)]);
                columns.push(&labels, &[*time_ms], &[f64::NAN], &[]);
            }
            Value::Vector { time_ms, samples } => {
                for sample in samples.get(rows).unwrap_or_default() {
                    match &sample.value {
                        SampleValue::Float(value) => columns.push(&sample.labels, &[*time_ms], &[*value], &[]),
                        SampleValue::Histogram(value) => {
                            columns.push(&sample.labels, &[], &[], &[(*time_ms, value.clone())]);
                        }
                    }
                }
            }
            Value::Matrix(series) => {
                let series = series.get(rows).unwrap_or_default();
                columns.reserve(series.len(), series.iter().map(|one| one.values.len()).sum());
                for MatrixSeries { labels, timestamps, values, histograms } in series {
                    columns.push(labels, timestamps, values, histograms);
                }
            }
        }
        columns.finish(&self.schema, self.has_histograms)
    }

    fn encode(&mut self, writer: &mut StreamWriter<Vec<u8>>, rows: Range<usize>) -> Result<Bytes, ArrowError> {
        let batch = self.batch(rows)?;
        writer.get_mut().reserve(batch.get_array_memory_size());
        writer.write(&batch)?;
        Ok(std::mem::take(writer.get_mut()).into())
    }
}

impl Iterator for Batches {
    type Item = Result<Bytes, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut writer = self.writer.take()?;
        let Some(rows) = self.pieces.pop_front() else {
            let end = writer.finish().map(|()| std::mem::take(writer.get_mut()).into());
            return Some(end);
        };
        let bytes = self.encode(&mut writer, rows);
        if bytes.is_ok() {
            self.writer = Some(writer);
        }
        Some(bytes)
    }
}

/// The rows of each batch; one batch at least.
fn pieces(value: &Value) -> VecDeque<Range<usize>> {
    let Value::Matrix(series) = value else {
        let rows = if let Value::Vector { samples, .. } = value { samples.len() } else { 1 };
        return (0..rows.max(1)).step_by(ROWS_MAX).map(|start| start..(start + ROWS_MAX).min(rows)).collect();
    };
    let (mut pieces, mut start, mut samples) = (VecDeque::new(), 0, 0);
    for (row, one) in series.iter().enumerate() {
        samples += one.values.len() + one.histograms.len();
        if samples >= SAMPLES_MAX || row + 1 - start == ROWS_MAX {
            pieces.push_back(start..row + 1);
            (start, samples) = (row + 1, 0);
        }
    }
    if start < series.len() || pieces.is_empty() {
        pieces.push_back(start..series.len());
    }
    pieces
}

fn schema(result: &QueryResult, has_histograms: bool) -> SchemaRef {
    let list =
        |name: &str, item: DataType| Field::new(name, DataType::List(Arc::new(Field::new("item", item, false))), false);
    let mut fields = vec![
        Field::new("labels", Rows::default().labels.finish().data_type().clone(), false),
        list("timestamps", time()),
        list("values", DataType::Float64),
    ];
    if has_histograms {
        fields.extend([list("histogram_timestamps", time()), list("histograms", DataType::Utf8)]);
    }
    let mut metadata = HashMap::from([("resultType".to_owned(), result.value.type_name().to_owned())]);
    for (name, texts) in [("warnings", &result.warnings), ("infos", &result.infos)] {
        if !texts.is_empty() {
            metadata.insert(name.to_owned(), texts.join("\n"));
        }
    }
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
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

    fn reserve(&mut self, series: usize, samples: usize) {
        self.lengths.reserve(series);
        self.times.reserve(samples);
        self.values.reserve(samples);
    }

    fn finish(mut self, schema: &SchemaRef, has_histograms: bool) -> Result<RecordBatch, ArrowError> {
        let times = |times: Vec<i64>| Arc::new(TimestampMillisecondArray::from(times).with_timezone("UTC"));
        let values = Arc::new(Float64Array::new(ScalarBuffer::from(self.values), None));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.labels.finish()),
            list(&self.lengths, time(), times(self.times)),
            list(&self.lengths, DataType::Float64, values),
        ];
        if has_histograms {
            let texts = Arc::new(StringArray::from(self.histograms));
            columns.push(list(&self.histogram_lengths, time(), times(self.histogram_times)));
            columns.push(list(&self.histogram_lengths, DataType::Utf8, texts));
        }
        RecordBatch::try_new(schema.clone(), columns)
    }
}

fn list(lengths: &[usize], item: DataType, values: ArrayRef) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(ListArray::new(Arc::new(Field::new("item", item, false)), offsets, values, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::ipc::reader::StreamReader;
    use bodkin_promql::QueryStats;

    fn result(series: usize, samples: usize) -> QueryResult {
        let one = |number: usize| MatrixSeries {
            labels: Labels::from_pairs([("__name__", "m"), ("n", &number.to_string())]),
            timestamps: ScalarBuffer::from_iter(0..samples as i64),
            values: ScalarBuffer::from_iter((0..samples).map(|sample| (number * samples + sample) as f64)),
            histograms: Vec::new(),
        };
        let value = Value::Matrix((0..series).map(one).collect());
        QueryResult { value, warnings: vec!["w".to_owned()], infos: Vec::new(), stats: QueryStats::default() }
    }

    #[test]
    fn a_large_answer_comes_in_batches() {
        for (series, samples, batches) in [(300, 500, 3), (20_000, 1, 3), (2, 3, 1), (0, 0, 1)] {
            let all = Batches::new(result(series, samples)).unwrap().collect::<Result<Vec<_>, _>>().unwrap().concat();
            let reader = StreamReader::try_new(all.as_slice(), None).unwrap();
            assert_eq!(reader.schema().metadata()["resultType"], "matrix");
            assert_eq!(reader.schema().metadata()["warnings"], "w");
            let read: Vec<RecordBatch> = reader.collect::<Result<_, _>>().unwrap();
            assert_eq!(read.len(), batches, "{series} series of {samples}");
            let mut next = 0.0;
            for batch in &read {
                for values in batch.column(2).as_list::<i32>().iter().flatten() {
                    for value in values.as_primitive::<arrow::datatypes::Float64Type>().values() {
                        assert_eq!(*value, next);
                        next += 1.0;
                    }
                }
            }
            assert_eq!(next as usize, series * samples);
        }
    }
}
