//! Parquet's hybrid of runs and bit-packed numbers.
//!
//! ```text
//! run:    varint(length << 1)      the number in as many bytes as its width takes
//! packed: varint(groups << 1 | 1)  groups of 8 numbers, `width` bits each, the lowest bits first
//! ```

/// Numbers in a group.
const GROUP: usize = 8;

/// Bits that numbers up to `max` take.
pub(crate) fn width_of(max: u32) -> u32 {
    u32::BITS - max.leading_zeros()
}

/// Appends `numbers`, each of which fits `width` bits. A run starts where a group would, and eight numbers are the same:
/// so groups are looked at as a whole, and most are no run.
pub(crate) fn encode(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    // Numbers from `open` on are not written yet; groups start there.
    let (mut open, mut at) = (0, 0);
    while let Some(group) = numbers[at..].first_chunk::<GROUP>() {
        let number = group[0];
        if group.iter().fold(0, |differences, next| differences | (next ^ number)) != 0 {
            at += GROUP;
            continue;
        }
        let end = at + numbers[at..].iter().take_while(|next| **next == number).count();
        pack(&numbers[open..at], width, out);
        varint(((end - at) as u64) << 1, out);
        out.extend_from_slice(&number.to_le_bytes()[..width.div_ceil(8) as usize]);
        (open, at) = (end, end);
    }
    pack(&numbers[open..], width, out);
}

fn pack(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    if numbers.is_empty() {
        return;
    }
    varint((numbers.len().div_ceil(GROUP) as u64) << 1 | 1, out);
    for group in numbers.chunks(GROUP) {
        let (mut bits, mut count) = (0_u64, 0);
        let padded = group.iter().copied().chain(std::iter::repeat_n(0, GROUP - group.len()));
        for number in padded {
            bits |= u64::from(number) << count;
            count += width;
            while count >= u32::BITS {
                out.extend_from_slice(&(bits as u32).to_le_bytes());
                bits >>= u32::BITS;
                count -= u32::BITS;
            }
        }
        // A group ends at a whole byte.
        out.extend_from_slice(&bits.to_le_bytes()[..(count / 8) as usize]);
    }
}

pub(crate) fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        while numbers.len() < count {
            let (mut header, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            let length = (header >> 1) as usize;
            if header & 1 == 0 {
                let mut number = [0; 4];
                let used = width.div_ceil(8) as usize;
                number[..used].copy_from_slice(&bytes[..used]);
                bytes = &bytes[used..];
                numbers.extend(std::iter::repeat_n(u32::from_le_bytes(number), length));
            } else {
                let bit = |at: usize| u32::from(bytes[at / 8] >> (at % 8) & 1);
                let number = |at: usize| (0..width as usize).map(|n| bit(at * width as usize + n) << n).sum::<u32>();
                numbers.extend((0..length * GROUP).map(number));
                bytes = &bytes[length * width as usize..];
            }
        }
        assert!(bytes.is_empty());
        numbers.truncate(count);
        numbers
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            runs in prop::collection::vec((any::<u32>(), 1usize..30), 0..40),
            width in 0u32..=32,
        ) {
            let mask = if width == 32 { u32::MAX } else { (1 << width) - 1 };
            let numbers: Vec<u32> =
                runs.iter().flat_map(|(number, length)| std::iter::repeat_n(number & mask, *length)).collect();
            let mut bytes = Vec::new();
            encode(&numbers, width, &mut bytes);
            prop_assert_eq!(decode(&bytes, width, numbers.len()), numbers);
        }
    }

    #[test]
    fn widths() {
        assert_eq!([0, 1, 2, 255, 256, u32::MAX].map(width_of), [0, 1, 2, 8, 9, 32]);
    }
}
