//! The ladders over real tables, in memory, with late and repeated samples, compaction and crashes.

// Helpers of tests fail by panic, as tests do.
#![allow(clippy::unwrap_used)]

mod flows;
mod harness;
mod ladder;
