//! DET-1, ONCE-1: the graph over several shards, with keys, state, side inputs, reload.

use arrow::array::{AsArray, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bodkin_engine::{
    Batch, Engine, EngineOptions, Error, Graph, KeyGroup, Operator, OperatorSpec, Origin, Output, Recovered, Report,
    RestoreError, SIDE_TOPIC, SideInput, Sink, SinkError, key_groups,
};
use bodkin_schema::{Epoch, EventTime, Incarnation, Lane, Position, Seq, Stream, SystemClock, Tenant};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::UnboundedReceiver;

/// Keeps what is written, by stream and epoch: text of the reason, and the count.
#[derive(Default)]
struct Kept(Mutex<Vec<Row>>);

/// Stream, epoch, text and number of a row that a sink got.
type Row = (Arc<str>, Epoch, String, i64);

impl Kept {
    fn of(&self, stream: &str) -> Vec<(u64, String, i64)> {
        let rows = self.0.lock().unwrap();
        let of_stream = rows.iter().filter(|(name, ..)| **name == *stream);
        let mut rows: Vec<_> = of_stream.map(|(_, epoch, key, count)| (epoch.0, key.clone(), *count)).collect();
        rows.sort();
        rows
    }
}

#[async_trait]
impl Sink for Kept {
    fn name(&self) -> &str {
        "kept"
    }

    fn write(&self, batch: Batch) {
        let keys = batch.records.column_by_name("reason").unwrap().as_string::<i32>().clone();
        let counts = batch.records.column_by_name("count").unwrap().as_primitive::<Int64Type>().clone();
        let mut rows = self.0.lock().unwrap();
        for row in 0..batch.records.num_rows() {
            rows.push((batch.stream.clone(), batch.epoch, keys.value(row).to_owned(), counts.value(row)));
        }
    }

    fn seal(&self, _: Epoch) {}

    fn pending_bytes(&self) -> usize {
        0
    }

    async fn prepare(&self, _: Epoch) -> Result<serde_json::Value, SinkError> {
        Ok(serde_json::Value::Null)
    }

    async fn commit(&self, _: Epoch, _: &serde_json::Value) -> Result<(), SinkError> {
        Ok(())
    }

    async fn committed(&self) -> Result<Option<Epoch>, SinkError> {
        Ok(None)
    }
}

/// Numbers the rows of each key, and adds what the side input says.
#[derive(Default)]
struct Number {
    seen: BTreeMap<KeyGroup, BTreeMap<String, i64>>,
    offset: i64,
}

impl Operator for Number {
    fn name(&self) -> &str {
        "number"
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Output<'_>) {
        let groups = key_groups(&batch.records, &["reason".into()]).unwrap();
        let keys = batch.records.column_by_name("reason").unwrap().as_string::<i32>();
        let counts: Vec<i64> = keys
            .iter()
            .zip(groups)
            .map(|(key, group)| {
                let seen = self.seen.entry(group).or_default().entry(key.unwrap().to_owned()).or_default();
                *seen += 1;
                *seen + self.offset
            })
            .collect();
        let mut columns = batch.records.columns().to_vec();
        columns[4] = Arc::new(Int64Array::from(counts));
        out.emit(batch.derived("numbered", RecordBatch::try_new(batch.records.schema(), columns).unwrap()));
    }

    fn on_side_input(&mut self, input: &SideInput, _: &mut Output<'_>) {
        self.offset = input.value.as_i64().unwrap();
    }

    fn on_barrier(&mut self, _: Epoch) -> Vec<(KeyGroup, Bytes)> {
        let state = |seen| Bytes::from(serde_json::to_vec(seen).unwrap());
        self.seen.iter().map(|(group, seen)| (*group, state(seen))).collect()
    }

    fn restore(&mut self, group: KeyGroup, state: Bytes) -> Result<(), RestoreError> {
        self.seen.insert(group, serde_json::from_slice(&state)?);
        Ok(())
    }
}

fn graph() -> Graph {
    let mut graph = Graph::of_streams(["drops", "numbered"]);
    let make = Arc::new(|| Box::<Number>::default() as Box<dyn Operator>);
    let number = OperatorSpec::new("number", make).reads(&["drops"]).stores(&["numbered"]);
    graph.add(number.key(&["reason"]).side_inputs(&["offset"]));
    graph
}

/// Rows of one producer, with these keys.
fn rows(producer: usize, seq: u64, keys: &[String]) -> Batch {
    let text = |text: &str| Arc::new(StringArray::from(vec![text; keys.len()]));
    let records = RecordBatch::try_new(
        Stream::Drops.schema(),
        vec![
            Arc::new(TimestampMicrosecondArray::from(vec![seq as i64; keys.len()]).with_timezone("UTC")),
            text("p"),
            text("security"),
            Arc::new(StringArray::from(keys.to_vec())),
            Arc::new(Int64Array::from(vec![0; keys.len()])),
        ],
    );
    let producer = format!("{producer}/security");
    let lane = Lane { producer: producer.as_str().into(), incarnation: Incarnation(1), stream: "drops".into() };
    let origin = Origin { lane, seq: Seq(seq) };
    Batch::logged(origin, Tenant::default(), records.unwrap(), EventTime(seq as i64), Position(seq))
}

fn start(kept: &Arc<Kept>, from: &Recovered, shards: usize) -> (Engine, UnboundedReceiver<Report>) {
    // Exchanges with room for a row or two: shards have to wait for each other all the time.
    let options = EngineOptions { shards, exchange_bytes_max: 100, queue_bytes_max: 500, ..Default::default() };
    Engine::start(&graph(), vec![kept.clone()], from, options, Arc::new(SystemClock::default())).unwrap()
}

fn push(engine: &Engine, round: u64) {
    for seq in 0..50 {
        for producer in 0..4 {
            let keys: Vec<String> = (0..10).map(|key| format!("k{}", (key * 7 + producer) % 13)).collect();
            engine.inlet().push(rows(producer, round * 50 + seq + 1, &keys));
        }
    }
}

async fn sealed(engine: &Engine, reports: &mut UnboundedReceiver<Report>, epoch: u64) -> Recovered {
    let cut = engine.inlet().barrier(Epoch(epoch));
    let mut states = Vec::new();
    for _ in 0..engine.shards() {
        states.extend(reports.recv().await.unwrap().unwrap().states);
    }
    Recovered {
        epoch: cut.epoch,
        position: cut.position,
        marks: cut.marks,
        watermarks: cut.watermarks,
        side_inputs: cut.side_inputs,
        states,
    }
}

/// Each key is numbered from 1 without a gap, whatever the number of shards.
fn assert_numbered(kept: &Kept) {
    let mut by_key: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (_, key, number) in kept.of("numbered") {
        by_key.entry(key).or_default().push(number);
    }
    assert_eq!(by_key.len(), 13);
    for (key, mut numbers) in by_key {
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>(), "{key}");
    }
}

#[tokio::test]
async fn once_1_state_moves_with_its_keys_when_shards_change() {
    let kept = Arc::new(Kept::default());
    let mut from = Recovered::default();
    for (round, shards) in [3, 1, 5, 2].into_iter().enumerate() {
        let (engine, mut reports) = start(&kept, &from, shards);
        push(&engine, round as u64);
        from = sealed(&engine, &mut reports, round as u64 + 1).await;
    }
    assert_eq!(kept.of("drops").len(), 4 * 50 * 4 * 10);
    assert_eq!(kept.of("numbered").len(), 4 * 50 * 4 * 10);
    assert_numbered(&kept);
}

#[tokio::test]
async fn once_2_a_barrier_splits_all_streams_at_the_same_place() {
    let kept = Arc::new(Kept::default());
    let (engine, mut reports) = start(&kept, &Recovered::default(), 4);
    push(&engine, 0);
    let cut = engine.inlet().barrier(Epoch(1));
    push(&engine, 1);
    for _ in 0..engine.shards() {
        reports.recv().await.unwrap().unwrap();
    }
    sealed(&engine, &mut reports, 2).await;
    assert_eq!(cut.position, Position(50));
    for stream in ["drops", "numbered"] {
        let of_epoch = |epoch: u64| kept.of(stream).iter().filter(|(found, ..)| *found == epoch).count();
        assert_eq!((of_epoch(1), of_epoch(2)), (2000, 2000), "{stream}");
    }
    let first = kept.of("numbered").into_iter().filter(|(epoch, ..)| *epoch == 1);
    assert!(first.map(|(.., number)| number).max() < Some(1000), "no row of epoch 2 was counted in epoch 1");
}

#[tokio::test]
async fn det_1_a_side_input_counts_from_its_place_on_and_survives() {
    let kept = Arc::new(Kept::default());
    let (engine, mut reports) = start(&kept, &Recovered::default(), 3);
    let one = |seq| rows(0, seq, &["a".to_owned(), "b".to_owned(), "c".to_owned()]);
    engine.inlet().push(one(1));
    engine.inlet().note(Position(2), &format!("{SIDE_TOPIC}offset"), &1000.into());
    engine.inlet().push(one(3));
    let from = sealed(&engine, &mut reports, 1).await;
    drop(engine);
    let (engine, mut reports) = start(&kept, &from, 2);
    engine.inlet().push(one(4));
    sealed(&engine, &mut reports, 2).await;
    let numbers: Vec<_> = kept.of("numbered").into_iter().filter(|row| row.1 == "b").map(|row| row.2).collect();
    assert_eq!(numbers, [1, 1002, 1003]);
    assert!(engine.inlet().side_input("offset").is_some_and(|input| input.position == Position(2)));
}

#[tokio::test]
async fn a_reload_keeps_state_and_loses_nothing() {
    let kept = Arc::new(Kept::default());
    let (engine, mut reports) = start(&kept, &Recovered::default(), 2);
    let tap = engine.tap("number").unwrap();
    push(&engine, 0);
    let mut with_more = graph();
    with_more.add(OperatorSpec::new("again", Arc::new(|| Box::<Number>::default())).reads(&["number"]));
    engine.reload(&with_more).unwrap();
    push(&engine, 1);
    engine.reload(&graph()).unwrap();
    assert!(engine.reload(&Graph::of_streams(["a", "a"])).is_err());
    push(&engine, 2);
    sealed(&engine, &mut reports, 1).await;
    assert_eq!(kept.of("drops").len(), 3 * 2000);
    assert_numbered(&kept);
    let status = engine.status(EventTime(0));
    let number = status.nodes.iter().find(|node| node.name == "number").unwrap();
    assert_eq!((number.rows_in, number.rows_out), (2000, 2000), "figures begin anew");
    assert!(number.reads == ["drops"] && number.key == ["reason"]);
    assert_eq!(tap.next().await.unwrap().stream.as_ref(), "numbered");
    assert!(engine.tap("nmber").unwrap_err().to_string().contains("there are number, drops, numbered"));
}

#[tokio::test]
async fn ack_2_caught_up_means_in_the_sinks() {
    let kept = Arc::new(Kept::default());
    let (engine, _reports) = start(&kept, &Recovered::default(), 4);
    for round in 0..20 {
        push(&engine, round);
        engine.inlet().progress().caught_up().await;
        assert_eq!(kept.of("drops").len() as u64, (round + 1) * 2000);
        assert_eq!(engine.inlet().progress().behind(), 0);
    }
}

/// Panics at the first batch.
struct Broken;

impl Operator for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn on_batch(&mut self, _: Batch, _: &mut Output<'_>) {
        panic!("an operator with a mistake");
    }
}

#[tokio::test]
async fn ack_1_the_end_of_a_shard_is_reported() {
    let mut graph = Graph::of_streams(["drops"]);
    graph.add(OperatorSpec::new("broken", Arc::new(|| Box::new(Broken) as Box<dyn Operator>)).reads(&["drops"]));
    let options = EngineOptions { shards: 2, ..Default::default() };
    let clock = Arc::new(SystemClock::default());
    let (engine, mut reports) = Engine::start(&graph, vec![], &Recovered::default(), options, clock).unwrap();
    engine.inlet().push(rows(0, 1, &["k".to_owned()]));
    assert!(matches!(reports.recv().await, Some(Err(Error::Panicked { .. }))));
}
