//! Tests of the engine as a whole.
#![allow(clippy::unwrap_used, reason = "helpers of tests stop where something is wrong, as tests do")]

mod epochs;
mod graph;
mod mutants;
