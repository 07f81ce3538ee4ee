//! Findings as the operators make them: counted, and shown to whoever follows.

use arrow::array::RecordBatch;
use bodkin_http::LiveFindings;
use bodkin_rules::FindingRows;
use bodkin_schema::Tenant;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// Batches that wait for the slowest follower; beyond, it misses some and is told.
const WAITING_MAX: usize = 1024;

/// Rules that are counted one by one; the findings of any further share one entry.
const RULES_MAX: usize = 10_000;

/// What findings are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(super) rule: String,
    pub(super) priority: String,
    pub(super) source: String,
}

/// All findings of a server.
#[derive(Debug)]
pub(crate) struct FindingsFeed {
    sender: broadcast::Sender<Arc<LiveFindings>>,
    counts: Mutex<BTreeMap<Key, u64>>,
    missed: AtomicU64,
    held_back: AtomicU64,
}

impl Default for FindingsFeed {
    fn default() -> Self {
        let sender = broadcast::Sender::new(WAITING_MAX);
        Self { sender, counts: Mutex::default(), missed: AtomicU64::new(0), held_back: AtomicU64::new(0) }
    }
}

impl FindingsFeed {
    /// Takes a tenant's rows of `findings`. Never waits.
    pub(crate) fn saw(&self, tenant: &Tenant, rows: &RecordBatch) {
        let findings = FindingRows::new(rows);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for row in 0..findings.len() {
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let (rule, priority, source) = (findings.rule(row), findings.priority(row), findings.source(row));
            let key = Key { rule: text(rule), priority: text(priority), source: text(source) };
            if counts.len() < RULES_MAX || counts.contains_key(&key) {
                *counts.entry(key).or_default() += 1;
            } else {
                *counts.entry(Key { rule: "(others)".to_owned(), ..key }).or_default() += 1;
            }
        }
        drop(counts);
        // Nobody may follow.
        let _ = self.sender.send(Arc::new(LiveFindings { tenant: tenant.clone(), rows: rows.clone() }));
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<LiveFindings>> {
        self.sender.subscribe()
    }

    /// Findings by rule since the start.
    pub(super) fn counts(&self) -> Vec<(Key, u64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(key, count)| (key.clone(), *count)).collect()
    }

    /// An output missed so many batches.
    pub(super) fn miss(&self, batches: u64) {
        self.missed.fetch_add(batches, Ordering::Relaxed);
    }

    /// So many findings were held back by limits.
    pub(super) fn hold_back(&self, findings: u64) {
        self.held_back.fetch_add(findings, Ordering::Relaxed);
    }

    pub(super) fn held_back(&self) -> u64 {
        self.held_back.load(Ordering::Relaxed)
    }

    pub(super) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}
