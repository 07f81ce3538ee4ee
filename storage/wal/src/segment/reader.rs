//! Reads one segment, past whatever damage it has.

use super::disk::{Disk, DiskRead, RealDisk};
use super::header::{HEADER_BYTES, Header};
use crate::frame::{Frame, HEAD_BYTES, Head, MAGIC, Parsed, SchemaDef, VERSION};
use crate::{Error, Result};
use bodkin_schema::Position;
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are searched at once for the next frame after damage.
const SCAN_BYTES: usize = 256 << 10;

/// A frame and its place.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Position of its first byte.
    pub start: Position,
    /// Position after its last byte: what an append answered.
    pub end: Position,
    /// What it holds.
    pub frame: Frame,
}

/// Bytes that hold no whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Position of the first of them.
    pub start: Position,
    /// Position after the last of them.
    pub end: Position,
    /// What is wrong with the first.
    pub reason: &'static str,
    /// Whether they reach the end of the segment. At the end of the last segment they are what a crash left of frames
    /// that nobody was promised; anywhere else they were frames once.
    pub is_tail: bool,
}

/// What a segment holds, in order.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A frame.
    Frame(Box<Logged>),
    /// Damage.
    Gap(Gap),
}

impl Entry {
    /// Position after it.
    pub fn end(&self) -> Position {
        match self {
            Self::Frame(logged) => logged.end,
            Self::Gap(gap) => gap.end,
        }
    }
}

/// Reads the frames of one segment in order. Holds one frame at a time.
#[derive(Debug)]
pub struct SegmentReader {
    file: Box<dyn DiskRead>,
    path: PathBuf,
    header: Option<Header>,
    start: Position,
    len: u64,
    /// Batches and notes that end there or before are passed over.
    after: u64,
    offset: u64,
    schemas: HashMap<u64, (Arc<SchemaDef>, u64)>,
    pending: Option<Entry>,
}

enum Attempt {
    /// A frame that ends at the offset; none for a schema, and for what is passed over.
    Good(Option<Frame>, u64),
    /// Damage; the next frame can start at the offset at the earliest.
    Bad(&'static str, u64),
}

impl SegmentReader {
    /// Opens a segment by its path.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Corrupt`] if it is not named like a segment, [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_on(&RealDisk, path)
    }

    pub(crate) fn open_on(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let start = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let start = Position(start.ok_or_else(|| corrupt(path, "not named like a segment"))?);
        let failed = |source| Error::io(path, "open segment", source);
        let file = disk.read(path).map_err(failed)?;
        let len = file.bytes().map_err(failed)?;
        let mut header = None;
        if len >= HEADER_BYTES as u64 {
            let mut bytes = [0; HEADER_BYTES];
            file.read_at(&mut bytes, 0).map_err(failed)?;
            header = Header::parse(&bytes, path)?;
        }
        if header.is_some_and(|header| header.start != start) {
            return Err(corrupt(path, "the header names another start: the file was renamed"));
        }
        let (path, offset) = (path.to_owned(), HEADER_BYTES as u64);
        Ok(Self { file, path, header, start, len, after: 0, offset, schemas: HashMap::new(), pending: None })
    }

    /// Reads only up to `end`: beyond it a writer may be at work.
    #[must_use]
    pub fn up_to(mut self, end: Position) -> Self {
        self.len = self.len.min(end.0.saturating_sub(self.start.0));
        self
    }

    /// Passes over what ends at `from` or before: of batches and notes there only the heads are read.
    #[must_use]
    pub fn after(mut self, from: Position) -> Self {
        self.after = from.0.saturating_sub(self.start.0);
        self
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Position of its first byte.
    pub fn start(&self) -> Position {
        self.start
    }

    /// Position after its last byte.
    pub fn end(&self) -> Position {
        Position(self.start.0 + self.len)
    }

    /// Whether a crash came before its header was written: then it never held a frame.
    pub(crate) fn is_unborn(&self) -> bool {
        self.len < HEADER_BYTES as u64
    }

    pub(crate) fn header(&self) -> Option<Header> {
        self.header
    }

    /// Schemas that are defined up to where it has read, and where their definitions end in the file.
    pub(crate) fn definitions(&self) -> HashMap<u64, (Bytes, u64)> {
        self.schemas.iter().map(|(id, (schema, end))| (*id, (schema.message().header.clone(), *end))).collect()
    }

    /// Offset after the last schema that was read.
    pub(crate) fn schemas_end(&self) -> u64 {
        self.schemas.values().map(|(_, end)| *end).max().unwrap_or(0)
    }

    /// The next frame or gap; none at the end. A gap joins all damage up to the next whole frame.
    ///
    /// # Errors
    /// [`Error::Newer`] for a frame of a newer release, [`Error::Io`]. Damage is no error but a [`Gap`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if let Some(entry) = self.pending.take() {
            return Ok(Some(entry));
        }
        let mut damage: Option<(u64, &'static str)> = None;
        while self.offset < self.len {
            let start = self.offset;
            match self.attempt(start)? {
                Attempt::Good(frame, end) => {
                    self.offset = end;
                    self.pending = frame.map(|frame| self.logged(start, end, frame));
                    if let Some((damaged, reason)) = damage {
                        return Ok(Some(self.gap(damaged, start, reason, false)));
                    }
                    if self.pending.is_some() {
                        return Ok(self.pending.take());
                    }
                }
                Attempt::Bad(reason, next) => {
                    damage.get_or_insert((start, reason));
                    self.offset = next;
                }
            }
        }
        Ok(damage.map(|(damaged, reason)| self.gap(damaged, self.len, reason, true)))
    }

    fn logged(&self, start: u64, end: u64, frame: Frame) -> Entry {
        let at = |offset| Position(self.start.0 + offset);
        Entry::Frame(Box::new(Logged { start: at(start), end: at(end), frame }))
    }

    fn gap(&self, start: u64, end: u64, reason: &'static str, is_tail: bool) -> Entry {
        let at = |offset| Position(self.start.0 + offset);
        Entry::Gap(Gap { start: at(start), end: at(end), reason, is_tail })
    }

    fn attempt(&mut self, offset: u64) -> Result<Attempt> {
        let Some(header) = self.header else {
            return Ok(Attempt::Bad("both copies of the segment header are damaged", self.len));
        };
        let Some(head) = self.head_at(offset, header.salt)? else {
            return Ok(Attempt::Bad("no frame", self.next_head(offset + 1, header.salt)?));
        };
        if head.version > VERSION {
            let (found, supported) = (u32::from(head.version), u32::from(VERSION));
            return Err(Error::Newer { path: self.path.clone(), found, supported });
        }
        let end = offset + head.total_bytes();
        if end > self.len {
            return Ok(Attempt::Bad("frame is cut off", self.next_head(offset + 1, header.salt)?));
        }
        if end <= self.after && !head.is_schema() {
            return Ok(Attempt::Good(None, end));
        }
        let mut rest = vec![0; head.total_bytes() as usize - HEAD_BYTES];
        self.read(&mut rest, offset + HEAD_BYTES as u64)?;
        Ok(match head.parse_rest(Bytes::from(rest)) {
            Err(reason) => Attempt::Bad(reason, end),
            Ok(Parsed::Note(note)) => Attempt::Good(Some(Frame::Note(note)), end),
            Ok(Parsed::Schema(id, message)) => {
                self.schemas.insert(id, (SchemaDef::new(message)?, end));
                Attempt::Good(None, end)
            }
            Ok(Parsed::Batch(batch)) => match self.schemas.get(&batch.schema) {
                Some((schema, _)) => Attempt::Good(Some(Frame::Batch(batch.with_schema(schema.clone()))), end),
                None => Attempt::Bad("its schema frame is lost", end),
            },
        })
    }

    fn head_at(&self, offset: u64, salt: u32) -> Result<Option<Head>> {
        if offset + HEAD_BYTES as u64 > self.len {
            return Ok(None);
        }
        let mut bytes = [0; HEAD_BYTES];
        self.read(&mut bytes, offset)?;
        Ok(Head::parse(&bytes, salt))
    }

    /// Offset of the next valid head at or after `from`; the end if there is none. One pass: a head has a sum of its
    /// own, so that no false start costs more than its 32 bytes.
    fn next_head(&self, from: u64, salt: u32) -> Result<u64> {
        let mut at = from;
        let mut chunk = vec![0; SCAN_BYTES];
        while at + HEAD_BYTES as u64 <= self.len {
            let bytes = SCAN_BYTES.min((self.len - at) as usize);
            let Some(window) = chunk.get_mut(..bytes) else { break };
            self.read(window, at)?;
            for (index, head) in window.windows(HEAD_BYTES).enumerate() {
                if head[0] == MAGIC[0] && head.first_chunk().is_some_and(|head| Head::parse(head, salt).is_some()) {
                    return Ok(at + index as u64);
                }
            }
            at += (bytes - HEAD_BYTES + 1) as u64;
        }
        Ok(self.len)
    }

    fn read(&self, into: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_at(into, offset).map_err(|source: io::Error| Error::io(&self.path, "read", source))
    }
}

impl Iterator for SegmentReader {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let outcome = self.next_entry();
        if outcome.is_err() {
            self.offset = self.len;
        }
        outcome.transpose()
    }
}

fn corrupt(path: &Path, why: &str) -> Error {
    Error::Corrupt { path: path.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::NoteFrame;
    use crate::segment::{SegmentWriter, segment_path};
    use bodkin_schema::EventTime;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_is_passed_over_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let start = Position(1000);
        let mut writer = SegmentWriter::create(dir.path(), start).unwrap();
        let mut ends = Vec::new();
        for number in 0..4 {
            let note = NoteFrame { ingest_time: EventTime(0), topic: "n".to_owned(), note: number.into() };
            ends.push(writer.append(&note.encode().unwrap()).unwrap());
        }
        let path = segment_path(dir.path(), start);
        // The last byte of the first frame.
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"?", ends[0].0 - start.0 - 1).unwrap();
        let read = |from| -> Vec<(bool, Position)> {
            let entries = SegmentReader::open(&path).unwrap().after(from).map(Result::unwrap);
            entries.map(|entry| (matches!(entry, Entry::Gap(_)), entry.end())).collect()
        };
        assert_eq!(read(Position(0)), [(true, ends[0]), (false, ends[1]), (false, ends[2]), (false, ends[3])]);
        assert_eq!(read(ends[0]), [(false, ends[1]), (false, ends[2]), (false, ends[3])]);
        assert_eq!(read(Position(ends[2].0 - 1)), [(false, ends[2]), (false, ends[3])]);
        assert_eq!(read(ends[3]), []);
    }
}
