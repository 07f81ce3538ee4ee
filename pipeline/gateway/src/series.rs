//! Which series are known, found by the bytes of their labels before those are parsed.
//!
//! A sender repeats the labels of a series with every sample. Here they are hashed as they came (128 bits, a secret seed
//! of the process, so that nobody can make two sets meet) and looked up; only a set of bytes that was never seen is
//! parsed. Two encodings of one label set lead to the same series.

use crate::limits::{GatewayLimits, Limit};
use crate::memory::Memory;
use bodkin_schema::{MetricId, SeriesId};
use rustc_hash::FxBuildHasher;
use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

/// The label that holds the metric name.
const METRIC_NAME: &str = "__name__";
/// A series is announced again, which moves its `last_seen`, when its last announcement is older.
const ANNOUNCE_US: i64 = 3_600_000_000;
/// How much of a series an error shows.
const SHOWN_CHARS: usize = 200;
/// Encodings that are remembered per series on average; beyond, all are forgotten and looked up again.
const ENCODINGS_PER_SERIES: usize = 4;

/// Why labels are no series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// There is no metric name, or a label without a name.
    #[error("invalid metric name or labels")]
    Invalid,
    /// A label occurs twice.
    #[error("duplicate label {0:?}")]
    Duplicate(String),
    /// More labels than are allowed.
    #[error(
        "received a series whose number of labels exceeds the limit (actual: {actual}, limit: {limit}) series: '{series}'"
    )]
    TooManyLabels {
        /// Labels of the series.
        actual: usize,
        /// How many are allowed.
        limit: usize,
        /// The beginning of the series.
        series: String,
    },
    /// Larger labels than are allowed.
    #[error(
        "received a series whose labels exceed the limit in bytes (actual: {actual}, limit: {limit}) series: '{series}'"
    )]
    LabelsTooLarge {
        /// Bytes of names and values.
        actual: usize,
        /// How many are allowed.
        limit: usize,
        /// The beginning of the series.
        series: String,
    },
    /// As many series as the tenant may have.
    #[error("per-tenant series limit of {0} exceeded")]
    TooMany(usize),
    /// The columns of a request cannot hold it.
    #[error("{0}")]
    Unfit(String),
    /// Another label set has the same id.
    #[error("the id of the series is taken by another one")]
    Collision,
}

impl SeriesError {
    /// The limit that was met.
    pub(crate) fn limit(&self) -> Option<Limit> {
        match self {
            Self::TooMany(_) => Some(Limit::Series),
            Self::TooManyLabels { .. } => Some(Limit::Labels),
            Self::LabelsTooLarge { .. } => Some(Limit::LabelBytes),
            _ => None,
        }
    }
}

/// A series that can be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) place: usize,
    pub(crate) series_id: SeriesId,
    pub(crate) metric_id: MetricId,
    /// Its labels have to go into the log with this request.
    pub(crate) is_due: bool,
}

#[derive(Debug)]
struct Known {
    series_id: SeriesId,
    metric_id: MetricId,
    /// A second hash of the labels: equal ids with different checks are a collision.
    check: u64,
    announced_us: AtomicI64,
    newest_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct Inner {
    by_bytes: HashMap<u128, usize, FxBuildHasher>,
    by_id: HashMap<i64, usize, FxBuildHasher>,
    known: Vec<Known>,
}

/// All series that this process was sent by a tenant. Memory: about 150 bytes per series, bounded by
/// [`GatewayLimits::series_max`].
pub(crate) struct SeriesCache {
    inner: RwLock<Inner>,
    memory: Arc<dyn Memory>,
    seed: u64,
    limits: GatewayLimits,
}

impl SeriesCache {
    pub(crate) fn new(limits: GatewayLimits, seed: u64, memory: Arc<dyn Memory>) -> Self {
        Self { inner: RwLock::default(), memory, seed, limits }
    }

    /// A view for one request that began at `now_us`.
    pub(crate) fn resolver(&self, now_us: i64) -> Resolver<'_> {
        Resolver { cache: self, guard: None, now_us }
    }

    /// The labels of these series are durable.
    pub(crate) fn announced(&self, places: &[usize], now_us: i64) {
        if places.is_empty() {
            return;
        }
        let inner = self.read();
        for known in places.iter().filter_map(|place| inner.known.get(*place)) {
            known.announced_us.store(now_us, Relaxed);
        }
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.read().known.len()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds or adds the series of `labels`, which are sorted, and remembers `hash` for it.
    fn register(&self, hash: u128, labels: &[(&str, &str)]) -> Result<(), SeriesError> {
        let name = labels.iter().find(|(label, _)| *label == METRIC_NAME).map_or("", |(_, name)| *name);
        let (series_id, metric_id) = (SeriesId::of(name, labels), MetricId::of(name));
        let check = check(labels, self.seed);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let place = match inner.by_id.get(&series_id.0) {
            Some(place) if inner.known.get(*place).is_some_and(|known| known.check == check) => *place,
            Some(_) => return Err(SeriesError::Collision),
            None if inner.known.len() >= self.limits.series_max => {
                return Err(SeriesError::TooMany(self.limits.series_max));
            }
            None => {
                let place = inner.known.len();
                // Samples of an earlier life of the process: what is sent again after a restart meets them.
                let newest_ms = self.memory.newest_ms(series_id).unwrap_or(i64::MIN);
                inner.known.push(Known {
                    series_id,
                    metric_id,
                    check,
                    announced_us: AtomicI64::new(i64::MIN),
                    newest_ms: AtomicI64::new(newest_ms),
                });
                inner.by_id.insert(series_id.0, place);
                place
            }
        };
        if inner.by_bytes.len() >= ENCODINGS_PER_SERIES * self.limits.series_max {
            inner.by_bytes.clear();
        }
        inner.by_bytes.insert(hash, place);
        Ok(())
    }
}

/// Looks series up; holds the cache's read lock from the first lookup until a series is new.
pub(crate) struct Resolver<'a> {
    cache: &'a SeriesCache,
    guard: Option<RwLockReadGuard<'a, Inner>>,
    now_us: i64,
}

impl Resolver<'_> {
    /// The series whose labels came as `bytes`. `labels` gives them parsed, in any order, and is called only where the
    /// bytes are new.
    pub(crate) fn resolve<'b>(
        &mut self,
        bytes: &[u8],
        labels: impl FnOnce(&mut Vec<(&'b str, &'b str)>) -> Result<(), SeriesError>,
    ) -> Result<Resolved, SeriesError> {
        let hash = xxh3_128_with_seed(bytes, self.cache.seed);
        if let Some(resolved) = self.lookup(hash) {
            return Ok(resolved);
        }
        let mut parsed = Vec::new();
        labels(&mut parsed)?;
        canonical(&mut parsed, &self.cache.limits)?;
        self.guard = None;
        self.cache.register(hash, &parsed)?;
        self.lookup(hash).ok_or(SeriesError::TooMany(self.cache.limits.series_max))
    }

    fn lookup(&mut self, hash: u128) -> Option<Resolved> {
        let inner = self.guard.get_or_insert_with(|| self.cache.read());
        let place = *inner.by_bytes.get(&hash)?;
        let known = inner.known.get(place)?;
        let announced_us = known.announced_us.load(Relaxed);
        let is_due = announced_us == i64::MIN || self.now_us.saturating_sub(announced_us) >= ANNOUNCE_US;
        Some(Resolved { place, series_id: known.series_id, metric_id: known.metric_id, is_due })
    }

    /// Notes a sample; says whether the series may have one of that time already.
    pub(crate) fn note(&mut self, place: usize, ts_ms: i64) -> bool {
        let inner = self.guard.get_or_insert_with(|| self.cache.read());
        let Some(known) = inner.known.get(place) else { return true };
        // Between two requests at once either order is right: one of them sees the other's time and has it checked.
        known.newest_ms.fetch_max(ts_ms, Relaxed) >= ts_ms
    }
}

/// Sorts labels, drops those without a value and checks them.
pub(crate) fn canonical(labels: &mut Vec<(&str, &str)>, limits: &GatewayLimits) -> Result<(), SeriesError> {
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort_unstable();
    if labels.first().is_some_and(|(name, _)| name.is_empty()) {
        return Err(SeriesError::Invalid);
    }
    if let Some(twice) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(SeriesError::Duplicate(twice[0].0.chars().take(128).collect()));
    }
    if !labels.iter().any(|(name, _)| *name == METRIC_NAME) {
        return Err(SeriesError::Invalid);
    }
    if labels.len() > limits.labels_max {
        return Err(SeriesError::TooManyLabels {
            actual: labels.len(),
            limit: limits.labels_max,
            series: beginning(labels),
        });
    }
    let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > limits.label_bytes_max {
        return Err(SeriesError::LabelsTooLarge {
            actual: bytes,
            limit: limits.label_bytes_max,
            series: beginning(labels),
        });
    }
    Ok(())
}

/// The first characters of a series as Prometheus writes it.
fn beginning(labels: &[(&str, &str)]) -> String {
    let mut text = labels.iter().find(|(name, _)| *name == METRIC_NAME).map_or("", |(_, name)| name).to_owned();
    text.push('{');
    let pairs = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    for (index, (name, value)) in pairs.enumerate() {
        if text.len() > SHOWN_CHARS {
            break;
        }
        let value: String = value.chars().take(SHOWN_CHARS).collect();
        text.push_str(if index > 0 { ", " } else { "" });
        text.extend(name.chars().take(SHOWN_CHARS));
        text.push_str(&format!("={value:?}"));
    }
    text.push('}');
    text.chars().take(SHOWN_CHARS).collect()
}

fn check(labels: &[(&str, &str)], seed: u64) -> u64 {
    let mut hash = Xxh3::with_seed(seed);
    for (name, value) in labels {
        hash.update(name.as_bytes());
        hash.update(&[0xff]);
        hash.update(value.as_bytes());
        hash.update(&[0xff]);
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows one sample, at 10, of the series `up{job="b"}`.
    struct One;

    impl Memory for One {
        fn compare(&self, suspects: &[crate::Suspect]) -> Vec<crate::Verdict> {
            vec![crate::Verdict::New; suspects.len()]
        }

        fn newest_ms(&self, series: SeriesId) -> Option<i64> {
            (series == SeriesId::of("up", &[("job", "b")])).then_some(10)
        }

        fn exemplars(&self, _: Vec<crate::Exemplar>) {}

        fn metadata(&self, _: Vec<crate::Metadata>) {}
    }

    fn resolve(cache: &SeriesCache, bytes: &str, labels: &[(&str, &str)]) -> Result<Resolved, SeriesError> {
        let owned: Vec<(String, String)> = labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        cache.resolver(0).resolve(bytes.as_bytes(), |into| {
            into.extend(owned.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            Ok(())
        })
    }

    #[test]
    fn two_encodings_are_one_series_and_due_until_announced() {
        let cache = SeriesCache::new(GatewayLimits::default(), 7, Arc::new(One));
        let one = resolve(&cache, "1", &[("__name__", "up"), ("job", "a")]).unwrap();
        let other = resolve(&cache, "2", &[("job", "a"), ("zone", ""), ("__name__", "up")]).unwrap();
        assert_eq!(one, other);
        assert!(one.is_due);
        assert_eq!(one.series_id, SeriesId::of("up", &[("job", "a")]));
        cache.announced(&[one.place], 5);
        assert!(!resolve(&cache, "1", &[]).unwrap().is_due);
        assert_eq!(cache.len(), 1);
        let mut resolver = cache.resolver(ANNOUNCE_US + 5);
        assert!(resolver.resolve(b"2", |_| Ok(())).unwrap().is_due);
        assert!(!resolver.note(one.place, 10) && resolver.note(one.place, 10) && !resolver.note(one.place, 11));
    }

    #[test]
    fn once_1_samples_of_an_earlier_life_are_met_again() {
        let cache = SeriesCache::new(GatewayLimits::default(), 7, Arc::new(One));
        let series = resolve(&cache, "1", &[("__name__", "up"), ("job", "b")]).unwrap();
        let mut resolver = cache.resolver(0);
        assert!(resolver.note(series.place, 9) && resolver.note(series.place, 10) && !resolver.note(series.place, 11));
    }

    #[test]
    fn what_is_no_series_is_refused() {
        let limits = GatewayLimits { series_max: 1, labels_max: 2, label_bytes_max: 20, ..Default::default() };
        let cache = SeriesCache::new(limits, 7, Arc::new(One));
        assert_eq!(resolve(&cache, "1", &[("job", "a")]), Err(SeriesError::Invalid));
        assert_eq!(resolve(&cache, "2", &[("__name__", "")]), Err(SeriesError::Invalid));
        assert_eq!(resolve(&cache, "3", &[("__name__", "a"), ("", "b")]), Err(SeriesError::Invalid));
        let twice = [("__name__", "a"), ("b", "1"), ("b", "2")];
        assert_eq!(resolve(&cache, "4", &twice), Err(SeriesError::Duplicate("b".to_owned())));
        let many = [("__name__", "a"), ("b", "1"), ("c", "2")];
        let error = resolve(&cache, "5", &many).unwrap_err();
        assert_eq!(error.limit(), Some(Limit::Labels));
        assert!(error.to_string().ends_with("(actual: 3, limit: 2) series: 'a{b=\"1\", c=\"2\"}'"), "{error}");
        let error = resolve(&cache, "6", &[("__name__", &"a".repeat(300))]).unwrap_err();
        assert_eq!(error.limit(), Some(Limit::LabelBytes));
        assert!(error.to_string().len() < 400, "{error}");
        assert!(resolve(&cache, "7", &[("__name__", "a")]).is_ok());
        assert_eq!(resolve(&cache, "8", &[("__name__", "b")]), Err(SeriesError::TooMany(1)));
    }
}
