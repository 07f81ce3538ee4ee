//! Intervals of a fixed length as durations: adding one to a time is one addition of whole numbers.
//!
//! `ts + INTERVAL '1 minute'` has months, days and nanoseconds, and adding them goes through the calendar of a zone
//! for each row. Where there are no months, and a day has 24 hours as in UTC, it is so many microseconds.

use arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

const DAY_US: i64 = 86_400_000_000;

/// The rule.
#[derive(Debug)]
pub(crate) struct FixedIntervals;

impl OptimizerRule for FixedIntervals {
    fn name(&self) -> &str {
        "fixed_intervals"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let schema = merge_schema(&plan.inputs());
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let fixed = expr.transform_up(|node| Ok(with_duration(node, &schema)))?;
            Ok(fixed.update_data(|expr| name.restore(expr)))
        })
    }
}

/// A sum or difference of a time and an interval, with a duration in place of the interval.
fn with_duration(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) = expr else {
        return Transformed::no(expr);
    };
    let (left, right) = match (duration(&left), duration(&right)) {
        (None, Some(fixed)) if is_utc(&left, schema) => (left, Box::new(fixed)),
        (Some(fixed), None) if op == Operator::Plus && is_utc(&right, schema) => (Box::new(fixed), right),
        _ => return Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
    };
    Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op, right }))
}

fn duration(expr: &Expr) -> Option<Expr> {
    let Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), metadata) = expr else { return None };
    let IntervalMonthDayNano { months: 0, days, nanoseconds } = *interval else { return None };
    if nanoseconds % 1000 != 0 {
        return None;
    }
    let micros = i64::from(days).checked_mul(DAY_US)?.checked_add(nanoseconds / 1000)?;
    Some(Expr::Literal(ScalarValue::DurationMicrosecond(Some(micros)), metadata.clone()))
}

/// Whether `expr` is a time in microseconds of a zone whose days are all equal.
fn is_utc(expr: &Expr, schema: &DFSchema) -> bool {
    match expr.get_type(schema) {
        Ok(DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            zone.is_none_or(|zone| ["UTC", "+00:00", "Z"].contains(&zone.as_ref()))
        }
        _ => false,
    }
}
