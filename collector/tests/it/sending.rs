//! Spool and client against a server that goes away, keeps silent, refuses or gives no credit.

use crate::server::{Manner, TestServer};
use crate::wait_for;
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use bodkin_collector::client::{Client, Server, TlsFiles};
use bodkin_collector::losses::{Losses, reason};
use bodkin_collector::spool::{Spool, SpoolConfig};
use bodkin_schema::{Class, Incarnation, Stream, SystemClock};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A spool and the client that empties it.
struct Sender {
    spool: Arc<Spool>,
    client: Arc<Client>,
    losses: Arc<Losses>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    fn start(dir: &std::path::Path, incarnation: u64, url: &str) -> Self {
        let losses = Arc::new(Losses::default());
        let config = SpoolConfig::new(dir);
        let clock = Arc::new(SystemClock::default());
        let spool = Spool::open(config, "host", Incarnation(incarnation), losses.clone(), clock).unwrap();
        let spool = Arc::new(spool);
        let client = Arc::new(Client::new(spool.clone(), Server::new(url, &TlsFiles::default()).unwrap()));
        let (stop, stopped) = oneshot::channel();
        let running = client.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = running.run() => {}
                    _ = stopped => {}
                }
            });
        });
        Self { spool, client, losses, stop: Some(stop), thread: Some(thread) }
    }

    fn push(&self, numbers: std::ops::Range<i64>) {
        self.spool.push(Stream::Drops, &batch(numbers)).unwrap();
    }

    /// Ends client and spool in order.
    fn stop(mut self) {
        self.stop.take().unwrap().send(()).ok();
        self.thread.take().unwrap().join().unwrap();
        self.spool.close().unwrap();
    }
}

fn batch(numbers: std::ops::Range<i64>) -> RecordBatch {
    let rows = numbers.clone().count();
    let text = |text: &str| Arc::new(StringArray::from(vec![text; rows]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(vec![0; rows]).with_timezone("UTC")),
        text("p"),
        text("security"),
        text("r"),
        Arc::new(Int64Array::from_iter_values(numbers)),
    ];
    RecordBatch::try_new(Stream::Drops.schema(), columns).unwrap()
}

/// The numbers that the server has, in the order in which it stored them.
fn numbers(server: &TestServer) -> Vec<i64> {
    let stored = server.stored("drops");
    stored.iter().flat_map(|stored| stored.records.column(4).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn range(numbers: std::ops::Range<i64>) -> Vec<i64> {
    numbers.collect()
}

#[test]
fn batches_arrive_in_order_and_leave_the_spool() {
    let (dir, server) = (tempfile::tempdir().unwrap(), TestServer::on_a_free_port());
    let sender = Sender::start(dir.path(), 1, &server.url());
    for first in (0..5_000).step_by(50) {
        sender.push(first..first + 50);
    }
    wait_for("acks", || sender.spool.is_drained());
    assert_eq!(numbers(&server), range(0..5_000));
    assert_eq!(server.disk.lock().unwrap().puts, 1, "one put per stream");
    let lane = &server.stored("drops")[0].lane;
    assert_eq!((lane.producer.as_str(), lane.incarnation), ("host/security", Incarnation(1)));
    assert!(sender.spool.is_connected());
    sender.stop();
}

/// ONCE-1: a server that stores and cannot say so gets everything again, and keeps one of each.
#[test]
fn withheld_acks_and_restarts_lose_and_double_nothing() {
    let (dir, server) = (tempfile::tempdir().unwrap(), TestServer::on_a_free_port());
    let sender = Sender::start(dir.path(), 1, &server.url());
    server.set(Manner::Silent);
    sender.push(0..10);
    sender.push(10..20);
    wait_for("the first batches", || numbers(&server).len() == 20);
    let (disk, address) = server.kill();
    sender.push(20..30);
    wait_for("the loss is noticed", || !sender.spool.is_connected());
    sender.spool.maintain().unwrap();
    sender.push(30..40);

    disk.lock().unwrap().manner = Manner::Good;
    let server = TestServer::start(disk, address);
    wait_for("everything", || sender.spool.is_drained());
    assert_eq!(numbers(&server), range(0..40));
    assert_eq!(server.disk.lock().unwrap().duplicates, 2);
    sender.stop();
    assert!(std::fs::read_dir(dir.path().join("security")).is_ok_and(|mut lanes| lanes.next().is_none()));
}

/// What an earlier life could not send comes first, under its own incarnation.
#[test]
fn a_restarted_agent_resends_under_its_old_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::on_a_free_port();
    let url = server.url();
    let (disk, address) = server.kill();
    let sender = Sender::start(dir.path(), 1, &url);
    sender.push(0..10);
    sender.push(10..20);
    sender.stop();
    let sender = Sender::start(dir.path(), 2, &url);
    sender.push(20..30);
    sender.stop();

    let server = TestServer::start(disk, address);
    let sender = Sender::start(dir.path(), 3, &url);
    sender.push(30..40);
    wait_for("everything", || sender.spool.is_drained());
    assert_eq!(numbers(&server), range(0..40));
    let lanes: Vec<(u64, u64)> =
        server.stored("drops").iter().map(|stored| (stored.lane.incarnation.0, stored.seq)).collect();
    assert_eq!(lanes, [(1, 1), (1, 2), (2, 1), (3, 1)]);
    sender.stop();
}

/// DROP-1: a batch that the server will never take is counted, and does not hold up the others.
#[test]
fn a_refused_batch_is_counted_and_the_others_arrive() {
    let (dir, server) = (tempfile::tempdir().unwrap(), TestServer::on_a_free_port());
    server.set(Manner::Picky { rows_max: 10 });
    let sender = Sender::start(dir.path(), 1, &server.url());
    for (from, to) in [(0, 5), (5, 10), (10, 25), (25, 30), (30, 50), (50, 55)] {
        sender.push(from..to);
    }
    wait_for("everything else", || sender.spool.is_drained());
    let expected: Vec<i64> = (0..10).chain(25..30).chain(50..55).collect();
    assert_eq!(numbers(&server), expected);
    assert_eq!(sender.losses.total(), [((Class::Security, reason::REFUSED), 35)].into());
    assert!(sender.client.stats().failures >= 2);
    sender.stop();
}

/// Without credit one batch a second asks for more; nothing stops for ever.
#[test]
fn no_credit_slows_down_and_does_not_stop() {
    let (dir, server) = (tempfile::tempdir().unwrap(), TestServer::on_a_free_port());
    server.set(Manner::Stingy);
    let sender = Sender::start(dir.path(), 1, &server.url());
    sender.push(0..1);
    wait_for("the first ack", || sender.spool.is_drained());
    (1..20).for_each(|number| sender.push(number..number + 1));
    wait_for("the probe", || numbers(&server).len() >= 2);
    assert!(numbers(&server).len() <= 3, "no credit, no flood");
    server.set(Manner::Good);
    wait_for("everything", || sender.spool.is_drained());
    assert_eq!(numbers(&server), range(0..20));
    sender.stop();
}

/// An outage longer than memory: batches go through the disk and arrive in order.
#[test]
fn a_long_outage_goes_through_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::on_a_free_port();
    let url = server.url();
    let (disk, address) = server.kill();
    let sender = Sender::start(dir.path(), 1, &url);
    for first in (0..40_000).step_by(100) {
        sender.push(first..first + 100);
        if first % 5_000 == 0 {
            sender.spool.maintain().unwrap();
            assert!(sender.spool.stats().memory_bytes < 10_000, "at most the one that waits for the server");
        }
    }
    let server = TestServer::start(disk, address);
    wait_for("everything", || sender.spool.is_drained());
    assert_eq!(numbers(&server), range(0..40_000));
    sender.stop();
}
