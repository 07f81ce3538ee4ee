//! Rules over history: the rows of `events` and `audit` through a rule set, as rows of `findings`.
//!
//! ```text
//!  detect('rule or file', since => '30d')          RULE-1: the same code that runs live
//!    UnionExec
//!      DetectFilesExec <- files of events, in steps: few columns of all rows, more of fewer rows
//!      DetectExec      <- tail of events: columns that rules read, time
//!      DetectExec      <- scan of audit:  time
//! ```
//! What is left out is only rows for which no rule can fire: files and row groups by event type, time and, where there
//! are few rules, simple comparisons; rows by time and by what the steps know of the rules (`steps`).

mod exec;
mod function;
mod row_groups;
mod rules;
mod scan;
mod steps;

pub(crate) use function::DetectFunction;
pub use function::time;
pub use rules::RuleCatalog;

use crate::stream_table::{QueryView, StreamTable, sql_schema, without_metadata};
use crate::{files, prune};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bodkin_rules::{Matching, Restriction, RuleSet, Source};
use bodkin_schema::{EventTime, Stream, audit, events, findings};
use bodkin_table::TableSnapshot;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::utils::{conjunction, disjunction};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use exec::Finder;
use row_groups::Leave;
use scan::{DetectFilesExec, Scan};
use std::fmt;
use std::sync::Arc;

/// Rules whose comparisons are pushed down; with more of them the filter costs more than it spares.
const PUSHED_RULES_MAX: usize = 8;

/// What is searched for, and where.
#[derive(Clone)]
pub struct Search {
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// How many of them may fire for one row.
    pub matching: Matching,
    /// Rows from then on.
    pub since: Option<EventTime>,
    /// Rows before then.
    pub until: Option<EventTime>,
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search").field("matching", &self.matching).field("since", &self.since).finish_non_exhaustive()
    }
}

/// The findings of a search as a table.
pub(crate) struct DetectTable {
    search: Search,
    view: QueryView,
    /// The inner scans are planned in.
    state: SessionState,
    schema: SchemaRef,
}

impl fmt::Debug for DetectTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetectTable").field("search", &self.search).finish_non_exhaustive()
    }
}

impl DetectTable {
    pub(crate) fn new(search: Search, view: QueryView, state: SessionState) -> Self {
        Self { search, view, state, schema: without_metadata(&findings::schema()) }
    }

    /// What is found in rows of `table` by a plan of them.
    async fn scan_rows(
        &self,
        table: Arc<TableSnapshot>,
        columns: &[&str],
        filters: Vec<Expr>,
        finder: Finder,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let name = table.stream.name();
        let table = StreamTable::new(self.view.clone(), table);
        let mut builder = LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None)?;
        if let Some(filter) = conjunction(filters) {
            builder = builder.filter(filter)?;
        }
        let plan: LogicalPlan = builder.project(columns.iter().map(|name| column(name)))?.build()?;
        let plan = self.state.optimize(&plan)?;
        let input = self.state.query_planner().create_physical_plan(&plan, &self.state).await?;
        Ok(exec::detect(input, finder))
    }

    /// What is found in the files of `events` and in their tail.
    async fn scan_events(
        &self,
        times: Vec<Expr>,
        session: &dyn Session,
        finder: &Finder,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let rules = &self.search.rules;
        let registered = Stream::Events.schema();
        let columns = rules.columns().into_iter().filter(|name| registered.field_with_name(name).is_ok());
        let columns: Vec<&str> = columns.collect();
        let table = self.view.snapshot.table(Stream::Events);
        let mut inputs = Vec::with_capacity(2);
        if table.tail.iter().any(|part| part.tenant == self.view.tenant) {
            let tail = Arc::new(TableSnapshot { files: Arc::default(), ..table.as_ref().clone() });
            inputs.push(self.scan_rows(tail, &columns, times.clone(), finder.clone()).await?);
        }
        let own = table.files.iter().filter(|file| file.tenant == self.view.tenant).cloned().collect::<Vec<_>>();
        if own.is_empty() {
            return Ok(inputs);
        }
        let schema = sql_schema(&table.schema);
        let filters = times.iter().cloned().chain(restriction(rules));
        let predicate = conjunction(filters).map(|filter| physical(session, filter, &schema)).transpose()?;
        let count = own.len();
        let kept = match &predicate {
            Some(predicate) => prune::prune(own, predicate, &schema),
            None => own,
        };
        self.view.counters.add_files(kept.len(), count - kept.len());
        if kept.is_empty() {
            return Ok(inputs);
        }
        let times = conjunction(times)
            .map(|filter| physical(session, filter, &schema.project(&[schema.index_of(events::TS)?])?.into()));
        let scan = Scan {
            readers: files::readers(session, &self.view, false)?,
            leave: Leave::new(predicate, schema),
            steps: steps::steps(rules, times.transpose()?),
            columns,
            finder: finder.clone(),
        };
        inputs.push(Arc::new(DetectFilesExec::new(scan, files::groups(&kept, session.config().target_partitions()))));
        Ok(inputs)
    }

    fn time_filters(&self, column_name: &str) -> Vec<Expr> {
        let at = |time: EventTime| lit(ScalarValue::TimestampMicrosecond(Some(time.micros()), Some("UTC".into())));
        let since = self.search.since.map(|time| column(column_name).gt_eq(at(time)));
        let until = self.search.until.map(|time| column(column_name).lt(at(time)));
        since.into_iter().chain(until).collect()
    }
}

/// `filter` over rows of `schema`.
fn physical(session: &dyn Session, filter: Expr, schema: &SchemaRef) -> Result<Arc<dyn PhysicalExpr>> {
    session.create_physical_expr(filter, &DFSchema::try_from(schema.as_ref().clone())?)
}

/// A column by its exact name.
fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// The rows for which an enabled rule can fire; none where that may be any.
fn restriction(rules: &RuleSet) -> Option<Expr> {
    let all = rules.restrictions();
    if all.len() > PUSHED_RULES_MAX {
        return types(&rules.events());
    }
    let of_rule = |rule: &Restriction| {
        let texts = rule.texts.iter().map(|text| {
            let values = || text.values.iter().map(|value| lit(value.as_str())).collect::<Vec<_>>();
            column(text.column).in_list(values(), text.is_negated)
        });
        conjunction(types(&rule.events).into_iter().chain(texts))
    };
    // One rule that may fire for any row makes all of them be read.
    disjunction(all.iter().map(of_rule).collect::<Option<Vec<_>>>()?)
}

fn types(events: &bodkin_rules::EventSet) -> Option<Expr> {
    let names = |names: Vec<&'static str>| names.into_iter().map(lit).collect::<Vec<_>>();
    match events.names_or_others() {
        Ok(of) if of.is_empty() => Some(lit(false)),
        Ok(of) => Some(column(events::EVT_TYPE).in_list(names(of), false)),
        Err(not) if not.is_empty() => None,
        Err(not) => Some(column(events::EVT_TYPE).in_list(names(not), true)),
    }
}

fn is_about_time(filter: &Expr) -> bool {
    filter.column_refs().iter().all(|column| column.name == findings::TS)
}

/// The filter without the name of the table that it was written for.
fn unqualified(filter: &Expr) -> Result<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let bare = filter.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(found) => Transformed::yes(column(&found.name)),
            other => Transformed::no(other),
        })
    })?;
    Ok(bare.data)
}

#[async_trait]
impl TableProvider for DetectTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    /// A finding has the time of its event.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushed = |filter: &&Expr| match is_about_time(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushed).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rules = &self.search.rules;
        let times =
            filters.iter().filter(|filter| is_about_time(filter)).map(unqualified).collect::<Result<Vec<_>>>()?;
        let finder = |stream| Finder::new(stream, &self.search, &self.schema, projection);
        let mut inputs = Vec::new();
        if rules.has_rules(Source::Syscall) {
            let times = self.time_filters(events::TS).into_iter().chain(times.clone()).collect();
            inputs.extend(self.scan_events(times, session, &finder(Stream::Events)?).await?);
        }
        if Source::ALL.iter().any(|source| *source != Source::Syscall && rules.has_rules(*source)) {
            let filters = self.time_filters(audit::TS).into_iter().chain(times).collect();
            let table = self.view.snapshot.table(Stream::Audit).clone();
            let columns = [audit::SOURCE, audit::RAW];
            inputs.push(self.scan_rows(table, &columns, filters, finder(Stream::Audit)?).await?);
        }
        match inputs.len() {
            0 => {
                let schema = match projection {
                    Some(projection) => Arc::new(self.schema.project(projection)?),
                    None => self.schema.clone(),
                };
                Ok(Arc::new(EmptyExec::new(schema)))
            }
            1 => Ok(inputs.remove(0)),
            _ => UnionExec::try_new(inputs),
        }
    }
}
