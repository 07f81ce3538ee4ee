//! Sorted runs to one sorted run, in memory bounded by their number: a heap of the runs by their next row.

use crate::align::is_text_dictionary;
use crate::gather::{Picked, Place};
use crate::{Error, Result};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use bodkin_schema::Stream;
use futures::StreamExt;
use futures::stream::BoxStream;

/// The batches of one run, ascending by the sort columns of their table.
pub(crate) type RunStream = BoxStream<'static, Result<RecordBatch>>;

/// Rows in the order of their table, where they were read.
pub(crate) type PickedStream = BoxStream<'static, Result<Picked>>;

/// Rows that are passed on at a time.
const ROWS_PER_PICK: usize = 32 << 10;

/// Merges runs of one table. Rows with equal keys keep the order of their runs; of equal samples the first stays
/// (series and time are all their key). Holds one batch per run, its keys, and the batches of the next rows.
pub(crate) struct SortedMerge {
    stream: Stream,
    sources: Vec<RunStream>,
    /// The batch of each run that is being read; none where the run has ended.
    heads: Vec<Option<Head>>,
    /// Runs that have rows, as a heap: the one with the least next row comes first.
    heap: Vec<usize>,
    converter: RowConverter,
    /// Batches that `picks` refers to.
    held: Vec<RecordBatch>,
    /// The next rows, in `held`.
    picks: Vec<Place>,
    /// Key of the last row picked, where equal keys are folded.
    last: Option<OwnedRow>,
    is_folded: bool,
    is_started: bool,
}

/// Where a run stands.
struct Head {
    keys: Rows,
    next: usize,
    /// Its place in `held`.
    held: usize,
}

impl SortedMerge {
    /// Merges `sources`, the oldest first, whose batches have exactly the columns of the table. A
    /// text may be a dictionary.
    pub(crate) fn new(stream: Stream, sources: Vec<RunStream>) -> Result<Self> {
        let schema = stream.schema();
        let field = |name: &&str| Ok(SortField::new(schema.field_with_name(name)?.data_type().clone()));
        let fields: std::result::Result<Vec<_>, ArrowError> = stream.sort_columns().iter().map(field).collect();
        let converter = fields.and_then(RowConverter::new);
        Ok(Self {
            heads: sources.iter().map(|_| None).collect(),
            converter: converter.map_err(|source| Error::Rows { table: stream, source })?,
            stream,
            sources,
            heap: Vec::new(),
            held: Vec::new(),
            picks: Vec::with_capacity(ROWS_PER_PICK),
            last: None,
            is_folded: matches!(stream, Stream::Samples | Stream::Histograms),
            is_started: false,
        })
    }

    /// The next rows, up to 32,768 of them; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Picked>> {
        if !self.is_started {
            self.is_started = true;
            for source in 0..self.sources.len() {
                if self.load(source).await? {
                    self.heap.push(source);
                }
            }
            (0..self.heap.len() / 2).rev().for_each(|at| self.sift_down(at));
        }
        while self.picks.len() < ROWS_PER_PICK {
            let Some(&source) = self.heap.first() else { break };
            if self.pick(source) && !self.load(source).await? {
                self.heap.swap_remove(0);
            }
            self.sift_down(0);
        }
        Ok(self.flush())
    }

    /// Reads the next batch of a run that is not empty. False at the end of the run.
    async fn load(&mut self, source: usize) -> Result<bool> {
        self.heads[source] = None;
        while let Some(batch) = self.sources[source].next().await {
            let batch = batch?;
            if batch.num_rows() == 0 {
                continue;
            }
            let columns = self.stream.sort_columns().iter().filter_map(|name| batch.column_by_name(name));
            let plain = |column: &ArrayRef| match is_text_dictionary(column.data_type()) {
                true => cast(column, &DataType::Utf8),
                false => Ok(column.clone()),
            };
            let columns: std::result::Result<Vec<_>, ArrowError> = columns.map(plain).collect();
            let keys = columns
                .and_then(|columns| self.converter.convert_columns(&columns))
                .map_err(|source| Error::Rows { table: self.stream, source })?;
            self.heads[source] = Some(Head { keys, next: 0, held: self.held.len() });
            self.held.push(batch);
            return Ok(true);
        }
        Ok(false)
    }

    /// Takes the rows of `source`, the first of the heap, that come before those of all other runs. True where its
    /// batch has no more.
    fn pick(&mut self, source: usize) -> bool {
        let rival = match self.heap.len() {
            1 => None,
            2 => Some(self.heap[1]),
            _ if self.is_before(self.heap[1], self.heap[2]) => Some(self.heap[1]),
            _ => Some(self.heap[2]),
        };
        let Some(head) = &self.heads[source] else { return true };
        let room = (head.next + ROWS_PER_PICK - self.picks.len()).min(head.keys.num_rows());
        let end = match rival.and_then(|rival| Some((rival, self.heads[rival].as_ref()?))) {
            None => room,
            Some((rival, other)) => {
                let bound = other.keys.row(other.next);
                let is_first = |row: usize| match head.keys.row(row).cmp(&bound) {
                    std::cmp::Ordering::Equal => source < rival,
                    order => order.is_lt(),
                };
                gallop(head.next, room, is_first)
            }
        };
        for row in head.next..end {
            if self.is_folded {
                let key = head.keys.row(row);
                if self.last.as_ref().is_some_and(|last| last.row() == key) {
                    continue;
                }
                self.last = Some(key.owned());
            }
            self.picks.push(Place { piece: head.held as u32, row: row as u32 });
        }
        let is_done = end == head.keys.num_rows();
        if let Some(head) = &mut self.heads[source] {
            head.next = end;
        }
        is_done
    }

    /// The picked rows; of their batches those stay held that a run stands in.
    fn flush(&mut self) -> Option<Picked> {
        if self.picks.is_empty() {
            return None;
        }
        let mut held = Vec::with_capacity(self.heads.len());
        for head in self.heads.iter_mut().flatten() {
            held.push(self.held[head.held].clone());
            head.held = held.len() - 1;
        }
        let places = std::mem::replace(&mut self.picks, Vec::with_capacity(ROWS_PER_PICK));
        Some(Picked { pieces: std::mem::replace(&mut self.held, held), places })
    }

    /// Whether the next row of `left` comes before that of `right`; of equal rows the older run's does.
    fn is_before(&self, left: usize, right: usize) -> bool {
        match (&self.heads[left], &self.heads[right]) {
            (Some(one), Some(other)) => {
                one.keys.row(one.next).cmp(&other.keys.row(other.next)).then(left.cmp(&right)).is_lt()
            }
            (one, _) => one.is_some(),
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap.len() && self.is_before(self.heap[child], self.heap[least]) {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }
}

/// The end of the rows from `start` on for which `is_first` holds, at most `end`: it holds for `start`, and for none
/// after the first that it does not hold for. Runs interleave in long stretches, so steps double before they halve.
fn gallop(start: usize, end: usize, is_first: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut step) = (start, 1);
    while low + step < end && is_first(low + step) {
        low += step;
        step *= 2;
    }
    let mut high = (low + step).min(end);
    // It holds for `low`; for `high` it does not, or there is no such row.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_first(middle) { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Float64Array, Int64Array, TimestampMicrosecondArray};
    use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
    use bodkin_schema::metrics;
    use proptest::prelude::*;
    use std::sync::Arc;

    type Row = (i64, i64, f64);

    /// Samples of one metric: series, time, value.
    fn samples(rows: &[Row]) -> RecordBatch {
        let series: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
        let metric: ArrayRef = Arc::new(Int64Array::from(vec![7; rows.len()]));
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1)).with_timezone("UTC");
        let values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)));
        RecordBatch::try_new(metrics::samples_schema(), vec![series, metric, Arc::new(times), values]).unwrap()
    }

    fn source(rows: &[Row], batch_rows: usize) -> RunStream {
        let batches: Vec<_> = rows.chunks(batch_rows.max(1)).map(|rows| Ok(samples(rows))).collect();
        futures::stream::iter(batches).boxed()
    }

    fn merged(sources: Vec<RunStream>) -> Vec<Row> {
        let mut merge = SortedMerge::new(Stream::Samples, sources).unwrap();
        let mut rows = Vec::new();
        while let Some(picked) = futures::executor::block_on(merge.next()).unwrap() {
            assert!(picked.places.len() <= ROWS_PER_PICK);
            let batch = picked.batch(&metrics::samples_schema()).unwrap();
            let series = batch.column(0).as_primitive::<Int64Type>().values();
            let times = batch.column(2).as_primitive::<TimestampMicrosecondType>().values();
            let values = batch.column(3).as_primitive::<Float64Type>().values();
            rows.extend((0..batch.num_rows()).map(|row| (series[row], times[row], values[row])));
        }
        rows
    }

    #[test]
    fn the_first_of_equal_samples_stays() {
        let older = [(1, 10, 1.0), (1, 20, 2.0), (2, 10, 3.0)];
        let newer = [(1, 10, 9.0), (1, 15, 4.0), (2, 10, 9.0), (3, 1, 5.0), (3, 1, 9.0)];
        let expected = [(1, 10, 1.0), (1, 15, 4.0), (1, 20, 2.0), (2, 10, 3.0), (3, 1, 5.0)];
        assert_eq!(merged(vec![source(&older, 2), source(&newer, 1)]), expected);
        assert_eq!(merged(vec![source(&[], 1), source(&older, 8)]), older);
        assert_eq!(merged(vec![]), []);
    }

    #[test]
    fn long_stretches_and_many_batches() {
        let run = |of: i64| (0..50_000).map(|n| (n / 10_000, n * 3 + of, n as f64)).collect::<Vec<Row>>();
        let runs: Vec<_> = (0..3).map(run).collect();
        let rows = merged(runs.iter().map(|rows| source(rows, 4096)).collect());
        assert_eq!(rows.len(), 150_000);
        assert!(rows.is_sorted_by_key(|row| (row.0, row.1)));
    }

    proptest! {
        #[test]
        fn as_a_stable_sort_that_folds(
            runs in prop::collection::vec((prop::collection::vec((0i64..6, 0i64..20), 0..60), 1usize..30), 0..9),
        ) {
            let mut all = Vec::new();
            let mut sources = Vec::new();
            for (number, (rows, batch_rows)) in runs.iter().enumerate() {
                let mut rows: Vec<Row> = rows.iter().map(|(series, time)| (*series, *time, number as f64)).collect();
                rows.sort_by_key(|row| (row.0, row.1));
                all.extend(rows.iter().copied());
                sources.push(source(&rows, *batch_rows));
            }
            all.sort_by_key(|row| (row.0, row.1));
            all.dedup_by_key(|row| (row.0, row.1));
            prop_assert_eq!(merged(sources), all);
        }

        #[test]
        fn gallop_is_a_partition_point(start in 0usize..50, length in 1usize..300, holds in 1usize..300) {
            let end = start + length;
            let bound = start + holds;
            let found = gallop(start, end, |row| row < bound);
            prop_assert_eq!(found, bound.min(end));
        }
    }
}
