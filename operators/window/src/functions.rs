//! `tumble` and `hop` in SQL.
//!
//! `tumble(ts, '10s')` is a plain function: the start of the window that a time falls into. `hop(ts, '1m', '10s')`
//! names all windows of a minute that start every ten seconds; it stands in GROUP BY alone, where each row counts in
//! each of its windows. Windows are aligned to 1970-01-01T00:00:00Z.

use arrow::array::{Array, ArrayBuilder, ArrayRef, AsArray, ListArray, PrimitiveArray, PrimitiveBuilder};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    ArrowTimestampType, DataType, Field, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use std::sync::{Arc, LazyLock};

/// Name of the tumbling window.
pub const TUMBLE: &str = "tumble";
/// Name of the sliding window.
pub const HOP: &str = "hop";
/// Windows that a row may be in.
const WINDOWS_MAX: i64 = 10_000;
/// The column of a row's windows while a query is rewritten.
const STARTS: &str = "__hop";

/// The functions, to be registered with a session.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    [Kind::Tumble, Kind::Hop].into_iter().map(|kind| Arc::new(ScalarUDF::new_from_impl(Windows::new(kind)))).collect()
}

/// The rule that gives `hop` its meaning in a batch query, to be added to a session's analyzer.
pub fn hop_rule() -> Arc<dyn AnalyzerRule + Send + Sync> {
    Arc::new(HopInGroupBy)
}

/// What a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// The start of the window.
    Tumble,
    /// Nothing by itself.
    Hop,
    /// The starts of all windows, as a list.
    Starts,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Windows {
    kind: Kind,
    signature: Signature,
}

impl Windows {
    fn new(kind: Kind) -> Self {
        let count = if kind == Kind::Tumble { 2 } else { 3 };
        Self { kind, signature: Signature::any(count, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Windows {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Tumble => TUMBLE,
            Kind::Hop => HOP,
            Kind::Starts => STARTS,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match (arguments.first(), self.kind) {
            (Some(time @ DataType::Timestamp(..)), Kind::Starts) => {
                Ok(DataType::List(Arc::new(Field::new_list_field(time.clone(), true))))
            }
            (Some(time @ DataType::Timestamp(..)), _) => Ok(time.clone()),
            (Some(other), _) => plan_err!("{}: its first argument is a time, this is {other}", self.name()),
            (None, _) => plan_err!("{} takes a time and the size of a window", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let width = |at: usize| match args.args.get(at) {
            Some(ColumnarValue::Scalar(width)) => micros(width),
            _ => exec_err!("{}: the size of a window is a constant", self.name()),
        };
        let (size, slide) = match self.kind {
            Kind::Tumble => (width(1)?, width(1)?),
            Kind::Starts => (width(1)?, width(2)?),
            Kind::Hop => return exec_err!("hop names several windows of a row: it stands in GROUP BY, alone"),
        };
        let Some(times) = args.args.first() else { return exec_err!("{} takes a time", self.name()) };
        let times = times.to_array(rows)?;
        let made = match times.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => starts::<TimestampSecondType>(self.kind, &times, size, slide),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                starts::<TimestampMillisecondType>(self.kind, &times, size, slide)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                starts::<TimestampMicrosecondType>(self.kind, &times, size, slide)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                starts::<TimestampNanosecondType>(self.kind, &times, size, slide)
            }
            other => exec_err!("{other} is no time"),
        }?;
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?));
        }
        Ok(ColumnarValue::Array(made))
    }
}

fn starts<T: ArrowTimestampType>(kind: Kind, times: &ArrayRef, size: i64, slide: i64) -> Result<ArrayRef> {
    let (size, slide) = (in_unit::<T>(size)?, in_unit::<T>(slide)?);
    let times = times.as_primitive::<T>();
    if kind == Kind::Tumble {
        let starts: PrimitiveArray<T> = times.unary(|time| floor(time, size));
        return Ok(Arc::new(starts.with_data_type(times.data_type().clone())));
    }
    let mut values = PrimitiveBuilder::<T>::with_capacity(times.len() * (size / slide).max(1) as usize);
    let mut lengths = Vec::with_capacity(times.len());
    for time in times {
        let before = values.len();
        if let Some(time) = time {
            covering(time, size, slide).for_each(|start| values.append_value(start));
        }
        lengths.push(values.len() - before);
    }
    let values = values.finish().with_data_type(times.data_type().clone());
    let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    Ok(Arc::new(ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), Arc::new(values), None)?))
}

/// The start of the window of `size` that `time` is in.
pub(crate) fn floor(time: i64, size: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(size))
}

/// The same of many times. Most are in the window of the one before, and a comparison costs less than a division.
pub(crate) fn floors(times: &[i64], size: i64) -> Vec<i64> {
    let mut start = times.first().map_or(0, |time| floor(*time, size));
    let of = |time: &i64| {
        if !time.checked_sub(start).is_some_and(|since| (0..size).contains(&since)) {
            start = floor(*time, size);
        }
        start
    };
    times.iter().map(of).collect()
}

/// The starts of all windows that `time` is in, ascending.
pub(crate) fn covering(time: i64, size: i64, slide: i64) -> impl Iterator<Item = i64> {
    let last = floor(time, slide);
    let count = (size - (time - last) + slide - 1) / slide;
    (0..count).rev().map(move |back| last - back * slide)
}

fn in_unit<T: ArrowTimestampType>(micros: i64) -> Result<i64> {
    let made = match T::UNIT {
        TimeUnit::Second => (micros % 1_000_000 == 0).then_some(micros / 1_000_000),
        TimeUnit::Millisecond => (micros % 1000 == 0).then_some(micros / 1000),
        TimeUnit::Microsecond => Some(micros),
        TimeUnit::Nanosecond => micros.checked_mul(1000),
    };
    match made {
        Some(made) => Ok(made),
        None => exec_err!("a window of {micros} microseconds does not fit times in {:?}", T::UNIT),
    }
}

/// Checks a sliding window and gives what its panes are wide: every window is made of whole panes.
pub(crate) fn pane(size: i64, slide: i64) -> Result<i64> {
    if slide > size {
        return plan_err!("hop: windows that start more rarely than they are long leave rows out");
    }
    if size / slide > WINDOWS_MAX {
        return plan_err!("hop: a row would be in {} windows, at most {WINDOWS_MAX} are possible", size / slide);
    }
    let (mut a, mut b) = (size, slide);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Ok(a)
}

/// The width that a literal says: `'10s'`, `'1h30m'`, `INTERVAL '10 seconds'`.
pub(crate) fn micros(width: &ScalarValue) -> Result<i64> {
    let found = match width {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            parse(text)
        }
        ScalarValue::IntervalMonthDayNano(Some(interval)) if interval.months == 0 => {
            Some(i64::from(interval.days) * 86_400_000_000 + interval.nanoseconds / 1000)
        }
        ScalarValue::IntervalDayTime(Some(interval)) => {
            Some(i64::from(interval.days) * 86_400_000_000 + i64::from(interval.milliseconds) * 1000)
        }
        _ => None,
    };
    match found {
        Some(found) if found > 0 => Ok(found),
        _ => plan_err!("{width} is no size of a window: write '10s', '5m', '1h30m' or '1d'"),
    }
}

/// Microseconds of `1h30m`, `500ms`.
fn parse(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest.get(..digits)?.parse().ok()?;
        let tail = rest.get(digits..)?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit: i64 = match tail.get(..end)?.trim() {
            "us" => 1,
            "ms" => 1000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            "w" => 604_800_000_000,
            _ => return None,
        };
        total = total.checked_add(count.checked_mul(unit)?)?;
        rest = tail.get(end..)?;
    }
    Some(total)
}

/// GROUP BY hop(...): the rows once for each of their windows, grouped by its start.
#[derive(Debug)]
struct HopInGroupBy;

impl AnalyzerRule for HopInGroupBy {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let changed = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.iter().any(is_hop) => {
                Ok(Transformed::yes(rewritten(aggregate)?))
            }
            other => Ok(Transformed::no(other)),
        })?;
        if !changed.transformed {
            return Ok(changed.data);
        }
        Ok(changed.data.transform_up_with_subqueries(|node| node.recompute_schema().map(Transformed::yes))?.data)
    }

    fn name(&self) -> &str {
        "hop_in_group_by"
    }
}

fn is_hop(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_hop(&alias.expr),
        Expr::ScalarFunction(call) => call.func.name() == HOP,
        _ => false,
    }
}

fn rewritten(aggregate: Aggregate) -> Result<LogicalPlan> {
    let Aggregate { input, mut group_expr, aggr_expr, .. } = aggregate;
    let mut hops = group_expr.iter_mut().filter(|expr| is_hop(expr));
    let (Some(hop), None) = (hops.next(), hops.next()) else {
        return plan_err!("hop stands in GROUP BY once");
    };
    let name = hop.schema_name().to_string();
    let Expr::ScalarFunction(call) = hop.clone().unalias() else { return plan_err!("hop is a function") };
    if let [_, Expr::Literal(size, _), Expr::Literal(slide, _)] = call.args.as_slice() {
        pane(micros(size)?, micros(slide)?)?;
    } else {
        return plan_err!("hop takes a time and two constants: hop(ts, '1m', '10s')");
    }
    let starts = ScalarUDF::new_from_impl(Windows::new(Kind::Starts)).call(call.args).alias(STARTS);
    let columns = input.schema().columns().into_iter().map(Expr::Column).chain([starts]);
    let input = LogicalPlanBuilder::from(input.as_ref().clone()).project(columns.collect::<Vec<_>>())?;
    let input = input.unnest_column(Column::from_name(STARTS))?.build()?;
    *hop = Expr::Column(Column::from_name(STARTS)).alias(name);
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), group_expr, aggr_expr)?))
}

/// The call of a window function in GROUP BY, if it is one.
pub(crate) fn call_of(expr: &Expr) -> Option<(&str, &[Expr])> {
    match expr {
        Expr::Alias(alias) => call_of(&alias.expr),
        Expr::ScalarFunction(call) if [TUMBLE, HOP].contains(&call.func.name()) => {
            Some((call.func.name(), call.args.as_slice()))
        }
        _ => None,
    }
}

/// One set of functions for all.
pub(crate) fn shared() -> &'static [Arc<ScalarUDF>] {
    static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(functions);
    &FUNCTIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths() {
        assert_eq!(parse("10s"), Some(10_000_000));
        assert_eq!(parse("1h30m"), Some(5_400_000_000));
        assert_eq!(parse("500ms"), Some(500_000));
        for wrong in ["", "s", "10", "10x", "-1s", "99999999999999d"] {
            assert!(micros(&ScalarValue::from(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(micros(&ScalarValue::new_interval_dt(0, 1500)).unwrap(), 1_500_000);
    }

    #[test]
    fn windows_of_a_time() {
        assert_eq!(floor(-1, 10), -10);
        assert_eq!(floors(&[25, 29, 30, -1, 25, i64::MAX, -10], 10), [20, 20, 30, -10, 20, i64::MAX - 7, -10]);
        assert_eq!(covering(25, 20, 10).collect::<Vec<_>>(), [10, 20]);
        assert_eq!(covering(20, 20, 10).collect::<Vec<_>>(), [10, 20]);
        assert_eq!(covering(5, 25, 10).collect::<Vec<_>>(), [-10, 0], "a window that is no multiple of its slide");
        assert_eq!(covering(4, 25, 10).collect::<Vec<_>>(), [-20, -10, 0]);
        assert_eq!(covering(-1, 10, 10).collect::<Vec<_>>(), [-10]);
        assert_eq!((pane(60, 10).unwrap(), pane(25, 10).unwrap()), (10, 5));
        assert!(pane(10, 20).is_err() && pane(1_000_000, 1).is_err());
    }
}
