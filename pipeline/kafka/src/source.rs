//! Reads topics, stores what they hold, tells the broker how far it is.

use crate::assignment::Assignment;
use crate::decode::Decode;
use crate::options::KafkaOptions;
use crate::partition::{Partition, Run};
use bodkin_ingest::{IngestService, Refusal};
use bodkin_schema::{Clock, Tenant};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// A batch is stored when it has waited so long,
const LINGER: Duration = Duration::from_millis(50);
/// or holds so much,
const BATCH_BYTES: usize = 4 << 20;
/// or so many messages.
const BATCH_MESSAGES: usize = 16_384;
/// How often the thread looks whether it has to stop while nothing comes.
const POLL: Duration = Duration::from_millis(100);
/// How long a partition waits after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Longest wait for a partition to go back.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a source does not start.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// The client does not take its configuration.
    #[error("kafka source {name}: {source}")]
    Client {
        /// The source.
        name: String,
        /// Why.
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// The operating system refused a thread.
    #[error("thread of a kafka source")]
    Thread(#[source] std::io::Error),
}

/// Counters of a source.
#[derive(Debug, Default)]
pub struct KafkaStats {
    /// Rows that became durable.
    pub rows: AtomicU64,
    /// Messages that are no rows.
    pub malformed: AtomicU64,
    /// Errors of the client, and batches that the log did not take; all are tried again.
    pub failed: AtomicU64,
    /// Milliseconds since the Unix epoch of the newest message that is stored; 0 before the first.
    pub newest_ms: AtomicU64,
}

/// A running source. Dropping it stops its thread after the batch at hand.
#[derive(Debug)]
pub struct KafkaSource {
    name: String,
    stats: Arc<KafkaStats>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread works with.
struct Reader {
    consumer: BaseConsumer<Assignment>,
    topics: Vec<String>,
    decode: Box<dyn Decode>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    partitions: BTreeMap<(String, i32), Partition>,
    stats: Arc<KafkaStats>,
    is_stopping: Arc<AtomicBool>,
}

/// Messages that are stored together.
#[derive(Default)]
struct Batch {
    runs: BTreeMap<(String, i32), Run>,
    messages: usize,
    bytes: usize,
    newest_ms: u64,
}

impl KafkaSource {
    /// Joins the group and reads from now on, on a thread of its own. To be called in a runtime, after the log was
    /// replayed.
    ///
    /// # Errors
    /// [`KafkaError`]; brokers that cannot be reached are no error, they may come.
    pub fn start(
        name: &str,
        options: &KafkaOptions,
        decode: Box<dyn Decode>,
        tenant: Tenant,
        service: Arc<IngestService>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KafkaError> {
        let failed = |source| KafkaError::Client { name: name.to_owned(), source };
        let assignment = Assignment::new(name, tenant, decode.stream(), service);
        let consumer: BaseConsumer<Assignment> = options.client().create_with_context(assignment).map_err(failed)?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(failed)?;
        let (stats, is_stopping) = (Arc::<KafkaStats>::default(), Arc::<AtomicBool>::default());
        let reader = Reader {
            consumer,
            topics: options.topics.clone(),
            decode,
            clock,
            runtime: Handle::current(),
            partitions: BTreeMap::new(),
            stats: stats.clone(),
            is_stopping: is_stopping.clone(),
        };
        let thread = std::thread::Builder::new().name(format!("kafka-{name}")).spawn(move || reader.run());
        let thread = Some(thread.map_err(KafkaError::Thread)?);
        Ok(Self { name: name.to_owned(), stats, is_stopping, thread })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its counters.
    pub fn stats(&self) -> &KafkaStats {
        &self.stats
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Release);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(source = self.name, "the thread of a kafka source panicked");
        }
    }
}

impl Reader {
    fn run(mut self) {
        while !self.is_stopping.load(Ordering::Acquire) {
            if self.consumer.context().take_failure() {
                self.join_anew();
            }
            let batch = self.gather();
            self.store(batch);
        }
    }

    /// Leaves the group and joins it again after a while.
    fn join_anew(&self) {
        self.stats.failed.fetch_add(1, Ordering::Relaxed);
        self.consumer.unsubscribe();
        std::thread::sleep(RETRY);
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        if let Err(error) = self.consumer.subscribe(&topics) {
            tracing::warn!(source = self.consumer.context().source, %error, "the group cannot be joined");
        }
    }

    /// What comes within a short time.
    fn gather(&self) -> Batch {
        let mut batch = Batch::default();
        let mut wait = POLL;
        let mut until = None;
        while let Some(polled) = self.consumer.poll(wait) {
            match polled {
                Ok(message) => batch.add(&message),
                Err(error) => {
                    self.stats.failed.fetch_add(1, Ordering::Relaxed);
                    // The context has said why, in more words.
                    tracing::debug!(source = self.consumer.context().source, %error, "kafka");
                }
            }
            let until: Instant = *until.get_or_insert_with(|| Instant::now() + LINGER);
            wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() || batch.bytes >= BATCH_BYTES || batch.messages >= BATCH_MESSAGES {
                break;
            }
        }
        batch
    }

    /// Returns when the batch is durable; partitions that failed go on from what is.
    fn store(&mut self, batch: Batch) {
        let runtime = self.runtime.clone();
        let mut commits = TopicPartitionList::new();
        let mut has_failed = false;
        for ((topic, partition), run) in &batch.runs {
            match runtime.block_on(self.put(topic, *partition, run)) {
                Ok(None) => {}
                Ok(Some(next)) => {
                    commits.add_partition_offset(topic, *partition, Offset::Offset(next as i64)).ok();
                }
                Err(error) => {
                    has_failed = true;
                    tracing::warn!(topic, partition, %error, "messages cannot be stored: they are read again");
                    self.read_again(topic, *partition);
                }
            }
        }
        if commits.count() > 0 {
            self.stats.newest_ms.fetch_max(batch.newest_ms, Ordering::Relaxed);
            if let Err(error) = self.consumer.commit(&commits, CommitMode::Async) {
                // It is for onlookers: where we go on is in our log.
                tracing::debug!(%error, "the broker was not told how far we are");
            }
        }
        if has_failed {
            self.stats.failed.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(RETRY);
        }
    }

    /// The offset of the next message when the run is durable; none where the partition is not ours any more.
    async fn put(&mut self, topic: &str, partition: i32, run: &Run) -> Result<Option<u64>, Refusal> {
        let assignment = self.consumer.context();
        let key = (topic.to_owned(), partition);
        let Some(start) = assignment.start(topic, partition) else {
            self.partitions.remove(&key);
            return Ok(None);
        };
        if self.partitions.get(&key).is_none_or(|known| !known.is_of(start)) {
            self.partitions.insert(key.clone(), Partition::new(assignment, topic, partition, start)?);
        }
        let Some(known) = self.partitions.get_mut(&key) else { return Ok(None) };
        let stored = known.put(run, self.decode.as_ref(), self.clock.now()).await?;
        for ticket in stored.tickets {
            ticket.await.map_err(Refusal::Log)?;
        }
        known.settled();
        self.stats.rows.fetch_add(stored.rows, Ordering::Relaxed);
        self.stats.malformed.fetch_add(stored.malformed, Ordering::Relaxed);
        Ok(run.offsets.last().map(|last| last + 1))
    }

    fn read_again(&mut self, topic: &str, partition: i32) {
        let Some(known) = self.partitions.get_mut(&(topic.to_owned(), partition)) else { return };
        known.restart();
        let next = match known.next_offset() {
            0 => Offset::Beginning,
            next => Offset::Offset(next as i64),
        };
        if let Err(error) = self.consumer.seek(topic, partition, next, SEEK_TIMEOUT) {
            tracing::warn!(topic, partition, %error, "the partition cannot go back: joining the group anew");
            self.partitions.remove(&(topic.to_owned(), partition));
            self.join_anew();
        }
    }
}

impl Batch {
    fn add(&mut self, message: &BorrowedMessage<'_>) {
        let Ok(offset) = u64::try_from(message.offset()) else { return };
        let payload = message.payload().unwrap_or_default().to_vec();
        self.messages += 1;
        self.bytes += payload.len();
        let time = message.timestamp().to_millis().and_then(|ms| u64::try_from(ms).ok());
        self.newest_ms = self.newest_ms.max(time.unwrap_or(0));
        let run = self.runs.entry((message.topic().to_owned(), message.partition())).or_default();
        run.offsets.push(offset);
        run.payloads.push(payload);
    }
}
