//! Floats in JSON as their bits: what a restart reads is what was written, to the last digit, NaN included (DET-1).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A float, or several.
pub(super) trait Exact: Sized {
    type Bits: Serialize + DeserializeOwned;

    fn bits(&self) -> Self::Bits;

    fn of(bits: Self::Bits) -> Self;
}

impl Exact for f64 {
    type Bits = u64;

    fn bits(&self) -> u64 {
        self.to_bits()
    }

    fn of(bits: u64) -> Self {
        Self::from_bits(bits)
    }
}

impl Exact for Option<f64> {
    type Bits = Option<u64>;

    fn bits(&self) -> Option<u64> {
        self.map(f64::to_bits)
    }

    fn of(bits: Option<u64>) -> Self {
        bits.map(f64::from_bits)
    }
}

impl<const N: usize> Exact for [f64; N]
where
    [u64; N]: Serialize + DeserializeOwned,
{
    type Bits = [u64; N];

    fn bits(&self) -> Self::Bits {
        self.map(f64::to_bits)
    }

    fn of(bits: Self::Bits) -> Self {
        bits.map(f64::from_bits)
    }
}

impl Exact for [Option<f64>; 3] {
    type Bits = [Option<u64>; 3];

    fn bits(&self) -> Self::Bits {
        self.map(|one| one.map(f64::to_bits))
    }

    fn of(bits: Self::Bits) -> Self {
        bits.map(|one| one.map(f64::from_bits))
    }
}

pub(super) fn serialize<S: Serializer, T: Exact>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.bits().serialize(to)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>, T: Exact>(from: D) -> Result<T, D::Error> {
    T::Bits::deserialize(from).map(T::of)
}
