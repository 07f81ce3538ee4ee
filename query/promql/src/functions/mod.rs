//! The functions of the language: what they take, and how they compute.

pub(crate) mod absent;
pub(crate) mod changes;
pub(crate) mod classic;
pub(crate) mod elementwise;
pub(crate) mod extended;
pub(crate) mod histogram;
pub(crate) mod info;
pub(crate) mod label;
pub(crate) mod math;
pub(crate) mod over_time;
pub(crate) mod over_time_histogram;
pub(crate) mod range;
pub(crate) mod rate;
pub(crate) mod rate_histogram;
pub(crate) mod regression;
pub(crate) mod sort;
mod summary;
mod table;
pub(crate) mod time;

pub use table::{Function, lookup};
