//! The recent samples of one series.

use super::chunk::{Chunk, OpenChunk, SAMPLES_MAX};
use bodkin_promql::FloatHistogram;
use std::sync::Arc;

/// A histogram without its buckets.
const HISTOGRAM_BYTES: usize = 200;

/// Samples of one series, both kinds rising in time. No time is in both.
#[derive(Debug, Default)]
pub(crate) struct HeadSeries {
    /// Rising, without overlaps.
    sealed: Vec<Chunk>,
    /// After all of those.
    open: Option<OpenChunk>,
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

/// A chunk of a series.
#[derive(Clone, Copy, Debug)]
enum Slot {
    Sealed(usize),
    Open,
}

impl HeadSeries {
    /// What is there at that time.
    pub(crate) fn at(&self, ts_ms: i64) -> At<'_> {
        if let Some(value) = self.float_at(ts_ms) {
            return At::Float(value);
        }
        let Some(histograms) = &self.histograms else { return At::Nothing };
        match histograms.times_ms.binary_search(&ts_ms) {
            Ok(row) => At::Histogram(&histograms.values[row]),
            Err(_) => At::Nothing,
        }
    }

    fn float_at(&self, ts_ms: i64) -> Option<f64> {
        match &self.open {
            Some(open) if ts_ms >= open.chunk().first_ms() => open.chunk().at(ts_ms),
            _ => self.sealed.get(self.sealed.partition_point(|chunk| chunk.last_ms() < ts_ms))?.at(ts_ms),
        }
    }

    /// The time of the newest sample.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        self.time_range().map(|(_, last_ms)| last_ms)
    }

    /// The times of the oldest and the newest sample.
    pub(crate) fn time_range(&self) -> Option<(i64, i64)> {
        let open = self.open.as_ref().map(OpenChunk::chunk);
        let floats = self.sealed.first().or(open).zip(open.or(self.sealed.last()));
        let floats = floats.map(|(first, last)| (first.first_ms(), last.last_ms()));
        let histograms = self.histograms.as_ref().and_then(|histograms| {
            let times_ms = &histograms.times_ms;
            times_ms.first().copied().zip(times_ms.last().copied())
        });
        let ranges = [floats, histograms].into_iter().flatten();
        ranges.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
    }

    /// Adds a float where there is nothing yet at that time; the first value stays. Says whether it did, and counts the
    /// bytes that came or went.
    #[inline]
    pub(crate) fn push(&mut self, ts_ms: i64, value: f64, bytes: &mut usize) -> bool {
        if self.histograms.as_ref().is_some_and(|histograms| histograms.times_ms.binary_search(&ts_ms).is_ok()) {
            return false;
        }
        match &mut self.open {
            Some(open) if ts_ms > open.chunk().last_ms() && !open.is_full() => {
                let before = open.chunk().bytes();
                open.append(ts_ms, value);
                *bytes = bytes.saturating_add(open.chunk().bytes()).saturating_sub(before);
                true
            }
            Some(open) if ts_ms > open.chunk().last_ms() => {
                self.begin_next(ts_ms, value, bytes);
                true
            }
            Some(_) => self.insert(ts_ms, value, bytes),
            None => {
                let open = OpenChunk::first(ts_ms, value);
                *bytes += cost(open.chunk());
                self.open = Some(open);
                true
            }
        }
    }

    /// Seals the open chunk and begins the next with a sample.
    #[cold]
    fn begin_next(&mut self, ts_ms: i64, value: f64, bytes: &mut usize) {
        let Some(open) = self.open.take() else { return };
        let before = cost(open.chunk());
        let (sealed, scale) = open.seal();
        let next = OpenChunk::new(scale, ts_ms, value);
        *bytes = (*bytes + cost(&sealed) + cost(next.chunk())).saturating_sub(before);
        if self.sealed.len() == self.sealed.capacity() {
            self.sealed.reserve_exact(1 + self.sealed.len() / 4);
        }
        self.sealed.push(sealed);
        self.open = Some(next);
    }

    /// Adds a float that is not newer than all. Its chunk is packed again.
    #[cold]
    fn insert(&mut self, ts_ms: i64, value: f64, bytes: &mut usize) -> bool {
        let slot = self.slot_for(ts_ms);
        let chunk = match slot {
            Slot::Sealed(at) => self.sealed.get(at),
            Slot::Open => self.open.as_ref().map(OpenChunk::chunk),
        };
        let Some(chunk) = chunk else { return false };
        let (mut times_ms, mut values) = (Vec::new(), Vec::new());
        chunk.read(i64::MIN, i64::MAX, &mut times_ms, &mut values);
        let Err(row) = times_ms.binary_search(&ts_ms) else { return false };
        times_ms.insert(row, ts_ms);
        values.insert(row, value);
        *bytes = bytes.saturating_sub(cost(chunk));
        let half = if times_ms.len() as u32 >= 2 * SAMPLES_MAX { times_ms.len() / 2 } else { 0 };
        let first = Chunk::pack(&times_ms[..half], &values[..half]);
        let Some(second) = Chunk::pack(&times_ms[half..], &values[half..]) else { return false };
        *bytes += first.as_ref().map_or(0, cost) + cost(&second);
        match slot {
            Slot::Sealed(at) => {
                self.sealed.splice(at..=at, first.into_iter().chain([second]));
            }
            Slot::Open => {
                self.sealed.extend(first);
                self.open = Some(OpenChunk::reopen(second));
            }
        }
        true
    }

    /// The chunk whose times a sample is within, or which it is next to.
    fn slot_for(&self, ts_ms: i64) -> Slot {
        if self.open.as_ref().is_some_and(|open| ts_ms >= open.chunk().first_ms()) {
            return Slot::Open;
        }
        let next = self.sealed.partition_point(|chunk| chunk.last_ms() < ts_ms);
        match self.sealed.get(next) {
            Some(chunk) if chunk.first_ms() <= ts_ms => Slot::Sealed(next),
            // Between two: the earlier one takes it.
            _ if next > 0 => Slot::Sealed(next - 1),
            Some(_) => Slot::Sealed(next),
            None => Slot::Open,
        }
    }

    pub(crate) fn push_histogram(&mut self, ts_ms: i64, value: Arc<FloatHistogram>, bytes: &mut usize) -> bool {
        if self.float_at(ts_ms).is_some() {
            return false;
        }
        let histograms = self.histograms.get_or_insert_default();
        match histograms.times_ms.binary_search(&ts_ms) {
            Ok(_) => false,
            Err(row) => {
                *bytes += histogram_bytes(&value);
                histograms.times_ms.insert(row, ts_ms);
                histograms.values.insert(row, value);
                true
            }
        }
    }

    /// Appends the floats from `from_ms` to `to_ms`, both inclusive.
    pub(crate) fn read(&self, from_ms: i64, to_ms: i64, times_ms: &mut Vec<i64>, values: &mut Vec<f64>) {
        let start = self.sealed.partition_point(|chunk| chunk.last_ms() < from_ms);
        for chunk in self.sealed[start..].iter().take_while(|chunk| chunk.first_ms() <= to_ms) {
            chunk.read(from_ms, to_ms, times_ms, values);
        }
        if let Some(open) = &self.open {
            open.chunk().read(from_ms, to_ms, times_ms, values);
        }
    }

    /// How many floats there may be between the times, both inclusive: those of all chunks that reach in.
    pub(crate) fn floats_at_most(&self, from_ms: i64, to_ms: i64) -> usize {
        let start = self.sealed.partition_point(|chunk| chunk.last_ms() < from_ms);
        let sealed = self.sealed[start..].iter().take_while(|chunk| chunk.first_ms() <= to_ms);
        let open = self.open.as_ref().map(OpenChunk::chunk).filter(|chunk| chunk.overlaps(from_ms, to_ms));
        sealed.chain(open).map(Chunk::len).sum()
    }

    /// The newest float of all where it lies between the times, both inclusive. Costs nothing.
    pub(crate) fn newest_float(&self, from_ms: i64, to_ms: i64) -> Option<(i64, f64)> {
        let open = self.open.as_ref()?;
        let last_ms = open.chunk().last_ms();
        (from_ms <= last_ms && last_ms <= to_ms).then(|| (last_ms, open.last()))
    }

    /// Histograms from `from_ms` to `to_ms`, both inclusive.
    pub(crate) fn histograms(&self, from_ms: i64, to_ms: i64) -> (&[i64], &[Arc<FloatHistogram>]) {
        let Some(histograms) = &self.histograms else { return (&[], &[]) };
        let start = histograms.times_ms.partition_point(|time| *time < from_ms);
        let end = start + histograms.times_ms[start..].partition_point(|time| *time <= to_ms);
        (&histograms.times_ms[start..end], &histograms.values[start..end])
    }

    /// Whether anything may lie between the times, both inclusive: false where a chunk's ends rule it out.
    pub(crate) fn has_any(&self, from_ms: i64, to_ms: i64) -> bool {
        let start = self.sealed.partition_point(|chunk| chunk.last_ms() < from_ms);
        self.open.as_ref().is_some_and(|open| open.chunk().overlaps(from_ms, to_ms))
            || self.sealed.get(start).is_some_and(|chunk| chunk.overlaps(from_ms, to_ms))
            || !self.histograms(from_ms, to_ms).0.is_empty()
    }

    /// When each part of it ends that can be given up alone, and its bytes.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (i64, usize)> {
        let floats = self.sealed.iter().chain(self.open.as_ref().map(OpenChunk::chunk));
        let histograms = self.histograms.iter().flat_map(|histograms| {
            histograms.times_ms.iter().zip(&histograms.values).map(|(ts_ms, value)| (*ts_ms, histogram_bytes(value)))
        });
        floats.map(|chunk| (chunk.last_ms(), cost(chunk))).chain(histograms)
    }

    /// Gives up what ends before a time; samples of a chunk that goes on after it stay. Says how many bytes went.
    pub(crate) fn forget_before(&mut self, ts_ms: i64) -> usize {
        let chunks = self.sealed.partition_point(|chunk| chunk.last_ms() < ts_ms);
        let mut bytes: usize = self.sealed.drain(..chunks).map(|chunk| cost(&chunk)).sum();
        if chunks > 0 {
            self.sealed.shrink_to_fit();
        }
        if let Some(open) = self.open.take_if(|open| open.chunk().last_ms() < ts_ms) {
            bytes += cost(open.chunk());
        }
        if let Some(histograms) = &mut self.histograms {
            let rows = histograms.times_ms.partition_point(|time| *time < ts_ms);
            histograms.times_ms.drain(..rows);
            bytes += histograms.values.drain(..rows).map(|value| histogram_bytes(&value)).sum::<usize>();
        }
        bytes
    }
}

/// What a chunk counts for.
fn cost(chunk: &Chunk) -> usize {
    size_of::<Chunk>() + chunk.bytes()
}

fn histogram_bytes(histogram: &FloatHistogram) -> usize {
    HISTOGRAM_BYTES
        + 8 * (histogram.positive_buckets.len() + histogram.negative_buckets.len() + histogram.custom_values.len())
        + 8 * (histogram.positive_spans.len() + histogram.negative_spans.len())
}
