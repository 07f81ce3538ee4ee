//! The last differences from what was expected, looked at together.

use super::past::{RUNS, Usual};
use super::ring::Ring;

/// How far the mean of each run lies aside at least, in standard deviations of one value.
const LEAST: [f64; RUNS] = [2.7, 2.4, 2.0, 1.7];
/// The same of the steps of the two longest runs, in usual steps; and the most that is asked, and that one step counts.
const WIDE: [f64; 2] = [1.9, 1.7];
const WIDE_MAX: f64 = 3.0;
const STEP_MAX: f64 = 5.0;
/// How often their usual size the differences of an hour are at least, where values scatter.
const LARGE: f64 = 2.0;

/// Runs of the newest differences, and what is usual of them.
pub(super) struct Runs<'a> {
    pub(super) recent: &'a Ring,
    pub(super) usual: &'a Usual,
    /// Values of each run; the third is an hour.
    pub(super) counts: [usize; RUNS],
    /// How much more is asked while little is known.
    pub(super) thin: f64,
}

impl Runs<'_> {
    /// There are the values of an hour.
    pub(super) fn is_whole(&self) -> bool {
        self.recent.len() >= self.counts[2]
    }

    /// The mean of a run lies further aside than such means do: `far` standard deviations of them, about.
    pub(super) fn is_aside(&self, far: f64) -> bool {
        // These are measured by what they themselves usually are.
        let own = far / self.thin.sqrt();
        let bounds = self.usual.scale_of_means.into_iter().zip(LEAST);
        self.counts.into_iter().zip(bounds).any(|(run, (own_scale, least))| {
            self.recent.len() >= run && self.mean(run).abs() > (0.75 * own * own_scale).max(least * self.usual.scale)
        })
    }

    /// A series is back when its last values are.
    pub(super) fn is_back(&self) -> bool {
        let (all, newest) = (self.mean(self.counts[2]), self.mean(self.last()));
        newest * all.signum() < 0.4 * all.abs()
    }

    /// Values go up and down, or lie on both sides, far more than usual. One that is far away goes up and down, too.
    pub(super) fn is_scattered(&self) -> bool {
        let asked = |usual: f64| 1.0 + (usual - 1.0) * self.thin.sqrt();
        let is_wide = |(run, (usual, least)): (&usize, (f64, f64))| {
            self.recent.len() > *run && usual.is_finite() && self.steps(*run) > asked(usual.clamp(least, WIDE_MAX))
        };
        let is_wide = self.counts[2..].iter().zip(self.usual.wide.into_iter().zip(WIDE)).any(is_wide);
        let usual = self.usual.large;
        // A dense series says it by its steps.
        let is_large = !self.usual.is_dense && usual.is_finite() && self.size(self.counts[2]) > asked(usual.max(LARGE));
        (is_wide || is_large) && self.steps(self.last()) > 1.2
    }

    /// The newest value is further from the one before than values ever go at once. Where noise is slow, this tells a shift
    /// from a drift. In a dense series many values tell it better.
    pub(super) fn is_jump(&self, far: f64) -> bool {
        let Usual { is_dense, one_step, often_step, .. } = *self.usual;
        let step = self.recent.at(0).zip(self.recent.at(1)).map_or(0.0, |(one, before)| (one - before).abs());
        !is_dense && one_step > 0.0 && step > (far * one_step).max(1.3 * often_step)
    }

    /// Values that say where a series is now.
    fn last(&self) -> usize {
        (self.counts[2] / 4).max(2)
    }

    fn mean(&self, count: usize) -> f64 {
        self.recent.known().take(count).sum::<f64>() / count.max(1) as f64
    }

    /// The mean size of differences, in usual ones.
    fn size(&self, count: usize) -> f64 {
        let sizes = self.recent.known().take(count).map(f64::abs).sum::<f64>();
        sizes / count.max(1) as f64 / self.usual.size.max(f64::MIN_POSITIVE)
    }

    /// The mean size of steps from one to the next, in usual ones.
    fn steps(&self, count: usize) -> f64 {
        let pairs = self.recent.known().take(count).zip(self.recent.known().skip(1));
        pairs.map(|(one, before)| ((one - before).abs() / self.usual.step).min(STEP_MAX)).sum::<f64>()
            / count.max(1) as f64
    }
}
