//! Bodies of real protocols through a real log.
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod families;
mod harness;
mod messages;
mod otlp;
mod remote_write;
mod text;
