//! What was: means of 10 minutes for four weeks, and how far values were from what was expected for one week. From it
//! follows what is usual in the present 10 minutes.

use super::ring::Ring;
use super::{DAY_US, exact, median};
use serde::{Deserialize, Serialize};

/// Width of a bucket of the past.
pub(super) const BUCKET_US: i64 = 600_000_000;
const DAY: usize = (DAY_US / BUCKET_US) as usize;
pub(super) const WEEK: usize = 7 * DAY;
/// Buckets that are kept.
const KEPT: usize = 4 * WEEK + DAY + 2;
const HOUR: usize = 6;
/// Standard deviations per median absolute deviation, and per mean absolute deviation.
const SIGMA: f64 = 1.4826;
const SIGMA_OF_MEANS: f64 = 1.2533;
/// A series without any scatter may move by this part of its value.
const STILL: f64 = 0.004;

/// What a series was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Past {
    /// Number of the bucket that is being made.
    bucket: i64,
    means: Ring,
    /// Mean, mean size and greatest size of the differences from what was expected.
    biases: Ring,
    spreads: Ring,
    tops: Ring,
    /// Of the bucket that is being made: values, and those with a difference that counts.
    #[serde(with = "exact")]
    sum: f64,
    count: u32,
    #[serde(with = "exact")]
    bias: f64,
    #[serde(with = "exact")]
    spread: f64,
    #[serde(with = "exact")]
    top: f64,
    judged: u32,
    usual: Usual,
}

/// What is usual in the present bucket.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Usual {
    /// At the middles of the bucket before, the present one, and the next.
    #[serde(with = "exact")]
    expected: [Option<f64>; 3],
    /// It is known how much the days have changed since.
    pub(super) is_moved: bool,
    /// A standard deviation of one value.
    #[serde(with = "exact")]
    pub(super) scale: f64,
    /// A standard deviation of the mean of the values that a shift is judged by.
    #[serde(with = "exact")]
    pub(super) scale_of_means: f64,
    /// Mean sizes, in standard deviations, beyond which values scatter.
    #[serde(with = "exact")]
    pub(super) wide: f64,
    /// Differences that are reached in one hour out of fifty.
    #[serde(with = "exact")]
    pub(super) often: f64,
}

impl Usual {
    /// What is expected at `ts`.
    pub(super) fn expected(&self, ts: i64) -> Option<f64> {
        let [before, now, next] = self.expected;
        let now = now?;
        let place = ts.rem_euclid(BUCKET_US) as f64 / BUCKET_US as f64 - 0.5;
        let other = if place < 0.0 { before } else { next };
        Some(now + other.map_or(0.0, |other| (other - now) * place.abs()))
    }
}

impl Past {
    /// There are less than two weeks of it.
    pub(super) fn is_thin(&self) -> bool {
        self.means.len() <= 2 * WEEK
    }

    pub(super) fn usual(&self) -> &Usual {
        &self.usual
    }

    /// Moves on to the time `ts`; values come every `step_us`, and shifts are judged by `run` of them.
    pub(super) fn advance(&mut self, ts: i64, step_us: i64, run: usize) {
        let number = ts.div_euclid(BUCKET_US);
        if self.means.len() == 0 {
            self.bucket = number;
            self.means.push(f32::NAN, KEPT);
            return;
        }
        if number <= self.bucket {
            return;
        }
        for step in 0..(number - self.bucket).min(KEPT as i64) {
            let is_known = step == 0 && self.judged > 0;
            let of = |value: f64| if is_known { value as f32 } else { f32::NAN };
            let judged = f64::from(self.judged.max(1));
            self.biases.push(of(self.bias / judged), WEEK);
            self.spreads.push(of(self.spread / judged), WEEK);
            self.tops.push(of(self.top), WEEK);
            self.means.push(f32::NAN, KEPT);
            (self.sum, self.count, self.bias, self.spread, self.top, self.judged) = (0.0, 0, 0.0, 0.0, 0.0, 0);
        }
        self.bucket = number;
        self.usual = self.look(step_us, run);
    }

    /// Learns a value, and how far it was from what was expected where that is to be learned.
    pub(super) fn learn(&mut self, value: f64, difference: Option<f64>) {
        self.sum += value;
        self.count += 1;
        self.means.set_newest((self.sum / f64::from(self.count)) as f32);
        if let Some(difference) = difference {
            self.bias += difference;
            self.spread += difference.abs();
            self.top = self.top.max(difference.abs());
            self.judged += 1;
        }
    }

    fn look(&self, step_us: i64, run: usize) -> Usual {
        let (expected, is_moved) = self.expected(step_us);
        // The smaller a bucket's count, the less a mean of sizes is like a mean.
        let per_bucket = (BUCKET_US as f64 / step_us.max(1) as f64).max(1.0);
        let factor = SIGMA_OF_MEANS + (SIGMA - SIGMA_OF_MEANS) / per_bucket;
        let mut all: Vec<f64> = self.spreads.known().collect();
        let overall = factor * median(&mut all);
        // At this time of the day values may scatter more than at others.
        let mut near = Vec::new();
        for day in 1..=7 {
            let around = (day * DAY).saturating_sub(HOUR)..=day * DAY + HOUR;
            near.extend(around.filter_map(|back| self.spreads.at(back - 1)));
        }
        let local = if near.len() >= DAY / 4 { factor * median(&mut near) } else { overall };
        let least = (expected[1].unwrap_or_default().abs() * STILL).max(1e-9);
        let scale = local.max(0.6 * overall).max(least);
        let buckets = (run as f64 / per_bucket).ceil().max(1.0) as usize;
        let mut runs: Vec<f64> = self.biases.means(buckets).into_iter().map(f64::abs).collect();
        let scale_of_means = (SIGMA * median(&mut runs)).max(scale / (run.max(1) as f64).sqrt());
        let mut wide = self.spreads.means(buckets);
        let (middle, high) = (median(&mut wide), quantile(&mut wide, 0.9));
        let wide = (middle + 3.5 * (high - middle)) / scale;
        let mut tops: Vec<f64> = Vec::new();
        let mut hour: f64 = f64::NAN;
        for (at, top) in self.tops.all().enumerate() {
            hour = hour.max(top);
            if at % HOUR == HOUR - 1 {
                tops.extend(Some(hour).filter(|hour| !hour.is_nan()));
                hour = f64::NAN;
            }
        }
        Usual { expected, is_moved, scale, scale_of_means, wide, often: quantile(&mut tops, 0.98) }
    }

    /// What the values of the buckets around now should be: the median of the same time of earlier weeks, or of earlier
    /// days while there is no week yet, each moved by how much a day has changed since. False where that is not known.
    fn expected(&self, step_us: i64) -> ([Option<f64>; 3], bool) {
        let least = ((DAY_US / step_us.max(BUCKET_US)) / 2).clamp(3, DAY as i64 / 2) as usize;
        let of_season = |season: usize, count: usize, known_min: usize| {
            let mut moves = Vec::new();
            for back in 1..=count {
                // Neighbors have the same day before them but for one bucket.
                moves.push(self.moved(back * season, least));
            }
            [0, 1, 2].map(|ahead: usize| {
                let (mut moved, mut bare) = (Vec::new(), Vec::new());
                for (back, by) in (1..=count).zip(&moves) {
                    for near in 0..3 {
                        // `ahead` and `near` count from the bucket before.
                        let Some(value) = self.means.at((back * season + 2).saturating_sub(ahead + near)) else {
                            continue;
                        };
                        match by {
                            Some(by) => moved.push(value + by),
                            None => bare.push(value),
                        }
                    }
                }
                let is_moved = !moved.is_empty();
                let mut values = if is_moved { moved } else { bare };
                (values.len() >= known_min).then(|| (median(&mut values), is_moved))
            })
        };
        let weeks = of_season(WEEK, 4, 3);
        let has_weeks = weeks[1].is_some();
        let found = if has_weeks { weeks } else { of_season(DAY, 7, 1) };
        // After a week, days alone do not tell work from weekend.
        let is_moved = found.iter().flatten().all(|found| found.1) && (has_weeks || self.means.len() <= WEEK);
        (found.map(|found| found.map(|found| found.0)), is_moved)
    }

    /// How much greater the values of the day before now are than those of the day before `back`: a mean without the least
    /// and the greatest difference. No median: between day and night there are few values, and it would jump. What was
    /// unusual has been pulled in before it was learned.
    fn moved(&self, back: usize, known_min: usize) -> Option<f64> {
        let (mut sum, mut count, mut least, mut greatest) = (0.0, 0_usize, f64::INFINITY, f64::NEG_INFINITY);
        for ago in 1..=DAY {
            let Some(difference) = self.means.at(ago).zip(self.means.at(back + ago)).map(|(now, then)| now - then)
            else {
                continue;
            };
            (sum, count) = (sum + difference, count + 1);
            (least, greatest) = (least.min(difference), greatest.max(difference));
        }
        (count >= known_min).then(|| (sum - least - greatest) / (count - 2) as f64)
    }
}

/// The value that a part of the values is below; they are put into another order. Zero for none.
fn quantile(values: &mut [f64], part: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let at = ((values.len() - 1) as f64 * part) as usize;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}
