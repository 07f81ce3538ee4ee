//! Prometheus's test scripts.

pub(crate) mod nhcb;
pub(crate) mod notation;
pub(crate) mod parse;
pub(crate) mod run;
