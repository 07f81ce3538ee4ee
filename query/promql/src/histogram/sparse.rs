//! Spans and counts as pairs of index and count, and back.

use super::BucketSpan;

/// The buckets of spans with their indexes. Counts that no span covers, and spans without counts, are left out.
pub(super) fn iter<'a>(
    spans: &'a [BucketSpan],
    counts: &'a [f64],
) -> impl DoubleEndedIterator<Item = (i32, f64)> + Clone + 'a {
    let mut next_index = 0i32;
    let mut used = 0usize;
    let mut runs = Vec::with_capacity(spans.len());
    for span in spans {
        let start = next_index.saturating_add(span.offset);
        let length = (span.length as usize).min(counts.len() - used);
        runs.push((start, used, length));
        used += length;
        next_index = start.saturating_add(i32::try_from(span.length).unwrap_or(i32::MAX));
    }
    runs.into_iter().flat_map(move |(start, from, length)| {
        (0..length).map(move |i| (start.saturating_add(i as i32), counts[from + i]))
    })
}

/// Spans and counts of pairs that rise in index.
pub(super) fn from_sparse(pairs: impl IntoIterator<Item = (i32, f64)>) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut counts = Vec::new();
    let mut next_index = 0i32;
    for (index, count) in pairs {
        match spans.last_mut() {
            Some(span) if index == next_index => span.length += 1,
            _ => spans.push(BucketSpan { offset: index.wrapping_sub(next_index), length: 1 }),
        }
        next_index = index.saturating_add(1);
        counts.push(count);
    }
    (spans, counts)
}

/// Says whether two sets of buckets have the same layout and the same bits.
pub(super) fn same(a: (&[BucketSpan], &[f64]), b: (&[BucketSpan], &[f64])) -> bool {
    a.1.len() == b.1.len()
        && iter(a.0, a.1).zip(iter(b.0, b.1)).all(|(x, y)| x.0 == y.0 && x.1.to_bits() == y.1.to_bits())
}

/// The index of a bucket at a lower resolution.
pub(super) fn index_at(index: i32, from: i32, to: i32) -> i32 {
    let shift = from.saturating_sub(to).clamp(0, 31);
    (index.wrapping_sub(1) >> shift).wrapping_add(1)
}

/// Merges buckets to a lower resolution.
pub(super) fn at_schema(pairs: impl Iterator<Item = (i32, f64)>, from: i32, to: i32) -> Vec<(i32, f64)> {
    let mut merged: Vec<(i32, f64)> = Vec::new();
    for (index, count) in pairs {
        let index = index_at(index, from, to);
        match merged.last_mut() {
            Some(last) if last.0 == index => last.1 += count,
            _ => merged.push((index, count)),
        }
    }
    merged
}
