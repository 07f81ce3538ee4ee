//! Samples in order to rows of the tiers, each tier from the one before it, in one pass.

use crate::base::{Folding, Given, Sketched};
use crate::bucket::Bucket;
use crate::rows::{RowColumns, RowParts, RowsBuilder, TierRow};
use crate::sketch::Sketch;
use crate::tier::Tier;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bodkin_schema::rollup;
use std::sync::Arc;

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
    sketched: Arc<Sketched>,
}

/// One tier on its way.
#[derive(Debug)]
struct Rung {
    tier: Tier,
    open: Option<(TierRow, Option<Sketch>)>,
    rows: RowsBuilder,
}

/// What is known by size of the values of a part.
enum Sizes {
    /// Nothing: then nothing is known of the whole.
    Unknown,
    One(f64),
    Many(Sketch),
}

impl Sizes {
    fn sketch(self) -> Option<Sketch> {
        match self {
            Self::Unknown => None,
            Self::One(value) => {
                let mut sketch = Sketch::default();
                sketch.add(value);
                Some(sketch)
            }
            Self::Many(sketch) => Some(sketch),
        }
    }

    fn add_to(self, whole: &mut Option<Sketch>) {
        match (whole.as_mut(), self) {
            (Some(whole), Self::One(value)) => whole.add(value),
            (Some(whole), Self::Many(sketch)) => whole.merge(&sketch),
            (None, _) => {}
            (Some(_), Self::Unknown) => *whole = None,
        }
    }
}

impl Fold {
    /// Of `tiers`, the finest first; rows of the metrics in `sketched` have a sketch.
    pub(crate) fn new(given: Given, tiers: &[Tier], version: i64, sketched: Arc<Sketched>) -> Self {
        let rung = |tier: &Tier| Rung { tier: *tier, open: None, rows: RowsBuilder::default() };
        Self { given, version, rungs: tiers.iter().map(rung).collect(), last: None, samples: 0, sketched }
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
            let sizes = if self.sketched.contains(&row.metric_id) { Sizes::One(value) } else { Sizes::Unknown };
            push(&mut self.rungs, row, sizes);
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
        let texts = records.column_by_name(rollup::SKETCH).map(|texts| cast(texts, &DataType::Utf8)).transpose()?;
        for row in 0..columns.len() {
            let text = texts.as_ref().map(|texts| texts.as_string::<i32>()).filter(|texts| texts.is_valid(row));
            let sketch = text.map(|texts| texts.value(row).parse::<Sketch>()).transpose();
            let sketch = sketch.map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
            push(&mut self.rungs, columns.row(row), sketch.map_or(Sizes::Unknown, Sizes::Many));
        }
        Ok(())
    }

    fn end(&mut self) {
        for at in 0..self.rungs.len() {
            if let Some((done, sketch)) = self.rungs[at].open.take() {
                self.rungs[at].rows.push(done, sketch.as_ref());
                push(&mut self.rungs[at + 1..], done, sketch.map_or(Sizes::Unknown, Sizes::Many));
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

fn push(rungs: &mut [Rung], row: TierRow, sizes: Sizes) {
    let Some((rung, coarser)) = rungs.split_first_mut() else { return };
    let window_us = rung.tier.window_of(row.window_us);
    if let Some((open, sketch)) = &mut rung.open
        && (open.series_id, open.window_us) == (row.series_id, window_us)
    {
        open.whole.append(&row.whole);
        match &mut open.inner {
            Some(inner) => inner.append(&row.whole),
            // A sample lies on the start, and nothing followed yet.
            None if open.whole.first_us == window_us => open.inner = Some(row.whole),
            None => {}
        }
        sizes.add_to(sketch);
        return;
    }
    // Where its first sample lies on the start, so it does in the finer window, which knows what follows.
    let inner = row.inner.filter(|_| row.whole.first_us == window_us);
    let done = rung.open.replace((TierRow { window_us, inner, ..row }, sizes.sketch()));
    if let Some((done, sketch)) = done {
        rung.rows.push(done, sketch.as_ref());
        push(coarser, done, sketch.map_or(Sizes::Unknown, Sizes::Many));
    }
}
