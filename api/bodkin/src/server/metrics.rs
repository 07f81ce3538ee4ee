//! The counters of the parts, as `/metrics` shows them.

use super::storage::Storage;
use bodkin_engine::{Engine, EpochStats, NodeStatus, Outbox};
use bodkin_http::{Family, MetricKind, MetricsSource, Sample};
use bodkin_ingest::IngestService;
use bodkin_rollup::Ladder;
use bodkin_schema::Clock;
use bodkin_table::Tables;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of ingest, log, graph, epochs, tables, rollups and deliveries.
pub(crate) struct ServerMetrics {
    ingest: Arc<IngestService>,
    epochs: Arc<EpochStats>,
    tables: Arc<Tables>,
    /// Of samples, and of flows.
    ladders: [(&'static str, Arc<Ladder>); 2],
    engine: Arc<Engine>,
    outbox: Arc<Outbox>,
    clock: Arc<dyn Clock>,
}

impl ServerMetrics {
    pub(crate) fn new(storage: &Storage) -> Self {
        Self {
            ingest: storage.ingest().clone(),
            epochs: storage.epochs().clone(),
            tables: storage.tables().clone(),
            ladders: [("samples", storage.ladder().clone()), ("flows", storage.flow_ladder().clone())],
            engine: storage.engine().clone(),
            outbox: storage.outbox().clone(),
            clock: storage.clock().clone(),
        }
    }

    fn ingest(&self, families: &mut Vec<Family>) {
        let stats = self.ingest.stats();
        families.extend([
            Family::counter("bodkin_ingest_batches_stored_total", "Batches that became durable.", stats.batches),
            Family::counter("bodkin_ingest_rows_stored_total", "Rows that became durable.", stats.rows),
            Family::counter("bodkin_ingest_bytes_stored_total", "Bytes of batches as they came.", stats.bytes),
            Family::counter(
                "bodkin_ingest_duplicates_dropped_total",
                "Batches that were sent again.",
                stats.duplicates,
            ),
            Family::counter("bodkin_ingest_gaps_seen_total", "Numbers that senders skipped.", stats.gaps),
            Family::counter("bodkin_ingest_streams_opened_total", "DoPut streams.", stats.streams),
        ]);
        let samples = stats.refused.into_iter().map(|(reason, count)| Sample {
            labels: vec![("reason".into(), reason.to_owned())],
            value: count as f64,
            ..Sample::default()
        });
        families.push(Family {
            name: "bodkin_ingest_streams_refused_total".into(),
            help: "DoPut streams that ended with a refusal.".into(),
            kind: MetricKind::Counter,
            samples: samples.collect(),
        });
    }

    fn wal(&self, families: &mut Vec<Family>) {
        let stats = self.ingest.wal().stats();
        families.extend([
            Family::counter("bodkin_wal_frames_written_total", "Frames that became durable.", stats.frames),
            Family::counter("bodkin_wal_bytes_written_total", "Bytes of those frames.", stats.bytes),
            Family::counter("bodkin_wal_syncs_done_total", "Syncs of the log.", stats.syncs),
            Family::counter("bodkin_wal_appends_failed_total", "Appends that failed.", stats.failed),
            Family::counter("bodkin_wal_frames_quarantined_total", "Damaged places found at start.", stats.quarantined),
            Family::gauge("bodkin_wal_sync_seconds_max", "The slowest sync.", stats.sync_time_max.as_secs_f64()),
        ]);
    }

    fn rollups(&self, families: &mut Vec<Family>) {
        let mut add = |name: &'static str, help: &'static str, kind, of: &dyn Fn(&Ladder) -> f64| {
            let sample = |(table, ladder): &(&str, Arc<Ladder>)| Sample {
                labels: vec![("table".into(), (*table).to_owned())],
                value: of(ladder),
                ..Sample::default()
            };
            let samples = self.ladders.iter().map(sample).collect();
            families.push(Family { name: name.into(), help: help.into(), kind, samples });
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let (counter, gauge) = (MetricKind::Counter, MetricKind::Gauge);
        let made = "Stretches of two hours whose tiers were made, each time counted.";
        add("bodkin_rollup_units_made_total", made, counter, &|ladder| read(&ladder.stats().units_made));
        let rows = "Rows of the table read for its tiers.";
        add("bodkin_rollup_rows_read_total", rows, counter, &|ladder| read(&ladder.stats().rows_read));
        let settled = "Stretches with late rows whose others were gone: their tiers stay as they are.";
        add("bodkin_rollup_units_settled_total", settled, counter, &|ladder| read(&ladder.stats().units_settled));
        let pending = "Stretches of two hours that are read from the table.";
        add("bodkin_rollup_units_pending", pending, gauge, &|ladder| ladder.progress().units_pending as f64);
    }

    fn tables(&self, families: &mut Vec<Family>) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (epochs, stats) = (&self.epochs, self.tables.stats());
        families.extend([
            Family::counter("bodkin_engine_epochs_completed_total", "Epochs completed.", read(&epochs.completed)),
            Family::counter("bodkin_engine_epochs_retried_total", "Attempts tried again.", read(&epochs.retried)),
            Family::counter("bodkin_table_rows_written_total", "Rows taken into the tail.", read(&stats.rows_written)),
            Family::counter("bodkin_table_rows_rejected_total", "Rows that fit no table.", read(&stats.rows_rejected)),
            Family::counter(
                "bodkin_table_rows_suffixed_total",
                "Rows with values of another type than the registered one, kept in columns of their own.",
                read(&stats.rows_suffixed),
            ),
            Family::counter("bodkin_table_files_written_total", "Files uploaded.", read(&stats.files_written)),
            Family::counter("bodkin_table_bytes_written_total", "Bytes of files.", read(&stats.file_bytes_written)),
            Family::counter(
                "bodkin_table_files_compacted_total",
                "Files that compaction replaced.",
                read(&stats.files_compacted),
            ),
            Family::counter(
                "bodkin_table_compacted_bytes_written_total",
                "Bytes of files that compaction made.",
                read(&stats.compacted_bytes_written),
            ),
            Family::counter(
                "bodkin_table_objects_deleted_total",
                "Objects that vacuum deleted.",
                read(&stats.objects_deleted),
            ),
            Family::counter("bodkin_table_commits_written_total", "Commits to table logs.", read(&stats.commits)),
        ]);
        let tail = bodkin_engine::Sink::pending_bytes(self.tables.as_ref()) as f64;
        families.push(Family::gauge("bodkin_table_tail_bytes", "Bytes of rows that are in no file yet.", tail));
    }
}

impl ServerMetrics {
    /// What `bodkin graph` shows, by node. A node that has seen no row has no lag and no watermark.
    fn graph(&self, families: &mut Vec<Family>) {
        let nodes = self.engine.status(self.clock.now()).nodes;
        let mut family = |name: &'static str, help: &'static str, kind, value: &dyn Fn(&NodeStatus) -> Option<f64>| {
            let sample = |node: &NodeStatus| {
                let labels = vec![("node".into(), node.name.clone()), ("kind".into(), node.kind.name().to_owned())];
                Some(Sample { labels, value: value(node)?, ..Sample::default() })
            };
            let samples = nodes.iter().filter_map(sample).collect();
            families.push(Family { name: name.into(), help: help.into(), kind, samples });
        };
        use MetricKind::{Counter, Gauge};
        family("bodkin_graph_rows_in_total", "Rows that a node took.", Counter, &|node| Some(node.rows_in as f64));
        family("bodkin_graph_rows_out_total", "Rows that a node gave.", Counter, &|node| Some(node.rows_out as f64));
        family("bodkin_graph_lag_seconds", "Age of the newest row by its own time.", Gauge, &|node| {
            node.lag_ms.map(|lag| lag as f64 / 1e3)
        });
        family("bodkin_graph_watermark_seconds", "Watermark as a Unix time.", Gauge, &|node| {
            node.watermark_us.map(|time| time as f64 / 1e6)
        });
        family("bodkin_graph_state_bytes", "State of a node at the last barrier.", Gauge, &|node| {
            Some(node.state_bytes as f64)
        });
        family("bodkin_graph_queue_bytes", "Rows that wait for a node.", Gauge, &|node| Some(node.queue_bytes as f64));
    }

    fn deliveries(&self, families: &mut Vec<Family>) {
        let (stats, read) = (self.outbox.stats(), |counter: &AtomicU64| counter.load(Ordering::Relaxed));
        families.extend([
            Family::counter("bodkin_outbox_deliveries_sent_total", "Deliveries that were taken.", read(&stats.sent)),
            Family::counter("bodkin_outbox_attempts_failed_total", "Attempts tried again.", read(&stats.failed)),
            Family::counter("bodkin_outbox_deliveries_dead_total", "Deliveries given up.", read(&stats.dead)),
            Family::gauge("bodkin_outbox_deliveries_pending", "Deliveries that wait.", self.outbox.pending() as f64),
        ]);
    }
}

impl MetricsSource for ServerMetrics {
    fn families(&self) -> Vec<Family> {
        let mut families = Vec::new();
        self.ingest(&mut families);
        self.wal(&mut families);
        self.tables(&mut families);
        self.rollups(&mut families);
        self.graph(&mut families);
        self.deliveries(&mut families);
        families
    }
}
