//! Shell patterns as `fnmatch(3)` without flags matches them: on the whole text, `*` and `?` cross `/`.

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
    ignores_case: bool,
}

#[derive(Clone, Debug)]
enum Token {
    Byte(u8),
    /// One character: a whole UTF-8 sequence.
    Any,
    Many,
    Set {
        ranges: Vec<(u8, u8)>,
        is_negated: bool,
    },
}

impl Glob {
    pub(crate) fn new(pattern: &[u8], ignores_case: bool) -> Self {
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(byte) = pattern.get(at) {
            at += 1;
            tokens.push(match byte {
                b'*' => Token::Many,
                b'?' => Token::Any,
                b'[' => match set(&pattern[at..]) {
                    Some((token, length)) => {
                        at += length;
                        token
                    }
                    None => Token::Byte(b'['),
                },
                b'\\' if at < pattern.len() => {
                    at += 1;
                    Token::Byte(pattern[at - 1])
                }
                other => Token::Byte(*other),
            });
        }
        tokens.dedup_by(|a, b| matches!((a, b), (Token::Many, Token::Many)));
        Self { tokens, ignores_case }
    }

    /// Matches in time proportional to text times pattern at worst.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let (mut at, mut token) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while at < text.len() || token < self.tokens.len() {
            match self.tokens.get(token) {
                Some(Token::Many) => {
                    retry = Some((at, token));
                    token += 1;
                    continue;
                }
                Some(one) if at < text.len() => {
                    if let Some(length) = self.one(one, &text[at..]) {
                        at += length;
                        token += 1;
                        continue;
                    }
                }
                _ => {}
            }
            match retry {
                Some((from, many)) if from < text.len() => {
                    retry = Some((from + 1, many));
                    (at, token) = (from + 1, many + 1);
                }
                _ => return false,
            }
        }
        true
    }

    /// Bytes that a token takes from the start of `text`.
    fn one(&self, token: &Token, text: &[u8]) -> Option<usize> {
        let byte = *text.first()?;
        let fold = |b: u8| if self.ignores_case { b.to_ascii_lowercase() } else { b };
        match token {
            Token::Byte(wanted) => (fold(byte) == fold(*wanted)).then_some(1),
            Token::Any => Some(1 + text[1..].iter().take_while(|b| byte >= 0xc0 && (0x80..0xc0).contains(*b)).count()),
            Token::Set { ranges, is_negated } => {
                let holds = |b: u8| ranges.iter().any(|(low, high)| (*low..=*high).contains(&b));
                let is_in = holds(byte)
                    || self.ignores_case && (holds(byte.to_ascii_lowercase()) || holds(byte.to_ascii_uppercase()));
                (is_in != *is_negated).then_some(1)
            }
            Token::Many => None,
        }
    }
}

/// The set after `[` and its length with the closing bracket; none where it is not closed.
fn set(rest: &[u8]) -> Option<(Token, usize)> {
    let is_negated = matches!(rest.first(), Some(b'!' | b'^'));
    let mut at = usize::from(is_negated);
    let first = at;
    let mut ranges = Vec::new();
    loop {
        let mut low = *rest.get(at)?;
        if low == b']' && at > first {
            return Some((Token::Set { ranges, is_negated }, at + 1));
        }
        if low == b'[' && rest.get(at + 1) == Some(&b':') {
            let end = rest[at..].windows(2).position(|pair| pair == b":]")?;
            ranges.extend(class(&rest[at + 2..at + end]));
            at += end + 2;
            continue;
        }
        if low == b'\\' {
            at += 1;
            low = *rest.get(at)?;
        }
        at += 1;
        let is_range = rest.get(at) == Some(&b'-') && rest.get(at + 1).is_some_and(|b| *b != b']');
        let high = if is_range { rest[at + 1] } else { low };
        at += if is_range { 2 } else { 0 };
        ranges.push((low, high));
    }
}

fn class(name: &[u8]) -> Vec<(u8, u8)> {
    match name {
        b"alpha" => vec![(b'a', b'z'), (b'A', b'Z')],
        b"digit" => vec![(b'0', b'9')],
        b"alnum" => vec![(b'a', b'z'), (b'A', b'Z'), (b'0', b'9')],
        b"upper" => vec![(b'A', b'Z')],
        b"lower" => vec![(b'a', b'z')],
        b"space" => vec![(b' ', b' '), (b'\t', b'\r')],
        b"blank" => vec![(b' ', b' '), (b'\t', b'\t')],
        b"punct" => vec![(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')],
        b"xdigit" => vec![(b'0', b'9'), (b'a', b'f'), (b'A', b'F')],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("/home/*/.ssh/*", "/home/a/b/.ssh/id", true),
            ("*../*../*", "/etc/../etc/../x", true),
            ("*../*../*", "/etc/../x", false),
            ("a?c", "abc", true),
            ("a?c", "a/c", true),
            ("a?c", "a\u{e9}c", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]a]x", "]x", true),
            ("[[:digit:]]*", "7up", true),
            ("[", "[", true),
            ("[ab", "[ab", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("**", "abc", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("[a-", "[a-", true),
        ] {
            assert_eq!(Glob::new(pattern.as_bytes(), false).matches(text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(Glob::new(b"AB[c]*", true).matches(b"abCd"));
        assert!(!Glob::new(b"AB*", false).matches(b"abc"));
    }

    /// SAFE-1: a pattern of many stars takes no exponential time.
    #[test]
    fn stars_do_not_explode() {
        let pattern = "*a".repeat(50);
        let text = "a".repeat(2000) + "b";
        assert!(!Glob::new(pattern.as_bytes(), false).matches(text.as_bytes()));
    }
}
