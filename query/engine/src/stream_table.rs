//! A stream as a table: the files of one version and the tail that belongs to it.

use crate::answer::ScanCounters;
use crate::{files, prune, tail};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use bodkin_schema::{Stream, Tenant};
use bodkin_table::{Snapshot, TENANT, TableFile, TableSnapshot, TailPart};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// What [`Self::kept_files`] answered last.
    kept: Mutex<Option<Kept>>,
}

/// Files in which filters may hold.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    filters: Vec<Expr>,
    pub(crate) files: Arc<[Arc<TableFile>]>,
    /// How many others the tenant has.
    pruned: usize,
}

impl StreamTable {
    pub(crate) fn new(view: QueryView, table: Arc<TableSnapshot>) -> Self {
        let schema = sql_schema(&table.schema);
        Self { view, table, schema, kept: Mutex::default() }
    }

    /// Whose rows they are.
    pub(crate) fn stream(&self) -> Stream {
        self.table.stream
    }

    /// The column that files are sorted by first.
    pub(crate) fn first_sort_column(&self) -> Option<&'static str> {
        self.table.stream.sort_columns().first().copied()
    }

    /// What the column that files are sorted by first is equal to, if `filters` leave one value of it or a few.
    pub(crate) fn looked_up<'f>(&self, filters: &'f [Expr]) -> Option<Vec<&'f Expr>> {
        let first = self.first_sort_column()?;
        filters.iter().find_map(|filter| equal_to(filter, first))
    }

    /// The files of the tenant in which `filters` may hold.
    pub(crate) fn kept_files(&self, session: &dyn Session, filters: &[Expr]) -> Result<Kept> {
        let mut last = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = last.as_ref().filter(|kept| kept.filters == filters) {
            return Ok(kept.clone());
        }
        let own = self.table.files.iter().filter(|file| file.tenant == self.view.tenant);
        let own: Vec<_> = own.cloned().collect();
        let count = own.len();
        let files: Arc<[_]> = match conjunction(filters.to_vec()) {
            Some(filter) => {
                let schema = DFSchema::try_from(self.schema.as_ref().clone())?;
                prune::prune(own, &session.create_physical_expr(filter, &schema)?, &self.schema).into()
            }
            None => own.into(),
        };
        let kept = Kept { filters: filters.to_vec(), pruned: count - files.len(), files };
        Ok(last.insert(kept).clone())
    }

    /// What the tenant has in the tail.
    pub(crate) fn tail_parts(&self) -> impl Iterator<Item = &Arc<TailPart>> {
        self.table.tail.iter().filter(|part| part.tenant == self.view.tenant)
    }

    fn projected(&self, projection: Option<&Vec<usize>>) -> Result<SchemaRef> {
        Ok(match projection {
            Some(projection) => Arc::new(self.schema.project(projection)?),
            None => self.schema.clone(),
        })
    }
}

/// The values of which `condition` says that `column` is one.
fn equal_to<'c>(condition: &'c Expr, column: &str) -> Option<Vec<&'c Expr>> {
    let is_column = |expr: &Expr| expr.try_as_col().is_some_and(|found| found.name == column);
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_column(left) => Some(vec![right]),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_column(right) => Some(vec![left]),
        // A list of two or three is planned as this.
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            Some([equal_to(left, column)?, equal_to(right, column)?].concat())
        }
        Expr::InList(list) if !list.negated && is_column(&list.expr) => Some(list.list.iter().collect()),
        _ => None,
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
        let Kept { files: kept, pruned, .. } = self.kept_files(session, filters)?;
        self.view.counters.add_files(kept.len(), pruned);

        let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(2);
        if !kept.is_empty() {
            inputs.push(files::scan(
                session,
                &self.view,
                &self.schema,
                &kept,
                projection,
                limit,
                self.looked_up(filters).is_some(),
            )?);
        }
        let parts: Vec<_> = self.tail_parts().cloned().collect();
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
