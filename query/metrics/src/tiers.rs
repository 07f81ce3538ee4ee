//! Stretches of samples from the rollup ladder: each from the coarsest tier that tells it exactly, from the samples
//! where no tier does.
//!
//! ```text
//!   tier rows   [w, w+len)  --> a sample on the start w, and the rest    PromQL's windows hold their end, not their start
//!   samples                 --> one bucket for those that follow each other in a cell
//!   cells of a series, in order --> windows of any length that is a multiple of a cell
//! ```

use crate::cold::{self, ColdError, ColdRange, ColdSeries};
use arrow::array::RecordBatch;
use bodkin_promql::storage::{WindowSummary, Windows};
use bodkin_rollup::{Bucket, Ladder, RowColumns, RowParts, Tier, View};
use bodkin_schema::Stream;
use object_store::ObjectStore;
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;

/// Cells that a query may be cut into.
const CELLS_MAX: i64 = 4_000_000;
/// What a row of a tier takes as a cell.
const CELL_BYTES: usize = size_of::<(i64, Bucket)>();
const STALE_NAN: u64 = bodkin_promql::storage::STALE_NAN;

/// What of tiers a range function looks at.
pub(crate) fn parts_of(function: &str) -> RowParts {
    let none = RowParts { sum: false, extremes: false, growth: false };
    match function {
        "count_over_time" | "present_over_time" | "ts_of_first_over_time" => none,
        "avg_over_time" | "sum_over_time" => RowParts { sum: true, ..none },
        "max_over_time" | "min_over_time" => RowParts { extremes: true, ..none },
        "rate" | "increase" | "delta" | "resets" => RowParts { growth: true, ..none },
        _ => RowParts::ALL,
    }
}

/// Which end of a cell belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Its start, as in SQL.
    Start,
    /// Its end, as in PromQL.
    End,
}

/// Equal stretches of time, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// Start of the first cell, in milliseconds.
    pub(crate) start_ms: i64,
    /// Length of a cell.
    pub(crate) cell_ms: i64,
    /// Number of cells.
    pub(crate) count: i64,
    pub(crate) closed: Closed,
}

impl Grid {
    /// The cells that `windows` are made of; none where they cannot be.
    pub(crate) fn of_windows(windows: &Windows) -> Option<Self> {
        let last_end_ms = last_end_ms(windows)?;
        let start_ms = windows.first_end_ms.checked_sub(windows.range_ms)?;
        let step_ms = if windows.count > 1 { windows.step_ms } else { 0 };
        let cell_ms = greatest_divisor(windows.range_ms, step_ms);
        let count = last_end_ms.checked_sub(start_ms)?.checked_div(cell_ms)?;
        let grid = Self { start_ms, cell_ms, count, closed: Closed::End };
        (1..=CELLS_MAX).contains(&count).then_some(grid)
    }

    /// Whether it has no more cells than a query may have.
    pub(crate) fn is_bounded(&self) -> bool {
        let length_ms = self.cell_ms.checked_mul(self.count);
        self.count <= CELLS_MAX && length_ms.is_some_and(|length| self.start_ms.checked_add(length).is_some())
    }

    /// The coarsest tier that its cells are made of.
    pub(crate) fn tier(&self) -> Option<Tier> {
        Tier::coarsest(&[self.start_ms, self.cell_ms])
    }

    pub(crate) fn end_ms(&self) -> i64 {
        self.start_ms.saturating_add(self.cell_ms.saturating_mul(self.count))
    }

    /// The cell of a time in microseconds; none outside of the grid.
    fn cell(&self, ts_us: i64) -> Option<i64> {
        let start_us = self.start_ms.saturating_mul(1000);
        let at = ts_us.saturating_sub(start_us).saturating_sub(i64::from(self.closed == Closed::End));
        Some(at.div_euclid(self.cell_ms.saturating_mul(1000))).filter(|cell| (0..self.count).contains(cell))
    }
}

fn last_end_ms(windows: &Windows) -> Option<i64> {
    let steps = i64::try_from(windows.count).ok()?.checked_sub(1)?;
    windows.first_end_ms.checked_add(steps.checked_mul(windows.step_ms)?)
}

fn greatest_divisor(one: i64, other: i64) -> i64 {
    if other == 0 { one } else { greatest_divisor(other, one % other) }
}

/// What the samples of a series are in the cells of a grid; cells without a sample are left out.
pub(crate) type Cells = Vec<(i64, Bucket)>;

/// What was read, and from where; by place of the series.
pub(crate) type Read = (Plan, FxHashMap<u32, Cells>);

/// A view of the tables, and where each stretch of a grid is read from.
pub(crate) struct Plan {
    pub(crate) view: View,
    pub(crate) grid: Grid,
    sources: Vec<(Option<Tier>, Range<i64>)>,
}

impl Plan {
    /// Where the cells of `grid` are read from: the samples alone where there is no ladder or `is_exact`.
    pub(crate) async fn new<E>(
        ladder: &Ladder,
        grid: Grid,
        tier: Option<Tier>,
        snapshot: impl AsyncFn() -> Result<Arc<bodkin_table::Snapshot>, E>,
    ) -> Result<Self, E> {
        let view = ladder.view(snapshot).await?;
        let range = grid.start_ms.saturating_mul(1000)..grid.end_ms().saturating_mul(1000);
        let mut sources = match tier {
            Some(tier) => view.sources(tier, range),
            None => vec![(None, range)],
        };
        if grid.closed == Closed::End {
            // The sample on the last end.
            let end_us = grid.end_ms().saturating_mul(1000);
            match sources.last_mut() {
                Some((None, last)) => last.end = end_us.saturating_add(1),
                _ => sources.push((None, end_us..end_us.saturating_add(1))),
            }
        }
        Ok(Self { view, grid, sources })
    }

    /// Whether anything is read from a tier.
    pub(crate) fn uses_tiers(&self) -> bool {
        self.sources.iter().any(|(tier, _)| tier.is_some())
    }

    /// The stretches to be read from samples, in milliseconds, both ends inclusive.
    pub(crate) fn of_samples(&self) -> impl Iterator<Item = (i64, i64)> {
        let samples = self.sources.iter().filter(|(tier, _)| tier.is_none());
        samples.map(|(_, range)| (range.start.div_euclid(1000), (range.end - 1).div_euclid(1000)))
    }

    /// The tables that tell what lies between the times, the coarsest first.
    pub(crate) fn source(&self, from_ms: i64, to_ms: i64) -> String {
        let (from, to) = (from_ms.saturating_mul(1000), to_ms.saturating_mul(1000));
        let within = self.sources.iter().filter(|(_, range)| range.start < to && range.end > from);
        let mut tiers: Vec<Option<Tier>> = within.map(|(tier, _)| *tier).collect();
        tiers.sort_unstable_by(|one, other| other.cmp(one));
        tiers.dedup();
        tiers.into_iter().map(|tier| tier.map_or("samples", Tier::name)).collect::<Vec<_>>().join(", ")
    }

    /// What is read from where, for people.
    pub(crate) fn text(&self) -> String {
        let mut by_source: Vec<(&str, i64)> = Vec::new();
        for (tier, range) in &self.sources {
            let (name, length) = (tier.map_or("samples", Tier::name), (range.end - range.start) / 1_000_000);
            match by_source.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known += length,
                None => by_source.push((name, length)),
            }
        }
        by_source.retain(|(_, seconds)| *seconds > 0);
        let parts: Vec<_> = by_source.iter().map(|(name, seconds)| format!("{name} ({})", span(*seconds))).collect();
        format!("read from {}", parts.join(", "))
    }

    /// The cells that the tiers hold, by place of the series in `range`. `charge` is told of the bytes.
    pub(crate) async fn read_tiers<E: From<ColdError>>(
        &self,
        store: &Arc<dyn ObjectStore>,
        range: &ColdRange,
        parts: RowParts,
        mut charge: impl FnMut(usize) -> Result<(), E>,
    ) -> Result<FxHashMap<u32, Cells>, E> {
        let mut found: FxHashMap<u32, Cells> = FxHashMap::default();
        let wanted = parts.columns();
        for (tier, stretch) in &self.sources {
            let Some(tier) = tier else { continue };
            let range = ColdRange { from_us: stretch.start, to_us: stretch.end - 1, ..range.clone() };
            let table = self.view.snapshot.table(tier.stream());
            let of = (tier.stream(), tier.window_us());
            // Rows of a series follow each other.
            let mut series: Option<(i64, Option<u32>, Cells)> = None;
            for file in table.files.iter().filter(|file| cold::is_wanted(tier.stream(), file, &range)) {
                let take = |records: &RecordBatch| -> Result<(), E> {
                    let columns = RowColumns::new(records, parts).map_err(ColdError::from)?;
                    charge(columns.len() * CELL_BYTES)?;
                    for row in (0..columns.len()).filter(|row| stretch.contains(&columns.window_us(*row))) {
                        let id = columns.series_id(row);
                        if series.as_ref().is_none_or(|(known, ..)| *known != id) {
                            let place = range.series.get(&id).copied();
                            let cells = place.and_then(|place| found.remove(&place)).unwrap_or_default();
                            let before = series.replace((id, place, cells));
                            found.extend(before.and_then(|(_, place, cells)| Some((place?, cells))));
                        }
                        if let Some((_, Some(_), cells)) = &mut series {
                            self.add_row(&columns, row, cells);
                        }
                    }
                    Ok(())
                };
                cold::each_tier_batch(of, store, file, &range, &wanted, take).await?;
            }
            found.extend(series.and_then(|(_, place, cells)| Some((place?, cells))));
        }
        Ok(found)
    }

    fn add_row(&self, columns: &RowColumns<'_>, row: usize, cells: &mut Cells) {
        let row = columns.row(row);
        let mut add = |bucket: Option<Bucket>| {
            let cell = bucket.and_then(|bucket| Some((self.grid.cell(bucket.first_us)?, bucket)));
            cells.extend(cell);
        };
        if self.grid.closed == Closed::Start {
            add(Some(row.whole));
        } else {
            add(row.on_start());
            add(row.after_start());
        }
    }

    /// Adds samples of a series, in order, to its cells.
    pub(crate) fn add_samples(&self, times_ms: &[i64], values: &[f64], cells: &mut Cells) {
        let live = times_ms.iter().zip(values).filter(|(_, value)| value.to_bits() != STALE_NAN);
        let mut open: Option<(i64, Bucket)> = None;
        for (ts_ms, value) in live {
            let Some(cell) = self.grid.cell(ts_ms.saturating_mul(1000)) else { continue };
            let one = Bucket::of(ts_ms.saturating_mul(1000), *value);
            match &mut open {
                Some((known, bucket)) if *known == cell => bucket.append(&one),
                _ => cells.extend(open.replace((cell, one))),
            }
        }
        cells.extend(open);
    }
}

/// One bucket a cell, in order of time. Parts of a cell do not overlap in time.
pub(crate) fn in_order(cells: &mut Cells) {
    cells.sort_by_key(|(_, bucket)| bucket.first_us);
    cells.dedup_by(|later, earlier| {
        let is_same = later.0 == earlier.0;
        if is_same {
            earlier.1.append(&later.1);
        }
        is_same
    });
}

/// The summary of each window, from cells in order.
pub(crate) fn summaries(cells: &[(i64, Bucket)], grid: &Grid, windows: &Windows) -> Vec<Option<WindowSummary>> {
    let length = windows.range_ms / grid.cell_ms;
    let (mut from, mut to) = (0, 0);
    let window = |step: usize| {
        let first = (step as i64 * windows.step_ms) / grid.cell_ms;
        while cells.get(from).is_some_and(|(cell, _)| *cell < first) {
            from += 1;
        }
        while cells.get(to).is_some_and(|(cell, _)| *cell < first + length) {
            to += 1;
        }
        let (first, rest) = cells.get(from..to)?.split_first()?;
        let mut all = first.1;
        rest.iter().for_each(|(_, bucket)| all.append(bucket));
        Some(summary(&all))
    };
    (0..windows.count).map(window).collect()
}

fn summary(bucket: &Bucket) -> WindowSummary {
    WindowSummary {
        count: bucket.count,
        sum: bucket.sum(),
        min: bucket.min,
        max: bucket.max,
        first_ms: bucket.first_us.div_euclid(1000),
        first: bucket.first,
        last_ms: bucket.last_us.div_euclid(1000),
        last: bucket.last,
        increase: bucket.increase(),
        resets: bucket.resets,
    }
}

/// Samples in files and tail of a series that are older than the head, added to its cells.
pub(crate) fn add_cold(plan: &Plan, cold: FxHashMap<u32, ColdSeries>, cells: &mut FxHashMap<u32, Cells>) {
    for (place, series) in cold {
        plan.add_samples(&series.times_ms, &series.values, cells.entry(place).or_default());
    }
}

/// The tables that hold native histograms: a series with one is read sample by sample.
pub(crate) const HISTOGRAMS: [Stream; 1] = [Stream::Histograms];

fn span(seconds: i64) -> String {
    match seconds {
        ..7200 => format!("{} min", seconds.div_euclid(60)),
        7200..172_800 => format!("{:.1} h", seconds as f64 / 3600.0),
        _ => format!("{:.1} d", seconds as f64 / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn windows(first_end_ms: i64, step_ms: i64, count: usize, range_ms: i64) -> Windows {
        Windows { first_end_ms, step_ms, count, range_ms }
    }

    #[test]
    fn windows_are_made_of_cells() {
        let grid = Grid::of_windows(&windows(4 * HOUR_MS, HOUR_MS, 3, 2 * HOUR_MS)).unwrap();
        assert_eq!((grid.start_ms, grid.cell_ms, grid.count), (2 * HOUR_MS, HOUR_MS, 4));
        assert_eq!(grid.tier(), Some(Tier::Hour));
        assert_eq!(grid.cell(2 * HOUR_MS * 1000), None, "the start of a window is not in it");
        assert_eq!((grid.cell(3 * HOUR_MS * 1000), grid.cell(3 * HOUR_MS * 1000 + 1)), (Some(0), Some(1)));
        assert_eq!(grid.cell(6 * HOUR_MS * 1000), Some(3));
        let once = Grid::of_windows(&windows(HOUR_MS + 1, 0, 1, HOUR_MS)).unwrap();
        assert_eq!((once.count, once.tier()), (1, None));
        assert!(Grid::of_windows(&windows(i64::MAX, 1, 2, 1)).is_none());
    }

    #[test]
    fn cells_become_windows() {
        let windows = windows(2 * HOUR_MS, HOUR_MS, 3, 2 * HOUR_MS);
        let grid = Grid::of_windows(&windows).unwrap();
        let at = |hour: i64| hour * HOUR_MS * 1000 + 1;
        let mut cells = vec![(1, Bucket::of(at(1), 3.0)), (0, Bucket::of(at(0), 5.0)), (1, Bucket::of(at(1) + 5, 4.0))];
        in_order(&mut cells);
        assert_eq!(cells.len(), 2);
        let found: Vec<_> =
            summaries(&cells, &grid, &windows).iter().map(|w| w.map(|w| (w.count, w.increase))).collect();
        assert_eq!(found, [Some((3, 4.0)), Some((2, 1.0)), None]);
    }
}
