//! Queries from outside: text and times to results.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_buffer::ScalarBuffer;
use bodkin_schema::time::{Clock, SystemClock};

use crate::annotations::Annotations;
use crate::ast::{Edges, Expr, ExprKind, MatrixSelector, Subquery, ValueType};
use crate::control::QueryControl;
use crate::error::Error;
use crate::eval::instant::TIME_MAX_MS;
use crate::eval::matrix::{StepMatrix, Steps, is_absent};
use crate::eval::samples::Clean;
use crate::eval::sums;
use crate::eval::{Evaluated, Evaluator, QueryRange, SampleCounts};
use crate::options::{EngineOptions, QueryOptions, Release};
use crate::parser;
use crate::storage::{SelectHints, Storage};
use crate::value::{MatrixSeries, QueryResult, QueryStats, SampleValue, Value, VectorSample};

/// More steps than this are refused; an HTTP API has a lower limit of its own.
const STEPS_MAX: i64 = 1_000_000;

/// Evaluates queries over a [`Storage`]. Holds settings only; one serves any number of queries at once.
#[derive(Clone)]
pub struct Engine {
    options: EngineOptions,
    clock: Arc<dyn Clock>,
}

impl Engine {
    /// An engine on the clock of the system.
    pub fn new(options: EngineOptions) -> Self {
        Self::with_clock(options, Arc::new(SystemClock::default()))
    }

    /// An engine on another clock, which times timeouts and statistics.
    pub fn with_clock(options: EngineOptions, clock: Arc<dyn Clock>) -> Self {
        Self { options, clock }
    }

    /// The settings.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Parses a query with the features of this engine.
    pub fn parse(&self, query: &str) -> Result<Expr, Error> {
        parser::parse_as(query, &self.options.features, self.options.release)
    }

    /// Evaluates a query at one time. Blocks; use a thread that may.
    pub fn instant(
        &self,
        storage: &dyn Storage,
        query: &str,
        time_ms: i64,
        options: &QueryOptions,
    ) -> Result<QueryResult, Error> {
        let range = QueryRange { start_ms: time_ms, end_ms: time_ms, step_ms: 0 };
        self.run(storage, query, range, options)
    }

    /// Evaluates a query at each step from `start_ms` to `end_ms`, both included. Blocks; use a thread that may.
    pub fn range(
        &self,
        storage: &dyn Storage,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &QueryOptions,
    ) -> Result<QueryResult, Error> {
        if step_ms <= 0 {
            return Err(Error::BadData("zero or negative query resolution step widths are not accepted".to_owned()));
        }
        if end_ms < start_ms {
            return Err(Error::BadData("end timestamp must not be before start time".to_owned()));
        }
        self.run(storage, query, QueryRange { start_ms, end_ms, step_ms }, options)
    }

    fn run(
        &self,
        storage: &dyn Storage,
        query: &str,
        range: QueryRange,
        options: &QueryOptions,
    ) -> Result<QueryResult, Error> {
        let mut limits = self.options.limits;
        limits.timeout = options.timeout.map_or(limits.timeout, |t| t.min(limits.timeout));
        let control = Arc::new(QueryControl::new(limits, options.cancel.clone(), Arc::clone(&self.clock)));
        let expr = self.parse(query)?;
        let value_type = expr.value_type();
        let is_instant = range.step_ms == 0;
        if !is_instant && !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
            return Err(Error::BadData(format!(
                "invalid expression type {:?} for range query, must be Scalar or instant Vector",
                value_type.documented()
            )));
        }
        if range.start_ms.min(range.end_ms) < -TIME_MAX_MS || range.end_ms.max(range.start_ms) > TIME_MAX_MS {
            return Err(Error::BadData("the time of the query is out of range".to_owned()));
        }
        let steps = steps_of(&range)?;
        let mut evaluator = self.evaluator(storage, Arc::clone(&control), range, &steps, options);
        if self.options.release == Release::V3_5 {
            evaluator.reads_sums_at = sums::selector(&expr);
        }
        evaluator.check_durations(&expr)?;
        let mut notes = Annotations::default();
        let parsed = control.elapsed();
        let value = evaluator.value(&expr, &steps, &mut notes)?;
        let evaluated = control.elapsed();
        let value = to_value(value, &steps, is_instant)?;
        let (warnings, infos) = notes.texts(query, options.annotations_max);
        let stats = stats(&evaluator, &control, &steps, parsed, evaluated);
        Ok(QueryResult { value, warnings, infos, stats })
    }

    fn evaluator<'s>(
        &self,
        storage: &'s dyn Storage,
        control: Arc<QueryControl>,
        query: QueryRange,
        steps: &Steps,
        options: &QueryOptions,
    ) -> Evaluator<'s> {
        let per_step = if options.per_step_stats { steps.count } else { 0 };
        Evaluator {
            storage,
            control,
            features: self.options.features,
            release: self.options.release,
            threads: self.options.threads.max(1),
            lookback_ms: millis(options.lookback.filter(|l| !l.is_zero()).unwrap_or(self.options.lookback)),
            default_subquery_step_ms: millis(self.options.default_subquery_step).max(1),
            query,
            resolves_hints: false,
            reads_sums_at: None,
            is_exact: options.is_exact,
            counts: Arc::new(SampleCounts {
                total: AtomicU64::new(0),
                per_step: (0..per_step).map(|_| AtomicU64::new(0)).collect(),
                start_ms: steps.start_ms,
                step_ms: steps.step_ms,
            }),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.options).finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

fn steps_of(range: &QueryRange) -> Result<Steps, Error> {
    if range.step_ms == 0 {
        return Ok(Steps { start_ms: range.start_ms, step_ms: 1, count: 1 });
    }
    let count = range.end_ms.saturating_sub(range.start_ms) / range.step_ms + 1;
    if count > STEPS_MAX {
        return Err(Error::BadData(format!("{count} steps are more than {STEPS_MAX}; use a longer step")));
    }
    Ok(Steps { start_ms: range.start_ms, step_ms: range.step_ms, count: count as usize })
}

/// The value of a query before it is turned into what callers see.
enum Raw {
    Evaluated(Evaluated),
    Matrix(Vec<MatrixSeries>),
}

impl Evaluator<'_> {
    fn value(&self, expr: &Expr, steps: &Steps, notes: &mut Annotations) -> Result<Raw, Error> {
        match &expr.unwrap_parens().kind {
            ExprKind::Matrix(matrix) => self.matrix_value(matrix, steps, notes).map(Raw::Matrix),
            ExprKind::Subquery(subquery) => self.subquery_value(subquery, steps, notes).map(Raw::Matrix),
            _ => match self.eval(expr, steps, notes)? {
                Evaluated::Vector(matrix) if self.features.delayed_name_removal => {
                    Ok(Raw::Evaluated(Evaluated::Vector(matrix.drop_names()?)))
                }
                other => Ok(Raw::Evaluated(other)),
            },
        }
    }

    /// The samples of a range selector as they are.
    fn matrix_value(
        &self,
        matrix: &MatrixSelector,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<Vec<MatrixSeries>, Error> {
        let look = self.look(&matrix.selector)?;
        let range_ms = self.positive(&matrix.range)?;
        let end_ms = look.time(steps.start_ms);
        let start_ms = end_ms.saturating_sub(range_ms);
        let edges = matrix.selector.edges;
        let before_ms = if edges == Edges::Plain { 0 } else { self.lookback_ms };
        let after_ms = if edges == Edges::Smoothed { self.lookback_ms } else { 0 };
        let (low, high) = (start_ms.saturating_sub(before_ms), end_ms.saturating_add(after_ms));
        let hints = SelectHints { range_ms, ..SelectHints::default() };
        let selection = self.select(&matrix.selector.matchers, (low.saturating_add(1), high), hints, notes)?;
        let mut result = Vec::new();
        for (i, labels) in selection.series().chunks(1024).enumerate() {
            let from = i * 1024;
            let batch = self.read(selection.as_ref(), from..from + labels.len())?;
            for (i, labels) in labels.iter().enumerate() {
                let samples = Clean::of_batch(&batch.batch, i);
                let within =
                    |times: &[i64]| (times.partition_point(|t| *t <= low), times.partition_point(|t| *t <= high));
                let (floats, histograms) = (samples.floats(), samples.histograms());
                let (from, to) = within(floats.times);
                let floats = floats.slice(from, to);
                let (from, to) = within(histograms.times);
                let histograms = histograms.slice(from, to);
                if floats.is_empty() && histograms.is_empty() {
                    continue;
                }
                let (times, values) = match edges {
                    Edges::Plain => (floats.times.to_vec(), floats.values.to_vec()),
                    _ => crate::functions::extended::extend(&floats, !histograms.is_empty(), start_ms, end_ms, edges)?,
                };
                result.push(MatrixSeries {
                    labels: labels.clone(),
                    timestamps: ScalarBuffer::from(times),
                    values: ScalarBuffer::from(values),
                    histograms: histograms.times.iter().copied().zip(histograms.values.iter().cloned()).collect(),
                });
            }
        }
        Ok(result)
    }

    /// The values of a subquery at its own steps.
    fn subquery_value(
        &self,
        subquery: &Subquery,
        steps: &Steps,
        notes: &mut Annotations,
    ) -> Result<Vec<MatrixSeries>, Error> {
        let look = crate::eval::instant::Look {
            at_ms: self.at_time(subquery.at),
            offset_ms: self.offset(&subquery.offset)?,
            lookback_ms: self.lookback_ms,
        };
        let range_ms = self.positive(&subquery.range)?;
        let (mut matrix, inner) = self.subquery(subquery, &look, range_ms, steps, notes)?;
        if self.features.delayed_name_removal {
            matrix = matrix.drop_names()?;
        }
        let mut series = to_series(matrix, &inner);
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }
}

fn to_value(raw: Raw, steps: &Steps, is_instant: bool) -> Result<Value, Error> {
    let time_ms = steps.start_ms;
    Ok(match raw {
        Raw::Matrix(series) => Value::Matrix(series),
        Raw::Evaluated(Evaluated::String(bytes)) => {
            Value::String { time_ms, value: String::from_utf8_lossy(&bytes).into_owned() }
        }
        Raw::Evaluated(Evaluated::Scalar(values)) if is_instant => {
            Value::Scalar { time_ms, value: values.first().copied().unwrap_or(f64::NAN) }
        }
        Raw::Evaluated(Evaluated::Scalar(values)) => Value::Matrix(vec![MatrixSeries {
            labels: crate::labels::Labels::empty(),
            timestamps: steps.times().collect::<Vec<_>>().into(),
            values: values.into(),
            histograms: Vec::new(),
        }]),
        Raw::Evaluated(Evaluated::Vector(matrix)) if is_instant => {
            let samples = matrix.iter().filter(|row| row.has(0)).map(|row| VectorSample {
                labels: row.row.labels.clone(),
                value: match row.histogram(0) {
                    Some(histogram) => SampleValue::Histogram(Arc::clone(histogram)),
                    None => SampleValue::Float(row.values[0]),
                },
            });
            Value::Vector { time_ms, samples: samples.collect() }
        }
        Raw::Evaluated(Evaluated::Vector(matrix)) => {
            let mut series = to_series(matrix, steps);
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            Value::Matrix(series)
        }
    })
}

fn to_series(matrix: StepMatrix, steps: &Steps) -> Vec<MatrixSeries> {
    let times: ScalarBuffer<i64> = steps.times().collect::<Vec<_>>().into();
    let of_row = |i: usize| {
        let row = matrix.row(i);
        let (timestamps, values) = if row.values.iter().any(|v| is_absent(*v)) {
            let present = row.values.iter().zip(times.iter()).filter(|(v, _)| !is_absent(**v));
            let (values, timestamps): (Vec<f64>, Vec<i64>) = present.map(|(v, t)| (*v, *t)).unzip();
            (timestamps.into(), values)
        } else {
            // Rows without gaps share the times.
            (times.clone(), row.values.to_vec())
        };
        let histograms = row.histograms.iter().zip(times.iter());
        MatrixSeries {
            labels: row.row.labels.clone(),
            timestamps,
            values: values.into(),
            histograms: histograms.filter_map(|(h, t)| h.as_ref().map(|h| (*t, Arc::clone(h)))).collect(),
        }
    };
    (0..matrix.len()).map(of_row).collect()
}

fn stats(
    evaluator: &Evaluator<'_>,
    control: &QueryControl,
    steps: &Steps,
    parsed: Duration,
    evaluated: Duration,
) -> QueryStats {
    let total = control.elapsed();
    let per_step = &evaluator.counts.per_step;
    QueryStats {
        exec_total_seconds: total.as_secs_f64(),
        eval_total_seconds: total.saturating_sub(parsed).as_secs_f64(),
        query_preparation_seconds: parsed.as_secs_f64(),
        inner_eval_seconds: evaluated.saturating_sub(parsed).as_secs_f64(),
        result_sort_seconds: total.saturating_sub(evaluated).as_secs_f64(),
        total_queryable_samples: evaluator.counts.total.load(Ordering::Relaxed),
        total_queryable_samples_per_step: steps
            .times()
            .zip(per_step)
            .map(|(time_ms, count)| (time_ms, count.load(Ordering::Relaxed)))
            .collect(),
        peak_samples: control.samples_peak(),
        peak_bytes: control.bytes_peak(),
    }
}
