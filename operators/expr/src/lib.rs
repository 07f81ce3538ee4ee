//! Stateless expressions over a stream: `sql`, `filter`, `route` and `sample` as operators of the graph.
//!
//! An expression is planned by DataFusion once for each layout of columns that comes by (a text column may be a
//! dictionary in one batch and plain in the next), then evaluated directly on the arrays. What is not a function of the
//! row alone is refused: aggregates, joins, `now()`, `random()` (DET-1). This crate keeps no state and knows no tables.
//!
//! ```
//! use arrow::array::{Int64Array, RecordBatch};
//! use bodkin_engine::{Batch, Operator, run_chain};
//! use bodkin_expr::Filter;
//! # use std::sync::Arc;
//!
//! let records = RecordBatch::try_from_iter([("pid", Arc::new(Int64Array::from(vec![1, 2, 3])) as _)])?;
//! let filter = Filter::new("pid % 2 = 1", &records.schema())?;
//! let mut chain: Vec<Box<dyn Operator>> = vec![Box::new(filter)];
//! let mut rows = 0;
//! run_chain(&mut chain, Batch::made("events", records), &mut |batch| rows += batch.records.num_rows());
//! assert_eq!(rows, 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `plan` | from text to expressions on columns, and what is refused |
//! | `filter` | [`Filter`], and [`route`]: one filter for each way |
//! | `project` | [`Sql`]: SELECT ... FROM input WHERE ... |
//! | `of_stream` | [`OfStream`]: the batches of one stream among several |
//! | `sample` | [`Sample`]: a share of rows, the same at every replay |

mod filter;
mod of_stream;
mod plan;
mod project;
mod sample;

pub use filter::{Filter, route};
pub use of_stream::OfStream;
pub use plan::ExprError;
pub use project::Sql;
pub use sample::Sample;
