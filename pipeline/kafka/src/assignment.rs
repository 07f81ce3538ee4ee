//! Where a partition starts when the group gives it to us.

use crate::partition::lane_name;
use bodkin_ingest::{IngestService, LaneKey};
use bodkin_schema::{Incarnation, Seq, Stream, Tenant};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for a broker's answer while a partition is given to us.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long an error is not said again.
const SILENCE: Duration = Duration::from_secs(30);
/// The first life of a partition.
const FIRST: Incarnation = Incarnation(1);

/// A partition of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// A topic that was made anew counts from 0 again, in another life of its lane.
    pub(crate) incarnation: Incarnation,
    /// Messages that were deleted before we read them.
    pub(crate) expired: u64,
}

/// Decides where partitions start; told by the client when they come and go.
pub(crate) struct Assignment {
    pub(crate) source: String,
    pub(crate) tenant: Tenant,
    pub(crate) stream: Stream,
    pub(crate) service: Arc<IngestService>,
    starts: Mutex<HashMap<(String, i32), Start>>,
    has_failed: AtomicBool,
    /// When the client was last heard of each kind of error.
    said: Mutex<Vec<(Option<RDKafkaErrorCode>, Instant)>>,
}

impl Assignment {
    pub(crate) fn new(source: &str, tenant: Tenant, stream: Stream, service: Arc<IngestService>) -> Self {
        Self {
            source: source.to_owned(),
            tenant,
            stream,
            service,
            starts: Mutex::default(),
            has_failed: AtomicBool::new(false),
            said: Mutex::default(),
        }
    }

    /// A partition that is ours now.
    pub(crate) fn start(&self, topic: &str, partition: i32) -> Option<Start> {
        self.lock().get(&(topic.to_owned(), partition)).copied()
    }

    /// Whether an error of this kind was not heard of for a while.
    fn is_news(&self, code: Option<RDKafkaErrorCode>) -> bool {
        let (mut said, now) = (self.said.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        said.retain(|(_, before)| now.duration_since(*before) < SILENCE);
        let is_news = said.iter().all(|(said, _)| *said != code);
        if is_news {
            said.push((code, now));
        }
        is_news
    }

    /// Whether partitions could not be taken over since the last call.
    pub(crate) fn take_failure(&self) -> bool {
        self.has_failed.swap(false, Ordering::AcqRel)
    }

    /// The life of a partition's lane that sent last, and how far it is.
    fn newest(&self, topic: &str, partition: i32) -> (Incarnation, Seq) {
        let name = lane_name(&self.source, topic, partition);
        let is_ours = |key: &LaneKey| {
            key.tenant == self.tenant && key.lane.producer.as_str() == name && &*key.lane.stream == self.stream.name()
        };
        let marks = self.service.lanes().marks().into_iter();
        let lives = marks.filter(|mark| is_ours(&mark.key)).map(|mark| (mark.key.lane.incarnation, mark.seq));
        lives.max().unwrap_or((FIRST, Seq(0)))
    }

    /// Where to read from, and what has to be known of the partition.
    fn decide(&self, topic: &str, partition: i32, committed: Option<u64>, low: u64, high: u64) -> (Offset, Start) {
        let (incarnation, durable) = self.newest(topic, partition);
        let known = durable.0.max(committed.unwrap_or(0));
        if durable.0 > high {
            tracing::warn!(
                topic,
                partition,
                stored = durable.0,
                high,
                "the topic was made anew: it is read from its start"
            );
            return (Offset::Beginning, Start { incarnation: Incarnation(incarnation.0 + 1), expired: 0 });
        }
        let expired = if known > 0 { low.saturating_sub(known) } else { 0 };
        let offset = if known == 0 || known > high { Offset::Invalid } else { Offset::Offset(known.max(low) as i64) };
        (offset, Start { incarnation, expired })
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) -> KafkaResult<()> {
        let committed = consumer.committed_offsets(partitions.clone(), ANSWER_TIMEOUT)?.to_topic_map();
        let places: Vec<_> = partitions.to_topic_map().into_keys().collect();
        for (topic, partition) in places {
            let (low, high) = consumer.fetch_watermarks(&topic, partition, ANSWER_TIMEOUT)?;
            let told = match committed.get(&(topic.clone(), partition)) {
                Some(Offset::Offset(offset)) => u64::try_from(*offset).ok(),
                _ => None,
            };
            let (offset, start) = self.decide(&topic, partition, told, low.max(0) as u64, high.max(0) as u64);
            // Invalid: as `auto.offset.reset` says.
            partitions.set_partition_offset(&topic, partition, offset)?;
            tracing::info!(source = self.source, topic, partition, ?offset, "partition is ours");
            self.lock().insert((topic, partition), start);
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
            _ => consumer.assign(partitions),
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) -> KafkaResult<()> {
        for place in partitions.to_topic_map().into_keys() {
            tracing::info!(source = self.source, topic = place.0, partition = place.1, "partition is another's");
            self.lock().remove(&place);
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
            _ => consumer.unassign(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, i32), Start>> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Assignment {
    /// What keeps going wrong is said now and then: a broker that is away is asked many times a second.
    fn error(&self, error: KafkaError, reason: &str) {
        let (source, code) = (&self.source, error.rdkafka_error_code());
        if !self.is_news(code) {
            return;
        }
        match code {
            // The client asks for them again and again: nothing is lost, and nothing goes on.
            Some(RDKafkaErrorCode::NotImplemented) if reason.contains("codec") => tracing::warn!(
                source,
                reason,
                "messages are compressed in a way that this binary cannot read: for zstd build it with --features kafka-zstd"
            ),
            _ => tracing::warn!(source, %error, reason, "kafka"),
        }
    }
}

impl ConsumerContext for Assignment {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let outcome = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            _ => self.revoke(consumer, partitions),
        };
        if let Err(error) = outcome {
            // Nothing is read without an assignment, so nothing is lost; who polls leaves the group and joins it anew.
            tracing::warn!(source = self.source, %error, "partitions cannot be taken over: joining the group anew");
            consumer.unassign().ok();
            self.has_failed.store(true, Ordering::Release);
        }
    }
}
