//! What to expect of a series at this time of the day and the week.
//!
//! Each bucket counts as how much it is above the mean of the day before it. What that was at this time of earlier weeks
//! is expected again, on top of the mean of the last day: so levels and trends need not be known. Days in between speak,
//! too, if they did so a week ago: on a Wednesday those of Monday and Tuesday do, on a Saturday none.

use super::median;
use super::past::{SIGMA, quantile};
use super::ring::Ring;

/// Weeks and days that may speak.
const WEEKS: usize = 4;
const DAYS: usize = 13;
/// Hours around this time of earlier weeks by which a day in between is judged.
const HOURS: usize = 3;
/// How much more than weeks differ a day may differ from a week ago.
const LIKE: f64 = 1.35;
/// How far from the line between its neighbors a bucket may be by chance, in standard deviations.
const SMOOTH: f64 = 1.5;

/// A look at the past from the bucket that is being made.
pub(super) struct Season {
    day: usize,
    /// Buckets, the newest first; NaN where nothing is known.
    values: Vec<f64>,
    /// Sums and counts of the known ones before each.
    sums: Vec<(f64, usize)>,
}

impl Season {
    pub(super) fn new(means: &Ring, day: usize) -> Self {
        let mut values: Vec<f64> = means.all().collect();
        tame(&mut values);
        let mut sums = Vec::with_capacity(values.len() + 1);
        let (mut sum, mut count) = (0.0, 0);
        sums.push((sum, count));
        for value in &values {
            if !value.is_nan() {
                (sum, count) = (sum + value, count + 1);
            }
            sums.push((sum, count));
        }
        Self { day, values, sums }
    }

    /// The mean of the day before the bucket that is `back` before the newest.
    fn day_before(&self, back: usize) -> Option<f64> {
        let ((sum_from, from), (sum_to, to)) = (self.sums.get(back + 1)?, self.sums.get(back + 1 + self.day)?);
        let count = to - from;
        (2 * count >= self.day.min(self.usual_count())).then(|| (sum_to - sum_from) / count as f64)
    }

    /// Known buckets of a day, of late.
    fn usual_count(&self) -> usize {
        let days = (self.values.len() / self.day.max(1)).clamp(1, 7);
        let known = self.sums.get((days * self.day).min(self.values.len())).map_or(0, |(_, count)| *count);
        (known / days).max(2)
    }

    fn at(&self, back: usize) -> Option<f64> {
        self.values.get(back).copied().filter(|value| !value.is_nan())
    }

    /// How much a bucket is above the day before it.
    fn above(&self, back: usize) -> Option<f64> {
        Some(self.at(back)? - self.day_before(back)?)
    }

    /// What the values of the buckets around now should be, and whether earlier weeks say so.
    pub(super) fn expected(&self) -> ([Option<f64>; 3], bool) {
        let week = 7 * self.day;
        let Some(level) = self.day_before(0) else { return ([None; 3], false) };
        let weeks: Vec<usize> =
            (1..=WEEKS).map(|back| back * week).filter(|back| self.day_before(*back).is_some()).collect();
        let is_weekly = weeks.iter().any(|back| (0..3).any(|near| self.at(back + 1 - near).is_some()));
        let days = (1..=DAYS).filter(|day| *day != 7);
        let lags: Vec<usize> = if is_weekly {
            let usual = self.weekly_difference();
            let like = days.filter(|day| usual.is_some_and(|usual| self.is_like(day * self.day, usual)));
            weeks.into_iter().chain(like.map(|day| day * self.day)).collect()
        } else {
            (1..=7).map(|day| day * self.day).collect()
        };
        let known: Vec<(usize, f64)> = lags.into_iter().filter_map(|lag| Some((lag, self.day_before(lag)?))).collect();
        // Five buckets around now; what each should be, and how much of it is chance.
        let noise = self.difference(week).or_else(|| self.difference(self.day)).map_or(0.0, |mean| mean / 1.128);
        let bare = [0_usize, 1, 2, 3, 4].map(|ahead| self.bare(&known, ahead));
        let expected = [1, 2, 3].map(|at| {
            let (own, count) = bare[at]?;
            let (Some((before, _)), Some((after, _))) = (bare[at - 1], bare[at + 1]) else { return Some(level + own) };
            // Neighbors on a line with it say the same; at an edge they do not.
            let chance = noise * (1.5 / count as f64).sqrt();
            let is_smooth = (own - (before + after) / 2.0).abs() <= SMOOTH * chance;
            Some(level + if is_smooth { own / 2.0 + (before + after) / 4.0 } else { own })
        });
        (expected, is_weekly)
    }

    /// What the bucket `ahead` of the one two before now is above the day before now, of how many it is the middle.
    fn bare(&self, lags: &[(usize, f64)], ahead: usize) -> Option<(f64, usize)> {
        let mut found = Vec::with_capacity(lags.len());
        for (lag, before) in lags {
            let at = (lag + 2).checked_sub(ahead)?;
            let near = [Some(at), at.checked_sub(1), Some(at + 1)].into_iter().flatten().filter(|near| *near > 0);
            found.extend(near.filter_map(|near| self.at(near)).next().map(|value| value - before));
        }
        (!found.is_empty()).then(|| (middle(&mut found), found.len()))
    }

    /// How much a bucket differs from a week before it, as a mean of sizes.
    fn weekly_difference(&self) -> Option<f64> {
        self.difference(7 * self.day).filter(|difference| *difference > 0.0)
    }

    /// The same of any lag, over the last week.
    fn difference(&self, lag: usize) -> Option<f64> {
        let pairs = (1..=7 * self.day).filter_map(|back| Some((self.above(back)? - self.above(back + lag)?).abs()));
        let mut sizes: Vec<f64> = pairs.collect();
        // A median of sizes is 0.845 of their mean.
        (sizes.len() >= self.usual_count() / 2).then(|| median(&mut sizes) / 0.845)
    }

    /// Whether the bucket that is `lag` before one was like it at this time of earlier weeks, and shortly before and after.
    fn is_like(&self, lag: usize, usual: f64) -> bool {
        let around = (HOURS * self.day / 24).max(2);
        let mean = |from: usize, to: usize| {
            let weeks = [7 * self.day, 14 * self.day];
            let backs = weeks.iter().flat_map(|week| week.saturating_sub(to)..=week + from);
            let sizes = backs.filter_map(|back| Some((self.above(back)? - self.above(back + lag)?).abs()));
            let (sum, count) = sizes.fold((0.0, 0_usize), |(sum, count), size| (sum + size, count + 1));
            (count >= 3).then(|| sum / count as f64)
        };
        [mean(around, 0), mean(0, around)].iter().all(|mean| mean.is_some_and(|mean| mean <= LIKE * usual))
    }

    /// A standard deviation of what is not expected, by how much the past differs from itself.
    pub(super) fn scatter(&self) -> f64 {
        let differs = self.difference(7 * self.day).or_else(|| self.difference(self.day));
        differs.map_or(0.0, |mean| 0.845 * SIGMA * mean)
    }
}

/// One value that is far beyond all others would spoil the mean of its day, and counts as no further than this.
fn tame(values: &mut [f64]) {
    let mut known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let (low, high) = (quantile(&mut known, 0.02), quantile(&mut known, 0.98));
    let room = 2.0 * (high - low);
    if room > 0.0 {
        // NaN stays what it is.
        values.iter_mut().for_each(|value| *value = value.clamp(low - room, high + room));
    }
}

/// The mean of the middle half; the median of few.
fn middle(values: &mut [f64]) -> f64 {
    if values.len() < 4 {
        return median(values);
    }
    values.sort_unstable_by(f64::total_cmp);
    let cut = values.len() / 4;
    let inner = values.get(cut..values.len() - cut).unwrap_or_default();
    inner.iter().sum::<f64>() / inner.len().max(1) as f64
}
