//! One frame: what is written, acknowledged and replayed as a whole.
//!
//! ```text
//!  0       4     5      6       8             16          20           24         28          32
//!  +-------+-----+------+-------+-------------+-----------+------------+----------+-----------+
//!  | magic | ver | kind | parts | time i64 us | meta u32  | total u32  | rest crc | head crc  |
//!  | BKWF  | u8  | u8   | u16   | of ingest   | bytes     | bytes      | u32      | u32 ^ salt|
//!  +-------+-----+------+-------+-------------+-----------+------------+----------+-----------+
//!  | parts x { header bytes u32, body bytes u32 } | meta (JSON) | parts x { header, body }    |
//!  +----------------------------------------------+-------------+-----------------------------+
//! ```
//! All numbers are little-endian; `total` counts the whole frame; `rest crc` covers everything after byte 32, `head crc`
//! bytes 0..28. The head has a sum of its own so that its length can be trusted when the rest is damaged, and that
//! sum is mixed with the salt of the segment: rows that happen to look like a frame (a sender may choose them) are
//! not taken for one when a reader looks for the next frame after damage.
//!
//! Kinds: 1 = schema (one part, the IPC schema message), 2 = batch (its dictionaries, then the batch), 3 = note.

use crate::ipc::{IpcError, IpcFrame, IpcMessage, Limits, decode};
use crate::{Error, Result};
use arrow::array::RecordBatch;
use bodkin_schema::{EventTime, Incarnation, Lane, Producer, Seq, Tenant};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

pub(crate) const MAGIC: [u8; 4] = *b"BKWF";
pub(crate) const VERSION: u8 = 1;
/// Bytes of the fixed head, its own sum included.
pub(crate) const HEAD_BYTES: usize = 32;
const SUMMED_BYTES: usize = 28;
/// Largest frame. Above what ingest takes (64 MiB) with room for dictionaries; below what would hurt to read back.
pub(crate) const TOTAL_BYTES_MAX: u32 = 512 << 20;

const KIND_SCHEMA: u8 = 1;
const KIND_BATCH: u8 = 2;
const KIND_NOTE: u8 = 3;

/// An IPC schema message under a short id. Schemas with equal columns may number their dictionaries differently, so
/// the id is taken from the message and not from the columns.
#[derive(Debug)]
pub struct SchemaDef {
    id: u64,
    message: IpcMessage,
    encoded: EncodedFrame,
}

impl SchemaDef {
    /// Names a schema message.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn new(message: IpcMessage) -> Result<Arc<Self>> {
        let id = xxh3_64(&message.header);
        let meta = json(&SchemaMeta { id });
        let encoded = EncodedFrame::new(KIND_SCHEMA, EventTime(0), meta, std::slice::from_ref(&message), None)?;
        Ok(Arc::new(Self { id, message, encoded }))
    }

    /// The id that frames refer to.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The schema message.
    pub fn message(&self) -> &IpcMessage {
        &self.message
    }

    pub(crate) fn encoded(&self) -> &EncodedFrame {
        &self.encoded
    }
}

/// One batch as it came, and where it came from.
#[derive(Clone, Debug)]
pub struct BatchFrame {
    /// Whose rows they are.
    pub tenant: Tenant,
    /// Who sent them.
    pub lane: Lane,
    /// Their number in the lane.
    pub seq: Seq,
    /// When they were taken.
    pub ingest_time: EventTime,
    /// How many rows.
    pub rows: u64,
    /// Their schema.
    pub schema: Arc<SchemaDef>,
    /// Every dictionary that the batch needs.
    pub dictionaries: Vec<IpcMessage>,
    /// The rows.
    pub batch: IpcMessage,
}

impl BatchFrame {
    /// The bytes of the frame. Bodies are shared, not copied; O(bytes) for the checksum.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn encode(&self) -> Result<EncodedFrame> {
        let meta = json(&BatchMeta {
            tenant: Cow::Borrowed(&self.tenant.0),
            producer: Cow::Borrowed(self.lane.producer.as_str()),
            incarnation: self.lane.incarnation.0,
            stream: Cow::Borrowed(&self.lane.stream),
            seq: self.seq.0,
            schema: self.schema.id,
            rows: self.rows,
        });
        let mut parts = self.dictionaries.clone();
        parts.push(self.batch.clone());
        EncodedFrame::new(KIND_BATCH, self.ingest_time, meta, &parts, Some(self.schema.clone()))
    }

    /// The messages that make up the batch.
    pub fn ipc(&self) -> IpcFrame {
        IpcFrame {
            schema: self.schema.message.clone(),
            dictionaries: self.dictionaries.clone(),
            batch: self.batch.clone(),
        }
    }

    /// Verifies and decodes the rows.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode(&self, limits: &Limits) -> Result<RecordBatch, IpcError> {
        decode(&self.ipc(), limits)
    }
}

/// Something besides rows that a replay has to repeat: a side input, a decision that came from a clock.
#[derive(Clone, Debug, PartialEq)]
pub struct NoteFrame {
    /// When it was written.
    pub ingest_time: EventTime,
    /// What it is about; its reader's name.
    pub topic: String,
    /// What it says.
    pub note: serde_json::Value,
}

impl NoteFrame {
    /// The bytes of the frame.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn encode(&self) -> Result<EncodedFrame> {
        let meta = json(&NoteMeta { topic: Cow::Borrowed(&self.topic), note: Cow::Borrowed(&self.note) });
        EncodedFrame::new(KIND_NOTE, self.ingest_time, meta, &[], None)
    }
}

/// What a reader of the log gets.
#[derive(Clone, Debug)]
pub enum Frame {
    /// Rows.
    Batch(BatchFrame),
    /// Something else.
    Note(NoteFrame),
}

/// A frame ready to be written: summed, with its bodies still where they were received.
#[derive(Clone, Debug)]
pub struct EncodedFrame {
    head: [u8; SUMMED_BYTES],
    head_crc: u32,
    parts: Vec<Bytes>,
    schema: Option<Arc<SchemaDef>>,
    len: usize,
}

impl EncodedFrame {
    fn new(
        kind: u8,
        time: EventTime,
        meta: Vec<u8>,
        messages: &[IpcMessage],
        schema: Option<Arc<SchemaDef>>,
    ) -> Result<Self> {
        let table_bytes = 8 * messages.len();
        let len = HEAD_BYTES + table_bytes + meta.len() + messages.iter().map(IpcMessage::len).sum::<usize>();
        if len > TOTAL_BYTES_MAX as usize || messages.len() > usize::from(u16::MAX) {
            return Err(Error::TooLarge { bytes: len as u64, limit: u64::from(TOTAL_BYTES_MAX) });
        }
        let mut front = Vec::with_capacity(table_bytes + meta.len());
        for message in messages {
            front.extend((message.header.len() as u32).to_le_bytes());
            front.extend((message.body.len() as u32).to_le_bytes());
        }
        front.extend_from_slice(&meta);
        let mut parts = vec![Bytes::from(front)];
        parts.extend(messages.iter().flat_map(|message| [message.header.clone(), message.body.clone()]));
        parts.retain(|part| !part.is_empty());

        let mut crc = crc32fast::Hasher::new();
        parts.iter().for_each(|part| crc.update(part));
        let mut head = [0; SUMMED_BYTES];
        head[0..4].copy_from_slice(&MAGIC);
        head[4] = VERSION;
        head[5] = kind;
        head[6..8].copy_from_slice(&(messages.len() as u16).to_le_bytes());
        head[8..16].copy_from_slice(&time.0.to_le_bytes());
        head[16..20].copy_from_slice(&(meta.len() as u32).to_le_bytes());
        head[20..24].copy_from_slice(&(len as u32).to_le_bytes());
        head[24..28].copy_from_slice(&crc.finalize().to_le_bytes());
        Ok(Self { head, head_crc: crc32fast::hash(&head), parts, schema, len })
    }

    /// Bytes that the frame takes in a segment, a schema frame that it may need not counted.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a frame has a head at least.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn schema(&self) -> Option<&Arc<SchemaDef>> {
        self.schema.as_ref()
    }

    pub(crate) fn head(&self, salt: u32) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        head[..SUMMED_BYTES].copy_from_slice(&self.head);
        head[SUMMED_BYTES..].copy_from_slice(&(self.head_crc ^ salt).to_le_bytes());
        head
    }

    pub(crate) fn parts(&self) -> &[Bytes] {
        &self.parts
    }
}

/// The fixed head of a frame, its sum checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) version: u8,
    kind: u8,
    parts: u16,
    time: EventTime,
    meta_bytes: u32,
    total_bytes: u32,
    rest_crc: u32,
}

impl Head {
    /// The head in `bytes`, unless it is damaged or no head.
    pub(crate) fn parse(bytes: &[u8; HEAD_BYTES], salt: u32) -> Option<Self> {
        let (summed, crc) = bytes.split_last_chunk::<4>()?;
        if !summed.starts_with(&MAGIC) || u32::from_le_bytes(*crc) ^ salt != crc32fast::hash(summed) {
            return None;
        }
        let word = |at: usize| summed.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        let head = Self {
            version: summed[4],
            kind: summed[5],
            parts: u16::from_le_bytes([summed[6], summed[7]]),
            time: EventTime(i64::from_le_bytes(summed.get(8..16)?.try_into().ok()?)),
            meta_bytes: word(16)?,
            total_bytes: word(20)?,
            rest_crc: word(24)?,
        };
        (HEAD_BYTES as u32..=TOTAL_BYTES_MAX).contains(&head.total_bytes).then_some(head)
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        u64::from(self.total_bytes)
    }

    /// Whether frames behind this one may need it.
    pub(crate) fn is_schema(&self) -> bool {
        self.kind == KIND_SCHEMA
    }

    /// What the bytes after the head hold; an error says what is damaged.
    pub(crate) fn parse_rest(&self, rest: Bytes) -> Result<Parsed, &'static str> {
        if crc32fast::hash(&rest) != self.rest_crc {
            return Err("checksum differs");
        }
        let (meta, messages) = self.split(rest).ok_or("lengths disagree")?;
        const META: &str = "meta is not what its kind has";
        match self.kind {
            KIND_SCHEMA => {
                let meta: SchemaMeta = serde_json::from_slice(&meta).map_err(|_| META)?;
                let message = messages.into_iter().next().ok_or("schema frame without a schema")?;
                Ok(Parsed::Schema(meta.id, message))
            }
            KIND_BATCH => {
                let meta: BatchMeta<'_> = serde_json::from_slice(&meta).map_err(|_| META)?;
                Ok(Parsed::Batch(ParsedBatch::new(meta, self.time, messages).ok_or("batch frame without a batch")?))
            }
            KIND_NOTE => {
                let NoteMeta { topic, note } = serde_json::from_slice(&meta).map_err(|_| META)?;
                let (topic, note) = (topic.into_owned(), note.into_owned());
                Ok(Parsed::Note(NoteFrame { ingest_time: self.time, topic, note }))
            }
            _ => Err("unknown kind of frame"),
        }
    }

    fn split(&self, mut rest: Bytes) -> Option<(Bytes, Vec<IpcMessage>)> {
        let mut take = |bytes: usize| (bytes <= rest.len()).then(|| rest.split_to(bytes));
        let table = take(8 * usize::from(self.parts))?;
        let meta = take(self.meta_bytes as usize)?;
        let mut messages = Vec::with_capacity(usize::from(self.parts));
        for lengths in table.chunks_exact(8) {
            let (header, body) = lengths.split_first_chunk::<4>()?;
            let header = take(u32::from_le_bytes(*header) as usize)?;
            let body = take(u32::from_le_bytes(body.try_into().ok()?) as usize)?;
            messages.push(IpcMessage { header, body });
        }
        rest.is_empty().then_some((meta, messages))
    }
}

pub(crate) enum Parsed {
    Schema(u64, IpcMessage),
    Batch(ParsedBatch),
    Note(NoteFrame),
}

/// A batch frame whose schema is still an id.
pub(crate) struct ParsedBatch {
    pub(crate) schema: u64,
    tenant: Tenant,
    lane: Lane,
    seq: Seq,
    ingest_time: EventTime,
    rows: u64,
    dictionaries: Vec<IpcMessage>,
    batch: IpcMessage,
}

impl ParsedBatch {
    fn new(meta: BatchMeta<'_>, ingest_time: EventTime, mut messages: Vec<IpcMessage>) -> Option<Self> {
        let batch = messages.pop()?;
        Some(Self {
            schema: meta.schema,
            tenant: Tenant(meta.tenant.as_ref().into()),
            lane: Lane {
                producer: Producer::from(meta.producer.as_ref()),
                incarnation: Incarnation(meta.incarnation),
                stream: meta.stream.as_ref().into(),
            },
            seq: Seq(meta.seq),
            ingest_time,
            rows: meta.rows,
            dictionaries: messages,
            batch,
        })
    }

    pub(crate) fn with_schema(self, schema: Arc<SchemaDef>) -> BatchFrame {
        let Self { tenant, lane, seq, ingest_time, rows, dictionaries, batch, .. } = self;
        BatchFrame { tenant, lane, seq, ingest_time, rows, schema, dictionaries, batch }
    }
}

#[derive(Serialize, Deserialize)]
struct SchemaMeta {
    id: u64,
}

#[derive(Serialize, Deserialize)]
struct BatchMeta<'a> {
    tenant: Cow<'a, str>,
    producer: Cow<'a, str>,
    incarnation: u64,
    stream: Cow<'a, str>,
    seq: u64,
    schema: u64,
    rows: u64,
}

#[derive(Serialize, Deserialize)]
struct NoteMeta<'a> {
    topic: Cow<'a, str>,
    note: Cow<'a, serde_json::Value>,
}

fn json(meta: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(meta).expect("invariant: structs of strings and numbers always serialize")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(frame: &EncodedFrame, salt: u32) -> Vec<u8> {
        let mut bytes = frame.head(salt).to_vec();
        frame.parts().iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    fn sample() -> BatchFrame {
        let message = |header: &'static [u8], body: &'static [u8]| IpcMessage {
            header: Bytes::from_static(header),
            body: Bytes::from_static(body),
        };
        BatchFrame {
            tenant: Tenant::default(),
            lane: Lane { producer: "h/security".into(), incarnation: Incarnation(7), stream: "events".into() },
            seq: Seq(u64::MAX),
            ingest_time: EventTime(-5),
            rows: 3,
            schema: SchemaDef::new(message(b"schema", b"")).unwrap(),
            dictionaries: vec![message(b"d", b"values")],
            batch: message(b"b", b"rows"),
        }
    }

    fn parse(bytes: &[u8], salt: u32) -> Option<Result<Parsed, &'static str>> {
        let (head, rest) = bytes.split_first_chunk()?;
        Some(Head::parse(head, salt)?.parse_rest(Bytes::copy_from_slice(rest)))
    }

    #[test]
    fn round_trips() {
        let frame = sample();
        let encoded = frame.encode().unwrap();
        let bytes = bytes_of(&encoded, 99);
        assert_eq!(bytes.len(), encoded.len());
        let Some(Ok(Parsed::Batch(parsed))) = parse(&bytes, 99) else { panic!("no batch") };
        let back = parsed.with_schema(frame.schema.clone());
        assert_eq!((&back.lane, back.seq, back.ingest_time, back.rows), (&frame.lane, frame.seq, EventTime(-5), 3));
        assert_eq!((back.dictionaries, back.batch), (frame.dictionaries, frame.batch));

        let note = NoteFrame { ingest_time: EventTime(1), topic: "idle".into(), note: serde_json::json!({"a": [1]}) };
        let Some(Ok(Parsed::Note(back))) = parse(&bytes_of(&note.encode().unwrap(), 0), 0) else { panic!("no note") };
        assert_eq!(back, note);
    }

    #[test]
    fn every_bit_flip_is_detected() {
        let bytes = bytes_of(&sample().encode().unwrap(), 1);
        for bit in 0..bytes.len() * 8 {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&bent, 1), Some(Ok(_))), "bit {bit}");
        }
        assert!(parse(&bytes, 2).is_none(), "the salt of another segment");
    }
}
