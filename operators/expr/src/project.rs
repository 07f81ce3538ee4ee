//! SELECT expressions FROM input WHERE condition.

use crate::plan::{ExprError, PerLayout, check_stateless, evaluate, holds, invalid, state};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use bodkin_engine::{Batch, Operator, Output};
use datafusion::catalog::{
    CatalogProvider, MemTable, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::{DFSchemaRef, DataFusionError};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::PhysicalExpr;
use std::sync::Arc;

/// Name of the rows that come in.
const INPUT: &str = "input";

/// A SELECT over the rows of each batch.
#[derive(Clone)]
pub struct Sql {
    text: String,
    /// The stream of what goes out.
    stream: String,
    planned: PerLayout<Planned>,
    rows_failed: u64,
}

impl std::fmt::Debug for Sql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sql").field("text", &self.text).finish_non_exhaustive()
    }
}

/// A statement on one layout of columns.
struct Planned {
    condition: Option<Arc<dyn PhysicalExpr>>,
    columns: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

impl Sql {
    /// The statement `text` over rows like `schema`; rows go out as rows of `stream`.
    ///
    /// # Errors
    /// [`ExprError`]: also for GROUP BY, ORDER BY, LIMIT, DISTINCT and joins, which see more than one row.
    pub fn new(text: &str, stream: &str, schema: &SchemaRef) -> Result<Self, ExprError> {
        Planned::new(text, schema)?;
        let (text, stream) = (text.to_owned(), stream.to_owned());
        Ok(Self { text, stream, planned: PerLayout::default(), rows_failed: 0 })
    }

    /// The columns that go out for rows like `schema`.
    ///
    /// # Errors
    /// [`ExprError`].
    pub fn output(text: &str, schema: &SchemaRef) -> Result<SchemaRef, ExprError> {
        Planned::new(text, schema).map(|planned| planned.schema)
    }

    fn select(&mut self, batch: &Batch) -> Result<RecordBatch, Box<dyn std::error::Error>> {
        let schema = batch.records.schema();
        let planned = self.planned.get(&schema, || Planned::new(&self.text, &schema))?;
        let records = match &planned.condition {
            Some(condition) => filter_record_batch(&batch.records, &holds(condition.as_ref(), &batch.records)?)?,
            None => batch.records.clone(),
        };
        let columns = planned.columns.iter().map(|column| evaluate(column.as_ref(), &records));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
        Ok(RecordBatch::try_new_with_options(planned.schema.clone(), columns, &options)?)
    }
}

impl Operator for Sql {
    fn name(&self) -> &str {
        "sql"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        match self.select(&batch) {
            Ok(records) if records.num_rows() == 0 => {}
            Ok(records) => out.emit(batch.derived(&self.stream, records)),
            Err(error) => {
                self.rows_failed += batch.records.num_rows() as u64;
                tracing::warn!(sql = self.text, rows_failed = self.rows_failed, %error, "a statement failed");
            }
        }
    }
}

impl Planned {
    fn new(text: &str, schema: &SchemaRef) -> Result<Self, ExprError> {
        let plan = logical(text, schema).map_err(|error| invalid(text, &error))?;
        let (columns, condition, input) = take_apart(text, plan)?;
        for expr in columns.iter().chain(&condition) {
            check_stateless(text, expr)?;
        }
        let physical = |expr: Expr| state().create_physical_expr(expr, &input).map_err(|error| invalid(text, &error));
        let names: Vec<String> = columns.iter().map(|expr| expr.schema_name().to_string()).collect();
        let names = names.into_iter().map(|name| name.strip_prefix("input.").map(str::to_owned).unwrap_or(name));
        let condition = condition.map(physical).transpose()?;
        let columns = columns.into_iter().map(physical).collect::<Result<Vec<_>, _>>()?;
        let field = |(name, column): (String, &Arc<dyn PhysicalExpr>)| {
            Ok(Field::new(name, column.data_type(schema)?, column.nullable(schema)?))
        };
        let fields = names.zip(&columns).map(field).collect::<Result<Vec<_>, DataFusionError>>();
        let fields = fields.map_err(|error| invalid(text, &error))?;
        Ok(Self { condition, columns, schema: Arc::new(Schema::new(fields)) })
    }
}

/// The statement as a plan over a table `input` without rows.
fn logical(text: &str, schema: &SchemaRef) -> Result<LogicalPlan, DataFusionError> {
    let table = MemTable::try_new(schema.clone(), vec![vec![]])?;
    let tables = MemorySchemaProvider::new();
    tables.register_table(INPUT.to_owned(), Arc::new(table))?;
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema("public", Arc::new(tables))?;
    let catalogs = MemoryCatalogProviderList::new();
    datafusion::catalog::CatalogProviderList::register_catalog(&catalogs, "datafusion".to_owned(), Arc::new(catalog));
    let state: SessionState =
        SessionStateBuilder::new_from_existing(state().clone()).with_catalog_list(Arc::new(catalogs)).build();
    // Planning awaits nothing: the only table is in memory.
    futures_now(state.create_logical_plan(text))
}

/// The output of a future that is ready at its first poll.
fn futures_now<T>(future: impl Future<Output = Result<T, DataFusionError>>) -> Result<T, DataFusionError> {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(outcome) => outcome,
        std::task::Poll::Pending => Err(DataFusionError::Plan("the statement reads more than its input".to_owned())),
    }
}

type Parts = (Vec<Expr>, Option<Expr>, DFSchemaRef);

/// Columns and condition of `SELECT columns FROM input [WHERE condition]`.
fn take_apart(text: &str, plan: LogicalPlan) -> Result<Parts, ExprError> {
    let refuse = |what: &str| ExprError::NotStateless { text: text.to_owned(), what: what.to_owned() };
    let (columns, below) = match plan {
        LogicalPlan::Projection(projection) => (projection.expr, projection.input.as_ref().clone()),
        other => return Err(refuse(name_of(&other))),
    };
    let (condition, below) = match below {
        LogicalPlan::Filter(filter) => (Some(filter.predicate), filter.input.as_ref().clone()),
        other => (None, other),
    };
    match below {
        LogicalPlan::TableScan(scan) if scan.table_name.table() == INPUT => {
            Ok((columns, condition, scan.projected_schema))
        }
        other => Err(refuse(name_of(&other))),
    }
}

fn name_of(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::Aggregate(_) => "an aggregate or GROUP BY",
        LogicalPlan::Sort(_) => "ORDER BY",
        LogicalPlan::Limit(_) => "LIMIT",
        LogicalPlan::Distinct(_) => "DISTINCT",
        LogicalPlan::Join(_) => "a join",
        LogicalPlan::Union(_) => "UNION",
        LogicalPlan::Window(_) => "a window function",
        LogicalPlan::Unnest(_) => "unnest",
        LogicalPlan::EmptyRelation(_) => "a SELECT without FROM input",
        _ => "anything but SELECT ... FROM input WHERE ...",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;
    use arrow::util::pretty::pretty_format_batches;
    use bodkin_engine::run_chain;

    fn records() -> RecordBatch {
        let comm: ArrayRef =
            Arc::new([Some("sh"), None, Some("cat")].into_iter().collect::<DictionaryArray<Int32Type>>());
        let pid: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let path: ArrayRef = Arc::new(StringArray::from(vec!["/etc/shadow", "/", "/tmp/x"]));
        RecordBatch::try_from_iter([("pid", pid), ("comm", comm), ("path", path)]).unwrap()
    }

    fn run(text: &str) -> String {
        let schema = records().schema();
        let mut chain: Vec<Box<dyn Operator>> = vec![Box::new(Sql::new(text, "slim", &schema).unwrap())];
        let mut seen = Vec::new();
        run_chain(&mut chain, Batch::made("events", records()), &mut |batch| {
            assert_eq!(&*batch.stream, "slim");
            seen.push(batch.records);
        });
        pretty_format_batches(&seen).unwrap().to_string()
    }

    #[test]
    fn columns_and_condition() {
        let expected = "+----+-----+------------+\n| id | who | path       |\n+----+-----+------------+\n\
                        | 2  | SH  | etc/shadow |\n| 6  | CAT | tmp/x      |\n+----+-----+------------+";
        let text =
            "SELECT pid * 2 AS id, upper(comm) AS who, substr(path, 2) AS path FROM input WHERE comm IS NOT NULL";
        assert_eq!(run(text), expected);
        assert!(run("SELECT * FROM input WHERE path LIKE '/tmp%'").contains("| 3   | cat  | /tmp/x |"));
    }

    #[test]
    fn what_sees_more_than_a_row_is_refused() {
        let error = |text: &str| Sql::new(text, "s", &records().schema()).unwrap_err().to_string();
        for (text, what) in [
            ("SELECT count(*) FROM input", "aggregate"),
            ("SELECT pid FROM input GROUP BY pid", "aggregate"),
            ("SELECT pid FROM input ORDER BY pid", "ORDER BY"),
            ("SELECT pid FROM input LIMIT 1", "LIMIT"),
            ("SELECT DISTINCT pid FROM input", "DISTINCT"),
            ("SELECT a.pid FROM input a, input b", "possible here"),
            ("SELECT random() FROM input", "random"),
            ("SELECT pid FROM input WHERE pid IN (SELECT pid FROM input)", "subquery"),
            ("SELECT 1", "without FROM"),
            ("SELECT pid FROM other", "other"),
            ("SELECT pd FROM input", "pd"),
            ("DROP TABLE input", "DROP TABLE"),
        ] {
            assert!(error(text).contains(what), "{text}: {}", error(text));
        }
    }
}
