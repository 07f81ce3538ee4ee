//! PromQL against Prometheus's own test scripts, and against what is hostile.

#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it must be")]

mod grammar;
mod hostile;
mod memory;
mod promqltest;
mod script;
mod storage;
