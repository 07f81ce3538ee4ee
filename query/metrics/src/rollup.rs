//! Windows of a metric as SQL asks for them: `rollup('metric', since, until, step)`.

use crate::select::StoreView;
use crate::tiers::{Closed, Grid};
use bodkin_promql::{Labels, MatchOp, Matcher, StorageError};
use bodkin_rollup::Bucket;

/// Windows that are asked for: the first begins at `since_ms`, and those that begin before `until_ms` follow.
#[derive(Clone, Debug)]
pub struct RollupAsked {
    /// Name of the metric.
    pub metric: String,
    /// Start of the first window, in milliseconds since 1970.
    pub since_ms: i64,
    /// No window begins here or later.
    pub until_ms: i64,
    /// Length of a window, above zero.
    pub step_ms: i64,
    /// The samples themselves are read.
    pub is_exact: bool,
}

/// One series in one window that holds a sample.
#[derive(Clone, Debug)]
pub struct RollupWindow {
    /// Labels of the series, its name included.
    pub labels: Labels,
    /// Its id.
    pub series_id: i64,
    /// Start of the window, which holds its start and not its end.
    pub start_ms: i64,
    /// Its samples.
    pub bucket: Bucket,
    /// What was read: tables, the coarsest tier that tells the window exactly first.
    pub source: String,
}

impl StoreView {
    /// The windows that `asked` names, by series and time. Reads files and blocks: not for a thread of the runtime.
    ///
    /// # Errors
    /// Where there are too many windows, or the tables cannot be read.
    pub fn rollup(&self, asked: &RollupAsked) -> Result<Vec<RollupWindow>, StorageError> {
        let wrong = |text: &str| StorageError::Internal(text.to_owned());
        let matcher = Matcher::new(MatchOp::Equal, "__name__", &asked.metric).map_err(StorageError::Internal)?;
        let RollupAsked { since_ms, until_ms, step_ms, .. } = *asked;
        let length_ms = until_ms.checked_sub(since_ms).filter(|_| step_ms > 0);
        let length_ms = length_ms.ok_or_else(|| wrong("the time between since and until, or the step, is none"))?;
        let count = length_ms.max(0).div_euclid(step_ms) + i64::from(length_ms.max(0) % step_ms > 0);
        let grid = Grid { start_ms: since_ms, cell_ms: step_ms, count, closed: Closed::Start };
        if !grid.is_bounded() {
            return Err(wrong("these are too many windows: take a larger step"));
        }
        let (places, series) = self.all_of(&[matcher]);
        let Some((plan, mut cells)) = self.cells(grid, !asked.is_exact, &places, None)? else {
            return Err(wrong("rollup needs tables, which are not there"));
        };
        let mut rows = Vec::new();
        for (place, (series_id, labels)) in places.iter().zip(&series) {
            for (cell, bucket) in cells.remove(place).unwrap_or_default() {
                let start_ms = since_ms + cell * step_ms;
                let source = plan.source(start_ms, start_ms.saturating_add(step_ms));
                rows.push(RollupWindow { labels: labels.clone(), series_id: *series_id, start_ms, bucket, source });
            }
        }
        Ok(rows)
    }
}
