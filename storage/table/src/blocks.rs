//! The bytes of a file while it grows: in blocks, so that nothing is copied and no more is held when there are more.

use bytes::Bytes;
use object_store::PutPayload;
use std::io::{Result, Write};

/// Bytes of a block.
const BLOCK_BYTES: usize = 4 << 20;

/// What was written, in order.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    full: Vec<Bytes>,
    open: Vec<u8>,
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        // Small files stay small: a block grows as vectors do, up to its size.
        let taken = bytes.len().min(BLOCK_BYTES - self.open.len());
        self.open.extend_from_slice(&bytes[..taken]);
        if self.open.len() == BLOCK_BYTES {
            self.full.push(std::mem::take(&mut self.open).into());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl From<Blocks> for PutPayload {
    fn from(blocks: Blocks) -> Self {
        blocks.full.into_iter().chain([blocks.open.into()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_comes_in_blocks() {
        let bytes: Vec<u8> = (0..BLOCK_BYTES * 2 + 7).map(|at| (at % 251) as u8).collect();
        let mut blocks = Blocks::default();
        bytes.chunks(BLOCK_BYTES / 3 + 1).for_each(|piece| blocks.write_all(piece).unwrap());
        let payload = PutPayload::from(blocks);
        assert_eq!(payload.iter().map(Bytes::len).collect::<Vec<_>>(), [BLOCK_BYTES, BLOCK_BYTES, 7]);
        assert_eq!(Bytes::from(payload), bytes);
        assert!(Bytes::from(PutPayload::from(Blocks::default())).is_empty());
    }
}
