//! What keeps rows: data folder, log, graph, tables and their epochs.

use super::MetricsSection;
use super::catalog::LiveCatalog;
use super::feed::{Feed, LogSource, Notes};
use super::flow::{Deliveries, DeliveryEnds};
use super::metric_store::{MetricFeed, MetricTables};
use crate::store::TableStore;
use anyhow::{Context, anyhow};
use bodkin_engine::{
    Batch, Coordinator, Engine, EngineOptions, EpochOptions, EpochStats, FlushHandle, Graph, IntentStore, Mark, Outbox,
    Recovered, Run, Sink, Source, Time, TokioTimer, flush_channel,
};
use bodkin_gateway::Gateway;
use bodkin_ingest::{IngestLimits, IngestService, LaneKey, LaneMark, LocalProducer, ReplayReport};
use bodkin_metrics::MetricStore;
use bodkin_query::Catalog;
use bodkin_rollup::{Base, Ladder};
use bodkin_schema::{Clock, Stream};
use bodkin_table::{DataDir, Retention, Tables};
use bodkin_wal::{Wal, WalOptions};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Everything that holds rows, running.
pub(crate) struct Storage {
    data_dir: DataDir,
    tables: Arc<Tables>,
    ladder: Arc<Ladder>,
    flow_ladder: Arc<Ladder>,
    ingest: Arc<IngestService>,
    metrics: Arc<MetricStore>,
    gateway: Arc<Gateway>,
    clock: Arc<dyn Clock>,
    engine: Arc<Engine>,
    notes: Notes,
    outbox: Arc<Outbox>,
    deliveries: Arc<Deliveries>,
    flush: FlushHandle,
    epochs: Arc<EpochStats>,
    stop: Option<oneshot::Sender<()>>,
    coordinator: JoinHandle<bodkin_engine::Result<()>>,
    watching: JoinHandle<()>,
}

impl Storage {
    /// Opens the folder, finishes the last epoch that was decided and replays the log. Rows go through `graph`, what is to
    /// be delivered to `outbox`.
    pub(crate) async fn open(
        path: &Path,
        store: Option<&str>,
        graph: &Graph,
        outbox: Outbox,
        section: &MetricsSection,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let data_dir = DataDir::open(path)?;
        let TableStore { store, root } = TableStore::open(path, store)?;
        let tables = Arc::new(Tables::open(store.clone(), root, data_dir.node(), clock.clone()).await?);
        let ladder = |base| Ladder::open(tables.clone(), base, Retention::default(), clock.clone());
        let (ladder, flow_ladder) = tokio::try_join!(ladder(Base::Samples), ladder(Base::Flows)).context("rollups")?;
        ladder.sketch(section.sketched());
        let intents = IntentStore::new(store, data_dir.node());
        let floor = intents.newest().await?.map(|intent| intent.position()).unwrap_or_default();
        let wal = Wal::open(&path.join("wal"), WalOptions { floor, ..Default::default() }, clock.clone())?;
        let wal = Arc::new(wal);

        let source: Arc<dyn Source> = Arc::new(LogSource(wal.clone()));
        let outbox = Arc::new(outbox);
        let sinks: Vec<Arc<dyn Sink>> = vec![tables.clone(), outbox.clone()];
        let time = Time { clock: clock.clone(), timer: Arc::new(TokioTimer) };
        let (coordinator, recovered) =
            Coordinator::recover(intents, sinks.clone(), source, EpochOptions::default(), time).await?;
        let (engine, reports) = Engine::start(graph, sinks, &recovered, EngineOptions::default(), clock.clone())?;
        let engine = Arc::new(engine);
        let inlet = engine.inlet().clone();
        let feed = Arc::new(Feed { inlet: inlet.clone() });
        let metrics = MetricStore::new(section.memory()?);
        let metric_tables =
            MetricTables { tables: tables.clone(), ladder: ladder.clone(), progress: inlet.progress().clone() };
        metrics.load(Arc::new(metric_tables), &tables.snapshot()).await.context("series and samples")?;
        let downstream = Arc::new(MetricFeed { store: metrics.clone(), next: feed });
        let ingest = IngestService::new(wal.clone(), clock.clone(), IngestLimits::default(), downstream);
        let producer = LocalProducer::new(ingest.clone(), &format!("{}/metrics", data_dir.node()))?;
        let gateway = Arc::new(Gateway::new(producer, metrics.clone(), section.limits()?));
        let (flush, requests) = flush_channel();
        let (stop, stopped) = oneshot::channel();
        let epochs = coordinator.stats();
        // Epochs run while the log is replayed: a log longer than memory goes to the tables on the way.
        let run = Run { inlet: inlet.clone(), reports, requests, stop: stopped };
        let coordinator = tokio::spawn(coordinator.run(run));
        replay(&ingest, &recovered, &engine, data_dir.node(), &clock).await?;
        let notes = Notes { wal, inlet, clock: clock.clone() };
        let watching = tokio::spawn(notes.clone().watch_clocks());
        let ends = LocalProducer::new(ingest.clone(), &format!("{}/deliveries", data_dir.node()))?;
        let deliveries = Deliveries::start(&outbox, &notes, Arc::new(DeliveryEnds { producer: ends })).await;
        Ok(Self {
            data_dir,
            tables,
            ladder,
            flow_ladder,
            ingest,
            metrics,
            gateway,
            clock,
            engine,
            notes,
            outbox,
            deliveries,
            flush,
            epochs,
            stop: Some(stop),
            coordinator,
            watching,
        })
    }

    pub(crate) fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// The node's id.
    pub(crate) fn node_id(&self) -> &str {
        self.data_dir.node()
    }

    pub(crate) fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The tiers of samples.
    pub(crate) fn ladder(&self) -> &Arc<Ladder> {
        &self.ladder
    }

    /// The tiers of flows.
    pub(crate) fn flow_ladder(&self) -> &Arc<Ladder> {
        &self.flow_ladder
    }

    pub(crate) fn ingest(&self) -> &Arc<IngestService> {
        &self.ingest
    }

    /// Series and recent samples.
    pub(crate) fn metrics(&self) -> &Arc<MetricStore> {
        &self.metrics
    }

    /// The clock of the process.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Takes metrics of other protocols.
    pub(crate) fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    pub(crate) fn epochs(&self) -> &Arc<EpochStats> {
        &self.epochs
    }

    pub(crate) fn flush(&self) -> &FlushHandle {
        &self.flush
    }

    /// The graph that runs.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Side inputs of the graph.
    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }

    /// What is to be delivered.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// What sends it.
    pub(crate) fn deliveries(&self) -> &Arc<Deliveries> {
        &self.deliveries
    }

    /// What queries see.
    pub(crate) fn catalog(&self) -> Arc<dyn Catalog> {
        Arc::new(LiveCatalog { tables: self.tables.clone(), progress: self.engine.inlet().progress().clone() })
    }

    /// Resolves when epochs cannot go on. Safe to drop.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.coordinator).await {
            Ok(Ok(())) => anyhow!("epochs have ended"),
            Ok(Err(error)) => anyhow!(error),
            Err(error) => anyhow!(error).context("epochs"),
        }
    }

    /// Ends the last epoch, then the log and the graph. Nothing may be put any more.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        self.watching.abort();
        self.deliveries.stop();
        if let Some(stop) = self.stop.take() {
            // Where the coordinator is gone already, its result says why.
            let _ = stop.send(());
        }
        let result = self.coordinator.await.context("epochs")?;
        let Self { ingest, engine, .. } = self;
        tokio::task::spawn_blocking(move || {
            ingest.wal().close();
            drop(engine);
        })
        .await?;
        result.context("the last epoch is not in the tables; its rows are in the log")
    }
}

/// What the intent remembers of lanes, for ingest.
pub(crate) fn lane_marks(marks: &[Mark]) -> Vec<LaneMark> {
    let lane_mark = |mark: &Mark| LaneMark {
        key: LaneKey { tenant: mark.tenant(), lane: mark.lane() },
        seq: mark.seq(),
        last_ingest: mark.last_ingest(),
    };
    marks.iter().map(lane_mark).collect()
}

async fn replay(
    ingest: &Arc<IngestService>,
    from: &Recovered,
    engine: &Engine,
    node: &str,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<()> {
    let (service, marks, position) = (ingest.clone(), lane_marks(&from.marks), from.position);
    let report = tokio::task::spawn_blocking(move || service.replay(position, marks)).await??;
    if report.batches > 0 || report.quarantined_count > 0 {
        tracing::info!(
            batches = report.batches,
            rows = report.rows,
            duplicates = report.duplicates,
            quarantined = report.quarantined_count,
            "log replayed"
        );
    }
    if let Some(drops) = quarantine_drops(&report, node, clock.as_ref())? {
        // They stand for all of the log so far: an epoch that has it holds them, too.
        let (inlet, position) = (engine.inlet().clone(), ingest.wal().durable());
        tokio::task::spawn_blocking(move || inlet.push(Batch { position, ..drops })).await?;
    }
    Ok(())
}

/// DROP-1: what was in the log and cannot be read any more. A place whose rows nobody can count counts as one.
fn quarantine_drops(report: &ReplayReport, node: &str, clock: &dyn Clock) -> anyhow::Result<Option<Batch>> {
    use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
    if report.quarantined.is_empty() {
        return Ok(None);
    }
    let lost = &report.quarantined;
    let producers = lost.iter().map(|place| place.producer.as_ref().map_or(node, |producer| producer.as_str()));
    let records = RecordBatch::try_new(
        Stream::Drops.schema(),
        vec![
            Arc::new(TimestampMicrosecondArray::from(vec![clock.now().micros(); lost.len()]).with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(producers)),
            Arc::new(StringArray::from(vec![Stream::Drops.class().name(); lost.len()])),
            Arc::new(StringArray::from(vec!["quarantined"; lost.len()])),
            Arc::new(Int64Array::from_iter_values(lost.iter().map(|place| place.rows.unwrap_or(1) as i64))),
        ],
    )?;
    Ok(Some(Batch { ingest_time: clock.now(), ..Batch::made(Stream::Drops.name(), records) }))
}
