//! `promql('rate(up[5m])', start, end, step)`: what PromQL answers, as rows.

use crate::asked_table::AskedTable;
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bodkin_schema::Principal;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, Expr};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The moments of a query, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromqlRange {
    /// The first.
    pub start_ms: i64,
    /// The last.
    pub end_ms: i64,
    /// Their distance; 0 where there is only one.
    pub step_ms: i64,
}

/// Answers PromQL. It is given to the engine by the process, which knows where samples are.
pub trait PromqlSource: Send + Sync + fmt::Debug {
    /// Evaluates `query` for `principal`: rows of [`promql_schema`]. Blocks; called on a thread that may.
    ///
    /// # Errors
    /// What is wrong, in words for the asker.
    fn evaluate(&self, principal: &Principal, query: &str, range: PromqlRange) -> Result<Vec<RecordBatch>, String>;
}

/// The columns of an answer: one row per series and moment.
pub fn promql_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let stream = bodkin_schema::Stream::Series.schema();
        let labels = stream.field_with_name(bodkin_schema::metrics::LABELS).map(|field| field.data_type().clone());
        Arc::new(Schema::new(vec![
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
            Field::new("name", DataType::Utf8, false),
            Field::new("labels", labels.expect("invariant: series have labels"), false),
            Field::new("value", DataType::Float64, false),
        ]))
    });
    SCHEMA.clone()
}

/// The table function.
#[derive(Debug)]
pub(crate) struct PromqlFunction {
    pub(crate) source: Option<Arc<dyn PromqlSource>>,
    pub(crate) principal: Principal,
}

const USAGE: &str = "promql takes an expression and a time, or a start, an end and a step: \
                     promql('rate(up[5m])', now() - INTERVAL '1 hour', now(), INTERVAL '1 minute')";

impl TableFunctionImpl for PromqlFunction {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let Some(source) = &self.source else {
            return plan_err!("promql needs a running server: ask it, not its folder");
        };
        let values: Vec<ScalarValue> =
            args.exprs().iter().map(|expr| constant(args.session(), expr)).collect::<Result<_>>()?;
        let Some((ScalarValue::Utf8(Some(query)), times)) = values.split_first() else {
            return plan_err!("{USAGE}");
        };
        let range = match times {
            [time] => {
                let time_ms = time_ms(time)?;
                PromqlRange { start_ms: time_ms, end_ms: time_ms, step_ms: 0 }
            }
            [start, end, step] => {
                PromqlRange { start_ms: time_ms(start)?, end_ms: time_ms(end)?, step_ms: step_ms(step)? }
            }
            _ => return plan_err!("{USAGE}"),
        };
        let (source, principal, query) = (source.clone(), self.principal.clone(), query.clone());
        Ok(AskedTable::new("promql", promql_schema(), move || source.evaluate(&principal, &query, range)))
    }
}

/// The value of an expression without columns.
pub(crate) fn constant(session: &dyn Session, expr: &Expr) -> Result<ScalarValue> {
    if let Expr::Literal(value, _) = expr {
        return Ok(value.clone());
    }
    let expr = session.create_physical_expr(expr.clone(), &DFSchema::empty())?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let one_row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
    match expr.evaluate(&one_row)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
    }
}

/// A time stamp, or seconds since 1970.
pub(crate) fn time_ms(value: &ScalarValue) -> Result<i64> {
    if let ScalarValue::Int64(Some(seconds)) = value {
        return Ok(seconds.saturating_mul(1000));
    }
    if let ScalarValue::Float64(Some(seconds)) = value {
        return Ok((seconds * 1000.0) as i64);
    }
    match value.cast_to(&DataType::Timestamp(TimeUnit::Millisecond, None)) {
        Ok(ScalarValue::TimestampMillisecond(Some(time_ms), _)) => Ok(time_ms),
        _ => plan_err!("{value} is no time: write a timestamp, or seconds since 1970"),
    }
}

/// An interval, a text that is one, or seconds.
pub(crate) fn step_ms(value: &ScalarValue) -> Result<i64> {
    const DAY_MS: i64 = 86_400_000;
    let step = match value {
        ScalarValue::Int64(Some(seconds)) => seconds.checked_mul(1000),
        ScalarValue::Float64(Some(seconds)) => Some((seconds * 1000.0) as i64),
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            Some(i64::from(interval.days) * DAY_MS + interval.nanoseconds / 1_000_000)
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            Some(i64::from(interval.days) * DAY_MS + i64::from(interval.milliseconds))
        }
        ScalarValue::Utf8(Some(text)) => {
            let interval = ScalarValue::Utf8(Some(text.clone()))
                .cast_to(&DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano))?;
            return step_ms(&interval);
        }
        _ => None,
    };
    match step {
        Some(step) if step > 0 => Ok(step),
        _ => plan_err!("{value} is no step above zero: write INTERVAL '1 minute', or seconds"),
    }
}
