//! LATE-1 for the tiers of flows: what a view calls exact equals a batch over the flows, whatever came in which order.

use crate::harness::{HOUR, Node, SECOND, START, Step, steps};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::array::{TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bodkin_rollup::{Base, FlowsAsked, Tier, View, flow_windows};
use bodkin_schema::{Stream, Tenant, flow_rollup, flows};
use futures::TryStreamExt;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

const ALL_TIME: Range<i64> = i64::MIN..i64::MAX;

/// A row of `flows`.
#[derive(Clone, Debug)]
struct Flow {
    ts: i64,
    container: usize,
    comm: Option<usize>,
    direction: Option<usize>,
    ports: (Option<i32>, Option<i32>),
    bytes: i64,
    connect_us: Option<i64>,
    rtt_us: Option<i64>,
    ended: bool,
}

const CONTAINERS: [&str; 3] = ["0123456789ab", "host", "fedcba987654"];
const COMMS: [&str; 2] = ["curl", "nginx"];
const DIRECTIONS: [&str; 2] = ["in", "out"];

fn records(flows: &[Flow]) -> RecordBatch {
    let schema = Stream::Flows.schema();
    let texts = |of: &dyn Fn(&Flow) -> Option<&'static str>| -> ArrayRef {
        Arc::new(flows.iter().map(of).collect::<StringArray>())
    };
    let ints =
        |of: &dyn Fn(&Flow) -> Option<i64>| -> ArrayRef { Arc::new(flows.iter().map(of).collect::<Int64Array>()) };
    let ports =
        |of: &dyn Fn(&Flow) -> Option<i32>| -> ArrayRef { Arc::new(flows.iter().map(of).collect::<Int32Array>()) };
    let column = |name: &str| match name {
        flows::TS => {
            let times = TimestampMicrosecondArray::from_iter_values(flows.iter().map(|flow| flow.ts));
            Arc::new(times.with_timezone("UTC")) as ArrayRef
        }
        flows::HOST => texts(&|_| Some("h")),
        flows::HOST_ID => texts(&|_| Some("h-1")),
        flows::PROTO => texts(&|_| Some("tcp")),
        flows::CONTAINER_ID => texts(&|flow| Some(CONTAINERS[flow.container])),
        flows::COMM => texts(&|flow| Some(COMMS[flow.comm?])),
        flows::DIRECTION => texts(&|flow| Some(DIRECTIONS[flow.direction?])),
        flows::LOCAL_PORT => ports(&|flow| flow.ports.0),
        flows::REMOTE_PORT => ports(&|flow| flow.ports.1),
        flows::CONNECT_US => ints(&|flow| flow.connect_us),
        flows::RTT_US => ints(&|flow| flow.rtt_us),
        flows::BYTES_SENT => ints(&|flow| Some(flow.bytes)),
        flows::BYTES_RECEIVED => ints(&|flow| Some(flow.bytes * 2)),
        flows::PACKETS_SENT | flows::PACKETS_RECEIVED | flows::RETRANSMITS => ints(&|flow| Some(flow.bytes % 7)),
        flows::ENDED => Arc::new(flows.iter().map(|flow| Some(flow.ended)).collect::<BooleanArray>()),
        other => new_null_array(schema.field_with_name(other).unwrap().data_type(), flows.len()),
    };
    let columns = schema.fields().iter().map(|field| column(field.name())).collect();
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

/// Count, ended, bytes, packets, count and sum of connect_us, its extremes, the same of rtt_us.
type Told = (Vec<i64>, [Option<(i64, i64)>; 2]);
type Key = (i64, String);

/// What the batch says, each row a window of its own time.
fn expected(given: &[Flow], length_us: i64, range: &Range<i64>) -> BTreeMap<Key, Told> {
    let mut found: BTreeMap<Key, Vec<&Flow>> = BTreeMap::new();
    for flow in given {
        let window = flow.ts.div_euclid(length_us) * length_us;
        let port = match flow.direction.map(|direction| DIRECTIONS[direction]) {
            Some("out") => flow.ports.1,
            Some(_) => flow.ports.0,
            None => flow.ports.0.into_iter().chain(flow.ports.1).min(),
        };
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let key = [
            CONTAINERS[flow.container].to_owned(),
            text(flow.comm.map(|comm| COMMS[comm])),
            text(flow.direction.map(|direction| DIRECTIONS[direction])),
            port.map(|port| port.to_string()).unwrap_or_default(),
        ];
        if range.contains(&window) {
            found.entry((window, key.join("|"))).or_default().push(flow);
        }
    }
    let told = |(key, flows): (Key, Vec<&Flow>)| {
        let sum = |of: &dyn Fn(&Flow) -> i64| flows.iter().map(|flow| of(flow)).sum::<i64>();
        let values = |of: &dyn Fn(&Flow) -> Option<i64>| flows.iter().filter_map(|flow| of(flow)).collect::<Vec<_>>();
        let (connects, rtts) = (values(&|flow| flow.connect_us), values(&|flow| flow.rtt_us));
        let extremes = |values: &[i64]| Some((*values.iter().min()?, *values.iter().max()?));
        let sums = vec![
            flows.len() as i64,
            sum(&|flow| i64::from(flow.ended)),
            sum(&|flow| flow.bytes),
            sum(&|flow| flow.bytes * 2),
            sum(&|flow| flow.bytes % 7),
            sum(&|flow| flow.bytes % 7),
            sum(&|flow| flow.bytes % 7),
            connects.len() as i64,
            connects.iter().sum(),
            rtts.len() as i64,
            rtts.iter().sum(),
        ];
        (key, (sums, [extremes(&connects), extremes(&rtts)]))
    };
    found.into_iter().map(told).collect()
}

/// Rows of a tier, or of an answer; rows of one key are put together.
fn told(batches: &[RecordBatch]) -> BTreeMap<Key, Told> {
    let mut found: BTreeMap<Key, Told> = BTreeMap::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let shown = |name: &str, row: usize| {
            ArrayFormatter::try_new(column(name), &FormatOptions::default()).unwrap().value(row).to_string()
        };
        let int = |name: &str, row: usize| {
            let values = column(name).as_primitive::<Int64Type>();
            values.is_valid(row).then(|| values.value(row))
        };
        let times = column(flow_rollup::TS).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            assert_eq!(
                [flow_rollup::HOST, flow_rollup::HOST_ID, flow_rollup::PROTO, flow_rollup::EXE]
                    .map(|name| shown(name, row)),
                ["h", "h-1", "tcp", ""]
            );
            let key = [flow_rollup::CONTAINER_ID, flow_rollup::COMM, flow_rollup::DIRECTION, flow_rollup::PORT];
            let key = (times.value(row), key.map(|name| shown(name, row)).join("|"));
            let sums = flow_rollup::ADDED.map(|name| int(name, row).unwrap());
            let extremes = flow_rollup::EXTREMES.map(|(least, most, _)| Some((int(least, row)?, int(most, row)?)));
            let known = found.entry(key).or_insert((vec![0; sums.len()], [None, None]));
            known.0.iter_mut().zip(sums).for_each(|(known, more)| *known += more);
            for (known, (least, most)) in
                known.1.iter_mut().zip(extremes).filter_map(|(known, more)| Some((known, more?)))
            {
                *known = Some(known.map_or((least, most), |known| (known.0.min(least), known.1.max(most))));
            }
        }
    }
    found
}

async fn check(node: &Node, given: &[Flow]) {
    let view = node.view_of(&node.flow_ladder).await;
    let range = START - 26 * HOUR..START + 60 * HOUR;
    for tier in Tier::ALL {
        let table = view.snapshot.table(Base::Flows.tier(tier));
        let read = node.tables.read_stretch(table, &Tenant::default(), range.clone()).unwrap();
        let rows: Vec<RecordBatch> = read.try_collect().await.unwrap();
        let exact = |rows: BTreeMap<Key, Told>| -> BTreeMap<Key, Told> {
            let is_exact = |ts: i64| view.is_exact(tier, &(ts..ts + tier.window_us()));
            rows.into_iter().filter(|((ts, _), _)| is_exact(*ts)).collect()
        };
        assert_eq!(exact(told(&rows)), exact(expected(given, tier.window_us(), &range)), "LATE-1: {tier:?}");
    }
    for step_ms in [60_000, 600_000, 3_600_000, 86_400_000] {
        let step_us = step_ms * 1000;
        let since_ms = (START - 24 * HOUR).div_euclid(step_us) * step_ms;
        let asked = FlowsAsked { since_ms, until_ms: (START + 48 * HOUR) / 1000, step_ms, is_exact: false };
        let range = since_ms * 1000..START + 48 * HOUR;
        for is_exact in [false, true] {
            let answer = answer(node, &view, FlowsAsked { is_exact, ..asked }).await;
            assert_eq!(told(&[answer]), expected(given, step_us, &range), "{step_ms} ms, exact: {is_exact}");
        }
    }
}

async fn answer(node: &Node, view: &View, asked: FlowsAsked) -> RecordBatch {
    let tier = flow_rollup::schema();
    let fields = tier.fields().iter().filter(|field| field.name() != flow_rollup::VERSION).cloned();
    let source = Arc::new(arrow::datatypes::Field::new("source", arrow::datatypes::DataType::Utf8, false));
    let schema = Arc::new(arrow::datatypes::Schema::new(fields.chain([source]).collect::<Vec<_>>()));
    flow_windows(&node.tables, view, asked, &schema).await.unwrap()
}

fn flow(ts: i64, bytes: i64) -> Flow {
    Flow {
        ts,
        container: 1,
        comm: Some(0),
        direction: Some(1),
        ports: (Some(40_000 + (bytes % 9) as i32), Some(443)),
        bytes,
        connect_us: (bytes % 3 == 0).then_some(bytes),
        rtt_us: None,
        ended: bytes % 2 == 0,
    }
}

#[tokio::test]
async fn a_day_of_one_service_is_one_row() {
    let mut node = Node::new().await;
    let given: Vec<Flow> = (0..500).map(|n| flow(START + n * 170 * SECOND, n)).collect();
    node.take(Stream::Flows, records(&given));
    node.end_epoch().await;
    assert_eq!(node.flow_ladder.round().await.unwrap(), 0, "they are new");
    node.forward(6 * HOUR);
    assert_eq!(node.flow_ladder.round().await.unwrap(), 12);
    check(&node, &given).await;
    let view = node.view_of(&node.flow_ladder).await;
    let day_ms = 86_400_000;
    let asked =
        FlowsAsked { since_ms: START / 1000, until_ms: START / 1000 + day_ms, step_ms: day_ms, is_exact: false };
    let day = answer(&node, &view, asked).await;
    assert_eq!((day.num_rows(), day.column_by_name("source").unwrap().as_string::<i32>().value(0)), (1, "flows_1d"));
    let wrong = FlowsAsked { step_ms: 0, ..asked };
    assert!(flow_windows(&node.tables, &view, wrong, &flow_rollup::schema()).await.is_err());

    let late = flow(START + HOUR, 3);
    node.take(Stream::Flows, records(std::slice::from_ref(&late)));
    let view = node.view_of(&node.flow_ladder).await;
    let day = answer(&node, &view, asked).await;
    assert_eq!(day.column_by_name("source").unwrap().as_string::<i32>().value(0), "flows_1h, flows");
    check(&node, &[given, vec![late]].concat()).await;
}

fn some_flows() -> impl Strategy<Value = Vec<Flow>> {
    let time = prop_oneof![
        (-24i64..30).prop_map(|hour| START + hour * HOUR),
        (-144i64..180).prop_map(|n| START + n * 600 * SECOND),
        (0i64..2400).prop_map(|n| START + 2 * HOUR + n * 1_001_000),
    ];
    let key = (0usize..3, prop::option::of(0usize..2), prop::option::of(0usize..2));
    let port = || prop::option::of(80i32..83);
    let numbers = (0i64..1000, prop::option::of(0i64..50), prop::option::of(0i64..50), any::<bool>());
    let flow = (time, key, (port(), port()), numbers).prop_map(|(ts, (container, comm, direction), ports, numbers)| {
        let (bytes, connect_us, rtt_us, ended) = numbers;
        Flow { ts, container, comm, direction, ports, bytes, connect_us, rtt_us, ended }
    });
    prop::collection::vec(flow, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn late_1_a_tier_is_a_batch_over_the_flows(steps in steps(some_flows(), 20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut node = Node::new().await;
            let mut given: Vec<Flow> = Vec::new();
            for step in steps {
                match step {
                    Step::Write(flows) => {
                        node.take(Stream::Flows, records(&flows));
                        given.extend(flows);
                    }
                    Step::EndEpoch => node.end_epoch().await,
                    Step::Forward(micros) => node.forward(micros),
                    Step::Round => drop(node.flow_ladder.round().await.unwrap()),
                    Step::Backfill => drop(node.flow_ladder.backfill(ALL_TIME).await.unwrap()),
                    Step::Compact => drop(node.tables.compact(true).await.unwrap()),
                    Step::Die(puts) => {
                        node.dies_after(puts);
                        let _ = node.flow_ladder.backfill(ALL_TIME).await;
                        check(&node, &given).await;
                        node.restart().await;
                    }
                    Step::Restart => node.restart().await,
                }
                check(&node, &given).await;
            }
            node.end_epoch().await;
            let made = node.flow_ladder.backfill(ALL_TIME).await.unwrap();
            check(&node, &given).await;
            assert_eq!(node.flow_ladder.progress().units_pending, 0);
            assert!(made <= node.flow_ladder.progress().units_made);
        });
    }
}
