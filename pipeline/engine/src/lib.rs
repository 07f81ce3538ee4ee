//! The dataflow runtime: batches, operators, shards, epochs.
//!
//! Rows come from a [`Source`] that can replay them (the write-ahead log), run through a chain of [`Operator`]s on a
//! [`Shard`], and end in [`Sink`]s. The [`Coordinator`] makes one decision per epoch about all of them: the intent.
//! This crate knows neither files nor tables nor queries; those implement its traits.
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
//! | [`operator`] | [`Operator`], [`Output`]: a chain as nested calls |
//! | [`queue`] | the byte-bounded queue in front of a shard |
//! | [`shard`] | [`Shard`]: one thread that runs the graph; [`Progress`]: how far it has come |
//! | [`ends`] | [`Source`] and [`Sink`]: the durable ends of the graph |
//! | [`intent`] | [`Intent`] and [`IntentStore`]: the decision of an epoch, put if absent |
//! | [`coordinator`] | [`Coordinator`]: barrier, prepare, intent, commit, trim; recovery |

pub mod batch;
pub mod coordinator;
pub mod ends;
pub mod error;
pub mod intent;
pub mod operator;
pub mod queue;
pub mod shard;

pub use batch::{Batch, Message, Origin, TimeRange};
pub use coordinator::{Coordinator, EpochOptions, EpochStats, FlushHandle, FlushRequests, flush_channel};
pub use ends::{Sink, Source};
pub use error::{Error, Result, SinkError};
pub use intent::{Intent, IntentStore, Mark};
pub use operator::{Operator, Output, run_chain};
pub use queue::Queue;
pub use shard::{Progress, Sealed, Shard};
