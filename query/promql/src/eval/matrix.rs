//! The step matrix: series by steps, values in one run of memory.

use std::sync::Arc;

use crate::control::QueryControl;
use crate::error::Error;
use crate::histogram::FloatHistogram;
use crate::labels::{Labels, METRIC_NAME, METRIC_TYPE, METRIC_UNIT};
use crate::storage::STALE_NAN;

/// Marks a step without float. It has the bits of the stale marker, which no sample that a query sees has: selectors
/// drop it, and arithmetic on it yields other bits.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN);

/// Says whether a step has no float.
#[inline]
pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}

/// Evenly spaced times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) count: usize,
}

impl Steps {
    pub(crate) fn time(&self, step: usize) -> i64 {
        self.start_ms + self.step_ms * step as i64
    }

    pub(crate) fn last(&self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }

    /// The first step alone.
    pub(crate) fn first_only(&self) -> Self {
        Self { count: 1, ..*self }
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.count).map(|step| self.time(step))
    }
}

/// A row's series.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) labels: Labels,
    /// The name goes when the result is made.
    pub(crate) drops_name: bool,
}

/// The values of series at steps.
///
/// ```text
/// rows     a        b
/// values   v v _ v  v _ _ _      _ is ABSENT; or a histogram stands in its place
/// ```
#[derive(Debug, Default)]
pub(crate) struct StepMatrix {
    pub(crate) steps: usize,
    pub(crate) rows: Vec<Row>,
    /// `rows.len() * steps` floats.
    pub(crate) values: Vec<f64>,
    /// As many histograms, or none at all.
    pub(crate) histograms: Vec<Option<Arc<FloatHistogram>>>,
    charge: Charge,
}

/// One row of a matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowRef<'a> {
    pub(crate) row: &'a Row,
    pub(crate) values: &'a [f64],
    /// Empty where the matrix has no histograms.
    pub(crate) histograms: &'a [Option<Arc<FloatHistogram>>],
}

impl<'a> RowRef<'a> {
    pub(crate) fn histogram(&self, step: usize) -> Option<&'a Arc<FloatHistogram>> {
        self.histograms.get(step).and_then(Option::as_ref)
    }

    pub(crate) fn has(&self, step: usize) -> bool {
        !is_absent(self.values[step]) || self.histogram(step).is_some()
    }

    fn first_step(&self) -> Option<usize> {
        (0..self.values.len()).find(|step| self.has(*step))
    }
}

impl StepMatrix {
    pub(crate) fn new(steps: usize) -> Self {
        Self { steps, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn row(&self, i: usize) -> RowRef<'_> {
        let range = i * self.steps..(i + 1) * self.steps;
        RowRef {
            row: &self.rows[i],
            values: &self.values[range.clone()],
            histograms: self.histograms.get(range).unwrap_or(&[]),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = RowRef<'_>> {
        (0..self.len()).map(|i| self.row(i))
    }

    /// Adds a row without values and gives its number.
    pub(crate) fn push_absent(&mut self, row: Row) -> usize {
        self.rows.push(row);
        self.values.resize(self.rows.len() * self.steps, ABSENT);
        if !self.histograms.is_empty() {
            self.histograms.resize(self.rows.len() * self.steps, None);
        }
        self.rows.len() - 1
    }

    /// Adds a row as it stands in another matrix of as many steps.
    pub(crate) fn push_row(&mut self, row: Row, source: RowRef<'_>) {
        let i = self.push_absent(row);
        self.values[i * self.steps..].copy_from_slice(source.values);
        if source.histograms.iter().any(Option::is_some) {
            self.need_histograms();
            self.histograms[i * self.steps..].clone_from_slice(source.histograms);
        }
    }

    /// Makes room for histograms.
    pub(crate) fn need_histograms(&mut self) {
        self.histograms.resize(self.rows.len() * self.steps, None);
    }

    pub(crate) fn set_histogram(&mut self, row: usize, step: usize, histogram: Arc<FloatHistogram>) {
        self.need_histograms();
        self.histograms[row * self.steps + step] = Some(histogram);
    }

    /// Drops the last row if it has nothing at any step.
    pub(crate) fn drop_last_if_empty(&mut self) {
        let Some(last) = self.rows.len().checked_sub(1) else { return };
        let row = self.row(last);
        if row.values.iter().all(|v| is_absent(*v)) && row.histograms.iter().all(Option::is_none) {
            self.rows.truncate(last);
            self.values.truncate(last * self.steps);
            self.histograms.truncate(last * self.steps);
        }
    }

    /// Drops rows that have nothing at any step.
    pub(crate) fn drop_empty(&mut self) {
        let keep: Vec<bool> = (0..self.len())
            .map(|i| {
                let row = self.row(i);
                row.values.iter().any(|v| !is_absent(*v)) || row.histograms.iter().any(Option::is_some)
            })
            .collect();
        self.keep(&keep);
    }

    /// Drops the rows that a test does not hold for.
    pub(crate) fn retain_rows(&mut self, mut is_kept: impl FnMut(&Row) -> bool) {
        let keep: Vec<bool> = self.rows.iter().map(&mut is_kept).collect();
        self.keep(&keep);
    }

    fn keep(&mut self, keep: &[bool]) {
        if keep.iter().all(|k| *k) {
            return;
        }
        let mut kept = 0;
        for (i, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
            if i != kept {
                self.rows.swap(kept, i);
                self.values.copy_within(i * self.steps..(i + 1) * self.steps, kept * self.steps);
                if !self.histograms.is_empty() {
                    for step in 0..self.steps {
                        self.histograms.swap(kept * self.steps + step, i * self.steps + step);
                    }
                }
            }
            kept += 1;
        }
        self.rows.truncate(kept);
        self.values.truncate(kept * self.steps);
        self.histograms.truncate(kept * self.steps);
    }

    /// Appends the rows of another matrix of as many steps.
    pub(crate) fn append(&mut self, other: Self) {
        if self.rows.is_empty() {
            let steps = self.steps;
            *self = other;
            self.steps = steps;
            return;
        }
        if !self.histograms.is_empty() || !other.histograms.is_empty() {
            self.need_histograms();
        }
        let Self { rows, values, histograms, charge, .. } = other;
        self.rows.extend(rows);
        self.values.extend_from_slice(&values);
        if !histograms.is_empty() {
            self.histograms.extend(histograms);
        } else if !self.histograms.is_empty() {
            self.need_histograms();
        }
        self.charge.absorb(charge);
    }

    /// Repeats the single step of each row.
    pub(crate) fn broadcast(self, steps: usize) -> Self {
        if self.steps == steps {
            return self;
        }
        let values = self.values.iter().flat_map(|v| std::iter::repeat_n(*v, steps)).collect();
        let histograms = self.histograms.iter().flat_map(|h| std::iter::repeat_n(h.clone(), steps)).collect();
        Self { steps, rows: self.rows, values, histograms, charge: self.charge }
    }

    /// Charges what the matrix holds to the query; what it held before is given back.
    pub(crate) fn charged(mut self, control: &Arc<QueryControl>) -> Result<Self, Error> {
        let histograms: usize = self.histograms.iter().flatten().map(|h| h.bytes()).sum();
        let slots = self.histograms.len() * size_of::<Option<Arc<FloatHistogram>>>();
        let bytes = self.rows.len() * size_of::<Row>() + 8 * self.values.len() + slots + histograms;
        self.charge = Charge::new(control, bytes, self.values.len())?;
        Ok(self)
    }

    /// Merges rows with the same labels; fails where two have a value at the same step. The row whose values begin
    /// first says whether the name goes.
    pub(crate) fn merge_same_labels(self) -> Result<Self, Error> {
        let mut seen = rustc_hash::FxHashMap::default();
        seen.reserve(self.len());
        if self.rows.iter().enumerate().all(|(i, row)| seen.insert(&row.labels, i).is_none()) {
            return Ok(self);
        }
        let mut merged = Self::new(self.steps);
        let mut first: rustc_hash::FxHashMap<&Labels, usize> = rustc_hash::FxHashMap::default();
        for row in self.iter() {
            match first.get(&row.row.labels) {
                None => {
                    first.insert(&row.row.labels, merged.len());
                    merged.push_row(row.row.clone(), row);
                }
                Some(target) => merged.merge_into(*target, row)?,
            }
        }
        drop(first);
        merged.charge = self.charge;
        Ok(merged)
    }

    /// Puts the values of a row where another has none.
    pub(crate) fn merge_into(&mut self, target: usize, row: RowRef<'_>) -> Result<(), Error> {
        if row.first_step().is_some_and(|first| self.row(target).first_step().is_none_or(|ours| first < ours)) {
            self.rows[target].drops_name = row.row.drops_name;
        }
        for step in 0..self.steps {
            if !row.has(step) {
                continue;
            }
            if self.row(target).has(step) {
                return Err(same_labelset());
            }
            self.values[target * self.steps + step] = row.values[step];
            if let Some(histogram) = row.histogram(step) {
                self.set_histogram(target, step, Arc::clone(histogram));
            }
        }
        Ok(())
    }

    /// Drops the names that are to be dropped, and what goes with them.
    pub(crate) fn drop_names(mut self) -> Result<Self, Error> {
        for row in &mut self.rows {
            if row.drops_name {
                row.labels = drop_name(&row.labels);
                row.drops_name = false;
            }
        }
        self.merge_same_labels()
    }
}

/// The labels without name, type and unit.
pub(crate) fn drop_name(labels: &Labels) -> Labels {
    labels.without(|name| name == METRIC_NAME || name == METRIC_TYPE || name == METRIC_UNIT)
}

/// The error that a result has a series twice.
pub(crate) fn same_labelset() -> Error {
    Error::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// What a matrix was charged with; given back when it is dropped.
#[derive(Debug, Default)]
struct Charge {
    control: Option<Arc<QueryControl>>,
    bytes: usize,
    samples: usize,
}

impl Charge {
    fn new(control: &Arc<QueryControl>, bytes: usize, samples: usize) -> Result<Self, Error> {
        let charge = Self { control: Some(Arc::clone(control)), bytes, samples };
        control.charge_samples(samples as i64)?;
        control.charge(bytes)?;
        Ok(charge)
    }

    fn absorb(&mut self, mut other: Self) {
        if self.control.is_some() {
            self.bytes += std::mem::take(&mut other.bytes);
            self.samples += std::mem::take(&mut other.samples);
        } else {
            std::mem::swap(self, &mut other);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(control) = &self.control {
            control.release(self.bytes);
            control.release_samples(self.samples);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(labels: &[(&str, &str)]) -> Row {
        Row { labels: Labels::from_pairs(labels.iter().copied()), drops_name: false }
    }

    type Given<'a> = (&'a [(&'a str, &'a str)], [f64; 2]);

    fn matrix(rows: &[Given<'_>]) -> StepMatrix {
        let mut matrix = StepMatrix::new(2);
        for (labels, values) in rows {
            let i = matrix.push_absent(row(labels));
            matrix.values[2 * i..].copy_from_slice(values);
        }
        matrix
    }

    #[test]
    fn arithmetic_never_yields_the_absent_marker() {
        assert!(is_absent(ABSENT));
        for value in [ABSENT + 1.0, -(ABSENT + 0.0), ABSENT * 0.0, f64::NAN, f64::INFINITY * 0.0] {
            assert!(!is_absent(value));
        }
    }

    #[test]
    fn merges_rows_that_do_not_overlap() {
        let merged =
            matrix(&[(&[("a", "1")], [1.0, ABSENT]), (&[("b", "1")], [5.0, 6.0]), (&[("a", "1")], [ABSENT, 2.0])])
                .merge_same_labels()
                .unwrap();
        assert_eq!(merged.len(), 2);
        assert_eq!(merged.row(0).values, [1.0, 2.0]);
        assert!(matrix(&[(&[], [1.0, ABSENT]), (&[], [2.0, ABSENT])]).merge_same_labels().is_err());
    }

    #[test]
    fn the_row_that_begins_first_says_whether_the_name_goes() {
        let late = (&[("__name__", "m")][..], [ABSENT, 1.0]);
        let early = (&[("__name__", "m")][..], [1.0, ABSENT]);
        for (rows, kept) in [([late, early], ""), ([early, late], "m")] {
            let mut both = matrix(&rows);
            both.rows[1].drops_name = true;
            assert_eq!(both.merge_same_labels().unwrap().drop_names().unwrap().rows[0].labels.metric_name(), kept);
        }
    }

    #[test]
    fn drops_rows_without_values() {
        let mut dropped = matrix(&[(&[("a", "1")], [ABSENT, ABSENT]), (&[("b", "1")], [ABSENT, 6.0])]);
        dropped.drop_empty();
        assert_eq!((dropped.len(), dropped.rows[0].labels.get("b")), (1, "1"));
        assert_eq!(dropped.row(0).values[1], 6.0);
    }

    #[test]
    fn gives_its_charge_back() {
        let control = Arc::new(QueryControl::unbounded());
        let charged = matrix(&[(&[("a", "1")], [1.0, 2.0])]).charged(&control).unwrap();
        assert!(control.bytes_peak() > 16);
        drop(charged);
        assert_eq!(control.bytes_held(), 0);
    }
}
