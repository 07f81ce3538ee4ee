//! Rules over history: the rows of `events` and `audit` through a rule set, as rows of `findings`.
//!
//! ```text
//!  detect('rule or file', since => '30d')          RULE-1: the same code that runs live
//!    UnionExec
//!      DetectExec <- scan of events: columns that rules read, their event types, time, simple comparisons
//!      DetectExec <- scan of audit:  time
//! ```
//! What is pushed into the scans leaves out only rows for which no rule can fire: by event type and time, by simple
//! comparisons where there are few rules, by a screen that reads few columns, and by a sieve that reads most (`screen`).

mod exec;
mod function;
mod rules;
mod screen;

pub(crate) use function::DetectFunction;
pub use function::time;
pub use rules::RuleCatalog;

use crate::stream_table::{QueryView, StreamTable, without_metadata};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bodkin_rules::{Matching, Restriction, RuleSet, Source};
use bodkin_schema::{EventTime, Stream, audit, events, findings};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::utils::{conjunction, disjunction};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
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

    async fn scan_stream(
        &self,
        stream: Stream,
        columns: &[&str],
        filters: Vec<Expr>,
        projection: Option<&Vec<usize>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = StreamTable::new(self.view.clone(), self.view.snapshot.table(stream).clone());
        let mut builder = LogicalPlanBuilder::scan(stream.name(), provider_as_source(Arc::new(table)), None)?;
        if let Some(filter) = conjunction(filters) {
            builder = builder.filter(filter)?;
        }
        let plan: LogicalPlan = builder.project(columns.iter().map(|name| column(name)))?.build()?;
        let plan = self.state.optimize(&plan)?;
        let input = self.state.query_planner().create_physical_plan(&plan, &self.state).await?;
        exec::detect(input, stream, &self.search, &self.schema, projection)
    }

    fn time_filters(&self, column_name: &str) -> Vec<Expr> {
        let at = |time: EventTime| lit(ScalarValue::TimestampMicrosecond(Some(time.micros()), Some("UTC".into())));
        let since = self.search.since.map(|time| column(column_name).gt_eq(at(time)));
        let until = self.search.until.map(|time| column(column_name).lt(at(time)));
        since.into_iter().chain(until).collect()
    }
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
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rules = &self.search.rules;
        let times =
            filters.iter().filter(|filter| is_about_time(filter)).map(unqualified).collect::<Result<Vec<_>>>()?;
        let mut inputs = Vec::new();
        if rules.has_rules(Source::Syscall) {
            let registered = Stream::Events.schema();
            let columns = rules.columns().into_iter().filter(|name| registered.field_with_name(name).is_ok());
            let filters = self.time_filters(events::TS).into_iter().chain(restriction(rules)).chain(times.clone());
            let filters = filters.chain(screen::filters(rules));
            let (columns, filters) = (columns.collect::<Vec<_>>(), filters.collect());
            inputs.push(self.scan_stream(Stream::Events, &columns, filters, projection).await?);
        }
        if Source::ALL.iter().any(|source| *source != Source::Syscall && rules.has_rules(*source)) {
            let filters = self.time_filters(audit::TS).into_iter().chain(times).collect();
            let columns = [audit::SOURCE, audit::RAW];
            inputs.push(self.scan_stream(Stream::Audit, &columns, filters, projection).await?);
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
