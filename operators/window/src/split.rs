//! The parts of `SELECT ... FROM input [WHERE ...] GROUP BY ..., tumble(ts, '10s') [HAVING ...]`, and what is refused.

use crate::functions::{self, call_of, shared};
use crate::plan::WindowError;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemTable, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Volatility};
use datafusion::prelude::SessionConfig;
use std::sync::{Arc, LazyLock};

/// Name under which every input may be read.
const INPUT: &str = "input";

/// What a window operator is made of.
pub(crate) struct Parts {
    /// SELECT.
    pub(crate) output: Vec<Expr>,
    /// HAVING.
    pub(crate) having: Option<Expr>,
    pub(crate) aggregate: Aggregate,
    /// WHERE.
    pub(crate) filter: Option<Expr>,
    /// Where in GROUP BY the window stands.
    pub(crate) window_at: usize,
    pub(crate) size: i64,
    pub(crate) slide: i64,
    /// The time that rows are put into windows by.
    pub(crate) time: Expr,
}

/// One state for all: functions, types, rewrites. It holds no tables.
pub(crate) fn state() -> &'static SessionState {
    static STATE: LazyLock<SessionState> = LazyLock::new(|| {
        let mut config = SessionConfig::new();
        let options = config.options_mut();
        options.execution.time_zone = Some("UTC".to_owned());
        options.sql_parser.map_string_types_to_utf8view = false;
        let mut state = SessionStateBuilder::new_with_default_features().with_config(config).build();
        for function in shared() {
            // Replaces nothing: the names are ours.
            let _ = datafusion::execution::FunctionRegistry::register_udf(&mut state, function.clone());
        }
        state
    });
    &STATE
}

/// Plans `text` over `schema`, which it may call by each of `names`, and takes it apart.
pub(crate) fn split(text: &str, names: &[&str], schema: &SchemaRef) -> Result<Parts, WindowError> {
    let plan = logical(text, names, schema).map_err(|error| WindowError::invalid(text, &error))?;
    let refuse = |what: &str| WindowError::NotWindowed { text: text.to_owned(), what: what.to_owned() };
    let LogicalPlan::Projection(projection) = plan else { return Err(refuse(name_of(&plan))) };
    let (having, below) = match projection.input.as_ref() {
        LogicalPlan::Filter(filter) => (Some(filter.predicate.clone()), filter.input.as_ref()),
        other => (None, other),
    };
    let aggregate = match below {
        LogicalPlan::Aggregate(aggregate) => aggregate.clone(),
        other => return Err(refuse(name_of(other))),
    };
    let (filter, below) = match aggregate.input.as_ref() {
        LogicalPlan::Filter(filter) => (Some(filter.predicate.clone()), filter.input.as_ref()),
        other => (None, other),
    };
    let scan = match below {
        LogicalPlan::SubqueryAlias(alias) => alias.input.as_ref(),
        other => other,
    };
    if !matches!(scan, LogicalPlan::TableScan(_)) {
        return Err(refuse(name_of(scan)));
    }
    let exprs = projection.expr.iter().chain(&having).chain(&aggregate.group_expr).chain(&aggregate.aggr_expr);
    for expr in exprs.chain(&filter) {
        check(text, expr)?;
    }
    let mut windows = aggregate.group_expr.iter().enumerate().filter_map(|(at, expr)| Some((at, call_of(expr)?)));
    let (window_at, (name, args)) = windows.next().ok_or_else(|| refuse("a GROUP BY without tumble or hop"))?;
    if windows.next().is_some() {
        return Err(refuse("a second window"));
    }
    let width = |at: usize| match args.get(at) {
        Some(Expr::Literal(width, _)) => functions::micros(width).map_err(|error| WindowError::invalid(text, &error)),
        _ => Err(refuse("a window whose size is no constant")),
    };
    let size = width(1)?;
    let slide = if name == functions::HOP { width(2)? } else { size };
    let time = args.first().cloned().ok_or_else(|| refuse("a window without a time"))?;
    Ok(Parts { output: projection.expr.clone(), having, aggregate, filter, window_at, size, slide, time })
}

fn logical(text: &str, names: &[&str], schema: &SchemaRef) -> Result<LogicalPlan, DataFusionError> {
    let tables = MemorySchemaProvider::new();
    for name in names.iter().chain([&INPUT]) {
        if !tables.table_exist(name) {
            tables.register_table((*name).to_owned(), Arc::new(MemTable::try_new(schema.clone(), vec![vec![]])?))?;
        }
    }
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema("public", Arc::new(tables))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog("datafusion".to_owned(), Arc::new(catalog));
    let state = SessionStateBuilder::new_from_existing(state().clone()).with_catalog_list(Arc::new(catalogs)).build();
    // Planning awaits nothing: all tables are in memory.
    let plan = ready(state.create_logical_plan(text))?;
    state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})
}

/// The output of a future that is ready at its first poll.
fn ready<T>(future: impl Future<Output = Result<T, DataFusionError>>) -> Result<T, DataFusionError> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(outcome) => outcome,
        std::task::Poll::Pending => Err(DataFusionError::Plan("the statement reads more than its input".to_owned())),
    }
}

/// Refuses what is no function of the rows, or depends on their order.
fn check(text: &str, expr: &Expr) -> Result<(), WindowError> {
    let mut found = None;
    let visited = expr.apply(|expr| {
        let what = match expr {
            Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
                Some(format!("the function {}", call.func.name()))
            }
            Expr::AggregateFunction(call) => {
                let name = call.func.name();
                let is_ordered = ["first_value", "last_value"].contains(&name);
                let is_refused = ["array_agg", "string_agg", "nth_value"].contains(&name)
                    || (is_ordered && call.params.order_by.is_empty());
                is_refused.then(|| format!("the aggregate {name}, which depends on the order of rows,"))
            }
            Expr::WindowFunction(_) => Some("a window function".to_owned()),
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) => Some("a subquery".to_owned()),
            Expr::Placeholder(_) => Some("a placeholder".to_owned()),
            Expr::GroupingSet(_) => Some("a grouping set".to_owned()),
            _ => None,
        };
        found = found.take().or(what);
        Ok(TreeNodeRecursion::Continue)
    });
    match (found, visited) {
        (Some(what), _) => Err(WindowError::NotWindowed { text: text.to_owned(), what }),
        (None, Err(error)) => Err(WindowError::invalid(text, &error)),
        (None, Ok(_)) => Ok(()),
    }
}

fn name_of(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::Sort(_) => "ORDER BY",
        LogicalPlan::Limit(_) => "LIMIT",
        LogicalPlan::Distinct(_) => "DISTINCT",
        LogicalPlan::Join(_) => "a join",
        LogicalPlan::Union(_) => "UNION",
        LogicalPlan::Window(_) => "a window function",
        LogicalPlan::TableScan(_) | LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => "a SELECT without GROUP BY",
        _ => "anything but SELECT ... FROM ... WHERE ... GROUP BY ... HAVING ...",
    }
}
