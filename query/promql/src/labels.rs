//! Label sets: immutable, sorted by name, cheap to clone.

use std::cmp::Ordering;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";
/// The label that holds the metric type, where `type-and-unit-labels` is on.
pub const METRIC_TYPE: &str = "__type__";
/// The label that holds the unit, where `type-and-unit-labels` is on.
pub const METRIC_UNIT: &str = "__unit__";
/// The label that holds the upper bound of a classic bucket.
pub const BUCKET: &str = "le";

static EMPTY: LazyLock<Labels> = LazyLock::new(|| Labels::pack(&[]));

/// A sorted set of label pairs with unique names and no empty value.
///
/// All text of a set lies in one allocation; a clone counts a reference.
#[derive(Clone)]
pub struct Labels(Arc<Packed>);

struct Packed {
    /// Name, value, name, value, ... without separators.
    text: Box<str>,
    /// Where each of them ends in `text`.
    ends: Box<[u32]>,
}

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        EMPTY.clone()
    }

    /// Builds a set from pairs in any order. A pair without value is no label; of two with one name the last counts.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs: Vec<(N, V)> = pairs.into_iter().collect();
        let mut sorted: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        sorted.sort_by(|a, b| a.0.cmp(b.0));
        let mut unique: Vec<(&str, &str)> = Vec::with_capacity(sorted.len());
        for pair in sorted {
            match unique.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => unique.push(pair),
            }
        }
        unique.retain(|(_, value)| !value.is_empty());
        Self::pack(&unique)
    }

    /// Builds a set from pairs that are sorted by name, unique and without an empty value.
    pub fn from_sorted(pairs: &[(&str, &str)]) -> Self {
        debug_assert!(pairs.windows(2).all(|w| w[0].0 < w[1].0));
        if pairs.is_empty() { Self::empty() } else { Self::pack(pairs) }
    }

    fn pack(pairs: &[(&str, &str)]) -> Self {
        let bytes = pairs.iter().map(|(n, v)| n.len() + v.len()).sum();
        let mut text = String::with_capacity(bytes);
        let mut ends = Vec::with_capacity(2 * pairs.len());
        for (name, value) in pairs {
            text.push_str(name);
            ends.push(text.len() as u32);
            text.push_str(value);
            ends.push(text.len() as u32);
        }
        Self(Arc::new(Packed { text: text.into_boxed_str(), ends: ends.into_boxed_slice() }))
    }

    /// The number of labels.
    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    /// Says whether the set holds no label.
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    fn part(&self, i: usize) -> &str {
        let start = if i == 0 { 0 } else { self.0.ends[i - 1] as usize };
        &self.0.text[start..self.0.ends[i] as usize]
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        (0..self.len()).map(|i| (self.part(2 * i), self.part(2 * i + 1)))
    }

    /// The value of a label, `""` where the set does not hold it.
    pub fn get(&self, name: &str) -> &str {
        for i in 0..self.len() {
            match self.part(2 * i).cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => return self.part(2 * i + 1),
                Ordering::Greater => break,
            }
        }
        ""
    }

    /// Says whether the set holds a label of this name.
    pub fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// The metric name, `""` where there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// The set without the labels for which `drop` holds.
    pub fn without(&self, drop: impl Fn(&str) -> bool) -> Self {
        if !self.iter().any(|(name, _)| drop(name)) {
            return self.clone();
        }
        let kept: Vec<(&str, &str)> = self.iter().filter(|(name, _)| !drop(name)).collect();
        Self::from_sorted(&kept)
    }

    /// The set with one label set, or removed where the value is `""`.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs: Vec<(&str, &str)> = self.iter().filter(|(n, _)| *n != name).collect();
        if !value.is_empty() {
            let at = pairs.partition_point(|(n, _)| *n < name);
            pairs.insert(at, (name, value));
        }
        Self::from_sorted(&pairs)
    }

    /// Bytes held by the set, shared by its clones.
    pub fn bytes(&self) -> usize {
        size_of::<Packed>() + self.0.text.len() + 4 * self.0.ends.len()
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.ends == other.0.ends && self.0.text == other.0.text)
    }
}

impl Eq for Labels {}

impl std::hash::Hash for Labels {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.ends.hash(state);
        self.0.text.hash(state);
    }
}

impl Ord for Labels {
    /// Compares pair by pair, name before value, as Prometheus sorts a matrix.
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Labels {
    /// Writes `{name="value", ...}`, as Prometheus names a series in its errors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if crate::text::is_legacy_label_name(name) {
                f.write_str(name)?;
            } else {
                f.write_str(&crate::text::quote(name))?;
            }
            write!(f, "={}", crate::text::quote(value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_and_drops_empty() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("b", "3")]);
        assert_eq!(labels.to_string(), r#"{a="1", b="3"}"#);
        assert_eq!((labels.get("a"), labels.get("c"), labels.get("z")), ("1", "", ""));
        assert_eq!(labels.with("aa", "x").to_string(), r#"{a="1", aa="x", b="3"}"#);
        assert_eq!(labels.with("a", ""), Labels::from_pairs([("b", "3")]));
        assert_eq!(labels.without(|n| n == "b"), Labels::from_pairs([("a", "1")]));
    }

    #[test]
    fn orders_as_pairs() {
        let a = Labels::from_pairs([("a", "1")]);
        let ab = Labels::from_pairs([("a", "1"), ("b", "1")]);
        let b = Labels::from_pairs([("a", "2")]);
        assert!(Labels::empty() < a && a < ab && ab < b);
    }
}
