//! The listeners: HTTP and Flight.

use super::agents::AgentConfigs;
use super::flight::FlightRouter;
use super::metrics::ServerMetrics;
use super::node::ServerNode;
use super::options::ServerArgs;
use super::rules::RuleKeeper;
use super::storage::Storage;
use anyhow::Context;
use arrow_flight::flight_service_server::FlightServiceServer;
use bodkin_flight::{PrincipalHook, SqlService};
use bodkin_http::{Alerting, AppState, Limits, MetricsSource, NoCredentials, Prometheus};
use bodkin_query::QueryEngine;
use bodkin_schema::Principal;
use futures::TryStreamExt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Status};

/// A batch is megabytes: in frames of the 16 KiB that HTTP/2 begins with, a fifth fewer rows are acknowledged per CPU second.
const FRAME_BYTES_MAX: u32 = 256 << 10;

/// Both listeners, serving.
pub(super) struct Listeners {
    http: SocketAddr,
    flight: SocketAddr,
    tasks: [JoinHandle<anyhow::Result<()>>; 2],
}

/// Who answers what the listeners are asked, besides the storage.
pub(super) struct Answerers {
    pub(super) engine: Arc<QueryEngine>,
    pub(super) node: Arc<ServerNode>,
    pub(super) rules: Arc<RuleKeeper>,
    pub(super) metrics: Vec<Arc<dyn MetricsSource>>,
    pub(super) prometheus: Prometheus,
    pub(super) alerting: Arc<dyn Alerting>,
    pub(super) agents: Arc<AgentConfigs>,
}

impl Listeners {
    pub(super) async fn open(
        args: &ServerArgs,
        storage: &Storage,
        answerers: Answerers,
        stopping: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let Answerers { engine, node, rules, mut metrics, prometheus, alerting, agents } = answerers;
        let http = bind("--http", args.http).await?;
        let flight = bind("--flight", args.flight).await?;
        let addresses = (http.local_addr()?, flight.local_addr()?);
        metrics.extend([Arc::new(ServerMetrics::new(storage)) as Arc<dyn MetricsSource>, rules.clone()]);
        let state = AppState {
            sql: engine.clone(),
            node,
            detection: rules.clone(),
            metrics,
            auth: Arc::new(NoCredentials),
            limits: Limits::default(),
            is_loopback: addresses.0.ip().is_loopback(),
            counters: Arc::default(),
            prometheus: Some(Arc::new(prometheus)),
            alerting: Some(alerting),
        };
        let tasks = [
            tokio::spawn(serve_http(http, state, stopping.clone())),
            tokio::spawn(serve_flight(flight, storage, &engine, agents, stopping.clone())),
        ];
        Ok(Self { http: addresses.0, flight: addresses.1, tasks })
    }

    pub(super) fn http_url(&self) -> String {
        format!("http://{}", self.http)
    }

    pub(super) fn flight_url(&self) -> String {
        format!("grpc://{}", self.flight)
    }

    /// Waits until running requests have ended, at most `grace`: a sender's stream never ends by itself.
    pub(super) async fn close(self, grace: Duration) {
        for task in self.tasks {
            let abort = task.abort_handle();
            match tokio::time::timeout(grace, task).await {
                Ok(Ok(Err(error))) => tracing::error!(%error, "listener"),
                Ok(_) => {}
                Err(_) => abort.abort(),
            }
        }
    }
}

async fn bind(flag: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{flag} {address}"))
}

async fn serve_http(listener: TcpListener, state: AppState, stopping: CancellationToken) -> anyhow::Result<()> {
    bodkin_http::serve(listener, bodkin_http::router(state), stopping.cancelled_owned()).await.context("http")
}

/// Everyone who reaches the listener is the default tenant: it is on loopback, or was told to trust the network.
fn principal(_: &MetadataMap, _: &Extensions) -> Result<Principal, Status> {
    Ok(Principal::default())
}

fn serve_flight(
    listener: TcpListener,
    storage: &Storage,
    engine: &Arc<QueryEngine>,
    agents: Arc<AgentConfigs>,
    stopping: CancellationToken,
) -> impl Future<Output = anyhow::Result<()>> + use<> {
    let ingest = storage.ingest().clone();
    let message_bytes_max = ingest.limits().message_bytes_max();
    let hook: PrincipalHook = Arc::new(principal);
    let router = FlightRouter {
        sql: SqlService::new(engine.clone(), hook.clone()),
        ingest,
        engine: storage.engine().clone(),
        agents,
        principal: hook,
    };
    async move {
        let sockets = TcpListenerStream::new(listener).inspect_ok(|socket| {
            // An answer or an acknowledgement is small and the last for a while: it must not wait for more to send.
            // A socket that refuses works all the same.
            let _ = socket.set_nodelay(true);
        });
        tonic::transport::Server::builder()
            // A sender that is gone without a word must not hold its stream for ever.
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .max_frame_size(Some(FRAME_BYTES_MAX))
            .add_service(FlightServiceServer::new(router).max_decoding_message_size(message_bytes_max))
            .serve_with_incoming_shutdown(sockets, stopping.cancelled_owned())
            .await
            .context("flight")
    }
}
