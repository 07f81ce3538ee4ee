//! A store in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bodkin_promql::histogram::{Bounds, ResetHint};
use bodkin_promql::{
    FloatColumns, FloatHistogram, HistogramColumns, Labels, SampleBatch, Select, Selection, Storage, StorageError,
};

/// A sample.
#[derive(Clone, Debug)]
pub(crate) enum Point {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

/// Samples of one series by time, with their start timestamps.
type Points = BTreeMap<i64, (Point, i64)>;

/// Series by labels.
#[derive(Default)]
pub(crate) struct Memory(BTreeMap<Labels, Points>);

impl Memory {
    /// Stores a sample. As in Prometheus's store, of what a histogram says of resets only that it is a gauge outlives
    /// this, and that it was not reset since the one before is known of all but the first of a chunk.
    pub(crate) fn put(&mut self, labels: &Labels, time_ms: i64, point: Point, start_ms: i64) {
        let points = self.0.entry(labels.clone()).or_default();
        let point = match point {
            Point::Histogram(histogram) if histogram.reset_hint != ResetHint::Gauge => {
                let mut plain = FloatHistogram { reset_hint: ResetHint::Unknown, ..FloatHistogram::clone(&histogram) };
                let before = points.range(..time_ms).next_back();
                if let Some((_, (Point::Histogram(before), _))) = before
                    && histogram.reset_hint != ResetHint::Reset
                    && before.reset_hint != ResetHint::Gauge
                    && !plain.is_reset_since(before, Bounds::MustMatch)
                {
                    plain.reset_hint = ResetHint::NotReset;
                }
                Point::Histogram(Arc::new(plain))
            }
            other => other,
        };
        points.insert(time_ms, (point, start_ms));
    }
}

struct Found {
    labels: Vec<Labels>,
    points: Vec<Points>,
}

impl Storage for Memory {
    fn select(&self, request: &Select<'_>) -> Result<Box<dyn Selection>, StorageError> {
        let mut found = Found { labels: Vec::new(), points: Vec::new() };
        if request.start_ms > request.end_ms {
            return Ok(Box::new(found));
        }
        for (labels, points) in &self.0 {
            if request.matchers.iter().all(|m| m.matches(labels.get(&m.name))) {
                let within = points.range(request.start_ms..=request.end_ms);
                found.labels.push(labels.clone());
                found.points.push(within.map(|(t, p)| (*t, p.clone())).collect());
            }
        }
        Ok(Box::new(found))
    }
}

impl Selection for Found {
    fn series(&self) -> &[Labels] {
        &self.labels
    }

    fn read(&self, positions: Range<usize>) -> Result<SampleBatch, StorageError> {
        let (mut offsets, mut times, mut values, mut starts) = (vec![0], Vec::new(), Vec::new(), Vec::new());
        let mut histograms =
            HistogramColumns { offsets: vec![0], start_timestamps: Some(Vec::new()), ..Default::default() };
        for points in &self.points[positions] {
            for (time_ms, (point, start_ms)) in points {
                match point {
                    Point::Float(value) => {
                        times.push(*time_ms);
                        values.push(*value);
                        starts.push(*start_ms);
                    }
                    Point::Histogram(histogram) => {
                        histograms.timestamps.push(*time_ms);
                        histograms.values.push(Arc::clone(histogram));
                        histograms.start_timestamps.as_mut().unwrap().push(*start_ms);
                    }
                }
            }
            offsets.push(values.len());
            histograms.offsets.push(histograms.values.len());
        }
        Ok(SampleBatch {
            floats: FloatColumns {
                offsets,
                timestamps: times.into(),
                values: values.into(),
                start_timestamps: Some(starts.into()),
            },
            histograms: Some(histograms),
        })
    }
}
