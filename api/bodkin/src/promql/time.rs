//! Moments on the command line.

/// RFC 3339, seconds since 1970, `now`, or a duration back from `now_ms`; in milliseconds.
pub(crate) fn parse(text: &str, now_ms: i64) -> Result<i64, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now_ms);
    }
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.abs() < 1e15
    {
        return Ok((seconds * 1000.0).round() as i64);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let back = text.strip_prefix("now-").or_else(|| text.strip_prefix('-')).unwrap_or(text);
    match duration_ms(back) {
        Some(back) => Ok(now_ms.saturating_sub(back)),
        None => Err("no time: write 2026-11-25T10:00:00Z, 1764064800, or 10m for ten minutes ago".to_owned()),
    }
}

/// `1h30m`.
fn duration_ms(text: &str) -> Option<i64> {
    let (mut rest, mut total) = (text, 0i64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit_ms: i64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit_ms)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let of = |text| parse(text, 100_000_000);
        assert_eq!(of("now"), Ok(100_000_000));
        assert_eq!(of("1.5"), Ok(1500));
        assert_eq!(of("1970-01-01T00:00:02Z"), Ok(2000));
        for back in ["1h30m", "-1h30m", "now-1h30m"] {
            assert_eq!(of(back), Ok(100_000_000 - 5_400_000), "{back}");
        }
        for nonsense in ["", "soon", "5x", "m"] {
            assert!(of(nonsense).is_err(), "{nonsense}");
        }
    }
}
