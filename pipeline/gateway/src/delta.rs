//! Counters whose senders give changes: what they have come to, per series.

use bodkin_schema::SeriesId;
use rustc_hash::FxHashMap;
use std::sync::{Mutex, PoisonError};

/// Series that are added up; beyond, all begin again from 0, which a query sees as a reset.
const SERIES_MAX: usize = 1 << 20;

/// Totals of this process.
#[derive(Debug, Default)]
pub(crate) struct Deltas {
    totals: Mutex<FxHashMap<i64, f64>>,
}

impl Deltas {
    /// Adds a change and gives the total.
    pub(crate) fn add(&self, series: SeriesId, change: f64) -> f64 {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        if totals.len() >= SERIES_MAX && !totals.contains_key(&series.0) {
            totals.clear();
        }
        let total = totals.entry(series.0).or_insert(0.0);
        *total += change;
        *total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_add_up_per_series() {
        let deltas = Deltas::default();
        assert_eq!([1.0, 2.5].map(|change| deltas.add(SeriesId(1), change)), [1.0, 3.5]);
        assert_eq!(deltas.add(SeriesId(2), 4.0), 4.0);
    }
}
