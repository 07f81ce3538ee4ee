//! `lag(x)` over rows that come in order, a batch at a time.
//!
//! The planner's window functions are asked for one row after the other. What came n rows before is the same column, n
//! rows further up: where the input is sorted by partition and order, it is one copy of a batch.
//!
//! An expression of a physical plan does not say whether it leaves nulls out. So the rule over logical plans marks calls
//! that do not, by an alias of their function, and the rule over physical plans looks for it.

mod exec;

pub(crate) use exec::LagByBatch;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::functions_window::lead_lag::lag_udwf;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction};
use datafusion::logical_expr::{Expr, LogicalPlan, Window, WindowFunctionDefinition, WindowUDF};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use std::sync::{Arc, LazyLock};

/// The alias. SQL cannot write it: functions are looked up by the names that the session has.
const MARK: &str = "lag of every row";

static LAG: LazyLock<Arc<WindowUDF>> = LazyLock::new(|| Arc::new(lag_udwf().as_ref().clone().with_aliases([MARK])));

/// Marks calls of `lag` that count every row.
#[derive(Debug)]
pub(crate) struct MarkLag;

impl OptimizerRule for MarkLag {
    fn name(&self) -> &str {
        "mark_lag"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Window(window) if window.window_expr.iter().any(is_unmarked) => {
                let exprs = window.window_expr.iter().map(marked).collect();
                Ok(Transformed::yes(LogicalPlan::Window(Window::try_new(exprs, window.input)?)))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// Whether `expr` is `lag(x)` or `lag(x, n)` over every row, and was not marked.
fn is_unmarked(expr: &Expr) -> bool {
    let Expr::WindowFunction(call) = expr else { return false };
    let WindowFunction { fun: WindowFunctionDefinition::WindowUDF(fun), params } = call.as_ref() else { return false };
    Arc::ptr_eq(fun, &lag_udwf())
        && params.args.len() <= 2
        && params.filter.is_none()
        && !params.distinct
        && params.null_treatment != Some(NullTreatment::IgnoreNulls)
}

fn marked(expr: &Expr) -> Expr {
    match expr {
        Expr::WindowFunction(call) if is_unmarked(expr) => {
            let fun = WindowFunctionDefinition::WindowUDF(LAG.clone());
            Expr::WindowFunction(Box::new(WindowFunction { fun, params: call.params.clone() }))
        }
        other => other.clone(),
    }
}

fn is_marked(fun: &WindowUDF) -> bool {
    fun.aliases().iter().any(|alias| alias == MARK)
}
