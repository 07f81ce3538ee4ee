//! The account of rows that were wanted and are lost (DROP-1), until it has been sent as rows of `drops`.

use crate::{Error, Result};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use bodkin_schema::{Class, EventTime, Stream};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why rows were lost after the kernel handed them over; the kernel's own reasons are the probe's.
pub mod reason {
    /// The spool was full.
    pub const SPOOL_FULL: &str = "spool_full";
    /// The server refuses the batch.
    pub const REFUSED: &str = "refused";
    /// A segment of the spool was damaged on disk.
    pub const SPOOL_DAMAGED: &str = "spool_damaged";
    /// A batch could not be encoded.
    pub const UNENCODABLE: &str = "unencodable";
}

/// Rows lost, by class and reason.
pub type Counts = BTreeMap<(Class, &'static str), u64>;

/// Counts of lost rows: those still to be told, and all since the start.
#[derive(Debug, Default)]
pub struct Losses {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    untold: Counts,
    total: Counts,
}

impl Losses {
    /// Counts `rows` as lost.
    pub fn count(&self, class: Class, reason: &'static str, rows: u64) {
        if rows > 0 {
            let mut inner = self.lock();
            *inner.untold.entry((class, reason)).or_default() += rows;
            *inner.total.entry((class, reason)).or_default() += rows;
        }
    }

    /// Everything since the start.
    pub fn total(&self) -> Counts {
        self.lock().total.clone()
    }

    /// What was not told yet, as rows of `drops` said by `producer`; told from then on, unless
    /// [`give_back`](Self::give_back) is called. None if there is nothing.
    ///
    /// # Errors
    /// If columns do not fit the schema: not for any input.
    pub fn take(&self, host_id: &str, now: EventTime) -> Result<Option<(Counts, RecordBatch)>> {
        let counts = std::mem::take(&mut self.lock().untold);
        if counts.is_empty() {
            return Ok(None);
        }
        match rows(&counts, host_id, now) {
            Ok(batch) => Ok(Some((counts, batch))),
            Err(error) => {
                self.give_back(counts);
                Err(error)
            }
        }
    }

    /// Takes back counts whose rows could not be queued.
    pub fn give_back(&self, counts: Counts) {
        let mut inner = self.lock();
        for (key, rows) in counts {
            *inner.untold.entry(key).or_default() += rows;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Counting cannot panic half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rows(counts: &Counts, host_id: &str, now: EventTime) -> Result<RecordBatch> {
    let keys = || counts.keys();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(vec![now.0; counts.len()]).with_timezone("UTC")),
        Arc::new(StringArray::from_iter_values(keys().map(|(class, _)| format!("{host_id}/{class}")))),
        Arc::new(StringArray::from_iter_values(keys().map(|(class, _)| class.name()))),
        Arc::new(StringArray::from_iter_values(keys().map(|(_, reason)| *reason))),
        Arc::new(Int64Array::from_iter_values(counts.values().map(|rows| *rows as i64))),
    ];
    RecordBatch::try_new(Stream::Drops.schema(), columns).map_err(Error::batch(Stream::Drops))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::display::array_value_to_string;

    /// DROP-1: a loss is told exactly once.
    #[test]
    fn counts_are_told_once() {
        let losses = Losses::default();
        losses.count(Class::Metrics, reason::SPOOL_FULL, 5);
        losses.count(Class::Security, reason::REFUSED, 2);
        losses.count(Class::Metrics, reason::SPOOL_FULL, 7);
        losses.count(Class::Debug, reason::REFUSED, 0);
        let (counts, batch) = losses.take("id", EventTime(0)).unwrap().unwrap();
        let cell = |row: usize| move |column: &ArrayRef| array_value_to_string(column, row).unwrap();
        let line = |row: usize| batch.columns().iter().skip(1).map(cell(row)).collect::<Vec<_>>().join(" ");
        assert_eq!(line(0), "id/security security refused 2");
        assert_eq!(line(1), "id/metrics metrics spool_full 12");
        assert_eq!(batch.num_rows(), 2);
        assert!(losses.take("id", EventTime(0)).unwrap().is_none());
        losses.give_back(counts);
        losses.count(Class::Security, reason::REFUSED, 1);
        let (counts, _) = losses.take("id", EventTime(0)).unwrap().unwrap();
        assert_eq!(counts.get(&(Class::Security, reason::REFUSED)), Some(&3));
        assert_eq!(losses.total().values().sum::<u64>(), 15);
    }
}
