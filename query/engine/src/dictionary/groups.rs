//! Groups of texts as groups of numbers.
//!
//! `SELECT exe, count(DISTINCT host) FROM events GROUP BY exe` becomes
//!
//! ```text
//! Projection: text_of_id(#1) AS exe, count(DISTINCT host)
//!   Aggregate: GROUP BY #1, distinct_count(#2) AS count(DISTINCT host)
//!     Projection: id_of_text(exe) AS #1, id_of_text(host) AS #2
//!       TableScan: events
//! ```
//!
//! for texts that have few values in a whole table. The lower projection moves into the scan, which works it out once
//! for each value of a file's dictionary.

use super::ids::IdPair;
use crate::stream_table::StreamTable;
use arrow::datatypes::DataType;
use bodkin_schema::events;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::utils::expr_to_columns;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Columns with few values in a whole table: as many as there are hosts, programs, users, containers of a day.
pub(super) const FEW_VALUES: [&str; 14] = [
    events::HOST,
    events::HOST_ID,
    events::EVT_TYPE,
    events::PNAME,
    events::USER,
    events::COMM,
    events::EXE,
    events::EXE_ARG0,
    events::FD_TYPE,
    events::FLAGS,
    events::PROTO,
    events::CONTAINER_ID,
    bodkin_schema::findings::RULE,
    bodkin_schema::findings::PRIORITY,
];

/// The rule. Stands behind the planner's own.
#[derive(Debug)]
pub(crate) struct GroupByIds;

impl OptimizerRule for GroupByIds {
    fn name(&self) -> &str {
        "group_by_ids"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Aggregate(aggregate) => {
                let texts = texts_of(&aggregate);
                if texts.is_empty() && !aggregate.aggr_expr.iter().any(|expr| many_texts(&aggregate, expr).is_some()) {
                    return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
                }
                Ok(Transformed::yes(by_ids(&aggregate, &texts)?))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// A text column of an aggregate's input, and the numbers that take its place.
struct Numbered {
    pair: IdPair,
    /// What its numbers are called.
    name: String,
}

/// The columns that `aggregate` groups by or counts the distinct values of, and that have few.
fn texts_of(aggregate: &Aggregate) -> BTreeMap<Column, Numbered> {
    let groups = aggregate.group_expr.iter().filter_map(Expr::try_as_col);
    let counted = aggregate.aggr_expr.iter().filter_map(|expr| distinct_count(expr).map(|(column, _)| column));
    let few = groups.chain(counted).filter(|column| has_few_values(&aggregate.input, column));
    let distinct: HashSet<&Column> = few.collect();
    let mut distinct: Vec<_> = distinct.into_iter().collect();
    distinct.sort_unstable();
    let numbered = distinct.into_iter().enumerate().map(|(number, column)| {
        (column.clone(), Numbered { pair: IdPair::default(), name: format!("#{}", number + 1) })
    });
    numbered.collect()
}

/// The column whose distinct values `expr` counts, and the call.
fn distinct_count(expr: &Expr) -> Option<(&Column, &AggregateFunction)> {
    let expr = if let Expr::Alias(alias) = expr { alias.expr.as_ref() } else { expr };
    let Expr::AggregateFunction(call) = expr else { return None };
    let AggregateFunctionParams { args, distinct: true, order_by, .. } = &call.params else { return None };
    match args.as_slice() {
        [Expr::Column(column)] if call.func.name() == "count" && order_by.is_empty() => Some((column, call)),
        _ => None,
    }
}

/// The texts whose distinct values `expr` counts in each group of `aggregate`, however many there are. Over all rows at
/// once the planner's own count does as well.
fn many_texts(aggregate: &Aggregate, expr: &Expr) -> Option<Expr> {
    let (column, _) = distinct_count(expr).filter(|_| !aggregate.group_expr.is_empty())?;
    let index = aggregate.input.schema().maybe_index_of_column(column)?;
    let is_text = aggregate.input.schema().field(index).data_type() == &DataType::Utf8View;
    is_text.then(|| Expr::Column(column.clone()))
}

/// Whether `column` of `plan` is a text of a stream that has few values.
fn has_few_values(plan: &LogicalPlan, column: &Column) -> bool {
    let Some(index) = plan.schema().maybe_index_of_column(column) else { return false };
    let (mut plan, mut index) = (plan, index);
    loop {
        match plan {
            LogicalPlan::Filter(filter) => plan = &filter.input,
            LogicalPlan::SubqueryAlias(alias) => plan = &alias.input,
            LogicalPlan::Projection(projection) => {
                let mut expr = projection.expr.get(index);
                while let Some(Expr::Alias(alias)) = expr {
                    expr = Some(&alias.expr);
                }
                let column = expr.and_then(Expr::try_as_col);
                let Some(found) = column.and_then(|column| projection.input.schema().maybe_index_of_column(column))
                else {
                    return false;
                };
                (plan, index) = (&projection.input, found);
            }
            LogicalPlan::TableScan(scan) => {
                let is_stream = source_as_provider(&scan.source).is_ok_and(|provider| is_stream(&provider));
                let field = scan.projected_schema.field(index);
                return is_stream
                    && field.data_type() == &DataType::Utf8View
                    && FEW_VALUES.contains(&field.name().as_str());
            }
            _ => return false,
        }
    }
}

fn is_stream(provider: &Arc<dyn TableProvider>) -> bool {
    provider.downcast_ref::<StreamTable>().is_some()
}

fn by_ids(aggregate: &Aggregate, texts: &BTreeMap<Column, Numbered>) -> Result<LogicalPlan> {
    let id = |column: &Column| texts.get(column).map(|text| Expr::Column(Column::new_unqualified(&text.name)));
    let groups = aggregate.group_expr.iter().map(|group| group.try_as_col().and_then(id).unwrap_or(group.clone()));
    let groups: Vec<Expr> = groups.collect();
    let counts = aggregate.aggr_expr.iter().map(|expr| match distinct_count(expr) {
        Some((column, call)) => match id(column).or_else(|| many_texts(aggregate, expr)) {
            Some(value) => crate::distinct::distinct_count(call, value).alias(expr.schema_name().to_string()),
            None => expr.clone(),
        },
        None => expr.clone(),
    });
    let counts: Vec<Expr> = counts.collect();

    let mut used = HashSet::new();
    for expr in groups.iter().chain(&counts) {
        expr_to_columns(expr, &mut used)?;
    }
    let kept = aggregate.input.schema().columns().into_iter().filter(|column| used.contains(column));
    let ids = texts.iter().map(|(column, text)| text.pair.id(Expr::Column(column.clone())).alias(&text.name));
    let below: Vec<Expr> = kept.map(Expr::Column).chain(ids).collect();
    let below = LogicalPlan::Projection(Projection::try_new(below, aggregate.input.clone())?);
    let grouped = LogicalPlanBuilder::from(below).aggregate(groups, counts)?.build()?;

    let columns = aggregate.schema.iter().enumerate().map(|(index, (qualifier, field))| {
        let group = aggregate.group_expr.get(index).and_then(Expr::try_as_col);
        match group.and_then(|column| texts.get(column)) {
            Some(text) => text
                .pair
                .text(Expr::Column(Column::new_unqualified(&text.name)))
                .alias_qualified(qualifier.cloned(), field.name()),
            None => Expr::Column(Column::from((qualifier, field))),
        }
    });
    let columns = columns.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(grouped))?))
}
