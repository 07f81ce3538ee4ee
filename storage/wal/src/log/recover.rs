//! Finds the end of the log.

use crate::segment::{Disk, Entry, SegmentFile, SegmentReader, SegmentWriter, segments_on};
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
/// what looks torn was acknowledged once and is damaged. The new segment is durable before the old one is cut; where a
/// crash comes in between, the next recovery finds a segment without frames, and cuts the one before it.
pub(super) fn recover(disk: &dyn Disk, dir: &Path, floor: Position) -> Result<(SegmentWriter, Recovered)> {
    let mut found = segments_on(disk, dir)?;
    let Some(last) = found.pop() else { return begin(disk, dir, floor) };
    let mut reader = SegmentReader::open_on(disk, &last.path)?;
    if reader.is_unborn() {
        cut(disk, found.pop())?;
        return begin(disk, dir, last.start.max(floor));
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
    if recovered.frames == 0 && recovered.quarantined == 0 {
        cut(disk, found.pop())?;
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

/// The first segment of a log, or the one that a crash kept from being born.
fn begin(disk: &dyn Disk, dir: &Path, start: Position) -> Result<(SegmentWriter, Recovered)> {
    let segment = SegmentWriter::create_on(disk, dir, start)?;
    let recovered = Recovered { end: segment.position(), ..Recovered::default() };
    Ok((segment, recovered))
}

/// Cuts the torn tail of a segment that has one.
fn cut(disk: &dyn Disk, segment: Option<SegmentFile>) -> Result<()> {
    let Some(segment) = segment else { return Ok(()) };
    let mut reader = SegmentReader::open_on(disk, &segment.path)?;
    let mut whole = None;
    while let Some(entry) = reader.next_entry()? {
        whole = match entry {
            Entry::Gap(gap) if gap.is_tail => Some(gap.start.0 - segment.start.0),
            _ => None,
        };
    }
    if let Some(whole) = whole.filter(|_| reader.header().is_some()) {
        SegmentWriter::resume_on(disk, &reader, whole)?;
    }
    Ok(())
}
