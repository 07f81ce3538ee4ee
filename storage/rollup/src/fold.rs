//! Samples in order to rows of the tiers, each tier from the one before it, in one pass.

use crate::base::{Folding, Given};
use crate::bucket::Bucket;
use crate::rows::{RowColumns, RowParts, RowsBuilder, TierRow};
use crate::tier::Tier;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

/// Rows of a batch.
const BATCH_ROWS: usize = 8192;
/// The bits of the stale marker, which says that a series has ended and is no sample.
const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// Folds what comes in the order of (metric, series, time) into rows of some tiers that follow each other.
#[derive(Debug)]
pub(crate) struct Fold {
    given: Given,
    version: i64,
    rungs: Vec<Rung>,
    /// Series and time of the sample before, to leave out one that is equal.
    last: Option<(i64, i64)>,
    samples: u64,
}

/// One tier on its way.
#[derive(Debug)]
struct Rung {
    tier: Tier,
    open: Option<TierRow>,
    rows: RowsBuilder,
}

impl Fold {
    /// Of `tiers`, the finest first.
    pub(crate) fn new(given: Given, tiers: &[Tier], version: i64) -> Self {
        let rung = |tier: &Tier| Rung { tier: *tier, open: None, rows: RowsBuilder::default() };
        Self { given, version, rungs: tiers.iter().map(rung).collect(), last: None, samples: 0 }
    }

    fn add_samples(&mut self, records: &RecordBatch) -> Result<(), ArrowError> {
        let column = |index: usize| records.column(index);
        let wrong = || ArrowError::SchemaError("rows are no samples".to_owned());
        let series = column(0).as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values();
        let metrics = column(1).as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.values();
        let times = column(2).as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong)?.values();
        let values = column(3).as_primitive_opt::<Float64Type>().ok_or_else(wrong)?.values();
        for row in 0..records.num_rows() {
            let (series_id, ts_us, value) = (series[row], times[row], values[row]);
            if value.to_bits() == STALE_NAN || self.last.replace((series_id, ts_us)) == Some((series_id, ts_us)) {
                continue;
            }
            self.samples += 1;
            let whole = Bucket::of(ts_us, value);
            // A sample is a row whose window is its time.
            let row = TierRow { series_id, metric_id: metrics[row], window_us: ts_us, whole, inner: None };
            push(&mut self.rungs, row);
        }
        Ok(())
    }
}

impl Folding for Fold {
    fn add(&mut self, records: &RecordBatch) -> Result<(), ArrowError> {
        if self.given == Given::Base {
            return self.add_samples(records);
        }
        let columns = RowColumns::new(records, RowParts::ALL)?;
        (0..columns.len()).for_each(|row| push(&mut self.rungs, columns.row(row)));
        Ok(())
    }

    fn end(&mut self) {
        for at in 0..self.rungs.len() {
            if let Some(done) = self.rungs[at].open.take() {
                self.rungs[at].rows.push(done);
                push(&mut self.rungs[at + 1..], done);
            }
        }
    }

    fn take(&mut self, is_last: bool) -> Result<Vec<(Tier, RecordBatch)>, ArrowError> {
        let least = if is_last { 1 } else { BATCH_ROWS };
        let version = self.version;
        let full = self.rungs.iter_mut().filter(|rung| rung.rows.len() >= least);
        full.map(|rung| Ok((rung.tier, rung.rows.finish(version)?))).collect()
    }

    fn rows(&self) -> u64 {
        self.samples
    }
}

fn push(rungs: &mut [Rung], row: TierRow) {
    let Some((rung, coarser)) = rungs.split_first_mut() else { return };
    let window_us = rung.tier.window_of(row.window_us);
    if let Some(open) = &mut rung.open {
        if (open.series_id, open.window_us) == (row.series_id, window_us) {
            open.whole.append(&row.whole);
            match &mut open.inner {
                Some(inner) => inner.append(&row.whole),
                // A sample lies on the start, and nothing followed yet.
                None if open.whole.first_us == window_us => open.inner = Some(row.whole),
                None => {}
            }
            return;
        }
        let done = *open;
        rung.rows.push(done);
        push(coarser, done);
    }
    // Where its first sample lies on the start, so it does in the finer window, which knows what follows.
    let inner = row.inner.filter(|_| row.whole.first_us == window_us);
    rung.open = Some(TierRow { window_us, inner, ..row });
}
