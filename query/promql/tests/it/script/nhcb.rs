//! `load_with_nhcb`: custom-bucket histograms out of classic ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use bodkin_promql::histogram::CUSTOM_BUCKETS_SCHEMA;
use bodkin_promql::{BucketSpan, FloatHistogram, Labels};

use super::notation::Line;
use crate::memory::Point;

#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The histograms of all classic ones among some lines.
pub(crate) fn series(lines: &[Line]) -> Vec<Line> {
    let mut groups: BTreeMap<Labels, BTreeMap<usize, Classic>> = BTreeMap::new();
    for (labels, values) in lines {
        let name = labels.metric_name();
        let Some((base, part)) = ["_bucket", "_sum", "_count"].iter().find_map(|s| Some((name.strip_suffix(s)?, *s)))
        else {
            continue;
        };
        let group = groups.entry(labels.with("le", "").with("__name__", base)).or_default();
        let bound: Option<f64> = labels.get("le").parse().ok().filter(|b: &f64| !b.is_nan());
        for (i, value) in values.iter().enumerate() {
            let Some(Point::Float(value)) = value else { continue };
            match (part, bound) {
                ("_bucket", Some(bound)) => {
                    let buckets = &mut group.entry(i).or_default().buckets;
                    if !buckets.iter().any(|(b, _)| *b == bound) {
                        buckets.push((bound, *value));
                    }
                }
                ("_count", _) => group.entry(i).or_default().count = Some(*value),
                ("_sum", _) => group.entry(i).or_default().sum = *value,
                _ => {}
            }
        }
    }
    let convert = |points: BTreeMap<usize, Classic>| {
        let last = points.keys().last().map_or(0, |i| i + 1);
        let mut values = vec![None; last];
        for (i, classic) in points {
            values[i] = to_native(classic).map(|h| Point::Histogram(Arc::new(h)));
        }
        values
    };
    groups.into_iter().map(|(labels, points)| (labels, convert(points))).collect()
}

fn to_native(mut classic: Classic) -> Option<FloatHistogram> {
    classic.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = classic.count.unwrap_or_else(|| classic.buckets.last().map_or(0.0, |b| b.1));
    if classic.buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
        classic.buckets.push((f64::INFINITY, total));
    }
    let (mut before, mut counts, mut bounds) = (0.0, Vec::new(), Vec::new());
    for (bound, count) in &classic.buckets {
        if *count < before {
            return None;
        }
        counts.push(count - before);
        before = *count;
        if *bound != f64::INFINITY {
            bounds.push(*bound);
        }
    }
    if total != before {
        return None;
    }
    let mut h = FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        count: total,
        sum: classic.sum,
        positive_spans: vec![BucketSpan { offset: 0, length: counts.len() as u32 }],
        positive_buckets: counts,
        custom_values: bounds.into(),
        ..FloatHistogram::default()
    };
    h.compact();
    Some(h)
}
