//! One lane on disk: a folder of segments in the format of the write-ahead log.

use crate::{Error, Result};
use bodkin_schema::{EventTime, Position};
use bodkin_wal::segment::{segment_path, segments};
use bodkin_wal::{BatchFrame, Entry, Frame, SegmentReader, SegmentWriter};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// File beside the segments that says how far the server was at the last orderly stop.
const MARKS: &str = "marks.json";

/// How far the server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// Highest number that is acked.
    pub(crate) acked: u64,
    /// Highest number that was sent: rows up to it may be stored, so they are never shed and counted as lost.
    pub(crate) sent: u64,
}

/// What a segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) rows: u64,
}

impl Summary {
    /// Adds a frame, unless it stands there twice: what a failed sync may leave.
    fn add(&mut self, frame: &BatchFrame) {
        if frame.seq.0 > self.last_seq {
            if self.first_seq == 0 {
                self.first_seq = frame.seq.0;
            }
            self.last_seq = frame.seq.0;
            self.rows += frame.rows;
        }
    }
}

#[derive(Debug)]
struct Segment {
    start: Position,
    path: PathBuf,
    bytes: u64,
    /// When it was made, or last written before the agent started.
    made: EventTime,
    /// None until a recovered segment has been read once.
    summary: Option<Summary>,
}

/// Frames read back.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) frames: Vec<BatchFrame>,
    /// Nothing is left to be read.
    pub(crate) is_end: bool,
    /// Rows known to have been in a segment and not found there.
    pub(crate) damaged_rows: u64,
}

/// The lane's segments, oldest first. The last one may be being written.
#[derive(Debug)]
pub(crate) struct LaneDisk {
    dir: PathBuf,
    segments: VecDeque<Segment>,
    writer: Option<SegmentWriter>,
    reader: Option<(SegmentReader, Summary)>,
    end: Position,
    segment_bytes_max: u64,
}

impl LaneDisk {
    /// The lane kept in `dir`, which need not exist. Segments are not read yet.
    pub(crate) fn open(dir: PathBuf, segment_bytes_max: u64) -> Result<Self> {
        let mut lane =
            Self { dir, segments: VecDeque::new(), writer: None, reader: None, end: Position(0), segment_bytes_max };
        if lane.dir.is_dir() {
            for file in segments(&lane.dir)? {
                let meta = fs::metadata(&file.path).map_err(Error::io(&file.path, "stat"))?;
                let made = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let made = EventTime(made.map_or(0, |since| since.as_micros() as i64));
                lane.end = Position(file.start.0 + meta.len());
                lane.segments.push_back(Segment {
                    start: file.start,
                    path: file.path,
                    bytes: meta.len(),
                    made,
                    summary: None,
                });
            }
        }
        Ok(lane)
    }

    pub(crate) fn marks(&self) -> Marks {
        let text = fs::read(self.dir.join(MARKS)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Appends `frames` and makes them durable. Gives the number of the last one that is, also on failure.
    pub(crate) fn write(&mut self, frames: &[BatchFrame], now: EventTime) -> (u64, Result<()>) {
        let mut durable = 0;
        let mut appended = Summary::default();
        let outcome = self.append_all(frames, now, &mut appended, &mut durable).and_then(|()| self.sync(appended));
        match outcome {
            Ok(()) => (frames.last().map_or(0, |frame| frame.seq.0), Ok(())),
            Err(error) => {
                self.give_up_writer();
                (durable, Err(error))
            }
        }
    }

    fn append_all(
        &mut self,
        frames: &[BatchFrame],
        now: EventTime,
        appended: &mut Summary,
        durable: &mut u64,
    ) -> Result<()> {
        for frame in frames {
            if self.writer.as_ref().is_some_and(|writer| writer.len() >= self.segment_bytes_max) {
                let done = std::mem::take(appended);
                self.sync(done)?;
                *durable = done.last_seq.max(*durable);
                self.end_segment()?;
            }
            let encoded = frame.encode()?;
            self.writer(now)?.append(&encoded)?;
            appended.add(frame);
        }
        Ok(())
    }

    fn writer(&mut self, now: EventTime) -> Result<&mut SegmentWriter> {
        if self.writer.is_none() {
            fs::create_dir_all(&self.dir).map_err(Error::io(&self.dir, "create folder"))?;
            let writer = SegmentWriter::create(&self.dir, self.end)?;
            self.segments.push_back(Segment {
                start: self.end,
                path: segment_path(&self.dir, self.end),
                bytes: writer.len(),
                made: now,
                summary: Some(Summary::default()),
            });
            self.end = writer.position();
            self.writer = Some(writer);
        }
        Ok(self.writer.as_mut().expect("invariant: the writer was just made"))
    }

    /// Makes what was appended durable and counts it to the segment.
    fn sync(&mut self, appended: Summary) -> Result<()> {
        let (Some(writer), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else { return Ok(()) };
        self.end = writer.sync()?;
        segment.bytes = writer.len();
        let summary = segment.summary.get_or_insert_default();
        if summary.first_seq == 0 {
            summary.first_seq = appended.first_seq;
        }
        summary.last_seq = summary.last_seq.max(appended.last_seq);
        summary.rows += appended.rows;
        Ok(())
    }

    fn end_segment(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.end = writer.close()?;
        }
        Ok(())
    }

    /// After a failure nobody knows what lies behind the last sync: the next write starts a new segment, and what may
    /// be there twice is skipped when it is read.
    fn give_up_writer(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        // What is appended now lies after everything that this file may hold.
        self.end = Position(self.end.0.max(writer.position().0));
        if let Err(error) = writer.rollback() {
            tracing::warn!(%error, "unsynced frames stay in a spool segment");
        }
        let is_nothing = |segment: &Segment| segment.summary.is_some_and(|summary| summary.last_seq == 0);
        if self.segments.back().is_some_and(is_nothing) {
            self.remove(self.segments.len() - 1);
        }
    }

    /// Reads on after number `after`, at most up to number `up_to`, about `bytes_max` bytes.
    pub(crate) fn read(&mut self, mut after: u64, up_to: u64, bytes_max: usize) -> Result<Loaded> {
        let mut loaded = Loaded::default();
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some((mut reader, mut seen)) = self.take_reader(after)? else {
                loaded.is_end = true;
                break;
            };
            match reader.next_entry()? {
                Some(Entry::Frame(logged)) => {
                    if let Frame::Batch(frame) = logged.frame {
                        seen.add(&frame);
                        if frame.seq.0 > up_to {
                            // Beyond are copies of what is in memory; the reader starts over when they are wanted.
                            loaded.is_end = true;
                            break;
                        }
                        if frame.seq.0 > after {
                            after = frame.seq.0;
                            bytes += (logged.end.0 - logged.start.0) as usize;
                            loaded.frames.push(frame);
                        }
                    }
                    self.reader = Some((reader, seen));
                }
                Some(Entry::Gap(gap)) => {
                    if !gap.is_tail {
                        tracing::warn!(path = %reader.path().display(), reason = gap.reason, "spool segment is damaged");
                    }
                    self.reader = Some((reader, seen));
                }
                None => loaded.damaged_rows += self.finish_segment(reader.start(), seen),
            }
        }
        Ok(loaded)
    }

    /// The reader of the segment that holds the number after `after`, none if no segment does.
    fn take_reader(&mut self, after: u64) -> Result<Option<(SegmentReader, Summary)>> {
        if let Some(reader) = self.reader.take() {
            return Ok(Some(reader));
        }
        let holds_more = |segment: &&Segment| segment.summary.is_none_or(|summary| summary.last_seq > after);
        let Some(segment) = self.segments.iter().find(holds_more) else { return Ok(None) };
        let (start, path) = (segment.start, segment.path.clone());
        if self.writer.as_ref().is_some_and(|writer| writer.start() == start) {
            self.end_segment()?;
        }
        Ok(Some((SegmentReader::open(&path)?, Summary::default())))
    }

    /// Notes what a segment was found to hold; rows that were expected and not found.
    fn finish_segment(&mut self, start: Position, seen: Summary) -> u64 {
        let Some(segment) = self.segments.iter_mut().find(|segment| segment.start == start) else { return 0 };
        let expected = segment.summary.map_or(seen.rows, |summary| summary.rows);
        segment.summary = Some(seen);
        expected.saturating_sub(seen.rows)
    }

    /// Removes segments of which every frame is acked.
    pub(crate) fn remove_acked(&mut self, acked: u64) {
        let is_acked = |segment: &Segment| segment.summary.is_some_and(|summary| summary.last_seq <= acked);
        while let Some(index) = self.segments.iter().position(is_acked) {
            self.remove(index);
        }
    }

    /// When the oldest segment was made whose frames were never sent (their numbers are above `sent`) and have no copy
    /// in memory (numbers up to `spilled`), and its index.
    pub(crate) fn oldest_unsent(&mut self, sent: u64, spilled: u64) -> Option<(EventTime, usize)> {
        for index in 0..self.segments.len() {
            let summary = self.summary(index)?;
            if summary.first_seq > sent && summary.last_seq <= spilled {
                return self.segments.get(index).map(|segment| (segment.made, index));
            }
        }
        None
    }

    /// Gives up the segment; what it held.
    pub(crate) fn shed(&mut self, index: usize) -> Summary {
        let summary = self.summary(index).unwrap_or_default();
        self.remove(index);
        summary
    }

    /// What the segment holds, by reading it if need be.
    fn summary(&mut self, index: usize) -> Option<Summary> {
        let segment = self.segments.get_mut(index)?;
        if segment.summary.is_none() {
            let mut seen = Summary::default();
            for entry in SegmentReader::open(&segment.path).ok()? {
                if let Ok(Entry::Frame(logged)) = entry
                    && let Frame::Batch(frame) = &logged.frame
                {
                    seen.add(frame);
                }
            }
            segment.summary = Some(seen);
        }
        segment.summary
    }

    /// Removes a segment, whether it is being read or written.
    fn remove(&mut self, index: usize) {
        let Some(segment) = self.segments.remove(index) else { return };
        if self.reader.as_ref().is_some_and(|(reader, _)| reader.start() == segment.start) {
            self.reader = None;
        }
        if self.writer.as_ref().is_some_and(|writer| writer.start() == segment.start) {
            self.end = self.writer.take().map_or(self.end, |writer| writer.position());
        }
        if let Err(error) = fs::remove_file(&segment.path) {
            tracing::warn!(path = %segment.path.display(), %error, "spool segment cannot be removed");
        }
    }

    /// Ends the segment being written and notes how far the server is.
    pub(crate) fn close(&mut self, marks: Marks) -> Result<()> {
        self.end_segment()?;
        if self.segments.is_empty() {
            self.remove_dir();
            return Ok(());
        }
        let (path, part) = (self.dir.join(MARKS), self.dir.join("marks.part"));
        let text = serde_json::to_vec(&marks).unwrap_or_default();
        fs::write(&part, text).and_then(|()| fs::rename(&part, &path)).map_err(Error::io(&path, "write"))
    }

    /// Removes the folder of a lane without segments.
    pub(crate) fn remove_dir(&self) {
        // Neither need be there, and a folder with something else in it stays.
        let _ = fs::remove_file(self.dir.join(MARKS));
        let _ = fs::remove_dir(&self.dir);
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}
