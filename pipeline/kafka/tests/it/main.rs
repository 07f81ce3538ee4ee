//! ONCE-1, DROP-1: topics of librdkafka's own cluster double, with faults, through a log that is opened anew.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use bodkin_ingest::{Downstream, IngestLimits, IngestService, IngestedBatch};
use bodkin_kafka::{From, JsonRows, KafkaOptions, KafkaSource};
use bodkin_schema::{Position, Stream, SystemClock, Tenant};
use bodkin_wal::{Wal, WalOptions};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TOPIC: &str = "rows";
const PATIENCE: Duration = Duration::from_secs(60);

/// What went on to the graph: how often each number, and what was lost by reason.
#[derive(Default)]
struct Graph {
    numbers: Mutex<BTreeMap<i64, usize>>,
    lost: Mutex<BTreeMap<String, i64>>,
}

impl Downstream for Graph {
    fn push(&self, batch: IngestedBatch) {
        let reasons = batch.records.column(3).as_string::<i32>();
        let counts = batch.records.column(4).as_primitive::<Int64Type>();
        for row in 0..batch.records.num_rows() {
            if reasons.value(row) == "number" {
                *self.numbers.lock().unwrap().entry(counts.value(row)).or_default() += 1;
            } else {
                *self.lost.lock().unwrap().entry(reasons.value(row).to_owned()).or_default() += counts.value(row);
            }
        }
    }
}

impl Graph {
    fn until(&self, count: usize) {
        let started = Instant::now();
        while self.numbers.lock().unwrap().len() < count {
            assert!(started.elapsed() < PATIENCE, "{} of {count} numbers", self.numbers.lock().unwrap().len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn assert_once(&self, count: usize) {
        let numbers = self.numbers.lock().unwrap();
        assert_eq!(numbers.keys().copied().collect::<Vec<_>>(), (0..count as i64).collect::<Vec<_>>());
        assert!(numbers.values().all(|times| *times == 1), "some are there twice");
    }
}

/// A service over the log in `folder`: what it holds goes to a graph that begins anew, as after a kill.
fn service(folder: &Path) -> (Arc<IngestService>, Arc<Graph>) {
    let (clock, graph) = (Arc::new(SystemClock::default()), Arc::new(Graph::default()));
    let wal = Arc::new(Wal::open(folder, WalOptions::default(), clock.clone()).unwrap());
    let service = IngestService::new(wal, clock, IngestLimits::default(), graph.clone());
    service.replay(Position(0), []).unwrap();
    (service, graph)
}

fn start(brokers: &str, service: &Arc<IngestService>) -> KafkaSource {
    let options = KafkaOptions {
        brokers: vec![brokers.to_owned()],
        topics: vec![TOPIC.to_owned()],
        group: "test".to_owned(),
        from: From::Earliest,
        properties: [("session.timeout.ms".to_owned(), "6000".to_owned())].into(),
    };
    let (decode, clock) = (Box::new(JsonRows(Stream::Drops)), Arc::new(SystemClock::default()));
    KafkaSource::start("test", &options, decode, Tenant::default(), service.clone(), clock).unwrap()
}

fn produce(brokers: &str, messages: impl Iterator<Item = String>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("compression.codec", "gzip").set("linger.ms", "5");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    for (number, message) in messages.enumerate() {
        let record = BaseRecord::<(), str>::to(TOPIC).payload(&message).partition(number as i32 % 3);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn row(number: i64) -> String {
    format!(r#"{{"ts":"2026-01-02T03:04:05Z","producer":"p","class":"security","reason":"number","count":{number}}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_1_drop_1_each_message_is_stored_once_across_faults_and_restarts() {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic(TOPIC, 3, 3).unwrap();
    let brokers = cluster.bootstrap_servers();
    let folder = tempfile::tempdir().unwrap();
    produce(&brokers, (0..3000).map(row));

    let (first, graph) = service(folder.path());
    let source = start(&brokers, &first);
    graph.until(500);
    // In the middle: what is read and not durable is read again by the next life.
    drop(source);
    first.wal().close();
    drop(first);

    produce(&brokers, (3000..6000).map(|number| if number % 1000 == 7 { "no row".to_owned() } else { row(number) }));
    produce(&brokers, [3007, 4007, 5007].into_iter().map(row));
    let (second, graph) = service(folder.path());
    cluster.request_errors(RDKafkaApiKey::Fetch, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3]);
    cluster.request_errors(
        RDKafkaApiKey::OffsetFetch,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 2],
    );
    let source = start(&brokers, &second);
    cluster.partition_leader(TOPIC, 1, Some(2)).unwrap();
    graph.until(6000);
    // It is counted once it is durable, and the rows of other partitions may be before.
    let deadline = Instant::now() + PATIENCE;
    while source.stats().malformed.load(Ordering::Relaxed) < 3 {
        assert!(Instant::now() < deadline, "{:?}", source.stats());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(source.stats().malformed.load(Ordering::Relaxed), 3);
    drop(source);
    graph.assert_once(6000);
    second.wal().close();
    drop(second);

    // A third life finds all of it in the log, and nothing to read.
    let (third, graph) = service(folder.path());
    let source = start(&brokers, &third);
    produce(&brokers, (6000..6003).map(row));
    graph.until(6003);
    graph.assert_once(6003);
    assert_eq!(*graph.lost.lock().unwrap(), BTreeMap::from([("malformed".to_owned(), 3)]));
    assert_eq!(source.stats().rows.load(Ordering::Relaxed), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_1_a_topic_that_is_made_anew_is_read_from_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let (service, graph) = service(folder.path());
    for life in 0..2 {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 3, 1).unwrap();
        let brokers = cluster.bootstrap_servers();
        produce(&brokers, (0..30 / (life + 1)).map(|number| row(30 * life + number)));
        let _source = start(&brokers, &service);
        graph.until(30 + 15 * life as usize);
    }
    graph.assert_once(45);
}
