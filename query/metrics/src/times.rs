//! The times that a look at series and labels is about.

use crate::head::Head;

/// How long a block of Prometheus is.
const BLOCK_MS: i64 = 7_200_000;

/// From when to when, in milliseconds, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The first time.
    pub from_ms: i64,
    /// The last time.
    pub to_ms: i64,
}

impl Times {
    /// All times.
    pub const ALL: Self = Self { from_ms: i64::MIN, to_ms: i64::MAX };

    /// The blocks of two hours in which these times lie.
    pub(crate) fn of_blocks(self) -> Self {
        let after = |ms: i64| ms.div_euclid(BLOCK_MS).saturating_add(1).saturating_mul(BLOCK_MS).saturating_sub(1);
        Self {
            from_ms: self.from_ms.div_euclid(BLOCK_MS).saturating_mul(BLOCK_MS),
            to_ms: if self.to_ms == i64::MAX { i64::MAX } else { after(self.to_ms) },
        }
    }

    /// Whether the head has every sample of these times.
    pub(crate) fn are_known_to(self, head: &Head) -> bool {
        self.from_ms >= head.complete_from()
    }

    /// Whether a series has samples in the head within these times.
    pub(crate) fn hold_any_of(self, head: &Head, place: u32) -> bool {
        head.series(place).is_some_and(|series| series.has_any(self.from_ms, self.to_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_around_times() {
        let blocks = Times { from_ms: -1, to_ms: BLOCK_MS }.of_blocks();
        assert_eq!(blocks, Times { from_ms: -BLOCK_MS, to_ms: 2 * BLOCK_MS - 1 });
        let all = Times::ALL.of_blocks();
        assert!(all.from_ms < i64::MIN + BLOCK_MS && all.to_ms == i64::MAX);
    }
}
