//! Arrow IPC messages: made here, and read back under the assumption that whoever sent them is hostile (SAFE-1).
//!
//! arrow 59 panics on most damaged batch headers and allocates what a damaged length asks for, so nothing from
//! outside reaches it unverified. The order is always: flatbuffer verifier under tight limits, [`verify`](Decoder::verify)
//! of every node and buffer against the schema, then arrow's own decoder (which validates values, offsets, keys and
//! UTF-8 as it builds each array) behind `catch_unwind`.

mod decode;
mod encode;
mod fence;
mod lz4;
mod schema;
mod verify;

pub use decode::{Decoder, MessageKind, body_length, decode, message_kind};
pub use encode::{Encoder, encode, encode_schema};
pub use verify::Extent;

use arrow::buffer::Buffer;
use bytes::Bytes;
use thiserror::Error;

/// The largest alignment of a value: that of 128-bit decimals.
const BODY_ALIGNMENT: usize = 16;

/// One IPC message as it stands on the wire and in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpcMessage {
    /// The flatbuffer `Message`, without length prefix.
    pub header: Bytes,
    /// The buffers that it describes; empty for a schema.
    pub body: Bytes,
}

impl IpcMessage {
    /// Bytes of header and body.
    pub fn len(&self) -> usize {
        self.header.len() + self.body.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same message with its body at an address that arrow decodes in place. From any other it copies buffer by
    /// buffer, and what received the body keeps all of it for as long as the frame waits for the disk. One copy here
    /// serves log and rows, and the receiver's memory is free for what comes next.
    #[must_use]
    pub fn aligned(self) -> Self {
        if self.body.is_empty() || self.body.as_ptr().align_offset(BODY_ALIGNMENT) == 0 {
            return self;
        }
        Self { body: Bytes::from_owner(Body(Buffer::from_slice_ref(&self.body))), ..self }
    }
}

/// A body in memory of arrow's.
struct Body(Buffer);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// One batch with everything that is needed to decode it.
#[derive(Clone, Debug)]
pub struct IpcFrame {
    /// The schema message.
    pub schema: IpcMessage,
    /// Every dictionary that a column of the batch refers to.
    pub dictionaries: Vec<IpcMessage>,
    /// The record batch message.
    pub batch: IpcMessage,
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: cheapest to make, and decoded without a copy where it is aligned.
    #[default]
    None,
    /// LZ4 frames.
    Lz4,
    /// Zstandard at level 1: on the wire the processor is dearer than the last few percent.
    Zstd,
}

/// What a message from outside may ask for. Everything beyond is refused before it is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one flatbuffer header.
    pub header_bytes_max: usize,
    /// Bytes of one body.
    pub body_bytes_max: usize,
    /// Rows of a batch or values of a dictionary.
    pub rows_max: usize,
    /// Bytes of all buffers of one message after decompression.
    pub decoded_bytes_max: usize,
    /// Decoded bytes per body byte. Counts only above [`Limits::RATIO_FREE_BYTES`]: a column that holds one value
    /// shrinks a thousandfold and is no attack.
    pub ratio_max: usize,
    /// Fields of a schema, nested ones included.
    pub fields_max: usize,
    /// Depth of nested types.
    pub depth_max: usize,
}

impl Limits {
    /// Up to this size a batch may have any compression ratio.
    pub const RATIO_FREE_BYTES: usize = 16 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 1 << 20,
            body_bytes_max: 64 << 20,
            rows_max: 1 << 20,
            decoded_bytes_max: 256 << 20,
            ratio_max: 100,
            fields_max: 1024,
            depth_max: 8,
        }
    }
}

/// Why an IPC message is refused, or a batch cannot be made into one.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IpcError {
    /// The bytes are no well-formed message of the expected kind.
    #[error("{what}: {why}")]
    Invalid {
        /// The column, buffer or message.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Well-formed, but a type or feature that the log does not take.
    #[error("{what}: {why} is not supported")]
    Unsupported {
        /// The column or message.
        what: String,
        /// The type or feature.
        why: String,
    },
    /// Asks for more than [`Limits`] allow.
    #[error("{what}: {found} exceeds the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// Its size.
        found: u64,
        /// The largest size that is taken.
        limit: u64,
    },
    /// A batch that arrow cannot encode.
    #[error("encode batch: {0}")]
    Encode(String),
}

impl IpcError {
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), why: why.into() }
    }

    pub(crate) fn unsupported(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), why: why.into() }
    }

    pub(crate) fn capped(what: &str, found: usize, limit: usize) -> Result<(), Self> {
        if found <= limit {
            return Ok(());
        }
        Err(Self::TooLarge { what: what.to_owned(), found: found as u64, limit: limit as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_copied_only_where_it_is_not_aligned() {
        let body = Bytes::from_owner(Body(Buffer::from_slice_ref([7_u8; 100])));
        for skipped in [0, 16, 3, 100] {
            let message = IpcMessage { header: Bytes::from_static(b"h"), body: body.slice(skipped..) };
            let aligned = message.clone().aligned();
            assert_eq!(aligned, message);
            assert_eq!(aligned.body.as_ptr() == message.body.as_ptr(), skipped != 3, "{skipped}");
            assert!(aligned.is_empty() || aligned.body.is_empty() || aligned.body.as_ptr().align_offset(16) == 0);
        }
    }
}
