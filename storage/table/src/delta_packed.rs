//! Parquet's DELTA_BINARY_PACKED encoding of 64-bit integers.
//!
//! ```text
//! header:  varint(128) varint(4) varint(values) zigzag(first value)
//! block:   zigzag(least delta) 4 widths, then 4 miniblocks of 32 deltas less the least, each in as many bits as its width
//! ```
//! <https://github.com/apache/parquet-format/blob/master/Encodings.md#delta-encoding-delta_binary_packed--5>

use crate::hybrid::varint;

/// Deltas of a block.
const BLOCK: usize = 128;
/// Deltas of a miniblock.
const MINIBLOCK: usize = 32;
const MINIBLOCKS: usize = BLOCK / MINIBLOCK;

/// Appends `values`.
pub(crate) fn encode(values: &[i64], out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint(MINIBLOCKS as u64, out);
    varint(values.len() as u64, out);
    varint(zigzag(values.first().copied().unwrap_or_default()), out);
    let mut deltas = [0_i64; BLOCK];
    for start in (1..values.len()).step_by(BLOCK) {
        let end = values.len().min(start + BLOCK);
        let (before, after) = (&values[start - 1..end - 1], &values[start..end]);
        for ((delta, before), after) in deltas.iter_mut().zip(before).zip(after) {
            *delta = after.wrapping_sub(*before);
        }
        block(&deltas[..after.len()], out);
    }
}

fn block(deltas: &[i64], out: &mut Vec<u8>) {
    let least = deltas.iter().copied().min().unwrap_or_default();
    varint(zigzag(least), out);
    let widths = out.len();
    out.extend_from_slice(&[0; MINIBLOCKS]);
    for (place, deltas) in deltas.chunks(MINIBLOCK).enumerate() {
        // What is missing of the last miniblock is zero.
        let mut above = [0_u64; MINIBLOCK];
        for (above, delta) in above.iter_mut().zip(deltas) {
            *above = delta.wrapping_sub(least) as u64;
        }
        let width = u64::BITS - above.iter().fold(0, |all, above| all | above).leading_zeros();
        out[widths + place] = width as u8;
        pack(&above, width, out);
    }
}

/// Numbers of `width` bits, the lowest bits first.
fn pack(numbers: &[u64; MINIBLOCK], width: u32, out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u128, 0);
    for number in numbers {
        bits |= u128::from(*number) << count;
        count += width;
        if count >= u64::BITS {
            out.extend_from_slice(&(bits as u64).to_le_bytes());
            bits >>= u64::BITS;
            count -= u64::BITS;
        }
    }
    // Thirty-two numbers fill whole bytes: four for each bit of the width.
    out.extend_from_slice(&(bits as u64).to_le_bytes()[..count as usize / 8]);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}
