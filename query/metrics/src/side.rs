//! What senders say beside samples: exemplars and metadata. Both are in memory alone, as in Prometheus.

use bodkin_gateway::{Exemplar, Metadata};
use bodkin_schema::SeriesId;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Bytes of labels of one exemplar, as OpenMetrics allows.
const LABEL_CHARS_MAX: usize = 128;
/// Descriptions of one metric that are kept: more is a mistake of senders.
const PER_METRIC_MAX: usize = 8;
const TEXT_BYTES_MAX: usize = 4096;

/// An exemplar as it is kept.
pub type StoredExemplar = Exemplar;

/// The newest exemplars.
#[derive(Debug)]
pub(crate) struct ExemplarRing {
    exemplars: VecDeque<Exemplar>,
    /// The last of each series, to leave out what is sent again.
    last: std::collections::HashMap<SeriesId, u64>,
    max: usize,
}

impl ExemplarRing {
    pub(crate) fn new(max: usize) -> Self {
        Self { exemplars: VecDeque::new(), last: Default::default(), max }
    }

    /// Adds one; what has too many labels, or was the series' last already, goes by.
    pub(crate) fn push(&mut self, exemplar: Exemplar) {
        let chars: usize = exemplar.labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
        let mut hash = DefaultHasher::new();
        (&exemplar.labels, exemplar.value.to_bits(), exemplar.ts_ms).hash(&mut hash);
        if chars > LABEL_CHARS_MAX || self.max == 0 || self.last.get(&exemplar.series_id) == Some(&hash.finish()) {
            return;
        }
        if self.exemplars.len() >= self.max {
            self.exemplars.pop_front();
        }
        if self.last.len() >= self.max {
            self.last.clear();
        }
        self.last.insert(exemplar.series_id, hash.finish());
        self.exemplars.push_back(exemplar);
    }

    pub(crate) fn between(&self, from_ms: i64, to_ms: i64) -> impl Iterator<Item = &Exemplar> {
        self.exemplars.iter().filter(move |exemplar| (from_ms..=to_ms).contains(&exemplar.ts_ms))
    }
}

/// What is said of each metric.
#[derive(Debug)]
pub(crate) struct MetadataBook {
    metrics: BTreeMap<String, Vec<Metadata>>,
    max: usize,
}

impl MetadataBook {
    pub(crate) fn new(max: usize) -> Self {
        Self { metrics: BTreeMap::new(), max }
    }

    /// Adds what is new; the newest description of a metric is the first.
    pub(crate) fn put(&mut self, metadata: Metadata) {
        let is_large = metadata.name.len() + metadata.help.len() + metadata.unit.len() > TEXT_BYTES_MAX;
        if is_large || metadata.name.is_empty() {
            return;
        }
        if let Some(known) = self.metrics.get_mut(&metadata.name) {
            if !known.contains(&metadata) {
                known.insert(0, metadata);
                known.truncate(PER_METRIC_MAX);
            }
        } else if self.metrics.len() < self.max {
            self.metrics.insert(metadata.name.clone(), vec![metadata]);
        }
    }

    pub(crate) fn find(
        &self,
        metric: Option<&str>,
        limit: usize,
        per_metric: usize,
    ) -> BTreeMap<String, Vec<Metadata>> {
        let of = |known: &Vec<Metadata>| known.iter().take(per_metric).cloned().collect::<Vec<_>>();
        match metric {
            Some(name) if limit > 0 => {
                self.metrics.get(name).map(|known| (name.to_owned(), of(known))).into_iter().collect()
            }
            Some(_) => BTreeMap::new(),
            None => self.metrics.iter().take(limit).map(|(name, known)| (name.clone(), of(known))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_once() {
        let exemplar = |ts_ms| Exemplar { series_id: SeriesId(1), labels: Vec::new(), value: 1.0, ts_ms };
        let mut ring = ExemplarRing::new(2);
        for ts in [1, 1, 2, 3] {
            ring.push(exemplar(ts));
        }
        ring.push(Exemplar { labels: vec![("trace".into(), "x".repeat(200))], ..exemplar(4) });
        assert_eq!(ring.between(0, 9).map(|exemplar| exemplar.ts_ms).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(ring.between(3, 3).count(), 1);
    }

    #[test]
    fn metadata_is_bounded() {
        let said = |name: &str, help: &str| Metadata {
            name: name.into(),
            kind: "counter",
            help: help.into(),
            unit: String::new(),
        };
        let mut book = MetadataBook::new(2);
        for (name, help) in [("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("c", "1"), ("", "x")] {
            book.put(said(name, help));
        }
        assert_eq!(book.find(None, 10, 10).keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(book.find(Some("a"), 1, 10)["a"].iter().map(|m| m.help.as_str()).collect::<Vec<_>>(), ["2", "1"]);
        assert_eq!(book.find(None, 1, 1).len(), 1);
        assert!(book.find(Some("c"), 1, 1).is_empty());
    }
}
