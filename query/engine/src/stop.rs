//! Ways to end a query inside operators that work long without giving way.
//!
//! A runtime ends a task only where the task yields. Scans yield; a join makes many rows out of one and yields for
//! none of them, and a nested loop join may try pairs for hours before it has a row to give.

use crate::answer::timed_out;
use arrow::datatypes::{FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use bodkin_schema::Clock;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether a query goes on.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) clock: Arc<dyn Clock>,
    /// On the monotonic clock.
    pub(crate) started: Duration,
    pub(crate) timeout: Duration,
    /// Nobody waits for the answer.
    pub(crate) is_dropped: AtomicBool,
}

impl Stop {
    fn check(&self) -> Result<()> {
        let elapsed = self.clock.monotonic().saturating_sub(self.started);
        if elapsed > self.timeout || self.is_dropped.load(Ordering::Relaxed) {
            return Err(DataFusionError::External(Box::new(timed_out(self.timeout))));
        }
        Ok(())
    }
}

/// `plan` with joins that yield, and nested loop joins that ask `stop` at each step.
pub(crate) fn stoppable(plan: Arc<dyn ExecutionPlan>, stop: &Arc<Stop>) -> Result<Arc<dyn ExecutionPlan>> {
    let stoppable = plan.transform_up(|node| {
        let node = match node.downcast_ref::<NestedLoopJoinExec>() {
            Some(join) => with_checks(join, stop)?,
            None => node,
        };
        Ok(match node.name() {
            "UnnestExec" => Transformed::yes(Arc::new(CooperativeExec::new(node)) as _),
            name if name.ends_with("JoinExec") => Transformed::yes(Arc::new(CooperativeExec::new(node)) as _),
            _ => Transformed::no(node),
        })
    })?;
    Ok(stoppable.data)
}

fn with_checks(join: &NestedLoopJoinExec, stop: &Arc<Stop>) -> Result<Arc<dyn ExecutionPlan>> {
    let filter = join.filter().map(|filter| {
        let checked = Checked { inner: filter.expression().clone(), stop: stop.clone() };
        JoinFilter::new(Arc::new(checked), filter.column_indices().to_vec(), filter.schema().clone())
    });
    Ok(Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?))
}

/// An expression that fails once the query is over.
#[derive(Debug)]
struct Checked {
    inner: Arc<dyn PhysicalExpr>,
    stop: Arc<Stop>,
}

impl PartialEq for Checked {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner) && Arc::ptr_eq(&self.stop, &other.stop)
    }
}

impl Eq for Checked {}

impl Hash for Checked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

impl PhysicalExpr for Checked {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.stop.check()?;
        self.inner.evaluate(batch)
    }

    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(input_schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.into_iter().next().unwrap_or_else(|| self.inner.clone());
        Ok(Arc::new(Self { inner, stop: self.stop.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
