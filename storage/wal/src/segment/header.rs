//! The header of a segment.

use crate::{Error, Result};
use bodkin_schema::Position;
use std::path::Path;

const MAGIC: [u8; 8] = *b"BODKWAL0";
/// Newest format that is read; the one that is written.
pub(crate) const FORMAT: u32 = 1;
const COPY_BYTES: usize = 32;
/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: usize = 2 * COPY_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) salt: u32,
    pub(crate) start: Position,
}

impl Header {
    /// A header with a salt that no sender can know.
    pub(crate) fn new(salt: u32, start: Position) -> Self {
        Self { salt, start }
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut copy = [0; COPY_BYTES];
        copy[0..8].copy_from_slice(&MAGIC);
        copy[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        copy[12..16].copy_from_slice(&self.salt.to_le_bytes());
        copy[16..24].copy_from_slice(&self.start.0.to_le_bytes());
        let crc = crc32fast::hash(&copy[..28]);
        copy[28..32].copy_from_slice(&crc.to_le_bytes());
        let mut bytes = [0; HEADER_BYTES];
        bytes[..COPY_BYTES].copy_from_slice(&copy);
        bytes[COPY_BYTES..].copy_from_slice(&copy);
        bytes
    }

    /// The header in `bytes`; none if both copies are damaged.
    ///
    /// # Errors
    /// [`Error::Newer`].
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES], path: &Path) -> Result<Option<Self>> {
        bytes.chunks_exact(COPY_BYTES).find_map(|copy| Self::parse_copy(copy, path).transpose()).transpose()
    }

    fn parse_copy(copy: &[u8], path: &Path) -> Result<Option<Self>> {
        let word = |at: usize| copy.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        let start = copy.get(16..24).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let (Some(found), Some(salt), Some(start), Some(crc)) = (word(8), word(12), start, word(28)) else {
            return Ok(None);
        };
        if !copy.starts_with(&MAGIC) || copy.get(..28).map(crc32fast::hash) != Some(crc) {
            return Ok(None);
        }
        if found > FORMAT {
            return Err(Error::Newer { path: path.to_owned(), found, supported: FORMAT });
        }
        Ok(Some(Self { salt, start: Position(start) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_copy_suffices() {
        let header = Header::new(7, Position(64));
        for damaged in [3, 40] {
            let mut bytes = header.to_bytes();
            bytes[damaged] ^= 1;
            assert_eq!(Header::parse(&bytes, Path::new("x")).unwrap(), Some(header));
        }
        assert_eq!(Header::parse(&[0; HEADER_BYTES], Path::new("x")).unwrap(), None);
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let mut bytes = Header::new(7, Position(0)).to_bytes();
        bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        let error = Header::parse(&bytes, Path::new("w/0.wal")).unwrap_err();
        assert_eq!(error.to_string(), "w/0.wal: format 9 is newer than 1, the newest that this release reads");
    }
}
