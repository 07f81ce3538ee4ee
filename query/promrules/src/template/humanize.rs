//! Numbers for people, as Prometheus writes them.

use super::TemplateError;
use super::print::{general, go_float};

fn is_special(value: f64) -> bool {
    value == 0.0 || !value.is_finite()
}

/// Four digits and a prefix of the metric system.
pub(super) fn humanize(value: f64) -> String {
    if is_special(value) {
        return general(value, 4);
    }
    let (prefixes, up): (&[&str], bool) = if value.abs() >= 1.0 {
        (&["k", "M", "G", "T", "P", "E", "Z", "Y"], true)
    } else {
        (&["m", "u", "n", "p", "f", "a", "z", "y"], false)
    };
    let (mut value, mut prefix) = (value, "");
    for next in prefixes {
        if if up { value.abs() < 1000.0 } else { value.abs() >= 1.0 } {
            break;
        }
        value = if up { value / 1000.0 } else { value * 1000.0 };
        prefix = next;
    }
    format!("{}{prefix}", general(value, 4))
}

/// Four digits and a binary prefix.
pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || is_special(value) {
        return general(value, 4);
    }
    let (mut value, mut prefix) = (value, "");
    for next in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
        if value.abs() < 1024.0 {
            break;
        }
        value /= 1024.0;
        prefix = next;
    }
    format!("{}{prefix}", general(value, 4))
}

pub(super) fn humanize_percentage(value: f64) -> String {
    format!("{}%", general(value * 100.0, 4))
}

pub(super) fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return general(value, 4);
    }
    if value == 0.0 {
        return "0s".to_owned();
    }
    if value.abs() >= 1.0 {
        let sign = if value < 0.0 { "-" } else { "" };
        let whole = value.abs() as i64;
        let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
        return if days != 0 {
            format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
        } else if hours != 0 {
            format!("{sign}{hours}h {minutes}m {seconds}s")
        } else if minutes != 0 {
            format!("{sign}{minutes}m {seconds}s")
        } else {
            format!("{}s", general(value, 4))
        };
    }
    let (mut value, mut prefix) = (value, "");
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        value *= 1000.0;
        prefix = next;
    }
    format!("{}{prefix}s", general(value, 4))
}

/// A time in seconds as Go prints it.
pub(super) fn humanize_timestamp(value: f64) -> Result<String, TemplateError> {
    if !value.is_finite() {
        return Ok(general(value, 4));
    }
    let out_of_range = || TemplateError(format!("{} is not a timestamp", go_float(value)));
    let nanoseconds = (value * 1e9).round();
    if nanoseconds.abs() >= 9.2e18 {
        return Err(out_of_range());
    }
    let time = jiff::Timestamp::from_nanosecond(nanoseconds as i128).map_err(|_| out_of_range())?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    let date = time.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let fraction = format!("{:09}", time.subsec_nanosecond());
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{date}{dot}{fraction} +0000 UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_prometheus_writes_them() {
        for (value, expected) in
            [(0.0, "0"), (1.0, "1"), (1_234_567.0, "1.235M"), (0.12, "120m"), (-2000.0, "-2k"), (f64::INFINITY, "+Inf")]
        {
            assert_eq!(humanize(value), expected);
        }
        for (value, expected) in [
            (0.0, "0s"),
            (1.0, "1s"),
            (60.0, "1m 0s"),
            (3600.0, "1h 0m 0s"),
            (86_400.0 + 3601.0, "1d 1h 0m 1s"),
            (899.99, "14m 59s"),
            (0.1, "100ms"),
            (-1.5, "-1.5s"),
            (0.00012, "120us"),
        ] {
            assert_eq!(humanize_duration(value), expected);
        }
        assert_eq!(humanize_1024(1_048_576.0 * 1.5), "1.5Mi");
        assert_eq!(humanize_timestamp(0.0).unwrap(), "1970-01-01 00:00:00 +0000 UTC");
        assert!(humanize_timestamp(1e30).is_err());
    }
}
