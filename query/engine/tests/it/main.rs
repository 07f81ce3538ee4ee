//! Queries over real tables: a tail, Parquet files, and both.

mod errors;
mod fixture;
mod isolation;
mod limits;
mod names;
mod scan;
