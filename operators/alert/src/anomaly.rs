//! What is unusual: a value against what its series usually is at this time of the day and the week, and a series against
//! the others of its group. Medians and median absolute deviations throughout, so that what was unusual once does not
//! become usual at once.
//!
//! A series is kept as means of 10 minutes for four weeks (16 KiB). What is expected now is the median of the same time of
//! earlier weeks, or of earlier days while there is no week yet, each moved by how the mean of a day has changed since. Four things are unusual: a value far away, values that lie on one side of what is expected for long, values
//! that scatter far more than usual, and values that do not move although they usually do.

use crate::config::{micros, some_duration};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// The section `anomaly` of a rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnomalyConfig {
    /// Compare the series of one answer with each other, and not each with its past.
    pub outlier: bool,
    /// How far from usual is unusual, in standard deviations; 6 by default.
    pub deviations: Option<f64>,
    /// How long a series is only learned; a week by default.
    #[serde(deserialize_with = "some_duration")]
    pub learn: Option<Duration>,
}

/// Standard deviations that are unusual.
const DEVIATIONS: f64 = 6.0;
/// A series is learned for a week: days of work and others differ.
const LEARN_US: i64 = 7 * DAY_US;
const DAY_US: i64 = 86_400_000_000;
/// Width of a bucket of the past.
const BUCKET_US: i64 = 600_000_000;
const DAY: i64 = DAY_US / BUCKET_US;
const WEEK: i64 = 7 * DAY;
/// Buckets that are kept.
const KEPT: i64 = 4 * WEEK + DAY;
/// Residuals that the usual scatter is taken from.
const RESIDUALS_MAX: usize = 288;
/// Values that a shift or a scatter is judged by.
const RECENT: usize = 12;
/// Values that are equal before a series counts as stuck.
const STUCK: u32 = 12;
/// How much further away a value has to be while there are less than two weeks.
const THIN: f64 = 1.5;
/// Standard deviations per median absolute deviation.
const SIGMA: f64 = 1.4826;
/// Series of a group below which there is no outlier.
const GROUP_MIN: usize = 5;

/// What was found of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// It is unusual.
    pub is_anomalous: bool,
    /// What was expected; none while the series is learned.
    pub expected: Option<f64>,
    /// How far off it is, in standard deviations.
    pub deviations: f64,
}

/// What is usual for a series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// Means of buckets, the newest last; the last one is still being made.
    buckets: VecDeque<Option<f32>>,
    /// The level of the day before each bucket.
    levels: VecDeque<Option<f32>>,
    /// Number of the newest bucket.
    newest: i64,
    /// Sum and count of the newest bucket.
    sum: f64,
    count: u32,
    first_ts: Option<i64>,
    /// Differences from what was expected.
    residuals: VecDeque<f32>,
    /// Their usual size.
    #[serde(default)]
    scatter: f64,
    /// The last of them, in standard deviations.
    recent: VecDeque<f32>,
    last: Option<f64>,
    /// Values equal to the one before, now and the most that was usual.
    equal: u32,
    equal_max: u32,
    /// The run of equal values was found to be unusual.
    #[serde(default)]
    is_stuck: bool,
    /// Values in a row that were unusual.
    unusual: u32,
}

impl Baseline {
    /// Judges a value, then learns it.
    pub fn add(&mut self, config: &AnomalyConfig, ts: i64, value: f64) -> Verdict {
        if !value.is_finite() {
            return Verdict { is_anomalous: true, expected: None, deviations: f64::INFINITY };
        }
        self.roll(ts.div_euclid(BUCKET_US));
        let first = *self.first_ts.get_or_insert(ts);
        let learn = config.learn.map_or(LEARN_US, micros);
        let is_learned = ts - first >= learn;
        let expected = self.expected();
        let verdict = match expected.filter(|_| is_learned) {
            Some(expected) => self.judge(config, expected, value),
            None => Verdict { is_anomalous: false, expected: None, deviations: 0.0 },
        };
        self.learn(expected, value, &verdict);
        verdict
    }

    /// Moves on to bucket `number`.
    fn roll(&mut self, number: i64) {
        if self.buckets.is_empty() {
            self.newest = number;
            self.buckets.push_back(None);
            self.levels.push_back(None);
        }
        let steps = (number - self.newest).clamp(0, KEPT);
        for _ in 0..steps {
            self.buckets.push_back(None);
            let level = self.level();
            self.levels.push_back(level);
            if self.buckets.len() as i64 > KEPT {
                self.buckets.pop_front();
                self.levels.pop_front();
            }
            (self.sum, self.count) = (0.0, 0);
        }
        if steps > 0 {
            self.scatter = self.usual_scatter();
        }
        self.newest = self.newest.max(number);
    }

    /// The mean of the day before the newest bucket without its least and its greatest value, if half of it is known. No
    /// median: between day and night there are few values, and it would jump. What was unusual has been pulled in before
    /// it was learned.
    fn level(&self) -> Option<f32> {
        let (mut sum, mut count, mut least, mut greatest) = (0.0, 0, f64::INFINITY, f64::NEG_INFINITY);
        for value in self.buckets.iter().rev().skip(1).take(DAY as usize).flatten().copied().map(f64::from) {
            (sum, count) = (sum + value, count + 1);
            (least, greatest) = (least.min(value), greatest.max(value));
        }
        (count >= DAY / 2).then(|| ((sum - least - greatest) / (count - 2) as f64) as f32)
    }

    fn at(&self, back: i64) -> Option<(f64, Option<f64>)> {
        let index = usize::try_from(self.buckets.len() as i64 - 1 - back).ok()?;
        let level = self.levels.get(index).copied().flatten().map(f64::from);
        self.buckets.get(index).copied().flatten().map(|value| (f64::from(value), level))
    }

    /// What the value should be now.
    fn expected(&self) -> Option<f64> {
        let now = self.levels.back().copied().flatten().map(f64::from);
        let same_time = |season: i64, count: i64| {
            let mut values = Vec::new();
            for back in 1..=count {
                for near in -1..=1 {
                    if let Some((value, level)) = self.at(back * season + near) {
                        values.push(match (now, level) {
                            (Some(now), Some(then)) => value - then + now,
                            _ => value,
                        });
                    }
                }
            }
            values
        };
        let mut weeks = same_time(WEEK, 4);
        if weeks.len() >= 3 {
            return Some(median(&mut weeks));
        }
        let mut days = same_time(DAY, 7);
        (days.len() >= 2).then(|| median(&mut days))
    }

    /// The usual scatter around what is expected, as of the newest bucket.
    fn scale(&self, expected: f64) -> f64 {
        // A series without any scatter may move by a fiftieth.
        self.scatter.max(expected.abs() * 0.004).max(1e-9)
    }

    fn usual_scatter(&self) -> f64 {
        let mut sizes: Vec<f64> = self.residuals.iter().map(|residual| f64::from(residual.abs())).collect();
        SIGMA * median(&mut sizes)
    }

    fn judge(&mut self, config: &AnomalyConfig, expected: f64, value: f64) -> Verdict {
        // One week says less of what is usual than several.
        let is_thin = self.buckets.len() as i64 <= 2 * WEEK;
        let far = config.deviations.unwrap_or(DEVIATIONS) * if is_thin { THIN } else { 1.0 };
        let deviations = (value - expected) / self.scale(expected);
        self.recent.push_back(deviations.clamp(-far, far) as f32);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let count = self.recent.len() as f64;
        let mean = self.recent.iter().copied().map(f64::from).sum::<f64>() / count;
        let scatter = self.recent.iter().map(|recent| f64::from(recent.abs())).sum::<f64>() / count;
        let is_long = self.recent.len() == RECENT;
        let is_shifted = is_long && mean.abs() > far / 3.0;
        // Values around what is expected are 0.8 standard deviations away on average.
        let is_scattered = is_long && scatter > far / 2.4;
        let is_stuck = self.last == Some(value) && self.equal + 1 >= STUCK.max(3 * self.equal_max);
        let is_near = deviations.abs() > far / 2.0 && self.unusual > 0;
        let is_anomalous = deviations.abs() > far || is_shifted || is_scattered || is_stuck || is_near;
        Verdict { is_anomalous, expected: Some(expected), deviations }
    }

    /// What is unusual counts as far as usual values reach: a new level becomes usual, slowly.
    fn learn(&mut self, expected: Option<f64>, value: f64, verdict: &Verdict) {
        if self.last == Some(value) {
            self.equal += 1;
            self.is_stuck |= verdict.is_anomalous;
        } else {
            if !self.is_stuck {
                self.equal_max = self.equal_max.max(self.equal);
            }
            (self.equal, self.is_stuck) = (0, false);
        }
        self.last = Some(value);
        let mut taken = value;
        if let Some(expected) = expected {
            let scale = self.scale(expected);
            if verdict.is_anomalous {
                taken = value.clamp(expected - 3.0 * scale, expected + 3.0 * scale);
            } else {
                self.residuals.push_back((value - expected).clamp(-1e30, 1e30) as f32);
            }
            if self.residuals.len() > RESIDUALS_MAX {
                self.residuals.pop_front();
            }
        }
        if verdict.is_anomalous {
            self.unusual += 1;
        } else {
            self.unusual = 0;
        }
        self.sum += taken;
        self.count += 1;
        if let Some(bucket) = self.buckets.back_mut() {
            *bucket = Some((self.sum / f64::from(self.count)) as f32);
        }
    }
}

/// Which values of a group are far from the others.
pub fn outliers(config: &AnomalyConfig, values: &[f64]) -> Vec<bool> {
    let far = config.deviations.unwrap_or(DEVIATIONS);
    if values.len() < GROUP_MIN {
        return vec![false; values.len()];
    }
    let center = median(&mut values.to_vec());
    let mut sizes: Vec<f64> = values.iter().map(|value| (value - center).abs()).collect();
    let scale = (SIGMA * median(&mut sizes)).max(center.abs() * 0.01).max(1e-9);
    values.iter().map(|value| !value.is_finite() || (value - center).abs() / scale > far).collect()
}

/// The median; the values are put into another order. Zero for none.
fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let (middle, is_odd) = (values.len() / 2, values.len() % 2 == 1);
    let (low, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if is_odd {
        return upper;
    }
    let lower = low.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (lower + upper) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64: numbers from a seed.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn unit(&mut self) -> f64 {
            (self.next() >> 11) as f64 / (1_u64 << 53) as f64
        }

        /// About normal: twelve uniform numbers.
        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
        }
    }

    const STEP_US: i64 = 300_000_000;
    const DAY_STEPS: usize = 288;
    /// Kinds of planted anomalies.
    const KINDS: [&str; 5] = ["spike", "dip", "shift", "noise", "stuck"];

    /// A series of four weeks with daily and weekly season, trend and noise, and where anomalies of one kind were
    /// planted in its last ten days.
    fn series(seed: u64, kind: &str) -> (Vec<f64>, Vec<(usize, usize)>) {
        let mut random = Random(seed);
        let (level, daily, weekly) =
            (50.0 + 100.0 * random.unit(), 10.0 + 20.0 * random.unit(), 0.5 + 0.3 * random.unit());
        let (trend, noise, phase) = (10.0 * random.unit() - 5.0, 1.0 + 2.0 * random.unit(), random.unit());
        let usual = |step: usize, random: &mut Random| {
            let day = step as f64 / DAY_STEPS as f64;
            let is_weekend = (day as usize) % 7 >= 5;
            let season = daily * (std::f64::consts::TAU * (day + phase)).sin()
                + daily / 3.0 * (2.0 * std::f64::consts::TAU * day).sin();
            let season = if is_weekend { season * weekly } else { season };
            level + season + trend * day / 7.0 + noise * random.normal()
        };
        let steps = 28 * DAY_STEPS;
        let mut values: Vec<f64> = (0..steps).map(|step| usual(step, &mut random)).collect();
        let mut planted = Vec::new();
        // One in every two days, at another time of the day each.
        for slot in 0..5 {
            let start = (18 + 2 * slot) * DAY_STEPS + (random.unit() * 200.0) as usize;
            let length = match kind {
                "spike" => 1 + (random.unit() * 3.0) as usize,
                "dip" => 3 + (random.unit() * 6.0) as usize,
                _ => 24 + (random.unit() * 24.0) as usize,
            };
            let held = values[start];
            for value in &mut values[start..start + length] {
                match kind {
                    "spike" => *value += noise * (10.0 + 10.0 * random.unit()),
                    "dip" => *value = 0.1 * *value - noise,
                    "shift" => *value += noise * 5.0,
                    "noise" => *value += noise * 4.0 * random.normal(),
                    _ => *value = held,
                }
            }
            planted.push((start, start + length));
        }
        (values, planted)
    }

    /// Planted, found, alerts, right alerts.
    fn judge(seed: u64, kind: &str) -> [usize; 4] {
        let (values, planted) = series(seed, kind);
        let (mut baseline, config) = (Baseline::default(), AnomalyConfig::default());
        let mut alerts: Vec<(usize, usize)> = Vec::new();
        for (step, value) in values.iter().enumerate() {
            if baseline.add(&config, step as i64 * STEP_US, *value).is_anomalous {
                match alerts.last_mut() {
                    // Half an hour without is still the same alert.
                    Some((_, end)) if step - *end <= 6 => *end = step + 1,
                    _ => alerts.push((step, step + 1)),
                }
            }
        }
        // An alert may end up to an hour after what it is about: what has come stays in view for so long.
        let meets = |alert: &(usize, usize), planted: &(usize, usize)| alert.0 < planted.1 + 12 && planted.0 < alert.1;
        let found = planted.iter().filter(|one| alerts.iter().any(|alert| meets(alert, one))).count();
        let right = alerts.iter().filter(|alert| planted.iter().any(|one| meets(alert, one))).count();
        [planted.len(), found, alerts.len(), right]
    }

    #[test]
    fn planted_anomalies_of_every_kind_are_found_and_little_else() {
        for kind in KINDS {
            let mut sum = [0; 4];
            for seed in 1..=2 {
                judge(seed, kind).iter().zip(&mut sum).for_each(|(part, sum)| *sum += part);
            }
            let [planted, found, alerts, right] = sum.map(|count| count as f64);
            let (recall, precision) = (found / planted, right / alerts.max(1.0));
            assert!(recall >= 0.9 && precision >= 0.8, "{kind}: recall {recall}, precision {precision}");
        }
    }

    #[test]
    fn a_series_is_learned_first_and_gaps_are_no_anomaly() {
        let (mut baseline, config) = (Baseline::default(), AnomalyConfig::default());
        let verdict = baseline.add(&config, 0, 1e9);
        assert!(!verdict.is_anomalous && verdict.expected.is_none());
        for step in 1..9 * DAY_STEPS as i64 {
            let value = 10.0 + (step % 7) as f64;
            if step % 3 != 0 {
                assert!(!baseline.add(&config, step * STEP_US, value).is_anomalous, "{step}");
            }
        }
        assert!(baseline.add(&config, 9 * DAY_US, 1e9).is_anomalous);
        assert!(baseline.add(&config, 9 * DAY_US, f64::NAN).is_anomalous);
        let text = serde_json::to_string(&baseline).unwrap();
        let again: Baseline = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }

    #[test]
    fn the_odd_one_of_a_group() {
        let config = AnomalyConfig { outlier: true, ..AnomalyConfig::default() };
        assert_eq!(outliers(&config, &[1.0, 1.1, 0.9, 1.0, 9.0]), [false, false, false, false, true]);
        assert_eq!(outliers(&config, &[1.0, 9.0]), [false, false], "two hosts are no group");
        assert_eq!(outliers(&config, &[5.0; 8]), [false; 8]);
        assert!(outliers(&config, &[1.0, 1.0, 1.0, 1.0, f64::NAN])[4]);
    }
}
