//! Times and dates as text: RFC 3339 in UTC, with as many fraction digits as the unit has, so that the texts of one
//! column sort as the times do.
//!
//! Written here rather than with a calendar library because a result has one of these per row, and because the
//! libraries at hand refuse years that 64 bits of microseconds can hold.

use arrow::datatypes::TimeUnit;
use bodkin_schema::time::civil_from_days;
use std::io::Write;

const SECONDS_PER_DAY: i64 = 86_400;

/// Appends `YYYY-MM-DDTHH:MM:SS[.fraction]Z`.
pub(super) fn write_timestamp(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let (per_second, digits) = match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    };
    let seconds = value.div_euclid(per_second);
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    write_date(seconds.div_euclid(SECONDS_PER_DAY), out);
    out.push(b'T');
    write_digits(second_of_day / 3600, 2, out);
    out.push(b':');
    write_digits(second_of_day / 60 % 60, 2, out);
    out.push(b':');
    write_digits(second_of_day % 60, 2, out);
    if digits > 0 {
        out.push(b'.');
        write_digits(value.rem_euclid(per_second), digits, out);
    }
    out.push(b'Z');
}

/// Appends `YYYY-MM-DD` of a day counted from 1970-01-01. Years outside 0000 to 9999 have a sign and at least six
/// digits, as ISO 8601 writes expanded years.
pub(super) fn write_date(day: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(day);
    if (0..=9999).contains(&year) {
        write_digits(year, 4, out);
    } else {
        // Writing into a Vec cannot fail.
        let _ = write!(out, "{year:+07}");
    }
    out.push(b'-');
    write_digits(month.into(), 2, out);
    out.push(b'-');
    write_digits(day.into(), 2, out);
}

/// Appends `value`, which is not negative and has at most `width` digits, with leading zeros.
fn write_digits(mut value: i64, width: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(value: i64, unit: TimeUnit) -> String {
        let mut out = Vec::new();
        write_timestamp(value, unit, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fraction_has_the_digits_of_the_unit() {
        assert_eq!(timestamp(0, TimeUnit::Second), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(1, TimeUnit::Millisecond), "1970-01-01T00:00:00.001Z");
        assert_eq!(timestamp(1_795_305_600_000_001, TimeUnit::Microsecond), "2026-11-22T00:00:00.000001Z");
        assert_eq!(timestamp(-1, TimeUnit::Microsecond), "1969-12-31T23:59:59.999999Z");
        assert_eq!(timestamp(86_399_123_456_789, TimeUnit::Nanosecond), "1970-01-01T23:59:59.123456789Z");
    }

    #[test]
    fn extremes_are_written_and_do_not_overflow() {
        assert_eq!(timestamp(i64::MAX, TimeUnit::Microsecond), "+294247-01-10T04:00:54.775807Z");
        assert_eq!(timestamp(i64::MIN, TimeUnit::Nanosecond), "1677-09-21T00:12:43.145224192Z");
        assert!(timestamp(i64::MIN, TimeUnit::Second).starts_with("-292277022657-"));
        let mut out = Vec::new();
        write_date(i64::from(i32::MIN), &mut out);
        assert_eq!(out, b"-5877641-06-23");
    }
}
