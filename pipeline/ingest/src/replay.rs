//! Recovered frames through the same hand-over as new ones.

use crate::conform::Conform;
use crate::lanes::{LaneKey, LaneMark, Lanes};
use crate::{Downstream, IngestLimits, IngestService, IngestedBatch};
use bodkin_schema::{Position, Producer, Stream};
use bodkin_wal::{BatchFrame, Entry, Error, Frame, Limits, Replay};
use std::path::Path;
use std::sync::Arc;

/// Quarantined places that a report lists; beyond, they are only counted.
const LISTED_MAX: usize = 1000;

/// A frame, or bytes that were one, that could not be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// End of the place in the log.
    pub position: Position,
    /// Whose rows are lost; none where even that is.
    pub producer: Option<Producer>,
    /// How many rows; none where unknown.
    pub rows: Option<u64>,
    /// Why.
    pub reason: String,
}

/// What a replay did.
#[derive(Clone, Debug, Default)]
pub struct ReplayReport {
    /// Batches that were handed over.
    pub batches: u64,
    /// Their rows.
    pub rows: u64,
    /// Batches that a mark covered.
    pub duplicates: u64,
    /// Places that were skipped.
    pub quarantined_count: u64,
    /// The first of them.
    pub quarantined: Vec<Quarantined>,
}

impl IngestService {
    /// Restores `marks` and hands over every batch that ends after `from` and that no mark covers. A frame that does
    /// not verify is skipped and reported: it can be neither stored nor refused any more. Blocks; to be called once,
    /// before the first put.
    ///
    /// # Errors
    /// As [`bodkin_wal::Replay`]: the log cannot be read, or is of a newer release.
    pub fn replay(&self, from: Position, marks: impl IntoIterator<Item = LaneMark>) -> Result<ReplayReport, Error> {
        let reading = Reading { lanes: &self.lanes, limits: &self.limits.ipc, downstream: self.downstream.as_ref() };
        reading.run(self.wal.replay(from)?, marks)
    }
}

/// Hands over the batches of a log that nobody writes, as [`IngestService::replay`] does, and changes nothing in it.
///
/// # Errors
/// As [`bodkin_wal::Replay`]: the log cannot be read, or is of a newer release.
pub fn read_log(
    folder: &Path,
    from: Position,
    marks: impl IntoIterator<Item = LaneMark>,
    limits: &IngestLimits,
    downstream: &dyn Downstream,
) -> Result<ReplayReport, Error> {
    let lanes = Lanes::new(limits.lanes_max, limits.lane_idle);
    Reading { lanes: &lanes, limits: &limits.ipc, downstream }.run(Replay::open(folder, from)?, marks)
}

struct Reading<'a> {
    lanes: &'a Arc<Lanes>,
    limits: &'a Limits,
    downstream: &'a dyn Downstream,
}

impl Reading<'_> {
    fn run(&self, log: Replay, marks: impl IntoIterator<Item = LaneMark>) -> Result<ReplayReport, Error> {
        marks.into_iter().for_each(|mark| self.lanes.restore(mark));
        let mut report = ReplayReport::default();
        for entry in log {
            match entry? {
                Entry::Gap(gap) if gap.is_tail => {}
                Entry::Gap(gap) => report.quarantine(Quarantined {
                    position: gap.end,
                    producer: None,
                    rows: None,
                    reason: gap.reason.to_owned(),
                }),
                Entry::Frame(logged) => match logged.frame {
                    Frame::Note(note) => self.downstream.note(logged.end, note),
                    Frame::Batch(frame) => self.batch(frame, logged.end, &mut report),
                },
            }
        }
        Ok(report)
    }

    fn batch(&self, frame: BatchFrame, position: Position, report: &mut ReplayReport) {
        let key = LaneKey { tenant: frame.tenant.clone(), lane: frame.lane.clone() };
        if frame.seq <= self.lanes.durable(&key) {
            report.duplicates += 1;
            return;
        }
        // It was acknowledged: whatever becomes of it, its sender will not send it again.
        self.lanes.restore(LaneMark { key, seq: frame.seq, last_ingest: frame.ingest_time });
        match self.decode(&frame) {
            Ok(records) => {
                report.batches += 1;
                report.rows += records.num_rows() as u64;
                let BatchFrame { tenant, lane, seq, ingest_time, .. } = frame;
                self.downstream.push(IngestedBatch { tenant, lane, seq, ingest_time, position, records });
            }
            Err(reason) => report.quarantine(Quarantined {
                position,
                producer: Some(frame.lane.producer.clone()),
                rows: Some(frame.rows),
                reason,
            }),
        }
    }

    fn decode(&self, frame: &BatchFrame) -> Result<arrow::array::RecordBatch, String> {
        let name = &frame.lane.stream;
        let stream = Stream::from_name(name).ok_or_else(|| format!("stream {name:?} is not known"))?;
        let records = frame.decode(self.limits).map_err(|error| error.to_string())?;
        let conform = Conform::new(stream, &records.schema()).map_err(|refusal| refusal.to_string())?;
        conform.conform(&records).map_err(|refusal| refusal.to_string())
    }
}

impl ReplayReport {
    fn quarantine(&mut self, quarantined: Quarantined) {
        tracing::warn!(position = quarantined.position.0, reason = %quarantined.reason, "log frame quarantined");
        self.quarantined_count += 1;
        if self.quarantined.len() < LISTED_MAX {
            self.quarantined.push(quarantined);
        }
    }
}
