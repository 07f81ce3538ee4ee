//! The write-ahead log: Arrow IPC frames in segments, durable before they are acknowledged (ACK-1).
//!
//! It writes batches as they came, reads them back past any damage, and holds the decoder that bytes from outside go
//! through first, because what is logged must be readable (SAFE-1). It deliberately does not know what rows mean, which
//! batches are duplicates (`bodkin-ingest`) or when a position is no longer needed (`bodkin-engine`).
//!
//! ```
//! use bodkin_schema::{EventTime, Position};
//! use bodkin_wal::{Entry, Frame, NoteFrame, SegmentReader, SegmentWriter};
//!
//! let dir = tempfile::tempdir()?;
//! let mut writer = SegmentWriter::create(dir.path(), Position(0))?;
//! let note = NoteFrame { ingest_time: EventTime(1), topic: "idle".into(), note: "host/metrics".into() };
//! writer.append(&note.encode()?)?;
//! let (path, end) = (writer.path().to_owned(), writer.close()?);
//!
//! for entry in SegmentReader::open(&path)? {
//!     let Entry::Frame(logged) = entry? else { panic!("damaged") };
//!     assert_eq!(logged.end, end);
//!     assert!(matches!(logged.frame, Frame::Note(read) if read == note));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`ipc`] | [`ipc::encode`], and [`Decoder`]: verify, then decode, hostile messages |
//! | [`frame`] | the bytes of one frame: [`BatchFrame`], [`NoteFrame`], [`SchemaDef`] |
//! | [`segment`] | one file, synchronous: [`SegmentWriter`], [`SegmentReader`]; also the agent's spool |
//! | `log` | [`Wal`]: recovery, group commit, trim, [`Replay`] |

mod error;
pub mod frame;
pub mod ipc;
mod log;
pub mod segment;

pub use error::{Error, Result};
pub use frame::{BatchFrame, EncodedFrame, Frame, NoteFrame, SchemaDef};
pub use ipc::{Compression, Decoder, IpcError, IpcFrame, IpcMessage, Limits};
pub use log::{OnEnd, Recovered, Replay, Slot, Ticket, Turn, Unsent, Wal, WalDriver, WalOptions, WalStats};
pub use segment::{Disk, DiskFile, DiskRead, Entry, Gap, Logged, SegmentReader, SegmentWriter};
