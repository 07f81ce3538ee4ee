//! StatsD and DogStatsD: what applications send by datagram, added up and handed on as samples.
//!
//! | sent | kept |
//! |---|---|
//! | `c` | a counter, the name as it came |
//! | `g` | a gauge |
//! | `ms` | a native histogram in seconds, with `_count` and `_sum` |
//! | `h`, `d` | the same in the unit that was sent |
//! | `s` | a gauge: members since the last flush |

mod parse;

use crate::histogram::{Buckets, Histogram};
use crate::own::{OwnLabels, OwnSample, OwnValue};
use parse::{Kind, Line, Parsed, Value, metric_name, parse};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The bits of the stale marker.
const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;
/// Resolution of histograms: buckets grow by 9 %.
const SCHEMA: i32 = 3;
/// Buckets of one histogram; values beyond go to the last.
const BUCKETS_MAX: usize = 512;
/// Members of one set between two flushes.
const MEMBERS_MAX: usize = 100_000;
/// Values closer to zero count as zero.
const ZERO_THRESHOLD: f64 = 1e-9;

/// Bounds of an [`Aggregator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatsdLimits {
    /// Series; lines of more are dropped and counted.
    pub series_max: usize,
    /// Flushes after which a series that nobody sends is gone.
    pub idle_flushes_max: u32,
    /// Bytes of a line.
    pub line_bytes_max: usize,
}

impl Default for StatsdLimits {
    fn default() -> Self {
        Self { series_max: 100_000, idle_flushes_max: 30, line_bytes_max: 8192 }
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsdStats {
    /// Lines taken.
    pub lines: u64,
    /// Lines that are none, or whose kind is another one than their series has.
    pub invalid: u64,
    /// Events and checks, which are no metrics.
    pub others: u64,
    /// Lines of series beyond the limit.
    pub dropped: u64,
}

/// Adds up what lines say.
#[derive(Debug)]
pub struct Aggregator {
    series: HashMap<Key, Series>,
    limits: StatsdLimits,
    stats: StatsdStats,
}

/// Name and labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    labels: Vec<(String, String)>,
}

#[derive(Debug)]
struct Series {
    state: State,
    idle_flushes: u32,
}

#[derive(Debug)]
enum State {
    Counter(f64),
    Gauge(f64),
    Distribution(Box<Distribution>),
    Set(HashSet<Box<str>>),
}

#[derive(Debug, Default)]
struct Distribution {
    count: f64,
    sum: f64,
    zero: f64,
    positive: BTreeMap<i32, f64>,
    negative: BTreeMap<i32, f64>,
}

impl Aggregator {
    /// Nothing yet.
    pub fn new(limits: StatsdLimits) -> Self {
        Self { series: HashMap::new(), limits, stats: StatsdStats::default() }
    }

    /// Its counters.
    pub fn stats(&self) -> StatsdStats {
        self.stats
    }

    /// Takes a datagram, or the lines of a stream: one line each.
    pub fn take(&mut self, bytes: &[u8]) {
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let text = std::str::from_utf8(line).ok().filter(|line| line.len() <= self.limits.line_bytes_max);
            match text.map(parse) {
                Some(Ok(Parsed::Metric(line))) => self.metric(&line),
                Some(Ok(Parsed::Other)) => self.stats.others += 1,
                _ => self.stats.invalid += 1,
            }
        }
    }

    fn metric(&mut self, line: &Line<'_>) {
        let mut labels: Vec<(String, String)> = line.labels().map(|(name, value)| (name, value.to_owned())).collect();
        labels.sort();
        labels.dedup_by(|later, first| later.0 == first.0);
        let key = Key { name: metric_name(line.name), labels };
        if self.series.len() >= self.limits.series_max && !self.series.contains_key(&key) {
            self.stats.dropped += 1;
            return;
        }
        let series = self.series.entry(key).or_insert_with(|| Series { state: State::new(line.kind), idle_flushes: 0 });
        series.idle_flushes = 0;
        let is_taken = line.values().fold(true, |is_taken, value| {
            is_taken & value.is_ok_and(|value| series.state.add(line.kind, value, line.rate))
        });
        if is_taken {
            self.stats.lines += 1;
        } else {
            self.stats.invalid += 1;
        }
    }

    /// What all series have come to, at a time in milliseconds. Series that nobody has sent for long end with a marker.
    pub fn flush(&mut self, now_ms: i64) -> Vec<OwnSample> {
        let mut samples = Vec::new();
        let idle_max = self.limits.idle_flushes_max;
        self.series.retain(|key, series| {
            let is_gone = series.idle_flushes >= idle_max;
            series.idle_flushes += 1;
            series.state.samples(key, now_ms, is_gone, &mut samples);
            !is_gone
        });
        samples
    }
}

impl State {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(0.0),
            Kind::Gauge => Self::Gauge(0.0),
            Kind::Timer | Kind::Distribution => Self::Distribution(Box::default()),
            Kind::Set => Self::Set(HashSet::new()),
        }
    }

    /// Adds a value; false where the series is of another kind.
    fn add(&mut self, kind: Kind, value: Value<'_>, rate: f64) -> bool {
        match (self, kind, value) {
            (Self::Counter(total), Kind::Counter, Value::Number(value)) => *total += value / rate,
            (Self::Gauge(now), Kind::Gauge, Value::Number(value)) => *now = value,
            (Self::Gauge(now), Kind::Gauge, Value::Change(change)) => *now += change,
            (Self::Distribution(all), Kind::Timer, Value::Number(value)) => all.observe(value / 1000.0, 1.0 / rate),
            (Self::Distribution(all), Kind::Distribution, Value::Number(value)) => all.observe(value, 1.0 / rate),
            (Self::Set(members), Kind::Set, Value::Member(member)) => {
                if members.len() < MEMBERS_MAX {
                    members.insert(member.into());
                }
            }
            _ => return false,
        }
        true
    }

    fn samples(&mut self, key: &Key, ts_ms: i64, is_gone: bool, samples: &mut Vec<OwnSample>) {
        let mut push = |suffix: &str, value: f64| {
            let value = if is_gone { f64::from_bits(STALE_NAN) } else { value };
            samples.push(OwnSample::new(key.series(suffix), ts_ms, OwnValue::Float(value)));
        };
        match self {
            Self::Counter(total) => push("", *total),
            Self::Gauge(now) => push("", *now),
            Self::Set(members) => push("", std::mem::take(members).len() as f64),
            Self::Distribution(all) => {
                push("_count", all.count);
                push("_sum", all.sum);
                let mut histogram = all.histogram();
                if is_gone {
                    histogram = Histogram { sum: f64::from_bits(STALE_NAN), ..Histogram::default() };
                }
                samples.push(OwnSample::new(key.series(""), ts_ms, OwnValue::Histogram(Arc::new(histogram))));
            }
        }
    }
}

impl Key {
    fn series(&self, suffix: &str) -> OwnLabels {
        let name = ("__name__".to_owned(), format!("{}{suffix}", self.name));
        std::iter::once(name).chain(self.labels.iter().cloned()).collect()
    }
}

impl Distribution {
    fn observe(&mut self, value: f64, times: f64) {
        self.count += times;
        self.sum += value * times;
        if value.abs() <= ZERO_THRESHOLD {
            self.zero += times;
            return;
        }
        let buckets = if value > 0.0 { &mut self.positive } else { &mut self.negative };
        // The bucket `i` ends at 2^(i / 2^schema), and that value is in it.
        let bucket = (value.abs().log2() * f64::from(1 << SCHEMA)).ceil() as i32;
        let is_full = buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&bucket);
        let nearest =
            || buckets.range(..bucket).next_back().or_else(|| buckets.range(bucket..).next()).map(|(at, _)| *at);
        let bucket = if is_full { nearest().unwrap_or(bucket) } else { bucket };
        *buckets.entry(bucket).or_insert(0.0) += times;
    }

    fn histogram(&self) -> Histogram {
        Histogram {
            count: self.count,
            sum: self.sum,
            schema: SCHEMA,
            zero_threshold: ZERO_THRESHOLD,
            zero_count: self.zero,
            positive: spans(&self.positive),
            negative: spans(&self.negative),
            ..Histogram::default()
        }
    }
}

fn spans(counts: &BTreeMap<i32, f64>) -> Buckets {
    let mut buckets = Buckets::default();
    let mut next = 0;
    for (bucket, count) in counts {
        match buckets.lengths.last_mut() {
            Some(length) if *bucket == next => *length += 1,
            _ => {
                buckets.offsets.push(bucket - next);
                buckets.lengths.push(1);
            }
        }
        buckets.counts.push(*count);
        next = bucket + 1;
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(samples: &[OwnSample]) -> Vec<String> {
        let mut shown: Vec<String> = samples
            .iter()
            .map(|sample| {
                let labels: Vec<String> = sample.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
                match &sample.value {
                    OwnValue::Float(value) if value.to_bits() == STALE_NAN => format!("{} stale", labels.join(",")),
                    OwnValue::Float(value) => format!("{} {value}", labels.join(",")),
                    OwnValue::Histogram(h) => format!(
                        "{} {:?} {:?} {:?}",
                        labels.join(","),
                        h.positive.offsets,
                        h.positive.lengths,
                        h.positive.counts
                    ),
                }
            })
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn kinds_add_up() {
        let mut all = Aggregator::new(StatsdLimits::default());
        all.take(b"a.b:1|c|#x:y\na.b:2|c|@0.5|#x:y\ng:5|g\ng:-2|g\nu:a|s\nu:b|s\nu:a|s\nt:1000:2000:2000|ms\nt:1|c\nnonsense\n_sc|x|0");
        assert_eq!(
            shown(&all.flush(7)),
            [
                "__name__=a_b,x=y 5",
                "__name__=g 3",
                "__name__=t [0, 7] [1, 1] [1.0, 2.0]",
                "__name__=t_count 3",
                "__name__=t_sum 5",
                "__name__=u 2",
            ]
        );
        assert_eq!(all.stats(), StatsdStats { lines: 8, invalid: 2, others: 1, dropped: 0 });
        all.take(b"a.b:1|c|#x:y");
        let again = shown(&all.flush(8));
        assert!(
            again.contains(&"__name__=a_b,x=y 6".to_owned()) && again.contains(&"__name__=u 0".to_owned()),
            "{again:?}"
        );
    }

    #[test]
    fn idle_series_end_and_more_than_allowed_are_dropped() {
        let mut all = Aggregator::new(StatsdLimits { series_max: 1, idle_flushes_max: 1, ..StatsdLimits::default() });
        all.take(b"a:1|g\nb:1|g");
        assert_eq!((all.stats().dropped, shown(&all.flush(1))), (1, vec!["__name__=a 1".to_owned()]));
        assert_eq!(shown(&all.flush(2)), ["__name__=a stale"]);
        assert!(all.flush(3).is_empty());
        all.take(b"b:1|g");
        assert_eq!(all.flush(4).len(), 1);
    }

    proptest! {
        #[test]
        fn observations_are_counted_once(values in prop::collection::vec(-1e6f64..1e6, 0..200)) {
            let mut all = Distribution::default();
            values.iter().for_each(|value| all.observe(*value, 1.0));
            let histogram = all.histogram();
            prop_assert!(crate::histogram::check(&histogram, 4096).is_ok());
            let total: f64 = histogram.positive.counts.iter().chain(&histogram.negative.counts).sum::<f64>() + histogram.zero_count;
            prop_assert_eq!(total, values.len() as f64);
        }

        #[test]
        fn safe_1_any_datagram_ends(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut all = Aggregator::new(StatsdLimits::default());
            all.take(&bytes);
            all.flush(0);
        }
    }
}
