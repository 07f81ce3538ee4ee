//! Network conversations as rows of `flows`: one row per conversation and interval, with what the interval moved.
//!
//! The kernel side counts from the beginning of a conversation on; [`FlowTable`] remembers what has been told and gives
//! the difference. A connection that ends is told at once, those that last with each round of readings.
//!
//! | module | what it holds |
//! |---|---|
//! | [`table`] | [`FlowTable`]: what has been told |
//! | [`builder`] | [`FlowsBuilder`]: rows |

pub mod builder;
pub mod table;

pub use builder::FlowsBuilder;
pub use table::{FlowTable, Interval};
