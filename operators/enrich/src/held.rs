//! Rows that wait for the watermark to pass their time.

use arrow::array::{BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use bodkin_engine::Batch;
use std::collections::VecDeque;

/// Batches by arrival.
#[derive(Debug, Default)]
pub(crate) struct Held {
    batches: VecDeque<Batch>,
    bytes: usize,
}

impl Held {
    /// Bytes of it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a batch. It gives back its share of the process's memory: it counts here.
    pub(crate) fn push(&mut self, batch: Batch) {
        self.bytes += batch.bytes;
        self.batches.push_back(Batch { permit: None, ..batch });
    }

    /// The oldest batch, where there are more than `bytes_max`.
    pub(crate) fn beyond(&mut self, bytes_max: usize) -> Option<Batch> {
        if self.bytes <= bytes_max {
            return None;
        }
        let batch = self.batches.pop_front()?;
        self.bytes -= batch.bytes;
        Some(batch)
    }

    /// The rows whose time lies before `until_us`, in batches as they came. A row without a time is ready.
    pub(crate) fn ready(
        &mut self,
        until_us: i64,
        times: impl Fn(&RecordBatch) -> Result<TimestampMicrosecondArray, ArrowError>,
    ) -> Result<Vec<Batch>, ArrowError> {
        let mut ready = Vec::new();
        for batch in std::mem::take(&mut self.batches) {
            self.bytes -= batch.bytes;
            let times = times(&batch.records)?;
            let is_ready: BooleanArray = times.iter().map(|ts| Some(ts.is_none_or(|ts| ts < until_us))).collect();
            match is_ready.true_count() {
                0 => self.push(batch),
                all if all == batch.records.num_rows() => ready.push(batch),
                _ => {
                    let part = |rows: &BooleanArray| -> Result<Batch, ArrowError> {
                        Ok(batch.derived(&batch.stream, filter_record_batch(&batch.records, rows)?))
                    };
                    ready.push(part(&is_ready)?);
                    self.push(part(&arrow::compute::not(&is_ready)?)?);
                }
            }
        }
        Ok(ready)
    }

    /// All of it.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter()
    }
}
