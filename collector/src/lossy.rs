//! Bytes from outside as text.

use std::borrow::Cow;

/// Bytes as text, what is no UTF-8 replaced. Nearly all are ASCII, which the check passes many bytes at a time; the lossy
/// conversion of the standard library looks at each.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}
