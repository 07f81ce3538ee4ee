//! From a batch to files and back: order, contents, one view.

use crate::rows::{NODE, Still, drops, events, ints, numbers, read, samples, series, texts};
use arrow::array::{Array, AsArray};
use bodkin_engine::Sink;
use bodkin_schema::{Epoch, Stream, metrics};
use bodkin_table::{DurableLocal, StatValue, Tables};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::{RowGroupMetaData, SortingColumn};
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use std::sync::Arc;

pub(crate) async fn open(store: Arc<dyn ObjectStore>) -> Tables {
    Tables::open(store, "memory:///".parse().unwrap(), NODE, Arc::new(Still)).await.unwrap()
}

pub(crate) async fn end(tables: &Tables, epoch: u64) {
    tables.seal(Epoch(epoch));
    let prepared = tables.prepare(Epoch(epoch)).await.unwrap();
    tables.commit(Epoch(epoch), &prepared).await.unwrap();
}

#[tokio::test]
async fn order_1_rows_move_from_tail_to_sorted_files() {
    let root = tempfile::tempdir().unwrap();
    let tables = open(Arc::new(DurableLocal::open(root.path()).unwrap())).await;
    tables.write(events(0, &["host", "c2", "c1", "host"]));
    tables.write(events(4, &["c1", "host", "a0", "c2"]));
    let table = tables.snapshot().table(Stream::Events).clone();
    assert_eq!((table.version, table.files.len(), table.rows()), (None, 0, 8));
    end(&tables, 1).await;
    let table = tables.snapshot().table(Stream::Events).clone();
    assert_eq!((table.version, table.files.len(), table.tail.len(), table.rows()), (Some(0), 1, 0, 8));
    assert_eq!(tables.pending_bytes(), 0);
    let file = &table.files[0];
    let folder = root.path().join("tables/events/tenant=default/date=2026-03-01");
    let name = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let life = name.strip_prefix(&format!("{NODE}-")).unwrap().strip_suffix("-00000000000000000001-0.parquet").unwrap();
    assert!(life.len() == 8 && life.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    let rows = read(&tables, file).await;
    let keys: Vec<_> = texts(&rows[0], "container_id").into_iter().zip(ints(&rows[0], "ts")).collect();
    assert!(keys.is_sorted(), "{keys:?}");
    assert_eq!(keys[0].0, "a0");
    assert_eq!(ints(&rows[0], "seq").len(), 8);
    assert_eq!(table.schema.fields().len(), Stream::Events.schema().fields().len() + 2);
}

#[tokio::test]
async fn files_are_as_readers_need_them() {
    let tables = open(Arc::new(InMemory::new())).await;
    tables.write(events(0, &["host", "c1"]));
    tables.write(samples(0..100));
    end(&tables, 1).await;
    let snapshot = tables.snapshot();
    let reader = |stream: Stream| {
        let location = snapshot.table(stream).files[0].location.clone();
        let store = tables.store().clone();
        async move {
            let bytes = store.get_opts(&location, Default::default()).await.unwrap().bytes().await.unwrap();
            SerializedFileReader::new(bytes).unwrap()
        }
    };
    let events = reader(Stream::Events).await;
    let group = events.metadata().row_group(0);
    let column = |name: &str| {
        group.columns().iter().find(|column| column.column_path().string() == name).unwrap_or_else(|| panic!("{name}"))
    };
    assert!(column("container_id").bloom_filter_offset().is_some() && column("comm").bloom_filter_offset().is_none());
    assert!(column("ts").encodings().any(|encoding| encoding == Encoding::DELTA_BINARY_PACKED));
    assert!(column("ts").column_index_offset().is_some(), "page index");
    assert!(matches!(column("comm").compression(), Compression::ZSTD(_)));
    let sorted_by = |group: &RowGroupMetaData| -> Vec<String> {
        let leaf = |column: &SortingColumn| group.column(column.column_idx as usize).column_path().string();
        group.sorting_columns().unwrap().iter().map(leaf).collect()
    };
    assert_eq!(sorted_by(group), Stream::Events.sort_columns());
    let samples = reader(Stream::Samples).await;
    let group = samples.metadata().row_group(0);
    assert!(group.column(3).statistics().is_none(), "floats have no statistics");
    assert_eq!(sorted_by(group), Stream::Samples.sort_columns());
    assert!(samples.metadata().file_metadata().key_value_metadata().is_none(), "no Arrow schema");
}

#[tokio::test]
async fn maps_and_dictionaries_come_back() {
    let tables = open(Arc::new(InMemory::new())).await;
    tables.write(series([5, 3, 9]));
    tables.write(drops([1, 2], "b/metrics"));
    tables.write(drops([3], "a/security"));
    end(&tables, 1).await;
    let snapshot = tables.snapshot();
    let rows = read(&tables, &snapshot.table(Stream::Series).files[0]).await;
    assert_eq!(ints(&rows[0], metrics::SERIES_ID), [3, 5, 9]);
    let labels = rows[0].column_by_name(metrics::LABELS).unwrap().as_map();
    let (keys, values) = (labels.keys().as_string::<i32>(), labels.values().as_string::<i32>());
    assert_eq!((keys.value(0), values.value(0), labels.len()), ("id", "3", 3));
    let rows = read(&tables, &snapshot.table(Stream::Drops).files[0]).await;
    assert_eq!(texts(&rows[0], "producer"), ["a/security", "b/metrics", "b/metrics"]);
    assert_eq!(snapshot.table(Stream::Drops).files[0].stats.column(1).min, Some(&StatValue::Text("a/security".into())));
}

#[tokio::test]
async fn older_versions_stay_readable_and_reopening_finds_all() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let tables = open(store.clone()).await;
    for epoch in 1..=3 {
        tables.write(samples([epoch as i64]));
        end(&tables, epoch).await;
    }
    let again = open(store).await;
    let (one, other) = (tables.snapshot(), again.snapshot());
    let (one, other) = (one.table(Stream::Samples), other.table(Stream::Samples));
    let sorted = |files: &[Arc<bodkin_table::TableFile>]| {
        let mut files: Vec<_> = files.iter().map(|file| file.as_ref().clone()).collect();
        files.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        files
    };
    assert_eq!(sorted(&one.files), sorted(&other.files), "what a log says is what its writer knows");
    assert_eq!((other.version, numbers(&again, other, "ts").await), (Some(2), vec![1, 2, 3]));
    let older = again.snapshot_at(Stream::Samples, 1).await.unwrap();
    assert_eq!((older.version, numbers(&again, &older, "ts").await), (Some(1), vec![1, 2]));
    assert!(again.snapshot_at(Stream::Samples, 9).await.is_err());
    assert!(again.snapshot_at(Stream::Drops, 0).await.is_err(), "that table was never made");
}

#[tokio::test]
async fn days_of_ingestion_are_partitions() {
    let tables = open(Arc::new(InMemory::new())).await;
    tables.write(samples(0..10));
    let mut later = samples(10..20);
    later.ingest_time.0 += 86_400_000_000;
    tables.write(later);
    end(&tables, 1).await;
    let table = tables.snapshot().table(Stream::Samples).clone();
    let dates: Vec<_> = table.files.iter().map(|file| file.date).collect();
    assert_eq!(dates, [20_513, 20_514]);
    assert_eq!(numbers(&tables, &table, "ts").await, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn opening_is_cheap_and_reading_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = Arc::new(DurableLocal::open(root.path()).unwrap());
    let start = std::time::Instant::now();
    let tables = open(store).await;
    // Four listings of nothing; an open that made the tables would sync dozens of files.
    assert!(start.elapsed().as_millis() < 50, "{:?}", start.elapsed());
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "tables are made when they have rows");
    tables.write(samples(0..10));
    tables.seal(Epoch(1));
    let prepared = tables.prepare(Epoch(1)).await.unwrap();

    let reader = open(Arc::new(DurableLocal::read_only(root.path()).unwrap())).await;
    assert_eq!(reader.snapshot().table(Stream::Samples).rows(), 0);
    reader.overlay(Epoch(1), &prepared).unwrap();
    assert_eq!(reader.snapshot().table(Stream::Samples).rows(), 10, "decided and not committed");
    assert!(reader.commit(Epoch(1), &prepared).await.is_err());
    tables.commit(Epoch(1), &prepared).await.unwrap();
    let reader = open(Arc::new(DurableLocal::read_only(root.path()).unwrap())).await;
    reader.overlay(Epoch(1), &prepared).unwrap();
    assert_eq!(reader.snapshot().table(Stream::Samples).rows(), 10, "committed and not counted twice");
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Seal,
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![4 => (1usize..300).prop_map(Step::Write), 1 => Just(Step::Seal), 1 => Just(Step::Commit)];
    prop::collection::vec(step, 1..40)
}

/// Runs the steps; after each, every table must show each row once.
async fn tail_1(steps: Vec<Step>) {
    let tables = open(Arc::new(InMemory::new())).await;
    let (mut next, mut epoch, mut sealed) = (0i64, 0u64, None);
    for step in steps {
        match step {
            Step::Write(rows) => {
                let end = next + rows as i64;
                tables.write(samples(next..end));
                tables.write(drops(next..end, if rows % 2 == 0 { "a" } else { "b" }));
                next = end;
            }
            Step::Seal if sealed.is_none() => {
                epoch += 1;
                tables.seal(Epoch(epoch));
                sealed = Some(tables.prepare(Epoch(epoch)).await.unwrap());
            }
            Step::Seal => {}
            Step::Commit => {
                if let Some(prepared) = sealed.take() {
                    tables.commit(Epoch(epoch), &prepared).await.unwrap();
                }
            }
        }
        let snapshot = tables.snapshot();
        let expected: Vec<i64> = (0..next).collect();
        assert_eq!(numbers(&tables, snapshot.table(Stream::Samples), "ts").await, expected);
        assert_eq!(numbers(&tables, snapshot.table(Stream::Drops), "count").await, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn tail_1_every_snapshot_has_every_row_once(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(tail_1(steps));
    }

    #[test]
    fn statistics_hold_for_every_row(times in prop::collection::vec(any::<i64>(), 1..50)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(statistics_hold(times));
    }
}

async fn statistics_hold(times: Vec<i64>) {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let tables = open(store.clone()).await;
    tables.write(samples(times.iter().map(|time| time % (1 << 59))));
    end(&tables, 1).await;
    let again = open(store).await;
    let snapshot = again.snapshot();
    let file = &snapshot.table(Stream::Samples).files[0];
    let rows = read(&again, file).await;
    let mut bounded = 0;
    for (index, field) in Stream::Samples.schema().fields().iter().enumerate() {
        let stats = file.stats.column(index);
        assert_eq!(stats.null_count, Some(0));
        let (Some(StatValue::Int(min)), Some(StatValue::Int(max))) = (&stats.min, &stats.max) else { continue };
        bounded += 1;
        let values = ints(&rows[0], field.name());
        let (low, high) = (values.iter().min().unwrap(), values.iter().max().unwrap());
        assert!(min <= low && max >= high, "{}: {min}..{max} for {low}..{high}", field.name());
        let slack = if field.name() == "ts" { 2_000 } else { 0 };
        assert!(low - min <= slack && max - high <= slack, "{}: bounds are too wide", field.name());
    }
    assert!(bounded >= 2);
}
