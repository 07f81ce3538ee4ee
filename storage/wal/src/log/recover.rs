//! Finds the end of the log.

use crate::segment::{Disk, Entry, SegmentReader, SegmentWriter, segments};
use crate::{Error, Result};
use bodkin_schema::Position;
use std::path::Path;

/// What opening the log found in its last segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Where the log goes on.
    pub end: Position,
    /// Whole frames in the last segment.
    pub frames: u64,
    /// Bytes of a torn tail that were cut off.
    pub torn_bytes: u64,
    /// Damaged places before the end.
    pub quarantined: u64,
}

/// Opens the segment to go on with.
///
/// After a torn tail that is a new one, which starts behind the torn bytes: no position is given out twice, even if
/// what looks torn was acknowledged once and is damaged. The new segment is durable before the old one is cut.
pub(super) fn recover(disk: &dyn Disk, dir: &Path, floor: Position) -> Result<(SegmentWriter, Recovered)> {
    let Some(last) = segments(dir)?.pop() else {
        let segment = SegmentWriter::create_on(disk, dir, floor)?;
        let recovered = Recovered { end: segment.position(), ..Recovered::default() };
        return Ok((segment, recovered));
    };
    let mut reader = SegmentReader::open(&last.path)?;
    if reader.is_unborn() {
        let segment = SegmentWriter::create_on(disk, dir, last.start.max(floor))?;
        let recovered = Recovered { end: segment.position(), ..Recovered::default() };
        return Ok((segment, recovered));
    }
    let mut recovered = Recovered { end: reader.end(), ..Recovered::default() };
    let mut whole = reader.end();
    while let Some(entry) = reader.next_entry()? {
        match entry {
            Entry::Frame(_) => recovered.frames += 1,
            Entry::Gap(gap) if gap.is_tail => {
                recovered.torn_bytes = gap.end.0 - gap.start.0;
                whole = gap.start;
            }
            Entry::Gap(_) => recovered.quarantined += 1,
        }
    }
    let whole = whole.0 - last.start.0;
    let segment = if recovered.torn_bytes == 0 && floor <= reader.end() {
        SegmentWriter::resume_on(disk, &reader, whole)?
    } else {
        let segment = SegmentWriter::create_on(disk, dir, reader.end().max(floor))?;
        // Frames before the tear may be in memory only: kill -9 tears without losing them, a power cut after would.
        if reader.header().is_some() {
            SegmentWriter::resume_on(disk, &reader, whole)?;
        }
        segment
    };
    // The name of the last segment may not be durable yet either.
    disk.sync_dir(dir).map_err(|source| Error::io(dir, "sync folder", source))?;
    recovered.end = segment.position();
    Ok((segment, recovered))
}
