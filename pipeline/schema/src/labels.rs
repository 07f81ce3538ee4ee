//! Canonical labels and the ids made from them.

use xxhash_rust::xxh3::Xxh3;

/// Identity of a series: xxh3-64 of its canonical labels, the metric name (`__name__`) among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub i64);

/// Identity of a metric: xxh3-64 of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricId(pub i64);

impl MetricId {
    /// The id of the metric called `name`.
    pub fn of(name: &str) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(name.as_bytes()) as i64)
    }
}

impl SeriesId {
    /// The id of the series `name{labels}`. The order of `labels` does not matter; a label with an empty value is
    /// the same as no label (Prometheus data model). Costs one sort of the references.
    ///
    /// Canonical form: the labels sorted by name, `__name__` included, each `name 0xff value 0xff`. The byte 0xff
    /// does not occur in UTF-8, so two different label sets never have the same form.
    pub fn of(name: &str, labels: &[(&str, &str)]) -> Self {
        let mut all: Vec<(&str, &str)> = Vec::with_capacity(labels.len() + 1);
        all.push(("__name__", name));
        all.extend(labels.iter().copied().filter(|(label, value)| !value.is_empty() && *label != "__name__"));
        all.sort_unstable();
        let mut hash = Xxh3::new();
        for (label, value) in all {
            hash.update(label.as_bytes());
            hash.update(&[0xff]);
            hash.update(value.as_bytes());
            hash.update(&[0xff]);
        }
        Self(hash.digest() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_empty_labels_do_not_matter() {
        let one = SeriesId::of("up", &[("job", "node"), ("instance", "a")]);
        assert_eq!(one, SeriesId::of("up", &[("instance", "a"), ("zone", ""), ("job", "node")]));
        assert_ne!(one, SeriesId::of("up", &[("job", "nodea"), ("instance", "")]));
    }
}
