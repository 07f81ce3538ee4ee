//! One request on its way to rows, whatever its protocol.

use crate::histogram::{Histogram, HistogramError};
use crate::limits::{GatewayLimits, Limit};
use crate::memory::{Exemplar, Metadata, Suspect, SuspectValue, Verdict};
use crate::rows::{Left, Rows};
use crate::series::{Resolved, Resolver, SeriesError};
use crate::tenants::Holding;
use arrow::error::ArrowError;
use bodkin_schema::SeriesId;

/// Times of samples lie within this, so that microseconds fit.
const TS_MS_MAX: i64 = i64::MAX / 1000;
/// Problems that an answer lists.
const PROBLEMS_LISTED: usize = 8;

/// How the labels of a series came.
pub(crate) trait LabelSource<'b> {
    /// Parses them.
    fn labels(&self, into: &mut Vec<(&'b str, &'b str)>) -> Result<(), SeriesError>;
}

/// How much of a request was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Float samples, those that were there already included.
    pub samples: usize,
    /// Native histogram samples.
    pub histograms: usize,
    /// Exemplars.
    pub exemplars: usize,
}

/// What was wrong with parts of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// The first of them, in words.
    pub listed: Vec<String>,
    /// All of them.
    pub count: usize,
    /// Series that were left out because their labels are invalid: remote write v1 does not tell of them.
    pub invalid_series: usize,
}

impl Problems {
    pub(crate) fn add(&mut self, problem: impl FnOnce() -> String) {
        self.count += 1;
        if self.listed.len() < PROBLEMS_LISTED {
            self.listed.push(problem());
        }
    }
}

/// Collects what a request holds.
pub(crate) struct Intake<'a> {
    resolver: Resolver<'a>,
    holding: &'a Holding,
    pub(crate) limits: &'a GatewayLimits,
    rows: Rows,
    suspects: Vec<(Place, Suspect)>,
    due: Vec<usize>,
    pub(crate) written: Written,
    pub(crate) problems: Problems,
    pub(crate) exemplars: Vec<Exemplar>,
    pub(crate) metadata: Vec<Metadata>,
}

/// Which row a suspect is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Sample(usize),
    Histogram(usize),
}

/// What is left of a request: rows for the log, and what to do once they are durable.
pub(crate) struct Taken {
    pub(crate) rows: Rows,
    pub(crate) left: Left,
    pub(crate) due: Vec<usize>,
    pub(crate) written: Written,
    pub(crate) problems: Problems,
    pub(crate) exemplars: Vec<Exemplar>,
    pub(crate) metadata: Vec<Metadata>,
}

impl<'a> Intake<'a> {
    pub(crate) fn new(holding: &'a Holding, now_us: i64) -> Self {
        Self {
            resolver: holding.cache.resolver(now_us),
            holding,
            limits: &holding.limits,
            rows: Rows::default(),
            suspects: Vec::new(),
            due: Vec::new(),
            written: Written::default(),
            problems: Problems::default(),
            exemplars: Vec::new(),
            metadata: Vec::new(),
        }
    }

    /// The series whose labels came as `bytes`; where they are new to the log they go there with this request.
    pub(crate) fn series<'b>(&mut self, bytes: &[u8], source: &impl LabelSource<'b>) -> Result<Resolved, SeriesError> {
        let resolved = self.resolved(bytes, source);
        if let Some(limit) = resolved.as_ref().err().and_then(SeriesError::limit) {
            self.holding.refusals.count(limit);
        }
        resolved
    }

    /// A histogram is not taken; `before` goes before the reason.
    pub(crate) fn refuse_histogram(&mut self, before: &str, error: &HistogramError) {
        if matches!(error, HistogramError::TooManyBuckets { .. }) {
            self.holding.refusals.count(Limit::Buckets);
        }
        self.problems.add(|| format!("{before}{error}"));
    }

    fn resolved<'b>(&mut self, bytes: &[u8], source: &impl LabelSource<'b>) -> Result<Resolved, SeriesError> {
        let resolved = self.resolver.resolve(bytes, |into| source.labels(into))?;
        if resolved.is_due && self.due.last() != Some(&resolved.place) {
            let mut labels = Vec::new();
            source.labels(&mut labels)?;
            crate::series::canonical(&mut labels, self.limits)?;
            let pushed = self.rows.series.push(resolved.series_id, resolved.metric_id, &labels);
            pushed.map_err(|error| SeriesError::Unfit(error.to_string()))?;
            self.due.push(resolved.place);
        }
        Ok(resolved)
    }

    /// A float sample.
    #[inline]
    pub(crate) fn sample(&mut self, series: Resolved, ts_ms: i64, value: f64) {
        if !is_in_range(ts_ms) {
            return self.problems.add(out_of_bounds);
        }
        self.written.samples += 1;
        if self.resolver.note(series.place, ts_ms) {
            let suspect = Suspect { series_id: series.series_id, ts_ms, value: SuspectValue::Float(value) };
            self.suspects.push((Place::Sample(self.rows.samples.len()), suspect));
        }
        self.rows.samples.push(series.series_id, series.metric_id, ts_ms * 1000, value);
    }

    /// A native histogram sample.
    pub(crate) fn histogram(&mut self, series: Resolved, ts_ms: i64, value: Histogram) {
        if !is_in_range(ts_ms) {
            return self.problems.add(out_of_bounds);
        }
        self.written.histograms += 1;
        if self.resolver.note(series.place, ts_ms) {
            let value = SuspectValue::Histogram { count: value.count, sum: value.sum };
            let suspect = Suspect { series_id: series.series_id, ts_ms, value };
            self.suspects.push((Place::Histogram(self.rows.histograms.len()), suspect));
        }
        self.rows.histograms.push(series.series_id, series.metric_id, ts_ms * 1000, value);
    }

    /// An exemplar of a series.
    pub(crate) fn exemplar(&mut self, series_id: SeriesId, labels: Vec<(String, String)>, value: f64, ts_ms: i64) {
        self.written.exemplars += 1;
        self.exemplars.push(Exemplar { series_id, labels, value, ts_ms });
    }

    /// Ends the request: samples that are there already stay away from the log, and those that differ from what is
    /// there are problems. `with_series` names the series in their texts, as remote write v2 does.
    pub(crate) fn end(self, with_series: bool) -> Taken {
        let Self { holding, rows, suspects, due, mut written, mut problems, exemplars, metadata, .. } = self;
        let mut left = Left::default();
        if !suspects.is_empty() {
            let asked: Vec<Suspect> = suspects.iter().map(|(_, suspect)| *suspect).collect();
            for ((place, suspect), verdict) in suspects.iter().zip(holding.memory.compare(&asked)) {
                if verdict == Verdict::New {
                    continue;
                }
                match place {
                    Place::Sample(row) => left.samples.push(*row),
                    Place::Histogram(row) => left.histograms.push(*row),
                }
                if let Verdict::Other { existing, series } = verdict {
                    match place {
                        Place::Sample(_) => written.samples -= 1,
                        Place::Histogram(_) => written.histograms -= 1,
                    }
                    problems.add(|| duplicate(suspect, existing, with_series.then_some(&*series)));
                }
            }
        }
        Taken { rows, left, due, written, problems, exemplars, metadata }
    }
}

impl Taken {
    /// The batches for the log.
    pub(crate) fn batches(
        self,
        now_us: i64,
    ) -> Result<Vec<(bodkin_schema::Stream, arrow::array::RecordBatch)>, ArrowError> {
        self.rows.finish(now_us, &self.left)
    }
}

fn is_in_range(ts_ms: i64) -> bool {
    (-TS_MS_MAX..=TS_MS_MAX).contains(&ts_ms)
}

fn out_of_bounds() -> String {
    "out of bounds".to_owned()
}

/// Prometheus's own words.
fn duplicate(suspect: &Suspect, existing: Option<f64>, series: Option<&str>) -> String {
    let of_series = series.map(|series| format!(" for series {series}")).unwrap_or_default();
    let text = format!("duplicate sample for timestamp {}; overrides not allowed: existing ", suspect.ts_ms);
    match (existing, suspect.value) {
        (Some(existing), SuspectValue::Float(new)) => format!("{text}{existing}, new value {new}{of_series}"),
        (None, SuspectValue::Float(new)) => format!("{text}is a histogram, new value {new}{of_series}"),
        (_, SuspectValue::Histogram { .. }) => format!("duplicate sample for timestamp{of_series}"),
    }
}
