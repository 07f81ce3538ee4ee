//! The tables as the engine and queries use them: through the sink, over stores that fail.

// Helpers of tests fail by panic, as tests do.
#![allow(clippy::unwrap_used)]

mod conformance;
mod faults;
mod flow;
mod rows;
mod store;
mod suffixed;
mod upkeep;
