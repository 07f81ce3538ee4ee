//! A stream as a table: the files of one version and the tail that belongs to it.

use crate::answer::ScanCounters;
use crate::{files, prune, tail};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use bodkin_schema::Tenant;
use bodkin_table::{Snapshot, TENANT, TableSnapshot};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What all tables of one query share.
#[derive(Clone, Debug)]
pub(crate) struct QueryView {
    /// One snapshot for all tables (TAIL-1).
    pub(crate) snapshot: Arc<Snapshot>,
    /// Whose rows are visible (ISO-1).
    pub(crate) tenant: Tenant,
    /// Where the files are.
    pub(crate) store: ObjectStoreUrl,
    /// Their folder, if they are files of this machine.
    pub(crate) folder: Option<Arc<Path>>,
    /// What scans count.
    pub(crate) counters: Arc<ScanCounters>,
    /// Older versions that the query reads: vacuum spares what they name while they are held.
    pub(crate) pinned: Arc<Mutex<Vec<Arc<TableSnapshot>>>>,
}

/// Rows of one tenant in one table of a snapshot.
#[derive(Debug)]
pub(crate) struct StreamTable {
    view: QueryView,
    table: Arc<TableSnapshot>,
    schema: SchemaRef,
}

impl StreamTable {
    pub(crate) fn new(view: QueryView, table: Arc<TableSnapshot>) -> Self {
        let schema = sql_schema(&table.schema);
        Self { view, table, schema }
    }

    /// Whether `filters` leave rows of one value of the column that files are sorted by first, or of a few.
    fn look_up(&self, filters: &[Expr]) -> bool {
        let first = self.table.stream.sort_columns().first();
        let is_first = |expr: &Expr| expr.try_as_col().is_some_and(|column| Some(&column.name.as_str()) == first);
        filters.iter().any(|filter| match filter {
            Expr::BinaryExpr(comparison) => {
                comparison.op == Operator::Eq && (is_first(&comparison.left) || is_first(&comparison.right))
            }
            Expr::InList(list) => !list.negated && is_first(&list.expr),
            _ => false,
        })
    }

    fn projected(&self, projection: Option<&Vec<usize>>) -> Result<SchemaRef> {
        Ok(match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => self.schema.clone(),
        })
    }
}

/// What plans see of a table. Texts are views: a page's dictionary is decoded once and pointed at, and filters,
/// groups and joins copy no text; answers are made plain at the end. Comments are no part of a plan's schema: two
/// plans that differ by them would not fit together.
pub(crate) fn sql_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let data_type = match field.data_type() {
            DataType::Utf8 if field.name() != TENANT => DataType::Utf8View,
            other => other.clone(),
        };
        Field::new(field.name(), data_type, field.is_nullable())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// `schema` as rows that are made in plain types have it.
pub(crate) fn without_metadata(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default()));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Every filter helps to leave files and pages out; the rows are filtered by the reader or above the tail.
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
        let tenant = &self.view.tenant;
        let own: Vec<_> = self.table.files.iter().filter(|file| file.tenant == *tenant).cloned().collect();
        let count = own.len();
        let kept = match conjunction(filters.to_vec()) {
            Some(filter) => {
                let schema = DFSchema::try_from(self.schema.as_ref().clone())?;
                prune::prune(own, &session.create_physical_expr(filter, &schema)?, &self.schema)
            }
            None => own,
        };
        self.view.counters.add_files(kept.len(), count - kept.len());

        let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(2);
        if !kept.is_empty() {
            inputs.push(files::scan(
                session,
                &self.view,
                &self.schema,
                &kept,
                projection,
                limit,
                self.look_up(filters),
            )?);
        }
        let parts: Vec<_> = self.table.tail.iter().filter(|part| part.tenant == *tenant).cloned().collect();
        if !parts.is_empty() {
            let schema = self.projected(projection)?;
            inputs.push(Arc::new(tail::TailExec::new(
                self.table.stream,
                parts,
                schema,
                session.config().target_partitions(),
            )));
        }
        match inputs.len() {
            0 => Ok(Arc::new(EmptyExec::new(self.projected(projection)?))),
            1 => Ok(inputs.remove(0)),
            _ => UnionExec::try_new(inputs),
        }
    }
}
