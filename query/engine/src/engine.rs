//! The engine: text in, answer out.

use crate::answer::{Answer, AnswerStats, Limits, Record, ScanCounters, guarded, timed_out};
use crate::catalog::Catalog;
use crate::depth::on_deep_stack;
use crate::detect::{DetectTable, Search};
use crate::error::{ErrorKind, QueryError};
use crate::few_rows::reads_few_rows;
use crate::known_plans::{Known, KnownPlans};
use crate::options::QueryOptions;
use crate::parse::parse;
use crate::plain::plain_schema;
use crate::promql_table::PromqlFunction;
use crate::rollup_table::{FlowRollupFunction, RollupFunction};
use crate::same_names::Renamed;
use crate::session::{base_state, query_state, runtime, store_url};
use crate::stop::{Stop, stoppable};
use crate::stream_table::QueryView;
use crate::threads::{self, Rows};
use arrow::datatypes::SchemaRef;
use bodkin_schema::Principal;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::execute_stream;
use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Answers SQL over one catalog. Shared by all listeners of a process.
pub struct QueryEngine {
    planner: Arc<Planner>,
}

/// What a text is planned with.
struct Planner {
    catalog: Arc<dyn Catalog>,
    folder: Option<Arc<Path>>,
    options: QueryOptions,
    base: SessionState,
    known: KnownPlans,
}

impl fmt::Debug for QueryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryEngine").field("options", &self.planner.options).finish_non_exhaustive()
    }
}

/// A query that was planned and not run.
struct Planned {
    state: SessionState,
    /// Optimized.
    plan: LogicalPlan,
    /// Columns that are called otherwise in the answer.
    renamed: Renamed,
    view: QueryView,
}

/// A query that runs.
struct Running {
    schema: SchemaRef,
    rows: Rows,
    view: QueryView,
}

/// A query that runs, and what ends it.
struct Started {
    running: Running,
    limits: Limits,
}

impl QueryEngine {
    /// An engine over `catalog` within `options`.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where the spill folder cannot be used.
    pub fn new(catalog: Arc<dyn Catalog>, options: QueryOptions) -> Result<Self, QueryError> {
        let runtime = runtime(&options, catalog.store());
        let base = runtime.and_then(|runtime| base_state(&options, runtime)).map_err(QueryError::from_execution)?;
        let folder = catalog.folder().map(Arc::from);
        Ok(Self { planner: Arc::new(Planner { catalog, folder, options, base, known: KnownPlans::default() }) })
    }

    /// Answers `text` on behalf of `principal`: sees only the rows of its tenant (ISO-1), every row that was
    /// acknowledged before the call (ACK-2), and all tables at one moment (TAIL-1). Only queries, EXPLAIN, SHOW and
    /// DESCRIBE run. Dropping the future or the answer's stream cancels the query.
    ///
    /// # Errors
    /// Everything that can be said before the first row; later errors come in the stream.
    pub async fn sql(&self, principal: &Principal, text: &str) -> Result<Answer, QueryError> {
        let counters = self.counters();
        let planning = self.planner.clone().plan(principal.clone(), text.to_owned(), counters.clone()).boxed();
        self.answer(principal, text, self.options().timeout, counters, planning).await
    }

    /// Runs rules over the rows of `principal`'s tenant: rows of `findings`, the same as those that the rules made
    /// when the rows came (RULE-1). Dropping the future or the answer's stream cancels the search.
    ///
    /// # Errors
    /// As [`Self::sql`].
    pub async fn detect(&self, principal: &Principal, search: Search) -> Result<Answer, QueryError> {
        let counters = self.counters();
        let planning = self.planner.clone().plan_search(principal.clone(), search, counters.clone()).boxed();
        self.answer(principal, "", self.options().search_timeout, counters, planning).await
    }

    fn options(&self) -> &QueryOptions {
        &self.planner.options
    }

    fn counters(&self) -> Arc<ScanCounters> {
        Arc::new(ScanCounters::new(self.options().bytes_scanned_max))
    }

    async fn answer(
        &self,
        principal: &Principal,
        text: &str,
        timeout: Duration,
        counters: Arc<ScanCounters>,
        planning: BoxFuture<'static, Result<Planned, QueryError>>,
    ) -> Result<Answer, QueryError> {
        let clock = &self.options().clock;
        let stats = AnswerStats::new(counters, clock.clone(), clock.monotonic());
        let record = Record {
            started: clock.now(),
            principal: principal.clone(),
            text: text.to_owned(),
            observer: self.options().observer.clone(),
        };
        match self.start(text, timeout, planning).await {
            Ok(Started { running, limits }) => {
                let Running { schema, rows, view } = running;
                Ok(guarded(rows, schema, limits, stats, record, view))
            }
            Err(error) => {
                record.end(stats.report(), Some(error.message.clone()));
                Err(error)
            }
        }
    }

    /// Everything up to the first row.
    async fn start(
        &self,
        text: &str,
        timeout: Duration,
        planning: BoxFuture<'static, Result<Planned, QueryError>>,
    ) -> Result<Started, QueryError> {
        let started = self.options().clock.monotonic();
        let mut deadline = Box::pin(tokio::time::sleep(timeout));
        let clock = self.options().clock.clone();
        let stop = Arc::new(Stop { clock, started, timeout, is_dropped: false.into() });
        let runtime = self.options().runtime.clone();
        let running = fenced(run(text.to_owned(), planning, stop.clone(), runtime.clone()));
        let running = pin!(threads::run(runtime.as_ref(), running));
        let running = match select(running, &mut deadline).await {
            Either::Left((running, _)) => running?,
            Either::Right(_) => return Err(timed_out(timeout)),
        };
        Ok(Started { running, limits: Limits { deadline, stop: stop.clone(), rows_max: self.options().rows_max } })
    }

    /// The columns that [`Self::sql`] would answer. Plans the query and does not run it.
    ///
    /// # Errors
    /// As [`Self::sql`].
    pub async fn describe(&self, principal: &Principal, text: &str) -> Result<SchemaRef, QueryError> {
        let timeout = self.options().timeout;
        let planning = self.planner.clone().plan(principal.clone(), text.to_owned(), self.counters());
        let planning = threads::run(self.options().runtime.as_ref(), fenced(planning));
        let planned = tokio::time::timeout(timeout, planning).await;
        let planned = planned.unwrap_or_else(|_| Err(timed_out(timeout)))?;
        Ok(plain_schema(planned.plan.schema().as_arrow(), &planned.renamed))
    }

    /// Bytes that running queries have reserved.
    pub fn memory_used(&self) -> usize {
        self.planner.base.runtime_env().memory_pool.reserved()
    }
}

/// Plans with `planning` and starts to run the plan of `text`.
async fn run(
    text: String,
    planning: BoxFuture<'static, Result<Planned, QueryError>>,
    stop: Arc<Stop>,
    runtime: Option<Handle>,
) -> Result<Running, QueryError> {
    let Planned { state, plan: logical, renamed, view } = planning.await?;
    let plan = state.query_planner().create_physical_plan(&logical, &state).await;
    let plan = plan.and_then(|plan| stoppable(plan, &stop));
    let plan = plan.map_err(|error| QueryError::from_planning(&error, &text))?;
    let rows = execute_stream(plan, state.task_ctx()).map_err(QueryError::from_execution)?;
    let rows = threads::rows(runtime.as_ref(), rows);
    Ok(Running { schema: plain_schema(logical.schema().as_arrow(), &renamed), rows, view })
}

impl Planner {
    async fn plan(
        self: Arc<Self>,
        principal: Principal,
        text: String,
        counters: Arc<ScanCounters>,
    ) -> Result<Planned, QueryError> {
        let text = text.as_str();
        if text.len() > self.options.text_bytes_max {
            let message =
                format!("the query has {} bytes, at most {} are read", text.len(), self.options.text_bytes_max);
            return Err(QueryError::new(ErrorKind::Limit, message));
        }
        let view = self.view(&principal, counters).await?;
        let (mut state, Known { plan, renamed }) = match self.known.get(text, &view) {
            // What it calls is in the plan.
            Some(known) => (self.base.clone(), known),
            None => self.plan_anew(&principal, text, &view).await?,
        };
        let failed = |error| QueryError::from_planning(&error, text);
        if reads_few_rows(&plan, &state, self.options.few_rows_max).map_err(failed)? {
            state.config_mut().options_mut().execution.target_partitions = 1;
        }
        Ok(Planned { state, plan, renamed, view })
    }

    async fn plan_anew(
        &self,
        principal: &Principal,
        text: &str,
        view: &QueryView,
    ) -> Result<(SessionState, Known), QueryError> {
        let (statement, renamed) =
            parse(text, self.base.config_options()).map_err(|failure| QueryError::from_parsing(failure, text))?;
        let failed = |error| QueryError::from_planning(&error, text);
        let mut state = query_state(&self.base, self.catalog.clone(), view.clone(), &self.options).map_err(failed)?;
        let (source, asker) = (self.options.promql.clone(), principal.clone());
        state.register_udtf("promql", Arc::new(PromqlFunction { source, principal: asker }));
        let (source, asker) = (self.options.rollup.clone(), principal.clone());
        state.register_udtf("rollup", Arc::new(RollupFunction { source, principal: asker }));
        let (source, asker) = (self.options.rollup.clone(), principal.clone());
        state.register_udtf("flow_rollup", Arc::new(FlowRollupFunction { source, principal: asker }));
        let planned = state.statement_to_plan(statement).await.map_err(failed)?;
        let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reads.verify_plan(&planned).map_err(failed)?;
        // The analyzer settles the types of columns, so that what is described is what is answered.
        let known = Known { plan: state.optimize(&planned).map_err(failed)?, renamed };
        if let Err(error) = self.known.keep(text, &planned, &known) {
            tracing::debug!(%error, "the plan of a query is not kept");
        }
        Ok((state, known))
    }

    async fn plan_search(
        self: Arc<Self>,
        principal: Principal,
        search: Search,
        counters: Arc<ScanCounters>,
    ) -> Result<Planned, QueryError> {
        let view = self.view(&principal, counters).await?;
        let plan = || -> datafusion::common::Result<_> {
            let state = query_state(&self.base, self.catalog.clone(), view.clone(), &self.options)?;
            let table = DetectTable::new(search, view.clone(), state.clone());
            let plan =
                LogicalPlanBuilder::scan(TableReference::bare("findings"), provider_as_source(Arc::new(table)), None)?
                    .build()?;
            let plan = state.optimize(&plan)?;
            Ok((state, plan))
        };
        let (state, plan) = plan().map_err(|error| QueryError::from_planning(&error, ""))?;
        Ok(Planned { state, plan, renamed: Renamed::new(), view })
    }

    async fn view(&self, principal: &Principal, counters: Arc<ScanCounters>) -> Result<QueryView, QueryError> {
        Ok(QueryView {
            snapshot: self.catalog.snapshot().await?,
            tenant: principal.tenant.clone(),
            store: store_url(),
            folder: self.folder.clone(),
            counters,
            pinned: Arc::default(),
        })
    }
}

/// A panic of the planner on a text from outside is a failed query, not a failed process (SAFE-1).
async fn fenced<T>(planning: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
    AssertUnwindSafe(on_deep_stack(planning)).catch_unwind().await.unwrap_or_else(|_| Err(QueryError::panicked()))
}
