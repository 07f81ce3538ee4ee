//! What a query answers.

use std::sync::Arc;

use arrow_buffer::ScalarBuffer;

use crate::histogram::FloatHistogram;
use crate::labels::Labels;

/// The result of a query.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number at the time of evaluation.
    Scalar {
        /// Milliseconds since 1970.
        time_ms: i64,
        /// The number.
        value: f64,
    },
    /// A string literal.
    String {
        /// Milliseconds since 1970.
        time_ms: i64,
        /// The text.
        value: String,
    },
    /// One sample per series, all at the time of evaluation, in the order of the result.
    Vector {
        /// Milliseconds since 1970.
        time_ms: i64,
        /// The samples.
        samples: Vec<VectorSample>,
    },
    /// Samples over time per series, sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

impl Value {
    /// The `resultType` of the HTTP API.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Scalar { .. } => "scalar",
            Self::String { .. } => "string",
            Self::Vector { .. } => "vector",
            Self::Matrix(_) => "matrix",
        }
    }
}

/// One sample of an instant vector.
#[derive(Clone, Debug)]
pub struct VectorSample {
    /// The series.
    pub labels: Labels,
    /// Its value.
    pub value: SampleValue,
}

/// A float or a native histogram.
#[derive(Clone, Debug)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// One series of a matrix. A step has a float, a histogram, or neither.
#[derive(Clone, Debug)]
pub struct MatrixSeries {
    /// The series.
    pub labels: Labels,
    /// Times of the floats. Series without gaps share one buffer.
    pub timestamps: ScalarBuffer<i64>,
    /// The floats.
    pub values: ScalarBuffer<f64>,
    /// The histograms with their times.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

/// A result with what is to be said about it.
#[derive(Clone, Debug)]
pub struct QueryResult {
    /// The value.
    pub value: Value,
    /// Warnings, without duplicates, with positions; sorted.
    pub warnings: Vec<String>,
    /// Infos, likewise.
    pub infos: Vec<String>,
    /// What it cost.
    pub stats: QueryStats,
}

/// What a query cost; the `stats=all` of the HTTP API.
#[derive(Clone, Debug, Default)]
pub struct QueryStats {
    /// Seconds from parse to result.
    pub exec_total_seconds: f64,
    /// Seconds of evaluation without parsing.
    pub eval_total_seconds: f64,
    /// Seconds of looking up series.
    pub query_preparation_seconds: f64,
    /// Seconds of computing.
    pub inner_eval_seconds: f64,
    /// Seconds of sorting the result.
    pub result_sort_seconds: f64,
    /// Samples that steps looked at, a sample as often as a step saw it.
    pub total_queryable_samples: u64,
    /// The same for each step, with its time in milliseconds; empty unless asked for.
    pub total_queryable_samples_per_step: Vec<(i64, u64)>,
    /// The most samples in memory at once.
    pub peak_samples: u64,
    /// The most bytes in memory at once.
    pub peak_bytes: u64,
}
