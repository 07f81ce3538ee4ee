//! Tags and lookups as further columns of a stream: what a user knows of hosts, addresses, users, containers.
//!
//! A [`Lookup`] is read from CSV or Parquet once. A row's key, exact or an address in a network, and its time, where
//! rows of the lookup are valid for a while only, find one row of the lookup; so a replay finds what was valid then. All
//! columns of a lookup share one array of row numbers as the keys of their dictionaries: 25 of them cost a row no more
//! than one. A [`Dimension`] is the same of what flows: rows of another stream say what is known of a key from their time
//! on. This crate asks no network and watches no files.
//!
//! ```
//! use bodkin_enrich::{Enrich, EnrichConfig};
//! use arrow::array::{ArrayRef, RecordBatch, StringArray};
//! # use std::sync::Arc;
//!
//! let config: EnrichConfig = serde_json::from_str(r#"{"tags": {"env": "prod"}}"#)?;
//! let host: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
//! let rows = RecordBatch::try_from_iter([("host", host)])?;
//! let enrich = Enrich::new(&config, &rows.schema())?;
//! assert_eq!(enrich.rows(&rows)?.column(1).len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | [`EnrichConfig`]: tags and lookups as they stand in the configuration |
//! | [`lookup`] | [`Lookup`]: keys to rows, valid at a time |
//! | `networks` | addresses to the longest network that holds them |
//! | `file` | CSV and Parquet as columns of text |
//! | `operator` | [`Enrich`]: the operator |
//! | `dimension` | [`Dimension`], [`DimensionRows`]: the operators of what another stream says |
//! | `history` | keys to what was known of them, by time |
//! | `told` | values of versions as dictionaries, kept from batch to batch |
//! | `held` | rows that wait for the watermark |
//! | `state` | both as bytes |

pub mod config;
mod dimension;
mod file;
mod held;
mod history;
pub mod lookup;
mod networks;
mod operator;
mod state;
mod told;

pub use config::{DimensionConfig, EnrichConfig, EnrichError, LookupConfig};
pub use dimension::{Dimension, DimensionRows};
pub use lookup::Lookup;
pub use operator::Enrich;
