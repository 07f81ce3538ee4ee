//! String literals to bytes.

/// The bytes of a literal with its quotes; escapes have been checked by the lexer.
pub(super) fn unquote(literal: &str) -> Vec<u8> {
    let inner = &literal[1..literal.len() - 1];
    if literal.starts_with('`') || !inner.contains('\\') {
        return inner.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = unescape(&mut out, &rest[at + 1..]);
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// Writes what follows a backslash stands for; returns what comes after.
fn unescape<'a>(out: &mut Vec<u8>, text: &'a str) -> &'a str {
    let mut chars = text.chars();
    let Some(c) = chars.next() else { return text };
    let after = chars.as_str();
    let simple = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        'x' | 'u' | 'U' | '0'..='7' => return unescape_code(out, c, text),
        other => {
            out.extend_from_slice(other.to_string().as_bytes());
            return after;
        }
    };
    out.push(simple);
    after
}

fn unescape_code<'a>(out: &mut Vec<u8>, kind: char, text: &'a str) -> &'a str {
    let (from, digits, base) = match kind {
        'x' => (1, 2, 16),
        'u' => (1, 4, 16),
        'U' => (1, 8, 16),
        _ => (0, 3, 8),
    };
    let code = text.get(from..from + digits).and_then(|d| u32::from_str_radix(d, base).ok()).unwrap_or(0);
    if matches!(kind, 'u' | 'U') {
        let c = char::from_u32(code).unwrap_or('\u{fffd}');
        out.extend_from_slice(c.to_string().as_bytes());
    } else {
        out.push(code as u8);
    }
    text.get(from + digits..).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::unquote;

    #[test]
    fn unquotes_as_go() {
        assert_eq!(unquote(r#""a\xc5z\n\u00fc\101""#), b"a\xc5z\n\xc3\xbcA");
        assert_eq!(unquote(r"`a\b`"), br"a\b");
        assert_eq!(unquote(r#"'it\'s'"#), b"it's");
    }
}
