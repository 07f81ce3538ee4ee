//! Recent samples in memory, by series.
//!
//! The head is complete from [`Head::complete_from`] on: every sample of that time or later is here. What is older is in
//! the tables alone, and what is written late goes there, too. When the head has more than its bytes, that time moves up.

use bodkin_promql::FloatHistogram;
use std::sync::Arc;

/// What a series costs beside its samples.
const SERIES_BYTES: usize = 120;
const SAMPLE_BYTES: usize = 16;
/// A histogram without its buckets.
const HISTOGRAM_BYTES: usize = 200;
/// Samples that a look for the time to evict at takes at most.
const PROBES_MAX: usize = 1 << 20;

/// Samples of one series, both kinds rising in time. No time is in both.
#[derive(Debug, Default)]
pub(crate) struct HeadSeries {
    times_ms: Vec<i64>,
    values: Vec<f64>,
    histograms: Option<Box<Histograms>>,
}

#[derive(Debug, Default)]
struct Histograms {
    times_ms: Vec<i64>,
    values: Vec<Arc<FloatHistogram>>,
}

/// What a series has at one time.
#[derive(Clone, Debug)]
pub(crate) enum At<'a> {
    Nothing,
    Float(f64),
    Histogram(&'a FloatHistogram),
}

impl HeadSeries {
    /// What is there at that time.
    pub(crate) fn at(&self, ts_ms: i64) -> At<'_> {
        if let Ok(row) = self.times_ms.binary_search(&ts_ms) {
            return At::Float(self.values[row]);
        }
        let Some(histograms) = &self.histograms else { return At::Nothing };
        match histograms.times_ms.binary_search(&ts_ms) {
            Ok(row) => At::Histogram(&histograms.values[row]),
            Err(_) => At::Nothing,
        }
    }

    /// The time of the newest sample.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        let histograms = self.histograms.as_ref().and_then(|histograms| histograms.times_ms.last());
        self.times_ms.last().max(histograms).copied()
    }

    /// Adds a float where there is nothing yet at that time; the first value stays. Says whether it did.
    fn push(&mut self, ts_ms: i64, value: f64) -> bool {
        if self.histograms.as_ref().is_some_and(|histograms| histograms.times_ms.binary_search(&ts_ms).is_ok()) {
            return false;
        }
        let row = match self.times_ms.last() {
            Some(last) if *last >= ts_ms => match self.times_ms.binary_search(&ts_ms) {
                Ok(_) => return false,
                Err(row) => row,
            },
            _ => self.times_ms.len(),
        };
        if self.times_ms.len() == self.times_ms.capacity() {
            // By a third: doubling would leave half of the memory unused on average.
            let more = (self.times_ms.len() / 3).max(8);
            self.times_ms.reserve_exact(more);
            self.values.reserve_exact(more);
        }
        self.times_ms.insert(row, ts_ms);
        self.values.insert(row, value);
        true
    }

    fn push_histogram(&mut self, ts_ms: i64, value: Arc<FloatHistogram>) -> bool {
        if self.times_ms.binary_search(&ts_ms).is_ok() {
            return false;
        }
        let histograms = self.histograms.get_or_insert_default();
        match histograms.times_ms.binary_search(&ts_ms) {
            Ok(_) => false,
            Err(row) => {
                histograms.times_ms.insert(row, ts_ms);
                histograms.values.insert(row, value);
                true
            }
        }
    }

    /// Floats from `from_ms` to `to_ms`, both inclusive.
    pub(crate) fn floats(&self, from_ms: i64, to_ms: i64) -> (&[i64], &[f64]) {
        let rows = rows(&self.times_ms, from_ms, to_ms);
        (&self.times_ms[rows.clone()], &self.values[rows])
    }

    /// Histograms from `from_ms` to `to_ms`, both inclusive.
    pub(crate) fn histograms(&self, from_ms: i64, to_ms: i64) -> (&[i64], &[Arc<FloatHistogram>]) {
        let Some(histograms) = &self.histograms else { return (&[], &[]) };
        let rows = rows(&histograms.times_ms, from_ms, to_ms);
        (&histograms.times_ms[rows.clone()], &histograms.values[rows])
    }

    /// Whether anything lies between the times, both inclusive.
    pub(crate) fn has_any(&self, from_ms: i64, to_ms: i64) -> bool {
        !self.floats(from_ms, to_ms).0.is_empty() || !self.histograms(from_ms, to_ms).0.is_empty()
    }

    fn forget_before(&mut self, ts_ms: i64) -> usize {
        let rows = self.times_ms.partition_point(|time| *time < ts_ms);
        if rows > 0 {
            self.times_ms.drain(..rows);
            self.values.drain(..rows);
            self.times_ms.shrink_to_fit();
            self.values.shrink_to_fit();
        }
        let mut bytes = rows * SAMPLE_BYTES;
        if let Some(histograms) = &mut self.histograms {
            let rows = histograms.times_ms.partition_point(|time| *time < ts_ms);
            histograms.times_ms.drain(..rows);
            bytes += histograms.values.drain(..rows).map(|value| histogram_bytes(&value)).sum::<usize>();
        }
        bytes
    }
}

fn rows(times_ms: &[i64], from_ms: i64, to_ms: i64) -> std::ops::Range<usize> {
    let start = times_ms.partition_point(|time| *time < from_ms);
    let end = start + times_ms[start..].partition_point(|time| *time <= to_ms);
    start..end
}

fn histogram_bytes(histogram: &FloatHistogram) -> usize {
    HISTOGRAM_BYTES
        + 8 * (histogram.positive_buckets.len() + histogram.negative_buckets.len() + histogram.custom_values.len())
        + 8 * (histogram.positive_spans.len() + histogram.negative_spans.len())
}

/// Recent samples of all series, by place.
#[derive(Debug)]
pub(crate) struct Head {
    series: Vec<HeadSeries>,
    complete_from: i64,
    bytes: usize,
    bytes_max: usize,
    samples: u64,
}

impl Head {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { series: Vec::new(), complete_from: i64::MIN, bytes: 0, bytes_max, samples: 0 }
    }

    /// Every sample of this time (milliseconds) or later is here.
    pub(crate) fn complete_from(&self) -> i64 {
        self.complete_from
    }

    /// Nothing before `ts_ms` is known to be here.
    pub(crate) fn set_complete_from(&mut self, ts_ms: i64) {
        self.complete_from = ts_ms;
    }

    /// The times of the oldest and the newest sample.
    pub(crate) fn time_range(&self) -> Option<(i64, i64)> {
        let ends = |times: &[i64]| Some((*times.first()?, *times.last()?));
        let of_series = self.series.iter().flat_map(|series| {
            let histograms = series.histograms.as_ref().and_then(|histograms| ends(&histograms.times_ms));
            [ends(&series.times_ms), histograms].into_iter().flatten()
        });
        of_series.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    pub(crate) fn series(&self, place: u32) -> Option<&HeadSeries> {
        self.series.get(place as usize)
    }

    /// Adds a float; what is older than the head goes by.
    #[inline]
    pub(crate) fn push(&mut self, place: u32, ts_ms: i64, value: f64) {
        if ts_ms < self.complete_from {
            return;
        }
        if self.slot(place).push(ts_ms, value) {
            self.bytes += SAMPLE_BYTES;
            self.samples += 1;
        }
    }

    /// Adds a histogram; what is older than the head goes by.
    pub(crate) fn push_histogram(&mut self, place: u32, ts_ms: i64, value: Arc<FloatHistogram>) {
        let bytes = histogram_bytes(&value);
        if ts_ms >= self.complete_from && self.slot(place).push_histogram(ts_ms, value) {
            self.bytes += bytes;
            self.samples += 1;
        }
    }

    fn slot(&mut self, place: u32) -> &mut HeadSeries {
        let place = place as usize;
        if place >= self.series.len() {
            self.bytes += (place + 1 - self.series.len()) * SERIES_BYTES;
            self.series.resize_with(place + 1, HeadSeries::default);
        }
        &mut self.series[place]
    }

    /// Forgets the oldest third where there is more than the head may hold. O(samples) then, and rare.
    pub(crate) fn evict(&mut self) {
        if self.bytes <= self.bytes_max {
            return;
        }
        let every = (self.samples as usize / PROBES_MAX).max(1);
        let of_series = self.series.iter().map(|series| {
            let histograms = series.histograms.as_ref().map_or(&[][..], |histograms| &histograms.times_ms);
            series.times_ms.iter().chain(histograms)
        });
        let mut probes: Vec<i64> = of_series.flatten().step_by(every).copied().collect();
        if probes.is_empty() {
            return;
        }
        let third = probes.len() / 3;
        let (_, cut, _) = probes.select_nth_unstable(third);
        let cut = cut.saturating_add(1);
        self.complete_from = self.complete_from.max(cut);
        let before = self.bytes;
        let gone: usize = self.series.iter_mut().map(|series| series.forget_before(cut)).sum();
        self.bytes = self.bytes.saturating_sub(gone);
        tracing::debug!(before, after = self.bytes, complete_from = self.complete_from, "head evicted");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_value_stays_and_order_does_not_matter() {
        let mut head = Head::new(1 << 20);
        for (ts, value) in [(10, 1.0), (30, 3.0), (20, 2.0), (10, 9.0), (-5, 0.5), (30, 9.0)] {
            head.push(2, ts, value);
        }
        head.push_histogram(2, 20, Arc::default());
        head.push_histogram(2, 25, Arc::default());
        head.push(2, 25, 1.0);
        let series = head.series(2).unwrap();
        assert_eq!(series.floats(i64::MIN, i64::MAX), (&[-5, 10, 20, 30][..], &[0.5, 1.0, 2.0, 3.0][..]));
        assert_eq!(series.floats(10, 20).0, [10, 20]);
        assert_eq!(series.histograms(i64::MIN, i64::MAX).0, [25]);
        assert!(matches!(series.at(25), At::Histogram(_)) && matches!(series.at(11), At::Nothing));
        assert!(!series.has_any(11, 19) && series.has_any(11, 20));
        assert_eq!(head.samples(), 5);
        assert!(head.series(0).is_some_and(|series| !series.has_any(i64::MIN, i64::MAX)));
    }

    #[test]
    fn nan_bits_are_kept() {
        let mut head = Head::new(1 << 20);
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        head.push(0, 1, stale);
        assert_eq!(head.series(0).unwrap().floats(0, 9).1[0].to_bits(), stale.to_bits());
    }

    #[test]
    fn more_than_its_bytes_moves_its_beginning() {
        let mut head = Head::new(10_000);
        for ts in 0..1000 {
            head.push(0, ts, ts as f64);
            head.push(1, ts, ts as f64);
        }
        assert!(head.bytes() > 10_000);
        while head.bytes() > 10_000 {
            head.evict();
        }
        let from = head.complete_from();
        assert!(from > 300 && from < 1000, "{from}");
        assert_eq!(head.series(0).unwrap().floats(i64::MIN, i64::MAX).0[0], from);
        head.push(0, from - 1, 1.0);
        assert_eq!(head.series(0).unwrap().floats(i64::MIN, i64::MAX).0[0], from, "what is older goes by");
    }

    proptest! {
        #[test]
        fn as_a_map_that_keeps_the_first(samples in prop::collection::vec((-20i64..20, -3i32..3), 0..80)) {
            let mut head = Head::new(1 << 20);
            let mut expected = std::collections::BTreeMap::new();
            for (ts, value) in samples {
                head.push(0, ts, f64::from(value));
                expected.entry(ts).or_insert(f64::from(value));
            }
            let found: Vec<(i64, f64)> = head.series(0).map_or(Vec::new(), |series| {
                let (times, values) = series.floats(i64::MIN, i64::MAX);
                times.iter().copied().zip(values.iter().copied()).collect()
            });
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
