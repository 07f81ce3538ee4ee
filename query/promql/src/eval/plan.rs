//! Where the windows of all steps lie in the samples of a series; kept for the next series with the same times.
//!
//! Series of one target are scraped together, so their times are equal, and finding the windows costs more than most
//! functions over them.

use super::instant::Look;
use super::matrix::Steps;
use crate::functions::rate::Extent;

/// The windows of a range function.
#[derive(Debug, Default)]
pub(crate) struct WindowPlan {
    times: Vec<i64>,
    is_made: bool,
    /// For each step the samples in its window: from, to.
    pub(crate) bounds: Vec<(u32, u32)>,
    /// For each step how rates grow; empty unless asked for.
    pub(crate) rates: Vec<RateStep>,
}

/// How the increase between the samples of a window grows to the whole window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RateStep {
    /// Seconds from the start of the window that count, as long as the counter was above zero by then.
    pub(crate) to_start: f64,
    /// Seconds to the end of the window that count.
    pub(crate) to_end: f64,
    /// Seconds between the first and the last sample.
    pub(crate) sampled: f64,
    /// The factor.
    pub(crate) factor: f64,
}

impl WindowPlan {
    /// Makes the plan for these times unless it is theirs already.
    pub(crate) fn prepare(&mut self, times: &[i64], steps: &Steps, look: &Look, range_ms: i64, with_rates: bool) {
        if self.is_made && self.times == times {
            return;
        }
        self.is_made = true;
        self.times.clear();
        self.times.extend_from_slice(times);
        self.bounds.clear();
        self.rates.clear();
        let mut cursor = Cursor::default();
        for time_ms in steps.times() {
            let end_ms = look.time(time_ms);
            let start_ms = end_ms.saturating_sub(range_ms);
            let (from, to) = cursor.advance(times, start_ms, end_ms);
            self.bounds.push((from as u32, to as u32));
            if !with_rates {
                continue;
            }
            let rate = if to - from < 2 {
                RateStep::default()
            } else {
                let (first_ms, last_ms) = (times[from], times[to - 1]);
                Extent { first_ms, last_ms, samples: to - from, start_ms, end_ms }.plan()
            };
            self.rates.push(rate);
        }
    }

    /// Counts the samples of each window.
    pub(crate) fn count(&self, counts: &mut [u64]) {
        for (count, (from, to)) in counts.iter_mut().zip(&self.bounds) {
            *count += u64::from(to - from);
        }
    }
}

/// Where a window lies in the samples of a series.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    from: usize,
    to: usize,
}

impl Cursor {
    /// Moves to the samples in (after, until]; both must not go back.
    #[inline]
    pub(crate) fn advance(&mut self, times: &[i64], after_ms: i64, until_ms: i64) -> (usize, usize) {
        while self.to < times.len() && times[self.to] <= until_ms {
            self.to += 1;
        }
        while self.from < self.to && times[self.from] <= after_ms {
            self.from += 1;
        }
        (self.from, self.to)
    }
}

/// The samples that an instant selector finds.
#[derive(Debug, Default)]
pub(crate) struct LookPlan {
    times: Vec<i64>,
    is_made: bool,
    /// For each step the newest sample that is not too old; [`LookPlan::NONE`] for none.
    pub(crate) found: Vec<u32>,
}

impl LookPlan {
    /// No sample.
    pub(crate) const NONE: u32 = u32::MAX;

    /// Makes the plan for these times unless it is theirs already.
    pub(crate) fn prepare(&mut self, times: &[i64], steps: &Steps, look: &Look) {
        if self.is_made && self.times == times {
            return;
        }
        self.is_made = true;
        self.times.clear();
        self.times.extend_from_slice(times);
        self.found.clear();
        // One past the newest sample that is not after the step.
        let mut next = 0;
        for step_ms in steps.times() {
            let time_ms = look.time(step_ms);
            while next < times.len() && times[next] <= time_ms {
                next += 1;
            }
            let oldest_ms = time_ms.saturating_sub(look.lookback_ms);
            let found = next.checked_sub(1).filter(|i| times[*i] > oldest_ms);
            self.found.push(found.map_or(Self::NONE, |i| i as u32));
        }
    }
}
