//! Conditions that leave rows everywhere, evaluated beside what they select.
//!
//! The reader of a file evaluates a condition before it decodes any other column, which pays where whole pages have none
//! of the rows. `evt_type = 'execve'` holds for some rows of every page: all pages are decoded anyway, in pieces as long
//! as a row group, and the rows between are cut out again. Such a condition is a column of the scan instead, worked out
//! batch by batch from what is at hand, and a filter above keeps the rows where it is true:
//!
//! ```text
//! KeepExec: projection=[upper(comm), pid]
//!   DataSourceExec: projection=[comm, pid, evt_type = execve as #keep], predicate=evt_type = execve
//! ```
//!
//! Texts come out of the scan as they are stored, and become what is asked for when most of them are gone. The predicate
//! stays, for what it says of bounds.

use super::conjunction::AllOf;
use super::groups::FEW_VALUES;
use super::keep::KeepExec;
use super::keys::AsKeys;
use arrow::datatypes::{DataType, Schema};
use bodkin_schema::events;
use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal,
    NotExpr,
};
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use datafusion::physical_expr::utils::{collect_columns, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// The column that says which rows are kept.
const KEEP: &str = "#keep";
/// Share of rows from which on all pages are decoded anyway.
const SHARE_MIN: f64 = 0.01;
/// Columns beside those of the condition, at most: each is decoded for rows that are thrown away.
const COLUMNS_MAX: usize = 8;
/// The share of rows that have one of a few values.
const SHARE_OF_VALUE: f64 = 0.1;

/// Columns of few numbers, as [`FEW_VALUES`] are of few texts.
const FEW_NUMBERS: [&str; 5] = [events::UID, events::LOGINUID, events::CPU, events::RESULT, events::REMOTE_PORT];
/// Texts of few values that are looked up in bloom filters, or that rows are sorted by.
const LOOKED_UP: [&str; 2] = [events::CONTAINER_ID, events::EXE];
/// Numbers that grow with time: rows of a range lie together.
const IN_ORDER: [&str; 2] = [events::TS_NS, events::SEQ];

/// The rule. Stands behind those that move filters and projections into scans.
#[derive(Debug)]
pub(crate) struct MarkRows;

impl PhysicalOptimizerRule for MarkRows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        marked(plan, false)
    }

    fn name(&self) -> &str {
        "mark_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `plan` with marks in its scans. Of rows that are searched for the first ones of an order, the reader decodes those
/// alone that may be among them.
fn marked(plan: Arc<dyn ExecutionPlan>, are_first_searched: bool) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some((config, source)) =
        plan.downcast_ref::<DataSourceExec>().and_then(|scan| scan.downcast_to_file_source::<ParquetSource>())
    {
        return Ok(with_mark(config, source, plan.properties(), are_first_searched)?.unwrap_or_else(|| plan.clone()));
    }
    let are_first_searched = match plan.downcast_ref::<SortExec>() {
        Some(sort) => sort.fetch().is_some(),
        None => are_first_searched && plan.downcast_ref::<AggregateExec>().is_none(),
    };
    let children: Vec<_> = plan.children().into_iter().cloned().collect();
    let after = children.iter().map(|child| marked(child.clone(), are_first_searched)).collect::<Result<Vec<_>>>()?;
    if after.iter().zip(&children).all(|(after, before)| Arc::ptr_eq(after, before)) {
        return Ok(plan);
    }
    plan.replace_children(after, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

/// The scan with its mark, and what keeps the rows; none where the condition is better left to the reader. Where no column is
/// asked for, the reader has nothing more to decode.
fn with_mark(
    config: &FileScanConfig,
    source: &ParquetSource,
    properties: &Arc<PlanProperties>,
    are_first_searched: bool,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (Some(predicate), Some(projection)) = (source.filter(), source.projection()) else { return Ok(None) };
    let (dynamic, fixed): (Vec<_>, Vec<_>) = split_conjunction(&predicate).into_iter().cloned().partition(is_dynamic);
    let is_for_reader = config.limit.is_some() || are_first_searched && !dynamic.is_empty();
    let is_for_reader = is_for_reader || fixed.is_empty() || projection.iter().next().is_none();
    if is_for_reader || !leaves_many(&fixed) || columns_beside(projection, &fixed) > COLUMNS_MAX {
        return Ok(None);
    }
    let table = source.table_schema().table_schema();
    let mut options = source.table_parquet_options().clone();
    options.global.pushdown_filters = false;
    let mut whole =
        ParquetSource::new(source.table_schema().clone()).with_table_parquet_options(options).with_predicate(predicate);
    if let Some(readers) = source.parquet_file_reader_factory() {
        whole = whole.with_parquet_file_reader_factory(readers.clone());
    }
    let Some(whole) = whole.try_pushdown_projection(&as_stored(projection, AllOf::of_cheap(fixed), table))? else {
        return Ok(None);
    };
    let scan = DataSourceExec::from_data_source(FileScanConfigBuilder::from(config.clone()).with_source(whole).build());
    Ok(Some(Arc::new(KeepExec::new(scan, projection.clone(), table.clone(), properties.clone()))))
}

/// The columns that `projection` looks at, texts as dictionaries, and the mark.
fn as_stored(projection: &ProjectionExprs, mark: AllOf, table: &Schema) -> ProjectionExprs {
    let columns: BTreeSet<usize> =
        projection.expr_iter().flat_map(|expr| collect_columns(&expr)).map(|column| column.index()).collect();
    let column = |index: usize| {
        let field = table.field(index);
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
        let stored = if field.data_type() == &DataType::Utf8View { Arc::new(AsKeys::new(column)) } else { column };
        ProjectionExpr::new(stored, field.name())
    };
    let mark = ProjectionExpr::new(Arc::new(mark), KEEP);
    ProjectionExprs::new(columns.into_iter().map(column).chain([mark]))
}

fn is_dynamic(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<DynamicFilterPhysicalExpr>().is_some()
}

/// Columns that are decoded for `projection` alone.
fn columns_beside(projection: &ProjectionExprs, condition: &[Arc<dyn PhysicalExpr>]) -> usize {
    let columns: HashSet<Column> = projection.expr_iter().flat_map(|expr| collect_columns(&expr)).collect();
    let looked_at: HashSet<Column> = condition.iter().flat_map(collect_columns).collect();
    columns.difference(&looked_at).count()
}

/// Whether all of `parts` together leave rows of most pages.
fn leaves_many(parts: &[Arc<dyn PhysicalExpr>]) -> bool {
    parts.iter().map(share).product::<Option<f64>>().is_some_and(|share| share >= SHARE_MIN)
}

/// The share of rows that `expr` leaves, by rule of thumb; none where that may be next to nothing, or rows that lie
/// together.
fn share(expr: &Arc<dyn PhysicalExpr>) -> Option<f64> {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return match binary.op() {
            Operator::And => Some(share(binary.left())? * share(binary.right())?),
            Operator::Or => Some((share(binary.left())? + share(binary.right())?).min(1.0)),
            op => share_of_comparison(binary.left(), *op, binary.right()),
        };
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let column = column(list.expr())?;
        return match list.negated() {
            true => Some(1.0 - SHARE_OF_VALUE),
            false => has_few_values(column).then(|| (SHARE_OF_VALUE * list.list().len() as f64).min(0.5)),
        };
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        let is_few = like.negated() || has_few_values(column(like.expr())?);
        return is_few.then_some(if like.negated() { 1.0 - SHARE_OF_VALUE } else { SHARE_OF_VALUE });
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return Some(1.0 - share(not.arg()).unwrap_or(SHARE_OF_VALUE).min(0.9));
    }
    let is_null = expr.downcast_ref::<IsNullExpr>().map(IsNullExpr::arg);
    let of = is_null.or_else(|| expr.downcast_ref::<IsNotNullExpr>().map(IsNotNullExpr::arg))?;
    column(of).map(|_| 0.5)
}

fn share_of_comparison(left: &Arc<dyn PhysicalExpr>, op: Operator, right: &Arc<dyn PhysicalExpr>) -> Option<f64> {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq, RegexIMatch, RegexMatch, RegexNotIMatch, RegexNotMatch};
    let column = match (column(left), column(right)) {
        (Some(column), None) if right.downcast_ref::<Literal>().is_some() => column,
        (None, Some(column)) if left.downcast_ref::<Literal>().is_some() => column,
        _ => return None,
    };
    match op {
        Eq | RegexMatch | RegexIMatch => has_few_values(column).then_some(SHARE_OF_VALUE),
        NotEq | RegexNotMatch | RegexNotIMatch => Some(1.0 - SHARE_OF_VALUE),
        Lt | LtEq | Gt | GtEq => (!lies_in_order(column)).then_some(0.5),
        _ => None,
    }
}

/// The column that `expr` is, or is a cast of.
fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<&Column> {
    let expr = expr.downcast_ref::<CastExpr>().map_or(expr, CastExpr::expr);
    expr.downcast_ref::<Column>()
}

fn has_few_values(column: &Column) -> bool {
    let name = column.name();
    FEW_NUMBERS.contains(&name) || FEW_VALUES.contains(&name) && !LOOKED_UP.contains(&name)
}

/// Whether rows of a range lie together.
fn lies_in_order(column: &Column) -> bool {
    let name = column.name();
    name == events::TS || IN_ORDER.contains(&name) || LOOKED_UP.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;
    use datafusion::physical_expr::expressions::{binary, col, in_list, is_not_null, lit, not};

    #[test]
    fn rare_and_clustered_rows_are_left_to_the_reader() {
        let names = [events::EVT_TYPE, events::PATH, events::CONTAINER_ID];
        let numbers = [events::RESULT, events::PID, events::TS_NS];
        let texts = names.map(|name| Field::new(name, DataType::Utf8View, true)).into_iter();
        let fields = texts.chain(numbers.map(|name| Field::new(name, DataType::Int64, true)));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let text = |text: &str| lit(datafusion::common::ScalarValue::Utf8View(Some(text.to_owned())));
        let of = |name: &str, op, value| binary(col(name, &schema).unwrap(), op, value, &schema).unwrap();
        let few = of(events::EVT_TYPE, Operator::Eq, text("execve"));
        let some = of(events::RESULT, Operator::Lt, lit(0i64));
        let rare = of(events::PATH, Operator::Eq, text("/etc/shadow"));
        let one = of(events::PID, Operator::Eq, lit(7i64));
        let sorted = of(events::CONTAINER_ID, Operator::Eq, text("c"));
        let time = of(events::TS_NS, Operator::Gt, lit(7i64));
        let list =
            in_list(col(events::EVT_TYPE, &schema).unwrap(), vec![text("a"), text("b")], &false, &schema).unwrap();
        let present = is_not_null(col(events::PATH, &schema).unwrap()).unwrap();
        for (many, parts) in [
            (true, vec![few.clone()]),
            (true, vec![few.clone(), some.clone()]),
            (true, vec![list, present.clone()]),
            (true, vec![not(rare.clone()).unwrap()]),
            (false, vec![few.clone(), few.clone(), few.clone()]),
            (false, vec![rare.clone()]),
            (false, vec![few.clone(), one]),
            (false, vec![sorted, present]),
            (false, vec![time, few.clone()]),
            (false, vec![binary(few.clone(), Operator::Or, rare, &schema).unwrap()]),
            (true, vec![binary(few, Operator::Or, some, &schema).unwrap()]),
        ] {
            assert_eq!(leaves_many(&parts), many, "{parts:?}");
        }
    }
}
