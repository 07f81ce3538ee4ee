//! SQL over the tail and the tables.
//!
//! [`QueryEngine`] plans and runs one text at a time on behalf of a [`Principal`](bodkin_schema::Principal) and answers
//! with a stream of plain Arrow batches. Where rows come from is hidden behind [`Catalog`]. The crate deliberately
//! writes nothing, speaks no protocol (`bodkin-flight`, `bodkin-http`) and shows no type of the planner to its callers.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # async fn example(catalog: Arc<dyn bodkin_query::Catalog>) -> Result<(), bodkin_query::QueryError> {
//! use bodkin_query::{QueryEngine, QueryOptions};
//! use bodkin_schema::Principal;
//!
//! let engine = QueryEngine::new(catalog, QueryOptions::default())?;
//! let text = "SELECT comm, count(*) AS n FROM processes GROUP BY comm ORDER BY n DESC LIMIT 10";
//! let answer = engine.sql(&Principal::default(), text).await?;
//! let stats = answer.stats.clone();
//! for batch in answer.collect().await? {
//!     assert_eq!(batch.num_columns(), 2);
//! }
//! assert!(stats.report().rows <= 10);
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`engine`] | [`QueryEngine`]: parse, plan, run |
//! | [`catalog`] | [`Catalog`]: snapshots of the tables, given by the process |
//! | [`options`] | [`QueryOptions`]: bounds |
//! | [`answer`] | [`Answer`]: schema, stream under limits, statistics |
//! | [`error`] | [`QueryError`] and its caret form |
//! | `parse`, `depth` | one statement that only reads and does not nest too deep |
//! | `known_plans` | plans of texts that were asked before |
//! | `same_names` | columns of one name in one SELECT |
//! | `session`, `names`, `views`, `version` | what SQL sees: runtime, tables, views, `snapshot(...)` |
//! | `stream_table`, `files`, `tail`, `prune` | the scan: files of the tenant, left out by bounds; the tail made plain |
//! | `detect` | `detect(...)` and [`QueryEngine::detect`]: rules over history |
//! | `ordered`, `run_chain` | sorted runs merged where a query wants their order |
//! | `dictionary` | texts as numbers where files have dictionaries: expressions per value, groups by number |
//! | `few_rows` | which queries one core answers best |
//! | `first_rows` | rows of a batch that can be among the first ones of an order |
//! | `lagged` | what came some rows before, a batch at a time |
//! | `distinct` | distinct values of each group |
//! | `percentile`, `sketch`, `intervals`, `minutes` | exact percentiles; quantiles of sketches of tiers; intervals of a fixed length as durations; times to the minute |
//! | `mapped` | a step of a plan that makes other rows of its input: `detect`, `windows` |
//! | `metered`, `at_hand`, `observe` | bytes read, bounded, of memory where they are there; queries that have ended, told |
//! | [`rollup_table`] | the table functions `rollup(...)` and `flow_rollup(...)`, and who answers them |
//! | [`promql_table`] | the table function `promql(...)` and who answers it |
//! | [`windows`] | window operators as tables; `tumble` and `hop` |
//! | `json`, `arrows` | values at a path of JSON in texts; how tightly `->` binds |
//! | `memory`, `spill` | what queries may hold, and the files of what they may not |
//! | `compact` | sorted texts hold only themselves before they are merged |
//! | `bounded` | functions that could make more than memory holds |
//! | `threads` | queries on threads of their own |
//! | `stop` | ends operators that work long without giving way |
//! | `explain`, `hint` | the planner's errors in words for the asker |
//! | `plain` | types that every client can read |

pub mod answer;
mod arrows;
mod asked_table;
mod at_hand;
mod bounded;
pub mod catalog;
mod compact;
mod depth;
pub mod detect;
mod dictionary;
mod distinct;
pub mod engine;
pub mod error;
mod explain;
mod few_rows;
mod files;
mod first_rows;
mod gathered;
mod hint;
mod intervals;
mod json;
mod known_plans;
mod lagged;
mod mapped;
mod memory;
mod metered;
mod minutes;
mod names;
mod observe;
pub mod options;
mod ordered;
mod parse;
mod percentile;
mod plain;
pub mod promql_table;
mod prune;
pub mod rollup_table;
mod run_chain;
mod same_names;
mod session;
mod sketch;
mod spill;
mod stop;
mod stream_table;
mod tail;
mod threads;
mod version;
mod views;
pub mod windows;

pub use answer::{Answer, AnswerStats, AnswerStream, StatsReport};
pub use catalog::{Catalog, CatalogError};
pub use detect::{RuleCatalog, Search};
pub use engine::QueryEngine;
pub use error::{ErrorKind, QueryError};
pub use observe::{EndedQuery, QueryObserver};
pub use options::QueryOptions;
pub use promql_table::{PromqlRange, PromqlSource, promql_schema};
pub use rollup_table::{FlowRollupRequest, RollupRequest, RollupSource, flow_rollup_schema, rollup_schema};
pub use windows::WindowCatalog;
