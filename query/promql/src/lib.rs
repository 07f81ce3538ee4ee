//! PromQL exactly as Prometheus, over columns.
//!
//! For: parsing, printing and evaluating queries over anything that implements [`Storage`]. Not for: storing samples,
//! HTTP, rules. The store finds series and hands their samples over as columns; everything after that happens here.
//!
//! ```
//! use bodkin_promql::{Engine, EngineOptions, QueryOptions, Value};
//! # use bodkin_promql::{Labels, SampleBatch, Select, Selection, Storage, StorageError};
//! # struct Empty;
//! # impl Storage for Empty {
//! #     fn select(&self, _: &Select<'_>) -> Result<Box<dyn Selection>, StorageError> { Ok(Box::new(Empty)) }
//! # }
//! # impl Selection for Empty {
//! #     fn series(&self) -> &[Labels] { &[] }
//! #     fn read(&self, _: std::ops::Range<usize>) -> Result<SampleBatch, StorageError> { Ok(SampleBatch::default()) }
//! # }
//! # let storage = Empty;
//! let engine = Engine::new(EngineOptions::default());
//! let result = engine.instant(&storage, "1 + 2 * 3", 0, &QueryOptions::default())?;
//! assert!(matches!(result.value, Value::Scalar { value: 7.0, .. }));
//! # Ok::<(), bodkin_promql::Error>(())
//! ```
//!
//! # How a query runs
//!
//! ```text
//! text -> parser (lexer, precedence climbing, types) -> ast
//!      -> eval: selectors -> range functions -> elementwise functions     stretches of series, on several threads
//!               -> aggregate                                              folded as they come
//!               -> binary, sort, label, histogram functions               whole matrices
//!      -> value: series with times and values as buffers
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`ast`], `parser` | the syntax tree and how text becomes one |
//! | `print` | trees to text: one line, pretty, JSON |
//! | [`storage`], [`labels`], [`matcher`], `regexp` | what a store is asked, and in what terms |
//! | `eval` | step matrix, selectors, windows, pipelines, subqueries |
//! | `functions`, `aggregate`, `binary` | what is computed |
//! | [`histogram`] | native histograms |
//! | [`control`] | cancellation, deadline, budget |
//! | [`engine`] | the entry points |
//!
//! # Where it differs from Prometheus 3.5
//!
//! `tests/python/random_promql.py` compares thousands of random queries with a 3.5.3 server: values, order, errors,
//! warnings, infos, trees and formats. What is left is on purpose:
//!
//! - what later releases repaired, where no script of 3.5 says otherwise: names of series that went through
//!   `last_over_time` over a subquery, sums of histograms whose rounding cancels, `label_replace` that makes series meet
//!   at different times, and `info` over a range, which remembers labels and series of the steps before;
//! - which of several equal series `topk`, `bottomk`, `limitk` and the text of a matching error name: here the first by
//!   labels, there the oldest;
//! - the last digit of functions that differ between languages, where `count_values` makes a label of it;
//! - buckets without observations, which Prometheus stores or not as chunks happen to be: they show in fractions of a zero
//!   bucket and, times infinity, as NaN;
//! - `format_query` keeps the group of `ignoring () group_left (a)`;
//! - `__type__` decides what is a counter only for series that have it;
//! - `min(a, b)` and `max(a, b)` in durations, as 3.6 to 3.13 spell `min_of` and `max_of`.

pub mod ast;
pub mod control;
pub mod engine;
pub mod error;
pub mod functions;
pub mod histogram;
pub mod labels;
pub mod matcher;
pub mod options;
pub mod position;
pub mod storage;
pub mod text;
pub mod value;

mod aggregate;
mod annotations;
mod binary;
mod eval;
mod math;
mod parser;
mod print;
mod regexp;
mod stack;

pub use control::{CancelToken, Limits, QueryControl};
pub use engine::Engine;
pub use error::{Error, ErrorKind, StorageError};
pub use histogram::{BucketSpan, FloatHistogram, ResetHint};
pub use labels::Labels;
pub use matcher::{MatchOp, Matcher};
pub use options::{EngineOptions, Features, QueryOptions, Release};
pub use parser::{format_duration_ms, parse, parse_duration_ms, parse_selector, parse_with};
pub use print::{format_query, parse_query};
pub use regexp::LabelRegex;
pub use storage::{
    FloatColumns, HistogramColumns, SampleBatch, Select, SelectHints, Selection, Storage, WindowSummary, Windows,
};
pub use value::{MatrixSeries, QueryResult, QueryStats, SampleValue, Value, VectorSample};
