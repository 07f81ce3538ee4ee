//! Text as Go writes it: quoted strings, numbers, names.

/// Says whether a label name needs no quotes.
pub fn is_legacy_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Says whether a metric name needs no quotes.
pub fn is_legacy_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

/// Quotes a string as Go's `strconv.Quote` does.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        quote_char(&mut out, c, '"');
    }
    out.push('"');
    out
}

/// Quotes bytes as Go's `strconv.Quote` does; what is no UTF-8 becomes `\xNN`.
pub fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(&mut out, c, '"');
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// Quotes one character as Go's `%q` does; `None` is the end of the text.
pub(crate) fn quote_rune(c: Option<char>) -> String {
    let mut out = String::from("'");
    quote_char(&mut out, c.unwrap_or('\u{fffd}'), '\'');
    out.push('\'');
    out
}

/// Writes one character the way it stands inside Go quotes.
pub(crate) fn quote_char(out: &mut String, c: char, delimiter: char) {
    match c {
        c if c == delimiter || c == '\\' => {
            out.push('\\');
            out.push(c);
        }
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        c if is_printable(c) => out.push(c),
        c if (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
        c if (c as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", c as u32)),
        c => out.push_str(&format!("\\U{:08x}", c as u32)),
    }
}

/// An approximation of Go's `unicode.IsPrint`: everything but controls, separators other than the blank, and format
/// characters.
fn is_printable(c: char) -> bool {
    let code = c as u32;
    !(c.is_control()
        || (c.is_whitespace() && c != ' ')
        || code == 0xad
        || (0x200b..=0x200f).contains(&code)
        || (0x2028..=0x202e).contains(&code)
        || (0x2060..=0x206f).contains(&code)
        || code == 0xfeff
        || (0xe000..=0xf8ff).contains(&code)
        || (0xfff0..=0xfffb).contains(&code)
        || code >= 0xe0000)
}

/// Writes a value as the HTTP API does: Go's shortest `'f'`, from 1e21 and below 1e-6 its `'e'`.
pub fn format_sample(value: f64) -> String {
    let abs = value.abs();
    if abs != 0.0 && abs.is_finite() && !(1e-6..1e21).contains(&abs) {
        return format_exponent(value);
    }
    format_float(value)
}

/// Writes a value as Go's `strconv.FormatFloat(v, 'f', -1, 64)`.
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}

/// Writes a finite value as Go's `'e'` with the fewest digits: at least two digits of exponent, always with its sign.
pub fn format_exponent(value: f64) -> String {
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

/// Writes a value as Go's `%g` does: `'e'` where the exponent is below -4 or at least 6.
pub fn format_g(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return if value == 0.0 && value.is_sign_negative() { "-0".to_owned() } else { format_float(value) };
    }
    let text = format!("{value:e}");
    let exponent: i32 = text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    if (-4..6).contains(&exponent) { format_float(value) } else { format_exponent(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_go_writes_them() {
        assert_eq!(format_sample(1e20), "100000000000000000000");
        assert_eq!(format_sample(1e21), "1e+21");
        assert_eq!(format_sample(1e-7), "1e-07");
        assert_eq!(format_sample(0.000001), "0.000001");
        assert_eq!(format_sample(f64::NEG_INFINITY), "-Inf");
        assert_eq!(format_g(1e-5), "1e-05");
        assert_eq!(format_g(100000.0), "100000");
        assert_eq!(format_g(1e6), "1e+06");
        assert_eq!(format_g(1234567.5), "1.2345675e+06");
        assert_eq!(format_g(f64::NAN), "NaN");
    }

    #[test]
    fn quotes_as_go() {
        assert_eq!(quote("a\"b\\c\n\u{1}\u{fc}"), "\"a\\\"b\\\\c\\n\\x01\u{fc}\"");
    }
}
