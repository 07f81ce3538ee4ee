//! Rows of a tier: to columns, and from columns.

use crate::bucket::{Bucket, Second, Stored};
use crate::sketch::Sketch;
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, PrimitiveArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bodkin_schema::{metrics, rollup};
use std::sync::Arc;

/// One series in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TierRow {
    /// The series.
    pub series_id: i64,
    /// Its metric.
    pub metric_id: i64,
    /// Start of the window, in microseconds.
    pub window_us: i64,
    /// All samples of the window.
    pub whole: Bucket,
    /// Those after its start, where one lies on it and others follow.
    pub inner: Option<Bucket>,
}

impl TierRow {
    /// The sample on the start of the window, if there is one: PromQL counts it to the window before.
    pub fn on_start(&self) -> Option<Bucket> {
        (self.whole.first_us == self.window_us).then(|| Bucket::of(self.window_us, self.whole.first))
    }

    /// All samples but that one.
    pub fn after_start(&self) -> Option<Bucket> {
        if self.whole.first_us == self.window_us { self.inner } else { Some(self.whole) }
    }
}

/// Columns in the making.
#[derive(Debug, Default)]
pub(crate) struct RowsBuilder {
    rows: Vec<TierRow>,
    sketches: Vec<Option<String>>,
}

impl RowsBuilder {
    pub(crate) fn push(&mut self, row: TierRow, sketch: Option<&Sketch>) {
        self.rows.push(row);
        self.sketches.push(sketch.map(Sketch::to_string));
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows so far as a batch of their table.
    pub(crate) fn finish(&mut self, version: i64) -> Result<RecordBatch, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        let ints =
            |of: fn(&TierRow) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.iter().map(of))) };
        let floats =
            |of: fn(&TierRow) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(rows.iter().map(of))) };
        let times = |of: fn(&TierRow) -> Option<i64>| -> ArrayRef {
            let times: TimestampMicrosecondArray = rows.iter().map(of).collect();
            Arc::new(times.with_timezone("UTC"))
        };
        let inner = |of: fn(&Bucket) -> f64| -> ArrayRef {
            Arc::new(rows.iter().map(|row| row.inner.as_ref().map(of)).collect::<Float64Array>())
        };
        let columns = vec![
            ints(|row| row.series_id),
            ints(|row| row.metric_id),
            times(|row| Some(row.window_us)),
            floats(|row| row.whole.min),
            floats(|row| row.whole.max),
            floats(|row| row.whole.sum()),
            ints(|row| row.whole.count as i64),
            times(|row| Some(row.whole.first_us)),
            floats(|row| row.whole.first),
            times(|row| Some(row.whole.last_us)),
            floats(|row| row.whole.last),
            floats(|row| row.whole.increase()),
            ints(|row| row.whole.resets as i64),
            Arc::new(Int64Array::from(vec![version; rows.len()])),
            times(|row| row.inner.map(|inner| inner.first_us)),
            inner(|inner| inner.first),
            inner(|inner| inner.min),
            inner(|inner| inner.max),
            inner(Bucket::sum),
            Arc::new(StringArray::from(std::mem::take(&mut self.sketches))),
        ];
        RecordBatch::try_new(rollup::schema(), columns)
    }
}

/// What of the rows of a tier is read, beside the count and the time of the first sample; the rest is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowParts {
    /// The sum.
    pub sum: bool,
    /// Minimum and maximum.
    pub extremes: bool,
    /// First and last sample, increase and resets.
    pub growth: bool,
}

impl RowParts {
    /// Everything.
    pub const ALL: Self = Self { sum: true, extremes: true, growth: true };

    /// The columns with it.
    pub fn columns(self) -> Vec<&'static str> {
        use rollup::{COUNT, FIRST, FIRST_TS, INCREASE, INNER_FIRST, INNER_FIRST_TS, INNER_MAX, INNER_MIN, INNER_SUM};
        use rollup::{LAST, LAST_TS, MAX, MIN, RESETS, SUM, TS};
        let mut columns = vec![metrics::SERIES_ID, TS, COUNT, FIRST_TS, INNER_FIRST_TS];
        let mut add = |is_read: bool, more: &[&'static str]| columns.extend(more.iter().filter(|_| is_read));
        add(self == Self::ALL, &[metrics::METRIC_ID]);
        add(self.sum, &[SUM, INNER_SUM]);
        add(self.extremes, &[MIN, MAX, INNER_MIN, INNER_MAX]);
        add(self.growth, &[LAST_TS, LAST, INCREASE, RESETS, INNER_FIRST]);
        // The value on the start of a window is a part of whatever is asked.
        add(self.sum || self.extremes || self.growth, &[FIRST]);
        columns
    }
}

/// The columns of a batch of a tier.
pub struct RowColumns<'a> {
    series_id: &'a [i64],
    metric_id: &'a [i64],
    window_us: &'a [i64],
    min: &'a [f64],
    max: &'a [f64],
    sum: &'a [f64],
    count: &'a [i64],
    first_us: &'a [i64],
    first: &'a [f64],
    last_us: &'a [i64],
    last: &'a [f64],
    increase: &'a [f64],
    resets: &'a [i64],
    inner_first_us: &'a PrimitiveArray<TimestampMicrosecondType>,
    inner_first: &'a [f64],
    inner_min: &'a [f64],
    inner_max: &'a [f64],
    inner_sum: &'a [f64],
}

fn typed<'a, T: ArrowPrimitiveType>(records: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<T>, ArrowError> {
    let column = records.column_by_name(name);
    let column = column.ok_or_else(|| ArrowError::SchemaError(format!("column {name} is missing")))?;
    let wrong = || ArrowError::SchemaError(format!("column {name} has type {}", column.data_type()));
    column.as_primitive_opt::<T>().ok_or_else(wrong)
}

impl<'a> RowColumns<'a> {
    /// The columns of `records`, which are of a tier and hold these parts.
    ///
    /// # Errors
    /// Where a column is missing or has another type.
    pub fn new(records: &'a RecordBatch, parts: RowParts) -> Result<Self, ArrowError> {
        let ints = |name| typed::<Int64Type>(records, name).map(|array| array.values().as_ref());
        let times = |name| typed::<TimestampMicrosecondType>(records, name);
        let floats = |is_read: bool, name| -> Result<&'a [f64], ArrowError> {
            if is_read { Ok(typed::<Float64Type>(records, name)?.values().as_ref()) } else { Ok(&[]) }
        };
        let RowParts { sum, extremes, growth } = parts;
        Ok(Self {
            series_id: ints(metrics::SERIES_ID)?,
            metric_id: if parts == RowParts::ALL { ints(metrics::METRIC_ID)? } else { &[] },
            window_us: times(rollup::TS)?.values(),
            min: floats(extremes, rollup::MIN)?,
            max: floats(extremes, rollup::MAX)?,
            sum: floats(sum, rollup::SUM)?,
            count: ints(rollup::COUNT)?,
            first_us: times(rollup::FIRST_TS)?.values(),
            first: floats(sum || extremes || growth, rollup::FIRST)?,
            last_us: if growth { times(rollup::LAST_TS)?.values() } else { &[] },
            last: floats(growth, rollup::LAST)?,
            increase: floats(growth, rollup::INCREASE)?,
            resets: if growth { ints(rollup::RESETS)? } else { &[] },
            inner_first_us: times(rollup::INNER_FIRST_TS)?,
            inner_first: floats(growth, rollup::INNER_FIRST)?,
            inner_min: floats(extremes, rollup::INNER_MIN)?,
            inner_max: floats(extremes, rollup::INNER_MAX)?,
            inner_sum: floats(sum, rollup::INNER_SUM)?,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.series_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series_id.is_empty()
    }

    /// The series of a row.
    pub fn series_id(&self, row: usize) -> i64 {
        self.series_id[row]
    }

    /// Start of the window of a row, in microseconds.
    pub fn window_us(&self, row: usize) -> i64 {
        self.window_us[row]
    }

    /// A row: zero in what is not read.
    #[inline]
    pub fn row(&self, row: usize) -> TierRow {
        let (float, int) = (
            |values: &[f64]| values.get(row).copied().unwrap_or_default(),
            |values: &[i64]| values.get(row).copied().unwrap_or_default(),
        );
        let whole = Bucket::stored(Stored {
            count: int(self.count).max(0) as u64,
            sum: float(self.sum),
            min: float(self.min),
            max: float(self.max),
            first_us: int(self.first_us),
            first: float(self.first),
            last_us: int(self.last_us),
            last: float(self.last),
            increase: float(self.increase),
            resets: int(self.resets).max(0) as u64,
        });
        let inner = self.inner_first_us.is_valid(row).then(|| {
            whole.inner(&Second {
                first_us: self.inner_first_us.value(row),
                first: float(self.inner_first),
                min: float(self.inner_min),
                max: float(self.inner_max),
                sum: float(self.inner_sum),
            })
        });
        TierRow {
            series_id: int(self.series_id),
            metric_id: int(self.metric_id),
            window_us: int(self.window_us),
            whole,
            inner,
        }
    }
}
