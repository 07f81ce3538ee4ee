//! What the evaluator asks of a store: series by matchers, and their samples in columns.

use std::ops::Range;

use arrow_buffer::ScalarBuffer;

use crate::control::QueryControl;
use crate::error::StorageError;
use crate::histogram::FloatHistogram;
use crate::labels::Labels;
use crate::matcher::Matcher;

/// Series and their samples at one moment.
///
/// All calls are synchronous and may come from several threads at once; a store that is asynchronous inside blocks on
/// its own runtime. The evaluator runs on threads that may block.
pub trait Storage: Send + Sync {
    /// Finds the series that all matchers of the request accept.
    ///
    /// A label that a series does not have counts as `""`. The answer is sorted by [`Labels`] and holds each label set
    /// once. Series that turn out to have no sample in the range do no harm.
    fn select(&self, request: &Select<'_>) -> Result<Box<dyn Selection>, StorageError>;
}

/// One selector of a query.
#[derive(Clone, Copy, Debug)]
pub struct Select<'a> {
    /// What each series must match; never empty.
    pub matchers: &'a [Matcher],
    /// The earliest time of a sample that counts, in milliseconds; inclusive.
    pub start_ms: i64,
    /// The latest time of a sample that counts, in milliseconds; inclusive.
    pub end_ms: i64,
    /// What the query does with the samples. To use them is free, to ignore them too.
    pub hints: SelectHints<'a>,
    /// Cancellation, deadline and memory budget of the query.
    pub control: &'a QueryControl,
}

/// What the query will do with the samples of a selector.
#[derive(Clone, Copy, Debug, Default)]
pub struct SelectHints<'a> {
    /// Distance of the query's steps; 0 for an instant query.
    pub step_ms: i64,
    /// Length of the range vector; 0 for an instant selector.
    pub range_ms: i64,
    /// The innermost function or aggregation over the selector, `""` for none.
    pub function: &'a str,
    /// The labels of the aggregation around it.
    pub grouping: &'a [String],
    /// Says whether `grouping` came with `by` (else `without`).
    pub is_by: bool,
    /// Stops after this many series where it is not 0.
    pub series_limit: usize,
    /// Of the floats and of the histograms of a series only the newest counts.
    pub is_newest_only: bool,
    /// The windows of the function, where [`Selection::summaries`] of them would do instead of samples.
    pub windows: Option<Windows>,
}

/// The windows of a range function: `(end - range, end]` for each end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// End of the first one, in milliseconds.
    pub first_end_ms: i64,
    /// Distance of the ends.
    pub step_ms: i64,
    /// How many there are.
    pub count: usize,
    /// Length of each.
    pub range_ms: i64,
}

/// What a store knows of the float samples in one window without reading them one by one. Stale markers are no samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowSummary {
    /// Number of samples, at least 1.
    pub count: u64,
    /// Sum of the values.
    pub sum: f64,
    /// The smallest value; NaN where all are.
    pub min: f64,
    /// The largest value; NaN where all are.
    pub max: f64,
    /// Time of the first sample, in milliseconds.
    pub first_ms: i64,
    /// Its value.
    pub first: f64,
    /// Time of the last sample, in milliseconds.
    pub last_ms: i64,
    /// Its value.
    pub last: f64,
    /// What a counter grew by from the first to the last sample.
    pub increase: f64,
    /// How often a value was less than the one before it.
    pub resets: u64,
}

/// The series that a [`Select`] found.
pub trait Selection: Send + Sync {
    /// The label sets, sorted, each once.
    fn series(&self) -> &[Labels];

    /// Reads the samples of some series, by their positions in [`Selection::series`].
    ///
    /// The evaluator asks for stretches of at most 1,024 series, each once per selector, from several threads at once.
    /// Samples outside the time range of the request may be included; those within must be, sorted by time, each time
    /// once per series.
    fn read(&self, positions: Range<usize>) -> Result<SampleBatch, StorageError>;

    /// The windows that [`SelectHints::windows`] asked for: for each of the series as many as there are, none where a
    /// window holds no sample. `None` where the store wants the samples to be read.
    fn summaries(&self, positions: Range<usize>) -> Result<Option<Vec<Option<WindowSummary>>>, StorageError> {
        let _ = positions;
        Ok(None)
    }

    /// What the reader of the result should know, e.g. that a part is missing.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// What the reader of the result may like to know, e.g. that a tier was read.
    fn infos(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The samples of a stretch of series, as columns.
///
/// ```text
/// series       0        1     2
/// offsets      0        3     3        5
/// timestamps   t t t          t t
/// values       v v v          v v
/// ```
#[derive(Clone, Debug, Default)]
pub struct SampleBatch {
    /// Float samples.
    pub floats: FloatColumns,
    /// Native histogram samples; `None` where no series has any.
    pub histograms: Option<HistogramColumns>,
}

/// Float samples of a stretch of series.
#[derive(Clone, Debug, Default)]
pub struct FloatColumns {
    /// Where the samples of each series begin, and the end of the last: one more than there are series.
    pub offsets: Vec<usize>,
    /// Milliseconds since 1970, rising within a series.
    pub timestamps: ScalarBuffer<i64>,
    /// Values; a stale marker is a NaN with the bits of [`STALE_NAN`].
    pub values: ScalarBuffer<f64>,
    /// When each counter began to count, in milliseconds, 0 where unknown; `None` where the store does not know any.
    pub start_timestamps: Option<ScalarBuffer<i64>>,
}

/// Native histogram samples of a stretch of series. A stale marker is a histogram whose `sum` is the stale NaN.
#[derive(Clone, Debug, Default)]
pub struct HistogramColumns {
    /// Where the samples of each series begin, and the end of the last.
    pub offsets: Vec<usize>,
    /// Milliseconds since 1970, rising within a series.
    pub timestamps: Vec<i64>,
    /// Values. Integer histograms come as floats.
    pub values: Vec<std::sync::Arc<FloatHistogram>>,
    /// As in [`FloatColumns`].
    pub start_timestamps: Option<Vec<i64>>,
}

/// The bits of the stale marker. Other NaNs are values.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// Says whether a value is the stale marker.
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}
