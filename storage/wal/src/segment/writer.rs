//! Writes one segment.

use super::disk::{Disk, DiskFile, RealDisk};
use super::header::{HEADER_BYTES, Header};
use super::{Entry, SegmentReader, segment_path};
use crate::frame::EncodedFrame;
use crate::{Error, Result};
use bodkin_schema::Position;
use bytes::Bytes;
use std::collections::HashMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};

/// Room that is reserved ahead, so that a full disk shows before bytes are written and one allocation serves many
/// frames.
const RESERVE_BYTES: u64 = 4 << 20;

/// How errors name a failed sync.
pub(crate) const FDATASYNC: &str = "fdatasync";

/// Appends frames to one segment. What was appended counts only after [`SegmentWriter::sync`].
#[derive(Debug)]
pub struct SegmentWriter {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    header: Header,
    len: u64,
    synced: u64,
    reserved: u64,
    /// Defined schemas and where their definition ends.
    schemas: HashMap<u64, (Bytes, u64)>,
}

impl SegmentWriter {
    /// Creates the segment that starts at `start`, header and name durable.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::Io`]; the file is removed then, if it can be.
    pub fn create(dir: &Path, start: Position) -> Result<Self> {
        Self::create_on(&RealDisk, dir, start)
    }

    pub(crate) fn create_on(disk: &dyn Disk, dir: &Path, start: Position) -> Result<Self> {
        let path = segment_path(dir, start);
        let header = Header::new(disk.salt(), start);
        let create = || {
            let mut file = disk.create(&path)?;
            file.write(&mut [IoSlice::new(&header.to_bytes())])?;
            file.sync()?;
            disk.sync_dir(dir)?;
            Ok(file)
        };
        match create() {
            Ok(file) => Ok(Self::at(file, path, header, HEADER_BYTES as u64)),
            Err(source) => {
                // An empty segment left behind is what a crash here would leave: recovery knows it.
                disk.remove(&path).ok();
                Err(Error::io(&path, "create segment", source))
            }
        }
    }

    /// Continues a segment after its last whole frame: cuts a torn tail and makes durable what is there.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Corrupt`] if its header is lost, [`Error::Io`].
    pub fn resume(path: &Path) -> Result<Self> {
        let mut reader = SegmentReader::open(path)?;
        if reader.is_unborn() {
            return Self::create(path.parent().unwrap_or(Path::new(".")), reader.start());
        }
        let mut end = HEADER_BYTES as u64;
        while let Some(entry) = reader.next_entry()? {
            if !matches!(&entry, Entry::Gap(gap) if gap.is_tail) {
                end = entry.end().0 - reader.start().0;
            }
        }
        Self::resume_on(&RealDisk, &reader, end.max(reader.schemas_end()))
    }

    /// Continues the segment that `reader` has read to its end.
    pub(crate) fn resume_on(disk: &dyn Disk, reader: &SegmentReader, end: u64) -> Result<Self> {
        let path = reader.path().to_owned();
        let header = reader.header().ok_or_else(|| Error::Corrupt {
            path: path.clone(),
            why: "both copies of the header are damaged".into(),
        })?;
        let open = || {
            let mut file = disk.open(&path)?;
            file.truncate(end)?;
            file.sync()?;
            Ok(file)
        };
        let file = open().map_err(|source| Error::io(&path, "resume segment", source))?;
        let mut writer = Self::at(file, path, header, end);
        writer.schemas = reader.definitions();
        Ok(writer)
    }

    fn at(file: Box<dyn DiskFile>, path: PathBuf, header: Header, len: u64) -> Self {
        Self { file, path, header, len, synced: len, reserved: len, schemas: HashMap::new() }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Position of its first byte.
    pub fn start(&self) -> Position {
        self.header.start
    }

    /// Position after the last frame that was appended.
    pub fn position(&self) -> Position {
        Position(self.header.start.0 + self.len)
    }

    /// Position up to which everything is durable.
    pub fn durable(&self) -> Position {
        Position(self.header.start.0 + self.synced)
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds no frame.
    pub fn is_empty(&self) -> bool {
        self.len <= HEADER_BYTES as u64
    }

    /// Appends a frame, before it its schema where the segment does not have that yet, and returns the position after
    /// it. Bodies go to the kernel from where they lie.
    ///
    /// # Errors
    /// [`Error::Full`] or [`Error::Io`]. Part of the frame may be in the file then: call [`SegmentWriter::rollback`]
    /// before anything else is appended.
    pub fn append(&mut self, frame: &EncodedFrame) -> Result<Position> {
        if let Some(schema) = frame.schema() {
            let message = &schema.message().header;
            if self.schemas.get(&schema.id()).is_none_or(|(defined, _)| defined != message) {
                self.write(schema.encoded())?;
                self.schemas.insert(schema.id(), (message.clone(), self.len));
            }
        }
        self.write(frame)?;
        Ok(self.position())
    }

    fn write(&mut self, frame: &EncodedFrame) -> Result<()> {
        let bytes = frame.len() as u64;
        self.reserve(bytes)?;
        let head = frame.head(self.header.salt);
        let mut parts: Vec<IoSlice<'_>> = Vec::with_capacity(1 + frame.parts().len());
        parts.push(IoSlice::new(&head));
        parts.extend(frame.parts().iter().map(|part| IoSlice::new(part)));
        self.file.write(&mut parts).map_err(|source| Error::io(&self.path, "write", source))?;
        self.len += bytes;
        Ok(())
    }

    fn reserve(&mut self, bytes: u64) -> Result<()> {
        let end = self.len + bytes;
        if end <= self.reserved {
            return Ok(());
        }
        let ahead = bytes.max(RESERVE_BYTES);
        let reserved = match self.file.reserve(self.len, ahead) {
            Ok(()) => self.len + ahead,
            // Not enough for the next frames, perhaps enough for this one.
            Err(_) => {
                let exact = self.file.reserve(self.len, bytes);
                exact.map_err(|source| Error::io(&self.path, "reserve space", source))?;
                end
            }
        };
        self.reserved = reserved;
        Ok(())
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// [`Error::Io`]. What the disk holds beyond [`SegmentWriter::durable`] is unknown from then on, whatever a later
    /// sync says: the segment must not be written any more.
    pub fn sync(&mut self) -> Result<Position> {
        if self.synced < self.len {
            self.file.sync().map_err(|source| Error::io(&self.path, FDATASYNC, source))?;
            self.synced = self.len;
        }
        Ok(self.durable())
    }

    /// Takes back what was appended since the last sync.
    ///
    /// # Errors
    /// [`Error::Io`]; the segment must not be written any more.
    pub fn rollback(&mut self) -> Result<()> {
        self.file.truncate(self.synced).map_err(|source| Error::io(&self.path, "truncate", source))?;
        self.len = self.synced;
        self.reserved = self.synced;
        let synced = self.synced;
        self.schemas.retain(|_, (_, end)| *end <= synced);
        Ok(())
    }

    /// Syncs and gives back what was reserved.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn close(mut self) -> Result<Position> {
        self.sync()?;
        self.rollback()?;
        Ok(self.durable())
    }
}
