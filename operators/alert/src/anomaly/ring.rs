//! The newest floats of a series, one for each bucket of time.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::VecDeque;

/// At most so many floats, the newest last; NaN where nothing is known. As JSON a text: base64 of little endian.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring(VecDeque<f32>);

impl Ring {
    /// Adds one; the oldest goes beyond `max`.
    pub(super) fn push(&mut self, value: f32, max: usize) {
        while self.0.len() >= max.max(1) {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The one that is `back` before the newest, if it is known.
    pub(super) fn at(&self, back: usize) -> Option<f64> {
        let index = self.0.len().checked_sub(1 + back)?;
        self.0.get(index).copied().filter(|value| !value.is_nan()).map(f64::from)
    }

    /// Those that are known, the newest first.
    pub(super) fn known(&self) -> impl Iterator<Item = f64> + '_ {
        self.all().filter(|value| !value.is_nan())
    }

    /// All, the newest first.
    pub(super) fn all(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().rev().copied().map(f64::from)
    }

    /// Means of the known ones of each `count` in a row, where any is known.
    pub(super) fn means(&self, count: usize) -> Vec<f64> {
        let count = count.max(1);
        let (mut sum, mut known, mut means) = (0.0, 0_usize, Vec::with_capacity(self.0.len()));
        for (at, value) in self.0.iter().copied().map(f64::from).enumerate() {
            if !value.is_nan() {
                (sum, known) = (sum + value, known + 1);
            }
            if let Some(gone) = at.checked_sub(count).and_then(|at| self.0.get(at)).copied().filter(|v| !v.is_nan()) {
                (sum, known) = (sum - f64::from(gone), known - 1);
            }
            if at + 1 >= count && known > 0 {
                means.push(sum / known as f64);
            }
        }
        means
    }

    /// The same with buckets of another width: each has the mean of what lies in it. The newest ended at `end`, and is to end
    /// in the bucket `last` of the new ones.
    pub(super) fn rebinned(&self, width: i64, end: i64, wanted: i64, last: i64) -> Self {
        let mut made = VecDeque::new();
        let begin = end - self.0.len() as i64 * width;
        for number in begin.div_euclid(wanted)..=last {
            let (from, to) = ((number * wanted).max(begin), ((number + 1) * wanted).min(end));
            let (first, past) = ((from - begin).div_euclid(width), (to - 1 - begin).div_euclid(width));
            let inside = (first..=past).filter_map(|at| self.0.get(usize::try_from(at).ok()?)).filter(|v| !v.is_nan());
            let (sum, count) = inside.fold((0.0, 0_u32), |(sum, count), value| (sum + f64::from(*value), count + 1));
            made.push_back(if count > 0 { (sum / f64::from(count)) as f32 } else { f32::NAN });
        }
        Self(made)
    }

    /// Replaces the newest.
    pub(super) fn set_newest(&mut self, value: f32) {
        if let Some(newest) = self.0.back_mut() {
            *newest = value;
        }
    }

    /// How many are kept, known or not.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Serialize for Ring {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|value| value.to_le_bytes()).collect();
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Ring {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        let (values, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(serde::de::Error::custom("a ring of floats is cut off"));
        }
        Ok(Self(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }
}
