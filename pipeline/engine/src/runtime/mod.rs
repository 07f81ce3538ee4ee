//! Runs a graph: the inlet in front, shards behind it, exchanges between them.
//!
//! ```text
//!             +-- queue --> shard 0: level 0 --+-- exchange --> level 1 --> sinks
//!  log -> inlet                                X
//!             +-- queue --> shard 1: level 0 --+-- exchange --> level 1 --> sinks
//! ```
//! | module | what it holds |
//! |---|---|
//! | `inlet` | [`Inlet`]: the one place where rows, notes and barriers get their order |
//! | `shard` | [`ShardCore`]: one shard as a state machine that never blocks |
//! | `level` | one level of it: inputs, alignment, nodes |
//! | `engine` | [`Engine`]: shards on threads; reload, status |
//! | `stats` | figures per node |
//! | `tap` | live rows of a node |

mod engine;
mod inlet;
mod level;
mod shard;
mod stats;
mod tap;

pub use engine::{Engine, EngineOptions, Recovered};
pub use inlet::{Cut, Inlet};
pub use shard::{Progress, Report, Sealed, ShardCore, Step};
pub use stats::Figures;
pub use tap::{Tap, TapError};

/// The state of one operator in one key group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorState {
    /// Name of the operator's node.
    pub operator: String,
    /// The group.
    pub group: crate::KeyGroup,
    /// What the operator gave.
    pub state: bytes::Bytes,
}
