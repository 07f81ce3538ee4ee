//! What a start reads from the tables: every series, and the newest samples.

use crate::cold::{ColdError, Tables, read_since};
use crate::store::MetricStore;
use bodkin_schema::{Stream, Tenant, metrics};
use bodkin_table::{Snapshot, StatValue, TableFile};
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;

/// Rows of files that are read into memory at most: what a second of starting may cost.
const WARM_ROWS_MAX: u64 = 4_000_000;
/// How far back the head may begin, from the newest sample on; the largest that [`WARM_ROWS_MAX`] allows is taken.
const WARM_US: [i64; 5] = [6 * 3_600_000_000, 2 * 3_600_000_000, 3_600_000_000, 600_000_000, 60_000_000];
const PARALLEL: usize = 2;

impl MetricStore {
    /// Reads the tables as they are before the log is replayed, and keeps `tables` for what is older than the head. To be
    /// called once, before the first row is applied.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub async fn load(&self, tables: Arc<dyn Tables>, snapshot: &Snapshot) -> Result<(), ColdError> {
        let store = tables.store();
        // Set once, by the wiring.
        let _ = self.tables.set(tables);
        let ours = |file: &&Arc<TableFile>| file.tenant == Tenant::default();
        let series = snapshot.table(Stream::Series).files.iter().filter(ours);
        let reads = series.map(|file| read_since(Stream::Series, &store, file, None));
        let mut batches = futures::stream::iter(reads).buffered(PARALLEL);
        while let Some(read) = batches.try_next().await? {
            read.iter().for_each(|batch| self.apply(Stream::Series, batch));
        }
        let plan = WarmPlan::new(snapshot);
        if let Some(from_us) = plan.from_us {
            self.head_mut().set_complete_from(from_us.div_euclid(1000).saturating_add(1));
        }
        for (stream, file) in plan.files {
            for batch in read_since(stream, &store, &file, plan.from_us).await? {
                self.apply(stream, &batch);
            }
        }
        Ok(())
    }
}

/// Which files a start reads, and from when on the head is complete then.
struct WarmPlan {
    /// None where the tables hold nothing.
    from_us: Option<i64>,
    files: Vec<(Stream, Arc<TableFile>)>,
}

impl WarmPlan {
    fn new(snapshot: &Snapshot) -> Self {
        let files: Vec<(Stream, &Arc<TableFile>)> = [Stream::Samples, Stream::Histograms]
            .into_iter()
            .flat_map(|stream| snapshot.table(stream).files.iter().map(move |file| (stream, file)))
            .filter(|(_, file)| file.tenant == Tenant::default())
            .collect();
        let Some(newest) = files.iter().map(|(stream, file)| newest_us(*stream, file)).max() else {
            return Self { from_us: None, files: Vec::new() };
        };
        for window in WARM_US {
            let from_us = newest.saturating_sub(window);
            let within: Vec<_> = files.iter().filter(|(stream, file)| newest_us(*stream, file) > from_us).collect();
            if within.iter().map(|(_, file)| file.rows).sum::<u64>() <= WARM_ROWS_MAX {
                let files = within.into_iter().map(|(stream, file)| (*stream, (*file).clone())).collect();
                return Self { from_us: Some(from_us), files };
            }
        }
        Self { from_us: Some(newest), files: Vec::new() }
    }
}

/// The newest event time of a file; the end of time where it is not known.
fn newest_us(stream: Stream, file: &TableFile) -> i64 {
    let index = stream.schema().index_of(metrics::TS).ok();
    match index.and_then(|index| file.stats.column(index).max) {
        Some(StatValue::Int(ts_us)) => *ts_us,
        _ => i64::MAX,
    }
}
