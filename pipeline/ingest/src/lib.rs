//! Takes rows from senders over Flight `DoPut` and answers when they are durable.
//!
//! Each batch is verified, decoded, written to the log as it came, synced, handed to a [`Downstream`] and only then
//! acknowledged; a batch that is sent again is recognized by its lane and number and stored once. This crate does not
//! listen (the server is wired where the listener is), does not query, and keeps nothing but the marks of its lanes.
//!
//! ```no_run
//! use bodkin_ingest::{Downstream, IngestLimits, IngestService, IngestedBatch};
//! use bodkin_schema::{Position, SystemClock};
//! use bodkin_wal::{Wal, WalOptions};
//! use std::{path::Path, sync::Arc};
//!
//! struct Shard;
//! impl Downstream for Shard {
//!     fn push(&self, batch: IngestedBatch) {
//!         assert!(batch.records.num_rows() > 0);
//!     }
//! }
//!
//! let clock = Arc::new(SystemClock::default());
//! let wal = Arc::new(Wal::open(Path::new("wal"), WalOptions::default(), clock.clone())?);
//! let service = IngestService::new(wal, clock, IngestLimits::default(), Arc::new(Shard));
//! service.replay(Position(0), [])?;
//! # Ok::<(), bodkin_wal::Error>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`put`] | [`do_put`]: the gRPC side of one put, its metadata and its answers |
//! | `session` | the messages of one put: schema, dictionaries, batches |
//! | [`local`] | [`LocalProducer`], [`PlacedProducer`]: rows that this process made, or read from a log elsewhere |
//! | [`lanes`] | [`Lanes`]: what is durable or pending in each lane (ONCE-1) |
//! | `conform`, `retype` | rows as they were sent to rows as the stream has them; values of one type as another |
//! | [`service`] | [`IngestService`], its limits, and the [`Downstream`] it hands rows to |
//! | [`replay`] | recovered frames through the same hand-over |
//! | `refusal`, `stats` | [`Refusal`] with its gRPC status; [`IngestStats`] |

mod conform;
pub mod lanes;
pub mod local;
pub mod put;
mod refusal;
pub mod replay;
mod retype;
pub mod service;
mod session;
mod stats;

pub use lanes::{LaneKey, LaneMark, Lanes, Sent};
pub use local::{LocalProducer, PlacedProducer};
pub use put::{PutAck, PutMetadata, PutStream, do_put, flight_put, put_parts};
pub use refusal::Refusal;
pub use replay::{Quarantined, ReplayReport, read_log};
pub use service::{Downstream, IngestLimits, IngestService, IngestedBatch};
pub use stats::IngestStats;
