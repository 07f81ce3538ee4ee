//! Channels that fail, hang and come back.

use super::*;
use crate::TokioTimer;
use arrow::array::{RecordBatch, StringArray};

/// A channel that fails as often as it is told, and a log; both remember.
#[derive(Default)]
struct World {
    failures: AtomicU64,
    retry_after: Option<Duration>,
    runs: usize,
    sent: Mutex<Vec<String>>,
    ended: Mutex<Vec<Ended>>,
}

#[async_trait]
impl Channel for World {
    fn name(&self) -> &str {
        "mail"
    }

    fn run_max(&self) -> usize {
        self.runs
    }

    async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let fails = self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let is_final = run.iter().any(|delivery| delivery.body == "bad");
        match fails {
            Err(_) if !is_final => {
                self.sent.lock().unwrap().extend(run.iter().map(|delivery| delivery.key.clone()));
                Ok(())
            }
            _ => Err(ChannelError { reason: "busy".into(), is_final, retry_after: self.retry_after }),
        }
    }
}

#[async_trait]
impl EndLog for World {
    async fn ended(&self, ended: &[Ended]) -> Result<(), SinkError> {
        self.ended.lock().unwrap().extend(ended.iter().cloned());
        Ok(())
    }
}

fn column(values: Vec<&str>) -> arrow::array::ArrayRef {
    Arc::new(StringArray::from(values))
}

fn rows(epoch: u64, keys: &[&str]) -> Batch {
    let bodies: Vec<&str> = keys.iter().map(|key| if key.starts_with("bad") { "bad" } else { "text" }).collect();
    let records = RecordBatch::try_from_iter([("key", column(keys.to_vec())), ("body", column(bodies))]).unwrap();
    Batch { epoch: Epoch(epoch), ..Batch::made("deliver/mail", records) }
}

/// Rows of table `deliveries`, as far as the outbox reads them.
fn ends(keys: &[&str]) -> Batch {
    let channels = column(vec!["mail"; keys.len()]);
    Batch::made(
        "deliveries",
        RecordBatch::try_from_iter([("channel", channels), ("key", column(keys.to_vec()))]).unwrap(),
    )
}

async fn run(outbox: &Outbox, world: &World, until: usize) {
    let deadline = Duration::from_secs(3600);
    let sending = outbox.run("mail", world, &TokioTimer);
    let done = async {
        while world.ended.lock().unwrap().len() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = sending => {}
        done = tokio::time::timeout(deadline, done) => done.unwrap(),
    }
}

fn outbox(world: &Arc<World>) -> Outbox {
    Outbox::new(OutboxOptions::default(), vec![world.clone()])
}

#[tokio::test(start_paused = true)]
async fn each_key_is_sent_in_order_and_failures_are_tried_again() {
    let world = Arc::new(World { failures: AtomicU64::new(3), ..World::default() });
    let outbox = outbox(&world);
    outbox.write(rows(1, &["a", "b", "a"]));
    outbox.open();
    run(&outbox, &world, 2).await;
    assert_eq!(*world.sent.lock().unwrap(), ["a", "b"]);
    assert_eq!((outbox.pending(), outbox.stats().failed.load(Ordering::Relaxed)), (0, 3));
    assert_eq!(world.ended.lock().unwrap().iter().map(|one| one.attempts).collect::<Vec<_>>(), [4, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_wants_everything_again_at_once_is_left_alone_longer_and_longer() {
    let (failures, retry_after) = (AtomicU64::new(15), Some(Duration::ZERO));
    let world = Arc::new(World { failures, retry_after, ..World::default() });
    let outbox = outbox(&world);
    outbox.write(rows(1, &["a"]));
    outbox.open();
    let start = tokio::time::Instant::now();
    run(&outbox, &world, 1).await;
    assert_eq!(world.ended.lock().unwrap()[0].attempts, 16);
    assert!(start.elapsed() > Duration::from_secs(600), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_restart_sends_what_is_pending_and_not_what_has_ended() {
    let world = Arc::new(World::default());
    let first = outbox(&world);
    first.write(rows(1, &["a", "b"]));
    first.write(rows(2, &["c", "d"]));
    let prepared = first.prepare(Epoch(1)).await.unwrap();
    let state = first.state(Epoch(1)).unwrap();
    first.open();
    run(&first, &world, 3).await;
    assert_eq!(*world.sent.lock().unwrap(), ["a", "b", "c"]);
    drop(first);
    // The state holds a and b; the replay offers c and d again, before or after the row of c.
    let second = outbox(&world);
    second.commit(Epoch(1), &prepared).await.unwrap();
    assert_eq!(state.iter().map(|part| part.0.as_str()).collect::<Vec<_>>(), ["mail"]);
    state.iter().for_each(|(channel, state)| second.restore(channel, state).unwrap());
    assert_eq!(second.pending(), 2);
    second.write(ends(&["c"]));
    second.write(rows(2, &["c", "d"]));
    second.write(ends(&["a", "b"]));
    assert_eq!(second.pending(), 1);
    second.open();
    run(&second, &world, 4).await;
    assert_eq!(*world.sent.lock().unwrap(), ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_held_what_is_pending_is_read() {
    let world = Arc::new(World::default());
    let outbox = outbox(&world);
    let pending = serde_json::json!([{"channel": "mail", "key": "a", "body": "text", "epoch": 1}]);
    outbox.commit(Epoch(1), &pending).await.unwrap();
    assert_eq!(outbox.pending(), 1);
    assert!(outbox.restore("mail", &"[{".into()).is_err());
}

#[tokio::test(start_paused = true)]
async fn other_channels_take_up_what_is_pending_at_once() {
    let (broken, mended) = (Arc::new(World::default()), Arc::new(World::default()));
    broken.failures.store(1000, Ordering::Relaxed);
    let outbox = outbox(&broken);
    outbox.write(rows(1, &["a", "b", "c"]));
    outbox.open();
    let sending = outbox.run("mail", mended.as_ref(), &TokioTimer);
    let reload = async {
        // By now it waits for minutes between two attempts.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let start = tokio::time::Instant::now();
        outbox.set_channels(vec![mended.clone()]);
        while outbox.pending() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        start.elapsed()
    };
    let took = tokio::select! {
        () = sending => unreachable!("it runs for ever"),
        took = reload => took,
    };
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(*mended.sent.lock().unwrap(), ["a", "b", "c"]);
    // A name that is gone: given up, with a row that says so.
    outbox.write(rows(1, &["d"]));
    outbox.set_channels(Vec::new());
    run(&outbox, &mended, 4).await;
    assert!(mended.ended.lock().unwrap()[3].dead.as_ref().unwrap().contains("no such channel"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_a_dead_letter_and_spoils_no_run() {
    let world = Arc::new(World { runs: 3, ..World::default() });
    let outbox = outbox(&world);
    outbox.write(rows(1, &["good", "bad one", "better", "best"]));
    outbox.open();
    run(&outbox, &world, 4).await;
    assert_eq!(*world.sent.lock().unwrap(), ["good", "better", "best"]);
    let ended = world.ended.lock().unwrap();
    let dead: Vec<_> = ended.iter().filter(|one| one.dead.is_some()).map(|one| one.key.as_str()).collect();
    assert_eq!(dead, ["bad one"]);
}

#[tokio::test(start_paused = true)]
async fn mem_1_the_oldest_of_a_channel_go_where_too_much_waits() {
    let world = Arc::new(World { runs: 100, ..World::default() });
    let options = OutboxOptions { bytes_max: 600, ..OutboxOptions::default() };
    let outbox = Outbox::new(options, vec![world.clone()]);
    for number in 0..100 {
        outbox.write(rows(1, &[&format!("key {number}")]));
    }
    assert!(outbox.pending() < 5, "{}", outbox.pending());
    outbox.open();
    run(&outbox, &world, 100).await;
    let ended = world.ended.lock().unwrap();
    assert!(ended.iter().filter(|one| one.dead.is_some()).count() > 90, "each has a row that says so");
    assert_eq!(ended.last().map(|one| one.key.as_str()), Some("key 99"));
}

#[test]
fn waits_grow_and_differ() {
    let outbox = Outbox::new(OutboxOptions::default(), Vec::new());
    for attempts in 1..40 {
        let wait = outbox.wait("key", attempts);
        let full = Duration::from_secs(1 << (attempts - 1).min(20)).min(Duration::from_secs(300));
        assert!(wait <= full && wait >= full / 2, "{attempts}: {wait:?}");
    }
    assert_ne!(outbox.wait("a", 3), outbox.wait("b", 3));
}

#[test]
fn mem_1_where_too_much_waits_for_all_the_longest_queue_is_cut() {
    let options = OutboxOptions { all_bytes_max: 2000, ..OutboxOptions::default() };
    let outbox = Outbox::new(options, Vec::new());
    let to = |channel: &str, keys: &[&str]| {
        let records = rows(1, keys).records;
        outbox.write(Batch { epoch: Epoch(1), ..Batch::made(&format!("deliver/{channel}"), records) });
    };
    to("small", &["only"]);
    for number in 0..100 {
        to("large", &[&format!("key {number}")]);
    }
    let pending = |channel: &str| outbox.lock().pending().filter(|delivery| delivery.channel == channel).count();
    assert!((5..20).contains(&pending("large")) && pending("small") == 1, "{}", outbox.pending());
    let given_up = outbox.lock().given_up("large");
    assert_eq!(given_up.len() + pending("large"), 100);
    assert!(given_up[0].key == "key 0" && given_up[0].dead.as_ref().unwrap().contains("most for this one"));
}
