//! The store as PromQL sees it: series by index, samples from head and tables.

use crate::cold::{self, ColdError, ColdRange, ColdSeries};
use crate::store::MetricStore;
use crate::tiers::{self, Cells, Grid, Plan, Read};
use arrow::buffer::ScalarBuffer;
use bodkin_promql::storage::{
    FloatColumns, HistogramColumns, SampleBatch, Select, Selection, Storage, WindowSummary, Windows,
};
use bodkin_promql::{Error as QueryError, Labels, Matcher, StorageError};
use bodkin_rollup::{RowParts, Tier};
use bodkin_schema::Stream;
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
        let range = self.range_of(places, (from_ms, to_ms));
        let mut charged = 0;
        let charge = |bytes| {
            charged += bytes;
            match request {
                Some(request) => {
                    request.control.check()?;
                    request.control.charge(bytes)?;
                    Ok::<(), ReadError>(())
                }
                None if charged > UNBOUNDED_BYTES_MAX => Err(ColdError::TooLarge.into()),
                None => Ok(()),
            }
        };
        let read = async {
            let snapshot = tables.snapshot().await?;
            cold::read(&snapshot, &tables.store(), &COLD, &range, charge).await
        };
        let found = self.runtime.block_on(read);
        if let Some(request) = request {
            request.control.release(charged);
        }
        found.map_err(Into::into)
    }

    /// Rows of the series at `places` between the times, both inclusive.
    fn range_of(&self, places: &[u32], (from_ms, to_ms): (i64, i64)) -> ColdRange {
        let index = self.store.index();
        let entries = || places.iter().filter_map(|place| Some((index.entry(*place)?, *place)));
        ColdRange {
            series: Arc::new(entries().map(|(entry, place)| (entry.id.0, place)).collect()),
            metrics: Arc::new(entries().map(|(entry, _)| entry.metric_id.0).collect()),
            from_us: micros(from_ms),
            to_us: micros(to_ms).saturating_add(999),
        }
    }

    /// Every series that the matchers accept: places; ids and labels.
    pub(crate) fn all_of(&self, matchers: &[Matcher]) -> (Vec<u32>, Vec<(i64, Labels)>) {
        let index = self.store.ranked();
        let series = index.select(matchers).into_iter();
        series.filter_map(|place| Some((place, (index.entry(place)?.id.0, index.labels(place)?.clone())))).unzip()
    }

    /// The samples of the series in the cells of `grid`: from tiers where `is_tiered` and they tell them exactly, from
    /// samples elsewhere. None where there is no ladder, or a series has native histograms, which no tier holds.
    pub(crate) fn cells(
        &self,
        grid: Grid,
        is_tiered: bool,
        places: &[u32],
        request: Option<&Select<'_>>,
    ) -> Result<Option<Read>, StorageError> {
        let Some((tables, ladder)) = self.store.tables.get().and_then(|tables| Some((tables, tables.ladder()?))) else {
            return Ok(None);
        };
        let tier = grid.tier().filter(|_| is_tiered);
        let take = async || tables.snapshot().await;
        let plan = self.runtime.block_on(Plan::new(&ladder, grid, tier, take)).map_err(ReadError::Cold)?;
        // A query of PromQL reads samples itself where no tier helps.
        if request.is_some() && !plan.uses_tiers() {
            return Ok(None);
        }
        let (from_ms, to_ms) = (grid.start_ms, grid.end_ms());
        let range = self.range_of(places, (from_ms, to_ms));
        if request.is_some() && self.has_histograms(&plan, places, &range)? {
            return Ok(None);
        }
        let parts = request.map_or(RowParts::ALL, |request| tiers::parts_of(request.hints.function));
        let mut charged = 0;
        let charge = |bytes| {
            charged += bytes;
            match request {
                Some(request) => {
                    request.control.check()?;
                    request.control.charge(bytes)?;
                    Ok::<(), ReadError>(())
                }
                None if charged > UNBOUNDED_BYTES_MAX => Err(ColdError::TooLarge.into()),
                None => Ok(()),
            }
        };
        let made = self.runtime.block_on(plan.read_tiers(&tables.store(), &range, parts, charge));
        if let Some(request) = request {
            request.control.release(charged);
        }
        let mut cells = made?;
        self.add_samples(&plan, places, &mut cells, request)?;
        cells.values_mut().for_each(tiers::in_order);
        Ok(Some((plan, cells)))
    }

    /// Adds what the plan reads from samples: those older than the head from tables, the others from the head.
    fn add_samples(
        &self,
        plan: &Plan,
        places: &[u32],
        cells: &mut FxHashMap<u32, Cells>,
        request: Option<&Select<'_>>,
    ) -> Result<(), StorageError> {
        for (from_ms, to_ms) in plan.of_samples() {
            let (mut complete_from, mut cold_from) = (self.store.head().complete_from(), from_ms);
            loop {
                // Where the head gave samples up since, they are in the tables.
                let cold = self.cold(places, cold_from, to_ms.min(complete_from.saturating_sub(1)), request)?;
                tiers::add_cold(plan, cold, cells);
                cold_from = cold_from.max(complete_from);
                let head = self.store.head();
                if head.complete_from() > complete_from && cold_from <= to_ms {
                    complete_from = head.complete_from();
                    continue;
                }
                let (mut times, mut values) = (Vec::new(), Vec::new());
                for place in places {
                    let Some(series) = head.series(*place) else { continue };
                    times.clear();
                    values.clear();
                    series.read(cold_from, to_ms, &mut times, &mut values);
                    if !times.is_empty() {
                        plan.add_samples(&times, &values, cells.entry(*place).or_default());
                    }
                }
                break;
            }
        }
        Ok(())
    }

    fn has_histograms(&self, plan: &Plan, places: &[u32], range: &ColdRange) -> Result<bool, StorageError> {
        let of_head = {
            let head = self.store.head();
            let of = |place: &u32| {
                head.series(*place).is_some_and(|series| !series.histograms(i64::MIN, i64::MAX).0.is_empty())
            };
            places.iter().any(of)
        };
        let table = plan.view.snapshot.table(Stream::Histograms);
        let Some(tables) = self.store.tables.get().filter(|_| !of_head && table.rows() > 0) else { return Ok(of_head) };
        let (store, charge) = (tables.store(), |_| Ok::<(), ReadError>(()));
        let read = cold::read(&plan.view.snapshot, &store, &tiers::HISTOGRAMS, range, charge);
        Ok(!self.runtime.block_on(read)?.is_empty())
    }

    /// The windows of a range function from tiers, where some of them lie in tiers of ten minutes or more: finer
    /// ones have hardly less rows than there are samples.
    fn tiered(
        &self,
        windows: Option<Windows>,
        places: &[u32],
        request: &Select<'_>,
    ) -> Result<Option<Tiered>, StorageError> {
        let grid = windows.and_then(|windows| Some((windows, Grid::of_windows(&windows)?)));
        let Some((windows, grid)) = grid.filter(|(_, grid)| grid.tier() >= Some(Tier::TenMinutes)) else {
            return Ok(None);
        };
        let found = self.cells(grid, true, places, Some(request))?;
        Ok(found.map(|(plan, cells)| Tiered { text: plan.text(), grid, windows, cells }))
    }
}

/// Bytes that are read on behalf of nobody who has a budget.
const UNBOUNDED_BYTES_MAX: usize = 2 << 30;
/// The tables of samples.
const COLD: [Stream; 2] = [Stream::Samples, Stream::Histograms];

/// Windows that were read from tiers.
struct Tiered {
    text: String,
    grid: Grid,
    windows: Windows,
    cells: FxHashMap<u32, Cells>,
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
        let tiered = self.tiered(request.hints.windows, &places, request)?;
        let cold_end = if tiered.is_some() { i64::MIN } else { end_ms.min(complete_from.saturating_sub(1)) };
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
            tiered,
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
    tiered: Option<Tiered>,
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
        let room = |place: &u32| match head.series(*place) {
            Some(_) if self.is_newest_only => 1,
            Some(series) => series.floats_at_most(from_ms, self.end_ms),
            None => 0,
        };
        let cold = self.cold.values().map(|cold| cold.times_ms.len()).sum::<usize>() / self.places.len().max(1);
        let mut columns = Columns::new(places.len(), places.iter().map(|place| cold + room(place)).sum());
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

    fn summaries(&self, positions: Range<usize>) -> Result<Option<Vec<Option<WindowSummary>>>, StorageError> {
        let Some(Tiered { grid, windows, cells, .. }) = &self.tiered else { return Ok(None) };
        let places = self.places.get(positions).unwrap_or_default();
        let nothing = Cells::new();
        let of = |place: &u32| tiers::summaries(cells.get(place).unwrap_or(&nothing), grid, windows);
        Ok(Some(places.iter().flat_map(of).collect()))
    }

    fn infos(&self) -> Vec<String> {
        self.tiered.iter().map(|tiered| tiered.text.clone()).collect()
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
                    tiered: None,
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
    /// Room for so many series and floats.
    fn new(series: usize, floats: usize) -> Self {
        let mut offsets = Vec::with_capacity(series + 1);
        offsets.push(0);
        let histograms = HistogramColumns { offsets: offsets.clone(), ..Default::default() };
        Self { offsets, times: Vec::with_capacity(floats), values: Vec::with_capacity(floats), histograms }
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
