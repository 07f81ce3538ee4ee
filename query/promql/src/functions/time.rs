//! Parts of a date, in UTC.

use bodkin_schema::time::civil_from_days;

/// A part of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatePart {
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Hour,
    Minute,
    Month,
    Year,
}

/// Seconds beyond this are too far away to have a date. Go's conversion gives the smallest integer for them, and its
/// arithmetic of dates wraps there to 2^63.
const SECONDS_MAX: f64 = 9_223_372_036_854_774_784.0;

impl DatePart {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "day_of_month" => Self::DayOfMonth,
            "day_of_week" => Self::DayOfWeek,
            "day_of_year" => Self::DayOfYear,
            "days_in_month" => Self::DaysInMonth,
            "hour" => Self::Hour,
            "minute" => Self::Minute,
            "month" => Self::Month,
            "year" => Self::Year,
            _ => return None,
        })
    }

    /// The part of the date so many seconds after 1970-01-01.
    pub(crate) fn of(self, seconds: f64) -> f64 {
        let seconds = if seconds.abs() <= SECONDS_MAX { seconds as i128 } else { 1 << 63 };
        let day = seconds.div_euclid(86_400) as i64;
        let of_day = seconds.rem_euclid(86_400);
        let (year, month, of_month) = civil_from_days(day);
        match self {
            Self::DayOfMonth => f64::from(of_month),
            // 1970-01-01 was a Thursday.
            Self::DayOfWeek => (day + 4).rem_euclid(7) as f64,
            Self::DayOfYear => f64::from(days_before(year, month) + of_month),
            Self::DaysInMonth => f64::from(days_in(year, month)),
            Self::Hour => (of_day / 3600) as f64,
            Self::Minute => (of_day / 60 % 60) as f64,
            Self::Month => f64::from(month),
            Self::Year => year as f64,
        }
    }
}

fn days_in(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

fn days_before(year: i64, month: u32) -> u32 {
    (1..month).map(|m| days_in(year, m)).sum()
}

#[cfg(test)]
mod tests {
    use super::DatePart;

    #[test]
    fn parts_of_a_leap_day() {
        let leap = 1_709_164_800.0;
        let parts = ["day_of_month", "day_of_week", "day_of_year", "days_in_month", "month", "year", "hour"];
        let found: Vec<f64> = parts.iter().map(|p| DatePart::from_name(p).unwrap().of(leap)).collect();
        assert_eq!(found, [29.0, 4.0, 60.0, 29.0, 2.0, 2024.0, 0.0]);
        assert_eq!(DatePart::Year.of(-1.0), 1969.0);
        let parts = ["day_of_month", "month", "year", "hour", "minute"];
        let found: Vec<f64> = parts.iter().map(|p| DatePart::from_name(p).unwrap().of(f64::NAN)).collect();
        assert_eq!(found, [4.0, 12.0, 292_277_026_596.0, 15.0, 30.0]);
    }
}
