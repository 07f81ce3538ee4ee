//! The store as PromQL sees it: series by index, samples from head and tables.

use crate::cold::{self, ColdError, ColdRange, ColdSeries};
use crate::store::MetricStore;
use arrow::buffer::ScalarBuffer;
use bodkin_promql::storage::{FloatColumns, HistogramColumns, SampleBatch, Select, Selection, Storage};
use bodkin_promql::{Error as QueryError, Labels, StorageError};
use bodkin_schema::{MetricId, SeriesId};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Microseconds of a time in milliseconds, as far as they fit.
fn micros(ms: i64) -> i64 {
    ms.saturating_mul(1000)
}

/// What the evaluator is given: the store and the runtime that reads its files.
#[derive(Clone, Debug)]
pub struct StoreView {
    store: Arc<MetricStore>,
    runtime: Handle,
}

impl StoreView {
    /// A view that reads files on `runtime`. Its calls block: they are not for threads of that runtime.
    pub fn new(store: Arc<MetricStore>, runtime: Handle) -> Self {
        Self { store, runtime }
    }

    /// The store.
    pub fn store(&self) -> &Arc<MetricStore> {
        &self.store
    }

    /// What the tables hold of `places` between the times, both inclusive.
    fn cold(
        &self,
        places: &[u32],
        from_ms: i64,
        to_ms: i64,
        request: Option<&Select<'_>>,
    ) -> Result<FxHashMap<u32, ColdSeries>, StorageError> {
        let Some(tables) = self.store.tables.get().filter(|_| from_ms <= to_ms && !places.is_empty()) else {
            return Ok(FxHashMap::default());
        };
        let ids: Vec<(SeriesId, MetricId, u32)> = {
            let index = self.store.index();
            let of = |place: &u32| index.entry(*place).map(|entry| (entry.id, entry.metric_id, *place));
            places.iter().filter_map(of).collect()
        };
        let range = ColdRange {
            series: Arc::new(ids.iter().map(|(id, _, place)| (id.0, *place)).collect()),
            metrics: Arc::new(ids.iter().map(|(_, metric, _)| metric.0).collect()),
            from_us: micros(from_ms),
            to_us: micros(to_ms).saturating_add(999),
        };
        let mut charged = 0;
        let charge = |bytes| {
            let Some(request) = request else { return Ok(()) };
            request.control.check()?;
            request.control.charge(bytes)?;
            charged += bytes;
            Ok::<(), ReadError>(())
        };
        let read = async {
            let snapshot = tables.snapshot().await?;
            cold::read(&snapshot, &tables.store(), &range, charge).await
        };
        let found = self.runtime.block_on(read);
        if let Some(request) = request {
            request.control.release(charged);
        }
        found.map_err(Into::into)
    }
}

enum ReadError {
    Cold(ColdError),
    Query(QueryError),
}

impl From<ColdError> for ReadError {
    fn from(error: ColdError) -> Self {
        Self::Cold(error)
    }
}

impl From<QueryError> for ReadError {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl From<ReadError> for StorageError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Cold(error) => Self::Internal(error.to_string()),
            ReadError::Query(error) => error.into(),
        }
    }
}

impl Storage for StoreView {
    fn select(&self, request: &Select<'_>) -> Result<Box<dyn Selection>, StorageError> {
        let (start_ms, end_ms) = (request.start_ms, request.end_ms);
        let (mut places, mut series): (Vec<u32>, Vec<Labels>) = (Vec::new(), Vec::new());
        let complete_from;
        {
            let index = self.store.ranked();
            let found = index.select(request.matchers);
            let head = self.store.head();
            complete_from = head.complete_from();
            // What the head alone answers is left out where it has nothing; an old range may have it in a file.
            let is_hot = start_ms >= complete_from;
            let limit = if request.hints.series_limit > 0 { request.hints.series_limit } else { usize::MAX };
            for place in found {
                if is_hot && !head.series(place).is_some_and(|series| series.has_any(start_ms, end_ms)) {
                    continue;
                }
                if let Some(labels) = index.labels(place) {
                    places.push(place);
                    series.push(labels.clone());
                }
                if series.len() >= limit {
                    break;
                }
            }
        }
        let cold_end = end_ms.min(complete_from.saturating_sub(1));
        let cold = self.cold(&places, start_ms, cold_end, Some(request))?;
        let is_newest_only = request.hints.is_newest_only;
        Ok(Box::new(Found {
            view: self.clone(),
            places,
            series,
            start_ms,
            end_ms,
            complete_from,
            cold,
            is_newest_only,
        }))
    }
}

/// The series of one selector.
struct Found {
    view: StoreView,
    places: Vec<u32>,
    series: Vec<Labels>,
    start_ms: i64,
    end_ms: i64,
    /// Where the head began when the series were found.
    complete_from: i64,
    cold: FxHashMap<u32, ColdSeries>,
    /// Of each series the newest sample is enough.
    is_newest_only: bool,
}

impl Found {
    fn collect(&self, places: &[u32]) -> Result<SampleBatch, i64> {
        let head = self.view.store.head();
        if head.complete_from() > self.complete_from && self.start_ms < head.complete_from() {
            return Err(head.complete_from());
        }
        let from_ms = self.start_ms.max(self.complete_from);
        let mut columns = Columns::new(places.len());
        for place in places {
            if let Some(cold) = self.cold.get(place) {
                columns.times.extend_from_slice(&cold.times_ms);
                columns.values.extend_from_slice(&cold.values);
                cold.histograms.iter().for_each(|(ts_ms, value)| columns.histogram(*ts_ms, value.clone()));
            }
            if let Some(series) = head.series(*place) {
                match series.newest_float(from_ms, self.end_ms).filter(|_| self.is_newest_only) {
                    Some((ts_ms, value)) => {
                        columns.times.push(ts_ms);
                        columns.values.push(value);
                    }
                    None => series.read(from_ms, self.end_ms, &mut columns.times, &mut columns.values),
                }
                let (times, values) = series.histograms(from_ms, self.end_ms);
                times.iter().zip(values).for_each(|(ts_ms, value)| columns.histogram(*ts_ms, value.clone()));
            }
            columns.end_series();
        }
        Ok(columns.finish())
    }
}

impl Selection for Found {
    fn series(&self) -> &[Labels] {
        &self.series
    }

    fn read(&self, positions: Range<usize>) -> Result<SampleBatch, StorageError> {
        let places = self.places.get(positions).unwrap_or_default();
        match self.collect(places) {
            Ok(batch) => Ok(batch),
            // The head gave samples up since: they are in the tables.
            Err(complete_from) => {
                let end = self.end_ms.min(complete_from.saturating_sub(1));
                let cold = self.view.cold(places, self.start_ms, end, None)?;
                let later = Self {
                    view: self.view.clone(),
                    places: places.to_vec(),
                    series: Vec::new(),
                    start_ms: self.start_ms,
                    end_ms: self.end_ms,
                    complete_from,
                    cold,
                    is_newest_only: self.is_newest_only,
                };
                let again = later.collect(places);
                again.map_err(|_| StorageError::Internal("the head gives samples up faster than they are read".into()))
            }
        }
    }
}

/// A batch in the making.
struct Columns {
    offsets: Vec<usize>,
    times: Vec<i64>,
    values: Vec<f64>,
    histograms: HistogramColumns,
}

impl Columns {
    fn new(series: usize) -> Self {
        let mut offsets = Vec::with_capacity(series + 1);
        offsets.push(0);
        let histograms = HistogramColumns { offsets: offsets.clone(), ..Default::default() };
        Self { offsets, times: Vec::new(), values: Vec::new(), histograms }
    }

    fn histogram(&mut self, ts_ms: i64, value: Arc<bodkin_promql::FloatHistogram>) {
        self.histograms.timestamps.push(ts_ms);
        self.histograms.values.push(value);
    }

    fn end_series(&mut self) {
        self.offsets.push(self.times.len());
        self.histograms.offsets.push(self.histograms.timestamps.len());
    }

    fn finish(self) -> SampleBatch {
        SampleBatch {
            floats: FloatColumns {
                offsets: self.offsets,
                timestamps: ScalarBuffer::from(self.times),
                values: ScalarBuffer::from(self.values),
                start_timestamps: None,
            },
            histograms: (!self.histograms.timestamps.is_empty()).then_some(self.histograms),
        }
    }
}
