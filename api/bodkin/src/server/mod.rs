//! The server role: log, shard, tables, queries and listeners, wired once.
//!
//! ```text
//!  Flight DoPut, remote write -> ingest -> log -> metric store -> feed -> graph -> tables
//!                                                                          coordinator: epochs
//!  PromQL -> metric store, tables
//!  HTTP, Flight SQL -> query engine -> catalog (tables, when the graph has caught up)
//! ```

mod agents;
mod audit;
mod catalog;
mod cloudtrail;
mod enriching;
mod feed;
mod flight;
mod flow;
mod gateway_metrics;
mod graph;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
mod light_threads;
mod listen;
mod metric_limits;
mod metric_store;
mod metrics;
mod node;
mod options;
mod prometheus;
mod promql_rows;
mod query_log;
mod rates;
mod rollup_rows;
mod rules;
mod statsd;
mod storage;
mod subscribe;
mod upkeep;

pub(crate) use agents::AgentsEntry;
pub(crate) use catalog::snapshot_at;
pub(crate) use flow::{FlowConfig, ForwardSection};
#[cfg(test)]
pub(crate) use graph::graph_of;
pub(crate) use metric_limits::MetricsSection;
pub(crate) use node::{AgentView, ServerNode};
pub(crate) use options::ServerArgs;
pub(crate) use statsd::StatsdSection;
pub(crate) use storage::lane_marks;

use crate::config::ServerConfig;
use crate::sql::ServerFile;
use agents::AgentConfigs;
use anyhow::Context;
use audit::AuditIntake;
use bodkin_engine::{Outbox, OutboxOptions};
use bodkin_http::MetricsSource;
use bodkin_ingest::LocalProducer;
use bodkin_metrics::StoreView;
use bodkin_promql::Engine;
use bodkin_query::{QueryEngine, QueryOptions};
use bodkin_rollup::Ladder;
use bodkin_schema::{Clock, Stream};
use cloudtrail::CloudtrailReader;
use flow::{Deliveries, Flow, FlowAlerts, Scheduler};
use light_threads::{LightThreads, Use};
use listen::{Answerers, Listeners};
use prometheus::PrometheusJobs;
use promql_rows::PromqlRows;
use query_log::QueryLog;
use rollup_rows::{FlowRows, RollupRows};
use rules::RuleKeeper;
use statsd::Statsd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use tokio_util::sync::CancellationToken;
use upkeep::Upkeep;

/// How long streams of senders may go on after the listeners have closed.
const STREAMS_GRACE: Duration = Duration::from_millis(500);

/// A server that answers.
pub(crate) struct Server {
    node: Arc<ServerNode>,
    rules: Arc<RuleKeeper>,
    flow: Arc<Flow>,
    storage: Storage,
    listeners: Listeners,
    stopping: CancellationToken,
    config: Option<PathBuf>,
    #[cfg(feature = "kafka")]
    kafka: Vec<bodkin_kafka::KafkaSource>,
    prometheus: Arc<PrometheusJobs>,
    agents: Arc<AgentConfigs>,
    upkeep: Arc<Upkeep>,
    _threads: [LightThreads; 2],
}

/// What of the configuration can change while the server runs: the graph, alerts, channels, forwarders, Prometheus's rules
/// and scraping, what agents are to watch, how long tables keep their rows, which metrics have sketches.
pub(crate) struct Reloader {
    agents: Arc<AgentConfigs>,
    engine: Arc<bodkin_engine::Engine>,
    rules: Arc<RuleKeeper>,
    flow: Arc<Flow>,
    deliveries: Arc<Deliveries>,
    clock: Arc<dyn Clock>,
    config: Option<PathBuf>,
    prometheus: Arc<PrometheusJobs>,
    upkeep: Arc<Upkeep>,
    ladder: Arc<Ladder>,
}

impl Reloader {
    /// Goes on with what the configuration says now.
    pub(crate) async fn reload(&self) -> anyhow::Result<()> {
        let config = ServerConfig::read(self.config.as_deref())?;
        let settings = config.prometheus.settings()?;
        let flow = self.flow.again(&config.flow())?;
        let channels = flow.channels(&self.clock)?;
        let graph = graph::configured(self.config.as_deref(), &self.rules, &flow)?;
        self.prometheus.load(settings).await?;
        self.agents.set(config.agents.clone());
        self.upkeep.keep(config.retention()?);
        self.ladder.sketch(config.metrics.sketched());
        let engine = self.engine.clone();
        // While one graph follows the other, there are the channels of both.
        self.deliveries.add_channels(&channels);
        // It waits until the shards have done what they have taken.
        tokio::task::spawn_blocking(move || engine.reload(&graph)).await?.context("graph")?;
        flow.come_into_force();
        self.deliveries.set_channels(channels);
        Ok(())
    }
}

impl Server {
    /// Recovers what the data folder holds, then listens.
    pub(crate) async fn start(args: &ServerArgs, clock: Arc<dyn Clock>, agent: AgentView) -> anyhow::Result<Self> {
        args.validate()?;
        let config = ServerConfig::read(args.config.as_deref())?;
        let settings = config.prometheus.settings()?;
        let rules = RuleKeeper::new(&config.rules, &args.data_dir)?;
        let flow = Flow::new(&config.flow(), args.data_dir.join("spill/windows"))?;
        let graph = graph::configured(args.config.as_deref(), &rules, &flow)?;
        let outbox = Outbox::new(OutboxOptions::default(), flow.channels(&clock)?);
        let storage =
            Storage::open(&args.data_dir, args.store.as_deref(), &graph, outbox, &config.metrics, clock.clone())
                .await?;
        let (query_log, query_log_writer) = QueryLog::new();
        let view = StoreView::new(storage.metrics().clone(), tokio::runtime::Handle::current());
        let evaluator = Engine::with_clock(settings.engine, clock.clone());
        let promql = PromqlRows { engine: evaluator.clone(), view: view.clone() };
        let threads = [LightThreads::start(Use::Queries)?, LightThreads::start(Use::Upkeep)?];
        let [for_queries, for_upkeep] = threads.each_ref().map(LightThreads::handle);
        let options = QueryOptions {
            runtime: Some(for_queries),
            spill_dir: Some(args.data_dir.join("spill")),
            rules: Some(rules.clone()),
            clock: clock.clone(),
            observer: Some(query_log.clone()),
            promql: Some(Arc::new(promql)),
            rollup: Some(Arc::new(RollupRows { view: view.clone(), flows: FlowRows::new(&storage) })),
            windows: Some(flow.windows().clone()),
            ..Default::default()
        };
        let options = config.queries.apply(options)?;
        let producer = format!("{}/{}", storage.node_id(), Stream::Queries.class());
        tokio::spawn(query_log_writer.run(LocalProducer::new(storage.ingest().clone(), &producer)?));
        let engine = Arc::new(QueryEngine::new(storage.catalog(), options).context("query engine")?);
        let ladders = [storage.ladder().clone(), storage.flow_ladder().clone()];
        let upkeep = Arc::new(Upkeep::new(storage.tables().clone(), ladders, config.retention()?, for_upkeep));
        let asked = Scheduler {
            alerts: flow.in_force().clone(),
            engine: engine.clone(),
            producer: LocalProducer::new(storage.ingest().clone(), &format!("{}/alerts", storage.node_id()))?,
            own: Arc::new(metrics::ServerMetrics::new(&storage)),
        };
        let node = Arc::new(ServerNode::new(&storage, upkeep.clone(), clock.clone(), agent));
        let stopping = CancellationToken::new();
        let audit = LocalProducer::new(storage.ingest().clone(), &format!("{}/audit", storage.node_id()))?;
        let audit = Arc::new(AuditIntake::new(audit, engine.clone(), clock.clone()));
        rules.start(&storage, audit.clone(), &config.rules.output, &stopping).await?;
        let reports = LocalProducer::new(storage.ingest().clone(), &format!("{}/agents", storage.node_id()))?;
        let agents = AgentConfigs::new(config.agents.clone(), reports, clock.clone(), stopping.clone());
        let cloudtrail = Arc::new(CloudtrailReader::default());
        cloudtrail.start(&config.cloudtrail.buckets, &args.data_dir, &audit, &stopping)?;
        tokio::spawn(upkeep.clone().run(stopping.clone()));
        tokio::spawn(node.clone().watch_rates(stopping.clone()));
        tokio::spawn(asked.run(stopping.clone()));
        let jobs = PrometheusJobs::new(evaluator.clone(), view, storage.gateway(), &clock, &stopping);
        let statsd = Statsd::start(&config.statsd, storage.gateway(), &clock, &stopping).await?;
        let answerers = Answerers {
            engine,
            node: node.clone(),
            rules: rules.clone(),
            metrics: vec![
                query_log as Arc<dyn MetricsSource>,
                cloudtrail,
                jobs.clone(),
                statsd,
                flow.windows().clone(),
            ],
            prometheus: jobs.api(evaluator, &storage),
            alerting: Arc::new(FlowAlerts::new(&flow, &storage)?),
            agents: agents.clone(),
        };
        let listeners = Listeners::open(args, &storage, answerers, &stopping).await?;
        jobs.load(settings).await?;
        ServerFile { http: listeners.http_url(), flight: listeners.flight_url() }.write(&args.data_dir)?;
        node.listening(listeners.http_url(), listeners.flight_url());
        Ok(Self {
            #[cfg(feature = "kafka")]
            kafka: kafka::start(&config.kafka, &storage)?,
            node,
            rules,
            flow,
            storage,
            listeners,
            stopping,
            config: args.config.clone(),
            prometheus: jobs,
            agents,
            upkeep,
            _threads: threads,
        })
    }

    /// Reads the configuration again, for as long as the server runs.
    pub(crate) fn reloader(&self) -> Reloader {
        let (engine, rules, flow) = (self.storage.engine().clone(), self.rules.clone(), self.flow.clone());
        let (agents, prometheus, upkeep) = (self.agents.clone(), self.prometheus.clone(), self.upkeep.clone());
        let (deliveries, clock) = (self.storage.deliveries().clone(), self.storage.clock().clone());
        let (ladder, config) = (self.storage.ladder().clone(), self.config.clone());
        Reloader { agents, engine, rules, flow, deliveries, clock, config, prometheus, upkeep, ladder }
    }

    /// What the process says of itself.
    pub(crate) fn node(&self) -> &Arc<ServerNode> {
        &self.node
    }

    /// The rules that run.
    pub(crate) fn rules(&self) -> &Arc<RuleKeeper> {
        &self.rules
    }

    /// URL of the HTTP listener.
    pub(crate) fn http_url(&self) -> String {
        self.listeners.http_url()
    }

    /// URL of the Flight listener.
    pub(crate) fn flight_url(&self) -> String {
        self.listeners.flight_url()
    }

    /// The data folder.
    pub(crate) fn data_dir(&self) -> &Path {
        self.storage.data_dir()
    }

    /// Resolves when the server cannot go on.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        self.storage.failed().await
    }

    /// Stops listening, gives running requests a moment, ends the last epoch and closes the log.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.node.stopping();
        self.stopping.cancel();
        #[cfg(feature = "kafka")]
        drop(self.kafka);
        self.listeners.close(STREAMS_GRACE).await;
        self.prometheus.stop().await;
        self.storage.close().await
    }
}
