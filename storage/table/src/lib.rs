//! Tables: Delta logs, sorted Parquet files, and the rows that are in neither yet.
//!
//! [`Tables`] is the sink of all streams. Rows are visible to queries from [`write`](bodkin_engine::Sink::write) on:
//! first in the tail, then, once their epoch is committed, in files. A query takes one [`Snapshot`] and sees each
//! row once. This crate deliberately knows nothing of queries (`bodkin-query` reads its snapshots) nor of the
//! write-ahead log (`bodkin-wal` keeps the rows until they are committed).
//!
//! ```
//! use bodkin_engine::{Batch, Sink};
//! use bodkin_schema::{Epoch, Stream, SystemClock};
//! use bodkin_table::Tables;
//! # use std::sync::Arc;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let rows = arrow::record_batch::RecordBatch::new_empty(Stream::Drops.schema());
//!
//! let store = Arc::new(object_store::memory::InMemory::new());
//! let tables = Tables::open(store, "memory:///".parse()?, "node-1", Arc::new(SystemClock::default())).await?;
//! tables.write(Batch::made("drops", rows));
//! tables.seal(Epoch(1));
//! let prepared = tables.prepare(Epoch(1)).await?;
//! tables.commit(Epoch(1), &prepared).await?;
//! assert_eq!(tables.snapshot().table(Stream::Drops).rows(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `tables` | [`Tables`]: the sink |
//! | `snapshot` | [`Snapshot`], [`TableSnapshot`]: what a query sees |
//! | `tail` | [`TailPart`]: rows in memory, small ones merged |
//! | `suffixed` | [`Suffixed`]: columns for values of another type than the registered one |
//! | `align` | rows as they came, brought to the columns of their table |
//! | `sort` | the order of rows by their keys |
//! | `gather` | `Picked`: rows of many batches in a new order |
//! | `encode` | tail parts sorted and cut into files, in memory |
//! | `file_writer` | sorted rows to the bytes of one Parquet file |
//! | `text_ids`, `text_chunk`, `text_numbers`, `text_bounds`, `int_chunk` | the values of a column as numbers into the distinct ones: each is looked at once |
//! | `pages`, `hybrid` | those to the pages of a column chunk |
//! | `writer` | files cut, named and uploaded |
//! | `run` | [`Run`]: files that follow each other in sort order, told by their names |
//! | `plan` | [`plan_compaction`], [`expired`]: what to do, from files and time alone |
//! | `merge`, `compact`, `file_reader` | sorted runs made one |
//! | `stretch` | rows of a stretch of event time, read and replaced; [`Hold`] |
//! | `lease` | that two nodes do not do the same work |
//! | `vacuum` | which objects may be deleted |
//! | `upkeep` | compaction, retention and vacuum of all tables |
//! | `file` | [`PreparedFile`], [`TableFile`]: a file in an intent, in a table |
//! | `stats`, `stats_json` | [`FileStats`]: bounds and null counts; their JSON in the log |
//! | `log` | [`TableLog`]: what is part of a table |
//! | `delta` | [`DeltaLog`]: that on Delta Lake |
//! | `checkpoint`, `checkpoint_writer` | checkpoints of that log, read on all cores and written in bounded memory |
//! | `actions` | the Delta actions of a commit |
//! | `model` | [`ModelLog`]: the contract without Delta, for simulations |
//! | `durable` | [`DurableLocal`]: an object store over a local folder that syncs |
//! | `folder` | the file operations below it |
//! | `node` | [`DataDir`]: format, node id and lock of the data folder |

mod actions;
mod align;
mod blocks;
mod checkpoint;
mod checkpoint_writer;
mod compact;
mod delta;
mod delta_packed;
mod durable;
mod encode;
mod error;
mod file;
mod file_reader;
mod file_writer;
mod folder;
mod gather;
mod hybrid;
mod int_chunk;
mod lease;
mod log;
mod merge;
mod model;
mod node;
mod number_chunk;
mod other_chunk;
mod page_sink;
mod pages;
mod plan;
mod run;
mod snapshot;
mod sort;
mod stats;
mod stats_json;
mod stretch;
mod suffixed;
mod tables;
mod tail;
mod text_bounds;
mod text_chunk;
mod text_ids;
mod text_numbers;
mod upkeep;
mod vacuum;
mod value_chunk;
mod writer;

pub use delta::DeltaLog;
pub use durable::DurableLocal;
pub use error::{Error, Result};
pub use file::{PreparedFile, TableFile};
pub use log::{CommitRequest, Committed, LogState, TableLog};
pub use model::ModelLog;
pub use node::{DataDir, Inspected};
pub use plan::{Job, expired, plan_compaction};
pub use run::{Level, Run, run_of, sorted_runs};
pub use snapshot::{Snapshot, TableSnapshot};
pub use stats::{ColumnStats, FileStats, StatValue, stat_array};
pub use stretch::{Hold, Origin, origin, time_bounds};
pub use suffixed::Suffixed;
pub use tables::{TableStats, Tables};
pub use tail::TailPart;
pub use upkeep::{Retention, UpkeepReport};
pub use vacuum::Removed;

/// Partition column: whose rows they are.
pub const TENANT: &str = "tenant";
/// Partition column: UTC day of ingestion.
pub const DATE: &str = "date";
