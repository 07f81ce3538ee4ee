use crate::Random;

/// Numbers at the edges of the types that lengths have.
const EDGES: [u64; 10] = [0, 1, 0xff, 0x7fff, 0x8000, 0xffff, 1 << 20, 1 << 32, i64::MAX as u64, u64::MAX];

/// `input` with up to four changes: cut off, filled up, bytes taken out, doubled or flipped, parts of `other` or `pieces`
/// of the language put in, and numbers that no length should have, of 1 to 8 bytes and as varints.
pub fn mutated(random: &mut Random, input: &[u8], other: &[u8], pieces: &[&str]) -> Vec<u8> {
    let mut input = input.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(input.len());
        let end = (at + random.below(40)).min(input.len());
        match random.below(if pieces.is_empty() { 10 } else { 13 }) {
            0 => input.truncate(at),
            1 => input.extend(std::iter::repeat_n(random.number() as u8, random.below(64))),
            2 => {
                let from = random.below(other.len());
                let piece = other.iter().skip(from).take(random.below(64)).copied().collect::<Vec<_>>();
                drop(input.splice(at..at, piece));
            }
            3 => drop(input.drain(at..end)),
            4 if input.len() >= 8 => {
                let (width, number) = (1 << random.below(4), *random.pick(&EDGES));
                let at = random.below(input.len() - 7);
                input[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
            }
            5 => drop(input.splice(at..at, [0xff; 9].into_iter().take(random.below(10)).chain([1]))),
            6 => {
                let part = input[at..end].to_vec();
                drop(input.splice(at..at, part));
            }
            7 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            10.. => drop(input.splice(at..at, random.pick(pieces).bytes())),
            _ if !input.is_empty() => input[at] = random.number() as u8,
            _ => input.push(random.number() as u8),
        }
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutants_repeat() {
        let mutants = |seed, pieces: &[&str]| {
            let mut random = Random::new(seed);
            (0..2000).map(|_| mutated(&mut random, b"some input of bytes", b"another", pieces)).collect::<Vec<_>>()
        };
        let made = mutants(7, &[]);
        assert!(made.iter().any(Vec::is_empty) && made.iter().any(|mutant| mutant.len() > 40));
        assert_eq!(made, mutants(7, &[]));
        assert_ne!(made, mutants(8, &[]));
        assert!(mutants(7, &["PIECE"]).iter().any(|mutant| mutant.windows(5).any(|part| part == b"PIECE")));
        let mut random = Random::new(1);
        (0..200).for_each(|_| drop(mutated(&mut random, b"", b"", &[])));
    }
}
