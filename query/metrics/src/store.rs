//! The store: index and head, fed with every durable row of the three streams of metrics.

use crate::cold::Tables;
use crate::columns::{HistogramColumns, SampleColumns, SeriesColumns};
use crate::head::{At, Head};
use crate::index::Index;
use crate::side::{ExemplarRing, MetadataBook, StoredExemplar};
use crate::times::Times;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bodkin_gateway::{Exemplar, Memory, Metadata, Suspect, SuspectValue, Verdict};
use bodkin_promql::{Labels, Matcher};
use bodkin_schema::{MetricId, SeriesId, Stream};
use roaring::RoaringBitmap;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub struct MetricOptions {
    /// Bytes of samples in memory; older ones are read from tables.
    pub head_bytes_max: usize,
    /// Exemplars in memory; the oldest go.
    pub exemplars_max: usize,
    /// Metrics whose metadata is kept.
    pub metadata_max: usize,
}

impl Default for MetricOptions {
    fn default() -> Self {
        Self { head_bytes_max: 512 << 20, exemplars_max: 100_000, metadata_max: 100_000 }
    }
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Series whose labels are known.
    pub series: u64,
    /// Samples taken into memory since the start.
    pub samples: u64,
    /// Bytes of samples in memory.
    pub head_bytes: u64,
    /// Announcements of a second label set under an id that is taken.
    pub collisions: u64,
    /// Batches that could not be read.
    pub faults: u64,
}

/// Series, recent samples, exemplars and metadata of the default tenant.
#[derive(Debug)]
pub struct MetricStore {
    index: RwLock<Index>,
    head: RwLock<Head>,
    exemplars: Mutex<ExemplarRing>,
    metadata: Mutex<MetadataBook>,
    pub(crate) tables: std::sync::OnceLock<Arc<dyn Tables>>,
    collisions: AtomicU64,
    faults: AtomicU64,
}

impl MetricStore {
    /// An empty store.
    pub fn new(options: MetricOptions) -> Arc<Self> {
        Arc::new(Self {
            index: RwLock::default(),
            head: RwLock::new(Head::new(options.head_bytes_max)),
            exemplars: Mutex::new(ExemplarRing::new(options.exemplars_max)),
            metadata: Mutex::new(MetadataBook::new(options.metadata_max)),
            tables: std::sync::OnceLock::new(),
            collisions: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        })
    }

    /// Takes durable rows, in log order. Rows of other streams go by.
    pub fn apply(&self, stream: Stream, records: &RecordBatch) {
        let outcome = match stream {
            Stream::Series => self.apply_series(records),
            Stream::Samples => self.apply_samples(records),
            Stream::Histograms => self.apply_histograms(records),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            self.faults.fetch_add(1, Relaxed);
            tracing::error!(%stream, %error, rows = records.num_rows(), "rows are not in memory; queries find them in the tables only");
        }
    }

    fn apply_series(&self, records: &RecordBatch) -> Result<(), ArrowError> {
        let columns = SeriesColumns::new(records)?;
        let mut index = self.index_mut();
        let mut pairs = Vec::new();
        for row in 0..records.num_rows() {
            pairs.clear();
            columns.labels(row, &mut pairs);
            let labels = Labels::from_pairs(pairs.iter().copied());
            let (id, metric_id) = columns.ids(row);
            if !index.announce(id, metric_id, labels) {
                self.collisions.fetch_add(1, Relaxed);
                tracing::error!(series_id = id.0, "two label sets have one id; the second is not found by queries");
            }
        }
        Ok(())
    }

    fn apply_samples(&self, records: &RecordBatch) -> Result<(), ArrowError> {
        let columns = SampleColumns::new(records)?;
        let places = self.places(columns.series_id, columns.metric_id);
        let mut head = self.head_mut();
        for ((place, ts_us), value) in places.iter().zip(columns.ts_us).zip(columns.value) {
            head.push(*place, ts_us.div_euclid(1000), *value);
        }
        head.evict();
        Ok(())
    }

    fn apply_histograms(&self, records: &RecordBatch) -> Result<(), ArrowError> {
        let columns = HistogramColumns::new(records)?;
        let places = self.places(columns.series_id, columns.metric_id);
        let mut head = self.head_mut();
        for (row, (place, ts_us)) in places.iter().zip(columns.ts_us).enumerate() {
            head.push_histogram(*place, ts_us.div_euclid(1000), Arc::new(columns.value(row)));
        }
        head.evict();
        Ok(())
    }

    /// The place of each row's series; made where it is new.
    fn places(&self, series_id: &[i64], metric_id: &[i64]) -> Vec<u32> {
        let index = self.index();
        let mut last = None;
        let known: Option<Vec<u32>> = series_id
            .iter()
            .map(|id| match last {
                Some((last_id, place)) if last_id == *id => Some(place),
                _ => {
                    let place = index.find(SeriesId(*id))?;
                    last = Some((*id, place));
                    Some(place)
                }
            })
            .collect();
        drop(index);
        known.unwrap_or_else(|| {
            let mut index = self.index_mut();
            let ids = series_id.iter().zip(metric_id);
            ids.map(|(id, metric)| index.place(SeriesId(*id), MetricId(*metric))).collect()
        })
    }

    /// The series that are accepted by all matchers of one of the sets and have samples within the times, as far as that
    /// is known without a look at files; sorted, at most `limit`. A set without matchers accepts every series.
    pub fn series(&self, sets: &[Vec<Matcher>], times: Times, limit: usize) -> Vec<Labels> {
        let index = self.ranked();
        let mut places: Vec<u32> = match sets {
            [only] => index.select(only),
            _ => {
                let among = union(&index, sets);
                let mut all = index.select(&[]);
                all.retain(|place| among.contains(*place));
                all
            }
        };
        let head = self.head();
        if times.are_known_to(&head) {
            places.retain(|place| times.hold_any_of(&head, *place));
        }
        places.into_iter().filter_map(|place| index.labels(place).cloned()).take(limit).collect()
    }

    /// Names of the labels of the series that one of the sets accepts, sorted; of all series where there is no set. Of
    /// times the two hours count in which they lie, as in Prometheus's blocks.
    pub fn label_names(&self, sets: &[Vec<Matcher>], times: Times, limit: usize) -> Vec<String> {
        let index = self.index();
        let mut names = index.names(self.among(&index, sets, times).as_ref());
        names.truncate(limit);
        names
    }

    /// Values of a label in the series that one of the sets accepts, sorted; of all series where there is no set. Times
    /// are as for [`MetricStore::label_names`].
    pub fn label_values(&self, name: &str, sets: &[Vec<Matcher>], times: Times, limit: usize) -> Vec<String> {
        let index = self.index();
        index.values(name, self.among(&index, sets, times).as_ref(), limit)
    }

    /// The series that one of the sets accepts and that the times leave; none where that is all of them.
    fn among(&self, index: &Index, sets: &[Vec<Matcher>], times: Times) -> Option<RoaringBitmap> {
        let accepted = (!sets.is_empty()).then(|| union(index, sets));
        let (head, blocks) = (self.head(), times.of_blocks());
        if times == Times::ALL || !blocks.are_known_to(&head) {
            return accepted;
        }
        if head.time_range().is_none_or(|(first, last)| times.to_ms < first || times.from_ms > last) {
            return Some(RoaringBitmap::new());
        }
        let is_alive = |place: &u32| blocks.hold_any_of(&head, *place);
        Some(accepted.unwrap_or_else(|| index.matching(&[])).into_iter().filter(is_alive).collect())
    }

    /// What was said of metrics: of `metric` alone where it is given.
    pub fn metadata_of(
        &self,
        metric: Option<&str>,
        limit: usize,
        per_metric: usize,
    ) -> BTreeMap<String, Vec<Metadata>> {
        self.metadata_book().find(metric, limit, per_metric)
    }

    /// Exemplars from `from_ms` to `to_ms` of the series that one of the sets accepts, with their series, sorted.
    pub fn exemplars_of(&self, sets: &[Vec<Matcher>], from_ms: i64, to_ms: i64) -> Vec<(Labels, Vec<StoredExemplar>)> {
        let index = self.index();
        let places = union(&index, sets);
        let mut found: BTreeMap<Labels, Vec<StoredExemplar>> = BTreeMap::new();
        for exemplar in self.exemplar_ring().between(from_ms, to_ms) {
            let place = index.find(exemplar.series_id).filter(|place| places.contains(*place));
            if let Some(labels) = place.and_then(|place| index.labels(place)) {
                found.entry(labels.clone()).or_default().push(exemplar.clone());
            }
        }
        found.values_mut().for_each(|exemplars| exemplars.sort_by_key(|exemplar| exemplar.ts_ms));
        found.into_iter().collect()
    }

    /// For each label its name, number of values, bytes of values and number of series.
    pub fn label_cardinality(&self) -> Vec<(String, usize, usize, u64)> {
        self.index()
            .cardinality()
            .map(|(name, values, bytes, series)| (name.to_owned(), values, bytes, series))
            .collect()
    }

    /// The values of a label with their numbers of series.
    pub fn value_cardinality(&self, name: &str) -> Vec<(String, u64)> {
        self.index().value_counts(name).map(|(value, series)| (value.to_owned(), series)).collect()
    }

    /// The times of the oldest and the newest sample in memory, in milliseconds.
    pub fn time_range(&self) -> Option<(i64, i64)> {
        self.head().time_range()
    }

    /// What it holds.
    pub fn stats(&self) -> StoreStats {
        let (series, head) = (self.index().len() as u64, self.head());
        StoreStats {
            series,
            samples: head.samples(),
            head_bytes: head.bytes() as u64,
            collisions: self.collisions.load(Relaxed),
            faults: self.faults.load(Relaxed),
        }
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index with every series ranked.
    pub(crate) fn ranked(&self) -> RwLockReadGuard<'_, Index> {
        loop {
            let index = self.index();
            if index.is_ranked() {
                return index;
            }
            drop(index);
            self.index_mut().rank();
        }
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn head(&self) -> RwLockReadGuard<'_, Head> {
        self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn head_mut(&self) -> RwLockWriteGuard<'_, Head> {
        self.head.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn exemplar_ring(&self) -> MutexGuard<'_, ExemplarRing> {
        self.exemplars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metadata_book(&self) -> MutexGuard<'_, MetadataBook> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn union(index: &Index, sets: &[Vec<Matcher>]) -> RoaringBitmap {
    sets.iter().fold(RoaringBitmap::new(), |found, set| found | index.matching(set))
}

impl Memory for MetricStore {
    fn compare(&self, suspects: &[Suspect]) -> Vec<Verdict> {
        let (index, head) = (self.index(), self.head());
        let verdict = |suspect: &Suspect| {
            let Some(place) = index.find(suspect.series_id) else { return Verdict::New };
            let Some(series) = head.series(place) else { return Verdict::New };
            let other = |existing| Verdict::Other {
                existing,
                series: index.labels(place).map(ToString::to_string).unwrap_or_default(),
            };
            match (series.at(suspect.ts_ms), suspect.value) {
                (At::Nothing, _) => Verdict::New,
                (At::Float(existing), SuspectValue::Float(new)) if existing.to_bits() == new.to_bits() => Verdict::Same,
                (At::Float(existing), _) => other(Some(existing)),
                (At::Histogram(existing), SuspectValue::Histogram { count, sum })
                    if existing.count.to_bits() == count.to_bits() && existing.sum.to_bits() == sum.to_bits() =>
                {
                    Verdict::Same
                }
                (At::Histogram(_), _) => other(None),
            }
        };
        suspects.iter().map(verdict).collect()
    }

    fn newest_ms(&self, series: SeriesId) -> Option<i64> {
        let place = self.index().find(series)?;
        self.head().series(place)?.newest_ms()
    }

    fn exemplars(&self, exemplars: Vec<Exemplar>) {
        let mut ring = self.exemplar_ring();
        exemplars.into_iter().for_each(|exemplar| ring.push(exemplar));
    }

    fn metadata(&self, metadata: Vec<Metadata>) {
        let mut book = self.metadata_book();
        metadata.into_iter().for_each(|metadata| book.put(metadata));
    }
}
