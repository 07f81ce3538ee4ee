//! A topic of Kafka: a JSON object for each row. A message has the delivery's key and the place of the row in it as the
//! header `idempotency-key`, so that a consumer can drop what comes again after a crash or a failed attempt; else librdkafka's
//! idempotent producer sends nothing twice. Messages of one key, or of a channel without one, keep their order: after an
//! attempt that failed the producer goes, and with it all that it still had, so that nothing of that attempt comes behind
//! what is sent again. It goes too because some errors leave an idempotent producer unable to send anything more.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;

/// The section `kafka`. `Debug` shows no values of properties: passwords are among them.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KafkaSection {
    /// `host:port` of some brokers.
    brokers: Vec<String>,
    topic: String,
    /// The column whose value is the message's key: what has the same stays in order. All of the channel by default.
    #[serde(default)]
    key: Option<String>,
    /// Properties of librdkafka, such as `security.protocol`.
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

impl fmt::Debug for KafkaSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (brokers, properties) = (&self.brokers, self.properties.keys());
        f.debug_struct("KafkaSection")
            .field("brokers", brokers)
            .field("topic", &self.topic)
            .field("key", &self.key)
            .field("properties", &properties)
            .finish()
    }
}

#[cfg(not(feature = "kafka"))]
pub(crate) fn channel(
    _: crate::config::Common,
    _: &KafkaSection,
) -> Result<std::sync::Arc<dyn bodkin_engine::Channel>, crate::config::ConfigError> {
    Err(crate::config::ConfigError::new("kafka", "this binary cannot write to Kafka: build it with --features kafka"))
}

#[cfg(feature = "kafka")]
pub(crate) use producer::channel;

#[cfg(feature = "kafka")]
mod producer {
    use super::KafkaSection;
    use crate::config::{Common, ConfigError};
    use crate::http::{dead, retry};
    use crate::message::{Message, plain, row_key};
    use async_trait::async_trait;
    use bodkin_engine::{Channel, ChannelError, Delivery};
    use rdkafka::ClientConfig;
    use rdkafka::error::{KafkaError, RDKafkaErrorCode};
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
    use std::collections::VecDeque;
    use std::fmt;
    use std::sync::Arc;
    use tokio::sync::Mutex;

    /// Deliveries that one run takes.
    const RUN_MAX: usize = 64;
    /// Bytes of messages that the broker has not acknowledged yet; half of what librdkafka's queue holds.
    const FLYING_BYTES_MAX: usize = 16 << 20;

    pub(crate) struct Kafka {
        common: Common,
        section: KafkaSection,
        config: ClientConfig,
        /// None after an attempt that failed, and while one is made.
        producer: Mutex<Option<FutureProducer>>,
    }

    impl fmt::Debug for Kafka {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Kafka").field("section", &self.section).finish_non_exhaustive()
        }
    }

    /// The channel of a section.
    pub(crate) fn channel(common: Common, section: &KafkaSection) -> Result<Arc<dyn Channel>, ConfigError> {
        if section.brokers.is_empty() || section.topic.is_empty() {
            return Err(ConfigError::new("brokers", "brokers and a topic are needed"));
        }
        let mut config = ClientConfig::new();
        config.set("client.id", "bodkin").set("compression.codec", "gzip").set("linger.ms", "5");
        for (name, value) in &section.properties {
            config.set(name, value);
        }
        // Order and durability are the channel's promise, and so is how long an attempt may take.
        config
            .set("bootstrap.servers", section.brokers.join(","))
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("queue.buffering.max.kbytes", (2 * FLYING_BYTES_MAX / 1024).to_string())
            .set("message.timeout.ms", common.timeout.as_millis().to_string());
        let producer = config.create().map_err(|error| ConfigError::new("properties", error))?;
        Ok(Arc::new(Kafka { common, section: section.clone(), config, producer: Mutex::new(Some(producer)) }))
    }

    impl Kafka {
        /// Hands all rows of a run to librdkafka, in order, and waits until the broker has each.
        async fn produce(&self, producer: &FutureProducer, run: &[Delivery]) -> Result<(), ChannelError> {
            let (mut flying, mut flying_bytes) = (VecDeque::new(), 0);
            for delivery in run {
                let rows = Message::parse(&delivery.body).map_err(dead)?.into_rows();
                for (number, row) in rows.iter().enumerate() {
                    let key = match &self.section.key {
                        Some(column) => row.get(column).map(plain).unwrap_or_default(),
                        None => self.common.name.clone(),
                    };
                    let idempotency = row_key(delivery, number);
                    let header = Header { key: "idempotency-key", value: Some(&idempotency) };
                    let body = serde_json::to_vec(row).map_err(dead)?;
                    while flying_bytes + body.len() > FLYING_BYTES_MAX
                        && let Some((bytes, first)) = flying.pop_front()
                    {
                        taken(first).await?;
                        flying_bytes -= bytes;
                    }
                    let record = FutureRecord::to(&self.section.topic).key(&key).payload(&body);
                    let record = record.headers(OwnedHeaders::new_with_capacity(1).insert(header));
                    flying.push_back((body.len(), producer.send_result(record).map_err(|(error, _)| refused(&error))?));
                    flying_bytes += body.len();
                }
            }
            for (_, sent) in flying {
                taken(sent).await?;
            }
            Ok(())
        }
    }

    /// Waits until the broker has a message.
    async fn taken(sent: DeliveryFuture) -> Result<(), ChannelError> {
        match sent.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(refused(&error)),
            Err(_) => Err(retry("the producer has ended")),
        }
    }

    #[async_trait]
    impl Channel for Kafka {
        fn name(&self) -> &str {
            &self.common.name
        }

        fn run_max(&self) -> usize {
            RUN_MAX
        }

        async fn send(&self, run: &[Delivery]) -> Result<(), ChannelError> {
            let mut kept = self.producer.lock().await;
            let producer = match kept.take() {
                Some(producer) => producer,
                None => self.config.create().map_err(retry)?,
            };
            if let Err(error) = self.produce(&producer, run).await {
                // It throws away what it has, which may take a moment.
                tokio::task::spawn_blocking(move || drop(producer)).await.map_err(retry)?;
                return Err(error);
            }
            *kept = Some(producer);
            self.common.pace().await;
            Ok(())
        }
    }

    /// Too large and malformed messages stay so; all else may pass.
    fn refused(error: &KafkaError) -> ChannelError {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTopic,
            ) => dead(error),
            _ => retry(error),
        }
    }

    #[cfg(test)]
    mod tests {
        use crate::config::ChannelConfig;
        use bodkin_engine::{Channel, Delivery};
        use bodkin_schema::{Clock, SystemClock};
        use rdkafka::config::ClientConfig;
        use rdkafka::consumer::{BaseConsumer, Consumer};
        use rdkafka::message::{Headers, Message};
        use rdkafka::mocking::MockCluster;
        use rdkafka::producer::DefaultProducerContext;
        use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
        use std::sync::Arc;
        use std::time::{Duration, Instant};

        fn made(brokers: &str) -> Arc<dyn Channel> {
            let text = format!(r#"{{"kafka": {{"brokers": [{brokers:?}], "topic": "findings", "key": "host"}}}}"#);
            let config: ChannelConfig = serde_json::from_str(&text).unwrap();
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
            config.channel("siem", &clock).unwrap()
        }

        #[tokio::test]
        async fn rows_come_in_order_once_and_with_their_keys() {
            let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
            cluster.create_topic("findings", 3, 1).unwrap();
            // The broker fails for a while; the producer tries again by itself.
            let failure = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
            cluster.request_errors(RDKafkaApiKey::Produce, &[failure; 2]);
            let brokers = cluster.bootstrap_servers();
            let channel = made(&brokers);
            let run: Vec<Delivery> = (0..20).map(|n| Delivery::new("siem", &format!("k{n}"), &rows(n))).collect();
            channel.send(&run).await.unwrap();
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", &brokers).set("group.id", "t").set("auto.offset.reset", "earliest");
            let consumer: BaseConsumer = config.create().unwrap();
            consumer.subscribe(&["findings"]).unwrap();
            let (mut seen, start) = (Vec::new(), Instant::now());
            while seen.len() < 40 && start.elapsed() < Duration::from_secs(60) {
                let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
                let message = message.unwrap();
                let row: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
                let header = message.headers().unwrap().get(0);
                let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
                assert_eq!((header.key, row["host"].as_str().unwrap()), ("idempotency-key", key.as_str()));
                let own = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
                seen.push((key, row["n"].as_i64().unwrap(), own));
            }
            for (host, place) in [("a", 0), ("b", 1)] {
                let own: Vec<_> = seen.iter().filter(|one| one.0 == host).map(|one| (one.1, one.2.clone())).collect();
                let expected: Vec<_> = (0..20).map(|n| (n, format!("k{n}-{place}"))).collect();
                assert_eq!(own, expected, "{host}");
            }
        }

        fn rows(n: i64) -> String {
            let row = |host: &str| serde_json::json!({"host": host, "n": n}).as_object().cloned().unwrap_or_default();
            serde_json::to_string(&crate::Message::Rows(vec![row("a"), row("b")])).unwrap()
        }

        #[tokio::test]
        async fn a_producer_that_can_send_nothing_more_is_replaced() {
            let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
            cluster.create_topic("findings", 1, 1).unwrap();
            let channel = made(&cluster.bootstrap_servers());
            channel.send(&[Delivery::new("siem", "k0", &rows(0))]).await.unwrap();
            // The broker has lost what it knew of the producer: to librdkafka that is fatal.
            let failure = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
            cluster.request_errors(RDKafkaApiKey::Produce, &[failure; 2]);
            let error = channel.send(&[Delivery::new("siem", "k1", &rows(1))]).await.unwrap_err();
            assert!(!error.is_final, "{error}");
            let start = Instant::now();
            while channel.send(&[Delivery::new("siem", "k1", &rows(1))]).await.is_err() {
                assert!(start.elapsed() < Duration::from_secs(60), "it never sends again");
            }
        }

        #[tokio::test]
        async fn what_is_too_large_is_dead_and_a_cluster_that_is_away_is_tried_again() {
            let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
            let channel = made(&cluster.bootstrap_servers());
            let row = serde_json::json!({"host": "a", "text": "x".repeat(2 << 20)}).as_object().cloned().unwrap();
            let body = serde_json::to_string(&crate::Message::Rows(vec![row])).unwrap();
            let error = channel.send(&[Delivery::new("siem", "k", &body)]).await.unwrap_err();
            assert!(error.is_final, "{error}");
            let text = r#"{"kafka": {"brokers": ["127.0.0.1:1"], "topic": "t"}, "timeout_s": 1}"#;
            let config: ChannelConfig = serde_json::from_str(text).unwrap();
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
            let away = config.channel("siem", &clock).unwrap();
            let error = away.send(&[Delivery::new("siem", "k", &rows(1))]).await.unwrap_err();
            assert!(!error.is_final, "{error}");
        }
    }
}
