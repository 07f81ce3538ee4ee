//! Samples of one series, packed: bytes that grow at their end.
//!
//! ```text
//!  0uuuuuuu                   as far from the one before as that was from its own; uuuuuuu units further (zigzag)
//!  1tcccccc [time] [value]    t: the distance changed, by a zigzag varint that follows
//!                             c: 0       units further, as a zigzag varint
//!                                1       the very same bits
//!                                2..38   XOR with the bits before: how many bytes follow, and where they stand
//!                                38..64  256 * (c - 38) and the byte that follows: units further
//! ```
//! A unit is a power of ten: most values are integers or have few decimals, and two of them lie few units apart. A value
//! is counted in units only where that gives its very bits back, so NaN payloads, -0.0 and all else are kept by XOR.
//! The scale is found by trial when a chunk is full, and is where the next one begins. A counter costs one to two bytes a
//! sample, where a plain pair of numbers costs sixteen.

/// Samples of a chunk: few enough that reading its end is cheap, enough to outweigh what a chunk costs.
pub(crate) const SAMPLES_MAX: u32 = 120;
/// Powers of ten that are tried.
const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];
/// Beyond, neighboring integers are not told apart by a double.
const UNITS_MAX: f64 = 9_007_199_254_740_992.0;
const LONG: u8 = 0x80;
const TIME_CHANGED: u8 = 0x40;
const CODE: u8 = 0x3f;
const UNITS: u8 = 0;
const SAME: u8 = 1;
const XOR: u8 = 2;
const NEAR: u8 = 38;
/// What a chunk grows by at least.
const GROWTH_BYTES: usize = 16;
/// While a chunk is no longer than this, a value of more decimals than its scale has makes it begin again.
const SETTLED_SAMPLES: u32 = 8;

/// The first sample, and what came after it.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    first_ms: i64,
    first_bits: u64,
    last_ms: i64,
    count: u32,
    /// Which of [`POWERS`].
    scale: u8,
    bytes: Vec<u8>,
}

/// A chunk that samples are added to: what the last sample was.
#[derive(Clone, Debug)]
pub(crate) struct OpenChunk {
    chunk: Chunk,
    step_ms: i64,
    last_bits: u64,
    last_units: i64,
}

impl Chunk {
    /// A chunk of samples that rise in time, with the scale that makes it small; none where there are no samples.
    pub(crate) fn pack(times_ms: &[i64], values: &[f64]) -> Option<Self> {
        let mut best: Option<Self> = None;
        for scale in scales(values) {
            let packed = Self::pack_with(scale, times_ms, values)?;
            if best.as_ref().is_none_or(|best| packed.bytes.len() < best.bytes.len()) {
                best = Some(packed);
            }
        }
        best
    }

    fn pack_with(scale: u8, times_ms: &[i64], values: &[f64]) -> Option<Self> {
        let mut samples = times_ms.iter().zip(values);
        let (first_ms, first) = samples.next()?;
        let mut open = OpenChunk::new(scale, *first_ms, *first);
        samples.for_each(|(ts_ms, value)| open.push(*ts_ms, *value));
        open.chunk.bytes.shrink_to_fit();
        Some(open.chunk)
    }

    pub(crate) fn first_ms(&self) -> i64 {
        self.first_ms
    }

    pub(crate) fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// Bytes that it holds beside itself.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Samples that it holds.
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether a sample may lie between the times, both inclusive.
    pub(crate) fn overlaps(&self, from_ms: i64, to_ms: i64) -> bool {
        self.first_ms <= to_ms && from_ms <= self.last_ms
    }

    /// Appends the samples between the times, both inclusive.
    pub(crate) fn read(&self, from_ms: i64, to_ms: i64, times_ms: &mut Vec<i64>, values: &mut Vec<f64>) {
        if !self.overlaps(from_ms, to_ms) {
            return;
        }
        times_ms.reserve(self.count as usize);
        values.reserve(self.count as usize);
        for (ts_ms, value) in self.iter() {
            if ts_ms > to_ms {
                return;
            }
            if ts_ms >= from_ms {
                times_ms.push(ts_ms);
                values.push(value);
            }
        }
    }

    /// The value at a time.
    pub(crate) fn at(&self, ts_ms: i64) -> Option<f64> {
        let within = self.overlaps(ts_ms, ts_ms).then(|| self.iter())?;
        within.take_while(|(at_ms, _)| *at_ms <= ts_ms).find(|(at_ms, _)| *at_ms == ts_ms).map(|(_, value)| value)
    }

    /// The samples in order.
    pub(crate) fn iter(&self) -> Samples<'_> {
        let units = to_units(f64::from_bits(self.first_bits), self.scale).unwrap_or(0);
        Samples {
            rest: &self.bytes,
            left: self.count,
            is_first: true,
            power: POWERS[usize::from(self.scale)],
            ts_ms: self.first_ms,
            step_ms: 0,
            bits: self.first_bits,
            units,
        }
    }
}

impl OpenChunk {
    pub(crate) fn new(scale: u8, ts_ms: i64, value: f64) -> Self {
        let bits = value.to_bits();
        let chunk = Chunk { first_ms: ts_ms, first_bits: bits, last_ms: ts_ms, count: 1, scale, bytes: Vec::new() };
        Self { chunk, step_ms: 0, last_bits: bits, last_units: to_units(value, scale).unwrap_or(0) }
    }

    /// A chunk as it was when its last sample was added.
    pub(crate) fn reopen(chunk: Chunk) -> Self {
        let mut samples = chunk.iter();
        samples.by_ref().for_each(drop);
        let (step_ms, last_bits, last_units) = (samples.step_ms, samples.bits, samples.units);
        Self { chunk, step_ms, last_bits, last_units }
    }

    pub(crate) fn chunk(&self) -> &Chunk {
        &self.chunk
    }

    /// The newest value.
    pub(crate) fn last(&self) -> f64 {
        f64::from_bits(self.last_bits)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.chunk.count >= SAMPLES_MAX
    }

    /// The chunk as small as it gets, and the scale to begin the next one with.
    pub(crate) fn seal(mut self) -> (Chunk, u8) {
        let (mut times_ms, mut values) = (Vec::new(), Vec::new());
        self.chunk.read(i64::MIN, i64::MAX, &mut times_ms, &mut values);
        if scales(&values).any(|scale| scale != self.chunk.scale)
            && let Some(packed) = Chunk::pack(&times_ms, &values)
            && packed.bytes.len() < self.chunk.bytes.len()
        {
            self.chunk = packed;
        }
        self.chunk.bytes.shrink_to_fit();
        let scale = self.chunk.scale;
        (self.chunk, scale)
    }

    /// A chunk that begins with a sample, in the scale that it asks for.
    pub(crate) fn first(ts_ms: i64, value: f64) -> Self {
        Self::new(smallest_scale(value).unwrap_or(0), ts_ms, value)
    }

    /// Adds a sample that is newer than the last.
    #[inline]
    pub(crate) fn append(&mut self, ts_ms: i64, value: f64) {
        debug_assert!(ts_ms > self.chunk.last_ms);
        if self.chunk.count <= SETTLED_SAMPLES && to_units(value, self.chunk.scale).is_none() {
            self.rescale(value);
        }
        self.push(ts_ms, value);
    }

    #[inline]
    fn push(&mut self, ts_ms: i64, value: f64) {
        if self.chunk.bytes.capacity() - self.chunk.bytes.len() < 32 {
            // Not doubled: a chunk is small, and there are as many as series.
            let more = (self.chunk.bytes.len() / 4).max(GROWTH_BYTES).next_multiple_of(GROWTH_BYTES);
            self.chunk.bytes.reserve_exact(more);
        }
        let step_ms = ts_ms.wrapping_sub(self.chunk.last_ms);
        let change = step_ms.wrapping_sub(self.step_ms);
        let time = if change == 0 { 0 } else { TIME_CHANGED };
        let bits = value.to_bits();
        match to_units(value, self.chunk.scale) {
            Some(units) => {
                let further = zigzag(units.wrapping_sub(self.last_units));
                if time == 0 && further < u64::from(LONG) {
                    self.chunk.bytes.push(further as u8);
                } else if further >> 8 <= u64::from(CODE - NEAR) {
                    self.head(time, NEAR + (further >> 8) as u8, change);
                    self.chunk.bytes.push(further as u8);
                } else {
                    self.head(time, UNITS, change);
                    push_varint(&mut self.chunk.bytes, further);
                }
                self.last_units = units;
            }
            None if bits == self.last_bits => self.head(time, SAME, change),
            None => {
                let xor = bits ^ self.last_bits;
                let shift = xor.trailing_zeros() / 8;
                let count = 8 - xor.leading_zeros() / 8 - shift;
                self.head(time, xor_code(count, shift), change);
                self.chunk.bytes.extend_from_slice(&(xor >> (8 * shift)).to_le_bytes()[..count as usize]);
            }
        }
        self.chunk.last_ms = ts_ms;
        self.chunk.count += 1;
        self.step_ms = step_ms;
        self.last_bits = bits;
    }

    /// Packs again in the scale of `value`, where that is a finer one.
    #[cold]
    fn rescale(&mut self, value: f64) {
        if let Some(scale) = smallest_scale(value).filter(|scale| *scale > self.chunk.scale) {
            let mut again = Self::new(scale, self.chunk.first_ms, f64::from_bits(self.chunk.first_bits));
            self.chunk.iter().skip(1).for_each(|(ts_ms, value)| again.push(ts_ms, value));
            *self = again;
        }
    }

    #[inline]
    fn head(&mut self, time: u8, code: u8, change: i64) {
        self.chunk.bytes.push(LONG | time | code);
        if time != 0 {
            push_varint(&mut self.chunk.bytes, zigzag(change));
        }
    }
}

/// The samples of a chunk, one after the other.
pub(crate) struct Samples<'a> {
    rest: &'a [u8],
    left: u32,
    is_first: bool,
    power: f64,
    ts_ms: i64,
    step_ms: i64,
    bits: u64,
    units: i64,
}

impl Iterator for Samples<'_> {
    type Item = (i64, f64);

    #[inline]
    fn next(&mut self) -> Option<(i64, f64)> {
        self.left = self.left.checked_sub(1)?;
        if self.is_first {
            self.is_first = false;
            return Some((self.ts_ms, f64::from_bits(self.bits)));
        }
        let (head, rest) = self.rest.split_first()?;
        self.rest = rest;
        if *head < LONG {
            self.ts_ms = self.ts_ms.wrapping_add(self.step_ms);
            return Some((self.ts_ms, self.further(u64::from(*head))));
        }
        if head & TIME_CHANGED != 0 {
            self.step_ms = self.step_ms.wrapping_add(unzigzag(self.varint()?));
        }
        self.ts_ms = self.ts_ms.wrapping_add(self.step_ms);
        let value = match head & CODE {
            UNITS => {
                let further = self.varint()?;
                self.further(further)
            }
            SAME => f64::from_bits(self.bits),
            code @ NEAR.. => {
                let (low, rest) = self.rest.split_first()?;
                self.rest = rest;
                self.further(u64::from(code - NEAR) << 8 | u64::from(*low))
            }
            code => {
                let (count, shift) = xor_parts(code);
                let (bytes, rest) = self.rest.split_at_checked(count)?;
                self.rest = rest;
                let mut word = [0; 8];
                word[..count].copy_from_slice(bytes);
                self.bits ^= u64::from_le_bytes(word) << (8 * shift);
                f64::from_bits(self.bits)
            }
        };
        Some((self.ts_ms, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl Samples<'_> {
    #[inline]
    fn further(&mut self, units: u64) -> f64 {
        self.units = self.units.wrapping_add(unzigzag(units));
        // A division by one would be exact, and slow.
        let value = if self.power == 1.0 { self.units as f64 } else { self.units as f64 / self.power };
        self.bits = value.to_bits();
        value
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

/// The value in units of a scale, where that is the very value.
#[inline]
fn to_units(value: f64, scale: u8) -> Option<i64> {
    let power = POWERS[usize::from(scale)];
    let units = if scale == 0 { value } else { (value * power).round_ties_even() };
    // Not by its negation: a NaN is no number of units.
    if units.abs() <= UNITS_MAX {
        let whole = units as i64;
        let back = if scale == 0 { whole as f64 } else { whole as f64 / power };
        return (back.to_bits() == value.to_bits()).then_some(whole);
    }
    None
}

/// The coarsest scale that a value can be counted in.
fn smallest_scale(value: f64) -> Option<u8> {
    (0..POWERS.len() as u8).find(|scale| to_units(value, *scale).is_some())
}

/// The scales that some values ask for: each is the smallest of one of them.
fn scales(values: &[f64]) -> impl Iterator<Item = u8> + use<> {
    let mut wanted = [false; POWERS.len()];
    // Of a few: they are alike, and each costs up to seven trials.
    for value in values.iter().step_by((values.len() / 16).max(1)) {
        wanted[usize::from(smallest_scale(*value).unwrap_or(0))] = true;
    }
    (0..POWERS.len() as u8).filter(move |scale| wanted[usize::from(*scale)])
}

/// Numbers the ways in which `count` bytes (1 to 8) stand in a word, `shift` bytes above its end.
#[inline]
fn xor_code(count: u32, shift: u32) -> u8 {
    // Those of 8 bytes first, then those of 7, ...: of `n` bytes there are 9 - n.
    let shorter = 8 - count;
    XOR + (shorter * (shorter + 1) / 2 + shift) as u8
}

#[inline]
fn xor_parts(code: u8) -> (usize, u32) {
    const PARTS: [(u8, u8); 36] = {
        let mut parts = [(0, 0); 36];
        let (mut at, mut count) = (0, 8);
        while count > 0 {
            let mut shift = 0;
            while shift <= 8 - count {
                parts[at] = (count, shift);
                at += 1;
                shift += 1;
            }
            count -= 1;
        }
        parts
    };
    let (count, shift) = PARTS.get(usize::from(code - XOR)).copied().unwrap_or((8, 0));
    (usize::from(count), u32::from(shift))
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[inline]
fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn open(samples: &[(i64, f64)]) -> OpenChunk {
        let mut open = OpenChunk::new(0, samples[0].0, samples[0].1);
        samples[1..].iter().for_each(|(ts_ms, value)| open.append(*ts_ms, *value));
        open
    }

    fn bits(samples: impl Iterator<Item = (i64, f64)>) -> Vec<(i64, u64)> {
        samples.map(|(ts_ms, value)| (ts_ms, value.to_bits())).collect()
    }

    fn bytes_a_sample(values: impl Iterator<Item = f64>) -> f64 {
        let samples: Vec<(i64, f64)> = values.enumerate().map(|(n, value)| (n as i64 * 30_000, value)).collect();
        let (chunk, _) = open(&samples).seal();
        assert_eq!(bits(chunk.iter()), bits(samples.into_iter()));
        chunk.bytes.len() as f64 / f64::from(chunk.count)
    }

    #[test]
    fn what_values_cost() {
        assert!(bytes_a_sample((0..120).map(|n| f64::from(1_000_000 + 40 * n))) < 1.1, "a counter");
        assert!(bytes_a_sample((0..120).map(|n| f64::from(n * 7919 % 5000) / 100.0)) < 2.1, "two decimals");
        assert!(bytes_a_sample((0..120).map(|_| f64::NAN)) < 1.1, "the same");
        assert!(bytes_a_sample((0..120).map(|n| f64::from(n).sqrt())) < 9.1, "anything");
    }

    #[test]
    fn every_place_of_an_xor() {
        for count in 1..=8 {
            for shift in 0..=8 - count {
                let code = xor_code(count, shift);
                assert!((XOR..NEAR).contains(&code));
                assert_eq!(xor_parts(code), (count as usize, shift));
            }
        }
    }

    #[test]
    fn read_is_within_its_times() {
        let samples: Vec<(i64, f64)> = (0..50).map(|n| (n * 10, n as f64)).collect();
        let chunk = open(&samples).chunk;
        let (mut times, mut values) = (Vec::new(), Vec::new());
        chunk.read(95, 120, &mut times, &mut values);
        assert_eq!((times, values), (vec![100, 110, 120], vec![10.0, 11.0, 12.0]));
        assert_eq!((chunk.at(490), chunk.at(491), chunk.at(15), chunk.at(-1)), (Some(49.0), None, None, None));
        assert!(chunk.overlaps(490, 600) && !chunk.overlaps(491, 600) && !chunk.overlaps(-9, -1));
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1000i32..1000).prop_map(f64::from),
            (-100_000i32..100_000).prop_map(|n| f64::from(n) / 1000.0),
            any::<i64>().prop_map(|n| n as f64),
            prop::sample::select(vec![
                0.0,
                -0.0,
                f64::INFINITY,
                f64::from_bits(0x7ff0_0000_0000_0002),
                f64::MIN_POSITIVE
            ]),
        ]
    }

    proptest! {
        #[test]
        fn every_bit_comes_back(
            start in -(1i64 << 53)..1i64 << 53,
            samples in prop::collection::vec((1i64..1 << 40, any_value()), 1..150),
            split in 0usize..150,
        ) {
            let mut at = start;
            let samples: Vec<(i64, f64)> = samples.into_iter().map(|(step, value)| { at += step; (at, value) }).collect();
            let whole = open(&samples);
            prop_assert_eq!(bits(whole.chunk.iter()), bits(samples.iter().copied()));
            prop_assert_eq!(whole.last().to_bits(), samples.last().map_or(0, |(_, value)| value.to_bits()));
            // Sealed, and opened again at any place.
            let split = split.clamp(1, samples.len());
            let (sealed, _) = open(&samples[..split]).seal();
            prop_assert_eq!(bits(sealed.iter()), bits(samples[..split].iter().copied()));
            let mut again = OpenChunk::reopen(sealed);
            samples[split..].iter().for_each(|(ts_ms, value)| again.append(*ts_ms, *value));
            prop_assert_eq!(bits(again.chunk.iter()), bits(samples.iter().copied()));
        }
    }
}
