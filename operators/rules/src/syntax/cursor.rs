//! A position in the text of a condition, and the tokens that can be read from it.

use super::ast::{Literal, Span};

pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x08)
}

/// Ends a bare word; what else may stand in it is anything.
fn ends_bare_word(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'(' | b')' | b'"' | b'\'' | b'=' | b',' | 0x0b)
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Skips blanks and says whether there were any.
    pub(super) fn blank(&mut self) -> bool {
        let count = self.rest().bytes().take_while(|b| is_blank(*b)).count();
        self.at += count;
        count > 0
    }

    /// Takes `token` if it comes next.
    pub(super) fn take(&mut self, token: &str) -> bool {
        let is_next = self.rest().starts_with(token);
        if is_next {
            self.at += token.len();
        }
        is_next
    }

    /// Takes `word` if it comes next and does not go on as a longer word.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let rest = self.rest();
        let goes_on = rest.as_bytes().get(word.len()).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        !goes_on && self.take(word)
    }

    /// Letters, then letters, digits and underscores.
    pub(super) fn identifier(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        rest.starts_with(|c: char| c.is_ascii_alphabetic()).then_some(())?;
        let end = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        self.at += end;
        rest.get(..end)
    }

    /// Two or more identifiers with dots between.
    pub(super) fn field_name(&mut self) -> Option<&'a str> {
        let start = self.at;
        let mut parts = 0;
        let mut end = start;
        while self.identifier().is_some() {
            parts += 1;
            end = self.at;
            if !self.take(".") {
                break;
            }
        }
        self.at = if parts > 1 { end } else { start };
        (parts > 1).then(|| &self.text[start..end])
    }

    /// A decimal number with an optional sign, fraction and exponent, or `0x` and hexadecimal digits.
    pub(super) fn number(&mut self) -> Option<Literal> {
        let rest = self.rest().as_bytes();
        let digits = |from: usize| rest[from.min(rest.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
        let is_hex = rest.len() > 2 && rest[0] == b'0' && matches!(rest[1], b'x' | b'X');
        let mut end;
        if is_hex {
            end = 2 + rest[2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        } else {
            let sign = usize::from(matches!(rest.first(), Some(b'+' | b'-')));
            end = sign + digits(sign);
            if end == sign {
                return None;
            }
            if rest.get(end) == Some(&b'.') {
                end += 1 + digits(end + 1);
            }
            let has_exponent =
                matches!(rest.get(end), Some(b'e' | b'E')) && matches!(rest.get(end + 1), Some(b'+' | b'-'));
            if has_exponent && digits(end + 2) > 0 {
                end += 2 + digits(end + 2);
            }
        }
        Some(self.literal(end))
    }

    /// A word without quotes.
    pub(super) fn bare(&mut self) -> Option<Literal> {
        let end = self.rest().bytes().take_while(|b| !ends_bare_word(*b)).count();
        (end > 0).then(|| self.literal(end))
    }

    /// The argument of a field, without quotes.
    pub(super) fn bare_arg(&mut self) -> Option<Literal> {
        let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'[' | b']' | b'"' | b'\'');
        let end = self.rest().bytes().take_while(|b| !ends(b)).count();
        (end > 0).then(|| self.literal(end))
    }

    fn literal(&mut self, bytes: usize) -> Literal {
        let span = Span { start: self.at, end: self.at + bytes };
        self.at = span.end;
        Literal { bytes: self.text.as_bytes()[span.start..span.end].to_vec(), span }
    }

    /// A text in quotes; none if no quote comes next.
    pub(super) fn quoted(&mut self) -> Option<Result<Literal, (Span, String)>> {
        let quote = self.peek().filter(|b| matches!(b, b'"' | b'\''))?;
        let start = self.at;
        let body = self.text.as_bytes().get(start + 1..).unwrap_or_default();
        // As in Falco, a quote ends the text unless the byte before it is a backslash, escaped or not.
        let closing = (0..body.len()).find(|&i| body[i] == quote && (i == 0 || body[i - 1] != b'\\'));
        let Some(length) = closing else {
            self.at = self.text.len();
            return Some(Err((Span { start, end: self.text.len() }, "this quote is never closed".to_owned())));
        };
        self.at = start + length + 2;
        let span = Span { start, end: self.at };
        Some(unescape(&body[..length], quote, start + 1).map(|bytes| Literal { bytes, span }))
    }
}

fn unescape(body: &[u8], quote: u8, offset: usize) -> Result<Vec<u8>, (Span, String)> {
    let mut out = Vec::with_capacity(body.len());
    let mut bytes = body.iter().copied().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let fail = |length: usize, message: &str| {
            let start = offset + at;
            Err((Span { start, end: (start + length).min(offset + body.len()) }, message.to_owned()))
        };
        match bytes.next().map(|(_, escaped)| escaped) {
            Some(b'b') => out.push(0x08),
            Some(b'f') => out.push(0x0c),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            // Old rule files write "\ " and mean the backslash; the blank goes.
            Some(b'\\' | b' ') => out.push(b'\\'),
            Some(b'/') => out.push(b'/'),
            Some(escaped @ (b'"' | b'\'')) if escaped == quote => out.push(escaped),
            Some(b'"' | b'\'') => return fail(2, "only the quote that encloses the text can be escaped in it"),
            Some(b'x') => {
                let digits = [bytes.next(), bytes.next()].map(|d| d.and_then(|(_, d)| (d as char).to_digit(16)));
                let [Some(high), Some(low)] = digits else {
                    return fail(4, "\\x is followed by two hexadecimal digits");
                };
                out.push((high * 16 + low) as u8);
            }
            Some(_) => return fail(2, "there is no such escape"),
            None => return fail(1, "a backslash cannot end the text"),
        }
    }
    Ok(out)
}
