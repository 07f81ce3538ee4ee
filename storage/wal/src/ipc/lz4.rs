//! Upper bound of what an LZ4 frame expands to, from its block headers alone.
//!
//! arrow decompresses LZ4 to the end of the frame whatever length the sender declared, so the declared length alone
//! bounds nothing: 64 MiB of blocks expand to 16 GiB.

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const STORED: u32 = 1 << 31;

/// The most bytes that `frame` can expand to and the size of its blocks; an error says what is malformed.
pub(super) fn expansion_max(frame: &[u8]) -> Result<(u64, u64), &'static str> {
    let rest = frame.strip_prefix(&MAGIC).ok_or("no LZ4 frame")?;
    let (&[flags, block], _) = rest.split_first_chunk().ok_or("truncated LZ4 frame header")?;
    // Version 01; a dictionary id (bit 0) is nothing that a decoder could resolve.
    if flags >> 6 != 1 || flags & 1 != 0 {
        return Err("unknown LZ4 frame version or dictionary");
    }
    let block_bytes_max: u64 = match (block >> 4) & 7 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Err("unknown LZ4 block size"),
    };
    let header_bytes = if flags & 8 != 0 { 2 + 8 + 1 } else { 2 + 1 };
    let checksum_bytes = if flags & 16 != 0 { 4 } else { 0 };
    let mut rest = rest.get(header_bytes..).ok_or("truncated LZ4 frame header")?;
    let mut expanded: u64 = 0;
    while let Some((size, tail)) = rest.split_first_chunk() {
        let size = u32::from_le_bytes(*size);
        if size == 0 {
            break;
        }
        let stored_bytes = size & !STORED;
        expanded += if size & STORED != 0 { u64::from(stored_bytes) } else { block_bytes_max };
        rest = tail.get(stored_bytes as usize + checksum_bytes..).ok_or("truncated LZ4 block")?;
    }
    Ok((expanded, block_bytes_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(blocks: &[u32]) -> Vec<u8> {
        let mut frame = MAGIC.to_vec();
        frame.extend([0x60, 0x40, 0]);
        for block in blocks {
            frame.extend(block.to_le_bytes());
            frame.extend(vec![0; (block & !STORED) as usize]);
        }
        frame.extend([0; 4]);
        frame
    }

    #[test]
    fn counts_blocks() {
        assert_eq!(expansion_max(&frame(&[])), Ok((0, 65536)));
        assert_eq!(expansion_max(&frame(&[10, 20, STORED | 7])), Ok((2 * 65536 + 7, 65536)));
    }

    #[test]
    fn refuses_every_truncation_inside_a_block() {
        let whole = frame(&[10, 20]);
        for length in 0..whole.len() {
            // Cut between blocks it is a shorter frame; it never counts more.
            if let Ok((expanded, _)) = expansion_max(&whole[..length]) {
                assert!(expanded <= 2 * 65536);
            }
        }
        assert!(expansion_max(&whole[..12]).is_err());
        assert!(expansion_max(b"\x02\x21\x4c\x18").is_err());
    }
}
