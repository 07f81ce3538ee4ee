//! Reads the log back.

use crate::segment::{Disk, Entry, RealDisk, SegmentFile, SegmentReader, segments_on};
use crate::{Error, Result};
use bodkin_schema::Position;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The frames and gaps of a log in order, read without changing it. Holds one frame at a time.
#[derive(Debug)]
pub struct Replay {
    disk: Arc<dyn Disk>,
    segments: VecDeque<SegmentFile>,
    reader: Option<SegmentReader>,
    from: Position,
    until: Position,
}

impl Replay {
    /// Reads what ends after `from`. Works beside a process that has the log open; [`Gap::is_tail`](crate::Gap) then
    /// also marks what that process is just writing.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be listed.
    pub fn open(dir: &Path, from: Position) -> Result<Self> {
        Self::open_on(Arc::new(RealDisk), dir, from)
    }

    pub(super) fn open_on(disk: Arc<dyn Disk>, dir: &Path, from: Position) -> Result<Self> {
        let mut segments = VecDeque::from(segments_on(disk.as_ref(), dir)?);
        while segments.get(1).is_some_and(|next| next.start <= from) {
            segments.pop_front();
        }
        Ok(Self { disk, segments, reader: None, from, until: Position(u64::MAX) })
    }

    /// Reads only up to `end`.
    #[must_use]
    pub fn up_to(mut self, end: Position) -> Self {
        self.until = end;
        self
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        loop {
            let Some(reader) = &mut self.reader else {
                let Some(segment) = self.segments.pop_front().filter(|segment| segment.start < self.until) else {
                    return Ok(None);
                };
                let reader = open(self.disk.as_ref(), &segment)?;
                self.reader = reader.map(|reader| reader.up_to(self.until).after(self.from));
                continue;
            };
            match reader.next_entry()? {
                None => self.reader = None,
                Some(entry) if entry.end() <= self.from => {}
                Some(Entry::Gap(mut gap)) => {
                    gap.is_tail &= self.segments.is_empty();
                    return Ok(Some(Entry::Gap(gap)));
                }
                frame => return Ok(frame),
            }
        }
    }
}

/// None if it was trimmed since the folder was listed.
fn open(disk: &dyn Disk, segment: &SegmentFile) -> Result<Option<SegmentReader>> {
    match SegmentReader::open_on(disk, &segment.path) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

impl Iterator for Replay {
    type Item = Result<Entry>;

    /// After an error the iterator is at its end.
    fn next(&mut self) -> Option<Self::Item> {
        let outcome = self.next_entry();
        if outcome.is_err() {
            (self.reader, self.segments) = (None, VecDeque::new());
        }
        outcome.transpose()
    }
}
