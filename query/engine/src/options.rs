//! What bounds the queries of one process.

use crate::detect::RuleCatalog;
use crate::observe::QueryObserver;
use crate::promql_table::PromqlSource;
use crate::rollup_table::RollupSource;
use crate::windows::WindowCatalog;
use bodkin_schema::{Clock, SystemClock};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Bounds of the engine. All queries share the memory and the spill space; the other bounds hold for each query.
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// Bytes that sorts, joins and aggregations of all queries may hold; beyond, they spill or fail.
    pub memory_bytes_max: usize,
    /// Bytes of Parquet footers that are kept between queries.
    pub metadata_bytes_max: usize,
    /// Folder for what is spilled; the system's temporary folder where none is given.
    pub spill_dir: Option<PathBuf>,
    /// Bytes that all queries may spill.
    pub spill_bytes_max: u64,
    /// Time from the call to the last row.
    pub timeout: Duration,
    /// Rows of one answer.
    pub rows_max: u64,
    /// Bytes that one query may read from files.
    pub bytes_scanned_max: u64,
    /// Bytes of the text of one query.
    pub text_bytes_max: usize,
    /// Threads that one query is spread over.
    pub cores: usize,
    /// Rows up to which a query is not spread: what it reads of tables, by what is known of them without reading.
    pub few_rows_max: u64,
    /// Where queries are planned and run; on the threads of whoever asks where there is none.
    pub runtime: Option<Handle>,
    /// Time from the call to the last row of a search of rules over history, which reads more than a query.
    pub search_timeout: Duration,
    /// The rules that `detect(...)` may name.
    pub rules: Option<Arc<dyn RuleCatalog>>,
    /// Measures how long queries take.
    pub clock: Arc<dyn Clock>,
    /// Is told of each query that has ended.
    pub observer: Option<Arc<dyn QueryObserver>>,
    /// Answers the table function `promql`; none where there is no running server.
    pub promql: Option<Arc<dyn PromqlSource>>,
    /// Answers the table functions `rollup` and `flow_rollup`; none where there is no running server.
    pub rollup: Option<Arc<dyn RollupSource>>,
    /// The window operators that may be asked for their rows.
    pub windows: Option<Arc<dyn WindowCatalog>>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            memory_bytes_max: 1 << 30,
            metadata_bytes_max: 128 << 20,
            spill_dir: None,
            spill_bytes_max: 16 << 30,
            timeout: Duration::from_secs(60),
            rows_max: 100_000_000,
            bytes_scanned_max: 1 << 40,
            text_bytes_max: 1 << 20,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            few_rows_max: 1 << 17,
            runtime: None,
            search_timeout: Duration::from_secs(3600),
            rules: None,
            clock: Arc::new(SystemClock::default()),
            observer: None,
            promql: None,
            rollup: None,
            windows: None,
        }
    }
}
