//! Counter resets.

use super::add::common_bounds;
use super::buckets::{bound, exponential_bound};
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram, ResetHint, sparse};
use crate::histogram::Bounds;

impl FloatHistogram {
    /// Says whether the counter was reset between another sample and this one.
    pub fn is_reset_since(&self, previous: &Self, bounds: Bounds) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count {
            return true;
        }
        let is_custom = self.has_custom_buckets();
        if is_custom != previous.has_custom_buckets() {
            return true;
        }
        if is_custom && self.custom_values != previous.custom_values {
            return bounds == Bounds::MustMatch || self.lost_in_common_bounds(previous);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_within(self.zero_threshold);
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        self.lost_on_side(previous, true) || self.lost_on_side(previous, false)
    }

    /// Says whether a bucket of one side shrank or went.
    fn lost_on_side(&self, previous: &Self, is_positive: bool) -> bool {
        let side = |h: &Self| {
            let (spans, counts) = if is_positive {
                (&h.positive_spans, &h.positive_buckets)
            } else {
                (&h.negative_spans, &h.negative_buckets)
            };
            let cells = sparse::at_schema(sparse::iter(spans, counts), h.schema, self.schema);
            let threshold = self.zero_threshold;
            let is_inside_zero = move |index: i32, schema: i32| {
                schema != CUSTOM_BUCKETS_SCHEMA && exponential_bound(index, schema) <= threshold
            };
            let schema = self.schema;
            cells.into_iter().skip_while(move |(index, _)| is_inside_zero(*index, schema))
        };
        let mut current = side(self).peekable();
        for (index, count) in side(previous) {
            while current.next_if(|cell| cell.0 < index).is_some() {}
            let is_lost = match current.next_if(|cell| cell.0 == index) {
                Some((_, now)) => now < count,
                None => count != 0.0,
            };
            if is_lost {
                return true;
            }
        }
        false
    }

    /// The same for custom buckets with different bounds, over the bounds that both have.
    fn lost_in_common_bounds(&self, previous: &Self) -> bool {
        let common = common_bounds(&self.custom_values, &previous.custom_values);
        let within = |h: &Self| {
            let mut counts = vec![0.0; common.len() + 1];
            for (index, count) in sparse::iter(&h.positive_spans, &h.positive_buckets) {
                let upper = bound(index, CUSTOM_BUCKETS_SCHEMA, &h.custom_values);
                counts[common.partition_point(|b| *b < upper)] += count;
            }
            counts
        };
        within(self).iter().zip(within(previous)).any(|(now, before)| *now < before)
    }
}
