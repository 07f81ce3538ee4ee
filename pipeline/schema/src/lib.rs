//! What every row of Bodkin looks like: the Arrow schema of each stream, its ids and its time.
//!
//! This crate is the only place where a column is named or typed. It deliberately knows nothing of batches in
//! motion (`bodkin-engine`), of files (`bodkin-table`) or of queries; of Arrow it uses the schema types alone.
//!
//! ```
//! use bodkin_schema::{Stream, events};
//!
//! let schema = Stream::Events.schema();
//! assert_eq!(Stream::Events.sort_columns(), [events::CONTAINER_ID, events::TS]);
//! assert!(schema.field_with_name(events::PID).is_ok());
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`stream`] | [`Stream`]: the built-in streams with schema, sort order and shedding class |
//! | [`events`], [`findings`], [`audit`], [`metrics`], [`drops`], [`queries`], [`flows`], [`dataflow`], [`rollup`], [`flow_rollup`] | column names and field definitions of each stream |
//! | [`ids`] | newtypes: [`Seq`], [`Incarnation`], [`Producer`], [`Lane`], [`Epoch`], [`Position`], [`Tenant`] |
//! | [`labels`] | canonical labels and [`SeriesId`] |
//! | [`time`] | [`EventTime`] and the [`Clock`] that every reader of time is given |
//! | [`compat`] | structural comparison of a foreign schema with a registered one |
//! | [`suffix`] | [`Fit`], [`Kind`]: where values of another type than the registered one are kept |

pub mod audit;
pub mod compat;
pub mod dataflow;
pub mod drops;
pub mod events;
mod field;
pub mod findings;
pub mod flow_rollup;
pub mod flows;
pub mod ids;
pub mod labels;
pub mod metrics;
pub mod queries;
pub mod rollup;
pub mod stream;
pub mod suffix;
pub mod time;

pub use compat::{Mismatch, check_columns, check_compatible, fingerprint};
pub use field::COMMENT;
pub use ids::{Epoch, Incarnation, Lane, Position, Principal, Producer, Seq, Tenant};
pub use labels::{MetricId, SeriesId};
pub use stream::{Class, Stream};
pub use suffix::{Fit, Kind, fit, suffixed_column};
pub use time::{Clock, EventTime, SystemClock};
