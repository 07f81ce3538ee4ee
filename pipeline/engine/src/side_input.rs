//! Side inputs: rules, metadata, configuration. Small, rarely changed, and the same on every shard.
//!
//! A value is logged before it counts and applied at its place in the log, so that a replay repeats which rows saw which
//! value (DET-1). The newest value of each name is part of every intent; an operator is given it before any row.

use bodkin_schema::Position;
use std::sync::Arc;

/// What the topic of a note in the log begins with where it holds a side input.
pub const SIDE_TOPIC: &str = "side/";

/// One value of a side input. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct SideInput {
    /// Its name, as operators ask for it.
    pub name: Arc<str>,
    /// The value.
    pub value: Arc<serde_json::Value>,
    /// The place in the log from which it counts.
    pub position: Position,
}
