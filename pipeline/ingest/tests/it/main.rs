//! Puts over a real gRPC connection.

#![allow(clippy::unwrap_used, reason = "helpers of tests; the lint knows only functions that are tests themselves")]

mod full_disk;
mod harness;
mod mutants;
mod put;
mod replay;
