//! Values by size: how many lie in each of buckets whose bounds grow by two percent, so that every quantile is known
//! within one percent.
//!
//! ```text
//!  text:  n120:3 n-4:1 z:7 p-4:2 p65:9 p+:1        3 values about -10.8, one about -0.92, 7 zeros, ..., one infinite
//! ```
//! Two sketches are put together by adding their counts, in any order: a sketch of a day is the same from its hours and from
//! its samples. NaN is no value.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// How far a quantile may be off, relative to it.
pub const SKETCH_ERROR: f64 = 0.01;
/// Buckets of a sign: those of values less than 1e17 times smaller than the largest. Smaller ones count to the lowest.
const BUCKETS_MAX: i32 = 2048;

/// Counts by bucket. At most 4,096 of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    below: Side,
    zeros: u64,
    above: Side,
}

/// The values of one sign, by size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Side {
    buckets: BTreeMap<i32, u64>,
    infinite: u64,
}

/// The upper bound of a bucket is this many times its lower one.
fn growth() -> f64 {
    (1.0 + SKETCH_ERROR) / (1.0 - SKETCH_ERROR)
}

impl Side {
    fn add(&mut self, size: f64) {
        if size.is_infinite() {
            self.infinite += 1;
        } else {
            self.put((size.ln() / growth().ln()).ceil() as i32, 1);
        }
    }

    fn put(&mut self, bucket: i32, count: u64) {
        let top = self.buckets.last_key_value().map_or(bucket, |(top, _)| *top).max(bucket);
        let lowest = top.saturating_sub(BUCKETS_MAX - 1);
        let known = self.buckets.entry(bucket.max(lowest)).or_default();
        *known = known.saturating_add(count);
        while let Some(entry) = self.buckets.first_entry().filter(|entry| *entry.key() < lowest) {
            let count = entry.remove();
            let known = self.buckets.entry(lowest).or_default();
            *known = known.saturating_add(count);
        }
    }

    fn merge(&mut self, other: &Self) {
        other.buckets.iter().for_each(|(bucket, count)| self.put(*bucket, *count));
        self.infinite = self.infinite.saturating_add(other.infinite);
    }

    /// Counts and sizes, the smallest first.
    fn sizes(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> {
        // The middle of a bucket by the relative error to both of its bounds.
        let size = |bucket: i32| 2.0 * growth().powi(bucket) / (growth() + 1.0);
        let finite = self.buckets.iter().map(move |(bucket, count)| (size(*bucket), *count));
        finite.chain((self.infinite > 0).then_some((f64::INFINITY, self.infinite)))
    }
}

impl Sketch {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        if value == 0.0 {
            self.zeros += 1;
        } else if value > 0.0 {
            self.above.add(value);
        } else if value < 0.0 {
            self.below.add(-value);
        }
    }

    /// Number of its buckets.
    pub fn len(&self) -> usize {
        self.below.buckets.len() + self.above.buckets.len()
    }

    /// Whether it holds no value.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds all that another one holds.
    pub fn merge(&mut self, other: &Self) {
        self.below.merge(&other.below);
        self.zeros = self.zeros.saturating_add(other.zeros);
        self.above.merge(&other.above);
    }

    /// The value that a share of all is not greater than, within [`SKETCH_ERROR`]: of `n` in order that at `share * (n - 1)`,
    /// rounded down. None where there is none, or the share is not one of 0 to 1.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let below = self.below.sizes().rev().map(|(size, count)| (-size, count));
        let zeros = (self.zeros > 0).then_some((0.0, self.zeros));
        let all: Vec<(f64, u64)> = below.chain(zeros).chain(self.above.sizes()).collect();
        let total: u64 = all.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
        if total == 0 || !(0.0..=1.0).contains(&share) {
            return None;
        }
        let rank = (share * (total - 1) as f64) as u64;
        let mut before = 0_u64;
        let found = all.into_iter().find(|(_, count)| {
            before = before.saturating_add(*count);
            before > rank
        });
        found.map(|(value, _)| value)
    }
}

impl fmt::Display for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blank = "";
        let mut token = |sign: &str, bucket: &dyn fmt::Display, count: u64| {
            let before = std::mem::replace(&mut blank, " ");
            write!(f, "{before}{sign}{bucket}:{count}")
        };
        if self.below.infinite > 0 {
            token("n", &'+', self.below.infinite)?;
        }
        for (bucket, count) in self.below.buckets.iter().rev() {
            token("n", bucket, *count)?;
        }
        if self.zeros > 0 {
            token("z", &"", self.zeros)?;
        }
        for (bucket, count) in &self.above.buckets {
            token("p", bucket, *count)?;
        }
        if self.above.infinite > 0 {
            token("p", &'+', self.above.infinite)?;
        }
        Ok(())
    }
}

/// A text that is no sketch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no part of a sketch")]
pub struct NoSketch(String);

impl FromStr for Sketch {
    type Err = NoSketch;

    fn from_str(text: &str) -> Result<Self, NoSketch> {
        let mut sketch = Self::default();
        for token in text.split_ascii_whitespace() {
            sketch.put(token).ok_or_else(|| NoSketch(token.chars().take(40).collect()))?;
        }
        Ok(sketch)
    }
}

impl Sketch {
    fn put(&mut self, token: &str) -> Option<()> {
        let (bucket, count) = token.split_once(':')?;
        let count: u64 = count.parse().ok()?;
        if bucket == "z" {
            self.zeros = self.zeros.saturating_add(count);
            return Some(());
        }
        let (side, bucket) = match bucket.split_at_checked(1)? {
            ("n", bucket) => (&mut self.below, bucket),
            ("p", bucket) => (&mut self.above, bucket),
            _ => return None,
        };
        if bucket == "+" {
            side.infinite = side.infinite.saturating_add(count);
        } else {
            side.put(bucket.parse().ok()?, count);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        sketch
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let value = prop_oneof![
            8 => -1e9..1e9,
            4 => (0i32..12).prop_map(|exponent| 10f64.powi(exponent)),
            1 => Just(0.0),
            1 => Just(f64::INFINITY),
            1 => Just(f64::NEG_INFINITY),
            1 => Just(f64::NAN),
            1 => any::<f64>(),
        ];
        prop::collection::vec(value, 0..80)
    }

    proptest! {
        #[test]
        fn parts_in_any_order_are_the_whole(values in values(), cut in 0usize..80, other in 0usize..80) {
            let (mut cut, mut other) = (cut.min(values.len()), other.min(values.len()));
            if cut > other {
                std::mem::swap(&mut cut, &mut other);
            }
            let mut made = of(&values[other..]);
            made.merge(&of(&values[..cut]));
            made.merge(&of(&values[cut..other]));
            prop_assert_eq!(&made, &of(&values));
            prop_assert_eq!(made.to_string().parse::<Sketch>().unwrap(), made);
        }

        #[test]
        fn quantiles_are_within_the_error(values in prop::collection::vec(-1e9..1e9, 1..80), share in 0.0..=1.0) {
            let mut values: Vec<f64> = values;
            let found = of(&values).quantile(share).unwrap();
            values.sort_by(f64::total_cmp);
            let exact = values[(share * (values.len() - 1) as f64) as usize];
            prop_assert!((found - exact).abs() <= exact.abs() * (SKETCH_ERROR + 1e-9), "{} and {}", found, exact);
        }
    }

    #[test]
    fn edges() {
        assert_eq!(of(&[f64::NAN]).quantile(0.5), None);
        assert_eq!(of(&[1.0]).quantile(1.5), None);
        let all = of(&[f64::NEG_INFINITY, -1.0, -0.0, 0.0, 1.0, f64::INFINITY]);
        assert_eq!(all.to_string(), "n+:1 n0:1 z:2 p0:1 p+:1");
        assert_eq!([0.0, 0.5, 1.0].map(|share| all.quantile(share).unwrap()), [f64::NEG_INFINITY, 0.0, f64::INFINITY]);
        let wide = of(&[1e-300, 1.0, 1e300]);
        assert!(wide.above.buckets.len() == 2 && wide.quantile(1.0).unwrap() > 0.98e300);
        for wrong in ["x", "p1", "p:1", "q1:1", "p1:-1", "p1:x", "z1:1", "é1:1"] {
            assert!(wrong.parse::<Sketch>().is_err(), "{wrong}");
        }
    }
}
