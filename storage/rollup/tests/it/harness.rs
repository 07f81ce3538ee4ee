//! Tables in a store that can die, a clock that a test sets, what the tiers have to be, and what happens to all of it.

use arrow::array::{Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use async_trait::async_trait;
use bodkin_engine::{Batch, Sink};
use bodkin_rollup::{Base, Bucket, Ladder, RowColumns, RowParts, Tier, TierRow, View};
use bodkin_schema::{Clock, Epoch, EventTime, Stream, Tenant};
use bodkin_table::{Retention, Tables};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const HOUR: i64 = 3600 * SECOND;
/// 2026-03-01T00:00:00Z.
pub(crate) const START: i64 = 1_772_323_200_000_000;
pub(crate) const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A clock that a test sets.
#[derive(Debug)]
pub(crate) struct Hand(pub(crate) AtomicI64);

impl Clock for Hand {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A store in memory that takes so many puts and then none.
#[derive(Debug)]
pub(crate) struct Mortal {
    inner: InMemory,
    puts_left: AtomicI64,
}

impl std::fmt::Display for Mortal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mortal")
    }
}

#[async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if self.puts_left.fetch_sub(1, Relaxed) <= 0 {
            return Err(object_store::Error::Generic { store: "Mortal", source: "killed".into() });
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, to: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A sample: series, time in microseconds, value.
pub(crate) type Sample = (i64, i64, f64);

/// A node: what it holds, and what it was given.
pub(crate) struct Node {
    store: Arc<Mortal>,
    pub(crate) clock: Arc<Hand>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) ladder: Arc<Ladder>,
    pub(crate) flow_ladder: Arc<Ladder>,
    epoch: u64,
    /// Acknowledged and in no epoch: a restart finds them in the log.
    open: Vec<(Stream, RecordBatch)>,
    /// Everything acknowledged; the first value of a time stays.
    pub(crate) given: BTreeMap<(i64, i64), f64>,
}

impl Node {
    pub(crate) async fn new() -> Self {
        let store = Arc::new(Mortal { inner: InMemory::new(), puts_left: AtomicI64::new(i64::MAX) });
        let clock = Arc::new(Hand(AtomicI64::new(START)));
        let (tables, [ladder, flow_ladder]) = start(&store, &clock).await;
        Self { store, clock, tables, ladder, flow_ladder, epoch: 0, open: Vec::new(), given: BTreeMap::new() }
    }

    pub(crate) fn write(&mut self, samples: Vec<Sample>) {
        for (series, ts, value) in &samples {
            self.given.entry((*series, *ts)).or_insert(*value);
        }
        let column = |of: fn(&Sample) -> i64| Int64Array::from_iter_values(samples.iter().map(of));
        let times = TimestampMicrosecondArray::from_iter_values(samples.iter().map(|sample| sample.1));
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(column(|sample| sample.0)),
            Arc::new(column(|sample| sample.0 % 2)),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(Float64Array::from_iter_values(samples.iter().map(|sample| sample.2))),
        ];
        self.take(Stream::Samples, RecordBatch::try_new(Stream::Samples.schema(), columns).unwrap());
    }

    /// Rows that come in.
    pub(crate) fn take(&mut self, stream: Stream, records: RecordBatch) {
        self.put(stream, &records);
        self.open.push((stream, records));
    }

    fn put(&self, stream: Stream, records: &RecordBatch) {
        let batch = Batch::made(stream.name(), records.clone());
        self.tables.write(Batch { ingest_time: self.clock.now(), ..batch });
    }

    pub(crate) async fn end_epoch(&mut self) {
        self.epoch += 1;
        self.tables.seal(Epoch(self.epoch));
        let prepared = self.tables.prepare(Epoch(self.epoch)).await.unwrap();
        self.tables.commit(Epoch(self.epoch), &prepared).await.unwrap();
        self.open.clear();
    }

    pub(crate) fn forward(&self, micros: i64) {
        self.clock.0.fetch_add(micros, Relaxed);
    }

    /// The next `puts` puts happen, later ones do not.
    pub(crate) fn dies_after(&self, puts: i64) {
        self.store.puts_left.store(puts, Relaxed);
    }

    /// Another process on the same store, with what is in the log.
    pub(crate) async fn restart(&mut self) {
        self.store.puts_left.store(i64::MAX, Relaxed);
        (self.tables, [self.ladder, self.flow_ladder]) = start(&self.store, &self.clock).await;
        self.open.iter().for_each(|(stream, records)| self.put(*stream, records));
    }

    pub(crate) async fn view(&self) -> View {
        self.view_of(&self.ladder).await
    }

    pub(crate) async fn view_of(&self, ladder: &Ladder) -> View {
        let take = async || Ok::<_, std::convert::Infallible>(self.tables.snapshot());
        ladder.view(take).await.unwrap()
    }

    /// The rows of a tier in `range`, by series and window.
    pub(crate) async fn rows(&self, view: &View, tier: Tier, range: Range<i64>) -> Vec<TierRow> {
        let table = view.snapshot.table(tier.stream());
        let read = self.tables.read_stretch(table, &Tenant::default(), range).unwrap();
        let batches: Vec<RecordBatch> = read.try_collect().await.unwrap();
        let mut rows = Vec::new();
        for batch in &batches {
            let columns = RowColumns::new(batch, RowParts::ALL).unwrap();
            rows.extend((0..columns.len()).map(|row| columns.row(row)));
        }
        rows.sort_by_key(|row| (row.series_id, row.window_us));
        rows
    }

    /// What they have to be: a batch over everything that was given.
    pub(crate) fn expected(&self, tier: Tier, range: &Range<i64>) -> Vec<TierRow> {
        let mut windows: BTreeMap<(i64, i64), Vec<(i64, f64)>> = BTreeMap::new();
        for ((series, ts), value) in &self.given {
            let window = ts.div_euclid(tier.window_us()) * tier.window_us();
            if range.contains(&window) && value.to_bits() != STALE {
                windows.entry((*series, window)).or_default().push((*ts, *value));
            }
        }
        let row = |((series_id, window_us), samples): ((i64, i64), Vec<(i64, f64)>)| {
            let inner = samples.split_first().filter(|(first, _)| first.0 == window_us).map(|(_, rest)| rest);
            let inner = inner.filter(|rest| !rest.is_empty()).map(fold);
            TierRow { series_id, metric_id: series_id % 2, window_us, whole: fold(&samples), inner }
        };
        windows.into_iter().map(row).collect()
    }
}

fn fold(samples: &[(i64, f64)]) -> Bucket {
    let buckets = samples.iter().map(|(ts, value)| Bucket::of(*ts, *value));
    let whole = buckets.reduce(|mut all, one| {
        all.append(&one);
        all
    });
    let whole = whole.unwrap();
    // The bucket by plain sums, for values without rounding.
    assert_eq!(whole.sum(), samples.iter().map(|sample| sample.1).sum::<f64>());
    let steps = samples.windows(2).map(|pair| {
        let (before, after) = (pair[0].1, pair[1].1);
        if after < before { after } else { after - before }
    });
    assert_eq!(whole.increase(), steps.sum::<f64>());
    whole
}

async fn start(store: &Arc<Mortal>, clock: &Arc<Hand>) -> (Arc<Tables>, [Arc<Ladder>; 2]) {
    let store: Arc<dyn ObjectStore> = store.clone();
    let tables = Tables::open(store, "memory:///".parse().unwrap(), "node-1", clock.clone()).await.unwrap();
    let tables = Arc::new(tables);
    let ladder = async |base| Ladder::open(tables.clone(), base, Retention::default(), clock.clone()).await.unwrap();
    let ladders = [ladder(Base::Samples).await, ladder(Base::Flows).await];
    (tables, ladders)
}

/// What happens to a node that rows are written to.
#[derive(Clone, Debug)]
pub(crate) enum Step<T> {
    Write(T),
    EndEpoch,
    Forward(i64),
    Round,
    Backfill,
    Compact,
    /// The process dies after so many puts of a making.
    Die(i64),
    Restart,
}

/// At least four steps and less than `count_max`, which write some of `rows`.
pub(crate) fn steps<T: Clone + Debug>(
    rows: impl Strategy<Value = T>,
    count_max: usize,
) -> impl Strategy<Value = Vec<Step<T>>> {
    let step = prop_oneof![
        6 => rows.prop_map(Step::Write),
        5 => Just(Step::EndEpoch),
        2 => (1i64..8 * 60).prop_map(|minutes| Step::Forward(minutes * 60 * SECOND)),
        3 => Just(Step::Round),
        2 => Just(Step::Backfill),
        2 => Just(Step::Compact),
        2 => (0i64..12).prop_map(Step::Die),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 4..count_max)
}
