//! The ladder over real tables, in memory, with late and repeated samples, compaction and crashes.

// Helpers of tests fail by panic, as tests do.
#![allow(clippy::unwrap_used)]

mod harness;
mod ladder;
