//! Samples that this process makes itself: results of rules, pages that it scraped, what StatsD sent.

use crate::histogram::{Histogram, check};
use crate::intake::{Intake, LabelSource};
use crate::series::SeriesError;
use std::sync::Arc;

/// Labels of a series, the metric name as `__name__` among them; in any order.
pub type OwnLabels = Arc<[(String, String)]>;

/// A sample.
#[derive(Clone, Debug)]
pub struct OwnSample {
    /// Its series.
    pub labels: OwnLabels,
    /// When, in milliseconds.
    pub ts_ms: i64,
    /// Its value.
    pub value: OwnValue,
    /// Observations with traces that came with it.
    pub exemplars: Vec<OwnExemplar>,
}

impl OwnSample {
    /// A sample without exemplars.
    pub fn new(labels: OwnLabels, ts_ms: i64, value: OwnValue) -> Self {
        Self { labels, ts_ms, value, exemplars: Vec::new() }
    }
}

/// One observation, with a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnExemplar {
    /// Its own labels, the trace's id among them.
    pub labels: Vec<(String, String)>,
    /// What was observed.
    pub value: f64,
    /// When, in milliseconds; the time of its sample where it says none.
    pub ts_ms: Option<i64>,
}

/// The value of an [`OwnSample`].
#[derive(Clone, Debug)]
pub enum OwnValue {
    /// A float.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

struct Pairs<'s>(&'s [(String, String)]);

impl<'s> LabelSource<'s> for Pairs<'s> {
    fn labels(&self, into: &mut Vec<(&'s str, &'s str)>) -> Result<(), SeriesError> {
        into.extend(self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        Ok(())
    }
}

/// Takes a sample; what is wrong with it is a problem of the request. `key` is room for its labels as bytes.
pub(crate) fn take(sample: &OwnSample, key: &mut Vec<u8>, intake: &mut Intake<'_>) {
    key.clear();
    for (name, value) in sample.labels.iter() {
        for text in [name, value] {
            key.extend_from_slice(&(text.len() as u32).to_le_bytes());
            key.extend_from_slice(text.as_bytes());
        }
    }
    let series = match intake.series(key, &Pairs(&sample.labels)) {
        Ok(series) => series,
        Err(error) => return intake.problems.add(|| error.to_string()),
    };
    for OwnExemplar { labels, value, ts_ms } in &sample.exemplars {
        intake.exemplar(series.series_id, labels.clone(), *value, ts_ms.unwrap_or(sample.ts_ms));
    }
    match &sample.value {
        OwnValue::Float(value) => intake.sample(series, sample.ts_ms, *value),
        OwnValue::Histogram(histogram) => match check(histogram, intake.limits.buckets_max) {
            Ok(()) => intake.histogram(series, sample.ts_ms, histogram.as_ref().clone()),
            Err(error) => intake.refuse_histogram("", &error),
        },
    }
}
