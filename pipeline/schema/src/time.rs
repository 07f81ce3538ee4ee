//! Time: microseconds since 1970-01-01 UTC, and the clock that hands them out.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time in microseconds since 1970-01-01T00:00:00Z; negative before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(pub i64);

impl EventTime {
    /// The earliest representable time.
    pub const MIN: Self = Self(i64::MIN);

    /// Microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Days since 1970-01-01 of the UTC day that holds this time.
    pub fn day(self) -> i32 {
        self.0.div_euclid(86_400_000_000) as i32
    }

    /// The UTC day as `YYYY-MM-DD`, the value of the `date` partition.
    pub fn date(self) -> String {
        let (year, month, day) = civil_from_days(i64::from(self.day()));
        format!("{year:04}-{month:02}-{day:02}")
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar (H. Hinnant,
/// "chrono-compatible low-level date algorithms"). Any day within 64 bits of microseconds has one.
pub fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_index + 2) / 5 + 1) as u32;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Where time comes from. Nothing outside this module asks the operating system for it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall-clock time; may jump.
    fn now(&self) -> EventTime;

    /// Time since an arbitrary start; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> EventTime {
        EventTime(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i64,
            Err(before) => -(before.duration().as_micros() as i64),
        })
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_known_days() {
        assert_eq!(EventTime(0).date(), "1970-01-01");
        assert_eq!(EventTime(-1).date(), "1969-12-31");
        assert_eq!(EventTime(951_782_400_000_000).date(), "2000-02-29");
        assert_eq!(EventTime(1_795_305_600_000_000).date(), "2026-11-22");
        assert_eq!(EventTime(4_107_542_399_999_999).date(), "2100-02-28");
        assert_eq!(EventTime(4_107_542_400_000_000).date(), "2100-03-01");
    }
}
