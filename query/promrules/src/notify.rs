//! Alerts to Alertmanagers, by their API v2.

use async_trait::async_trait;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Alerts of one request.
const BATCH_MAX: usize = 64;

/// An alert for an Alertmanager.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// Its labels, those of this server included.
    pub labels: BTreeMap<String, String>,
    /// Its texts.
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires, in milliseconds.
    pub starts_at_ms: i64,
    /// When it ended, or until when it is to be believed.
    pub ends_at_ms: i64,
    /// A page about it.
    pub generator_url: String,
}

/// Where alerts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alertmanager {
    /// The URL that alerts are posted to, `.../api/v2/alerts`.
    pub url: String,
    /// How long a request may take.
    pub timeout: Duration,
}

/// Rewrites the labels of an alert before it is sent; false where it is not to be sent.
pub type Edit = Arc<dyn Fn(&mut BTreeMap<String, String>) -> bool + Send + Sync>;

/// Settings of a [`Notifier`].
#[derive(Clone, Debug)]
pub struct NotifierOptions {
    /// The Alertmanagers; each is told of everything.
    pub alertmanagers: Vec<Alertmanager>,
    /// Alerts that wait at most; the oldest go.
    pub queue_max: usize,
}

impl Default for NotifierOptions {
    fn default() -> Self {
        Self { alertmanagers: Vec::new(), queue_max: 10_000 }
    }
}

/// Counters since the start.
#[derive(Debug, Default)]
pub struct NotifierStats {
    /// Alerts that an Alertmanager took, by number of requests times alerts.
    pub sent: AtomicU64,
    /// Alerts that an Alertmanager did not take.
    pub errors: AtomicU64,
    /// Alerts that nobody was told of.
    pub dropped: AtomicU64,
}

/// Posts a body; what the world outside is to a [`Notifier`].
#[async_trait]
trait Post: Send + Sync + fmt::Debug {
    async fn post(&self, target: &Alertmanager, body: Vec<u8>) -> Result<(), String>;
}

#[derive(Debug)]
struct Http(reqwest::Client);

#[async_trait]
impl Post for Http {
    async fn post(&self, target: &Alertmanager, body: Vec<u8>) -> Result<(), String> {
        let request =
            self.0.post(&target.url).header("content-type", "application/json").timeout(target.timeout).body(body);
        let response = request.send().await.map_err(|error| error.to_string())?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("{} answers {status}", target.url)) }
    }
}

/// Sends alerts to all Alertmanagers, in order, as fast as they take them.
pub struct Notifier {
    targets: Mutex<Vec<Alertmanager>>,
    edit: Mutex<Option<Edit>>,
    queue: Mutex<VecDeque<Notification>>,
    queue_max: usize,
    is_filled: Notify,
    client: Box<dyn Post>,
    stats: NotifierStats,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("targets", &self.targets()).field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Notifier {
    /// A notifier that sends nothing until [`Notifier::run`] does.
    pub fn new(options: NotifierOptions) -> Arc<Self> {
        Self::with_client(options, Box::new(Http(reqwest::Client::new())))
    }

    fn with_client(options: NotifierOptions, client: Box<dyn Post>) -> Arc<Self> {
        Arc::new(Self {
            targets: Mutex::new(options.alertmanagers),
            edit: Mutex::default(),
            queue: Mutex::default(),
            queue_max: options.queue_max,
            is_filled: Notify::new(),
            client,
            stats: NotifierStats::default(),
        })
    }

    /// Its counters.
    pub fn stats(&self) -> &NotifierStats {
        &self.stats
    }

    /// The Alertmanagers.
    pub fn targets(&self) -> Vec<Alertmanager> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on with other Alertmanagers, and with another rewriting of labels.
    pub fn set_targets(&self, targets: Vec<Alertmanager>, edit: Option<Edit>) {
        *self.edit.lock().unwrap_or_else(PoisonError::into_inner) = edit;
        *self.targets.lock().unwrap_or_else(PoisonError::into_inner) = targets;
    }

    /// Alerts that wait.
    pub fn queued(&self) -> usize {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Queues alerts. Where there are too many the oldest go, and are counted.
    pub fn push(&self, mut notifications: Vec<Notification>) {
        let edit = self.edit.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(edit) = edit {
            notifications.retain_mut(|notification| edit(&mut notification.labels));
        }
        if notifications.is_empty() || self.targets().is_empty() {
            return;
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.extend(notifications);
        let excess = queue.len().saturating_sub(self.queue_max);
        if excess > 0 {
            queue.drain(..excess);
            self.stats.dropped.fetch_add(excess as u64, Relaxed);
            tracing::warn!(excess, "alert notifications dropped: more come than Alertmanagers take");
        }
        drop(queue);
        self.is_filled.notify_one();
    }

    /// Sends until told to stop.
    pub async fn run(self: Arc<Self>, stopping: CancellationToken) {
        loop {
            let batch = self.next_batch();
            if batch.is_empty() {
                tokio::select! {
                    () = self.is_filled.notified() => continue,
                    () = stopping.cancelled() => return,
                }
            }
            tokio::select! {
                () = self.send(&batch) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    fn next_batch(&self) -> Vec<Notification> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queue.len().min(BATCH_MAX);
        queue.drain(..count).collect()
    }

    /// One batch to every Alertmanager. An alert that fires is sent again anyway, so a failure is counted and left.
    async fn send(&self, batch: &[Notification]) {
        let body = match serde_json::to_vec(&batch.iter().map(Wire::new).collect::<Vec<_>>()) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, "alerts cannot be written as JSON");
                return;
            }
        };
        let targets = self.targets();
        let posts = targets.iter().map(|target| self.client.post(target, body.clone()));
        let outcomes = futures::future::join_all(posts).await;
        let count = batch.len() as u64;
        let mut is_taken = false;
        for (target, outcome) in targets.iter().zip(outcomes) {
            match outcome {
                Ok(()) => {
                    is_taken = true;
                    self.stats.sent.fetch_add(count, Relaxed);
                }
                Err(error) => {
                    self.stats.errors.fetch_add(count, Relaxed);
                    tracing::warn!(alertmanager = target.url, count, error, "alerts are not taken");
                }
            }
        }
        if !is_taken {
            self.stats.dropped.fetch_add(count, Relaxed);
        }
    }
}

/// An alert as API v2 has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
}

impl<'a> Wire<'a> {
    fn new(notification: &'a Notification) -> Self {
        let Notification { labels, annotations, starts_at_ms, ends_at_ms, generator_url } = notification;
        Self { labels, annotations, starts_at: rfc3339(*starts_at_ms), ends_at: rfc3339(*ends_at_ms), generator_url }
    }
}

/// A time with milliseconds; one that no calendar has is the beginning of all.
pub(crate) fn rfc3339(ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Taken {
        bodies: Mutex<Vec<String>>,
        fails: bool,
    }

    #[async_trait]
    impl Post for Arc<Taken> {
        async fn post(&self, _: &Alertmanager, body: Vec<u8>) -> Result<(), String> {
            self.bodies.lock().unwrap().push(String::from_utf8(body).unwrap());
            if self.fails { Err("no".into()) } else { Ok(()) }
        }
    }

    fn notification(number: i64) -> Notification {
        Notification {
            labels: BTreeMap::from([("alertname".to_owned(), format!("A{number}"))]),
            annotations: BTreeMap::new(),
            starts_at_ms: 1_500,
            ends_at_ms: 60_000,
            generator_url: "http://x/graph".into(),
        }
    }

    fn notifier(queue_max: usize, fails: bool) -> (Arc<Notifier>, Arc<Taken>) {
        let taken = Arc::new(Taken { fails, ..Taken::default() });
        let alertmanagers = vec![Alertmanager { url: "http://am".into(), timeout: Duration::from_secs(1) }];
        (Notifier::with_client(NotifierOptions { alertmanagers, queue_max }, Box::new(taken.clone())), taken)
    }

    #[tokio::test]
    async fn batches_go_in_order_and_are_counted() {
        let (notifier, taken) = notifier(100, false);
        notifier.push((0..70).map(notification).collect());
        let stopping = CancellationToken::new();
        let run = tokio::spawn(notifier.clone().run(stopping.clone()));
        while notifier.stats().sent.load(Relaxed) < 70 {
            tokio::task::yield_now().await;
        }
        stopping.cancel();
        run.await.unwrap();
        let bodies = taken.bodies.lock().unwrap();
        assert_eq!(bodies.len(), 2);
        let first: serde_json::Value = serde_json::from_str(&bodies[0]).unwrap();
        assert_eq!(first.as_array().unwrap().len(), 64);
        let expected = serde_json::json!({
            "labels": {"alertname": "A0"}, "annotations": {}, "startsAt": "1970-01-01T00:00:01.500Z",
            "endsAt": "1970-01-01T00:01:00.000Z", "generatorURL": "http://x/graph",
        });
        assert_eq!(first[0], expected);
    }

    #[tokio::test]
    async fn what_is_not_sent_is_counted() {
        let (notifier, _) = notifier(5, true);
        notifier.push((0..7).map(notification).collect());
        assert_eq!((notifier.queued(), notifier.stats().dropped.load(Relaxed)), (5, 2));
        notifier.send(&notifier.next_batch()).await;
        assert_eq!((notifier.stats().dropped.load(Relaxed), notifier.stats().errors.load(Relaxed)), (7, 5));
    }
}
