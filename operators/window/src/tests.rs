//! LATE-1: whatever the order, the batches, the shards and the crashes, windows are those of a batch query.

use crate::functions::{functions, hop_rule};
use crate::{Room, WindowMerge, WindowPartial, WindowPlan, merged};
use arrow::array::{
    ArrayRef, AsArray, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use bodkin_engine::{Batch, KeyGroup, Operator, Output, key_groups};
use bodkin_schema::{Epoch, EventTime};
use bytes::Bytes;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const S: i64 = 1_000_000;

/// Time in seconds, host, value.
type Row = (i64, Option<u8>, i64);

fn records(rows: &[Row]) -> RecordBatch {
    let ts = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0 * S)).with_timezone("UTC");
    let hosts: Vec<Option<String>> = rows.iter().map(|row| row.1.map(|host| format!("h{host}"))).collect();
    // Every other batch has dictionaries, as the agent sends them.
    let host: ArrayRef = if rows.len().is_multiple_of(2) {
        Arc::new(hosts.iter().map(Option::as_deref).collect::<StringArray>())
    } else {
        Arc::new(hosts.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
    };
    let number: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
    let value: ArrayRef =
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| (row.2 != 7).then_some(row.2 as f64))));
    let columns: Vec<(&str, ArrayRef)> = vec![("ts", Arc::new(ts)), ("host", host), ("n", number), ("value", value)];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// Room for little more than one batch.
fn little(scratch: Option<&tempfile::TempDir>) -> Room {
    let scratch = scratch.map(|folder| folder.path().join("windows"));
    Room { memory_bytes_max: 6000, scratch, ..Room::default() }
}

/// The operators of a few shards, and the table that they write.
struct World {
    plan: Arc<WindowPlan>,
    room: Room,
    shards: Vec<WindowMerge>,
    table: Vec<RecordBatch>,
    live: Vec<RecordBatch>,
}

impl World {
    fn new(plan: &Arc<WindowPlan>, shards: usize) -> Self {
        Self::within(plan, shards, Room::default())
    }

    fn within(plan: &Arc<WindowPlan>, shards: usize, room: Room) -> Self {
        let mut world = Self { plan: plan.clone(), room, shards: Vec::new(), table: Vec::new(), live: Vec::new() };
        world.restart(&[], 0, 0, shards);
        world
    }

    fn rows(&mut self, rows: &[Row]) {
        let mut partials = Vec::new();
        let batch = Batch { ingest_time: EventTime(77), ..Batch::made("events", records(rows)) };
        WindowPartial::new("w", self.plan.clone()).on_batch(batch, &mut Output::new(&mut |batch| partials.push(batch)));
        let count = self.shards.len();
        for batch in partials {
            let groups = key_groups(&batch.records, &self.plan.key()).unwrap();
            for shard in 0..count {
                let own = groups.iter().map(|group| Some(group.shard(count) == shard)).collect();
                let part = arrow::compute::filter_record_batch(&batch.records, &own).unwrap();
                if part.num_rows() > 0 {
                    let part = Batch { records: part, ..batch.clone() };
                    self.on(shard, |operator, out| operator.on_batch(part, out));
                }
            }
        }
    }

    fn watermark(&mut self, time: i64) {
        for shard in 0..self.shards.len() {
            self.on(shard, |operator, out| operator.on_watermark(EventTime(time * S), out));
        }
    }

    fn on(&mut self, shard: usize, act: impl FnOnce(&mut WindowMerge, &mut Output<'_>)) {
        let Self { shards, table, live, .. } = self;
        let mut end = |batch: Batch| {
            assert_eq!(batch.ingest_time, EventTime(77));
            match &*batch.stream {
                "windows" => table.push(batch.records),
                _ => live.push(batch.records),
            }
        };
        act(&mut shards[shard], &mut Output::new(&mut end));
    }

    fn barrier(&mut self) -> Vec<(KeyGroup, Bytes)> {
        self.shards.iter_mut().flat_map(|shard| shard.on_barrier(Epoch(1))).collect()
    }

    /// A new life with another number of shards.
    fn restart(&mut self, states: &[(KeyGroup, Bytes)], table: usize, live: usize, shards: usize) {
        let shard = || WindowMerge::new("w", self.plan.clone(), false).within(self.room.clone());
        self.shards = (0..shards).map(|_| shard()).collect();
        for (group, state) in states {
            self.shards[group.shard(shards)].restore(*group, state.clone()).unwrap();
        }
        self.table.truncate(table);
        self.live.truncate(live);
    }
}

/// The rows of all batches as sorted texts.
fn print(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for batch in batches {
        let options = arrow::util::display::FormatOptions::default().with_null("null");
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        lines.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|")),
        );
    }
    lines.sort();
    lines
}

fn batch_sql(text: &str, rows: &[Row]) -> Vec<String> {
    let config = SessionConfig::new().with_target_partitions(2);
    let builder = SessionStateBuilder::new_with_default_features().with_config(config).with_analyzer_rule(hop_rule());
    let mut state = builder.build();
    for function in functions() {
        state.register_udf(function).unwrap();
    }
    let context = SessionContext::new_with_state(state);
    let all = records(rows);
    let columns = all.columns().iter().map(|c| match c.data_type() {
        arrow::datatypes::DataType::Dictionary(_, value) => arrow::compute::cast(c, value).unwrap(),
        _ => c.clone(),
    });
    let names = all.schema();
    let plain = RecordBatch::try_from_iter_with_nullable(
        names.fields().iter().zip(columns).map(|(field, column)| (field.name().clone(), column, true)),
    );
    context.register_batch("events", plain.unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    print(&runtime.block_on(async { context.sql(text).await.unwrap().collect().await.unwrap() }))
}

const STATEMENTS: [&str; 4] = [
    "SELECT host, tumble(ts, '10s') AS t, count(*) AS n, sum(n) AS s, min(value), max(host), avg(value) FROM events \
     GROUP BY host, tumble(ts, '10s')",
    "SELECT hop(ts, '30s', '10s') AS t, count(*) AS n, count(DISTINCT n) AS d, sum(value) FROM events WHERE n <> 3 \
     GROUP BY hop(ts, '30s', '10s') HAVING count(*) > 1",
    "SELECT upper(host) AS h, n % 2 AS odd, hop(ts, '25s', '10s') AS t, count(value) * 2 AS n, bool_or(n > 5) FROM events \
     GROUP BY upper(host), n % 2, hop(ts, '25s', '10s')",
    "SELECT host, tumble(ts, '10s') AS t, approx_distinct(n) AS d, count(*) FILTER (WHERE n > 4) AS big, \
     first_value(n ORDER BY n DESC) AS top FROM events GROUP BY host, tumble(ts, '10s')",
];

fn plan(text: &str) -> Arc<WindowPlan> {
    let schema = records(&[(0, None, 0), (0, None, 0)]).schema();
    Arc::new(WindowPlan::new(text, &["events"], &schema).unwrap())
}

/// What the table says, with the bounds of windows left out.
fn answer(world: &World) -> Vec<String> {
    let columns: Vec<usize> = (0..world.plan.selected_schema().fields().len()).collect();
    let rows = merged(world.plan.clone(), &world.table).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    print(&rows.iter().map(|rows| rows.project(&columns).unwrap()).collect::<Vec<_>>())
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    // Three in ten are late by up to two minutes.
    let lateness = prop_oneof![7 => 0i64..3, 3 => 3i64..120];
    prop::collection::vec((lateness, prop::option::of(0u8..5), 0i64..10), 1..300).prop_map(|rows| {
        let row = |(at, (late, host, n)): (usize, (i64, Option<u8>, i64))| (at as i64 / 3 - late, host, n);
        rows.into_iter().enumerate().map(row).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn late_1_windows_are_those_of_a_batch_query(
        rows in rows(),
        batch_rows in 1usize..40,
        shards in 1usize..5,
        kills in prop::collection::vec(0usize..60, 0..4),
        statement in 0usize..STATEMENTS.len(),
        has_room: bool,
    ) {
        let text = STATEMENTS[statement];
        let scratch = tempfile::tempdir().unwrap();
        let room = if has_room { Room::default() } else { little(Some(&scratch)) };
        let mut world = World::within(&plan(text), shards, room);
        // A kill goes back to the last barrier, and what came since is replayed.
        let (mut states, mut at_barrier, mut table, mut live) = (Vec::new(), 0, 0, 0);
        let batches: Vec<&[Row]> = rows.chunks(batch_rows).collect();
        let mut kills: BTreeMap<usize, usize> = kills.into_iter().enumerate().map(|(n, at)| (at, n)).collect();
        let mut at = 0;
        while at < batches.len() {
            world.rows(batches[at]);
            world.watermark(batches[at].iter().map(|row| row.0).max().unwrap() - 2);
            at += 1;
            if let Some(n) = kills.remove(&at) {
                world.restart(&states, table, live, 1 + (shards + n) % 4);
                at = at_barrier;
            } else if at % 5 == 0 {
                (states, at_barrier, table, live) = (world.barrier(), at, world.table.len(), world.live.len());
            }
        }
        world.watermark(1_000_000);
        prop_assert_eq!(answer(&world), batch_sql(text, &rows));
        prop_assert_eq!(world.shards.iter().map(|shard| shard.state_bytes()).sum::<usize>(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn mem_1_little_memory_changes_no_answer(
        rows in rows(),
        batch_rows in 1usize..40,
        statement in 0usize..STATEMENTS.len(),
    ) {
        let text = STATEMENTS[statement];
        let scratch = tempfile::tempdir().unwrap();
        let rooms = [Room::default(), little(Some(&scratch)), little(None)];
        let mut worlds = rooms.map(|room| World::within(&plan(text), 2, room));
        for world in &mut worlds {
            for batch in rows.chunks(batch_rows) {
                world.rows(batch);
                let bytes = world.shards.iter().map(|shard| shard.state_bytes()).max().unwrap();
                prop_assert!(bytes <= world.room.memory_bytes_max, "{} bytes", bytes);
                world.watermark(batch.iter().map(|row| row.0).max().unwrap() - 2);
            }
            world.watermark(1_000_000);
            prop_assert_eq!(answer(world), batch_sql(text, &rows));
        }
        let [plenty, little, none] = worlds;
        prop_assert_eq!(print(&little.live), print(&plenty.live), "operators behind see no difference");
        prop_assert!(none.live.iter().map(RecordBatch::num_rows).sum::<usize>() <= print(&plenty.live).len());
        let files = scratch.path().join("windows").read_dir().map_or(0, |files| files.count());
        prop_assert_eq!(files, 0, "no file outlives its window");
    }
}

#[test]
fn a_restart_tells_no_half_of_a_window() {
    let text = "SELECT host, count(*) AS n FROM events GROUP BY host, tumble(ts, '10s')";
    let scratch = tempfile::tempdir().unwrap();
    let mut world = World::within(&plan(text), 1, little(Some(&scratch)));
    let all: Vec<Row> = (0..2000).map(|n| (n % 7, Some((n % 200) as u8), n)).collect();
    all.chunks(200).for_each(|rows| world.rows(rows));
    let files = || scratch.path().join("windows").read_dir().unwrap().count();
    assert!(files() > 0);
    let stats = world.plan.stats();
    assert!(stats.panes_early.load(Relaxed) > 0 && stats.bytes_spilled.load(Relaxed) > 0);
    let (states, table) = (world.barrier(), world.table.len());
    world.restart(&states, table, 0, 2);
    assert_eq!(files(), 0);
    world.rows(&[(3, Some(1), 1), (11, Some(1), 1)]);
    world.watermark(20);
    let live = print(&world.live);
    assert_eq!(live, ["h1|1|1970-01-01T00:00:10Z|1970-01-01T00:00:20Z"], "the first window is the table's alone");
    assert!(world.plan.stats().windows_untold.load(Relaxed) > 0);
    let whole: Vec<Row> = all.into_iter().chain([(3, Some(1), 1), (11, Some(1), 1)]).collect();
    let text = "SELECT host, count(*) AS n FROM events GROUP BY host, tumble(ts, '10s')";
    assert_eq!(answer(&world), batch_sql(text, &whole));
}

#[test]
fn a_finished_window_is_emitted_once_and_late_rows_count_in_the_table() {
    let mut world = World::new(&plan("SELECT host, count(*) AS n FROM events GROUP BY host, tumble(ts, '10s')"), 1);
    world.rows(&[(1, Some(1), 1), (2, Some(1), 1), (11, Some(1), 1)]);
    world.watermark(5);
    assert!(world.live.is_empty() && world.table.is_empty());
    world.watermark(10);
    world.watermark(11);
    assert_eq!(print(&world.live), ["h1|2|1970-01-01T00:00:00Z|1970-01-01T00:00:10Z"]);
    world.rows(&[(3, Some(1), 1)]);
    world.watermark(30);
    assert_eq!(world.live.len(), 2, "the late row makes no second result");
    assert_eq!(answer(&world), ["h1|1", "h1|3"]);
    let starts = world.table[0].column(1).as_primitive::<TimestampMicrosecondType>().values().to_vec();
    assert_eq!(starts, [0]);
    assert_eq!(concat_batches(&world.table[0].schema(), &world.table).unwrap().num_rows(), 3);
}

#[test]
fn early_results_show_open_windows() {
    let plan = plan("SELECT count(*) AS n FROM events GROUP BY hop(ts, '20s', '10s')");
    let mut world = World::new(&plan, 1);
    world.shards = vec![WindowMerge::new("w", plan, true)];
    world.rows(&[(1, Some(1), 1)]);
    world.rows(&[(2, Some(2), 1)]);
    let counts: Vec<String> = world.live.iter().flat_map(|rows| print(&[rows.project(&[0]).unwrap()])).collect();
    assert_eq!(counts, ["1", "1", "2", "2"], "both windows of each row");
    assert!(world.table.is_empty());
}
