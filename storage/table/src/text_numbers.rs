//! Numbers of distinct texts, which lie elsewhere: a table of numbers, found by the hashes of their texts.
//!
//! Eight bytes for each distinct text and four for each place of the table, whatever the texts' lengths.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const EMPTY: u32 = u32::MAX;
const PLACES_MIN: usize = 64;

/// Texts come from outside: who chooses them must not know which collide.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));

/// Numbers from zero on in the order in which texts first came.
#[derive(Debug, Default)]
pub(crate) struct TextNumbers {
    /// Numbers by hash, the next free place where two want the same; at most half full. A power of two of places.
    places: Vec<u32>,
    /// Hash of each text.
    hashes: Vec<u64>,
}

impl TextNumbers {
    /// The number of `text`; as an error the one that it has from now on. `text_of` says which text has a number.
    pub(crate) fn number<'a>(&mut self, text: &str, text_of: impl Fn(u32) -> &'a [u8]) -> Result<u32, u32> {
        if self.hashes.len() * 2 >= self.places.len() {
            self.grow();
        }
        let hash = xxh3_64_with_seed(text.as_bytes(), *SEED);
        let mask = self.places.len() - 1;
        let mut place = hash as usize & mask;
        loop {
            match self.places[place] {
                EMPTY => break,
                number if self.hashes[number as usize] == hash && text_of(number) == text.as_bytes() => {
                    return Ok(number);
                }
                _ => place = (place + 1) & mask,
            }
        }
        let number = self.hashes.len() as u32;
        self.places[place] = number;
        self.hashes.push(hash);
        Err(number)
    }

    fn grow(&mut self) {
        let count = (self.places.len() * 2).max(PLACES_MIN);
        self.places.clear();
        self.places.resize(count, EMPTY);
        for (number, hash) in self.hashes.iter().enumerate() {
            let mut place = *hash as usize & (count - 1);
            while self.places[place] != EMPTY {
                place = (place + 1) & (count - 1);
            }
            self.places[place] = number as u32;
        }
    }

    /// Forgets all texts; keeps the room.
    pub(crate) fn clear(&mut self) {
        self.hashes.clear();
        self.places.fill(EMPTY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn as_a_map(texts in prop::collection::vec("[a-c]{0,3}|\\PC{0,9}", 0..200), is_cleared in any::<bool>()) {
            let mut numbers = TextNumbers::default();
            for _ in 0..=usize::from(is_cleared) {
                numbers.clear();
                let (mut expected, mut distinct) = (HashMap::new(), Vec::new());
                for text in &texts {
                    let found = numbers.number(text, |number| str::as_bytes(distinct[number as usize]));
                    let next = expected.len() as u32;
                    let number = *expected.entry(text).or_insert(next);
                    prop_assert_eq!(found, if number == next { Err(number) } else { Ok(number) });
                    if number == next {
                        distinct.push(text);
                    }
                }
            }
        }
    }
}
