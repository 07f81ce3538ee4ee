//! Bounds of texts: no longer than is useful, and of whole characters.

/// Bytes of a bound, at most.
const BOUND_BYTES: usize = 64;

/// The beginning of a text, of whole characters.
pub(crate) fn cut_down(text: &[u8]) -> &[u8] {
    if text.len() <= BOUND_BYTES {
        return text;
    }
    let end = (1..=BOUND_BYTES).rev().find(|end| is_start(text[*end])).unwrap_or(0);
    &text[..end]
}

/// Whether a character of UTF-8 starts with this byte.
fn is_start(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

/// A text that is not less than any with the same beginning; none where there is none.
pub(crate) fn cut_up(text: &[u8]) -> Option<Vec<u8>> {
    let cut = cut_down(text);
    if cut.len() == text.len() {
        return Some(cut.to_vec());
    }
    // One more than the last character below 0x7f is a character of one byte again.
    let last = cut.iter().rposition(|byte| *byte < 0x7f)?;
    let mut above = cut[..=last].to_vec();
    above[last] += 1;
    Some(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_rounded_outward_to_whole_characters() {
        let long = "\u{e4}".repeat(40);
        assert_eq!(cut_down(long.as_bytes()).len(), 64);
        assert_eq!(cut_down(format!("x{long}").as_bytes()).len(), 63);
        assert_eq!(cut_up(long.as_bytes()), None);
        assert_eq!(cut_up(b"short"), Some(b"short".to_vec()));
        let text = format!("a{long}");
        assert_eq!(cut_up(text.as_bytes()), Some(b"b".to_vec()));
        assert!(cut_up(text.as_bytes()).unwrap().as_slice() > text.as_bytes());
    }
}
