//! What was: means of buckets of time for four weeks, and how far values were from what was expected for one week. From
//! it follows what is usual in the present bucket.
//!
//! A bucket is 10 minutes wide, or as wide as the time between two values of a slow series.

use super::ring::Ring;
use super::season::Season;
use super::{DAY_US, HOUR_US, exact, median};
use serde::{Deserialize, Serialize};

/// Widths of a bucket, in minutes; each divides a day.
const WIDTHS: [i64; 9] = [10, 15, 20, 30, 60, 120, 180, 240, 360];
const MINUTE_US: i64 = 60_000_000;
/// Standard deviations per median absolute deviation, and per mean absolute deviation.
pub(super) const SIGMA: f64 = 1.4826;
const SIGMA_OF_MEANS: f64 = 1.2533;
/// A series without any scatter may move by this part of its value.
const STILL: f64 = 0.004;
/// Runs of values that are looked at together.
pub(super) const RUNS: usize = 4;

/// What a series was.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Past {
    width_us: i64,
    /// Number of the bucket that is being made.
    bucket: i64,
    means: Ring,
    /// Mean, mean size and greatest size of the differences from what was expected, and the mean size of their steps.
    biases: Ring,
    spreads: Ring,
    tops: Ring,
    steps: Ring,
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
    #[serde(with = "exact")]
    step: f64,
    judged: u32,
    usual: Usual,
    /// The differences are those from what earlier weeks said.
    has_weeks: bool,
}

impl Default for Past {
    fn default() -> Self {
        Self {
            width_us: WIDTHS[0] * MINUTE_US,
            bucket: 0,
            means: Ring::default(),
            biases: Ring::default(),
            spreads: Ring::default(),
            tops: Ring::default(),
            steps: Ring::default(),
            sum: 0.0,
            count: 0,
            bias: 0.0,
            spread: 0.0,
            top: 0.0,
            step: 0.0,
            judged: 0,
            usual: Usual::default(),
            has_weeks: false,
        }
    }
}

/// What is usual in the present bucket.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Usual {
    /// Values are closer than buckets.
    pub(super) is_dense: bool,
    /// At the middles of the bucket before, the present one, and the next.
    #[serde(with = "exact")]
    expected: [Option<f64>; 3],
    /// It is what it was at this time of earlier weeks.
    pub(super) is_weekly: bool,
    /// A standard deviation of one value.
    #[serde(with = "exact")]
    pub(super) scale: f64,
    /// Of the mean of each run of values.
    #[serde(with = "exact")]
    pub(super) scale_of_means: [f64; RUNS],
    /// The mean size of a step from one difference to the next.
    #[serde(with = "exact")]
    pub(super) step: f64,
    #[serde(with = "exact")]
    pub(super) one_step: f64,
    #[serde(with = "exact")]
    pub(super) often_step: f64,
    #[serde(with = "exact")]
    pub(super) size: f64,
    #[serde(with = "exact")]
    pub(super) large: f64,
    /// How often that the steps of the two longest runs have to be for values to scatter.
    #[serde(with = "exact")]
    pub(super) wide: [f64; 2],
    /// Differences that are reached in one hour out of fifty.
    #[serde(with = "exact")]
    pub(super) often: f64,
}

impl Usual {
    /// What is expected at `ts`.
    pub(super) fn expected(&self, ts: i64) -> Option<f64> {
        let [before, now, next] = self.expected;
        let now = now?;
        if !self.is_dense {
            // Values come at the same moments of each bucket.
            return Some(now);
        }
        let width = WIDTHS[0] * MINUTE_US;
        // An edge between two of them is no slope.
        if let (Some(before), Some(next)) = (before, next)
            && (before + next - 2.0 * now).abs() > (2.0 * self.scale).max(0.4 * (next - before).abs())
        {
            return Some(now);
        }
        let place = ts.rem_euclid(width) as f64 / width as f64 - 0.5;
        let other = if place < 0.0 { before } else { next };
        Some(now + other.map_or(0.0, |other| (other - now) * place.abs()))
    }
}

impl Past {
    /// Buckets of a day.
    fn day(&self) -> usize {
        (DAY_US / self.width_us.max(1)) as usize
    }

    fn is_dense(&self) -> bool {
        self.width_us == WIDTHS[0] * MINUTE_US
    }

    /// There are less than two weeks of it.
    pub(super) fn is_thin(&self) -> bool {
        self.means.len() <= 14 * self.day()
    }

    pub(super) fn usual(&self) -> &Usual {
        &self.usual
    }

    /// Moves on to the time `ts`; values come every `step_us`, and are judged by runs of so many.
    pub(super) fn advance(&mut self, ts: i64, step_us: i64, runs: [usize; RUNS]) {
        self.fit(step_us);
        let number = ts.div_euclid(self.width_us);
        if self.means.len() == 0 {
            self.bucket = number;
            self.means.push(f32::NAN, 1);
            return;
        }
        if number <= self.bucket {
            return;
        }
        let (day, kept) = (self.day(), self.kept());
        let passed = number - self.bucket;
        for step in 0..passed.min(kept as i64) {
            let is_known = step == 0 && self.judged > 0;
            let of = |value: f64| if is_known { value as f32 } else { f32::NAN };
            let judged = f64::from(self.judged.max(1));
            self.biases.push(of(self.bias / judged), 7 * day);
            self.spreads.push(of(self.spread / judged), 7 * day);
            self.tops.push(of(self.top), 7 * day);
            self.steps.push(of(self.step / judged), 7 * day);
            // A gap counts as what was expected: a mean of a day without its night would be another.
            if self.count == 0
                && passed <= day as i64
                && let ([_, Some(expected), _], true) = self.season().expected()
            {
                self.means.set_newest(expected as f32);
            }
            self.means.push(f32::NAN, kept);
            self.begin();
        }
        self.bucket = number;
        self.usual = self.look(step_us, runs);
        if self.usual.is_weekly && !self.has_weeks {
            // Days alone said less: how far they were off says little of weeks.
            self.has_weeks = true;
            for ring in [&mut self.biases, &mut self.spreads, &mut self.tops, &mut self.steps] {
                *ring = Ring::default();
            }
        }
    }

    fn begin(&mut self) {
        (self.sum, self.count, self.judged) = (0.0, 0, 0);
        (self.bias, self.spread, self.top, self.step) = (0.0, 0.0, 0.0, 0.0);
    }

    /// Buckets of means that are kept: four weeks, and the day before.
    fn kept(&self) -> usize {
        29 * self.day() + 2
    }

    /// Makes buckets as wide as values are apart.
    fn fit(&mut self, step_us: i64) {
        let least = |step: i64| WIDTHS.iter().map(|width| width * MINUTE_US).find(|width| *width >= step);
        let widest = WIDTHS[WIDTHS.len() - 1] * MINUTE_US;
        // A step varies a little.
        let wanted = least(step_us - step_us / 16).unwrap_or(widest);
        let is_kept = wanted == self.width_us || (wanted < self.width_us && 4 * step_us > 3 * self.width_us);
        if is_kept || step_us == 0 {
            return;
        }
        let (old, newest) = (self.width_us, (self.bucket + 1) * self.width_us);
        let last = (newest - 1).div_euclid(wanted);
        let mut rings = [&mut self.means, &mut self.biases, &mut self.spreads, &mut self.tops, &mut self.steps];
        for ring in &mut rings {
            **ring = ring.rebinned(old, newest, wanted, last);
        }
        self.width_us = wanted;
        self.bucket = last;
        self.begin();
    }

    /// Learns a value, and how far it was from what was expected where that is to be learned.
    pub(super) fn learn(&mut self, value: f64, difference: Option<f64>, step: f64) {
        self.sum += value;
        self.count += 1;
        self.means.set_newest((self.sum / f64::from(self.count)) as f32);
        if let Some(difference) = difference {
            self.bias += difference;
            self.spread += difference.abs();
            self.top = self.top.max(difference.abs());
            self.step += step.abs();
            self.judged += 1;
        }
    }

    fn season(&self) -> Season {
        Season::new(&self.means, self.day())
    }

    fn look(&self, step_us: i64, runs: [usize; RUNS]) -> Usual {
        let day = self.day();
        let hour = (HOUR_US / self.width_us).max(1) as usize;
        let season = self.season();
        let (expected, is_weekly) = season.expected();
        // The smaller a bucket's count, the less a mean of sizes is like a mean.
        let per_bucket = (self.width_us as f64 / step_us.max(1) as f64).max(1.0);
        let factor = SIGMA_OF_MEANS + (SIGMA - SIGMA_OF_MEANS) / per_bucket;
        let mut all: Vec<f64> = self.spreads.known().collect();
        // Before much was judged, what differs from week to week says how much values scatter.
        let by_season = season.scatter() * per_bucket.sqrt();
        let overall = if all.len() >= day / 2 { factor * median(&mut all) } else { by_season.max(self.usual.scale) };
        // At this time of the day values may scatter more than at others.
        let mut near = Vec::new();
        for ago in 1..=7 {
            let around = (ago * day).saturating_sub(hour)..=ago * day + hour;
            near.extend(around.filter_map(|back| self.spreads.at(back - 1)));
        }
        let local = if near.len() >= 20 { factor * median(&mut near) } else { overall };
        let least = (expected[1].unwrap_or_default().abs() * STILL).max(1e-9);
        let scale = local.max(0.6 * overall).max(least);
        let scale_of_means = runs.map(|run| {
            if all.len() < day / 2 {
                return f64::INFINITY;
            }
            let buckets = (run as f64 / per_bucket).ceil().max(1.0) as usize;
            let mut means: Vec<f64> = self.biases.means(buckets).into_iter().map(f64::abs).collect();
            (SIGMA * median(&mut means)).max(scale / (run.max(1) as f64).sqrt())
        });
        let mut steps: Vec<f64> = self.steps.known().collect();
        let step = (factor / SIGMA_OF_MEANS * median(&mut steps)).max(least);
        // Little is known in the first days.
        let is_known = steps.len() >= day;
        let buckets = |run: usize| ((run as f64 / per_bucket).ceil() as usize).max(1);
        let wide = [runs[2], runs[3]]
            .map(|run| if is_known { reach(&self.steps, buckets(run)) / step } else { f64::INFINITY });
        let size = median(&mut all).max(1e-9);
        let large = if all.len() >= day { reach(&self.spreads, buckets(runs[2])) / size } else { f64::INFINITY };
        let mut tops: Vec<f64> = Vec::new();
        let mut top: f64 = f64::NAN;
        for (at, one) in self.tops.all().enumerate() {
            top = top.max(one);
            if at % hour == hour - 1 {
                tops.extend(Some(top).filter(|top| !top.is_nan()));
                top = f64::NAN;
            }
        }
        let often = quantile(&mut tops, 0.98);
        let one_step = if is_known { (factor * median(&mut steps)).max(least) } else { f64::INFINITY };
        let often_step = quantile(&mut steps, 0.98);
        Usual {
            is_dense: self.is_dense(),
            expected,
            is_weekly,
            scale,
            scale_of_means,
            step,
            wide,
            often,
            one_step,
            often_step,
            size,
            large,
        }
    }
}

/// What the means of `count` buckets of a ring hardly ever reach.
fn reach(ring: &Ring, count: usize) -> f64 {
    let mut means = ring.means(count);
    let (middle, high) = (median(&mut means), quantile(&mut means, 0.9));
    middle + 3.5 * (high - middle)
}

/// The value that a part of the values is below; they are put into another order. Zero for none.
pub(super) fn quantile(values: &mut [f64], part: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let at = ((values.len() - 1) as f64 * part) as usize;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}
