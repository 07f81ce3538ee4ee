//! What every query runs in: one runtime for all, one session state for each.

use crate::bounded::bound_functions;
use crate::catalog::Catalog;
use crate::compact::CompactForMerges;
use crate::detect::DetectFunction;
use crate::dictionary::{GroupByIds, GroupByPlace, MarkRows};
use crate::first_rows::KeepFirstRows;
use crate::gathered::count_gathered;
use crate::intervals::FixedIntervals;
use crate::json::json_functions;
use crate::lagged::{LagByBatch, MarkLag};
use crate::memory::QueryMemory;
use crate::minutes::TimesToTheMinute;
use crate::names::PublicSchema;
use crate::options::QueryOptions;
use crate::ordered::ReadInOrder;
use crate::percentile::exact_percentiles;
use crate::sketch::sketch_functions;
use crate::spill::written_early;
use crate::stream_table::QueryView;
use crate::version::VersionFunction;
use bodkin_window::functions::hop_rule;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider,
};
use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// The catalog of all tables in SQL.
pub(crate) const CATALOG: &str = "bodkin";
/// Their schema.
pub(crate) const SCHEMA: &str = "public";

/// How many holders of memory an error about memory names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("invariant: three is not zero");

/// Where the runtime finds the store of the tables. SQL has no way to name it.
pub(crate) fn store_url() -> ObjectStoreUrl {
    ObjectStoreUrl::parse("bodkin://tables").expect("invariant: a constant URL without a path")
}

/// Memory, spill space and footers that all queries share.
pub(crate) fn runtime(options: &QueryOptions, store: Arc<dyn ObjectStore>) -> Result<Arc<RuntimeEnv>> {
    let mode = match &options.spill_dir {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(options.spill_bytes_max);
    let pool = TrackConsumersPool::new(QueryMemory::new(options.memory_bytes_max), CONSUMERS_NAMED);
    let runtime = RuntimeEnvBuilder::new()
        .with_disk_manager_builder(written_early(disk)?)
        .with_memory_pool(Arc::new(pool))
        .with_metadata_cache_limit(options.metadata_bytes_max)
        .build_arc()?;
    runtime.register_object_store(store_url().as_ref(), store);
    Ok(runtime)
}

/// The state that every query's state is made from.
pub(crate) fn base_state(options: &QueryOptions, runtime: Arc<RuntimeEnv>) -> Result<SessionState> {
    let builder = SessionStateBuilder::new_with_default_features();
    let builder = builder.with_physical_optimizer_rules(physical_rules()).with_analyzer_rule(hop_rule());
    let builder = builder.with_analyzer_rule(Arc::new(TimesToTheMinute));
    let builder = builder.with_optimizer_rule(Arc::new(FixedIntervals)).with_optimizer_rule(Arc::new(GroupByIds));
    let builder = builder.with_optimizer_rule(Arc::new(MarkLag));
    let mut state = builder.with_config(config(options)).with_runtime_env(runtime).build();
    bound_functions(&mut state)?;
    json_functions(&mut state)?;
    exact_percentiles(&mut state)?;
    sketch_functions(&mut state)?;
    count_gathered(&mut state)?;
    for function in bodkin_window::functions::functions() {
        state.register_udf(function)?;
    }
    Ok(state)
}

/// The planner's rules, with ours in front of those that insert sorts.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let at = rules.iter().position(|rule| rule.name() == "EnsureRequirements").unwrap_or_default();
    rules.insert(at, Arc::new(ReadInOrder));
    let last = rules.iter().position(|rule| rule.name() == "SanityCheckPlan").unwrap_or(rules.len());
    rules.splice(
        last..last,
        [
            Arc::new(MarkRows) as Arc<dyn PhysicalOptimizerRule + Send + Sync>,
            Arc::new(GroupByPlace),
            Arc::new(LagByBatch),
            Arc::new(CompactForMerges),
            Arc::new(KeepFirstRows),
        ],
    );
    rules
}

fn config(options: &QueryOptions) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(options.cores.max(1));
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".to_owned());
    options.execution.parquet.pushdown_filters = true;
    // The order of conditions is ours: see `dictionary`.
    options.execution.parquet.reorder_filters = false;
    options.execution.parquet.enable_page_index = true;
    options.execution.parquet.bloom_filter_on_read = true;
    options.execution.parquet.schema_force_view_types = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    // Rows that come in order stay in it where they are spread over cores by hash: a merge costs less than a sort.
    options.optimizer.prefer_existing_sort = true;
    // The default buffers up to 1 GiB beside the memory pool.
    options.execution.sort_pushdown_buffer_capacity = 64 << 20;
    config
}

/// The state of one query: the tables of `view` and nothing else.
pub(crate) fn query_state(
    base: &SessionState,
    catalog: Arc<dyn Catalog>,
    view: QueryView,
    options: &QueryOptions,
) -> Result<SessionState> {
    let streams = with_schema(base, Arc::new(PublicSchema::streams(view.clone())))?;
    let public = PublicSchema::public(view.clone(), streams.clone(), options.windows.clone());
    let mut state = with_schema(base, Arc::new(public))?;
    // The value of now(): one for the whole query.
    state.mark_start_execution();
    let (rules, clock) = (options.rules.clone(), options.clock.clone());
    let detect = DetectFunction { catalog: rules, view: view.clone(), state: streams, clock };
    state.register_udtf(DetectFunction::NAME, Arc::new(detect));
    state.register_udtf("snapshot", Arc::new(VersionFunction::new(catalog, view)));
    Ok(state)
}

fn with_schema(base: &SessionState, schema: Arc<dyn SchemaProvider>) -> Result<SessionState> {
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, schema)?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    // A builder would register every function again, which takes longer than planning a small query.
    let mut state = base.clone();
    state.register_catalog_list(Arc::new(catalogs));
    Ok(state)
}
