//! Kernel programs of the agent and the layout of their events.
//!
//! The programs are C with CO-RE (one object for every kernel with BTF), compiled by clang in `build.rs` and embedded
//! as [`OBJECT`]. This crate holds the bytes, the layout and the decoder; loading and reading rings is the collector's.

pub mod event;
pub use event::{Body, Event, Head};
