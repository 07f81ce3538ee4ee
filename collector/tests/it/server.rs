//! A Flight server that takes puts as the real one does, and misbehaves on demand.

use arrow::array::RecordBatch;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use bodkin_collector::client::remote_config::{CONFIG_ACTION, REPORT_ACTION};
use bodkin_schema::{Incarnation, Lane, Producer};
use bodkin_wal::ipc::{MessageKind, message_kind};
use bodkin_wal::{IpcFrame, IpcMessage, Limits};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// One batch that the server has stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) lane: Lane,
    pub(crate) seq: u64,
    pub(crate) records: RecordBatch,
}

/// What the server does with what it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Stores and acks.
    #[default]
    Good,
    /// Stores and says nothing.
    Silent,
    /// Refuses every batch that holds more rows.
    Picky { rows_max: usize },
    /// Acks, with no credit left.
    Stingy,
}

/// What outlives a server: its disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) stored: Vec<Stored>,
    pub(crate) marks: HashMap<Lane, u64>,
    /// Batches that came again.
    pub(crate) duplicates: usize,
    pub(crate) puts: usize,
    pub(crate) manner: Manner,
    /// What agents are to watch; None on a server that knows nothing of that.
    pub(crate) config: Option<tokio::sync::watch::Sender<serde_json::Value>>,
    /// What they said of it.
    pub(crate) reports: Vec<serde_json::Value>,
}

/// A server in a runtime of its own, so that dropping it cuts every connection.
pub(crate) struct TestServer {
    runtime: Option<Runtime>,
    pub(crate) address: SocketAddr,
    pub(crate) disk: Arc<Mutex<Disk>>,
}

impl TestServer {
    pub(crate) fn start(disk: Arc<Mutex<Disk>>, address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let service = FlightServiceServer::new(Service(disk.clone())).max_decoding_message_size(64 << 20);
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { runtime: Some(runtime), address, disk }
    }

    pub(crate) fn on_a_free_port() -> Self {
        Self::start(Arc::default(), SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub(crate) fn url(&self) -> String {
        format!("grpc://{}", self.address)
    }

    pub(crate) fn set(&self, manner: Manner) {
        self.disk.lock().unwrap().manner = manner;
    }

    /// Batches of a stream, in the order in which they were stored.
    pub(crate) fn stored(&self, stream: &str) -> Vec<Stored> {
        let disk = self.disk.lock().unwrap();
        disk.stored.iter().filter(|stored| &*stored.lane.stream == stream).cloned().collect()
    }

    /// Ends it with all its connections; the disk and the address stay.
    pub(crate) fn kill(mut self) -> (Arc<Mutex<Disk>>, SocketAddr) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        (self.disk.clone(), self.address)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    producer: String,
    incarnation: u64,
    seq: u64,
}

struct Service(Arc<Mutex<Disk>>);

/// The messages of one put.
struct Put {
    stream: String,
    schema: IpcMessage,
    dictionaries: BTreeMap<i64, IpcMessage>,
}

impl Put {
    fn open(first: FlightData) -> Result<Self, Status> {
        let path = first.flight_descriptor.map(|descriptor| descriptor.path).unwrap_or_default();
        let [stream] = path.as_slice() else { return Err(Status::invalid_argument("path")) };
        let schema = IpcMessage { header: first.data_header, body: first.data_body };
        Ok(Self { stream: stream.clone(), schema, dictionaries: BTreeMap::new() })
    }

    /// A dictionary is kept, a batch is stored. What is to be answered.
    fn take(&mut self, data: FlightData, disk: &Mutex<Disk>) -> Result<Option<PutResult>, Status> {
        let message = IpcMessage { header: data.data_header, body: data.data_body };
        let invalid = |error: &dyn std::fmt::Display| Status::invalid_argument(error.to_string());
        match message_kind(&message.header, &Limits::default()).map_err(|error| invalid(&error))? {
            MessageKind::Schema => return Err(Status::invalid_argument("schema")),
            MessageKind::Dictionary(id) => {
                self.dictionaries.insert(id, message);
                return Ok(None);
            }
            MessageKind::Batch => {}
        }
        let metadata: Metadata = serde_json::from_slice(&data.app_metadata).map_err(|error| invalid(&error))?;
        let frame = IpcFrame {
            schema: self.schema.clone(),
            dictionaries: self.dictionaries.values().cloned().collect(),
            batch: message,
        };
        let records = bodkin_wal::ipc::decode(&frame, &Limits::default()).map_err(|error| invalid(&error))?;
        let lane = Lane {
            producer: Producer(metadata.producer.into()),
            incarnation: Incarnation(metadata.incarnation),
            stream: self.stream.as_str().into(),
        };
        let mut disk = disk.lock().unwrap();
        if let Manner::Picky { rows_max } = disk.manner
            && records.num_rows() > rows_max
        {
            return Err(Status::invalid_argument("too many rows"));
        }
        let mark = disk.marks.entry(lane.clone()).or_default();
        if metadata.seq > *mark {
            *mark = metadata.seq;
            disk.stored.push(Stored { lane: lane.clone(), seq: metadata.seq, records });
        } else {
            disk.duplicates += 1;
        }
        let credit = if disk.manner == Manner::Stingy { 0 } else { 1 << 20 };
        let answer = format!("{{\"acked_seq\":{},\"credit_bytes\":{credit}}}", disk.marks[&lane]);
        Ok((disk.manner != Manner::Silent).then(|| PutResult { app_metadata: answer.into() }))
    }
}

#[tonic::async_trait]
impl FlightService for Service {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoPutStream = ReceiverStream<Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let (mut messages, disk) = (request.into_inner(), self.0.clone());
        disk.lock().unwrap().puts += 1;
        let (answers, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            let Some(Ok(first)) = messages.next().await else { return };
            let mut put = match Put::open(first) {
                Ok(put) => put,
                Err(status) => return drop(answers.send(Err(status)).await),
            };
            while let Some(Ok(message)) = messages.next().await {
                let Some(answer) = put.take(message, &disk).transpose() else { continue };
                let is_end = answer.is_err();
                if answers.send(answer).await.is_err() || is_end {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(Status::unimplemented("handshake"))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(Status::unimplemented("list_flights"))
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        Err(Status::unimplemented("get_flight_info"))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented("poll_flight_info"))
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        Err(Status::unimplemented("get_schema"))
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        Err(Status::unimplemented("do_get"))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let action = request.into_inner();
        let mut disk = self.0.lock().unwrap();
        let Some(config) = &disk.config else { return Err(Status::unimplemented("do_action")) };
        if action.r#type == REPORT_ACTION {
            disk.reports.push(serde_json::from_slice(&action.body).unwrap());
            return Ok(Response::new(futures::stream::empty().boxed()));
        }
        assert_eq!(action.r#type, CONFIG_ACTION);
        let answer = |config: serde_json::Value| Ok(arrow_flight::Result { body: config.to_string().into() });
        Ok(Response::new(tokio_stream::wrappers::WatchStream::new(config.subscribe()).map(answer).boxed()))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Err(Status::unimplemented("list_actions"))
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented("do_exchange"))
    }
}
