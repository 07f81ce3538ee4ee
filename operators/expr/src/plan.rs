//! From text to expressions that are evaluated on a batch.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionConfig;
use std::sync::{Arc, LazyLock};

/// Layouts of columns for which expressions are kept; a stream has few.
const LAYOUTS_MAX: usize = 16;

/// What is wrong with an expression.
#[derive(Debug, thiserror::Error)]
pub enum ExprError {
    /// It cannot be planned: a syntax error, a column that does not exist, types that do not match.
    #[error("{text:?}: {reason}")]
    Invalid {
        /// The expression.
        text: String,
        /// Why, in one line.
        reason: String,
    },
    /// It is more than a function of a row.
    #[error(
        "{text:?}: {what} is not possible here: an expression sees one row, and gives the same for it at every replay"
    )]
    NotStateless {
        /// The expression.
        text: String,
        /// What it contains.
        what: String,
    },
}

/// The first line of what DataFusion says.
pub(crate) fn invalid(text: &str, error: &DataFusionError) -> ExprError {
    let reason = error.strip_backtrace();
    let reason = reason.lines().next().unwrap_or_default().to_owned();
    ExprError::Invalid { text: text.to_owned(), reason }
}

/// One state for all: functions, types, rewrites. It holds no tables.
pub(crate) fn state() -> &'static SessionState {
    static STATE: LazyLock<SessionState> = LazyLock::new(|| {
        let mut config = SessionConfig::new();
        let options = config.options_mut();
        options.execution.time_zone = Some("UTC".to_owned());
        options.sql_parser.map_string_types_to_utf8view = false;
        SessionStateBuilder::new_with_default_features().with_config(config).build()
    });
    &STATE
}

/// Refuses what is no function of the row.
pub(crate) fn check_stateless(text: &str, expr: &Expr) -> Result<(), ExprError> {
    let mut found = None;
    let visited = expr.apply(|expr| {
        let what = match expr {
            Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
                Some(format!("the function {}", call.func.name()))
            }
            Expr::AggregateFunction(call) => Some(format!("the aggregate {}", call.func.name())),
            Expr::WindowFunction(_) => Some("a window function".to_owned()),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) => Some("a subquery".to_owned()),
            Expr::Placeholder(_) => Some("a placeholder".to_owned()),
            _ => None,
        };
        found = found.take().or(what);
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    });
    match (found, visited) {
        (Some(what), _) => Err(ExprError::NotStateless { text: text.to_owned(), what }),
        (None, Err(error)) => Err(invalid(text, &error)),
        (None, Ok(_)) => Ok(()),
    }
}

/// Plans one expression on `schema`.
pub(crate) fn plan(text: &str, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>, ExprError> {
    let of_input = || {
        let schema = DFSchema::try_from(schema.as_ref().clone())?;
        let expr = state().create_logical_expr(text, &schema)?;
        Ok((schema, expr))
    };
    let (schema, expr) = of_input().map_err(|error| invalid(text, &error))?;
    check_stateless(text, &expr)?;
    state().create_physical_expr(expr, &schema).map_err(|error| invalid(text, &error))
}

/// Something that was planned for each layout of columns that came by.
pub(crate) struct PerLayout<T> {
    planned: Vec<(SchemaRef, Arc<T>)>,
}

impl<T> Clone for PerLayout<T> {
    fn clone(&self) -> Self {
        Self { planned: self.planned.clone() }
    }
}

impl<T> Default for PerLayout<T> {
    fn default() -> Self {
        Self { planned: Vec::new() }
    }
}

impl<T> PerLayout<T> {
    /// What was planned for `schema`, or is now.
    pub(crate) fn get(
        &mut self,
        schema: &SchemaRef,
        plan: impl FnOnce() -> Result<T, ExprError>,
    ) -> Result<Arc<T>, ExprError> {
        let known = self.planned.iter().find(|(known, _)| Arc::ptr_eq(known, schema) || known == schema);
        if let Some((_, planned)) = known {
            return Ok(planned.clone());
        }
        let planned = Arc::new(plan()?);
        if self.planned.len() >= LAYOUTS_MAX {
            self.planned.remove(0);
        }
        self.planned.push((schema.clone(), planned.clone()));
        Ok(planned)
    }
}

/// The values of an expression, one for each row.
pub(crate) fn evaluate(expr: &dyn PhysicalExpr, records: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
    expr.evaluate(records)?.into_array(records.num_rows())
}

/// Which rows a condition holds for; null counts as false.
pub(crate) fn holds(expr: &dyn PhysicalExpr, records: &RecordBatch) -> Result<BooleanArray, DataFusionError> {
    let values = evaluate(expr, records)?;
    let values = values.as_any().downcast_ref::<BooleanArray>();
    let values = values.ok_or_else(|| DataFusionError::Plan("the condition is not true or false".to_owned()))?;
    match values.null_count() {
        0 => Ok(values.clone()),
        _ => Ok(arrow::compute::prep_null_mask_filter(values)),
    }
}
