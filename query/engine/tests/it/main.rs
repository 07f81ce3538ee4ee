//! Queries over real tables: a tail, Parquet files, and both.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop where something is wrong, as tests do")]

mod detect;
mod detect_files;
mod errors;
mod fixture;
mod isolation;
mod limits;
mod names;
mod ordered;
mod plans;
mod scan;
mod suffixed;
