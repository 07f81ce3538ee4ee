//! A table that is asked for when it is scanned: what table functions of other engines answer.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use std::fmt;
use std::sync::Arc;

/// Rows, or what is wrong in words for the asker.
pub(crate) type Asked = Result<Vec<RecordBatch>, String>;

/// Rows of `schema` that `ask` answers. It blocks, so it is called on a thread that may.
pub(crate) struct AskedTable {
    /// The function, for errors.
    name: &'static str,
    schema: SchemaRef,
    ask: Arc<dyn Fn() -> Asked + Send + Sync>,
}

impl AskedTable {
    pub(crate) fn new(
        name: &'static str,
        schema: SchemaRef,
        ask: impl Fn() -> Asked + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { name, schema, ask: Arc::new(ask) })
    }
}

impl fmt::Debug for AskedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskedTable").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for AskedTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let ask = self.ask.clone();
        let batches = match tokio::task::spawn_blocking(move || ask()).await {
            Ok(Ok(batches)) => batches,
            Ok(Err(error)) => return exec_err!("{}: {error}", self.name),
            Err(error) => return Err(DataFusionError::External(Box::new(error))),
        };
        MemTable::try_new(self.schema.clone(), vec![batches])?.scan(session, projection, filters, limit).await
    }
}
