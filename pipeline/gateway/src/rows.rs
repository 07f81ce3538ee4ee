//! Columns of one request in the making.

use crate::histogram::Histogram;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListArray, MapBuilder, MapFieldNames, RecordBatch,
    StringBuilder, TimestampMicrosecondArray,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use bodkin_schema::{MetricId, SeriesId, Stream};
use std::sync::Arc;

/// Rows of one batch at most: what a replay of the log takes, with room.
const ROWS_MAX: usize = 256 << 10;
const METRIC_NAME: &str = "__name__";

/// Columns of the three streams of metrics.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) series: SeriesRows,
    pub(crate) samples: SampleRows,
    pub(crate) histograms: HistogramRows,
}

/// Columns of `samples`.
#[derive(Debug, Default)]
pub(crate) struct SampleRows {
    series_id: Vec<i64>,
    metric_id: Vec<i64>,
    ts_us: Vec<i64>,
    value: Vec<f64>,
}

impl SampleRows {
    pub(crate) fn push(&mut self, series_id: SeriesId, metric_id: MetricId, ts_us: i64, value: f64) {
        self.series_id.push(series_id.0);
        self.metric_id.push(metric_id.0);
        self.ts_us.push(ts_us);
        self.value.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.value.len()
    }

    fn finish(self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(self.series_id)),
            Arc::new(Int64Array::from(self.metric_id)),
            Arc::new(TimestampMicrosecondArray::from(self.ts_us).with_timezone("UTC")),
            Arc::new(Float64Array::from(self.value)),
        ];
        RecordBatch::try_new(Stream::Samples.schema(), columns)
    }
}

/// Columns of `histograms`.
#[derive(Debug, Default)]
pub(crate) struct HistogramRows {
    series_id: Vec<i64>,
    metric_id: Vec<i64>,
    ts_us: Vec<i64>,
    values: Vec<Histogram>,
}

impl HistogramRows {
    pub(crate) fn push(&mut self, series_id: SeriesId, metric_id: MetricId, ts_us: i64, value: Histogram) {
        self.series_id.push(series_id.0);
        self.metric_id.push(metric_id.0);
        self.ts_us.push(ts_us);
        self.values.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    fn finish(self) -> Result<RecordBatch, ArrowError> {
        let values = &self.values;
        let doubles = |get: fn(&Histogram) -> f64| Arc::new(Float64Array::from_iter_values(values.iter().map(get)));
        let ints = |get: fn(&Histogram) -> i32| Arc::new(Int32Array::from_iter_values(values.iter().map(get)));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(self.series_id)),
            Arc::new(Int64Array::from(self.metric_id)),
            Arc::new(TimestampMicrosecondArray::from(self.ts_us).with_timezone("UTC")),
            doubles(|h| h.count),
            doubles(|h| h.sum),
            ints(|h| h.schema),
            doubles(|h| h.zero_threshold),
            doubles(|h| h.zero_count),
            int_list(values, |h| &h.positive.offsets),
            int_list(values, |h| &h.positive.lengths),
            double_list(values, |h| &h.positive.counts),
            int_list(values, |h| &h.negative.offsets),
            int_list(values, |h| &h.negative.lengths),
            double_list(values, |h| &h.negative.counts),
            double_list(values, |h| &h.custom_bounds),
            ints(|h| h.reset_hint),
        ];
        RecordBatch::try_new(Stream::Histograms.schema(), columns)
    }
}

fn int_list(values: &[Histogram], get: fn(&Histogram) -> &Vec<i32>) -> ArrayRef {
    let items = Int32Array::from_iter_values(values.iter().flat_map(|value| get(value).iter().copied()));
    let offsets = OffsetBuffer::from_lengths(values.iter().map(|value| get(value).len()));
    Arc::new(ListArray::new(Arc::new(Field::new("item", DataType::Int32, false)), offsets, Arc::new(items), None))
}

fn double_list(values: &[Histogram], get: fn(&Histogram) -> &Vec<f64>) -> ArrayRef {
    // Not through an iterator of options: the bits of a NaN stay as they are.
    let items: Vec<f64> = values.iter().flat_map(|value| get(value).iter().copied()).collect();
    let offsets = OffsetBuffer::from_lengths(values.iter().map(|value| get(value).len()));
    let items = Float64Array::new(ScalarBuffer::from(items), None);
    Arc::new(ListArray::new(Arc::new(Field::new("item", DataType::Float64, false)), offsets, Arc::new(items), None))
}

/// Columns of `series`.
#[derive(Debug)]
pub(crate) struct SeriesRows {
    series_id: Vec<i64>,
    metric_id: Vec<i64>,
    name: StringBuilder,
    labels: MapBuilder<StringBuilder, StringBuilder>,
}

impl Default for SeriesRows {
    fn default() -> Self {
        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        Self {
            series_id: Vec::new(),
            metric_id: Vec::new(),
            name: StringBuilder::new(),
            labels: MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()),
        }
    }
}

impl SeriesRows {
    /// Adds a series; `labels` are canonical, the name among them.
    pub(crate) fn push(
        &mut self,
        series_id: SeriesId,
        metric_id: MetricId,
        labels: &[(&str, &str)],
    ) -> Result<(), ArrowError> {
        self.series_id.push(series_id.0);
        self.metric_id.push(metric_id.0);
        let mut name = "";
        for (label, value) in labels {
            if *label == METRIC_NAME {
                name = value;
                continue;
            }
            self.labels.keys().append_value(label);
            self.labels.values().append_value(value);
        }
        self.name.append_value(name);
        self.labels.append(true)
    }

    fn len(&self) -> usize {
        self.series_id.len()
    }

    fn finish(mut self, now_us: i64) -> Result<RecordBatch, ArrowError> {
        let rows = self.series_id.len();
        let times = || Arc::new(TimestampMicrosecondArray::from(vec![now_us; rows]).with_timezone("UTC"));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(self.series_id)),
            Arc::new(Int64Array::from(self.metric_id)),
            Arc::new(self.name.finish()),
            Arc::new(self.labels.finish()),
            times(),
            times(),
        ];
        RecordBatch::try_new(Stream::Series.schema(), columns)
    }
}

/// Which rows of a request stay away from the log, because they are there.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) samples: Vec<usize>,
    pub(crate) histograms: Vec<usize>,
}

impl Rows {
    /// The batches of the request in the order in which they go into the log: labels first, so that no sample is
    /// durable without them.
    pub(crate) fn finish(self, now_us: i64, left: &Left) -> Result<Vec<(Stream, RecordBatch)>, ArrowError> {
        let mut batches = Vec::with_capacity(2);
        if self.series.len() > 0 {
            cut(&mut batches, Stream::Series, self.series.finish(now_us)?);
        }
        if self.samples.len() > left.samples.len() {
            cut(&mut batches, Stream::Samples, without(self.samples.finish()?, &left.samples)?);
        }
        if self.histograms.len() > left.histograms.len() {
            cut(&mut batches, Stream::Histograms, without(self.histograms.finish()?, &left.histograms)?);
        }
        Ok(batches)
    }
}

fn without(records: RecordBatch, rows: &[usize]) -> Result<RecordBatch, ArrowError> {
    if rows.is_empty() {
        return Ok(records);
    }
    let mut keep = vec![true; records.num_rows()];
    rows.iter().filter_map(|row| keep.get_mut(*row).map(|keep| *keep = false)).for_each(drop);
    filter_record_batch(&records, &BooleanArray::from(keep))
}

fn cut(batches: &mut Vec<(Stream, RecordBatch)>, stream: Stream, records: RecordBatch) {
    let starts = (0..records.num_rows()).step_by(ROWS_MAX);
    batches.extend(starts.map(|start| (stream, records.slice(start, ROWS_MAX.min(records.num_rows() - start)))));
}
