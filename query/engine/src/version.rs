//! `snapshot('events', 12)`: one version of a table without its tail, as any reader of the table sees it.

use crate::catalog::{Catalog, CatalogError};
use crate::stream_table::{QueryView, StreamTable, sql_schema};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bodkin_schema::Stream;
use bodkin_table::TableSnapshot;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::{Arc, PoisonError};

/// The table function.
#[derive(Debug)]
pub(crate) struct VersionFunction {
    catalog: Arc<dyn Catalog>,
    view: QueryView,
}

impl VersionFunction {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, view: QueryView) -> Self {
        Self { catalog, view }
    }
}

impl TableFunctionImpl for VersionFunction {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let [Expr::Literal(ScalarValue::Utf8(Some(name)), _), Expr::Literal(version, _)] = args.exprs() else {
            return plan_err!("snapshot takes a table's name and a version: snapshot('events', 12)");
        };
        let stream = Stream::from_name(name).ok_or_else(|| plan_datafusion_err!("table '{name}' not found"))?;
        let version = match version {
            ScalarValue::Int64(Some(version)) => u64::try_from(*version).ok(),
            ScalarValue::UInt64(version) => version.filter(|version| i64::try_from(*version).is_ok()),
            _ => None,
        };
        let version = version.ok_or_else(|| plan_datafusion_err!("a version is a whole number from 0 on"))?;
        Ok(Arc::new(VersionTable {
            catalog: self.catalog.clone(),
            view: self.view.clone(),
            stream,
            version,
            schema: sql_schema(&self.view.snapshot.table(stream).schema),
        }))
    }
}

/// A version that is looked up when it is scanned: planning cannot wait for a log.
#[derive(Debug)]
struct VersionTable {
    catalog: Arc<dyn Catalog>,
    view: QueryView,
    stream: Stream,
    version: u64,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for VersionTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = self.catalog.snapshot_at(self.stream, self.version).await;
        let table = table.map_err(|error: CatalogError| DataFusionError::External(Box::new(error)))?;
        // The plan has the columns of today: those that came since are null in the rows of then.
        let schema = self.view.snapshot.table(self.stream).schema.clone();
        let table = Arc::new(TableSnapshot { schema, ..table.as_ref().clone() });
        self.view.pinned.lock().unwrap_or_else(PoisonError::into_inner).push(table.clone());
        StreamTable::new(self.view.clone(), table).scan(session, projection, filters, limit).await
    }
}
