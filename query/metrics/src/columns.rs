//! Typed columns of batches of the three streams.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use bodkin_promql::histogram::{BucketSpan, FloatHistogram, ResetHint};
use bodkin_schema::{MetricId, SeriesId, metrics};

const METRIC_NAME: &str = "__name__";

fn column<'a>(records: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    records.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("column {name} is missing")))
}

fn values<'a, T: ArrowPrimitiveType>(records: &'a RecordBatch, name: &str) -> Result<&'a [T::Native], ArrowError> {
    let found = column(records, name)?;
    let typed = found.as_primitive_opt::<T>();
    let wrong = || ArrowError::SchemaError(format!("column {name} has type {}", found.data_type()));
    typed.map(|array| array.values().as_ref()).ok_or_else(wrong)
}

/// Text that may be a dictionary, made plain.
fn text(array: &ArrayRef) -> Result<StringArray, ArrowError> {
    match array.as_string_opt::<i32>() {
        Some(plain) => Ok(plain.clone()),
        None => Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
    }
}

/// Columns of `samples`.
pub(crate) struct SampleColumns<'a> {
    pub(crate) series_id: &'a [i64],
    pub(crate) metric_id: &'a [i64],
    pub(crate) ts_us: &'a [i64],
    pub(crate) value: &'a [f64],
}

impl<'a> SampleColumns<'a> {
    pub(crate) fn new(records: &'a RecordBatch) -> Result<Self, ArrowError> {
        Ok(Self {
            series_id: values::<Int64Type>(records, metrics::SERIES_ID)?,
            metric_id: values::<Int64Type>(records, metrics::METRIC_ID)?,
            ts_us: values::<TimestampMicrosecondType>(records, metrics::TS)?,
            value: values::<Float64Type>(records, metrics::VALUE)?,
        })
    }
}

/// Columns of `series`.
pub(crate) struct SeriesColumns<'a> {
    series_id: &'a [i64],
    metric_id: &'a [i64],
    name: StringArray,
    labels: &'a MapArray,
    keys: StringArray,
    texts: StringArray,
}

impl<'a> SeriesColumns<'a> {
    pub(crate) fn new(records: &'a RecordBatch) -> Result<Self, ArrowError> {
        let labels = column(records, metrics::LABELS)?;
        let labels = labels
            .as_map_opt()
            .ok_or_else(|| ArrowError::SchemaError(format!("labels have type {}", labels.data_type())))?;
        Ok(Self {
            series_id: values::<Int64Type>(records, metrics::SERIES_ID)?,
            metric_id: values::<Int64Type>(records, metrics::METRIC_ID)?,
            name: text(column(records, metrics::NAME)?)?,
            keys: text(labels.keys())?,
            texts: text(labels.values())?,
            labels,
        })
    }

    pub(crate) fn ids(&self, row: usize) -> (SeriesId, MetricId) {
        (SeriesId(self.series_id[row]), MetricId(self.metric_id[row]))
    }

    /// The labels of a row, the name among them.
    pub(crate) fn labels<'s>(&'s self, row: usize, into: &mut Vec<(&'s str, &'s str)>) {
        into.push((METRIC_NAME, self.name.value(row)));
        let offsets = self.labels.value_offsets();
        for pair in offsets[row] as usize..offsets[row + 1] as usize {
            if !self.texts.is_null(pair) {
                into.push((self.keys.value(pair), self.texts.value(pair)));
            }
        }
    }
}

/// Columns of `histograms`.
pub(crate) struct HistogramColumns<'a> {
    pub(crate) series_id: &'a [i64],
    pub(crate) metric_id: &'a [i64],
    pub(crate) ts_us: &'a [i64],
    count: &'a [f64],
    sum: &'a [f64],
    schema: &'a [i32],
    zero_threshold: &'a [f64],
    zero_count: &'a [f64],
    positive: BucketColumns<'a>,
    negative: BucketColumns<'a>,
    custom_bounds: Lists<'a, f64>,
    reset_hint: &'a [i32],
}

struct BucketColumns<'a> {
    offsets: Lists<'a, i32>,
    lengths: Lists<'a, i32>,
    counts: Lists<'a, f64>,
}

/// A column of lists of numbers.
struct Lists<'a, T> {
    ends: &'a [i32],
    items: &'a [T],
}

impl<'a, T: ArrowNativeType> Lists<'a, T> {
    fn new<P: ArrowPrimitiveType<Native = T>>(records: &'a RecordBatch, name: &str) -> Result<Self, ArrowError> {
        let found = column(records, name)?;
        let wrong = || ArrowError::SchemaError(format!("column {name} has type {}", found.data_type()));
        let list: &ListArray = found.as_list_opt().ok_or_else(wrong)?;
        let items = list.values().as_primitive_opt::<P>().ok_or_else(wrong)?;
        Ok(Self { ends: list.value_offsets(), items: items.values() })
    }

    fn row(&self, row: usize) -> &'a [T] {
        &self.items[self.ends[row] as usize..self.ends[row + 1] as usize]
    }
}

impl BucketColumns<'_> {
    fn spans(&self, row: usize) -> Vec<BucketSpan> {
        let spans = self.offsets.row(row).iter().zip(self.lengths.row(row));
        spans.map(|(offset, length)| BucketSpan { offset: *offset, length: (*length).max(0) as u32 }).collect()
    }
}

impl<'a> HistogramColumns<'a> {
    pub(crate) fn new(records: &'a RecordBatch) -> Result<Self, ArrowError> {
        let buckets = |offsets, lengths, counts| {
            Ok::<_, ArrowError>(BucketColumns {
                offsets: Lists::new::<Int32Type>(records, offsets)?,
                lengths: Lists::new::<Int32Type>(records, lengths)?,
                counts: Lists::new::<Float64Type>(records, counts)?,
            })
        };
        Ok(Self {
            series_id: values::<Int64Type>(records, metrics::SERIES_ID)?,
            metric_id: values::<Int64Type>(records, metrics::METRIC_ID)?,
            ts_us: values::<TimestampMicrosecondType>(records, metrics::TS)?,
            count: values::<Float64Type>(records, metrics::COUNT)?,
            sum: values::<Float64Type>(records, metrics::SUM)?,
            schema: values::<Int32Type>(records, metrics::BUCKET_SCHEMA)?,
            zero_threshold: values::<Float64Type>(records, metrics::ZERO_THRESHOLD)?,
            zero_count: values::<Float64Type>(records, metrics::ZERO_COUNT)?,
            positive: buckets(metrics::POSITIVE_OFFSETS, metrics::POSITIVE_LENGTHS, metrics::POSITIVE_COUNTS)?,
            negative: buckets(metrics::NEGATIVE_OFFSETS, metrics::NEGATIVE_LENGTHS, metrics::NEGATIVE_COUNTS)?,
            custom_bounds: Lists::new::<Float64Type>(records, metrics::CUSTOM_BOUNDS)?,
            reset_hint: values::<Int32Type>(records, metrics::RESET_HINT)?,
        })
    }

    pub(crate) fn value(&self, row: usize) -> FloatHistogram {
        FloatHistogram {
            reset_hint: match self.reset_hint[row] {
                1 => ResetHint::Reset,
                2 => ResetHint::NotReset,
                3 => ResetHint::Gauge,
                _ => ResetHint::Unknown,
            },
            schema: self.schema[row],
            zero_threshold: self.zero_threshold[row],
            zero_count: self.zero_count[row],
            count: self.count[row],
            sum: self.sum[row],
            positive_spans: self.positive.spans(row),
            negative_spans: self.negative.spans(row),
            positive_buckets: self.positive.counts.row(row).to_vec(),
            negative_buckets: self.negative.counts.row(row).to_vec(),
            custom_values: self.custom_bounds.row(row).into(),
        }
    }
}
