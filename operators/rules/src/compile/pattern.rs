//! Regular expressions as Falco's engine (RE2, POSIX syntax) reads them, written for ours.
//!
//! The two read the same except for what is told here: RE2 takes a brace that begins no repetition, and everything in
//! brackets but classes, as it is written.

/// The pattern in our syntax. One that is wrong stays wrong.
pub(super) fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\\' => escape(rest, &mut out),
            '[' => brackets(rest, &mut out),
            '{' if !is_repetition(rest) => {
                out.push_str(r"\{");
                1
            }
            _ => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

/// Copies an escape; gives its length. `\<` is no word boundary.
fn escape(rest: &str, out: &mut String) -> usize {
    let next = rest[1..].chars().next();
    if !matches!(next, Some('<' | '>')) {
        out.push('\\');
    }
    out.extend(next);
    1 + next.map_or(0, char::len_utf8)
}

/// Copies a set in brackets up to its end; gives its length. Nothing in it is a set of its own or an operation of sets.
fn brackets(rest: &str, out: &mut String) -> usize {
    let mut at = 1;
    out.push('[');
    if rest[at..].starts_with('^') {
        out.push('^');
        at += 1;
    }
    let first = at;
    while let Some(c) = rest[at..].chars().next() {
        match c {
            ']' if at > first => {
                out.push(']');
                return at + 1;
            }
            '\\' => {
                at += escape(&rest[at..], out);
                continue;
            }
            '[' => match rest[at..].find(":]").filter(|_| rest[at..].starts_with("[:")) {
                Some(end) => {
                    out.push_str(&rest[at..at + end + 2]);
                    at += end + 2;
                    continue;
                }
                None => out.push_str(r"\["),
            },
            ']' | '&' | '~' => out.extend(['\\', c]),
            _ => out.push(c),
        }
        at += c.len_utf8();
    }
    at
}

/// `{2}`, `{2,}`, `{2,3}`
fn is_repetition(rest: &str) -> bool {
    let Some(end) = rest.find('}') else { return false };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match rest[1..end].split_once(',') {
        Some((low, high)) => is_number(low) && (high.is_empty() || is_number(high)),
        None => is_number(&rest[1..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_re2_match_as_there() {
        for (pattern, text, expected) in [
            ("a{2}", "aa", true),
            ("a{2,}b{1,2}", "aaabb", true),
            ("a{2", "a{2", true),
            ("a{,2}", "a{,2}", true),
            ("{}", "{}", true),
            (r"a\{2}", "a{2}", true),
            ("[[]", "[", true),
            ("[[:alpha:]_]+", "a_b", true),
            ("[[:alpha:]_]+", "a1", false),
            ("[]a]+", "]a", true),
            ("[^]a]", "]", false),
            ("[a&&b]+", "&a", true),
            ("[a~~b]+", "~b", true),
            (r"[\]x]+", "]x", true),
            (r"\<a\>", "<a>", true),
            ("[a-z{]+", "a{", true),
        ] {
            let regex = regex::Regex::new(&format!(r"\A(?:{})\z", translated(pattern))).unwrap();
            assert_eq!(regex.is_match(text), expected, "{pattern} on {text}");
        }
        for pattern in ["[a", "(", "a)", "*", r"a\", "a{3,2}"] {
            assert!(regex::Regex::new(&translated(pattern)).is_err(), "{pattern}");
        }
    }
}
