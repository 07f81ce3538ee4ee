//! Integration tests of the log and of the IPC decoder.

#![allow(clippy::unwrap_used, reason = "helpers of tests; the lint knows only functions that are tests themselves")]

mod full_disk;
mod kill;
mod mutants;
mod order;
mod rows;
mod valid;
