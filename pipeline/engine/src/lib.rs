//! The dataflow runtime: batches, operators, shards, epochs.
//!
//! Rows come from a [`Source`] that can replay them (the write-ahead log) through the [`Inlet`], run through the
//! [`Operator`]s of a [`Graph`] on several shards, and end in [`Sink`]s. The [`Coordinator`] makes one decision per epoch
//! about all of them: the intent. This crate knows neither files nor tables nor queries; those implement its traits.
//!
//! ```
//! use bodkin_engine::{Batch, Operator, Output, run_chain};
//!
//! /// Lets batches through that have rows.
//! struct NonEmpty;
//! impl Operator for NonEmpty {
//!     fn name(&self) -> &str { "non_empty" }
//!     fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
//!         if batch.records.num_rows() > 0 { out.emit(batch) }
//!     }
//! }
//! let mut chain: Vec<Box<dyn Operator>> = vec![Box::new(NonEmpty)];
//! let mut seen = 0;
//! let empty = arrow::record_batch::RecordBatch::new_empty(bodkin_schema::Stream::Drops.schema());
//! run_chain(&mut chain, Batch::made("drops", empty), &mut |_| seen += 1);
//! assert_eq!(seen, 0);
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`batch`] | [`Batch`], [`Message`]: what flows |
//! | `absent` | [`absent_column`]: columns that did not come |
//! | [`operator`] | [`Operator`], [`Output`]: one step, as nested calls |
//! | [`graph`] | [`Graph`]: which operators read what and store where; pictures of it |
//! | [`runtime`] | [`Engine`], [`Inlet`], [`ShardCore`]: the graph on threads, or step by step |
//! | [`key_group`] | [`KeyGroup`]: how rows and state are spread over shards |
//! | [`watermark`] | how far event time has come |
//! | [`side_input`] | [`SideInput`]: rules, metadata, configuration |
//! | [`queue`], [`signal`] | byte-bounded queues, and what wakes their ends |
//! | [`budget`] | [`Budget`], [`Permit`]: one account of memory |
//! | [`ends`] | [`Source`] and [`Sink`]: the durable ends of the graph |
//! | [`outbox`] | [`Outbox`]: what leaves the system before its epoch ends |
//! | [`intent`] | [`Intent`] and [`IntentStore`]: the decision of an epoch, put if absent |
//! | `state` | states of operators as objects |
//! | [`coordinator`] | [`Coordinator`]: barrier, prepare, intent, commit, trim; recovery |
//! | [`timer`] | [`Timer`]: waiting as an argument |

mod absent;
pub mod batch;
pub mod budget;
pub mod coordinator;
pub mod ends;
pub mod error;
pub mod graph;
pub mod intent;
pub mod key_group;
pub mod operator;
pub mod outbox;
pub mod queue;
pub mod runtime;
pub mod side_input;
pub mod signal;
mod state;
pub mod timer;
pub mod watermark;

pub use absent::absent_column;
pub use batch::{Batch, Message, Origin, TimeRange};
pub use budget::{Budget, Permit};
pub use coordinator::{Coordinator, EpochOptions, EpochStats, FlushHandle, FlushRequests, Run, Time, flush_channel};
pub use ends::{Sink, Source};
pub use error::{Error, Result, SinkError, causes};
pub use graph::{Graph, GraphError, GraphStatus, MakeOperator, NodeKind, NodeStatus, OperatorSpec};
pub use intent::{Intent, IntentStore, Mark};
pub use key_group::{KEY_GROUPS, KeyGroup, key_groups};
pub use operator::{Operator, Output, RestoreError, run_chain};
pub use outbox::{Channel, ChannelError, Delivery, EndLog, Ended, Outbox, OutboxOptions};
pub use queue::Queue;
pub use runtime::{
    Cut, Engine, EngineOptions, Inlet, OperatorState, Progress, Recovered, Report, Sealed, ShardCore, Step,
};
pub use runtime::{Tap, TapError};
pub use side_input::{SIDE_TOPIC, SideInput};
pub use signal::Signal;
pub use timer::{Timer, TokioTimer};
pub use watermark::{WATERMARK_TOPIC, WatermarkNote, WatermarkOptions};
