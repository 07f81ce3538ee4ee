//! Series by labels, their recent samples in memory and their older ones in tables: what PromQL reads.
//!
//! [`MetricStore`] is fed with every durable row of `series`, `samples` and `histograms` before its sender is answered,
//! so that the next query sees it (ACK-2). It deliberately evaluates nothing (`bodkin-promql`), speaks no protocol and
//! writes nothing: what it holds is made again from tables and log at each start.
//!
//! ```
//! use bodkin_metrics::{MetricOptions, MetricStore, Times};
//! use bodkin_promql::{MatchOp, Matcher};
//!
//! let store = MetricStore::new(MetricOptions::default());
//! let up = vec![Matcher::new(MatchOp::Equal, "__name__", "up")?];
//! assert!(store.series(&[up], Times::ALL, 10).is_empty());
//! # Ok::<(), String>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`store`] | [`MetricStore`]: rows in, labels and values out |
//! | [`select`] | [`StoreView`]: the store as the evaluator's `Storage` |
//! | `index`, `postings` | the label index: terms to series, matchers to series |
//! | `head` | recent samples by series, packed, bounded in bytes |
//! | [`cold`] | older samples from files and tail; [`Tables`] |
//! | [`rollup`] | windows of a metric from the rollup ladder, as rows |
//! | `times` | [`Times`]: when a look at series and labels is about |
//! | `tiers` | which stretch is read from which tier; windows from cells |
//! | `file` | a file in the store, for the Parquet reader |
//! | `load` | what a start reads |
//! | `side` | exemplars and metadata |
//! | `columns` | typed columns of the three streams |

pub mod cold;
mod columns;
mod file;
mod head;
mod index;
mod load;
mod postings;
pub mod rollup;
pub mod select;
mod side;
pub mod store;
mod tiers;
mod times;

pub use cold::{ColdError, Tables};
pub use rollup::{RollupAsked, RollupWindow};
pub use select::StoreView;
pub use side::StoredExemplar;
pub use store::{MetricOptions, MetricStore, StoreStats};
pub use times::Times;
