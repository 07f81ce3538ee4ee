//! What a gateway asks of whoever holds recent samples, and tells it.

use bodkin_schema::SeriesId;

/// A sample that its series may have already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suspect {
    /// The series.
    pub series_id: SeriesId,
    /// The time in milliseconds.
    pub ts_ms: i64,
    /// The value.
    pub value: SuspectValue,
}

/// The value of a [`Suspect`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SuspectValue {
    /// A float.
    Float(f64),
    /// A native histogram, by its count and sum.
    Histogram {
        /// Observations.
        count: f64,
        /// Their sum.
        sum: f64,
    },
}

/// What is known of a [`Suspect`].
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The series has no sample of that time that anybody here knows of.
    New,
    /// It has the very same sample.
    Same,
    /// It has another one, which stays.
    Other {
        /// The value that stays; none for a histogram.
        existing: Option<f64>,
        /// The series in Prometheus's notation.
        series: String,
    },
}

/// An exemplar: one observation with a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// The series that it belongs to.
    pub series_id: SeriesId,
    /// Its own labels, the trace's id among them.
    pub labels: Vec<(String, String)>,
    /// The observation.
    pub value: f64,
    /// When, in milliseconds.
    pub ts_ms: i64,
}

/// What a sender says of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The metric family.
    pub name: String,
    /// `counter`, `gauge`, `histogram`, `gaugehistogram`, `summary`, `info`, `stateset` or `unknown`.
    pub kind: &'static str,
    /// Help text.
    pub help: String,
    /// Unit.
    pub unit: String,
}

/// Holds recent samples, and what is not kept in tables.
pub trait Memory: Send + Sync {
    /// What is known of each suspect, in their order.
    fn compare(&self, suspects: &[Suspect]) -> Vec<Verdict>;

    /// The time of the newest sample of a series, in milliseconds; none where there is none.
    fn newest_ms(&self, series: SeriesId) -> Option<i64>;

    /// Takes exemplars.
    fn exemplars(&self, exemplars: Vec<Exemplar>);

    /// Takes metadata.
    fn metadata(&self, metadata: Vec<Metadata>);
}

/// The word for a type of metric of remote write; both versions number them alike.
pub(crate) fn kind_name(number: u64) -> &'static str {
    match number {
        1 => "counter",
        2 => "gauge",
        3 => "histogram",
        4 => "gaugehistogram",
        5 => "summary",
        6 => "info",
        7 => "stateset",
        _ => "unknown",
    }
}
