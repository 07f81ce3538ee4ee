//! The samples of one series, without stale markers.

use std::borrow::Cow;
use std::sync::Arc;

use super::matrix::{StepMatrix, Steps, is_absent};
use crate::histogram::{FloatHistogram, ResetHint};
use crate::storage::{FloatColumns, HistogramColumns, SampleBatch, is_stale};

/// Floats of one series, rising in time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floats<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
    /// Start timestamps, or nothing.
    pub(crate) starts: &'a [i64],
}

impl<'a> Floats<'a> {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn slice(&self, from: usize, to: usize) -> Self {
        Self {
            times: &self.times[from..to],
            values: &self.values[from..to],
            starts: if self.starts.is_empty() { &[] } else { &self.starts[from..to] },
        }
    }

    pub(crate) fn start(&self, i: usize) -> i64 {
        self.starts.get(i).copied().unwrap_or(0)
    }
}

/// Native histograms of one series, rising in time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Histograms<'a> {
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [Arc<FloatHistogram>],
    /// Start timestamps, or nothing.
    pub(crate) starts: &'a [i64],
}

impl Histograms<'_> {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn slice(&self, from: usize, to: usize) -> Self {
        Self {
            times: &self.times[from..to],
            values: &self.values[from..to],
            starts: if self.starts.is_empty() { &[] } else { &self.starts[from..to] },
        }
    }

    pub(crate) fn start(&self, i: usize) -> i64 {
        self.starts.get(i).copied().unwrap_or(0)
    }
}

/// The raw columns of one series in a batch, stale markers included.
pub(crate) fn floats_of(columns: &FloatColumns, series: usize) -> Floats<'_> {
    let Some((from, to)) = bounds(&columns.offsets, series) else { return Floats::default() };
    let starts = columns.start_timestamps.as_ref().map(|s| &s[..]).unwrap_or(&[]);
    let to = to.min(columns.values.len()).min(columns.timestamps.len());
    let from = from.min(to);
    Floats {
        times: &columns.timestamps[from..to],
        values: &columns.values[from..to],
        starts: starts.get(from..to).unwrap_or(&[]),
    }
}

/// The same for histograms.
pub(crate) fn histograms_of(columns: Option<&HistogramColumns>, series: usize) -> Histograms<'_> {
    let Some(columns) = columns else { return Histograms::default() };
    let Some((from, to)) = bounds(&columns.offsets, series) else { return Histograms::default() };
    let to = to.min(columns.values.len()).min(columns.timestamps.len());
    let from = from.min(to);
    let starts = columns.start_timestamps.as_deref().unwrap_or(&[]);
    Histograms {
        times: &columns.timestamps[from..to],
        values: &columns.values[from..to],
        starts: starts.get(from..to).unwrap_or(&[]),
    }
}

fn bounds(offsets: &[usize], series: usize) -> Option<(usize, usize)> {
    Some((*offsets.get(series)?, *offsets.get(series + 1)?))
}

/// The samples of one series for range functions: what is stale is gone.
#[derive(Debug, Default)]
pub(crate) struct Clean<'a> {
    float_times: Cow<'a, [i64]>,
    float_values: Cow<'a, [f64]>,
    float_starts: Cow<'a, [i64]>,
    histogram_times: Cow<'a, [i64]>,
    histogram_values: Cow<'a, [Arc<FloatHistogram>]>,
    histogram_starts: Cow<'a, [i64]>,
}

impl<'a> Clean<'a> {
    /// The samples of a series in a batch.
    pub(crate) fn of_batch(batch: &'a SampleBatch, series: usize) -> Self {
        let floats = floats_of(&batch.floats, series);
        let histograms = histograms_of(batch.histograms.as_ref(), series);
        let mut clean = Self::default();
        if floats.values.iter().any(|v| is_stale(*v)) {
            let live = |i: &usize| !is_stale(floats.values[*i]);
            let kept: Vec<usize> = (0..floats.len()).filter(live).collect();
            clean.float_times = kept.iter().map(|i| floats.times[*i]).collect();
            clean.float_values = kept.iter().map(|i| floats.values[*i]).collect();
            if !floats.starts.is_empty() {
                clean.float_starts = kept.iter().map(|i| floats.starts[*i]).collect();
            }
        } else {
            clean.float_times = Cow::Borrowed(floats.times);
            clean.float_values = Cow::Borrowed(floats.values);
            clean.float_starts = Cow::Borrowed(floats.starts);
        }
        let live = |h: &Arc<FloatHistogram>| !is_stale(h.sum);
        if histograms.values.iter().all(live) {
            clean.histogram_times = Cow::Borrowed(histograms.times);
            clean.histogram_values = Cow::Borrowed(histograms.values);
            clean.histogram_starts = Cow::Borrowed(histograms.starts);
        } else {
            let kept: Vec<usize> = (0..histograms.len()).filter(|i| live(&histograms.values[*i])).collect();
            clean.histogram_times = kept.iter().map(|i| histograms.times[*i]).collect();
            clean.histogram_values = kept.iter().map(|i| Arc::clone(&histograms.values[*i])).collect();
            if !histograms.starts.is_empty() {
                clean.histogram_starts = kept.iter().map(|i| histograms.starts[*i]).collect();
            }
        }
        clean
    }

    /// A row of a subquery as samples. What its histograms say of resets does not hold between its steps.
    pub(crate) fn of_row(matrix: &StepMatrix, steps: &Steps, row: usize) -> Clean<'static> {
        let row = matrix.row(row);
        let mut clean = Clean::default();
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let (mut histogram_times, mut histograms) = (Vec::new(), Vec::new());
        for (step, time_ms) in steps.times().enumerate() {
            if let Some(histogram) = row.histogram(step) {
                let mut histogram = Arc::clone(histogram);
                if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
                    Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
                }
                histogram_times.push(time_ms);
                histograms.push(histogram);
            } else if !is_absent(row.values[step]) {
                times.push(time_ms);
                values.push(row.values[step]);
            }
        }
        clean.float_times = Cow::Owned(times);
        clean.float_values = Cow::Owned(values);
        clean.histogram_times = Cow::Owned(histogram_times);
        clean.histogram_values = Cow::Owned(histograms);
        clean
    }

    pub(crate) fn floats(&self) -> Floats<'_> {
        Floats { times: &self.float_times, values: &self.float_values, starts: &self.float_starts }
    }

    pub(crate) fn histograms(&self) -> Histograms<'_> {
        Histograms { times: &self.histogram_times, values: &self.histogram_values, starts: &self.histogram_starts }
    }
}
