//! The tiers: how long their windows are and where their rows lie.

use bodkin_schema::Stream;

/// A rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Windows of a minute.
    Minute,
    /// Windows of ten minutes.
    TenMinutes,
    /// Windows of an hour.
    Hour,
    /// Windows of a UTC day.
    Day,
}

impl Tier {
    /// Every tier, the finest first: each is made from the one before it.
    pub const ALL: [Self; 4] = [Self::Minute, Self::TenMinutes, Self::Hour, Self::Day];

    /// Length of its windows in milliseconds. Each is a multiple of the one before it.
    pub const fn window_ms(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::TenMinutes => 600_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The same in microseconds.
    pub const fn window_us(self) -> i64 {
        self.window_ms() * 1000
    }

    /// The table of its rows.
    pub fn stream(self) -> Stream {
        match self {
            Self::Minute => Stream::Rollup1m,
            Self::TenMinutes => Stream::Rollup10m,
            Self::Hour => Stream::Rollup1h,
            Self::Day => Stream::Rollup1d,
        }
    }

    /// The name of that table.
    pub fn name(self) -> &'static str {
        self.stream().name()
    }

    /// Start of the window that holds `ts_us`.
    pub fn window_of(self, ts_us: i64) -> i64 {
        floor(ts_us, self.window_us())
    }

    /// The coarsest tier whose windows end at each multiple of the lengths and at each of the times, all in
    /// milliseconds.
    pub fn coarsest(lengths_and_times_ms: &[i64]) -> Option<Self> {
        let fits = |tier: &Self| lengths_and_times_ms.iter().all(|ms| ms.rem_euclid(tier.window_ms()) == 0);
        Self::ALL.into_iter().rev().find(fits)
    }
}

/// The multiple of `length` at or before `value`; the nearest one that there is near the ends of time.
pub(crate) fn floor(value: i64, length: i64) -> i64 {
    value.saturating_sub(value.rem_euclid(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder() {
        for pair in Tier::ALL.windows(2) {
            assert_eq!(pair[1].window_ms() % pair[0].window_ms(), 0);
        }
        assert_eq!(Tier::coarsest(&[3_600_000, 7_200_000]), Some(Tier::Hour));
        assert_eq!(Tier::coarsest(&[3_600_000, -60_000]), Some(Tier::Minute));
        assert_eq!(Tier::coarsest(&[3_600_000, 1]), None);
        assert_eq!(Tier::Minute.window_of(-1), -60_000_000);
    }
}
