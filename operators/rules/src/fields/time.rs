//! Times as text, UTC.

fn formatted(time_ns: i64, format: &str) -> Option<String> {
    let time = jiff::Timestamp::from_nanosecond(time_ns.into()).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).strftime(format).to_string())
}

/// `13:53:31.726060287`, UTC.
pub(crate) fn time(time_ns: i64) -> Option<String> {
    formatted(time_ns, "%H:%M:%S.%9f")
}

/// `13:53:31`
pub(crate) fn time_seconds(time_ns: i64) -> Option<String> {
    formatted(time_ns, "%H:%M:%S")
}

/// `2026-01-02T13:53:31.726060287+0000`
pub(crate) fn time_iso(time_ns: i64) -> Option<String> {
    formatted(time_ns, "%Y-%m-%dT%H:%M:%S.%9f+0000")
}

/// `2026-01-02 13:53:31.726060287`
pub(crate) fn date_time(time_ns: i64) -> Option<String> {
    formatted(time_ns, "%Y-%m-%d %H:%M:%S.%9f")
}

/// `2026-01-02 13:53:31`
pub(crate) fn date_time_seconds(time_ns: i64) -> Option<String> {
    formatted(time_ns, "%Y-%m-%d %H:%M:%S")
}
