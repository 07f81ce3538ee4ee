//! Recent samples in memory, by series.
//!
//! The head is complete from [`Head::complete_from`] on: every sample of that time or later is here. What is older is in
//! the tables alone, and what is written late goes there, too. When the head has more than its bytes, that time moves up.
//!
//! | module | what it holds |
//! |---|---|
//! | `series` | [`HeadSeries`]: the samples of one series, as chunks in order |
//! | `chunk` | samples packed into few bytes |

mod chunk;
mod series;

pub(crate) use series::{At, HeadSeries};

use bodkin_promql::FloatHistogram;
use std::sync::Arc;

/// Chunks that are looked at, at most, for the time to evict at.
const PROBES_MAX: usize = 1 << 20;

/// Recent samples of all series, by place. Beside samples a series costs about 130 bytes.
#[derive(Debug)]
pub(crate) struct Head {
    series: Vec<HeadSeries>,
    complete_from: i64,
    /// Of samples alone: that is what can be given up.
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
        let ranges = self.series.iter().filter_map(HeadSeries::time_range);
        ranges.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
    }

    /// Bytes that it holds, those of series without samples included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.series.capacity() * size_of::<HeadSeries>()
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
        let mut bytes = self.bytes;
        if self.slot(place).push(ts_ms, value, &mut bytes) {
            self.samples += 1;
        }
        self.bytes = bytes;
    }

    /// Adds a histogram; what is older than the head goes by.
    pub(crate) fn push_histogram(&mut self, place: u32, ts_ms: i64, value: Arc<FloatHistogram>) {
        let mut bytes = self.bytes;
        if ts_ms >= self.complete_from && self.slot(place).push_histogram(ts_ms, value, &mut bytes) {
            self.samples += 1;
        }
        self.bytes = bytes;
    }

    #[inline]
    fn slot(&mut self, place: u32) -> &mut HeadSeries {
        let place = place as usize;
        if place >= self.series.len() {
            self.series.resize_with(place + 1, HeadSeries::default);
        }
        &mut self.series[place]
    }

    /// Forgets the oldest third where there is more than the head may hold. O(chunks) then, and rare.
    pub(crate) fn evict(&mut self) {
        if self.bytes <= self.bytes_max {
            return;
        }
        let Some(cut) = self.cut() else { return };
        self.complete_from = self.complete_from.max(cut);
        let before = self.bytes;
        let gone: usize = self.series.iter_mut().map(|series| series.forget_before(cut)).sum();
        self.bytes = self.bytes.saturating_sub(gone);
        tracing::debug!(before, after = self.bytes, complete_from = self.complete_from, "head evicted");
    }

    /// The time before which about a third of the bytes end.
    fn cut(&self) -> Option<i64> {
        let every = (self.bytes / (PROBES_MAX * 64)).max(1);
        let mut ends: Vec<(i64, usize)> = self.series.iter().flat_map(HeadSeries::ends).step_by(every).collect();
        ends.sort_unstable();
        let third = ends.iter().map(|(_, bytes)| bytes).sum::<usize>() / 3;
        let mut gone = 0;
        let last = ends.iter().find(|(_, bytes)| {
            gone += bytes;
            gone > third
        });
        last.map(|(end_ms, _)| end_ms.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn floats(head: &Head, place: u32, from_ms: i64, to_ms: i64) -> Vec<(i64, f64)> {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        head.series(place).into_iter().for_each(|series| series.read(from_ms, to_ms, &mut times, &mut values));
        times.into_iter().zip(values).collect()
    }

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
        assert_eq!(floats(&head, 2, i64::MIN, i64::MAX), [(-5, 0.5), (10, 1.0), (20, 2.0), (30, 3.0)]);
        assert_eq!(floats(&head, 2, 10, 20), [(10, 1.0), (20, 2.0)]);
        assert_eq!((series.newest_float(0, 30), series.newest_float(0, 29)), (Some((30, 3.0)), None));
        assert_eq!(series.histograms(i64::MIN, i64::MAX).0, [25]);
        assert!(matches!(series.at(25), At::Histogram(_)) && matches!(series.at(11), At::Nothing));
        assert!(!series.has_any(31, 90) && series.has_any(11, 20));
        assert_eq!(head.samples(), 5);
        assert!(head.series(0).is_some_and(|series| !series.has_any(i64::MIN, i64::MAX)));
    }

    #[test]
    fn nan_bits_are_kept() {
        let mut head = Head::new(1 << 20);
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        head.push(0, 1, stale);
        assert_eq!(floats(&head, 0, 0, 9)[0].1.to_bits(), stale.to_bits());
    }

    #[test]
    fn more_than_its_bytes_moves_its_beginning() {
        let mut head = Head::new(3000);
        for ts in 0..2000 {
            head.push(0, ts, ts as f64);
            head.push(1, ts, ts as f64);
        }
        assert!(head.bytes > 3000);
        while head.bytes > 3000 {
            head.evict();
        }
        let from = head.complete_from();
        assert!(from > 300 && from < 2000, "{from}");
        assert_eq!(floats(&head, 0, from, i64::MAX).len() as i64, 2000 - from, "complete from there on");
        head.push(0, from - 1, 7.5);
        assert!(floats(&head, 0, from - 1, from - 1).iter().all(|(_, value)| *value != 7.5), "what is older goes by");
        let left: usize = head.series.iter().flat_map(HeadSeries::ends).map(|(_, bytes)| bytes).sum();
        assert_eq!(head.bytes, left, "what is counted is what is there");
    }

    proptest! {
        #[test]
        fn as_a_map_that_keeps_the_first(
            samples in prop::collection::vec((-400i64..400, -3i32..3), 0..900),
            is_rising in any::<bool>(),
            (from, to) in (-450i64..450, -450i64..450),
        ) {
            let mut samples = samples;
            if is_rising {
                samples.sort_unstable_by_key(|(ts, _)| *ts);
            }
            let mut head = Head::new(1 << 20);
            let mut expected = std::collections::BTreeMap::new();
            for (ts, value) in &samples {
                head.push(0, *ts, f64::from(*value));
                expected.entry(*ts).or_insert(f64::from(*value));
            }
            prop_assert_eq!(floats(&head, 0, from, to), if from <= to {
                expected.range(from..=to).map(|(ts, value)| (*ts, *value)).collect::<Vec<_>>()
            } else {
                Vec::new()
            });
            prop_assert_eq!(head.samples() as usize, expected.len());
            if let Some(series) = head.series(0) {
                for (ts, value) in &expected {
                    prop_assert!(matches!(series.at(*ts), At::Float(found) if found == *value));
                }
                prop_assert!(from > to || series.floats_at_most(from, to) >= floats(&head, 0, from, to).len());
                prop_assert_eq!(series.newest_ms(), expected.keys().next_back().copied());
                let left: usize = series.ends().map(|(_, bytes)| bytes).sum();
                prop_assert_eq!(head.bytes, left);
            }
        }
    }
}
