//! The names that SQL sees: streams, views, and the comments of both.

use crate::plain::plain_type;
use crate::session::SCHEMA;
use crate::stream_table::{QueryView, StreamTable};
use crate::views::{VIEWS, View, column_comment, view};
use crate::windows::{WindowCatalog, WindowTable};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use async_trait::async_trait;
use bodkin_schema::Stream;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::ViewTable;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::TableType;
use datafusion::sql::parser::DFParser;
use std::fmt;
use std::sync::Arc;

/// Comments of tables.
const TABLE_COMMENTS: &str = "table_comments";
/// Comments of columns.
const COLUMN_COMMENTS: &str = "column_comments";

/// The schema `public` of one query. Tables are made as they are asked for.
pub(crate) struct PublicSchema {
    view: QueryView,
    /// Sees only the streams: what views are planned in. None in that state's own schema.
    streams: Option<SessionState>,
    windows: Option<Arc<dyn WindowCatalog>>,
}

impl fmt::Debug for PublicSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicSchema").field("tenant", &self.view.tenant).finish_non_exhaustive()
    }
}

/// The names of all tables and views, sorted.
pub(crate) fn table_names() -> Vec<&'static str> {
    let streams = Stream::ALL.into_iter().map(Stream::name).filter(|name| view(name).is_none());
    let views = VIEWS.iter().map(|view| view.name);
    let mut names: Vec<_> = streams.chain(views).chain([TABLE_COMMENTS, COLUMN_COMMENTS]).collect();
    names.sort_unstable();
    names
}

impl PublicSchema {
    /// Only the streams, `series` with every announcement.
    pub(crate) fn streams(view: QueryView) -> Self {
        Self { view, streams: None, windows: None }
    }

    /// Everything; `streams` is the state in which views are planned.
    pub(crate) fn public(view: QueryView, streams: SessionState, windows: Option<Arc<dyn WindowCatalog>>) -> Self {
        Self { view, streams: Some(streams), windows }
    }

    fn stream(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let stream = Stream::from_name(name)?;
        let table = self.view.snapshot.table(stream).clone();
        Some(Arc::new(StreamTable::new(self.view.clone(), table)))
    }

    fn window(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let plan = self.windows.as_ref()?.window(name)?;
        Some(Arc::new(WindowTable { name: name.to_owned(), plan, view: self.view.clone() }))
    }

    /// The columns of the comment tables: table, its comment, its streams, its schema.
    async fn commented(&self, state: &SessionState) -> Result<Vec<Commented>> {
        let mut tables = Vec::with_capacity(Stream::ALL.len() + VIEWS.len());
        for stream in Stream::ALL.into_iter().filter(|stream| view(stream.name()).is_none()) {
            if let Some(table) = self.stream(stream.name()) {
                tables.push(Commented { name: stream.name(), comment: stream.comment(), streams: vec![stream], table });
            }
        }
        for view in &VIEWS {
            let table = plan_view(view, state).await?;
            tables.push(Commented { name: view.name, comment: view.comment, streams: view.streams.to_vec(), table });
        }
        tables.sort_unstable_by_key(|table| table.name);
        Ok(tables)
    }
}

struct Commented {
    name: &'static str,
    comment: &'static str,
    streams: Vec<Stream>,
    table: Arc<dyn TableProvider>,
}

async fn plan_view(view: &View, state: &SessionState) -> Result<Arc<dyn TableProvider>> {
    let statement = DFParser::parse_sql(view.sql)?.pop_front();
    let statement = statement.ok_or_else(|| DataFusionError::Plan(format!("view {} is empty", view.name)))?;
    let plan = state.statement_to_plan(statement).await?;
    Ok(Arc::new(ViewTable::new(plan, Some(format!("CREATE VIEW {SCHEMA}.{} AS {}", view.name, view.sql)))))
}

fn table_comments(tables: &[Commented]) -> Result<Arc<dyn TableProvider>> {
    let text = |column: fn(&Commented) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(tables.iter().map(column)))
    };
    in_memory([("table_name", text(|table| table.name)), ("comment", text(|table| table.comment))])
}

fn column_comments(tables: &[Commented]) -> Result<Arc<dyn TableProvider>> {
    let mut rows: Vec<[Option<String>; 4]> = Vec::new();
    for table in tables {
        for field in table.table.schema().fields() {
            let comment = column_comment(&table.streams, field.name());
            let data_type = Some(plain_type(field.data_type()).to_string());
            rows.push([Some(table.name.to_owned()), Some(field.name().clone()), data_type, comment]);
        }
    }
    let text = |column: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.get(column).cloned().flatten()).collect::<StringArray>())
    };
    in_memory([("table_name", text(0)), ("column_name", text(1)), ("data_type", text(2)), ("comment", text(3))])
}

fn in_memory<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<Arc<dyn TableProvider>> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))?;
    Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
}

#[async_trait]
impl SchemaProvider for PublicSchema {
    fn table_names(&self) -> Vec<String> {
        let windows = self.windows.iter().flat_map(|windows| windows.names());
        table_names().into_iter().map(str::to_owned).chain(windows).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(streams) = &self.streams else { return Ok(self.stream(name)) };
        match name {
            TABLE_COMMENTS => Ok(Some(table_comments(&self.commented(streams).await?)?)),
            COLUMN_COMMENTS => Ok(Some(column_comments(&self.commented(streams).await?)?)),
            _ => match view(name) {
                Some(view) => Ok(Some(plan_view(view, streams).await?)),
                None => Ok(self.stream(name).or_else(|| self.window(name))),
            },
        }
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(match view(name) {
            Some(_) => Some(TableType::View),
            None if self.window(name).is_some() => Some(TableType::View),
            None => self.table_exist(name).then_some(TableType::Base),
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        table_names().contains(&name) || self.window(name).is_some()
    }
}
