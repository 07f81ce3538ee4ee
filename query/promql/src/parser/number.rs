//! Numbers and durations as Go reads them.

/// Scans a number at the start of a text: how far it goes, and whether it is one. What is none may be a duration.
pub(super) fn scan_number(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let at = |i: usize| bytes.get(i).copied().unwrap_or(0);
    let mut i = 0;
    let mut is_hex = false;
    if at(0) == b'0' && matches!(at(1), b'x' | b'X') {
        is_hex = true;
        i = 2;
        if at(i) == b'_' {
            i += 1;
        }
    }
    let is_digit = |b: u8| if is_hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
    let is_exponent = |b: u8| matches!(b, b'e' | b'E');
    if at(i) == b'.' {
        i += 1;
    }
    if is_digit(at(i)) {
        i += 1;
    }
    let (mut has_dot, mut has_exponent) = (false, false);
    while is_digit(at(i)) || matches!(at(i), b'.' | b'_' | b'e' | b'E') {
        let c = at(i);
        if c == b'.' && has_dot {
            return (i + 1, false);
        }
        if is_exponent(c) && has_exponent {
            return (i + 1, false);
        }
        if c == b'.' {
            has_dot = true;
            i += 1;
            if matches!(at(i), b'_' | b'.') {
                return (i + 1, false);
            }
            if is_hex {
                return (i, false);
            }
        } else if is_exponent(c) {
            has_exponent = true;
            i += 1;
            if matches!(at(i), b'+' | b'-') {
                i += 1;
            }
            if matches!(at(i), b'.' | b'_' | b'e' | b'E') {
                return (i + 1, false);
            }
            if i >= bytes.len() {
                return (i, false);
            }
        } else if c == b'_' {
            i += 1;
            if matches!(at(i), b'.' | b'_' | b'e' | b'E') {
                return (i + 1, false);
            }
            if i >= bytes.len() {
                return (i, false);
            }
        } else {
            while is_digit(at(i)) {
                i += 1;
            }
        }
    }
    (i, i > 0 && !(at(i) == b'_' || at(i).is_ascii_alphanumeric()))
}

/// Reads a number; fails with Go's words.
pub(super) fn parse_number(text: &str) -> Result<f64, String> {
    let syntax =
        || format!("error parsing number: strconv.ParseFloat: parsing {}: invalid syntax", crate::text::quote(text));
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(hex) = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).map(|n| n as f64).map_err(|_| syntax());
    }
    let is_octal = plain.len() > 1 && plain.starts_with('0');
    if is_octal && let Ok(n) = i64::from_str_radix(&plain, 8) {
        return Ok(n as f64);
    }
    if let Ok(n) = plain.parse::<i64>() {
        return Ok(n as f64);
    }
    let value: f64 = plain.parse().map_err(|_| syntax())?;
    if value.is_infinite() {
        return Err(syntax().replace("invalid syntax", "value out of range"));
    }
    Ok(value)
}

/// Reads a duration such as `1h30m`, in milliseconds; fails with Prometheus's words.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    // What fits into 64 bits of nanoseconds.
    const MAX_MS: i64 = i64::MAX / 1_000_000;
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let invalid = || format!("not a valid duration string: {}", crate::text::quote(text));
    let mut rest = text;
    let mut total: i64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        if digits == 0 {
            return Err(invalid());
        }
        let count: u64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit_length = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = &rest[..unit_length];
        rest = &rest[unit_length..];
        let position = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(|| {
            format!("unknown unit {} in duration {}", crate::text::quote(unit), crate::text::quote(text))
        })?;
        if position < next_unit {
            return Err(invalid());
        }
        next_unit = position + 1;
        let part = i64::try_from(count).ok().and_then(|c| c.checked_mul(UNITS[position].1));
        total = part
            .and_then(|p| p.checked_add(total))
            .filter(|t| *t <= MAX_MS)
            .ok_or_else(|| "duration out of range".to_owned())?;
    }
    Ok(total)
}

/// Writes a duration as Prometheus does: `1h30m`, `0s`.
pub fn format_duration_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms;
    let mut out = String::new();
    let mut part = |unit: &str, size: i64, only_exact: bool| {
        if only_exact && rest % size != 0 {
            return;
        }
        if rest / size != 0 {
            out.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    };
    part("y", 365 * 86_400_000, true);
    part("w", 7 * 86_400_000, true);
    part("d", 86_400_000, false);
    part("h", 3_600_000, false);
    part("m", 60_000, false);
    part("s", 1000, false);
    part("ms", 1, false);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, value) in
            [("1_000", 1000.0), ("0x1F", 31.0), ("017", 15.0), ("08", 8.0), ("1e3", 1000.0), (".5", 0.5)]
        {
            assert_eq!(scan_number(text), (text.len(), true), "{text}");
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        assert_eq!(scan_number("5m"), (1, false));
        assert_eq!(scan_number("1__0"), (3, false));
        assert!(parse_number("1e999").unwrap_err().ends_with("value out of range"));
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration_ms("1h30m"), Ok(5_400_000));
        assert_eq!(parse_duration_ms("1m1h"), Err("not a valid duration string: \"1m1h\"".to_owned()));
        assert_eq!(parse_duration_ms("1hs"), Err("unknown unit \"hs\" in duration \"1hs\"".to_owned()));
        assert_eq!(parse_duration_ms("293y"), Err("duration out of range".to_owned()));
        assert_eq!(
            (format_duration_ms(5_400_000), format_duration_ms(90_061_001)),
            ("1h30m".into(), "1d1h1m1s1ms".into())
        );
        assert_eq!(format_duration_ms(1_209_600_000), "2w");
    }
}
