//! Figures per node, counted on each shard and summed when somebody asks.

use crate::graph::Plan;
use bodkin_schema::EventTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Figures of one node on one shard.
#[derive(Debug)]
pub(crate) struct NodeStats {
    rows_in: AtomicU64,
    rows_out: AtomicU64,
    state_bytes: AtomicU64,
    newest_us: AtomicI64,
    watermark_us: AtomicI64,
}

impl Default for NodeStats {
    fn default() -> Self {
        Self {
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
            state_bytes: AtomicU64::new(0),
            newest_us: AtomicI64::new(i64::MIN),
            watermark_us: AtomicI64::new(i64::MIN),
        }
    }
}

/// Figures of everything on one shard.
#[derive(Debug, Default)]
pub(crate) struct ShardStats {
    /// By number of the node.
    pub(crate) nodes: Vec<NodeStats>,
    /// Of each stream what came in, and what went to its table.
    pub(crate) streams: BTreeMap<Arc<str>, (NodeStats, NodeStats)>,
}

impl ShardStats {
    pub(crate) fn new(plan: &Plan) -> Arc<Self> {
        let nodes = plan.nodes.iter().map(|_| NodeStats::default()).collect();
        let streams = plan.sources.keys().map(|stream| (stream.clone(), Default::default())).collect();
        Arc::new(Self { nodes, streams })
    }
}

/// Figures of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that went out.
    pub rows_out: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// The newest event time that came in.
    pub newest: Option<EventTime>,
    /// No row before is expected.
    pub watermark: Option<EventTime>,
}

impl NodeStats {
    pub(crate) fn rows_in(&self, rows: usize, newest: Option<EventTime>) {
        self.rows_in.fetch_add(rows as u64, Relaxed);
        if let Some(newest) = newest {
            self.newest_us.fetch_max(newest.0, Relaxed);
        }
    }

    pub(crate) fn rows_out(&self, rows: usize) {
        self.rows_out.fetch_add(rows as u64, Relaxed);
    }

    pub(crate) fn state(&self, bytes: usize) {
        self.state_bytes.store(bytes as u64, Relaxed);
    }

    pub(crate) fn watermark(&self, time: EventTime) {
        self.watermark_us.store(time.0, Relaxed);
    }

    pub(crate) fn figures(&self) -> Figures {
        let time = |micros: &AtomicI64| Some(micros.load(Relaxed)).filter(|micros| *micros > i64::MIN).map(EventTime);
        Figures {
            rows_in: self.rows_in.load(Relaxed),
            rows_out: self.rows_out.load(Relaxed),
            state_bytes: self.state_bytes.load(Relaxed),
            newest: time(&self.newest_us),
            watermark: time(&self.watermark_us),
        }
    }
}

impl Figures {
    /// The figures of both shards together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            rows_in: self.rows_in + other.rows_in,
            rows_out: self.rows_out + other.rows_out,
            state_bytes: self.state_bytes + other.state_bytes,
            newest: self.newest.max(other.newest),
            watermark: match (self.watermark, other.watermark) {
                (Some(left), Some(right)) => Some(left.min(right)),
                (left, right) => left.or(right),
            },
        }
    }
}
