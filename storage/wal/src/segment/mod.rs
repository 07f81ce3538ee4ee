//! Segments: files `<20-digit start position>.wal` that stand alone.
//!
//! ```text
//!  0         8          12       16         24      28      32                64
//!  +---------+----------+--------+----------+-------+-------+-----------------+-------+-------+ - - -
//!  | magic   | format   | salt   | start    | 0     | crc   | the same again  | frame | frame |
//!  | BODKWAL0| u32      | u32    | position | u32   | u32   |                 |       |       |
//!  +---------+----------+--------+----------+-------+-------+-----------------+-------+-------+ - - -
//! ```
//! The header stands twice: without the salt no frame of the file could be told from a forged one. A schema frame
//! precedes the first batch that needs it; where an id is defined again, the later definition counts from there on.
//! Everything here is plain and synchronous: the agent's spool uses it as it is.

mod disk;
mod header;
mod reader;
mod writer;

pub(crate) use disk::RealDisk;
pub use disk::{Disk, DiskFile, DiskRead};
pub use reader::{Entry, Gap, Logged, SegmentReader};
pub(crate) use writer::FDATASYNC;
pub use writer::SegmentWriter;

#[cfg(test)]
pub(crate) use disk::faulty::FaultyDisk;

use crate::{Error, Result};
use bodkin_schema::Position;
use std::path::{Path, PathBuf};

/// File name ending of segments.
const EXTENSION: &str = "wal";

/// A segment of a folder, as its name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Position of its first byte.
    pub start: Position,
    /// Where it lies.
    pub path: PathBuf,
}

/// Path of the segment that starts at `start`.
pub fn segment_path(dir: &Path, start: Position) -> PathBuf {
    dir.join(format!("{:020}.{EXTENSION}", start.0))
}

/// The segments in `dir` in order of their positions; other files are left alone.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be listed.
pub fn segments(dir: &Path) -> Result<Vec<SegmentFile>> {
    segments_on(&RealDisk, dir)
}

pub(crate) fn segments_on(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentFile>> {
    let mut found = Vec::new();
    for path in disk.list(dir).map_err(|source| Error::io(dir, "list folder", source))? {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| stem.len() == 20);
        let is_segment = path.extension().is_some_and(|extension| extension == EXTENSION);
        if let Some(start) = stem.filter(|_| is_segment).and_then(|stem| stem.parse().ok()) {
            found.push(SegmentFile { start: Position(start), path });
        }
    }
    found.sort_by_key(|segment| segment.start);
    Ok(found)
}
