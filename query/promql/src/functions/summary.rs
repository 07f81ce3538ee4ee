//! Functions of range vectors from what a store knows of each window.

use super::range::RangeFunction;
use super::rate::Extent;
use crate::storage::WindowSummary;

impl RangeFunction {
    /// Whether a summary of a window tells its value.
    pub(crate) fn has_summary(self) -> bool {
        matches!(
            self,
            Self::Avg
                | Self::Count
                | Self::Delta
                | Self::First
                | Self::Increase
                | Self::Last
                | Self::Max
                | Self::Min
                | Self::Present
                | Self::Rate
                | Self::Resets
                | Self::Sum
                | Self::TsOfFirst
                | Self::TsOfLast
        )
    }

    /// The value over the window `(end - range, end]`.
    pub(crate) fn of_summary(self, window: &WindowSummary, end_ms: i64, range_ms: i64) -> Option<f64> {
        Some(match self {
            Self::Avg => window.sum / window.count as f64,
            Self::Count => window.count as f64,
            Self::First => window.first,
            Self::Last => window.last,
            Self::Max => window.max,
            Self::Min => window.min,
            Self::Present => 1.0,
            Self::Resets => window.resets as f64,
            Self::Sum => window.sum,
            Self::TsOfFirst => window.first_ms as f64 / 1000.0,
            Self::TsOfLast => window.last_ms as f64 / 1000.0,
            Self::Delta | Self::Increase | Self::Rate => return self.grown(window, end_ms, range_ms),
            _ => return None,
        })
    }

    fn grown(self, window: &WindowSummary, end_ms: i64, range_ms: i64) -> Option<f64> {
        if window.count < 2 {
            return None;
        }
        let is_counter = self != Self::Delta;
        let increase = if is_counter { window.increase } else { window.last - window.first };
        let extent = Extent {
            first_ms: window.first_ms,
            last_ms: window.last_ms,
            samples: usize::try_from(window.count).unwrap_or(usize::MAX),
            start_ms: end_ms.saturating_sub(range_ms),
            end_ms,
        };
        let was_zero = is_counter && increase > 0.0 && window.first >= 0.0;
        let factor = extent.factor(was_zero.then(|| window.first / increase));
        Some(increase * if self == Self::Rate { factor / (range_ms as f64 / 1000.0) } else { factor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_two_samples() {
        let one = WindowSummary {
            count: 1,
            sum: 5.0,
            min: 5.0,
            max: 5.0,
            first_ms: 15_000,
            first: 5.0,
            last_ms: 15_000,
            last: 5.0,
            increase: 0.0,
            resets: 0,
        };
        assert_eq!(RangeFunction::Rate.of_summary(&one, 60_000, 60_000), None);
        assert_eq!(RangeFunction::Avg.of_summary(&one, 60_000, 60_000), Some(5.0));
        let four = WindowSummary { count: 4, last_ms: 60_000, last: 50.0, increase: 45.0, ..one };
        assert_eq!(RangeFunction::Increase.of_summary(&four, 60_000, 60_000), Some(50.0), "zero inside the window");
        assert_eq!(RangeFunction::Delta.of_summary(&four, 60_000, 60_000), Some(60.0));
    }
}
