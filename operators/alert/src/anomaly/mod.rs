//! What is unusual: a value against what its series usually is at this time of the day and the week, and a series against
//! the others of its group. Medians and median absolute deviations throughout, so that what was unusual once does not
//! become usual at once.
//!
//! A series is kept as means of 10 minutes, or of the time between two values of a slow one, for four weeks, and its
//! differences from what was expected for one: 35 KiB (`past`). What is expected follows from earlier weeks and from days
//! that were like this one (`season`). Six things are unusual: a value far away; in a slow series a step far wider than its
//! steps; runs of values that lie on one side of what is expected, or go up and down far more than usual (`runs`); values
//! that do not move although they usually do (`still`); and a learned series that ends, which the instance of the rule
//! sees. How far is far follows from the series' own week: one
//! whose noise is slow or has heavy tails is given more room.

mod exact;
mod group;
mod past;
mod ring;
mod runs;
mod season;
mod still;

pub use group::outliers;

use crate::config::{micros, some_duration};
use past::{Past, RUNS};
use ring::Ring;
use runs::Runs;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use still::Still;

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
const HOUR_US: i64 = 3_600_000_000;
/// Values count as no greater than this: sums and differences stay finite, also as single floats.
const VALUE_MAX: f64 = 1e30;
/// Values that a shift or a scatter is judged by: those of an hour, within these bounds.
const RUN_MIN: usize = 6;
const RUN_MAX: usize = 240;
/// How far a value that is far away counts among others, in standard deviations.
const TAMED: f64 = 2.5;
/// The shortest silence that is unusual.
const SILENCE_MIN_US: i64 = 60_000_000;
/// A silence that is unusual in all but slow series.
const SILENCE_US: i64 = 900_000_000;
/// How much further away a value has to be while there are less than two weeks.
const THIN: f64 = 1.25;

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
    past: Past,
    first_ts: Option<i64>,
    last_ts: i64,
    /// Usual time between two values.
    step_us: i64,
    /// The last differences from what was expected.
    recent: Ring,
    is_shifted: bool,
    /// Since when all values are unusual.
    unusual_since: Option<i64>,
    still: Still,
}

impl Baseline {
    /// Bytes that one holds when it is full.
    pub(crate) const BYTES: usize = 35 << 10;

    /// Judges a value, then learns it.
    pub fn add(&mut self, config: &AnomalyConfig, ts: i64, value: f64) -> Verdict {
        if !value.is_finite() {
            return Verdict { is_anomalous: true, expected: None, deviations: f64::INFINITY };
        }
        let value = value.clamp(-VALUE_MAX, VALUE_MAX);
        let is_first = self.first_ts.is_none();
        let first = *self.first_ts.get_or_insert(ts);
        if !is_first && ts > self.last_ts {
            self.pace(ts - self.last_ts);
        }
        self.last_ts = self.last_ts.max(ts);
        let runs = self.runs();
        let was_weekly = self.past.usual().is_weekly;
        self.past.advance(ts, self.step_us, runs);
        if self.past.usual().is_weekly != was_weekly {
            // What something else expected says nothing of what is expected now.
            self.recent = Ring::default();
        }
        let expected = self.past.usual().expected(ts);
        if let Some(expected) = expected {
            self.recent.push((value - expected) as f32, runs[RUNS - 1] + 1);
        }
        let is_learned = ts - first >= config.learn.map_or(LEARN_US, micros);
        let verdict = match expected.filter(|_| is_learned) {
            Some(expected) => self.judge(config, expected, value, runs),
            None => Verdict { is_anomalous: false, expected: None, deviations: 0.0 },
        };
        self.learn(expected, ts, value, verdict.is_anomalous);
        verdict
    }

    /// The time of its newest value, in microseconds.
    pub(crate) fn last_ts(&self) -> i64 {
        self.last_ts
    }

    /// How long a silence of a learned series is unusual: several times what usually lies between two of its values. None
    /// while it is learned.
    fn silence(&self, config: &AnomalyConfig) -> Option<i64> {
        let first = self.first_ts?;
        let is_learned = self.last_ts - first >= config.learn.map_or(LEARN_US, micros);
        let most = (5 * self.step_us).min(SILENCE_US).max(self.step_us * 5 / 2);
        is_learned.then(|| most.max(SILENCE_MIN_US))
    }

    /// Whether it is unusual that nothing has come until `now`.
    pub fn is_missed(&self, config: &AnomalyConfig, now: i64) -> bool {
        self.silence(config).is_some_and(|unusual| (unusual..DAY_US).contains(&(now - self.last_ts)))
    }

    /// Whether what has not come until `now` may still come.
    pub(crate) fn is_gap(&self, config: &AnomalyConfig, now: i64) -> bool {
        self.silence(config).is_some_and(|unusual| now - self.last_ts < unusual)
    }

    /// What lies between two values: one gap changes it little.
    fn pace(&mut self, step: i64) {
        self.step_us = match self.step_us {
            0 => step,
            known if step > known => known + (step - known).min(known) / 16,
            known => known - (known - step) / 4,
        };
    }

    /// Runs of values that are judged together: about a quarter of an hour, a half, a whole one, and two.
    fn runs(&self) -> [usize; RUNS] {
        let hour = usize::try_from(HOUR_US / self.step_us.max(1)).unwrap_or(RUN_MAX).clamp(RUN_MIN, RUN_MAX);
        [(hour / 4).max(2), hour / 2, hour, 2 * hour]
    }

    /// Values of a day.
    fn per_day(&self) -> f64 {
        (DAY_US as f64 / self.step_us.max(1) as f64).max(1.0)
    }

    /// The fewer values a day has, the less far chance comes: 1 for one in five minutes, 0.8 for one an hour.
    fn rarity(&self) -> f64 {
        (1.0 - 0.07 * (288.0 / self.per_day()).ln()).clamp(0.75, 1.0)
    }

    fn judge(&mut self, config: &AnomalyConfig, expected: f64, value: f64, counts: [usize; RUNS]) -> Verdict {
        let usual = self.past.usual();
        // One week says less of what is usual than several.
        let thin = match (usual.is_weekly, self.past.is_thin()) {
            (false, _) => 2.0 * THIN,
            (true, true) => THIN,
            (true, false) => 1.0,
        };
        let far = config.deviations.unwrap_or(DEVIATIONS) * self.rarity() * thin;
        let (difference, scale) = (value - expected, usual.scale);
        let deviations = difference / scale;
        let is_far = difference.abs() > (far * scale).max(1.3 * usual.often);
        let runs = Runs { recent: &self.recent, usual, counts, thin };
        // Where it is not known how the days have changed, all values may lie aside.
        let is_whole = usual.is_weekly && runs.is_whole();
        let is_shifted = is_whole && (runs.is_aside(far) || (self.is_shifted && !runs.is_back()));
        let is_scattered = is_whole && runs.is_scattered();
        let is_jump = runs.is_jump(far);
        let is_stuck = self.still.is_unusual(value, self.per_day());
        let is_near = deviations.abs() > far / 2.0 && self.unusual_since.is_some();
        self.is_shifted = is_shifted;
        if is_far {
            // It counts by itself, and not once more among those that follow.
            self.recent.set_newest(difference.clamp(-TAMED * scale, TAMED * scale) as f32);
        }
        let is_anomalous = is_far || is_jump || is_shifted || is_scattered || is_stuck || is_near;
        Verdict { is_anomalous, expected: Some(expected), deviations }
    }

    /// What is unusual counts as far as usual values reach: a new level becomes usual, slowly; and what has been unusual
    /// for a day is what there is to learn from.
    fn learn(&mut self, expected: Option<f64>, ts: i64, value: f64, is_anomalous: bool) {
        self.still.learn(value, is_anomalous);
        let since = if is_anomalous { Some(self.unusual_since.unwrap_or(ts)) } else { None };
        self.unusual_since = since;
        let is_news = since.is_some_and(|since| ts - since < DAY_US);
        let taken = match expected.filter(|_| is_anomalous) {
            Some(expected) => {
                let reach = if is_news { 1.0 } else { 3.0 } * self.past.usual().scale;
                value.clamp(expected - reach, expected + reach)
            }
            None => value,
        };
        let step = self.recent.at(0).zip(self.recent.at(1)).map_or(0.0, |(one, before)| one - before);
        self.past.learn(taken, expected.filter(|_| !is_news).map(|expected| value - expected), step);
    }
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

    const STEP_US: i64 = 300_000_000;
    const DAY_STEPS: i64 = DAY_US / STEP_US;

    #[test]
    fn a_series_is_learned_first_and_gaps_are_no_anomaly() {
        let (mut baseline, config) = (Baseline::default(), AnomalyConfig::default());
        let verdict = baseline.add(&config, 0, 1e9);
        assert!(!verdict.is_anomalous && verdict.expected.is_none());
        for step in 1..9 * DAY_STEPS {
            let value = 10.0 + (step % 7) as f64;
            if step % 3 != 0 {
                assert!(!baseline.add(&config, step * STEP_US, value).is_anomalous, "{step}");
            }
        }
        assert!(baseline.add(&config, 9 * DAY_US, 1e9).is_anomalous);
        assert!(baseline.add(&config, 9 * DAY_US, f64::NAN).is_anomalous);
        let text = serde_json::to_string(&baseline).unwrap();
        assert!(text.len() < 48 << 10, "{} bytes of state", text.len());
        let again: Baseline = serde_json::from_str(&text).unwrap();
        assert!(serde_json::to_string(&again).unwrap() == text, "the last digit counts");
        let mut cut = text;
        cut = cut.replacen("\"means\":\"", "\"means\":\"AA", 1);
        assert!(serde_json::from_str::<Baseline>(&cut).is_err());
    }

    #[test]
    fn a_pace_outlives_a_gap() {
        let (mut baseline, config) = (Baseline::default(), AnomalyConfig::default());
        for step in 0..300 {
            baseline.add(&config, step * STEP_US, step as f64);
        }
        baseline.add(&config, 400 * STEP_US, 1.0);
        assert!(baseline.step_us < STEP_US + STEP_US / 8, "{}", baseline.step_us);
        assert_eq!(baseline.silence(&config), None, "while it is learned nothing is missed");
    }
}
